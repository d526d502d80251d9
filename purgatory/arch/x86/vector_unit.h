/* SPDX-License-Identifier: MIT */
#ifndef VECTOR_UNIT_H
#define VECTOR_UNIT_H

#include <stdint.h>

/* Hashes so many whole blocks, at least one, by the processor's instructions. */
void hash_blocks_by_instructions(uint32_t hash[8], const uint8_t *data, uint64_t count);

#endif

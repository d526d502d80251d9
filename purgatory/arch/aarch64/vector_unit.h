/* SPDX-License-Identifier: MIT */
#ifndef VECTOR_UNIT_H
#define VECTOR_UNIT_H

#include <stdbool.h>

/*
 * From here on hash_blocks() takes the processor's SHA-256 instructions, if it has them; not with
 * the MMU off, where each access would be one of Device memory.
 */
void vector_unit_begins(bool has_el0);
/* Whether it has, and it does. */
bool vector_unit_in_use(void);
/* Traps are again what they were. Vector registers are not. */
void vector_unit_ends(void);

#endif

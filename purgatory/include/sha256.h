/* SPDX-License-Identifier: MIT */
/* SHA-256, FIPS 180-4. */
#ifndef SHA256_H
#define SHA256_H

#include <stdint.h>

#define SHA256_BLOCK_SIZE 64
#define SHA256_DIGEST_SIZE 32

/* The digest of `size` bytes at `data`, which is a multiple of 4. */
void sha256(const uint8_t *data, uint64_t size, uint8_t digest[SHA256_DIGEST_SIZE]);

/* 4.2.2 of the standard. */
extern const uint32_t sha256_constants[64];

/* Hashes so many whole blocks, in C. */
void hash_blocks_portably(uint32_t hash[8], const uint8_t *data, uint64_t count);
/* The same in the way that the architecture has, if it has one of its own. */
void hash_blocks(uint32_t hash[8], const uint8_t *data, uint64_t count);

#endif

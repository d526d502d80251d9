/* SPDX-License-Identifier: MIT */
/* SHA-256, FIPS 180-4. */
#ifndef SHA256_H
#define SHA256_H

#include <stdint.h>

#define SHA256_BLOCK_SIZE 64
#define SHA256_DIGEST_SIZE 32

/* The digest of `size` bytes at `data`, which is a multiple of 4. */
void sha256(const uint8_t *data, uint64_t size, uint8_t digest[SHA256_DIGEST_SIZE]);

#endif

/* SPDX-License-Identifier: MIT */
/* SHA-256, FIPS 180-4. */
#ifndef SHA256_H
#define SHA256_H

#include <stdint.h>

#define SHA256_BLOCK_SIZE 64
#define SHA256_DIGEST_SIZE 32

struct sha256 {
	uint32_t hash[8];
	uint64_t length; /* bytes fed so far */
	uint8_t partial[SHA256_BLOCK_SIZE]; /* the last length % 64 of them */
};

void sha256_init(struct sha256 *sha);
void sha256_update(struct sha256 *sha, const uint8_t *data, uint64_t size);
void sha256_final(struct sha256 *sha, uint8_t digest[SHA256_DIGEST_SIZE]);

#endif

// SPDX-License-Identifier: MIT
/*
 * SHA-256 as FIPS 180-4 defines it; section numbers below are its.
 *
 * Whole blocks are hashed where they lie. The message schedule is a ring of 16 words that is
 * extended in step with the rounds, so that it fits into registers and the first cache line.
 */
#include "sha256.h"

/*
 * 4.2.2: the first 32 bits of the fractional parts of the cube roots of the first 64 primes. By
 * vectors they are read four at a time.
 */
_Alignas(16) const uint32_t sha256_constants[64] = {
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
	0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
	0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
	0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
	0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
	0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
	0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
	0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

/* 5.3.3: the same bits of the square roots of the first eight primes. */
static const uint32_t H[8] = {
	0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
};

static uint32_t rotr(uint32_t x, unsigned int n)
{
	return x >> n | x << (32 - n);
}

/* A message word: big endian (3.1), at a multiple of 4. */
static uint32_t load_word(const uint8_t *bytes)
{
	uint32_t word = *(const uint32_t *)(const void *)bytes;

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	word = __builtin_bswap32(word);
#endif
	return word;
}

/* 4.1.2; Ch and Maj in the forms that take the fewest operations. */
#define CH(x, y, z) ((z) ^ ((x) & ((y) ^ (z))))
#define MAJ(x, y, z) (((x) & (y)) | ((z) & ((x) | (y))))
#define SUM0(x) (rotr(x, 2) ^ rotr(x, 13) ^ rotr(x, 22))
#define SUM1(x) (rotr(x, 6) ^ rotr(x, 11) ^ rotr(x, 25))
#define SIGMA0(x) (rotr(x, 7) ^ rotr(x, 18) ^ ((x) >> 3))
#define SIGMA1(x) (rotr(x, 17) ^ rotr(x, 19) ^ ((x) >> 10))

/* 6.2.2 step 3, with the eight working variables renamed instead of moved. */
#define ROUND(a, b, c, d, e, f, g, h, k, word) \
	do { \
		h += SUM1(e) + CH(e, f, g) + (k) + (word); \
		d += h; \
		h += SUM0(a) + MAJ(a, b, c); \
	} while (0)

/* 6.2.2 step 1: the word of a round, from the message or from the words before it. */
#define LOADED(i) (w[i] = load_word(block + 4 * (i)))
#define EXTENDED(i) \
	(w[i] += SIGMA1(w[((i) + 14) % 16]) + w[((i) + 9) % 16] + SIGMA0(w[((i) + 1) % 16]))

#define EIGHT_ROUNDS(t, i, WORD) \
	do { \
		ROUND(a, b, c, d, e, f, g, h, sha256_constants[(t) + (i)], WORD(i)); \
		ROUND(h, a, b, c, d, e, f, g, sha256_constants[(t) + (i) + 1], WORD((i) + 1)); \
		ROUND(g, h, a, b, c, d, e, f, sha256_constants[(t) + (i) + 2], WORD((i) + 2)); \
		ROUND(f, g, h, a, b, c, d, e, sha256_constants[(t) + (i) + 3], WORD((i) + 3)); \
		ROUND(e, f, g, h, a, b, c, d, sha256_constants[(t) + (i) + 4], WORD((i) + 4)); \
		ROUND(d, e, f, g, h, a, b, c, sha256_constants[(t) + (i) + 5], WORD((i) + 5)); \
		ROUND(c, d, e, f, g, h, a, b, sha256_constants[(t) + (i) + 6], WORD((i) + 6)); \
		ROUND(b, c, d, e, f, g, h, a, sha256_constants[(t) + (i) + 7], WORD((i) + 7)); \
	} while (0)

__attribute__((noinline)) static void hash_block(uint32_t hash[8], const uint8_t *block)
{
	uint32_t a = hash[0], b = hash[1], c = hash[2], d = hash[3];
	uint32_t e = hash[4], f = hash[5], g = hash[6], h = hash[7];
	uint32_t w[16];

	EIGHT_ROUNDS(0, 0, LOADED);
	EIGHT_ROUNDS(0, 8, LOADED);
	for (unsigned int t = 16; t < 64; t += 16) {
		EIGHT_ROUNDS(t, 0, EXTENDED);
		EIGHT_ROUNDS(t, 8, EXTENDED);
	}

	hash[0] += a;
	hash[1] += b;
	hash[2] += c;
	hash[3] += d;
	hash[4] += e;
	hash[5] += f;
	hash[6] += g;
	hash[7] += h;
}

/* 5.1.1: behind the data a one bit, zeros up to 8 bytes before a block's end, the length in bits. */
static void hash_end(uint32_t hash[8], const uint8_t *rest, uint64_t size)
{
	_Alignas(uint32_t) uint8_t last[2 * SHA256_BLOCK_SIZE];
	const uint32_t count = size % SHA256_BLOCK_SIZE;
	const uint32_t end =
		count < SHA256_BLOCK_SIZE - 8 ? SHA256_BLOCK_SIZE : 2 * SHA256_BLOCK_SIZE;

	for (uint32_t i = 0; i < count; i++)
		last[i] = rest[i];
	last[count] = 0x80;
	for (uint32_t i = count + 1; i < end - 8; i++)
		last[i] = 0;
	for (uint32_t i = 0; i < 8; i++)
		last[end - 1 - i] = (uint8_t)(size * 8 >> 8 * i);
	hash_blocks(hash, last, end / SHA256_BLOCK_SIZE);
}

void hash_blocks_portably(uint32_t hash[8], const uint8_t *data, uint64_t count)
{
	for (uint64_t i = 0; i < count; i++)
		hash_block(hash, data + i * SHA256_BLOCK_SIZE);
}

__attribute__((weak)) void hash_blocks(uint32_t hash[8], const uint8_t *data, uint64_t count)
{
	hash_blocks_portably(hash, data, count);
}

void sha256(const uint8_t *data, uint64_t size, uint8_t digest[SHA256_DIGEST_SIZE])
{
	const uint64_t blocks = size / SHA256_BLOCK_SIZE;
	uint32_t hash[8];

	for (int i = 0; i < 8; i++)
		hash[i] = H[i];
	hash_blocks(hash, data, blocks);
	hash_end(hash, data + blocks * SHA256_BLOCK_SIZE, size);
	for (int i = 0; i < SHA256_DIGEST_SIZE; i++)
		digest[i] = (uint8_t)(hash[i / 4] >> (24 - i % 4 * 8));
}

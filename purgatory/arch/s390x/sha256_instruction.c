// SPDX-License-Identifier: MIT
/*
 * Hashes by the processor's KIMD where it has that with SHA-256: z/Architecture Principles of
 * Operation (SA22-7832), "COMPUTE INTERMEDIATE MESSAGE DIGEST". It touches general registers alone.
 */
#include <stdbool.h>

#include "sha256.h"

#define FACILITY_MESSAGE_SECURITY 17
#define QUERY 0
#define SHA_256 2

/* Of 64 facilities; the instruction is older than every processor that Linux still runs on. */
static uint64_t facilities(void)
{
	register uint64_t last __asm__("0") = 0;
	uint64_t list = 0;

	__asm__ volatile("stfle %1" : "+d"(last), "=Q"(list) : : "cc");
	return list;
}

/* `parameters` are the functions that there are, for QUERY, else the hash so far. */
static void compute(uint64_t function, void *parameters, const uint8_t *data, uint64_t size)
{
	register uint64_t r0 __asm__("0") = function;
	register uint64_t r1 __asm__("1") = (uintptr_t)parameters;
	register uint64_t r2 __asm__("2") = (uintptr_t)data;
	register uint64_t r3 __asm__("3") = size;

	/* With condition code 3 it has stopped on its way. */
	__asm__ volatile("0:\tkimd %%r0, %%r2\n\t"
			 "brc 1, 0b"
			 : "+d"(r2), "+d"(r3)
			 : "d"(r0), "a"(r1)
			 : "cc", "memory");
}

static bool has_instruction(void)
{
	uint8_t functions[16] = {};

	if (!(facilities() >> (63 - FACILITY_MESSAGE_SECURITY) & 1))
		return false;
	compute(QUERY, functions, functions, 0);
	return functions[SHA_256 / 8] >> (7 - SHA_256 % 8) & 1;
}

void hash_blocks(uint32_t hash[8], const uint8_t *data, uint64_t count)
{
	if (has_instruction())
		compute(SHA_256, hash, data, count * SHA256_BLOCK_SIZE);
	else
		hash_blocks_portably(hash, data, count);
}

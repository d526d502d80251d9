// SPDX-License-Identifier: MIT
/* SHA-256 by the processor's instructions, which use vector registers. */
#include "vector_unit.h"

#include <stdbool.h>
#include <stddef.h>

#include "cpuid.h"
#include "purgatory.h"
#include "sha256.h"

/* Intel, Software Developer's Manual (SDM), volume 2, CPUID. */
#define LEAF1_ECX_SSSE3 (1u << 9)
#define LEAF1_ECX_SSE4_1 (1u << 19)
#define LEAF1_EDX_FXSR (1u << 24)
#define LEAF1_EDX_SSE2 (1u << 26)
#define LEAF7_EBX_SHA (1u << 29)

/* SDM, volume 3, "Initializing the SSE/SSE2/SSE3/SSSE3 Extensions". */
#define CR0_EM (1ul << 2)
#define CR0_TS (1ul << 3)
#define CR4_OSFXSR (1ul << 9)

static bool in_use;
static unsigned long cr0_at_entry, cr4_at_entry;

/* `order` is an operand of PSHUFB that turns the bytes of each word around. */
void sha256_by_instructions(uint32_t hash[8], const uint8_t *data, size_t count,
			    const uint32_t constants[64], const uint8_t order[16]);

static const _Alignas(16) uint8_t ORDER[16] = {
	3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12,
};

static unsigned long read_cr0(void)
{
	unsigned long value;

	__asm__ volatile("mov %%cr0, %0" : "=r"(value));
	return value;
}

static unsigned long read_cr4(void)
{
	unsigned long value;

	__asm__ volatile("mov %%cr4, %0" : "=r"(value));
	return value;
}

static void write_cr0(unsigned long value)
{
	__asm__ volatile("mov %0, %%cr0" : : "r"(value) : "memory");
}

static void write_cr4(unsigned long value)
{
	__asm__ volatile("mov %0, %%cr4" : : "r"(value) : "memory");
}

static bool has_instructions(void)
{
	const uint32_t ecx = LEAF1_ECX_SSSE3 | LEAF1_ECX_SSE4_1;
	const uint32_t edx = LEAF1_EDX_FXSR | LEAF1_EDX_SSE2;
	struct cpuid_answer answer;

	if (!ask_cpuid(0, &answer) || answer.eax < 7)
		return false;
	if (!ask_cpuid(1, &answer) || (answer.ecx & ecx) != ecx || (answer.edx & edx) != edx)
		return false;
	return ask_cpuid(7, &answer) && answer.ebx & LEAF7_EBX_SHA;
}

void hashing_begins(void)
{
	if (!has_instructions())
		return;
	cr0_at_entry = read_cr0();
	cr4_at_entry = read_cr4();
	write_cr0(cr0_at_entry & ~(CR0_EM | CR0_TS));
	write_cr4(cr4_at_entry | CR4_OSFXSR);
	in_use = true;
}

void hashing_ends(void)
{
	if (!in_use)
		return;
	in_use = false;
	write_cr4(cr4_at_entry);
	write_cr0(cr0_at_entry);
}

void hash_blocks_by_instructions(uint32_t hash[8], const uint8_t *data, uint64_t count)
{
	sha256_by_instructions(hash, data, (size_t)count, sha256_constants, ORDER);
}

void hash_blocks(uint32_t hash[8], const uint8_t *data, uint64_t count)
{
	if (in_use && count)
		hash_blocks_by_instructions(hash, data, count);
	else
		hash_blocks_portably(hash, data, count);
}

// SPDX-License-Identifier: MIT
#include "purgatory.h"
#include "registers.h"

/* Devicetree Specification 0.4, 5.2 "Header": big endian. */
#define FDT_VERSION 20
#define FDT_BOOT_CPU 28

/* Where a kernel is told whether to stay where it is: Linux arch/powerpc/kernel/head_64.S. */
#define RUN_AT_LOAD 0x5c

/* As long as the kernel's own purgatory gives the others to get to where they wait. */
#define TURNS 0x10000

/* Not 0: stored as it is, so that the loader decides on the byte order. */
PARAMETER uint32_t run_at_load = 0;

uint64_t kernel_entry(void)
{
	return entry_regs.kernel;
}

static volatile uint32_t *word_at(uint64_t address)
{
	return (volatile uint32_t *)(uintptr_t)address;
}

/* With low priority: the others may be threads of the same core. */
static void wait_for_the_others(void)
{
	__asm__ volatile("or 1, 1, 1\n\t"
			 "mtctr %0\n"
			 "1:\tbdnz 1b\n\t"
			 "or 2, 2, 2"
			 :
			 : "r"(TURNS)
			 : "ctr", "memory");
}

/*
 * Called by entry.S when memory has been verified, with the ID that this processor came in with:
 * both words lie in segments that were.
 */
void prepare_kernel(uint64_t cpu)
{
	wait_for_the_others();
	if (__builtin_bswap32(*word_at(entry_regs.tree + FDT_VERSION)) >= 2)
		*word_at(entry_regs.tree + FDT_BOOT_CPU) = __builtin_bswap32((uint32_t)cpu);
	if (run_at_load)
		*word_at(entry_regs.kernel + RUN_AT_LOAD) = run_at_load;
}

// SPDX-License-Identifier: MIT
#include "purgatory.h"

/* x0 x1 x2 x3, then the address to enter; loaded by entry.S. */
extern uint64_t entry_regs[5];

uint64_t kernel_entry(void)
{
	return entry_regs[4];
}

_Noreturn void halt(void)
{
	/* A pending interrupt ends a wfi although it is masked. */
	for (;;)
		__asm__ volatile("wfi" : : : "memory");
}

// SPDX-License-Identifier: MIT
#include "purgatory.h"

/* r2, then the address to enter; loaded by entry.S. */
extern uint32_t entry_regs[2];

uint64_t kernel_entry(void)
{
	return entry_regs[1];
}

_Noreturn void halt(void)
{
	/* As a number: wfi, which does nothing before ARMv6K. */
	for (;;)
		__asm__ volatile(".inst 0xe320f003" : : : "memory");
}

// SPDX-License-Identifier: MIT
#include "purgatory.h"

/* a1, then the address to enter, both physical; loaded by entry.S. */
extern uint64_t entry_regs[2];

uint64_t kernel_entry(void)
{
	return entry_regs[1];
}

// SPDX-License-Identifier: MIT
#include "purgatory.h"

#include "exit.h"

/* rax rbx rcx rdx rsi rdi rsp rbp r8 … r15 rip; loaded by entry.S. */
extern uint64_t entry64_regs[17];

uint64_t kernel_entry(void)
{
	return exit_mode & (32 | 16) ? legacy_entry() : entry64_regs[16];
}

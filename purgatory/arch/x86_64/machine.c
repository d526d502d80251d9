// SPDX-License-Identifier: MIT
#include "purgatory.h"

/* rax rbx rcx rdx rsi rdi rsp rbp r8 … r15 rip; loaded by entry.S. */
extern uint64_t entry64_regs[17];

uint64_t kernel_entry(void)
{
	return entry64_regs[16];
}

_Noreturn void halt(void)
{
	/* A system management interrupt may end a hlt. */
	for (;;)
		__asm__ volatile("cli; hlt" : : : "memory");
}

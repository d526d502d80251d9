// SPDX-License-Identifier: MIT
/*
 * A kernel that wants to be returned to has called the purgatory, and waits behind that call:
 * Linux arch/x86/kernel/relocate_kernel_64.S, relocate_kernel_32.S, RELOC_KERNEL_PRESERVE_CONTEXT.
 * Nobody knows the address before the jump. The next kernel finds it on its command line; a kernel
 * that is returned to finds it, that of the one that it can go on to, on top of its stack.
 */
#include "return.h"

#include "purgatory.h"

PARAMETER uint64_t return_digits = 0;
PARAMETER uint64_t return_slot = 0;
#if UINTPTR_MAX > UINT32_MAX
PARAMETER uint64_t return_tables = 0;
#endif

/* entry.S: what was on top of the stack, if a parameter asks for it. */
uintptr_t return_address;

static void write_digits(char *to, uint64_t value)
{
	for (int i = 15; i >= 0; i--, value >>= 4)
		to[i] = "0123456789abcdef"[value & 0xf];
}

void tell_of_return(void)
{
	if (return_digits)
		write_digits((char *)(uintptr_t)return_digits, return_address);
	if (return_slot)
		*(uintptr_t *)(uintptr_t)return_slot = return_address;
#if UINTPTR_MAX > UINT32_MAX
	/* This kernel's own tables need not reach to where the other one waits. */
	if (return_tables)
		__asm__ volatile("movq %0, %%cr3" : : "r"(return_tables) : "memory");
#endif
}

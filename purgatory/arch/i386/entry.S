/* SPDX-License-Identifier: MIT */
/*
 * Enters from an old kernel of 32 bits and leaves for the new one by leave.S.
 *
 * On entry paging is off, segments are flat, interrupts are off; registers and flags are
 * unspecified, and the GDT and IDT are unusable. There is a stack, on the kernel's control page,
 * which lies outside of all segments: the kernel has come here by ret. Linux
 * arch/x86/kernel/machine_kexec_32.c, machine_kexec(), and relocate_kernel_32.S.
 */

	.section .text.entry, "ax", @progbits
	.globl	purgatory_start
	.hidden	purgatory_start
	.type	purgatory_start, @function
purgatory_start:
	cli
	cld
	movl	(%esp), %edx		/* where the old kernel waits, if it does */
	call	1f
1:	popl	%ebx
	movl	%edx, return_address - 1b(%ebx)
	leal	stack_end - 1b(%ebx), %esp
	leal	leave_table - 1b(%ebx), %ebx
	call	load_segments
	call	purgatory_main
	call	prepare_exit
	jmp	leave32		/* %ebx is preserved by C functions */
	.size	purgatory_start, . - purgatory_start

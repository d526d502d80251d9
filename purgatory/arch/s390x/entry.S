/* SPDX-License-Identifier: MIT */
/*
 * Enters from the old kernel. For a normal load that is a reset: 31-bit addressing, DAT and
 * interrupts off, the architecture mode of a reset, and nothing in registers. A crash purgatory is
 * called as a C function, with DAT off: r2 is 0 to verify only, and 1 to go on (Linux
 * arch/s390/kernel/machine_kexec.c, "kdump_csum_valid", "__machine_kdump").
 *
 * Every address is relative to the instruction that forms it. There is nothing to relocate.
 */

#define SIGP_SET_ARCHITECTURE 0x12
#define DIAG_IPL 0x308
/* s390x ELF ABI, 1.2.2.1: what a function's caller leaves free above the stack pointer. */
#define FRAME 160

	.section .text.entry, "ax", @progbits
	.globl	purgatory_start
	.hidden	purgatory_start
	.type	purgatory_start, @function
	.balign	8
purgatory_start:
	/* Refused where the mode is that already, or other processors run: to no harm. */
	lhi	%r1, 1
	sigp	%r1, %r0, SIGP_SET_ARCHITECTURE
	sam64
	larl	%r1, caller
	stmg	%r6, %r15, 0(%r1)
	stg	%r2, 80(%r1)
	larl	%r15, stack_end
	aghi	%r15, -FRAME
	brasl	%r14, purgatory_enter
	.size	purgatory_start, . - purgatory_start

	.globl	return_to_caller
	.hidden	return_to_caller
	.type	return_to_caller, @function
return_to_caller:
	larl	%r1, caller
	lmg	%r6, %r15, 0(%r1)
	br	%r14
	.size	return_to_caller, . - return_to_caller

	.globl	continue_at
	.hidden	continue_at
	.type	continue_at, @function
continue_at:
	lgr	%r15, %r3
	aghi	%r15, -FRAME
	br	%r2
	.size	continue_at, . - continue_at

	/* Returns only where the machine does not know the function. */
	.globl	reset_with
	.hidden	reset_with
	.type	reset_with, @function
reset_with:
	lghi	%r0, 0
	lgr	%r1, %r2
	diag	%r0, %r1, DIAG_IPL
	br	%r14
	.size	reset_with, . - reset_with

	/* A PSW with interrupts off and the wait bit: nothing but a reset ends that. */
	.globl	wait_at
	.hidden	wait_at
	.type	wait_at, @function
wait_at:
	larl	%r1, disabled_wait
	stg	%r2, 8(%r1)
	lpswe	0(%r1)
	.size	wait_at, . - wait_at

	.section .data.parameters, "aw", @progbits
	.balign	8
	.globl	entry_regs
	.hidden	entry_regs
	.type	entry_regs, @object
entry_regs:
	.zero	3 * 8
	.size	entry_regs, . - entry_regs

	.data
	.balign	8
	.type	disabled_wait, @object
disabled_wait:
	.quad	0x0002000180000000
	.quad	0
	.size	disabled_wait, . - disabled_wait

	.bss
	.balign	8
	.globl	caller
	.hidden	caller
	.type	caller, @object
caller:
	.zero	11 * 8
	.size	caller, . - caller

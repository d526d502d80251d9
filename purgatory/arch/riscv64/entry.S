/* SPDX-License-Identifier: MIT */
/*
 * Enters from the old kernel and leaves for the new one, both in S-mode with satp 0.
 *
 * On entry a0 is the hart's ID, and interrupts are off. Nothing else is used: a1 is what the old
 * kernel takes for the device tree, ra, sp, gp and tp are its own, and after a crash scause and
 * sepc are those of the exception that led here (Linux arch/riscv/kernel/kexec_relocate.S,
 * riscv_kexec_norelocate). Floating point and vector registers may be off. On exit: Linux
 * Documentation/arch/riscv/boot.rst.
 *
 * Every address is relative to the instruction that forms it. There is nothing to relocate.
 */

	.section .text.entry, "ax", @progbits
	.globl	purgatory_start
	.hidden	purgatory_start
	.type	purgatory_start, @function
	/* After a crash this is in stvec, whose two low bits are no part of the address. */
	.balign	4
purgatory_start:
	csrw	sie, zero
	lla	t0, exception
	csrw	stvec, t0
	mv	s0, a0
	lla	sp, stack_end
	call	purgatory_main

	/* What the old kernel wrote as data is executed next. */
	fence.i
	lla	t0, entry_regs
	ld	a1, 0(t0)
	ld	t0, 8(t0)
	mv	a0, s0
	jr	t0
	.size	purgatory_start, . - purgatory_start

	/* stvec stays here on exit: the new kernel's first instructions have no other. */
	.type	exception, @function
	.balign	4
exception:
	lla	t0, halt
	csrw	stvec, t0
	csrr	a0, scause
	csrr	a1, sepc
	csrr	a2, stval
	lla	sp, stack_end
	tail	report_exception
	.size	exception, . - exception

	.globl	halt
	.hidden	halt
	.type	halt, @function
	.balign	4
halt:
	/* Where S-mode may not wait, wfi is an exception: it leads here again. */
	lla	t0, halt
	csrw	stvec, t0
1:	wfi
	j	1b
	.size	halt, . - halt

	.section .data.parameters, "aw", @progbits
	.balign	8
	.globl	entry_regs
	.hidden	entry_regs
	.type	entry_regs, @object
entry_regs:
	.zero	2 * 8
	.size	entry_regs, . - entry_regs

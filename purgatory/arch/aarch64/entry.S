/* SPDX-License-Identifier: MIT */
/*
 * Enters from the old kernel and leaves for the new one, both with the MMU off, at EL1 or EL2.
 *
 * On entry interrupts are masked and the data cache is off; what the segments hold was cleaned
 * to the point of coherency. Registers are unspecified: for kexec_load(2) the kernel knows of
 * no device tree (Linux arch/arm64/kernel/machine_kexec.c, machine_kexec()). On exit: Linux
 * Documentation/arch/arm64/booting.rst, "Call the kernel image".
 *
 * Every address is relative to the page of the instruction that forms it, so that any multiple
 * of 4 KiB will do. There is nothing to relocate.
 */

	.section .text.entry, "ax", @progbits
	.globl	purgatory_start
	.hidden	purgatory_start
	.type	purgatory_start, @function
purgatory_start:
	msr	daifset, #0xf
	msr	spsel, #1
	adrp	x9, stack_end
	add	x9, x9, :lo12:stack_end
	mov	sp, x9
	bl	purgatory_main

	/* booting.rst: the instruction cache must hold nothing stale of the kernel. */
	ic	iallu
	dsb	nsh
	isb

	adrp	x16, entry_regs
	add	x16, x16, :lo12:entry_regs
	ldp	x0, x1, [x16]
	ldp	x2, x3, [x16, #16]
	ldr	x16, [x16, #32]
	br	x16
	.size	purgatory_start, . - purgatory_start

	/*
	 * VBAR is purgatory_start while segments are hashed, and this the place of a synchronous
	 * exception with the level's own stack pointer (Arm Architecture Reference Manual, DDI 0487,
	 * D1.3). All others are masked, and the other stack pointer is not used.
	 */
	.org	purgatory_start + 0x200
	.type	exception, @function
exception:
	adrp	x9, stack_end
	add	x9, x9, :lo12:stack_end
	mov	sp, x9
	mrs	x9, CurrentEL
	tbnz	x9, #3, 2f
	mrs	x0, esr_el1
	mrs	x1, elr_el1
	mrs	x2, far_el1
	b	report_exception
2:	mrs	x0, esr_el2
	mrs	x1, elr_el2
	mrs	x2, far_el2
	b	report_exception
	.size	exception, . - exception

	.section .data.parameters, "aw", @progbits
	.balign	8
	.globl	entry_regs
	.hidden	entry_regs
	.type	entry_regs, @object
entry_regs:
	.zero	5 * 8
	.size	entry_regs, . - entry_regs

/* SPDX-License-Identifier: MIT */
/*
 * Enters from the old kernel and leaves for the new one, both in ARM state with the MMU and the data
 * cache off, in SVC mode, or in HYP mode if the old kernel was entered in that.
 *
 * On entry r0 is 0, r1 the number of the machine's type, r2 what the old kernel takes for the device
 * tree; interrupts are masked, sp and all else is the old kernel's (Linux
 * arch/arm/kernel/relocate_kernel.S). On exit: Linux Documentation/arch/arm/booting.rst.
 *
 * Every address is relative to the instruction that forms it. There is nothing to relocate.
 */

	.syntax	unified
	.arm
	.section .text.entry, "ax", %progbits
	.globl	purgatory_start
	.hidden	purgatory_start
	.type	purgatory_start, %function
purgatory_start:
	/* Interrupts: SVC and HYP mode have the two masks in the same place. */
	mrs	r4, cpsr
	orr	r3, r4, #0xc0
	msr	cpsr_c, r3
	mov	r5, r1
	ldr	r3, stack_distance
1:	add	sp, pc, r3
	bl	instruction_cache_on
	bl	purgatory_main
	bl	instruction_cache_back

	/* What the old kernel wrote as data is executed next: invalidate the instruction cache. */
	mov	r3, #0
	mcr	p15, 0, r3, c7, c5, 0
	mcr	p15, 0, r3, c7, c10, 4
	mcr	p15, 0, r3, c7, c5, 4

	ldr	r3, registers_distance
2:	add	r3, pc, r3
	ldr	r2, [r3]
	ldr	r3, [r3, #4]
	mov	r1, r5
	mov	r0, #0
	bx	r3

	/* pc is two instructions ahead. */
stack_distance:
	.word	stack_end - 1b - 8
registers_distance:
	.word	entry_regs - 2b - 8
	.size	purgatory_start, . - purgatory_start

	/*
	 * Without it each instruction is fetched from memory. The control register is that of the
	 * mode; in both bit 12 is I. r4 is cpsr and stays, r6 becomes the register as it was.
	 */
	.type	instruction_cache_on, %function
instruction_cache_on:
	mov	r3, #0
	mcr	p15, 0, r3, c7, c5, 0
	mcr	p15, 0, r3, c7, c10, 4
	mcr	p15, 0, r3, c7, c5, 4
	and	r3, r4, #0x1f
	cmp	r3, #0x1a
	mrcne	p15, 0, r6, c1, c0, 0
	mrceq	p15, 4, r6, c1, c0, 0
	orr	r3, r6, #0x1000
	b	set_control
	.size	instruction_cache_on, . - instruction_cache_on

	.type	instruction_cache_back, %function
instruction_cache_back:
	mov	r3, r6
	.size	instruction_cache_back, . - instruction_cache_back

	.type	set_control, %function
set_control:
	and	ip, r4, #0x1f
	cmp	ip, #0x1a
	mcrne	p15, 0, r3, c1, c0, 0
	mcreq	p15, 4, r3, c1, c0, 0
	mov	ip, #0
	mcr	p15, 0, ip, c7, c5, 4
	bx	lr
	.size	set_control, . - set_control

	.section .data.parameters, "aw", %progbits
	.balign	8
	.globl	entry_regs
	.hidden	entry_regs
	.type	entry_regs, %object
entry_regs:
	.zero	2 * 4
	.size	entry_regs, . - entry_regs

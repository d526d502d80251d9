/* SPDX-License-Identifier: MIT */
/*
 * The MMU on and off. In between stands C, which may write to memory at any time; here nothing is
 * written once the first line is cleaned, so that what is done to caches stays done.
 */
	.syntax	unified
	.arm

	.macro	function name
	.section .text.\name, "ax", %progbits
	.globl	\name
	.hidden	\name
	.type	\name, %function
\name:
	.endm

	.macro	data_barrier
	mcr	p15, 0, r12, c7, c10, 4
	.endm

	.macro	instruction_barrier
	mcr	p15, 0, r12, c7, c5, 4
	.endm

	/* Instruction cache and branch predictor. */
	.macro	forget_instructions
	mcr	p15, 0, r12, c7, c5, 0
	mcr	p15, 0, r12, c7, c5, 6
	.endm

	.macro	compare_with_hyp_mode scratch
	mrs	\scratch, cpsr
	and	\scratch, \scratch, #0x1f
	cmp	\scratch, #0x1a
	.endm

	/* r5 table_control, r6 base, r7 access, r8 base_high: all but the control register. */
	.macro	set_registers
	bne	1f
	mcr	p15, 4, r5, c2, c0, 2
	mcrr	p15, 4, r6, r8, c2
	mcr	p15, 4, r7, c10, c2, 0
	b	2f
1:	mcr	p15, 0, r5, c2, c0, 2
	mcr	p15, 0, r6, c2, c0, 0
	mcr	p15, 0, r7, c3, c0, 0
2:	instruction_barrier
	.endm

	.macro	forget_translations
	mcrne	p15, 0, r12, c8, c7, 0
	mcreq	p15, 4, r12, c8, c7, 0
	data_barrier
	instruction_barrier
	.endm

	/* r4 */
	.macro	set_control
	mcrne	p15, 0, r4, c1, c0, 0
	mcreq	p15, 4, r4, c1, c0, 0
	instruction_barrier
	.endm

	function mmu_on
	push	{r4-r8, lr}
	ldm	r0, {r4-r8}
	mov	r12, #0
	/* Tables and all else that was written with the MMU off has arrived. */
	data_barrier
	forget_instructions
	compare_with_hyp_mode r3
	forget_translations
	set_registers
	set_control
	pop	{r4-r8, pc}
	.size	mmu_on, . - mmu_on

	function mmu_off
	push	{r4-r8, lr}
	ldm	r0, {r4-r8}
	mov	r12, #0
	data_barrier
1:	mcr	p15, 0, r1, c7, c14, 1
	add	r1, r1, r3
	subs	r2, r2, #1
	bne	1b
	data_barrier
	compare_with_hyp_mode r0
	set_control
	set_registers
	forget_translations
	pop	{r4-r8, pc}
	.size	mmu_off, . - mmu_off

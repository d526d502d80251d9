/* SPDX-License-Identifier: MIT */
/*
 * The MMU on and off. In between stands C, which may write to memory at any time; here nothing is
 * written, so that what is done to caches stays done.
 */
#include "mmu.h"

	/* By number: the assembler knows it from a later architecture on only. */
	#define TCR2_EL1 s3_0_c2_c0_3
	#define TCR2_EL2 s3_4_c2_c0_3

	/* x10 sctlr, x11 tcr, x12 ttbr0, x13 mair, x14 vbar, x15 tcr2, x8 whether there is tcr2. */
	.macro	load_registers
	ldp	x10, x11, [x0, #MMU_SCTLR]
	ldp	x12, x13, [x0, #MMU_TTBR0]
	ldp	x14, x15, [x0, #MMU_VBAR]
	ldr	x8, [x0, #MMU_HAS_TCR2]
	.endm

	/* All but SCTLR, which is what makes them count. */
	.macro	set_registers level, tcr2
	msr	tcr_\level, x11
	msr	ttbr0_\level, x12
	msr	mair_\level, x13
	msr	vbar_\level, x14
	cbz	x8, 9f
	msr	\tcr2, x15
9:
	.endm

	.macro	switch_on level, tcr2, all
	tlbi	\all
	dsb	nsh
	isb
	set_registers \level, \tcr2
	isb
	msr	sctlr_\level, x10
	isb
	ret
	.endm

	/* The isb before it is also what Qualcomm Falkor needs, erratum 1041. */
	.macro	switch_off level, tcr2, all
	dsb	sy
	isb
	msr	sctlr_\level, x10
	isb
	set_registers \level, \tcr2
	isb
	tlbi	\all
	dsb	nsh
	isb
	ret
	.endm

	.macro	branch_at_el2 label
	mrs	x9, CurrentEL
	tbnz	x9, #3, \label
	.endm

	.macro	function name
	.section .text.\name, "ax", @progbits
	.globl	\name
	.hidden	\name
	.type	\name, @function
\name:
	.endm

	function mmu_on
	load_registers
	/* Tables and all else that was written with the MMU off has arrived. */
	dsb	sy
	ic	iallu
	branch_at_el2 1f
	switch_on el1, TCR2_EL1, vmalle1
1:	switch_on el2, TCR2_EL2, alle2
	.size	mmu_on, . - mmu_on

	function mmu_off
	load_registers
	sub	x9, x3, #1
	bic	x1, x1, x9
1:	dc	civac, x1
	add	x1, x1, x3
	cmp	x1, x2
	b.lo	1b
	branch_at_el2 2f
	switch_off el1, TCR2_EL1, vmalle1
2:	switch_off el2, TCR2_EL2, alle2
	.size	mmu_off, . - mmu_off

/* SPDX-License-Identifier: MIT */
/*
 * Enters from the old kernel, in real mode and little endian, and leaves for the new one in real
 * mode and big endian, which every kernel for this architecture can be entered in.
 *
 * On entry r3 is this processor's hardware ID, r4 the address of purgatory_start, r5 0; interrupts
 * are off. Neither r2 nor r12 is set up, and r1 is the old kernel's (Linux
 * arch/powerpc/kernel/misc_64.S, kexec_sequence). On exit: arch/powerpc/kernel/head_64.S.
 *
 * Every address is relative to the instruction that forms it. There is nothing to relocate.
 */

	.section .text.entry, "ax", @progbits
	.globl	purgatory_start
	.hidden	purgatory_start
	.type	purgatory_start, @function
	.balign	256
purgatory_start:
	b	start
	.size	purgatory_start, . - purgatory_start

	/*
	 * The rest of what the old kernel copies to address 0: the new kernel's own first bytes. From
	 * 0x60 on they are where all other processors wait. The loader writes them.
	 */
	.globl	kernel_head
	.hidden	kernel_head
	.type	kernel_head, @object
kernel_head:
	.zero	0x100 - 4
	.size	kernel_head, . - kernel_head

	.type	start, @function
start:
	mr	31, 3
	/* In this form it is no call to those who predict where calls return to. */
	bcl	20, 31, 1f
1:	mflr	12
	addis	2, 12, (.TOC. - 1b)@ha
	addi	2, 2, (.TOC. - 1b)@l
	addis	1, 2, stack_end@toc@ha
	addi	1, 1, stack_end@toc@l
	/* The frame that a function's caller has: 64-Bit ELF V2 ABI, 2.2.2, "The Stack Frame". */
	li	0, 0
	stdu	0, -32(1)
	bl	purgatory_main
	mr	3, 31
	bl	prepare_kernel

	addis	12, 2, entry_regs@toc@ha
	addi	12, 12, entry_regs@toc@l
	ld	3, 0(12)
	ld	8, 8(12)
	ld	9, 16(12)
	ld	4, 24(12)
	li	5, 0
	mfmsr	11
	clrrdi	11, 11, 1		/* MSR_LE */
	mtsrr1	11
	mtsrr0	4
	sync
	rfid
	.size	start, . - start

	/* With interrupts off nothing is waited for: the lowest priority, and round and round. */
	.globl	halt
	.hidden	halt
	.type	halt, @function
halt:
	or	31, 31, 31
	b	halt
	.size	halt, . - halt

	.section .data.parameters, "aw", @progbits
	.balign	8
	.globl	entry_regs
	.hidden	entry_regs
	.type	entry_regs, @object
entry_regs:
	.zero	4 * 8
	.size	entry_regs, . - entry_regs

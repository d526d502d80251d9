/* SPDX-License-Identifier: MIT */
/*
 * Calls OPAL, which runs in big endian, on a stack of its own, and returns to LR; its base is
 * expected in r2, the number of the call in r0 (skiboot, doc/opal-api/index.rst). It keeps what
 * every function keeps: r1, and r14 on.
 */

	.macro	big_endian word
	.byte	\word >> 24 & 0xff, \word >> 16 & 0xff, \word >> 8 & 0xff, \word & 0xff
	.endm

	.text
	.globl	opal_call
	.hidden	opal_call
	.type	opal_call, @function
opal_call:
	addis	2, 12, (.TOC. - opal_call)@ha
	addi	2, 2, (.TOC. - opal_call)@l
	.localentry opal_call, . - opal_call
	mflr	0
	std	0, 16(1)
	stdu	1, -64(1)
	std	2, 24(1)
	std	30, 48(1)
	std	31, 56(1)

	bcl	20, 31, 1f
1:	mflr	11
	addi	30, 11, returned - 1b	/* where it goes on in little endian */
	addi	11, 11, return_from_opal - 1b
	mtlr	11
	mfmsr	31
	clrrdi	11, 31, 1		/* MSR_LE */
	mtsrr1	11
	addis	12, 2, entry_regs@toc@ha
	addi	12, 12, entry_regs@toc@l
	ld	11, 16(12)
	mtsrr0	11
	mr	0, 3
	mr	3, 4
	mr	4, 5
	mr	5, 6
	ld	2, 8(12)
	rfid
	.size	opal_call, . - opal_call

	.type	return_from_opal, @function
return_from_opal:
	big_endian 0x7fda03a6		/* mtsrr0 30 */
	big_endian 0x7ffb03a6		/* mtsrr1 31 */
	big_endian 0x4c000024		/* rfid */
	.size	return_from_opal, . - return_from_opal

	.type	returned, @function
returned:
	ld	30, 48(1)
	ld	31, 56(1)
	ld	2, 24(1)
	addi	1, 1, 64
	ld	0, 16(1)
	mtlr	0
	blr
	.size	returned, . - returned

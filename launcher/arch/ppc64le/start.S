/* SPDX-License-Identifier: MIT */
/*
 * 64-Bit ELF V2 ABI, 2.2.2 and 4.1.2: the stack is aligned at the start, and a function writes to
 * the frame of its caller. Calls: Linux Documentation/arch/powerpc/syscall64-abi.rst; what one that
 * failed returns is the positive errno.
 */

	.text
	.globl	_start
	.hidden	_start
	.type	_start, @function
_start:
	bcl	20, 31, 1f
1:	mflr	12
	addis	2, 12, (.TOC. - 1b)@ha
	addi	2, 2, (.TOC. - 1b)@l
	mr	3, 1
	li	0, 0
	mtlr	0
	stdu	0, -32(1)
	bl	launcher_main
	trap
	.size	_start, . - _start

	.globl	system_call
	.hidden	system_call
	.type	system_call, @function
system_call:
	mr	0, 3
	mr	3, 4
	mr	4, 5
	mr	5, 6
	mr	6, 7
	sc
	bnslr
	neg	3, 3
	blr
	.size	system_call, . - system_call

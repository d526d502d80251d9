/* SPDX-License-Identifier: MIT */
/* The stack is aligned at the start; calls: Linux arch/arm64/kernel/entry.S, el0_svc. */

	.text
	.globl	_start
	.hidden	_start
	.type	_start, @function
_start:
	mov	x29, #0
	mov	x30, #0
	mov	x0, sp
	bl	launcher_main
	brk	#0
	.size	_start, . - _start

	.globl	system_call
	.hidden	system_call
	.type	system_call, @function
system_call:
	mov	x8, x0
	mov	x0, x1
	mov	x1, x2
	mov	x2, x3
	mov	x3, x4
	svc	#0
	ret
	.size	system_call, . - system_call

/* SPDX-License-Identifier: MIT */
/*
 * s390x ELF ABI, 1.2.2.1 and 1.3.3: the stack is aligned at the start, and a function writes to the
 * frame of its caller. Calls: Linux arch/s390/kernel/syscall.c, "__do_syscall"; a number of 0 in
 * the instruction stands for the one in r1.
 */

#define FRAME 160

	.text
	.globl	_start
	.hidden	_start
	.type	_start, @function
_start:
	lgr	%r2, %r15
	aghi	%r15, -FRAME
	lghi	%r11, 0
	brasl	%r14, launcher_main
	j	.+2
	.size	_start, . - _start

	.globl	system_call
	.hidden	system_call
	.type	system_call, @function
system_call:
	lgr	%r1, %r2
	lgr	%r2, %r3
	lgr	%r3, %r4
	lgr	%r4, %r5
	lgr	%r5, %r6
	svc	0
	br	%r14
	.size	system_call, . - system_call

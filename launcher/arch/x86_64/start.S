/* SPDX-License-Identifier: MIT */
/* System V ABI, AMD64 supplement, 3.4.1 "Initial Stack and Register State" and A.2.1. */

	.text
	.globl	_start
	.hidden	_start
	.type	_start, @function
_start:
	xorl	%ebp, %ebp
	movq	%rsp, %rdi
	andq	$-16, %rsp
	call	launcher_main
	ud2
	.size	_start, . - _start

	.globl	system_call
	.hidden	system_call
	.type	system_call, @function
system_call:
	movq	%rdi, %rax
	movq	%rsi, %rdi
	movq	%rdx, %rsi
	movq	%rcx, %rdx
	movq	%r8, %r10
	syscall
	ret
	.size	system_call, . - system_call

/* SPDX-License-Identifier: MIT */
/* System V ABI, i386 supplement: arguments are on the stack, which is aligned at a call. */

	.text
	.globl	_start
	.hidden	_start
	.type	_start, @function
_start:
	xorl	%ebp, %ebp
	movl	%esp, %eax
	andl	$-16, %esp
	subl	$12, %esp
	pushl	%eax
	call	launcher_main
	ud2
	.size	_start, . - _start

	.globl	system_call
	.hidden	system_call
	.type	system_call, @function
system_call:
	pushl	%ebx
	pushl	%esi
	movl	12(%esp), %eax
	movl	16(%esp), %ebx
	movl	20(%esp), %ecx
	movl	24(%esp), %edx
	movl	28(%esp), %esi
	int	$0x80
	popl	%esi
	popl	%ebx
	ret
	.size	system_call, . - system_call

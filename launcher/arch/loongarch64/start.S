/* SPDX-License-Identifier: MIT */
/*
 * The stack is aligned at the start; calls: Linux arch/loongarch/kernel/entry.S,
 * "handle_syscall".
 */

	.text
	.globl	_start
	.hidden	_start
	.type	_start, @function
_start:
	move	$fp, $zero
	move	$ra, $zero
	move	$a0, $sp
	bl	launcher_main
	break	0
	.size	_start, . - _start

	.globl	system_call
	.hidden	system_call
	.type	system_call, @function
system_call:
	move	$a7, $a0
	move	$a0, $a1
	move	$a1, $a2
	move	$a2, $a3
	move	$a3, $a4
	syscall	0
	jr	$ra
	.size	system_call, . - system_call

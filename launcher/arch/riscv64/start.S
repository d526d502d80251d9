/* SPDX-License-Identifier: MIT */
/*
 * The stack is aligned at the start; calls: Linux arch/riscv/kernel/traps.c, do_trap_ecall_u().
 * Nothing is reached from gp, which nobody has set.
 */

	.text
	.globl	_start
	.hidden	_start
	.type	_start, @function
_start:
	mv	s0, zero
	mv	ra, zero
	mv	a0, sp
	call	launcher_main
	ebreak
	.size	_start, . - _start

	.globl	system_call
	.hidden	system_call
	.type	system_call, @function
system_call:
	mv	a7, a0
	mv	a0, a1
	mv	a1, a2
	mv	a2, a3
	mv	a3, a4
	ecall
	ret
	.size	system_call, . - system_call

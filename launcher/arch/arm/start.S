/* SPDX-License-Identifier: MIT */
/*
 * The stack is aligned at the start; calls: Linux arch/arm/kernel/entry-common.S, vector_swi, with
 * the number in r7 (EABI).
 */

	.syntax	unified
	.arm
	.text
	.globl	_start
	.hidden	_start
	.type	_start, %function
_start:
	mov	fp, #0
	mov	lr, #0
	mov	r0, sp
	bl	launcher_main
	udf	#0
	.size	_start, . - _start

	.globl	system_call
	.hidden	system_call
	.type	system_call, %function
system_call:
	push	{r7, lr}
	mov	r7, r0
	mov	r0, r1
	mov	r1, r2
	mov	r2, r3
	ldr	r3, [sp, #8]
	svc	#0
	pop	{r7, pc}
	.size	system_call, . - system_call

	/*
	 * What the compiler calls: there is no instruction that divides. r0 becomes r0 / r1, r1 the
	 * rest (Run-time ABI for the Arm Architecture, 4.3.1).
	 */
	.globl	__aeabi_uidiv, __aeabi_uidivmod
	.hidden	__aeabi_uidiv
	.hidden	__aeabi_uidivmod
	.type	__aeabi_uidiv, %function
	.type	__aeabi_uidivmod, %function
__aeabi_uidiv:
__aeabi_uidivmod:
	mov	r2, #0
	mov	r3, #32
1:	adds	r0, r0, r0
	adc	r2, r2, r2
	cmp	r2, r1
	subhs	r2, r2, r1
	addhs	r0, r0, #1
	subs	r3, r3, #1
	bne	1b
	mov	r1, r2
	bx	lr
	.size	__aeabi_uidivmod, . - __aeabi_uidivmod

	.globl	memcpy
	.hidden	memcpy
	.type	memcpy, %function
memcpy:
	mov	ip, r0
1:	subs	r2, r2, #1
	ldrbhs	r3, [r1], #1
	strbhs	r3, [ip], #1
	bhs	1b
	bx	lr
	.size	memcpy, . - memcpy

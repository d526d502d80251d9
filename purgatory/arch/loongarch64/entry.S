/* SPDX-License-Identifier: MIT */
/*
 * Enters from the old kernel and leaves for the new one, both with the MMU on, in the window
 * through which the old kernel reaches all memory: 0x9000000000000000 | physical address.
 *
 * On entry a0 says whether the machine was started by EFI and a2 is the EFI system table, both as
 * the old kernel itself was given them; interrupts are off. a1 is the old kernel's copy of a
 * command line, of the last load of either kind. Nothing else is used (Linux
 * arch/loongarch/kernel/machine_kexec.c, relocate_kernel.S). On exit:
 * Documentation/arch/loongarch/booting.rst; the address to enter is in the window again.
 *
 * In between a window of its own makes physical addresses of all: LoongArch Reference Manual,
 * volume 1, 5.2.1, "Direct mapping address translation mode", 7.5.16, "DMW0 to DMW3". Every
 * address is relative to the instruction that forms it. There is nothing to relocate.
 */
#define CSR_DMW3 0x183
#define WINDOW_0 0x11 /* addresses that begin with 0; coherent cached; for privilege level 0 */
#define WINDOW_9 -0x700 /* 0x900 in lu52i.d's twelve bits, of which the first is a sign */
#define PHYSICAL_LAST 47

	.section .text.entry, "ax", @progbits
	.globl	purgatory_start
	.hidden	purgatory_start
	.type	purgatory_start, @function
purgatory_start:
	move	$s0, $a0
	move	$s1, $a2
	ori	$s2, $zero, WINDOW_0
	csrwr	$s2, CSR_DMW3
	la.pcrel $t0, 1f
	bstrpick.d $t0, $t0, PHYSICAL_LAST, 0
	jr	$t0
1:	la.pcrel $sp, stack_end
	bl	purgatory_main

	la.pcrel $t0, entry_regs
	ld.d	$a1, $t0, 0
	ld.d	$t1, $t0, 8
	lu52i.d	$t1, $t1, WINDOW_9
	la.pcrel $t0, 2f
	lu52i.d	$t0, $t0, WINDOW_9
	jr	$t0
2:	csrwr	$s2, CSR_DMW3
	move	$a0, $s0
	move	$a2, $s1
	/* What the old kernel wrote as data is executed next. */
	dbar	0
	ibar	0
	jr	$t1
	.size	purgatory_start, . - purgatory_start

	.globl	halt
	.hidden	halt
	.type	halt, @function
halt:
	idle	0
	b	halt
	.size	halt, . - halt

	.section .data.parameters, "aw", @progbits
	.balign	8
	.globl	entry_regs
	.hidden	entry_regs
	.type	entry_regs, @object
entry_regs:
	.zero	2 * 8
	.size	entry_regs, . - entry_regs

/* SPDX-License-Identifier: MIT */
/*
 * Stands for the old kernel where a plan is tried out in an emulated PC, see
 * pykexec/simulation: brings the processor into the state in which a running kernel leaves it
 * (Linux arch/x86/kernel/relocate_kernel_64.S, "identity_mapped"), and enters the plan.
 *
 * The emulator's firmware starts it by the Multiboot Specification 0.6.96, section 3.2: 32-bit
 * protected mode, flat segments, no paging. It says that it is there, and waits until it is told
 * to go: in between the plan's segments and the page tables are written into memory from outside.
 *
 * Linked to run at START, below everything that a plan occupies. Parameters follow the header
 * at once: pykexec/simulation/x86.py knows their places.
 */

#define START 0x10000
#define PAGE_TABLES 0x11000		/* the PML4, one page behind this program */

#define MULTIBOOT_MAGIC 0x1badb002
#define MULTIBOOT_FLAGS 0x00010002	/* memory information wanted; addresses are given */

#define STATE_READY 1
#define STATE_GO 2

#define KERNEL_CS 0x10
#define KERNEL_DS 0x18

#define MSR_EFER 0xc0000080
#define EFER 0x901			/* SCE, LME, NXE: as a kernel has them */
#define CR0 0x80000033			/* PG, NE, ET, MP, PE; AM, WP, TS and EM are cleared */
#define CR4 0x20			/* PAE */

	.code32
	.section .text.entry, "ax", @progbits
	.globl	simulation_start
simulation_start:
	.long	MULTIBOOT_MAGIC
	.long	MULTIBOOT_FLAGS
	.long	-(MULTIBOOT_MAGIC + MULTIBOOT_FLAGS)
	.long	START			/* header_addr */
	.long	START			/* load_addr */
	.long	0			/* load_end_addr: all of the file */
	.long	0			/* bss_end_addr: none */
	.long	multiboot_entry

state:	.long	0
info:	.long	0			/* physical address of the Multiboot information */
entry:	.quad	0			/* where the plan is entered */

multiboot_entry:
	cli
	cld
	movl	%ebx, info
	movl	$STATE_READY, state
1:	pause
	cmpl	$STATE_GO, state
	jne	1b

	lgdt	gdt_pointer
	movl	$CR4, %eax
	movl	%eax, %cr4
	movl	$PAGE_TABLES, %eax
	movl	%eax, %cr3
	movl	$MSR_EFER, %ecx
	movl	$EFER, %eax
	xorl	%edx, %edx
	wrmsr
	movl	$CR0, %eax
	movl	%eax, %cr0
	ljmpl	$KERNEL_CS, $long_mode

	.code64
long_mode:
	movl	$KERNEL_DS, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %ss
	movl	%eax, %fs
	movl	%eax, %gs
	movl	$stack_end, %esp
	/* The tables are taken away: who wants descriptors brings his own. */
	lgdt	no_table
	lidt	no_table
	pushq	$0
	popfq
	pushq	$0			/* where the entered program would return to */
	pushq	entry
	xorl	%eax, %eax
	xorl	%ebx, %ebx
	xorl	%ecx, %ecx
	xorl	%edx, %edx
	xorl	%esi, %esi
	xorl	%edi, %edi
	xorl	%ebp, %ebp
	xorl	%r8d, %r8d
	xorl	%r9d, %r9d
	xorl	%r10d, %r10d
	xorl	%r11d, %r11d
	xorl	%r12d, %r12d
	xorl	%r13d, %r13d
	xorl	%r14d, %r14d
	xorl	%r15d, %r15d
	retq

	.balign	8
gdt:
	.quad	0
	.quad	0
	.quad	0x00af9b000000ffff	/* KERNEL_CS: code, execute and read, 64-bit */
	.quad	0x00cf93000000ffff	/* KERNEL_DS: data, read and write */
gdt_end:
gdt_pointer:
	.word	gdt_end - gdt - 1
	.long	gdt
no_table:
	.word	0
	.quad	0
	.balign	8
	.zero	64
stack_end:

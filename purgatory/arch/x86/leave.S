/* SPDX-License-Identifier: MIT */
/*
 * Leaves for a kernel that is entered in 32-bit protected mode or in real mode.
 *
 * Linux Documentation/arch/x86/boot.rst, "32-bit Boot Protocol" and "Running the Kernel".
 * The code is the same whether the old kernel was one of 64 or of 32 bits: nothing of either
 * is left when it begins. Everything is reached from the address of leave_table.
 */

#define BOOT_CS 0x10
#define BOOT_DS 0x18
#define CODE16 0x20
#define DATA16 0x28

/* Offsets in the table. */
#define TABLE(symbol) (symbol - leave_table)

	.section .text.leave, "ax", @progbits
	.balign	16
	/* In real mode this is where the code segment begins, so it is a multiple of 16. */
leave_base:

/* Loads the flat segments of 32 bits. In: %ebx is leave_table; changes %eax. */
	.code32
	.globl	load_segments
	.hidden	load_segments
	.type	load_segments, @function
load_segments:
	leal	TABLE(gdt32)(%ebx), %eax
	movl	%eax, TABLE(gdtr32) + 2(%ebx)
	lgdt	TABLE(gdtr32)(%ebx)
	movl	$BOOT_DS, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %ss
	movl	%eax, %fs
	movl	%eax, %gs
	popl	%eax
	pushl	$BOOT_CS
	pushl	%eax
	lret
	.size	load_segments, . - load_segments

/*
 * In: protected mode with flat segments of 32 bits, paging off, interrupts off; %ebx is
 * leave_table, %esp a stack in the purgatory.
 */
	.globl	leave32
	.hidden	leave32
	.type	leave32, @function
leave32:
	call	load_segments
	cmpl	$16, TABLE(exit_mode)(%ebx)
	je	leave16

	/* No register is left to jump by: the jump is made where it can be written to. */
	movl	TABLE(entry32_regs) + 32(%ebx), %eax
	leal	TABLE(jump32_end)(%ebx), %ecx
	subl	%ecx, %eax
	movl	%eax, TABLE(jump32_end) - 4(%ebx)
	movl	TABLE(entry32_regs) + 0(%ebx), %eax
	movl	TABLE(entry32_regs) + 8(%ebx), %ecx
	movl	TABLE(entry32_regs) + 12(%ebx), %edx
	movl	TABLE(entry32_regs) + 16(%ebx), %esi
	movl	TABLE(entry32_regs) + 20(%ebx), %edi
	movl	TABLE(entry32_regs) + 24(%ebx), %esp
	movl	TABLE(entry32_regs) + 28(%ebx), %ebp
	movl	TABLE(entry32_regs) + 4(%ebx), %ebx
	jmp	jump32
	.size	leave32, . - leave32

/* The purgatory lies below 1 MiB, or real mode could not go on from here. */
leave16:
	call	1f
1:	popl	%ecx
	subl	$(1b - leave_base), %ecx
	movl	%ecx, %eax
	movw	%ax, TABLE(gdt32) + CODE16 + 2(%ebx)
	movw	%ax, TABLE(gdt32) + DATA16 + 2(%ebx)
	shrl	$16, %eax
	movb	%al, TABLE(gdt32) + CODE16 + 4(%ebx)
	movb	%al, TABLE(gdt32) + DATA16 + 4(%ebx)
	movl	%ecx, %eax
	shrl	$4, %eax
	movw	%ax, TABLE(real_segment)(%ebx)
	lidt	TABLE(idtr16)(%ebx)
	subl	%ecx, %esp
	subl	%ecx, %ebx
	movl	%ebx, %ebp
	ljmp	$CODE16, $(1f - leave_base)

	/* From here on %bp is the table, and all segments begin at leave_base. */
	.code16
1:	movw	$DATA16, %ax
	movw	%ax, %ds
	movw	%ax, %es
	movw	%ax, %ss
	movw	%ax, %fs
	movw	%ax, %gs
	movl	%cr0, %eax
	andb	$0xfe, %al
	movl	%eax, %cr0
	pushw	TABLE(real_segment)(%bp)
	pushw	$(2f - leave_base)
	lretw

	/* Real mode. */
2:	movw	%cs, %ax
	movw	%ax, %ds
	movw	TABLE(entry16_regs) + 34(%bp), %es
	movw	%ds:TABLE(entry16_regs) + 38(%bp), %fs
	movw	%ds:TABLE(entry16_regs) + 40(%bp), %gs
	movw	%ds:TABLE(entry16_regs) + 36(%bp), %ss
	movl	%ds:TABLE(entry16_regs) + 24(%bp), %esp
	pushw	%ds:TABLE(entry16_regs) + 44(%bp)
	pushw	%ds:TABLE(entry16_regs) + 42(%bp)
	pushw	%ds:TABLE(entry16_regs) + 32(%bp)
	movl	%ds:TABLE(entry16_regs) + 0(%bp), %eax
	movl	%ds:TABLE(entry16_regs) + 4(%bp), %ebx
	movl	%ds:TABLE(entry16_regs) + 8(%bp), %ecx
	movl	%ds:TABLE(entry16_regs) + 12(%bp), %edx
	movl	%ds:TABLE(entry16_regs) + 16(%bp), %esi
	movl	%ds:TABLE(entry16_regs) + 20(%bp), %edi
	movl	%ds:TABLE(entry16_regs) + 28(%bp), %ebp
	popw	%ds
	lretw

	.section .data.parameters, "aw", @progbits
	.balign	16
	.globl	leave_table
	.hidden	leave_table
leave_table:

	/* 64, 32 or 16: the mode that the kernel is entered in; 0 is the old kernel's. */
	.globl	exit_mode
	.hidden	exit_mode
	.type	exit_mode, @object
exit_mode:
	.long	0
	.size	exit_mode, . - exit_mode

	/* eax ebx ecx edx esi edi esp ebp eip */
	.globl	entry32_regs
	.hidden	entry32_regs
	.type	entry32_regs, @object
entry32_regs:
	.zero	9 * 4
	.size	entry32_regs, . - entry32_regs

	/* eax ebx ecx edx esi edi esp ebp, then of 16 bits ds es ss fs gs ip cs and a pad */
	.globl	entry16_regs
	.hidden	entry16_regs
	.type	entry16_regs, @object
entry16_regs:
	.zero	8 * 4 + 8 * 2
	.size	entry16_regs, . - entry16_regs

jump32:
	.byte	0xe9			/* jmp, relative to its own end */
	.long	0
jump32_end:

	.balign	8
gdt32:
	.quad	0
	.quad	0
	.quad	0x00cf9b000000ffff	/* BOOT_CS: code, execute and read, 32-bit, flat */
	.quad	0x00cf93000000ffff	/* BOOT_DS: data, read and write, flat */
	.quad	0x00009b000000ffff	/* CODE16: 64 KiB, 16-bit */
	.quad	0x000093000000ffff	/* DATA16: the same memory */
gdt32_end:
gdtr32:
	.word	gdt32_end - gdt32 - 1
	.long	0
idtr16:
	.word	0x3ff			/* the BIOS's interrupt vectors */
	.long	0
real_segment:
	.word	0

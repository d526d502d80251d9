/* SPDX-License-Identifier: MIT */
/*
 * Enters from the old kernel, in 64-bit mode with identity mapped memory and interrupts off,
 * and leaves for the new one in the same mode, or by leave.S in one of 32 or 16 bits.
 *
 * On entry CR4 has PAE and little else, registers and flags are unspecified, and the GDT and
 * IDT are unusable (Linux arch/x86/kernel/machine_kexec_64.c, machine_kexec()). On exit:
 * Linux Documentation/arch/x86/boot.rst, "64-bit Boot Protocol".
 *
 * Every address is relative to %rip. There is nothing to relocate.
 */

#define BOOT_CS 0x10
#define BOOT_DS 0x18
#define CODE32 0x20

#define CR0_PE_ET 0x11
#define MSR_EFER 0xc0000080
#define EFER_LME 0x100

	.section .text.entry, "ax", @progbits
	.globl	purgatory_start
	.hidden	purgatory_start
	.type	purgatory_start, @function
purgatory_start:
	cli
	cld
	/* There is a stack only where the old kernel waits to be returned to: on top is where. */
	movq	return_digits(%rip), %rax
	orq	return_slot(%rip), %rax
	jz	1f
	movq	(%rsp), %rax
	movq	%rax, return_address(%rip)
1:
	leaq	stack_end(%rip), %rsp

	leaq	gdt(%rip), %rax
	pushq	%rax
	pushw	$(gdt_end - gdt - 1)
	lgdt	(%rsp)
	addq	$10, %rsp

	movl	$BOOT_DS, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %ss
	movl	%eax, %fs
	movl	%eax, %gs
	pushq	$BOOT_CS
	leaq	1f(%rip), %rax
	pushq	%rax
	lretq
1:
	call	purgatory_main
	call	prepare_exit
	testl	$(32 | 16), exit_mode(%rip)
	jnz	leave64

	movq	entry64_regs+0(%rip), %rax
	movq	entry64_regs+8(%rip), %rbx
	movq	entry64_regs+16(%rip), %rcx
	movq	entry64_regs+24(%rip), %rdx
	movq	entry64_regs+32(%rip), %rsi
	movq	entry64_regs+40(%rip), %rdi
	movq	entry64_regs+48(%rip), %rsp
	movq	entry64_regs+56(%rip), %rbp
	movq	entry64_regs+64(%rip), %r8
	movq	entry64_regs+72(%rip), %r9
	movq	entry64_regs+80(%rip), %r10
	movq	entry64_regs+88(%rip), %r11
	movq	entry64_regs+96(%rip), %r12
	movq	entry64_regs+104(%rip), %r13
	movq	entry64_regs+112(%rip), %r14
	movq	entry64_regs+120(%rip), %r15
	jmpq	*entry64_regs+128(%rip)
	.size	purgatory_start, . - purgatory_start

	/* All of the purgatory lies below 4 GiB: code and stack remain where they are. */
leave64:
	leaq	leave_table(%rip), %rbx
	pushq	$CODE32
	leaq	1f(%rip), %rax
	pushq	%rax
	lretq
	.code32
1:	movl	$CR0_PE_ET, %eax
	movl	%eax, %cr0
	movl	$MSR_EFER, %ecx
	rdmsr
	andl	$~EFER_LME, %eax
	wrmsr
	xorl	%eax, %eax
	movl	%eax, %cr4
	jmp	leave32
	.code64

	.section .data.parameters, "aw", @progbits
	.balign	8
	.globl	entry64_regs
	.hidden	entry64_regs
	.type	entry64_regs, @object
entry64_regs:
	.zero	17 * 8
	.size	entry64_regs, . - entry64_regs

	/* Flat 4 GiB segments, marked accessed so that the processor need not write here. */
	.section .data.gdt, "aw", @progbits
	.balign	16
gdt:
	.quad	0
	.quad	0
	.quad	0x00af9b000000ffff	/* BOOT_CS: code, execute and read, 64-bit */
	.quad	0x00cf93000000ffff	/* BOOT_DS: data, read and write */
	.quad	0x00cf9b000000ffff	/* CODE32: code, execute and read, 32-bit */
gdt_end:

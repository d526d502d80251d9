/* SPDX-License-Identifier: MIT */
/*
 * bool cpuid_with_table(uint32_t leaf, struct cpuid_answer *answer,
 *                       const struct table_register *table)
 *
 * Executes CPUID while IDTR is `table`. An exception comes in at cpuid_is_exception with all
 * registers but the stack pointer as they were, and what it has put on the stack is left behind.
 */
	.text
	.globl	cpuid_with_table, cpuid_is_exception
	.hidden	cpuid_with_table, cpuid_is_exception
	.type	cpuid_with_table, @function
	.type	cpuid_is_exception, @function
#ifdef __x86_64__
cpuid_with_table:
	pushq	%rbp
	movq	%rsp, %rbp
	pushq	%rbx
	subq	$16, %rsp
	sidt	(%rsp)
	lidt	(%rdx)
	movl	%edi, %eax
	xorl	%ecx, %ecx
	cpuid
	movl	%eax, (%rsi)
	movl	%ebx, 4(%rsi)
	movl	%ecx, 8(%rsi)
	movl	%edx, 12(%rsi)
	movl	$1, %eax
1:	lidt	-24(%rbp)
	movq	-8(%rbp), %rbx
	leaveq
	retq
#else
cpuid_with_table:
	pushl	%ebp
	movl	%esp, %ebp
	pushl	%ebx
	pushl	%esi
	subl	$8, %esp
	sidt	(%esp)
	movl	8(%ebp), %eax
	movl	12(%ebp), %esi
	movl	16(%ebp), %ecx
	lidt	(%ecx)
	xorl	%ecx, %ecx
	cpuid
	movl	%eax, (%esi)
	movl	%ebx, 4(%esi)
	movl	%ecx, 8(%esi)
	movl	%edx, 12(%esi)
	movl	$1, %eax
1:	lidt	-16(%ebp)
	movl	-8(%ebp), %esi
	movl	-4(%ebp), %ebx
	leavel
	retl
#endif
	.size	cpuid_with_table, . - cpuid_with_table

cpuid_is_exception:
	xorl	%eax, %eax
	jmp	1b
	.size	cpuid_is_exception, . - cpuid_is_exception

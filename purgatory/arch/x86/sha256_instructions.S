/* SPDX-License-Identifier: MIT */
/*
 * SHA-256's blocks (FIPS 180-4, 6.2.2) by the processor's instructions for it: Intel, Software
 * Developer's Manual, volume 2, SHA256RNDS2, SHA256MSG1 and SHA256MSG2.
 *
 * Four words are in a register. SHA256RNDS2 does two rounds, with two words that already have their
 * constants added; of the sixteen words before them SHA256MSG1 and SHA256MSG2 make the next four.
 * Eight vector registers suffice, so 32 bits have the same code. No register is saved: C code here
 * uses none of them.
 */
#ifdef __x86_64__
#define HASH %rdi
#define DATA %rsi
#define COUNT %rdx
#define CONSTANTS %rcx
#define ORDER %r8
#define STACK %rsp
#else
#define HASH %eax
#define DATA %esi
#define COUNT %edx
#define CONSTANTS %ecx
#define ORDER %edi
#define STACK %esp
#endif

/* SHA256RNDS2 takes its two words from here, and nowhere else. */
#define WORDS %xmm0
/* The working variables as it wants them: a, b, e, f and c, d, g, h, from the highest word down. */
#define ABEF %xmm1
#define CDGH %xmm2
#define PARTIAL %xmm7

/* Rounds 4 * number to 4 * number + 3, of which \now has the words. */
	.macro	rounds number, now
	movdqu	16 * (\number)(CONSTANTS), WORDS
	paddd	\now, WORDS
	sha256rnds2 ABEF, CDGH
	movhlps	WORDS, WORDS		/* the other two; emulators need no call for this one */
	sha256rnds2 CDGH, ABEF
	.endm

/* The words of those rounds, from the message. */
	.macro	load number, now
	movdqu	16 * (\number)(DATA), \now
	pshufb	(ORDER), \now
	.endm

/* Makes the four words behind \now, in the place of the oldest; \before are those before \now. */
	.macro	extend now, before, oldest
	movdqa	\now, PARTIAL
	palignr	$4, \before, PARTIAL
	paddd	PARTIAL, \oldest
	sha256msg2 \now, \oldest
	.endm

/* Four rounds, the words behind them, and of those before them the beginning of others. */
	.macro	rounds_and_words number, now, before, oldest
	extend	\now, \before, \oldest
	rounds	(\number), \now
	sha256msg1 \now, \before
	.endm

	.section .text.sha256_by_instructions, "ax", @progbits
	.globl	sha256_by_instructions
	.hidden	sha256_by_instructions
	.type	sha256_by_instructions, @function
	/*
	 * void sha256_by_instructions(uint32_t hash[8], const uint8_t *data, size_t count,
	 *                             const uint32_t constants[64], const uint8_t order[16])
	 * Hashes count blocks of 64 bytes, at least one. `order` lies at a multiple of 16.
	 */
sha256_by_instructions:
#ifdef __x86_64__
	pushq	%rbp
	movq	%rsp, %rbp
#else
	pushl	%ebp
	movl	%esp, %ebp
	pushl	%esi
	pushl	%edi
	movl	8(%ebp), HASH
	movl	12(%ebp), DATA
	movl	16(%ebp), COUNT
	movl	20(%ebp), CONSTANTS
	movl	24(%ebp), ORDER
#endif
	sub	$32, STACK
	and	$-16, STACK

	/* d c b a and h g f e, from the highest word down. */
	movdqu	(HASH), PARTIAL
	movdqu	16(HASH), CDGH
	pshufd	$0xb1, PARTIAL, PARTIAL		/* c d a b */
	pshufd	$0x1b, CDGH, CDGH		/* e f g h */
	movdqa	PARTIAL, ABEF
	palignr	$8, CDGH, ABEF
	pblendw	$0xf0, PARTIAL, CDGH

1:	movdqa	ABEF, (STACK)
	movdqa	CDGH, 16(STACK)
	load	0, %xmm3
	rounds	0, %xmm3
	load	1, %xmm4
	rounds	1, %xmm4
	sha256msg1 %xmm4, %xmm3
	load	2, %xmm5
	rounds	2, %xmm5
	sha256msg1 %xmm5, %xmm4
	load	3, %xmm6
	rounds_and_words 3, %xmm6, %xmm5, %xmm3
	.irp	number, 4, 8
	rounds_and_words \number, %xmm3, %xmm6, %xmm4
	rounds_and_words \number + 1, %xmm4, %xmm3, %xmm5
	rounds_and_words \number + 2, %xmm5, %xmm4, %xmm6
	rounds_and_words \number + 3, %xmm6, %xmm5, %xmm3
	.endr
	rounds_and_words 12, %xmm3, %xmm6, %xmm4
	extend	%xmm4, %xmm3, %xmm5
	rounds	13, %xmm4
	extend	%xmm5, %xmm4, %xmm6
	rounds	14, %xmm5
	rounds	15, %xmm6
	paddd	(STACK), ABEF
	paddd	16(STACK), CDGH
	add	$64, DATA
	dec	COUNT
	jnz	1b

	pshufd	$0x1b, ABEF, ABEF		/* a b e f to f e b a */
	pshufd	$0xb1, CDGH, CDGH		/* c d g h to d c h g */
	movdqa	ABEF, PARTIAL
	pblendw	$0xf0, CDGH, ABEF
	palignr	$8, PARTIAL, CDGH
	movdqu	ABEF, (HASH)
	movdqu	CDGH, 16(HASH)
#ifdef __x86_64__
	leaveq
	retq
#else
	lea	-8(%ebp), STACK
	popl	%edi
	popl	%esi
	popl	%ebp
	retl
#endif
	.size	sha256_by_instructions, . - sha256_by_instructions

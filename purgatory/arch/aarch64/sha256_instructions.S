/* SPDX-License-Identifier: MIT */
/*
 * SHA-256's blocks (FIPS 180-4, 6.2.2) by the processor's instructions for it: Arm Architecture
 * Reference Manual (DDI 0487), C7.2, SHA256H and the three beside it.
 *
 * Four words are in a register. SHA256H and SHA256H2 do four rounds, with four words that already
 * have their constants added; SHA256SU0 and SHA256SU1 make of the sixteen words before them the
 * next four. All constants stay in registers, and so no register is saved: C code here uses
 * none of them.
 */
	.arch	armv8-a+sha2

	.macro	rounds words, constants
	add	v2.4s, \words\().4s, \constants\().4s
	mov	v3.16b, v0.16b
	sha256h	q0, q1, v2.4s
	sha256h2 q1, q3, v2.4s
	.endm

	.macro	rounds_and_words first, second, third, fourth, constants
	rounds	\first, \constants
	sha256su0 \first\().4s, \second\().4s
	sha256su1 \first\().4s, \third\().4s, \fourth\().4s
	.endm

	.macro	sixteen_rounds_and_words c0, c1, c2, c3
	rounds_and_words v4, v5, v6, v7, \c0
	rounds_and_words v5, v6, v7, v4, \c1
	rounds_and_words v6, v7, v4, v5, \c2
	rounds_and_words v7, v4, v5, v6, \c3
	.endm

	/*
	 * void sha256_by_instructions(uint32_t hash[8], const uint8_t *data, uint64_t count,
	 *                             const uint32_t constants[64])
	 * Hashes count blocks of 64 bytes, at least one.
	 */
	.section .text.sha256_by_instructions, "ax", @progbits
	.globl	sha256_by_instructions
	.hidden	sha256_by_instructions
	.type	sha256_by_instructions, @function
sha256_by_instructions:
	ld1	{v16.4s-v19.4s}, [x3], #64
	ld1	{v20.4s-v23.4s}, [x3], #64
	ld1	{v24.4s-v27.4s}, [x3], #64
	ld1	{v28.4s-v31.4s}, [x3]
	ld1	{v0.4s, v1.4s}, [x0]
1:	ld1	{v4.16b-v7.16b}, [x1], #64
	mov	v8.16b, v0.16b
	mov	v9.16b, v1.16b
	/* Words are big endian. */
	rev32	v4.16b, v4.16b
	rev32	v5.16b, v5.16b
	rev32	v6.16b, v6.16b
	rev32	v7.16b, v7.16b
	sixteen_rounds_and_words v16, v17, v18, v19
	sixteen_rounds_and_words v20, v21, v22, v23
	sixteen_rounds_and_words v24, v25, v26, v27
	rounds	v4, v28
	rounds	v5, v29
	rounds	v6, v30
	rounds	v7, v31
	add	v0.4s, v0.4s, v8.4s
	add	v1.4s, v1.4s, v9.4s
	subs	x2, x2, #1
	b.ne	1b
	st1	{v0.4s, v1.4s}, [x0]
	ret
	.size	sha256_by_instructions, . - sha256_by_instructions

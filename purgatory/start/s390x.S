/* SPDX-License-Identifier: MIT */
/*
 * Stands for the old kernel where a plan is tried out in an emulated machine, see
 * pykexec/simulation: waits until the plan is in memory, and enters it as that kernel does (Linux
 * arch/s390/kernel/machine_kexec.c, relocate_kernel.S).
 *
 * The emulator puts it at address 0 and starts it where the short PSW in its first eight bytes says,
 * as it does with what is no Linux kernel. It says that it is there, and waits until it is told to
 * go: in between the plan's segments are written into memory from outside.
 *
 * Parameters follow that PSW: pykexec/simulation/s390x.py knows their places.
 */

#define STATE 0x200
#define ENTRY 0x208			/* where the plan is entered */
#define CRASH 0x210			/* not 0: the plan is that of a crash */
#define STACK 0x4000			/* the old kernel's, up to here */
#define FRAME 160

#define STATE_READY 1
#define STATE_GO 2

	.section .text.entry, "ax", @progbits
	.long	0x00080000
	.long	0x80000000 + started
	.zero	STATE - 8
	.quad	0
	.quad	0
	.quad	0
	.globl	simulation_start
simulation_start:
started:
	sam64
	lghi	%r2, STATE_READY
	stg	%r2, STATE
1:	lg	%r2, STATE
	cghi	%r2, STATE_GO
	jne	1b

	lg	%r4, ENTRY
	lg	%r5, CRASH
	ltgr	%r5, %r5
	jne	crashed
	/* A PSW of 31 bits, and a reset that loads it: DIAG308_CLEAR_RESET. */
	llihf	%r3, 0x00080000
	oilf	%r3, 0x80000000
	ogr	%r3, %r4
	stg	%r3, 0
	lghi	%r0, 0
	lghi	%r1, 0
	diag	%r0, %r1, 0x308
	j	lost

	/* Asked first whether what was loaded is intact, then entered for good. */
crashed:
	lghi	%r15, STACK - FRAME
	lghi	%r2, 0
	basr	%r14, %r4
	ltgr	%r2, %r2
	jne	lost
	lg	%r4, ENTRY
	lghi	%r2, 1
	basr	%r14, %r4

	/* The old kernel would go on here, with the rest of its panic. */
lost:
	larl	%r1, wait
	lpswe	0(%r1)
	.balign	8
wait:
	.quad	0x0002000180000000
	.quad	0x00000000505900ff

/* SPDX-License-Identifier: MIT */
/*
 * Stands for the old kernel where a plan is tried out in an emulated machine, see
 * pykexec/simulation: makes of a guest of QEMU's hypervisor one whose first kernel has run, and
 * enters the plan as that kernel does (Linux arch/powerpc/kernel/misc_64.S, kexec_sequence).
 *
 * The emulator takes it for the machine's firmware, puts it at address 0, and starts it at 0x100:
 * in real mode and big endian, all processors but this one stopped. It tells the hypervisor what
 * the plan's device tree says that the old kernel has told it (Linux on Power Architecture
 * Reference, "ibm,client-architecture-support"): the kind of page tables and of interrupt
 * controller. Then it says that it is there, and waits until it is told to go: in between the
 * plan's segments are written into memory from outside.
 *
 * Parameters follow at once: pykexec/simulation/ppc64le.py knows their places.
 */

/* What QEMU's own firmware calls for it: QEMU include/hw/ppc/spapr.h. */
#define KVMPPC_H_CAS 0xf002

/* Where the hypervisor puts its answer, a device tree that nobody reads: long before segments. */
#define ANSWER 0x200000
#define ANSWER_SIZE 0x100000

#define STATE 0x108
#define RESULT 0x110			/* what the hypervisor has returned */
#define ENTRY 0x118			/* where the plan is entered */
#define VECTORS 0x120			/* what the hypervisor is told */
#define PARAMETERS_END 0x200

#define STATE_READY 1
#define STATE_GO 2

/* Linux arch/powerpc/include/asm/reg.h; the machine has been reset without the first two. */
#define MSR_SF_LG 63
#define MSR_ME_RI_LE 0x1003

	.section .text.entry, "ax", @progbits
	.zero	0x100
	.globl	simulation_start
simulation_start:
	b	started
	.zero	PARAMETERS_END - 0x104

started:
	li	3, 0
	ori	3, 3, KVMPPC_H_CAS
	li	4, VECTORS
	lis	5, ANSWER >> 16
	lis	6, ANSWER_SIZE >> 16
	sc	1
	std	3, RESULT(0)
	lwsync
	li	3, STATE_READY
	std	3, STATE(0)
1:	ld	3, STATE(0)
	cmpdi	3, STATE_GO
	bne	1b
	isync

	ld	4, ENTRY(0)
	mtsrr0	4
	li	5, 1
	sldi	5, 5, MSR_SF_LG
	ori	5, 5, MSR_ME_RI_LE
	mtsrr1	5
	/* These keep what they had in the old kernel, and lead nowhere. */
	li	1, -1
	li	2, -1
	li	12, -1
	li	13, -1
	.irp	register, 0, 6, 7, 8, 9, 10, 11, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25
	li	\register, 0
	.endr
	.irp	register, 26, 27, 28, 29, 30, 31
	li	\register, 0
	.endr
	li	3, 0
	mtlr	3
	mtctr	3
	li	5, 0
	rfid

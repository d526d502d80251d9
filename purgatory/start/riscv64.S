/* SPDX-License-Identifier: MIT */
/*
 * Stands for the old kernel where a plan is tried out in an emulated machine, see
 * pykexec/simulation: brings the hart into the state in which a running kernel leaves it
 * (Linux arch/riscv/kernel/kexec_relocate.S), and enters the plan.
 *
 * The emulator takes it for a kernel, puts it where its ELF header says, and has SBI firmware
 * start it there: supervisor mode, no paging, a0 the hart's ID, a1 the device tree. It says that
 * it is there, and waits until it is told to go: in between the plan's segments are written into
 * memory from outside.
 *
 * Linked to run at START, below everything that a plan occupies. Parameters follow at
 * once: pykexec/simulation/riscv64.py knows their places.
 */

/* Offsets from the start. */
#define STATE 8
#define INFO 16				/* physical address of the firmware's device tree */
#define TREE 24				/* of the plan's */
#define VECTOR 32			/* stvec */
#define TARGET 40			/* where this program jumps to */
#define ENTRY 48			/* where the plan is entered */
#define PARAMETERS_END 56

#define STATE_READY 1
#define STATE_GO 2

/* RISC-V Supervisor Binary Interface Specification 2.0, chapter 9, "Hart State Management". */
#define SBI_HSM 0x48534d
#define SBI_HART_START 0
#define SBI_HART_STOP 1

#define SSTATUS_FS_VS 0x6600		/* floating point and vector registers: both are off */

	.section .text.entry, "ax", @progbits
	.globl	simulation_start
	/* The file's ELF header and program header, which are not loaded. */
file:
	.byte	0x7f, 'E', 'L', 'F', 2, 1, 1, 0
	.quad	0
	.half	2			/* e_type: ET_EXEC */
	.half	243			/* e_machine: EM_RISCV */
	.word	1
	.quad	simulation_start	/* e_entry */
	.quad	64			/* e_phoff */
	.quad	0			/* e_shoff: no sections */
	.word	0
	.half	64, 56, 1		/* sizes of the headers, one of the second kind */
	.half	0, 0, 0
	.word	1			/* p_type: PT_LOAD */
	.word	7			/* p_flags */
	.quad	simulation_start - file	/* p_offset */
	.quad	simulation_start	/* p_vaddr */
	.quad	simulation_start	/* p_paddr */
	.quad	end - simulation_start	/* p_filesz */
	.quad	end - simulation_start	/* p_memsz */
	.quad	16			/* p_align */
	.balign	16

simulation_start:
	j	started
stand:	j	stand			/* where an exception leads that nobody handles */
	.zero	PARAMETERS_END - STATE

started:
	beqz	a0, first
	/* Firmware begins on any hart. QEMU shows the registers of the first: go on there. */
	mv	a2, a1
	lla	a1, simulation_start
	li	a0, 0
	li	a6, SBI_HART_START
	li	a7, SBI_HSM
	ecall
	li	a6, SBI_HART_STOP
	ecall
	j	stand

first:
	lla	s0, simulation_start
	sd	a1, INFO(s0)
	fence	rw, rw
	li	t0, STATE_READY
	sd	t0, STATE(s0)
	li	t0, STATE_GO
1:	ld	t1, STATE(s0)
	bne	t1, t0, 1b
	fence	rw, rw

	csrw	satp, zero
	csrw	sie, zero
	csrw	sip, zero
	csrw	sepc, zero
	csrw	scause, zero
	csrw	sscratch, zero
	li	t0, SSTATUS_FS_VS
	csrc	sstatus, t0
	ld	t0, VECTOR(s0)
	csrw	stvec, t0
	li	a0, 0
	ld	a1, TREE(s0)
	ld	a2, ENTRY(s0)
	ld	ra, TARGET(s0)
	/* These keep what they had in the old kernel, and lead nowhere. */
	li	sp, -1
	li	gp, -1
	li	tp, -1
	.irp	register, a3, a4, a5, a6, a7, s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11
	mv	\register, zero
	.endr
	.irp	register, t0, t1, t2, t3, t4, t5, t6
	mv	\register, zero
	.endr
	fence.i
	ret
end:

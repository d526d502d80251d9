/* SPDX-License-Identifier: MIT */
/*
 * Stands for the old kernel where a plan is tried out in an emulated machine, see
 * pykexec/simulation. A program for EFI, which leaves its memory map behind as Linux's stub does
 * (drivers/firmware/efi/libstub/mem.c, "efi_get_memory_map"; UEFI Specification 2.10, sections 4.3
 * and 7): by that map alone the next kernel learns of memory. It ends the boot services, goes on in
 * the first 2 MiB, where no segment lies, and brings the processor into the state in which a
 * running kernel leaves it (Linux arch/loongarch/kernel/machine_kexec.c and relocate_kernel.S).
 *
 * The emulator's firmware loads it anywhere. At STAND it says that it is there, and waits until it
 * is told to go: in between the plan's segments are written into memory from outside. Parameters
 * follow STAND's first instruction: pykexec/simulation/loongarch64.py knows their places.
 */

/* Where it goes on: physical address. Kernels leave the first 2 MiB alone. */
#define STAND 0x180000
/* Offsets from there. */
#define STATE 8
#define MAP 16				/* physical address of the table with the memory map */
#define ENTRY 24			/* where the plan is entered */
#define SYSTEM_TABLE 32
#define PARAMETERS_END 40

#define STATE_READY 1
#define STATE_GO 2

/* EFI System Table, Boot Services. */
#define BOOT_SERVICES 96
#define GET_MEMORY_MAP 56
#define ALLOCATE_POOL 64
#define INSTALL_CONFIGURATION_TABLE 192
#define EXIT_BOOT_SERVICES 232
#define ACPI_RECLAIM_MEMORY 9

/* Linux drivers/firmware/efi/libstub/efistub.h, "struct efi_boot_memmap". */
#define MAP_SIZE 0
#define DESCRIPTOR_SIZE 8
#define DESCRIPTOR_VERSION 16
#define MAP_KEY 24
#define BUFFER_SIZE 32
#define DESCRIPTORS 40
#define TABLE_SIZE 0x10000

/* LoongArch Reference Manual, volume 1, 7.4.1 and 7.5.16. */
#define CRMD 0x0
#define DMW0 0x180
#define CRMD_PAGING 0xb0		/* coherent cached, and interrupts off */
#define UNCACHED -0x800			/* in lu52i.d's twelve bits */
#define CACHED -0x700
#define OLD_COMMAND_LINE 0x108000

	.section .text.entry, "ax", @progbits
	.globl	simulation_start
simulation_start:
	/* PE Format: "MS-DOS Stub", "COFF File Header", "Optional Header", "Section Table". */
	.ascii	"MZ"
	.org	0x3c
	.word	pe - simulation_start
pe:	.ascii	"PE\0\0"
	.half	0x6264, 1
	.word	0, 0, 0
	.half	sections - optional, 0x206
optional:
	.half	0x20b
	.byte	0, 0
	.word	end - efi_start, 0, 0
	.word	efi_start - simulation_start
	.word	efi_start - simulation_start
	.quad	0
	.word	0x1000, 0x1000
	.half	0, 0, 0, 0, 0, 0
	.word	0
	.word	end - simulation_start, 0x1000, 0
	.half	10, 0			/* Subsystem: EFI application */
	.quad	0, 0, 0, 0
	.word	0, 6
	.zero	6 * 8
sections:
	.ascii	".text\0\0\0"
	.word	end - efi_start, efi_start - simulation_start
	.word	end - efi_start, efi_start - simulation_start
	.word	0, 0
	.half	0, 0
	.word	0xe0000020
	.org	0x1000

	/* a0: this image's handle; a1: the system table. */
efi_start:
	addi.d	$sp, $sp, -16
	move	$s0, $a0
	move	$s1, $a1
	ld.d	$s2, $s1, BOOT_SERVICES

	ori	$a0, $zero, ACPI_RECLAIM_MEMORY
	lu12i.w	$a1, TABLE_SIZE >> 12
	move	$a2, $sp
	ld.d	$t0, $s2, ALLOCATE_POOL
	jirl	$ra, $t0, 0
	bnez	$a0, stop
	ld.d	$s3, $sp, 0
	la.pcrel $a0, boot_memmap_guid
	move	$a1, $s3
	ld.d	$t0, $s2, INSTALL_CONFIGURATION_TABLE
	jirl	$ra, $t0, 0
	bnez	$a0, stop

1:	lu12i.w	$t1, TABLE_SIZE >> 12
	addi.d	$t1, $t1, -DESCRIPTORS
	st.d	$t1, $s3, MAP_SIZE
	st.d	$t1, $s3, BUFFER_SIZE
	st.d	$zero, $s3, DESCRIPTOR_VERSION
	addi.d	$a0, $s3, MAP_SIZE
	addi.d	$a1, $s3, DESCRIPTORS
	addi.d	$a2, $s3, MAP_KEY
	addi.d	$a3, $s3, DESCRIPTOR_SIZE
	addi.d	$a4, $s3, DESCRIPTOR_VERSION
	ld.d	$t0, $s2, GET_MEMORY_MAP
	jirl	$ra, $t0, 0
	bnez	$a0, stop
	move	$a0, $s0
	ld.d	$a1, $s3, MAP_KEY
	ld.d	$t0, $s2, EXIT_BOOT_SERVICES
	jirl	$ra, $t0, 0
	bnez	$a0, 1b			/* the map has changed since */

	/* Interrupts off; windows as Linux has them; out of the firmware's page tables. */
	ori	$t0, $zero, 4
	csrxchg	$zero, $t0, CRMD
	lu52i.d	$t0, $zero, UNCACHED
	ori	$t0, $t0, 1
	csrwr	$t0, DMW0
	lu52i.d	$s4, $zero, CACHED
	ori	$t0, $s4, 0x11
	csrwr	$t0, DMW0 + 1
	csrwr	$zero, DMW0 + 2
	csrwr	$zero, DMW0 + 3
	la.pcrel $t0, 2f
	or	$t0, $t0, $s4
	jr	$t0
2:	ori	$t0, $zero, CRMD_PAGING
	csrwr	$t0, CRMD

	lu12i.w	$s5, STAND >> 12
	or	$s5, $s5, $s4
	la.pcrel $t0, stand
	la.pcrel $t1, stand_end
	move	$t2, $s5
3:	ld.d	$t3, $t0, 0
	st.d	$t3, $t2, 0
	addi.d	$t0, $t0, 8
	addi.d	$t2, $t2, 8
	bltu	$t0, $t1, 3b
	st.d	$s3, $s5, MAP
	st.d	$s1, $s5, SYSTEM_TABLE
	dbar	0
	ibar	0
	jr	$s5

stop:	idle	0
	b	stop

	/* Copied to STAND; s4 is the window, s5 where this is in it. */
	.balign	8
stand:	b	stand_started
	.balign	8
	.zero	PARAMETERS_END - STATE
stand_started:
	ori	$t0, $zero, STATE_READY
	st.d	$t0, $s5, STATE
	ori	$t0, $zero, STATE_GO
4:	ld.d	$t1, $s5, STATE
	bne	$t1, $t0, 4b
	dbar	0

	/* EFI's runtime services are left as firmware knows them: so this is no machine of EFI's. */
	move	$a0, $zero
	lu12i.w	$a1, OLD_COMMAND_LINE >> 12
	ori	$a1, $a1, OLD_COMMAND_LINE & 0xfff
	or	$a1, $a1, $s4
	ld.d	$a2, $s5, SYSTEM_TABLE
	ld.d	$a3, $s5, ENTRY
	or	$a3, $a3, $s4
	move	$a4, $zero
	/* These keep what they had in the old kernel, and lead nowhere. */
	addi.d	$sp, $zero, -1
	addi.d	$tp, $zero, -1
	.irp	register, ra, a5, a6, a7, t0, t1, t2, t3, t4, t5, t6, t7, t8, fp
	move	$\register, $zero
	.endr
	.irp	register, s0, s1, s2, s3, s4, s5, s6, s7, s8
	move	$\register, $zero
	.endr
	dbar	0
	ibar	0
	jr	$a3
	.balign	8
stand_end:

	/* Linux include/linux/efi.h, "LINUX_EFI_BOOT_MEMMAP_GUID". */
	.balign	8
boot_memmap_guid:
	.word	0x800f683f
	.half	0xd08b, 0x423a
	.byte	0xa2, 0x93, 0x96, 0x5c, 0x3c, 0x6f, 0xe2, 0xb4
	.balign	0x1000
end:

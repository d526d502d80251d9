/* SPDX-License-Identifier: MIT */
/*
 * Device registers in memory, through the window for uncached accesses, which are strongly ordered
 * (LoongArch Reference Manual, volume 1, 2.1.7, "Memory access types"; Linux
 * arch/loongarch/include/asm/loongarch.h, "CSR_DMW0_BASE"). One plain load or store each, which a
 * hypervisor can emulate.
 */
#ifndef LOONGARCH64_IO_H
#define LOONGARCH64_IO_H

#include <stdint.h>

#define UNCACHED 0x8000000000000000

/* Reads 1, 2 or 4 bytes; of any other width 4. */
static inline uint32_t read_device(uint64_t address, uint32_t width)
{
	const uint64_t at = UNCACHED | address;
	uint32_t value;

	if (width == 1)
		__asm__ volatile("ld.bu %0, %1, 0" : "=r"(value) : "r"(at) : "memory");
	else if (width == 2)
		__asm__ volatile("ld.hu %0, %1, 0" : "=r"(value) : "r"(at) : "memory");
	else
		__asm__ volatile("ld.w %0, %1, 0" : "=r"(value) : "r"(at) : "memory");
	return value;
}

static inline void write_device(uint64_t address, uint32_t width, uint32_t value)
{
	const uint64_t at = UNCACHED | address;

	if (width == 1)
		__asm__ volatile("st.b %0, %1, 0" : : "r"(value), "r"(at) : "memory");
	else if (width == 2)
		__asm__ volatile("st.h %0, %1, 0" : : "r"(value), "r"(at) : "memory");
	else
		__asm__ volatile("st.w %0, %1, 0" : : "r"(value), "r"(at) : "memory");
}

#endif

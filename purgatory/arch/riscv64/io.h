/* SPDX-License-Identifier: MIT */
/*
 * Device registers in memory. One plain load or store each, which a hypervisor can emulate; the
 * fences keep them in order among each other where a device's memory does not do so by itself
 * (RISC-V Privileged Architecture, "Memory-Ordering PMAs").
 */
#ifndef RISCV64_IO_H
#define RISCV64_IO_H

#include <stdint.h>

/* Reads 1, 2 or 4 bytes; of any other width 4. */
static inline uint32_t read_device(uint64_t address, uint32_t width)
{
	uint32_t value;

	if (width == 1)
		__asm__ volatile("fence io, i\n\tlbu %0, (%1)" : "=r"(value) : "r"(address) : "memory");
	else if (width == 2)
		__asm__ volatile("fence io, i\n\tlhu %0, (%1)" : "=r"(value) : "r"(address) : "memory");
	else
		__asm__ volatile("fence io, i\n\tlw %0, (%1)" : "=r"(value) : "r"(address) : "memory");
	return value;
}

static inline void write_device(uint64_t address, uint32_t width, uint32_t value)
{
	if (width == 1)
		__asm__ volatile("fence io, o\n\tsb %0, (%1)" : : "r"(value), "r"(address) : "memory");
	else if (width == 2)
		__asm__ volatile("fence io, o\n\tsh %0, (%1)" : : "r"(value), "r"(address) : "memory");
	else
		__asm__ volatile("fence io, o\n\tsw %0, (%1)" : : "r"(value), "r"(address) : "memory");
}

#endif

/* SPDX-License-Identifier: MIT */
/*
 * Device registers in memory. One plain load or store each, by a base register and nothing else: a
 * hypervisor cannot emulate the forms with write-back.
 */
#ifndef ARM_IO_H
#define ARM_IO_H

#include <stdint.h>

/* Reads 1, 2 or 4 bytes; of any other width 4. */
static inline uint32_t read_device(uint64_t address, uint32_t width)
{
	const uint32_t from = (uint32_t)address;
	uint32_t value;

	if (width == 1)
		__asm__ volatile("ldrb %0, [%1]" : "=r"(value) : "r"(from) : "memory");
	else if (width == 2)
		__asm__ volatile("ldrh %0, [%1]" : "=r"(value) : "r"(from) : "memory");
	else
		__asm__ volatile("ldr %0, [%1]" : "=r"(value) : "r"(from) : "memory");
	return value;
}

static inline void write_device(uint64_t address, uint32_t width, uint32_t value)
{
	const uint32_t to = (uint32_t)address;

	if (width == 1)
		__asm__ volatile("strb %0, [%1]" : : "r"(value), "r"(to) : "memory");
	else if (width == 2)
		__asm__ volatile("strh %0, [%1]" : : "r"(value), "r"(to) : "memory");
	else
		__asm__ volatile("str %0, [%1]" : : "r"(value), "r"(to) : "memory");
}

#endif

/* SPDX-License-Identifier: MIT */
/*
 * Device registers in memory. One plain load or store each, by a base register and nothing
 * else: a hypervisor cannot emulate the forms with write-back or with two registers.
 */
#ifndef AARCH64_IO_H
#define AARCH64_IO_H

#include <stdint.h>

/* Reads 1, 2 or 4 bytes; of any other width 4. */
static inline uint32_t read_device(uint64_t address, uint32_t width)
{
	uint32_t value;

	if (width == 1)
		__asm__ volatile("ldrb %w0, [%1]" : "=r"(value) : "r"(address) : "memory");
	else if (width == 2)
		__asm__ volatile("ldrh %w0, [%1]" : "=r"(value) : "r"(address) : "memory");
	else
		__asm__ volatile("ldr %w0, [%1]" : "=r"(value) : "r"(address) : "memory");
	return value;
}

static inline void write_device(uint64_t address, uint32_t width, uint32_t value)
{
	if (width == 1)
		__asm__ volatile("strb %w0, [%1]" : : "r"(value), "r"(address) : "memory");
	else if (width == 2)
		__asm__ volatile("strh %w0, [%1]" : : "r"(value), "r"(address) : "memory");
	else
		__asm__ volatile("str %w0, [%1]" : : "r"(value), "r"(address) : "memory");
}

#endif

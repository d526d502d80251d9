/* SPDX-License-Identifier: MIT */
/* What caches.c and switch.S owe each other. */
#ifndef MMU_H
#define MMU_H

#include <stdint.h>

/* Of the mode that runs, in the order in which switch.S loads them. */
struct mmu_registers {
	uint32_t control; /* SCTLR; HSCTLR in HYP mode */
	uint32_t table_control; /* TTBCR; HTCR */
	uint32_t base; /* TTBR0; HTTBR's lower half */
	uint32_t access; /* DACR; HMAIR0 */
	uint32_t base_high; /* nothing; HTTBR's upper half */
};

/* Sets the registers, the control register last, with no translation left over from before. */
void mmu_on(const struct mmu_registers *registers);

/*
 * Cleans and invalidates so many lines from `start` on, of `line` bytes each: all that was written
 * with the MMU on. Then sets the registers, the control register first. No translation is left over.
 */
void mmu_off(const struct mmu_registers *registers, uint32_t start, uint32_t lines, uint32_t line);

#endif

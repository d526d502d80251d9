/* SPDX-License-Identifier: MIT */
/* What caches.c and switch.S owe each other. */
#ifndef MMU_H
#define MMU_H

#define MMU_SCTLR 0
#define MMU_TTBR0 16
#define MMU_VBAR 32
#define MMU_HAS_TCR2 48

#ifndef __ASSEMBLER__

#include <stddef.h>
#include <stdint.h>

/* System registers of the exception level that runs: SCTLR_EL1 or SCTLR_EL2, and so on. */
struct mmu_registers {
	uint64_t sctlr, tcr, ttbr0, mair, vbar, tcr2;
	uint64_t has_tcr2; /* not 0: the processor has TCR2 */
};

_Static_assert(offsetof(struct mmu_registers, ttbr0) == MMU_TTBR0, "as switch.S loads it");
_Static_assert(offsetof(struct mmu_registers, vbar) == MMU_VBAR, "as switch.S loads it");
_Static_assert(offsetof(struct mmu_registers, has_tcr2) == MMU_HAS_TCR2, "as switch.S loads it");

/* Sets the registers, SCTLR last, with no translation left over from before. */
void mmu_on(const struct mmu_registers *registers);

/*
 * Cleans and invalidates [start, end), all that was written with the MMU on, by lines of so many
 * bytes; then sets the registers, SCTLR first. No translation is left over.
 */
void mmu_off(const struct mmu_registers *registers, uint64_t start, uint64_t end, uint64_t line);

#endif
#endif

/* SPDX-License-Identifier: MIT */
/* How an x86 purgatory leaves for the new kernel; see leave.S. */
#ifndef EXIT_H
#define EXIT_H

#include <stdint.h>

extern uint32_t exit_mode;
extern uint32_t entry32_regs[9];

struct entry16_regs {
	uint32_t general[8];
	uint16_t ds, es, ss, fs, gs, ip, cs, pad;
};

extern struct entry16_regs entry16_regs;

/* Called last before the registers are loaded. */
void prepare_exit(void);

/* Where a kernel of 32 or 16 bits is entered. */
static inline uint64_t legacy_entry(void)
{
	if (exit_mode == 16)
		return ((uint32_t)entry16_regs.cs << 4) + entry16_regs.ip;
	return entry32_regs[8];
}

#endif

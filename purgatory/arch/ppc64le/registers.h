/* SPDX-License-Identifier: MIT */
/* What the new kernel is entered with, of which the console needs a part. */
#ifndef PPC64LE_REGISTERS_H
#define PPC64LE_REGISTERS_H

#include <stdint.h>

/* Loaded by entry.S. */
struct entry_registers {
	uint64_t tree; /* r3 */
	uint64_t opal_base; /* r8 */
	uint64_t opal_entry; /* r9 */
	uint64_t kernel; /* r4, and where it is entered */
};

/* Hidden also where it is not defined: only then is it reached without an address to relocate. */
extern struct entry_registers entry_regs __attribute__((visibility("hidden")));

#endif

/* SPDX-License-Identifier: MIT */
#ifndef REGISTERS_H
#define REGISTERS_H

#include <stdint.h>

/* Written by the loader: see README.md, "Parameters". */
struct entry_regs {
	uint64_t crash_base;
	uint64_t crash_size;
	uint64_t kernel;
};

extern struct entry_regs entry_regs;

/* What the purgatory was entered with: r6 to r15, then r2. */
struct caller {
	uint64_t registers[10];
	uint64_t argument;
};

extern struct caller caller;

/* The purgatory's own memory, from the first byte to behind the last. */
extern uint8_t purgatory_start[];
extern uint8_t stack_end[];

/* Goes back to who called the purgatory as a function, with `value` in r2. */
_Noreturn void return_to_caller(uint64_t value);
/* Goes on at `function` with another stack, which ends at `stack`. */
_Noreturn void continue_at(uint64_t function, uint64_t stack);
/* Resets the machine, but for its memory; the PSW at absolute 0 is loaded. */
void reset_with(uint64_t subcode);
/* Stops this processor with an address that the operator sees. */
_Noreturn void wait_at(uint64_t address);

#endif

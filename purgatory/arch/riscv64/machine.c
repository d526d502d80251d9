// SPDX-License-Identifier: MIT
#include "print.h"
#include "purgatory.h"

/* a1, then the address to enter; loaded by entry.S. */
extern uint64_t entry_regs[2];

extern const char purgatory_start[], stack_end[];

uint64_t kernel_entry(void)
{
	return entry_regs[1];
}

/*
 * Called by entry.S for an exception, with scause, sepc and stval. It was in here, or in what was
 * entered: a new kernel has no console before it has taken over stvec itself.
 */
_Noreturn void report_exception(uint64_t cause, uint64_t pc, uint64_t value)
{
	const uint64_t start = (uintptr_t)purgatory_start, end = (uintptr_t)stack_end;

	print("pykexec purgatory: exception ");
	print_hex(cause);
	print(" at ");
	print_hex(pc);
	print(", value ");
	print_hex(value);
	print("\npykexec purgatory: ");
	print(pc >= start && pc < end ? "not starting the new kernel"
				      : "the new kernel failed before it had a console");
	print("; halted, reset the machine\n");
	console_flush();
	halt();
}

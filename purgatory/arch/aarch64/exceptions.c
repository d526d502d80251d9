// SPDX-License-Identifier: MIT
#include <stdbool.h>

#include "print.h"
#include "purgatory.h"

/* Called by entry.S, with ESR, ELR and FAR. */
_Noreturn void report_exception(uint64_t syndrome, uint64_t pc, uint64_t address)
{
	static bool reported;

	/* An exception while this is printed, as from a UART that is not there. */
	if (reported)
		halt();
	reported = true;
	print(NAME "exception ");
	print_hex(syndrome);
	print(" at ");
	print_hex(pc);
	print(", address ");
	print_hex(address);
	print("\n" NAME "not starting the new kernel; halted, reset the machine\n");
	console_flush();
	halt();
}

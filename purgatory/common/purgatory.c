// SPDX-License-Identifier: MIT
/* What every purgatory does, in this order: verify, back up, let the new kernel go. */
#include "purgatory.h"

#include "print.h"

PARAMETER uint64_t backup_src_start = 0;
PARAMETER uint64_t backup_src_size = 0;
PARAMETER uint64_t backup_dst_start = 0;

/* Saves memory that the new kernel will use before it can copy it away itself. */
static void back_up(void)
{
	const uint8_t *from = (const uint8_t *)(uintptr_t)backup_src_start;
	uint8_t *to = (uint8_t *)(uintptr_t)backup_dst_start;

	for (uint64_t i = 0; i < backup_src_size; i++)
		to[i] = from[i];
}

void purgatory_main(void)
{
	console_start();
	verify_or_halt();
	back_up();
	print(NAME "entering the new kernel at ");
	print_hex(kernel_entry());
	print("\n");
	console_flush();
}

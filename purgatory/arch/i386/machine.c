// SPDX-License-Identifier: MIT
#include "purgatory.h"

#include "exit.h"

uint64_t kernel_entry(void)
{
	return legacy_entry();
}

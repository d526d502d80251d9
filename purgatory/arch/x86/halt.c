// SPDX-License-Identifier: MIT
#include "purgatory.h"

_Noreturn void halt(void)
{
	/* A system management interrupt may end a hlt. */
	for (;;)
		__asm__ volatile("cli; hlt" : : : "memory");
}

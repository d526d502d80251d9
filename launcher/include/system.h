/* SPDX-License-Identifier: MIT */
/* The running kernel, without a C library. calls.h in arch/ has the numbers of the calls. */
#ifndef SYSTEM_H
#define SYSTEM_H

#include <stddef.h>
#include <stdint.h>

/* arch/ARCH/start.S. Returns what the kernel returns: a negative errno for a failure. */
long system_call(long number, long first, long second, long third, long fourth);

/* The processes' own entry, called by arch/ARCH/start.S with the stack as the kernel left it:
 * the number of arguments, the arguments, NULL, the environment, NULL. */
_Noreturn void launcher_main(long *stack);

#endif

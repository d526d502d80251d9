/* SPDX-License-Identifier: MIT */
#ifndef CPUID_H
#define CPUID_H

#include <stdbool.h>
#include <stdint.h>

struct cpuid_answer {
	uint32_t eax, ebx, ecx, edx;
};

/* CPUID of a leaf, and of its subleaf 0. False where asking is an exception: there is no answer. */
bool ask_cpuid(uint32_t leaf, struct cpuid_answer *answer);

#endif

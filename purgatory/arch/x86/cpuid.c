// SPDX-License-Identifier: MIT
/*
 * What the processor says of itself, if it may be asked.
 *
 * A processor of the 486's time may not have CPUID. A guest whose registers are encrypted (AMD
 * SEV-ES and SEV-SNP) has it, but it is an exception there, #VC, that a kernel would have to
 * handle (AMD64 Architecture Programmer's Manual, volume 2, 15.35), and so it may be, #VE, in one
 * by Intel TDX (Linux Documentation/arch/x86/tdx.rst, "CPUID Behavior"). No file of a running
 * kernel tells of all of these. So the question is asked with a table of interrupts for this one
 * instruction, and an exception is an answer too.
 */
#include "cpuid.h"

#define INVALID_OPCODE 6
#define GENERAL_PROTECTION 13
#define VIRTUALIZATION 20
#define VMM_COMMUNICATION 29

#define INTERRUPT_GATE 0x8e /* present, privilege 0 */
#define BOOT_CS 0x10 /* entry.S and leave.S: in either GDT the code that runs now */

/* SDM, volume 3, "IDT Descriptors". */
struct gate {
	uint16_t low;
	uint16_t selector;
	uint8_t stack;
	uint8_t type;
	uint16_t middle;
#ifdef __x86_64__
	uint32_t high;
	uint32_t zero;
#endif
};

struct __attribute__((packed)) table_register {
	uint16_t limit;
	uintptr_t base;
};

/* CPUID, with another table in IDTR; an exception that it knows leads to the second of them. */
bool cpuid_with_table(uint32_t leaf, struct cpuid_answer *answer,
		      const struct table_register *table);
__attribute__((visibility("hidden"))) void cpuid_is_exception(void);

static struct gate gate_to(void (*handler)(void))
{
	const uintptr_t address = (uintptr_t)handler;
	struct gate gate = { .selector = BOOT_CS, .type = INTERRUPT_GATE };

	gate.low = (uint16_t)address;
	gate.middle = (uint16_t)(address >> 16);
#ifdef __x86_64__
	gate.high = (uint32_t)(address >> 32);
#endif
	return gate;
}

bool ask_cpuid(uint32_t leaf, struct cpuid_answer *answer)
{
	struct gate gates[VMM_COMMUNICATION + 1];
	const struct table_register table = { sizeof(gates) - 1, (uintptr_t)gates };

	/* Any other interrupt finds none, as before. */
	for (int i = 0; i <= VMM_COMMUNICATION; i++)
		gates[i] = (struct gate){};
	gates[INVALID_OPCODE] = gate_to(cpuid_is_exception);
	gates[GENERAL_PROTECTION] = gate_to(cpuid_is_exception);
	gates[VIRTUALIZATION] = gate_to(cpuid_is_exception);
	gates[VMM_COMMUNICATION] = gate_to(cpuid_is_exception);
	return cpuid_with_table(leaf, answer, &table);
}

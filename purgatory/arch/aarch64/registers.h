/* SPDX-License-Identifier: MIT */
/* System registers, read and written. Arm Architecture Reference Manual (DDI 0487), D19. */
#ifndef REGISTERS_H
#define REGISTERS_H

#include <stdint.h>

/* By number, where the assembler knows the name from a later architecture on only. */
#define ID_AA64MMFR2_EL1 "s3_0_c0_c7_2"
#define ID_AA64MMFR3_EL1 "s3_0_c0_c7_3"
#define SVCR "s3_3_c4_c2_2"
#define TCR2_EL1 "s3_0_c2_c0_3"
#define TCR2_EL2 "s3_4_c2_c0_3"

#define READ_REGISTER(name) \
	({ \
		uint64_t value_; \
		__asm__ volatile("mrs %0, " name : "=r"(value_) : : "memory"); \
		value_; \
	})

#define WRITE_REGISTER(name, value) \
	__asm__ volatile("msr " name ", %0\n\tisb" : : "r"((uint64_t)(value)) : "memory")

/* That of the exception level that runs. */
#define READ_REGISTER_HERE(name) \
	(exception_level() == 2 ? READ_REGISTER(name "_el2") : READ_REGISTER(name "_el1"))

static inline uint32_t exception_level(void)
{
	return (uint32_t)(READ_REGISTER("CurrentEL") >> 2 & 3);
}

/* One of the fields of 4 bits that ID registers are made of. */
static inline uint32_t id_field(uint64_t value, uint32_t first_bit)
{
	return (uint32_t)(value >> first_bit & 0xf);
}

#endif

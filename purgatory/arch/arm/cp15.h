/* SPDX-License-Identifier: MIT */
/*
 * System control by coprocessor 15, read and written. Arm Architecture Reference Manual for ARMv7-A
 * (DDI 0406), B3.17 and B4. Barriers and the rest by these numbers too: processors before ARMv7,
 * which go by here, have no instructions for them.
 */
#ifndef CP15_H
#define CP15_H

#include <stdbool.h>
#include <stdint.h>

/* crn, crm and op2 of a register, op1 before them. */
#define READ_CP15(op1, crn, crm, op2) \
	({ \
		uint32_t value_; \
		__asm__ volatile("mrc p15, " #op1 ", %0, c" #crn ", c" #crm ", " #op2 \
				 : "=r"(value_) \
				 : \
				 : "memory"); \
		value_; \
	})

#define WRITE_CP15(op1, crn, crm, op2, value) \
	__asm__ volatile("mcr p15, " #op1 ", %0, c" #crn ", c" #crm ", " #op2 \
			 : \
			 : "r"((uint32_t)(value)) \
			 : "memory")

/* Data synchronization barrier. */
static inline void barrier(void)
{
	WRITE_CP15(0, 7, 10, 4, 0);
}

#define MODE_SVC 0x13u
#define MODE_HYP 0x1au

static inline uint32_t mode(void)
{
	uint32_t cpsr;

	__asm__ volatile("mrs %0, cpsr" : "=r"(cpsr));
	return cpsr & 0x1f;
}

#endif

/* SPDX-License-Identifier: MIT */
/*
 * Translation tables that map addresses to themselves, of either format. Arm Architecture Reference
 * Manual for ARMv7-A (DDI 0406): short descriptors, B3.5.1; long ones, B3.6.1.
 */
#ifndef TABLES_H
#define TABLES_H

#include <stdbool.h>
#include <stdint.h>

/* Whole pages of 4 KiB and blocks: 1 MiB with short descriptors, 2 MiB with long ones. */
enum memory {
	OWN, /* written and executed */
	SEGMENT, /* read, never written or executed */
	DEVICE, /* Strongly-ordered, never executed */
};

/* What the long format's `DEVICE` and all else are in MAIR0: its fields 1 and 0. */
#define MEMORY_TYPES 0x00ffu

/*
 * Starts empty tables, all of them in memory of their own; `wide`: of long descriptors. Returns
 * the address of the first, which is below 4 GiB.
 */
uint32_t tables_start(bool wide);

/* Maps the pages of [start, last]; tells whether none of them was mapped as something else. */
bool tables_map(uint32_t start, uint32_t last, enum memory memory);

#endif

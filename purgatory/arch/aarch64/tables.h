/* SPDX-License-Identifier: MIT */
/*
 * Translation tables that map addresses to themselves: VMSAv8-64, stage 1. Arm Architecture
 * Reference Manual (DDI 0487), D8.3, "Translation table descriptor formats".
 */
#ifndef TABLES_H
#define TABLES_H

#include <stdbool.h>
#include <stdint.h>

/* Attributes of a page or block. */
#define ATTRIBUTE_INDEX(index) ((uint64_t)(index) << 2) /* of MAIR's fields */
#define AP_EL0 (1ull << 6) /* where the exception level has no EL0 beside it: RES1 */
#define AP_READ_ONLY (1ull << 7)
#define INNER_SHAREABLE (3ull << 8) /* not with wide addresses: TCR says it then */
#define ACCESSED (1ull << 10)
#define EXECUTE_NEVER_PRIVILEGED (1ull << 53)
#define EXECUTE_NEVER (1ull << 54)

/* Numbers are of bits: sizes are powers of two. */
struct tables {
	uint32_t page_bits; /* the granule: 12, 14 or 16 */
	uint32_t address_bits; /* what is mapped lies below 1 << this; 32 to 52 */
	bool wide; /* TCR.DS: 52 bits with pages of 4 or 16 KiB */
	uint64_t root; /* address of the first table */
	uint64_t next, end; /* what is left of the memory that tables are taken from */
};

enum mapping {
	MAPPED,
	NO_TABLE_LEFT,
	MAPPED_BEFORE, /* an address would be mapped twice */
};

/*
 * Makes an empty table in the memory [start, end); page_bits, address_bits and wide are set.
 * Returns whether there was room for it.
 */
bool tables_start(struct tables *tables, uint64_t start, uint64_t end);

/* Maps [start, end), whole pages, by pages at level 3 and blocks at level 2. */
enum mapping tables_map(struct tables *tables, uint64_t start, uint64_t end, uint64_t attributes);

#endif

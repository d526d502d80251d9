// SPDX-License-Identifier: MIT
#include "tables.h"

#include <stddef.h>

#include "purgatory.h"

#define PAGE_BITS 12u
#define PAGE_MASK ((1u << PAGE_BITS) - 1)

/*
 * One entry for each block of the 4 GiB: of short descriptors the table of level 1, of long ones the
 * four of level 2, one behind the other. It is of one size in both.
 */
#define TOP_SIZE (16u << 10)
/* Of the pages in one block, in the format that takes more. */
#define PAGES_SIZE (4u << 10)
/* Two for each segment, where it begins and where it ends, for the purgatory, and for a UART. */
#define PAGES_MAX (2 * (SHA256_REGIONS_MAX + 2))

static _Alignas(4096) uint8_t table_memory[2 * TOP_SIZE - 4096 + PAGES_MAX * PAGES_SIZE];
static _Alignas(32) uint64_t first_level[4];

static bool wide;
static uint8_t *top, *next;

static uint32_t address_of(const void *memory)
{
	return (uint32_t)(uintptr_t)memory;
}

static uint32_t block_bits(void)
{
	return wide ? 21 : 20;
}

static uint64_t entry_of(const uint8_t *table, uint32_t index)
{
	return wide ? ((const uint64_t *)(const void *)table)[index]
		    : ((const uint32_t *)(const void *)table)[index];
}

static void set_entry(uint8_t *table, uint32_t index, uint64_t entry)
{
	if (wide)
		((uint64_t *)(void *)table)[index] = entry;
	else
		((uint32_t *)(void *)table)[index] = (uint32_t)entry;
}

static void clear(uint8_t *table, uint32_t size)
{
	for (uint32_t i = 0; i < size; i += 4)
		*(uint32_t *)(void *)(table + i) = 0;
}

/*
 * Short: TEX, C and B are 001 11 for memory that is cached as far as it can be, 000 00 for what is
 * Strongly-ordered; AP is 001 or, to be read only, 101. Nothing is shared with other processors,
 * which are off: so it is cached whether or not this one takes part in their coherency.
 */
static uint64_t short_entry(uint32_t address, bool block, enum memory memory)
{
	const uint32_t never = memory != OWN, cached = memory != DEVICE;
	const uint32_t read_only = memory == SEGMENT;

	if (block)
		return address | read_only << 15 | cached << 12 | 1u << 10 | never << 4 |
		       cached << 3 | cached << 2 | 2u;
	return address | read_only << 9 | cached << 6 | 1u << 4 | cached << 3 | cached << 2 | 2u |
	       never;
}

/* Long: the access flag, AP, of which bit 6 is to be 1 in HYP mode, and MAIR's field. */
static uint64_t long_entry(uint32_t address, bool block, enum memory memory)
{
	const uint64_t never = memory != OWN;
	const uint32_t read_only = memory == SEGMENT, field = memory == DEVICE;

	return never << 54 | address | 1u << 10 | read_only << 7 | 1u << 6 | field << 2 |
	       (block ? 1u : 3u);
}

static uint64_t leaf(uint32_t address, bool block, enum memory memory)
{
	return wide ? long_entry(address, block, memory) : short_entry(address, block, memory);
}

static bool set_leaf(uint8_t *table, uint32_t index, uint64_t entry)
{
	const uint64_t before = entry_of(table, index);

	set_entry(table, index, entry);
	return !before || before == entry;
}

/* The table of a block's pages; 0: the block is mapped as a whole. */
static uint8_t *pages_of(uint32_t block)
{
	const uint32_t table_kind = wide ? 3 : 1;
	const uint64_t entry = entry_of(top, block);

	if (!entry) {
		uint8_t *fresh = next;

		next += PAGES_SIZE;
		clear(fresh, PAGES_SIZE);
		set_entry(top, block, address_of(fresh) | table_kind);
		return fresh;
	}
	if ((entry & 3) != table_kind)
		return NULL;
	return (uint8_t *)(uintptr_t)(uint32_t)(entry & ~(uint64_t)(wide ? 0xfff : 0x3ff));
}

uint32_t tables_start(bool long_descriptors)
{
	const uint32_t start = (address_of(table_memory) + TOP_SIZE - 1) & -TOP_SIZE;

	wide = long_descriptors;
	top = table_memory + (start - address_of(table_memory));
	next = top + TOP_SIZE;
	clear(top, TOP_SIZE);
	if (!wide)
		return start;
	for (uint32_t i = 0; i < 4; i++)
		first_level[i] = (start + i * 4096) | 3;
	return address_of(first_level);
}

bool tables_map(uint32_t start, uint32_t last, enum memory memory)
{
	const uint32_t block_mask = (1u << block_bits()) - 1;
	bool alone = true;

	last |= PAGE_MASK;
	for (uint64_t at = start & ~PAGE_MASK; at <= last && alone;) {
		const uint32_t address = (uint32_t)at, block = address >> block_bits();
		const bool whole = !(address & block_mask) && last - address >= block_mask;

		if (whole) {
			alone = set_leaf(top, block, leaf(address, true, memory));
			at += block_mask + 1ull;
		} else {
			uint8_t *pages = pages_of(block);

			alone = pages && set_leaf(pages, (address & block_mask) >> PAGE_BITS,
						  leaf(address, false, memory));
			at += PAGE_MASK + 1ull;
		}
	}
	return alone;
}

// SPDX-License-Identifier: MIT
#include "tables.h"

#define ENTRY_BITS 3

#define VALID 1ull
#define TABLE_OR_PAGE 2ull /* at level 3 a page, above it a table; a block lacks it */

static uint64_t *entry_at(uint64_t table, uint64_t index)
{
	return (uint64_t *)(uintptr_t)table + index;
}

static uint64_t below(uint32_t bits)
{
	return (1ull << bits) - 1;
}

/*
 * An address as descriptors have it. Of 52 bits, those that no longer fit in their places are
 * where lower ones of the page are zero: with 64 KiB 51 to 48 in 15 to 12, else 51 and 50 in 9
 * and 8.
 */
static uint64_t encoded(const struct tables *tables, uint64_t address)
{
	if (tables->page_bits == 16)
		return (address & below(48)) | address >> 48 << 12;
	if (tables->wide)
		return (address & below(50)) | address >> 50 << 8;
	return address;
}

static uint64_t decoded(const struct tables *tables, uint64_t descriptor)
{
	const uint64_t page_mask = below(tables->page_bits);

	if (tables->page_bits == 16)
		return (descriptor & below(48) & ~page_mask) | (descriptor >> 12 & 0xf) << 48;
	if (tables->wide)
		return (descriptor & below(50) & ~page_mask) | (descriptor >> 8 & 3) << 50;
	return descriptor & below(48) & ~page_mask;
}

/* Returns the address of an empty table, or 0. */
static uint64_t take_table(struct tables *tables)
{
	const uint64_t table = tables->next, size = 1ull << tables->page_bits;

	if (tables->end - table < size)
		return 0;
	tables->next = table + size;
	for (uint64_t i = 0; i < size >> ENTRY_BITS; i++)
		*entry_at(table, i) = 0;
	return table;
}

bool tables_start(struct tables *tables, uint64_t start, uint64_t end)
{
	const uint64_t page_mask = below(tables->page_bits);

	tables->next = (start + page_mask) & ~page_mask;
	tables->end = end;
	if (tables->next > end)
		return false;
	tables->root = take_table(tables);
	return tables->root != 0;
}

/* Maps what an entry at the level that resolves bits from leaf_bits on stands for. */
static enum mapping map_leaf(struct tables *tables, uint64_t address, uint32_t leaf_bits,
			     uint64_t attributes)
{
	const uint32_t index_bits = tables->page_bits - ENTRY_BITS;
	uint32_t bits = tables->page_bits;
	uint64_t table = tables->root, *entry;

	/* The first level is the lowest that reaches all addresses. */
	while (bits + index_bits < tables->address_bits)
		bits += index_bits;
	for (;; bits -= index_bits) {
		entry = entry_at(table, address >> bits & below(index_bits));
		if (bits == leaf_bits)
			break;
		if (!*entry) {
			const uint64_t fresh = take_table(tables);

			if (!fresh)
				return NO_TABLE_LEFT;
			*entry = encoded(tables, fresh) | TABLE_OR_PAGE | VALID;
		}
		if (!(*entry & TABLE_OR_PAGE))
			return MAPPED_BEFORE;
		table = decoded(tables, *entry);
	}
	if (*entry)
		return MAPPED_BEFORE;
	*entry = encoded(tables, address) | attributes | VALID;
	if (leaf_bits == tables->page_bits)
		*entry |= TABLE_OR_PAGE;
	return MAPPED;
}

enum mapping tables_map(struct tables *tables, uint64_t start, uint64_t end, uint64_t attributes)
{
	const uint32_t block_bits = 2 * tables->page_bits - ENTRY_BITS;
	enum mapping result = MAPPED;

	for (uint64_t address = start; address < end && result == MAPPED;) {
		const bool block =
			!(address & below(block_bits)) && end - address > below(block_bits);
		const uint32_t leaf_bits = block ? block_bits : tables->page_bits;

		result = map_leaf(tables, address, leaf_bits, attributes);
		address += 1ull << leaf_bits;
	}
	return result;
}

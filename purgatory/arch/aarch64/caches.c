// SPDX-License-Identifier: MIT
/*
 * Hashing with the MMU and the caches on: with them off each access waits for memory, which makes
 * minutes of what takes a second.
 *
 * Arm Architecture Reference Manual (DDI 0487), B2 and D7.5, "Cache support", for what is done to
 * caches; D8 for translation. Linux Documentation/arch/arm64/booting.rst for what must be true at
 * the exit.
 */
#include <stdbool.h>

#include "mmu.h"
#include "print.h"
#include "purgatory.h"
#include "regime.h"
#include "registers.h"
#include "tables.h"
#include "uart.h"
#include "vector_unit.h"

#define SCTLR_M (1ull << 0)
#define SCTLR_C (1ull << 2)
#define SCTLR_I (1ull << 12)
#define SCTLR_WXN (1ull << 19)

/* MAIR: field 0 is write-back memory, field 1 Device-nGnRnE. */
#define MEMORY_TYPES 0x00ffull
#define NORMAL 0
#define DEVICE 1

/* Enough for 16 segments anywhere with pages of 4 KiB, and for a usual load with larger ones. */
static _Alignas(4096) uint8_t table_memory[512 << 10];

static struct mmu_registers at_entry;
static struct tables tables;
static bool vectors_are_own, caches_are_on;

extern uint8_t purgatory_start[], stack_end[];

static uint64_t address_of(const uint8_t *memory)
{
	return (uintptr_t)memory;
}

static uint64_t line_size(void)
{
	return 4ull << id_field(READ_REGISTER("ctr_el0"), 16); /* DminLine */
}

/*
 * For memory that was written with the MMU off: it has what is right, whatever a line has. One
 * that is dirty after all would be written over it by an operation that cleans.
 */
static void invalidate(uint64_t start, uint64_t end)
{
	const uint64_t line = line_size();

	__asm__ volatile("dsb sy" : : : "memory");
	for (uint64_t address = start & -line; address < end; address += line)
		__asm__ volatile("dc ivac, %0" : : "r"(address) : "memory");
	__asm__ volatile("dsb sy" : : : "memory");
}

/*
 * For segments: a dirty line could be written back at any time. Now it is, so that what memory has
 * afterwards is what it keeps.
 */
static void clean_and_invalidate(uint64_t start, uint64_t end)
{
	const uint64_t line = line_size();

	for (uint64_t address = start & -line; address < end; address += line)
		__asm__ volatile("dc civac, %0" : : "r"(address) : "memory");
	__asm__ volatile("dsb sy" : : : "memory");
}

static void set_sctlr(uint64_t value)
{
	__asm__ volatile("ic iallu\n\tdsb nsh\n\tisb" : : : "memory");
	if (exception_level() == 2)
		WRITE_REGISTER("sctlr_el2", value);
	else
		WRITE_REGISTER("sctlr_el1", value);
}

static void set_vbar(uint64_t value)
{
	if (exception_level() == 2)
		WRITE_REGISTER("vbar_el2", value);
	else
		WRITE_REGISTER("vbar_el1", value);
}

static void read_registers(struct mmu_registers *registers)
{
	registers->sctlr = READ_REGISTER_HERE("sctlr");
	registers->tcr = READ_REGISTER_HERE("tcr");
	registers->ttbr0 = READ_REGISTER_HERE("ttbr0");
	registers->mair = READ_REGISTER_HERE("mair");
	registers->vbar = READ_REGISTER_HERE("vbar");
	registers->has_tcr2 = id_field(READ_REGISTER(ID_AA64MMFR3_EL1), 0); /* TCRX */
	if (registers->has_tcr2)
		registers->tcr2 = exception_level() == 2 ? READ_REGISTER(TCR2_EL2)
							 : READ_REGISTER(TCR2_EL1);
}

static uint64_t last_of_region(const struct sha256_region *region)
{
	return region->start + region->len - 1;
}

static uint64_t last_to_map(void)
{
	uint64_t last = address_of(stack_end) - 1;

	for (int i = 0; i < SHA256_REGIONS_MAX; i++)
		if (sha256_table.regions[i].len && last_of_region(&sha256_table.regions[i]) > last)
			last = last_of_region(&sha256_table.regions[i]);
	if (uart_size() && console_sink + uart_size() - 1 > last)
		last = console_sink + uart_size() - 1;
	return last;
}

static uint64_t page_mask(void)
{
	return (1ull << tables.page_bits) - 1;
}

/* The end of the page in which a region ends. */
static uint64_t mapped_end(uint64_t last)
{
	return (last | page_mask()) + 1;
}

/* Maps [start, last] and what is left of the last page. */
static struct obstacle map(uint64_t start, uint64_t last, uint64_t attributes)
{
	if (start & page_mask())
		return (struct obstacle){"no page begins at", start};
	if (!tables.wide)
		attributes |= INNER_SHAREABLE;
	switch (tables_map(&tables, start, mapped_end(last), attributes | ACCESSED)) {
	case NO_TABLE_LEFT:
		return (struct obstacle){"no page table is left for", start};
	case MAPPED_BEFORE:
		return (struct obstacle){"mapped twice:", start};
	case MAPPED:
		break;
	}
	return (struct obstacle){};
}

/* The purgatory, the segments, the UART: nothing else, lest it is read ahead and is no memory. */
static struct obstacle map_all(bool has_el0)
{
	const uint64_t never = has_el0 ? EXECUTE_NEVER | EXECUTE_NEVER_PRIVILEGED : EXECUTE_NEVER;
	const uint64_t access = has_el0 ? 0 : AP_EL0;
	const uint64_t own_never = has_el0 ? EXECUTE_NEVER : 0;
	const uint64_t own = address_of(table_memory);
	struct obstacle obstacle = {};

	if (!tables_start(&tables, own, own + sizeof(table_memory)))
		return (struct obstacle){"no page table fits into", own};
	obstacle = map(address_of(purgatory_start), address_of(stack_end) - 1,
		       ATTRIBUTE_INDEX(NORMAL) | access | own_never);
	for (int i = 0; i < SHA256_REGIONS_MAX && !obstacle.what; i++) {
		const struct sha256_region *region = &sha256_table.regions[i];

		if (region->len)
			obstacle = map(region->start, last_of_region(region),
				       ATTRIBUTE_INDEX(NORMAL) | access | AP_READ_ONLY | never);
	}
	if (uart_size() && !obstacle.what)
		obstacle = map(console_sink & ~page_mask(),
			       console_sink + uart_size() - 1,
			       ATTRIBUTE_INDEX(DEVICE) | access | never);
	return obstacle;
}

/* Makes the tables; tells what the registers are to be with them. */
static struct obstacle prepare(struct mmu_registers *registers, struct regime *regime)
{
	struct obstacle obstacle = choose_regime(last_to_map(), &tables, regime);

	if (!obstacle.what)
		obstacle = map_all(regime->has_el0);
	if (obstacle.what)
		return obstacle;
	registers->sctlr = (at_entry.sctlr | SCTLR_M | SCTLR_C | SCTLR_I) & ~SCTLR_WXN;
	registers->tcr = regime->tcr;
	registers->ttbr0 = table_base(&tables);
	registers->mair = MEMORY_TYPES;
	registers->vbar = address_of(purgatory_start);
	/* Other kinds of descriptors and permissions would make something else of the tables. */
	registers->tcr2 = 0;
	registers->has_tcr2 = at_entry.has_tcr2;
	return obstacle;
}

static void clean_and_invalidate_regions(void)
{
	/* Whole pages: what lies behind a region in its last page may have been read ahead. */
	for (int i = 0; i < SHA256_REGIONS_MAX; i++)
		if (sha256_table.regions[i].len)
			clean_and_invalidate(sha256_table.regions[i].start,
					     mapped_end(last_of_region(&sha256_table.regions[i])));
}

static void say(struct obstacle obstacle)
{
	print(NAME "caches stay off: ");
	print(obstacle.what);
	print(" ");
	print_hex(obstacle.number);
	print("\n");
}

/* Tells which of all ways it is: where a check takes long, this is what one wants to know. */
static void tell(uint32_t level, const struct regime *regime)
{
	print(NAME "caches on: EL");
	print_decimal(level);
	print(level == 2 && regime->has_el0 ? " with VHE, pages of " : ", pages of ");
	print_power(tables.page_bits);
	print(vector_unit_in_use() ? ", SHA instructions\n" : ", no SHA instructions\n");
}

void hashing_begins(void)
{
	const uint32_t level = exception_level();
	struct obstacle obstacle;
	struct mmu_registers hashing;
	struct regime regime;

	if (level != 1 && level != 2) {
		say((struct obstacle){"unknown exception level", level});
		return;
	}
	read_registers(&at_entry);
	/* A segment may be where no memory is, with caches on or off: entry.S tells of it. */
	set_vbar(address_of(purgatory_start));
	vectors_are_own = true;
	if (at_entry.sctlr & (SCTLR_M | SCTLR_C)) {
		say((struct obstacle){"SCTLR has them on:", at_entry.sctlr});
		return;
	}
	/* Without this cache each instruction is fetched from memory too. */
	set_sctlr(at_entry.sctlr | SCTLR_I);
	obstacle = prepare(&hashing, &regime);
	if (obstacle.what) {
		set_sctlr(at_entry.sctlr);
		say(obstacle);
		return;
	}
	/* What is hashed is what memory has: a line from before could hide what a device wrote. */
	clean_and_invalidate_regions();
	caches_are_on = true;
	vector_unit_begins(regime.has_el0);
	invalidate(address_of(purgatory_start), address_of(stack_end));
	mmu_on(&hashing);
	tell(level, &regime);
}

void hashing_ends(void)
{
	const uint64_t start = address_of(purgatory_start), end = address_of(stack_end);
	const uint64_t sctlr = at_entry.sctlr;

	if (!caches_are_on) {
		if (vectors_are_own)
			set_vbar(at_entry.vbar);
		return;
	}
	caches_are_on = false;
	vector_unit_ends();
	at_entry.sctlr |= SCTLR_I;
	mmu_off(&at_entry, start, end, line_size());
	/*
	 * Lines that were read since are clean, of own memory and of segments. The next kernel
	 * writes memory with its MMU off, and would find them in its place when it turns it on.
	 */
	clean_and_invalidate(start, end);
	clean_and_invalidate_regions();
	set_sctlr(sctlr);
}

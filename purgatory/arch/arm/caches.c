// SPDX-License-Identifier: MIT
/*
 * Hashing with the MMU and the caches on, on processors from ARMv7 on: with them off each access
 * waits for memory.
 *
 * Arm Architecture Reference Manual for ARMv7-A (DDI 0406), B2.2, "Caches and branch predictors",
 * and B3, "Virtual Memory System Architecture". Linux Documentation/arch/arm/booting.rst for what
 * must be true at the exit.
 */
#include <stdbool.h>
#include <stddef.h>

#include "cp15.h"
#include "mmu.h"
#include "print.h"
#include "purgatory.h"
#include "tables.h"
#include "uart.h"

/* SCTLR and HSCTLR; the last three are SCTLR's alone. */
#define CONTROL_M (1u << 0)
#define CONTROL_C (1u << 2)
#define CONTROL_I (1u << 12)
#define CONTROL_WXN (1u << 19)
#define SCTLR_UWXN (1u << 20)
#define SCTLR_TRE (1u << 28)
#define SCTLR_AFE (1u << 29)

/* HTCR: all addresses by TTBR0's first level, and bits that are to be 1. */
#define HTCR_RES1 (1u << 31 | 1u << 23)
/* DACR: the one domain in use is held to what its descriptors say. */
#define DACR_CLIENT 1u

static struct mmu_registers at_entry;
static bool caches_are_on;

extern uint8_t purgatory_start[], stack_end[];

static uint32_t address_of(const uint8_t *memory)
{
	return (uint32_t)(uintptr_t)memory;
}

static bool in_hyp_mode(void)
{
	return mode() == MODE_HYP;
}

static uint32_t line_size(void)
{
	return 4u << (READ_CP15(0, 0, 0, 1) >> 16 & 0xf); /* CTR, DminLine */
}

/*
 * For memory that was written with the MMU off: it has what is right, whatever a line has. One
 * that is dirty after all would be written over it by an operation that cleans.
 */
static void invalidate(uint32_t start, uint32_t last)
{
	const uint32_t line = line_size();

	barrier();
	for (uint64_t address = start & -line; address <= last; address += line)
		WRITE_CP15(0, 7, 6, 1, (uint32_t)address);
	barrier();
}

/*
 * For segments: a dirty line could be written back at any time. Now it is, so that what memory has
 * afterwards is what it keeps.
 */
static void clean_and_invalidate(uint32_t start, uint32_t last)
{
	const uint32_t line = line_size();

	barrier();
	for (uint64_t address = start & -line; address <= last; address += line)
		WRITE_CP15(0, 7, 14, 1, (uint32_t)address);
	barrier();
}

static void read_registers(struct mmu_registers *registers)
{
	if (!in_hyp_mode()) {
		registers->control = READ_CP15(0, 1, 0, 0);
		registers->table_control = READ_CP15(0, 2, 0, 2);
		registers->base = READ_CP15(0, 2, 0, 0);
		registers->access = READ_CP15(0, 3, 0, 0);
		return;
	}
	registers->control = READ_CP15(4, 1, 0, 0);
	registers->table_control = READ_CP15(4, 2, 0, 2);
	__asm__ volatile("mrrc p15, 4, %0, %1, c2"
			 : "=r"(registers->base), "=r"(registers->base_high)
			 :
			 : "memory");
	registers->access = READ_CP15(4, 10, 2, 0);
}

static uint32_t last_of_region(const struct sha256_region *region)
{
	return (uint32_t)(region->start + region->len - 1);
}

/* The purgatory, the segments, the UART: nothing else, lest it is read ahead and is no memory. */
static bool map_all(uint32_t *obstacle)
{
	bool mapped;

	*obstacle = address_of(purgatory_start);
	mapped = tables_map(*obstacle, address_of(stack_end) - 1, OWN);
	for (int i = 0; i < SHA256_REGIONS_MAX && mapped; i++) {
		const struct sha256_region *region = &sha256_table.regions[i];

		if (!region->len)
			continue;
		*obstacle = (uint32_t)region->start;
		mapped = tables_map(*obstacle, last_of_region(region), SEGMENT);
	}
	if (uart_size() && mapped) {
		*obstacle = (uint32_t)console_sink;
		mapped = tables_map(*obstacle, *obstacle + (uint32_t)uart_size() - 1, DEVICE);
	}
	return mapped;
}

/* Tells what the registers are to be with tables from `base` on. Walks go past the caches. */
static struct mmu_registers with_tables(uint32_t base)
{
	struct mmu_registers registers = {.base = base};

	registers.control = (at_entry.control | CONTROL_M | CONTROL_C | CONTROL_I) & ~CONTROL_WXN;
	if (in_hyp_mode()) {
		registers.table_control = HTCR_RES1;
		registers.access = MEMORY_TYPES;
	} else {
		/* Other kinds of descriptors would make something else of the tables. */
		registers.control &= ~(SCTLR_UWXN | SCTLR_TRE | SCTLR_AFE);
		registers.access = DACR_CLIENT;
	}
	return registers;
}

static void clean_and_invalidate_regions(void)
{
	/* Whole pages: what lies behind a region in its last page may have been read ahead. */
	for (int i = 0; i < SHA256_REGIONS_MAX; i++)
		if (sha256_table.regions[i].len)
			clean_and_invalidate((uint32_t)sha256_table.regions[i].start,
					     last_of_region(&sha256_table.regions[i]) | 0xfff);
}

static void stay_off(const char *what, uint32_t number)
{
	print(NAME "caches stay off: ");
	print(what);
	print(" ");
	print_hex(number);
	print("\n");
}

/* CTR has the form that ARMv7 gave it, and its line size means what it does there. */
static bool before_armv7(void)
{
	return READ_CP15(0, 0, 0, 1) >> 29 != 4;
}

void hashing_begins(void)
{
	struct mmu_registers hashing;
	uint32_t base, obstacle;

	if (before_armv7()) {
		stay_off("before ARMv7, processor", READ_CP15(0, 0, 0, 0)); /* MIDR */
		return;
	}
	read_registers(&at_entry);
	if (at_entry.control & (CONTROL_M | CONTROL_C)) {
		stay_off("the control register has them on:", at_entry.control);
		return;
	}
	base = tables_start(in_hyp_mode());
	if (!map_all(&obstacle)) {
		stay_off("mapped twice:", obstacle);
		return;
	}
	hashing = with_tables(base);
	/* What is hashed is what memory has: a line from before could hide what a device wrote. */
	clean_and_invalidate_regions();
	caches_are_on = true;
	invalidate(address_of(purgatory_start), address_of(stack_end) - 1);
	mmu_on(&hashing);
	print(in_hyp_mode() ? NAME "caches on: HYP mode\n" : NAME "caches on: SVC mode\n");
}

void hashing_ends(void)
{
	const uint32_t start = address_of(purgatory_start), last = address_of(stack_end) - 1;
	const uint32_t line = line_size();

	if (!caches_are_on)
		return;
	caches_are_on = false;
	mmu_off(&at_entry, start & -line, (last - (start & -line)) / line + 1, line);
	/*
	 * Lines that were read since are clean, of own memory and of segments. The next kernel
	 * writes memory with its MMU off, and would find them in its place when it turns it on.
	 */
	clean_and_invalidate(start, last);
	clean_and_invalidate_regions();
}

// SPDX-License-Identifier: MIT
#include "regime.h"

#include "registers.h"

/* ID_AA64MMFR0_EL1 and ID_AA64MMFR2_EL1: first bits of fields. */
#define PARANGE 0
#define TGRAN16 20
#define TGRAN64 24
#define TGRAN4 28
#define VARANGE 16

#define HCR_E2H (1ull << 34)

/* TCR: walks through write-back memory, inner shareable. */
#define TCR_WALKS (1ull << 8 | 1ull << 10 | 3ull << 12)
#define TCR_TG0 14

/* Where EL0 shares it. Walks for the upper half of addresses are off. */
#define TCR_T1SZ 16
#define TCR_EPD1 (1ull << 23)
#define TCR_TG1 30
#define TCR_IPS 32
#define TCR_DS (1ull << 59)

/* TCR_EL2 otherwise. */
#define TCR_EL2_PS 16
#define TCR_EL2_RES1 (1ull << 31 | 1ull << 23)
#define TCR_EL2_DS (1ull << 32)

/* Of TCR's, and of PARange's, encodings of sizes: that of 48 and that of 52 bits. */
#define SIZE_48 5
#define SIZE_52 6

/* The bits of an address that the processor reaches. Of 56, tables of 64 bits can tell 52. */
static uint32_t reach(uint32_t size)
{
	static const uint8_t bits[] = {32, 36, 40, 42, 44, 48, 52};

	return bits[size < SIZE_52 ? size : SIZE_52];
}

/*
 * Sets the smallest granule that the processor has for so many bits. TGran4 and TGran64 are
 * signed, and there -1 means that it is missing; of TGran16 it is 0. From 1 on, of TGran16 from 2
 * on, the granule reaches 52 bits by TCR.DS.
 */
static bool choose_granule(struct tables *tables)
{
	const uint64_t memory = READ_REGISTER("id_aa64mmfr0_el1");
	const bool beyond_48 = tables->address_bits > 48;
	const uint32_t four = id_field(memory, TGRAN4) ^ 8; /* -1 is 7, 0 is 8 */
	const uint32_t sixteen = id_field(memory, TGRAN16);
	const uint32_t sixty_four = id_field(memory, TGRAN64) ^ 8;

	tables->wide = beyond_48;
	tables->page_bits = 12;
	if (four >= (beyond_48 ? 9 : 8))
		return true;
	tables->page_bits = 14;
	if (sixteen >= (beyond_48 ? 2 : 1))
		return true;
	tables->wide = false;
	tables->page_bits = 16;
	return sixty_four >= 8 &&
	       (!beyond_48 || id_field(READ_REGISTER(ID_AA64MMFR2_EL1), VARANGE) >= 1);
}

/* TG1 tells the same as TG0 by other numbers. */
static uint64_t granule_0(const struct tables *tables)
{
	return tables->page_bits == 12 ? 0 : tables->page_bits == 14 ? 2 : 1;
}

static uint64_t granule_1(const struct tables *tables)
{
	return tables->page_bits == 12 ? 2 : tables->page_bits == 14 ? 1 : 3;
}

static uint64_t translation_control(const struct tables *tables, bool has_el0, uint64_t size)
{
	const uint64_t offset = 64 - tables->address_bits;
	const uint64_t tcr = offset | TCR_WALKS | granule_0(tables) << TCR_TG0;

	if (has_el0)
		return tcr | offset << TCR_T1SZ | TCR_EPD1 | granule_1(tables) << TCR_TG1 |
		       size << TCR_IPS | (tables->wide ? TCR_DS : 0);
	return tcr | size << TCR_EL2_PS | TCR_EL2_RES1 | (tables->wide ? TCR_EL2_DS : 0);
}

struct obstacle choose_regime(uint64_t last, struct tables *tables, struct regime *regime)
{
	const uint32_t processor_size = id_field(READ_REGISTER("id_aa64mmfr0_el1"), PARANGE);
	uint32_t bits = 32;
	uint64_t size;

	/* As many bits as are needed: not every processor with 64 KiB pages takes 48 of fewer. */
	while (bits < 64 && last >> bits)
		bits++;
	if (bits > reach(processor_size))
		return (struct obstacle){"the processor ends below", last};
	tables->address_bits = bits;
	if (!choose_granule(tables))
		return (struct obstacle){"no size of pages reaches", last};
	/* More than 48 bits are reserved unless the tables have them. */
	size = bits > 48 ? SIZE_52 : processor_size < SIZE_48 ? processor_size : SIZE_48;
	regime->has_el0 = exception_level() == 1 || READ_REGISTER("hcr_el2") & HCR_E2H;
	regime->tcr = translation_control(tables, regime->has_el0, size);
	return (struct obstacle){};
}

uint64_t table_base(const struct tables *tables)
{
	const uint64_t low = tables->root & ((1ull << 48) - 1);

	/* Bits 51 to 48 of the address are bits 5 to 2 of the register; otherwise they are zero. */
	return low | tables->root >> 48 << 2;
}

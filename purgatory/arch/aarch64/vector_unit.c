// SPDX-License-Identifier: MIT
/* SHA-256 by the processor's instructions, which use vector registers. */
#include "vector_unit.h"

#include <stdbool.h>

#include "registers.h"
#include "sha256.h"

#define ID_ISAR0_SHA2 12
#define ID_PFR1_SME 24

/* Of CPACR_EL1, and of CPTR_EL2 where EL2 shares its translation with EL0. */
#define ZEN (3ull << 16)
#define FPEN (3ull << 20)
#define SMEN (3ull << 24)
/* Of CPTR_EL2 otherwise. */
#define TZ (1ull << 8)
#define TFP (1ull << 10)
#define TSM (1ull << 12)

#define SVCR_SM 1ull

static bool in_use;
static uint64_t traps_at_entry;

void sha256_by_instructions(uint32_t hash[8], const uint8_t *data, uint64_t count,
			    const uint32_t constants[64]);

static uint64_t read_traps(void)
{
	return exception_level() == 2 ? READ_REGISTER("cptr_el2") : READ_REGISTER("cpacr_el1");
}

static void write_traps(uint64_t value)
{
	if (exception_level() == 2)
		WRITE_REGISTER("cptr_el2", value);
	else
		WRITE_REGISTER("cpacr_el1", value);
}

/*
 * SVE, which nothing here uses, is trapped: where it is not, each instruction clears its register
 * up to SVE's length, and under an emulator that is most of what they cost. Without SVE the bits
 * are what they are written as here, or without effect.
 */
static uint64_t without_traps(uint64_t traps, bool has_el0, bool has_sme)
{
	if (has_el0)
		return (traps & ~ZEN) | FPEN | (has_sme ? SMEN : 0);
	return (traps & ~TFP & ~(has_sme ? TSM : 0)) | TZ;
}

void vector_unit_begins(bool has_el0)
{
	const bool has_sme = id_field(READ_REGISTER("id_aa64pfr1_el1"), ID_PFR1_SME);

	if (!id_field(READ_REGISTER("id_aa64isar0_el1"), ID_ISAR0_SHA2))
		return;
	traps_at_entry = read_traps();
	write_traps(without_traps(traps_at_entry, has_el0, has_sme));
	/* In streaming mode they are undefined. */
	in_use = !has_sme || !(READ_REGISTER(SVCR) & SVCR_SM);
	if (!in_use)
		write_traps(traps_at_entry);
}

bool vector_unit_in_use(void)
{
	return in_use;
}

void vector_unit_ends(void)
{
	if (in_use)
		write_traps(traps_at_entry);
	in_use = false;
}

void hash_blocks(uint32_t hash[8], const uint8_t *data, uint64_t count)
{
	if (in_use && count)
		sha256_by_instructions(hash, data, count, sha256_constants);
	else
		hash_blocks_portably(hash, data, count);
}

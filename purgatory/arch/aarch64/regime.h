/* SPDX-License-Identifier: MIT */
/* How the exception level that runs translates addresses. */
#ifndef REGIME_H
#define REGIME_H

#include <stdbool.h>
#include <stdint.h>

#include "tables.h"

/* What keeps the caches off, and the number to say with it. */
struct obstacle {
	const char *what; /* 0: nothing */
	uint64_t number;
};

struct regime {
	bool has_el0; /* EL1, or EL2 with HCR_EL2.E2H: it shares its translation with EL0 */
	uint64_t tcr;
};

/* Chooses sizes for tables that are to reach the address `last`, and TCR for them. */
struct obstacle choose_regime(uint64_t last, struct tables *tables, struct regime *regime);

/* TTBR0 for tables that were started. */
uint64_t table_base(const struct tables *tables);

#endif

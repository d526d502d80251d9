/* SPDX-License-Identifier: MIT */
/*
 * The purgatory: what the architecture-independent part and an architecture owe each other.
 * README.md has the contract with the loader.
 */
#ifndef PURGATORY_H
#define PURGATORY_H

#include <stdint.h>

/*
 * A parameter is written by the loader into the built file, so it must lie in .data even
 * though it is zero here.
 */
#define PARAMETER __attribute__((section(".data.parameters")))

#define SHA256_REGIONS_MAX 16
/* With what else is in .data this makes four pages. */
#define SHA256_PIECES_MAX 480

/* Physical bytes [start, start + len), start a multiple of 4; an entry with len 0 is unused. */
struct sha256_region {
	uint64_t start;
	uint64_t len;
};

/*
 * What memory was at the load. Each region is cut into pieces of 1 << piece_shift bytes, of which
 * its last one may be shorter; digests has one of each piece, in the order of the regions.
 */
struct sha256_table {
	struct sha256_region regions[SHA256_REGIONS_MAX];
	uint32_t piece_shift;
	uint32_t piece_count;
	uint8_t digests[SHA256_PIECES_MAX][32];
};

_Static_assert(sizeof(struct sha256_table) == 16 * 16 + 8 + 480 * 32, "as the loader writes it");

extern struct sha256_table sha256_table;
extern uint8_t sha256_digest[32];
extern uint32_t skip_checks;
extern uint64_t backup_src_start;
extern uint64_t backup_src_size;
extern uint64_t backup_dst_start;
extern uint64_t progress_step;

/* Returns when memory is what it was at the load, or nobody wants to know; else never. */
void verify_or_halt(void);

/*
 * Called by the architecture's entry code on a stack of 4 KiB. Returns when the new kernel
 * may be entered; never returns when its memory is damaged.
 */
void purgatory_main(void);

/* --- Provided by the architecture --- */

/* Prepares the consoles that the loader enabled. */
void console_start(void);
/* Writes one character to each of them; '\n' starts a new line. Never waits for ever. */
void console_putchar(char character);
/* Returns when the last character has left, so that the new kernel cannot cut it off. */
void console_flush(void);
/* Where the new kernel will be entered, for the last message. */
uint64_t kernel_entry(void);
/* Stops this processor for ever. */
_Noreturn void halt(void);

/* --- Provided by the architecture if it has more to do than nothing --- */

/*
 * Around the hashing, for which more of the processor may be in use. Meanwhile consoles are written
 * to. After the second all is as it was, but for registers that no new kernel finds a value in.
 */
void hashing_begins(void);
void hashing_ends(void);

#endif

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

/* Physical bytes [start, start + len); an entry with len 0 is unused. */
struct sha256_region {
	uint64_t start;
	uint64_t len;
};

_Static_assert(sizeof(struct sha256_region) == 16, "the loader writes 16-byte entries");

extern struct sha256_region sha256_regions[SHA256_REGIONS_MAX];
extern uint8_t sha256_digest[32];
extern uint32_t skip_checks;
extern uint64_t backup_src_start;
extern uint64_t backup_src_size;
extern uint64_t backup_dst_start;

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

#endif

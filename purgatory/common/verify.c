// SPDX-License-Identifier: MIT
/* Finds what was overwritten since the load, piece by piece, and says where. */
#include <stdbool.h>
#include <stddef.h>

#include "print.h"
#include "purgatory.h"
#include "sha256.h"

/* Of a changed piece that many bytes are shown; of more pieces than that the place alone. */
#define SHOWN_BYTES 64
#define SHOWN_PIECES 16

PARAMETER uint8_t sha256_digest[SHA256_DIGEST_SIZE] = {};
PARAMETER uint32_t skip_checks = 0;
PARAMETER uint64_t progress_step = 0;
/* Not in the file: the loader appends as much of it as it uses. */
__attribute__((section(".bss.table"), aligned(8))) struct sha256_table sha256_table = {};

/* How far the verification has come. */
struct course {
	uint64_t total; /* bytes in all regions */
	uint64_t done; /* bytes hashed */
	uint64_t told; /* of them when that was last said */
	uint32_t piece; /* index of the next one */
	uint32_t changed; /* pieces found not to be what they were */
};

static const uint8_t *memory_at(uint64_t address)
{
	return (const uint8_t *)(uintptr_t)address;
}

static bool equal(const uint8_t *a, const uint8_t *b)
{
	for (int i = 0; i < SHA256_DIGEST_SIZE; i++)
		if (a[i] != b[i])
			return false;
	return true;
}

/* The part of the table that is in use. */
static uint32_t table_size(void)
{
	return (uint32_t)offsetof(struct sha256_table, digests) +
	       sha256_table.piece_count * SHA256_DIGEST_SIZE;
}

static _Noreturn void refuse(void)
{
	print("  Usual causes: a device that still writes (its driver did not stop it),\n"
	      "  firmware that uses this memory, a bad memory module.\n" NAME
	      "not starting the new kernel; halted, reset the machine\n");
	console_flush();
	halt();
}

/* Before anything that the table says is used: its addresses could be of no memory. */
static void verify_table(void)
{
	uint8_t computed[SHA256_DIGEST_SIZE];
	const uint8_t *table = (const uint8_t *)&sha256_table;
	bool sound = sha256_table.piece_count <= SHA256_PIECES_MAX;

	if (sound) {
		sha256(table, table_size(), computed);
		sound = equal(computed, sha256_digest);
	}
	if (sound)
		return;
	print(NAME "SHA-256 mismatch, the table of digests was overwritten\n  ");
	print_hex((uintptr_t)table);
	print(", the purgatory's own memory; nothing else was looked at.\n");
	refuse();
}

/* Says what is going to be hashed before that begins: it may take seconds. */
static void announce(struct course *course)
{
	uint32_t count = 0;

	for (int i = 0; i < SHA256_REGIONS_MAX; i++) {
		count += sha256_table.regions[i].len != 0;
		course->total += sha256_table.regions[i].len;
	}
	print(NAME "verifying ");
	print_decimal(count);
	print(count == 1 ? " segment, " : " segments, ");
	print_size(course->total);
	print(", in ");
	print_decimal(sha256_table.piece_count);
	print(sha256_table.piece_count == 1 ? " piece of " : " pieces of ");
	print_power(sha256_table.piece_shift);
	print("\n");
}

static void report(struct course *course, const struct sha256_region *region, uint64_t start,
		   uint64_t size)
{
	if (!course->changed)
		print(NAME "SHA-256 mismatch, memory was overwritten since the load\n");
	print("  ");
	print_hex(start);
	print(", ");
	print_size(size);
	print(", of the segment at ");
	print_hex(region->start);
	print(", ");
	print_size(region->len);
	print("\n");
	if (course->changed < SHOWN_PIECES)
		print_dump(memory_at(start), size < SHOWN_BYTES ? (uint32_t)size : SHOWN_BYTES);
	course->changed++;
}

static void tell_progress(struct course *course)
{
	if (!progress_step || course->done - course->told < progress_step ||
	    course->done == course->total)
		return;
	course->told = course->done;
	print(NAME "hashed ");
	print_size(course->done);
	print(" of ");
	print_size(course->total);
	print("\n");
}

static void verify_region(struct course *course, const struct sha256_region *region)
{
	const uint64_t whole = 1ull << sha256_table.piece_shift;
	uint8_t computed[SHA256_DIGEST_SIZE];

	for (uint64_t offset = 0; offset < region->len; offset += whole) {
		const uint64_t left = region->len - offset;
		const uint64_t size = left < whole ? left : whole;

		sha256(memory_at(region->start + offset), size, computed);
		course->done += size;
		if (!equal(computed, sha256_table.digests[course->piece++]))
			report(course, region, region->start + offset, size);
		tell_progress(course);
	}
}

__attribute__((weak)) void hashing_begins(void)
{
}

__attribute__((weak)) void hashing_ends(void)
{
}

void verify_or_halt(void)
{
	struct course course = {};

	if (skip_checks) {
		print(NAME "verification skipped\n");
		return;
	}
	verify_table();
	announce(&course);
	hashing_begins();
	for (int i = 0; i < SHA256_REGIONS_MAX; i++)
		verify_region(&course, &sha256_table.regions[i]);
	hashing_ends();
	if (!course.changed) {
		print(NAME "SHA-256 is right\n");
		return;
	}
	print("  ");
	print_decimal(course.changed);
	print(" of ");
	print_decimal(course.piece);
	print(course.piece == 1 ? " piece " : " pieces ");
	print(course.changed == 1 ? "is not what it was.\n" : "are not what they were.\n");
	refuse();
}

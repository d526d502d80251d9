// SPDX-License-Identifier: MIT
/* What every purgatory does, in this order: verify, back up, let the new kernel go. */
#include "purgatory.h"

#include <stdbool.h>

#include "print.h"
#include "sha256.h"

#define NAME "pykexec purgatory: "

PARAMETER struct sha256_region sha256_regions[SHA256_REGIONS_MAX] = {};
PARAMETER uint8_t sha256_digest[SHA256_DIGEST_SIZE] = {};
PARAMETER uint32_t skip_checks = 0;
PARAMETER uint64_t backup_src_start = 0;
PARAMETER uint64_t backup_src_size = 0;
PARAMETER uint64_t backup_dst_start = 0;

static uint8_t *memory_at(uint64_t address)
{
	return (uint8_t *)(uintptr_t)address;
}

/* Says what is going to be hashed before that begins: it may take seconds. */
static void announce_verification(void)
{
	uint32_t count = 0;
	uint64_t total = 0;

	for (int i = 0; i < SHA256_REGIONS_MAX; i++) {
		count += sha256_regions[i].len != 0;
		total += sha256_regions[i].len;
	}
	print(NAME "verifying ");
	print_decimal(count);
	print(count == 1 ? " segment, " : " segments, ");
	print_size(total);
	print("\n");
}

static void hash_regions(uint8_t digest[SHA256_DIGEST_SIZE])
{
	struct sha256 sha;

	sha256_init(&sha);
	for (int i = 0; i < SHA256_REGIONS_MAX; i++)
		sha256_update(&sha, memory_at(sha256_regions[i].start), sha256_regions[i].len);
	sha256_final(&sha, digest);
}

static bool equal(const uint8_t *a, const uint8_t *b, int size)
{
	for (int i = 0; i < size; i++)
		if (a[i] != b[i])
			return false;
	return true;
}

/* One digest covers all segments, so it cannot tell which one is damaged: names them all. */
static void report_mismatch(const uint8_t computed[SHA256_DIGEST_SIZE])
{
	print(NAME "SHA-256 mismatch, memory was overwritten since the load\n");
	for (int i = 0; i < SHA256_REGIONS_MAX; i++) {
		if (!sha256_regions[i].len)
			continue;
		print("  segment  ");
		print_hex(sha256_regions[i].start);
		print(", ");
		print_size(sha256_regions[i].len);
		print("\n");
	}
	print("  expected ");
	print_bytes(sha256_digest, SHA256_DIGEST_SIZE);
	print("\n  computed ");
	print_bytes(computed, SHA256_DIGEST_SIZE);
	print("\n" NAME "not starting the new kernel; halted, reset the machine\n");
}

static void verify_or_halt(void)
{
	uint8_t computed[SHA256_DIGEST_SIZE];

	if (skip_checks) {
		print(NAME "verification skipped\n");
		return;
	}
	announce_verification();
	hash_regions(computed);
	if (!equal(computed, sha256_digest, SHA256_DIGEST_SIZE)) {
		report_mismatch(computed);
		console_flush();
		halt();
	}
	print(NAME "SHA-256 is right\n");
}

/* Saves memory that the new kernel will use before it can copy it away itself. */
static void back_up(void)
{
	const uint8_t *from = memory_at(backup_src_start);
	uint8_t *to = memory_at(backup_dst_start);

	for (uint64_t i = 0; i < backup_src_size; i++)
		to[i] = from[i];
}

void purgatory_main(void)
{
	console_start();
	verify_or_halt();
	back_up();
	print(NAME "entering the new kernel at ");
	print_hex(kernel_entry());
	print("\n");
	console_flush();
}

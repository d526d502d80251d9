// SPDX-License-Identifier: MIT
/* Enters the new kernel by a reset; after a crash in the old one's memory. */
#include "purgatory.h"
#include "registers.h"
#include "sha256.h"

/* z/Architecture Principles of Operation (SA22-7832), "DIAGNOSE": these two keep memory. */
#define CLEAR_RESET 0
#define LOAD_NORMAL_RESET 1

/* Below absolute 0x80000000 and at an even address, as every address in a PSW of 31 bits. */
#define SHORT_PSW 0x0008000080000000ull

/* The addresses of disabled waits: README.md, "Halting (s390x)". */
#define WAIT_TABLE 0x50590002
#define WAIT_MEMORY 0x50590004
#define WAIT_RESET 0x50590006

/* What one instruction moves. */
#define LINE 256

/* It has no console: SCLP's wants interrupts, which go through the old kernel's lowcore. */
void console_start(void)
{
}

void console_putchar(char character)
{
	(void)character;
}

void console_flush(void)
{
}

uint64_t kernel_entry(void)
{
	return entry_regs.kernel;
}

static _Bool only_verifying(void)
{
	return entry_regs.crash_size && !caller.argument;
}

/* Called in verify.c when something is not what it was; nothing else stops this program. */
void halt(void)
{
	uint8_t digest[SHA256_DIGEST_SIZE];
	_Bool sound = sha256_table.piece_count <= SHA256_PIECES_MAX;

	if (only_verifying())
		return_to_caller(1);
	if (sound) {
		sha256((const uint8_t *)&sha256_table,
		       (uint32_t)(sizeof sha256_table - sizeof sha256_table.digests) +
			       sha256_table.piece_count * SHA256_DIGEST_SIZE,
		       digest);
		for (int i = 0; i < SHA256_DIGEST_SIZE; i++)
			sound = sound && digest[i] == sha256_digest[i];
	}
	wait_at(sound ? WAIT_MEMORY : WAIT_TABLE);
}

static _Noreturn void leave(uint64_t kernel, uint64_t subcode)
{
	*(volatile uint64_t *)(uintptr_t)0 = SHORT_PSW | kernel;
	reset_with(subcode);
	wait_at(WAIT_RESET);
}

static void move_line(uint64_t to, uint64_t from)
{
	__asm__ volatile("mvc 0(%2, %0), 0(%1)" : : "a"(to), "a"(from), "n"(LINE) : "memory");
}

/* Whole lines: both are on pages. */
static void move(uint64_t to, uint64_t from, uint64_t size)
{
	for (uint64_t done = 0; done < size; done += LINE)
		move_line(to + done, from + done);
}

/*
 * Runs in the copy, behind everything that is exchanged. The old kernel's memory is saved in the
 * crash region, and what was loaded there is where it was linked to run.
 */
static _Noreturn void exchange(void)
{
	const uint64_t end = (uintptr_t)purgatory_start;
	uint8_t buffer[LINE];

	for (uint64_t at = 0; at < end; at += LINE) {
		move_line((uintptr_t)buffer, at);
		move_line(at, entry_regs.crash_base + at);
		move_line(entry_regs.crash_base + at, (uintptr_t)buffer);
	}
	leave(entry_regs.kernel - entry_regs.crash_base, LOAD_NORMAL_RESET);
}

/* Saves what lies at the end of the memory to be used, and goes on from there. */
static _Noreturn void move_behind(void)
{
	const uint64_t start = (uintptr_t)purgatory_start;
	const uint64_t size = (uintptr_t)stack_end - start;
	const uint64_t low = entry_regs.crash_size - size;

	move(entry_regs.crash_base + low, low, size);
	move(low, start, size);
	continue_at((uintptr_t)exchange - start + low, low + size);
}

/* Called by entry.S. */
_Noreturn void purgatory_enter(void);
void purgatory_enter(void)
{
	if (only_verifying()) {
		verify_or_halt();
		return_to_caller(0);
	}
	purgatory_main();
	if (entry_regs.crash_size)
		move_behind();
	leave(entry_regs.kernel, CLEAR_RESET);
}

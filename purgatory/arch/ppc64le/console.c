// SPDX-License-Identifier: MIT
/*
 * The hypervisor's terminal (Linux on Power Architecture Reference, "H_PUT_TERM_CHAR"), or OPAL's
 * (skiboot, doc/opal-api/opal-console-read-write-1-2.rst and opal-poll-events-10.rst).
 */
#include "purgatory.h"
#include "registers.h"

enum console_kind {
	NONE = 0,
	HYPERVISOR = 1,
	OPAL = 2,
};

PARAMETER uint32_t console_kind = NONE;
/* The virtual terminal's unit address, or OPAL's number of its own. */
PARAMETER uint64_t console_unit = 0;

#define H_PUT_TERM_CHAR 0x58
#define H_SUCCESS 0
#define H_BUSY 1
#define H_LONG_BUSY_FIRST 9900
#define H_LONG_BUSY_LAST 9905

#define OPAL_CONSOLE_WRITE 1
#define OPAL_POLL_EVENTS 10
#define OPAL_SUCCESS 0
#define OPAL_BUSY (-2)
#define OPAL_PARTIAL (-3)
#define OPAL_BUSY_EVENT (-12)
#define OPAL_EVENT_CONSOLE_OUTPUT 0x10

/* After so many calls without a result the console is left alone. */
#define CALLS (1 << 18)
/* What one call of the hypervisor takes. */
#define LINE_SIZE 16

static char line[LINE_SIZE];
static uint32_t line_used;
static uint32_t calls_left = CALLS;

/* The hypervisor takes them from registers, the first in the highest bits. */
static uint64_t characters(uint32_t first)
{
	uint64_t value = 0;

	for (uint32_t i = first; i < first + 8; i++)
		value = value << 8 | (uint8_t)(i < line_used ? line[i] : 0);
	return value;
}

static int64_t put_term_char(void)
{
	register uint64_t r3 __asm__("r3") = H_PUT_TERM_CHAR;
	register uint64_t r4 __asm__("r4") = console_unit;
	register uint64_t r5 __asm__("r5") = line_used;
	register uint64_t r6 __asm__("r6") = characters(0);
	register uint64_t r7 __asm__("r7") = characters(8);

	__asm__ volatile("sc 1"
			 : "+r"(r3), "+r"(r4), "+r"(r5), "+r"(r6), "+r"(r7)
			 :
			 : "r0", "r8", "r9", "r10", "r11", "r12", "ctr", "xer", "cr0", "cr1", "cr5",
			   "cr6", "cr7", "memory");
	return (int64_t)r3;
}

/* Tells whether all was taken; leaves in the line what was not. */
static int send_to_hypervisor(void)
{
	const int64_t result = put_term_char();

	if (result == H_SUCCESS) {
		line_used = 0;
		return 1;
	}
	if (result != H_BUSY && (result < H_LONG_BUSY_FIRST || result > H_LONG_BUSY_LAST))
		calls_left = 0;
	return 0;
}

/* In opal.S: a call in big endian. */
int64_t opal_call(uint64_t token, uint64_t first, uint64_t second, uint64_t third);

/* Lets OPAL's own drivers work, of which that of the console is one; returns what is under way. */
static uint64_t opal_poll(void)
{
	uint64_t events = 0;

	if (opal_call(OPAL_POLL_EVENTS, (uintptr_t)&events, 0, 0))
		return 0;
	return __builtin_bswap64(events);
}

static int send_to_opal(void)
{
	uint64_t length = __builtin_bswap64(line_used);
	const int64_t result = opal_call(OPAL_CONSOLE_WRITE, console_unit, (uintptr_t)&length,
					 (uintptr_t)line);

	if (result == OPAL_SUCCESS || result == OPAL_PARTIAL) {
		const uint64_t taken = __builtin_bswap64(length);

		if (taken >= line_used) {
			line_used = 0;
			return 1;
		}
		for (uint32_t i = (uint32_t)taken; i < line_used; i++)
			line[i - taken] = line[i];
		line_used -= (uint32_t)taken;
	} else if (result != OPAL_BUSY && result != OPAL_BUSY_EVENT) {
		calls_left = 0;
	}
	opal_poll();
	return 0;
}

static void send_line(void)
{
	while (line_used && calls_left) {
		calls_left--;
		if (console_kind == OPAL ? send_to_opal() : send_to_hypervisor())
			calls_left = CALLS;
	}
	line_used = 0;
}

void console_start(void)
{
	if (console_kind == OPAL && !entry_regs.opal_entry)
		console_kind = NONE;
}

static void send(char character)
{
	line[line_used++] = character;
	if (line_used == LINE_SIZE)
		send_line();
}

void console_putchar(char character)
{
	if (console_kind == NONE)
		return;
	if (character == '\n') {
		send('\r');
		send('\n');
		send_line();
	} else {
		send(character);
	}
}

void console_flush(void)
{
	if (console_kind == NONE)
		return;
	send_line();
	if (console_kind != OPAL)
		return;
	for (; calls_left; calls_left--)
		if (!(opal_poll() & OPAL_EVENT_CONSOLE_OUTPUT))
			break;
}

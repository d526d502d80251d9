// SPDX-License-Identifier: MIT
/*
 * A UART in memory, or the firmware's console: RISC-V Supervisor Binary Interface Specification
 * 2.0, chapter 12 "Debug Console Extension" and 5.2 "Extension: Console Putchar".
 */
#include <stdbool.h>

#include "purgatory.h"
#include "uart.h"

#define LEGACY_PUTCHAR 1
#define DBCN 0x4442434e
#define DBCN_WRITE_BYTE 2

/* From the oldest to the newest; set back once a call fails. */
static enum { NO_CONSOLE, LEGACY_CONSOLE, DEBUG_CONSOLE } firmware = DEBUG_CONSOLE;

/* Returns what the firmware returns in a0: negative for an error. It keeps all registers but a0 and a1. */
static long call_firmware(long extension, long function, long argument)
{
	register long a0 __asm__("a0") = argument;
	register long a1 __asm__("a1") = 0;
	register long a6 __asm__("a6") = function;
	register long a7 __asm__("a7") = extension;

	__asm__ volatile("ecall" : "+r"(a0), "+r"(a1) : "r"(a6), "r"(a7) : "memory");
	return a0;
}

/* Nobody but the firmware itself can tell which of its consoles it has. */
static void send_by_firmware(char character)
{
	const uint8_t byte = (uint8_t)character;

	if (firmware == DEBUG_CONSOLE) {
		if (!call_firmware(DBCN, DBCN_WRITE_BYTE, byte))
			return;
		firmware = LEGACY_CONSOLE;
	}
	if (firmware == LEGACY_CONSOLE && call_firmware(LEGACY_PUTCHAR, 0, byte) < 0)
		firmware = NO_CONSOLE;
}

static void send(char character)
{
	if (console_kind == SBI)
		send_by_firmware(character);
	else
		uart_send(character);
}

void console_start(void)
{
}

void console_putchar(char character)
{
	if (character == '\n')
		send('\r');
	send(character);
}

void console_flush(void)
{
	/* The firmware's calls return when it has sent the character. */
	if (console_kind != SBI)
		uart_flush();
}

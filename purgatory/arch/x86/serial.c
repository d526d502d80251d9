// SPDX-License-Identifier: MIT
/* An 8250-compatible UART on I/O ports; register names as in the PC16550D data sheet. */
#include <stdbool.h>

#include "console.h"
#include "io.h"
#include "purgatory.h"

enum {
	THR = 0, /* write: the character */
	DLL = 0, /* divisor, low byte, while LCR_DLAB */
	DLM = 1, /* divisor, high byte, while LCR_DLAB */
	IER = 1,
	LCR = 3,
	MCR = 4,
	LSR = 5,
};

#define LCR_8N1 0x03
#define LCR_DLAB 0x80
#define MCR_DTR_RTS 0x03
#define LSR_THRE 0x20 /* room for a character */
#define LSR_TEMT 0x40 /* the last one has left */
#define CLOCK 115200 /* bits a second at divisor 1 */

/*
 * Reading a port takes about a microsecond, in a virtual machine more. So this is a quarter of
 * a second at least: longer than 16 characters in a FIFO take at 1200 bits a second.
 */
#define POLLS_MAX (1 << 18)

PARAMETER uint16_t serial_base = 0x3f8;
PARAMETER uint32_t serial_baud = 0; /* 0: leave the speed as it is */

/* Set once a wait ran out; the port is left alone from then on. */
static bool unresponsive;

static void write_register(int index, uint32_t value)
{
	out8((uint16_t)(serial_base + index), (uint8_t)value);
}

static void wait_for(uint8_t status)
{
	for (uint32_t polls = 0; polls < POLLS_MAX; polls++)
		if (in8((uint16_t)(serial_base + LSR)) & status)
			return;
	unresponsive = true;
}

static void set_speed(uint32_t baud)
{
	uint32_t divisor = CLOCK / baud;

	if (divisor < 1)
		divisor = 1;
	if (divisor > 0xffff)
		divisor = 0xffff;
	write_register(LCR, LCR_8N1 | LCR_DLAB);
	write_register(DLL, divisor & 0xff);
	write_register(DLM, divisor >> 8);
}

void serial_start(void)
{
	/* A speed change would garble what the old kernel's console is still sending. */
	serial_flush();
	if (unresponsive)
		return;
	if (serial_baud)
		set_speed(serial_baud);
	write_register(LCR, LCR_8N1);
	write_register(IER, 0);
	write_register(MCR, MCR_DTR_RTS);
}

static void send(char character)
{
	if (!unresponsive)
		wait_for(LSR_THRE);
	if (!unresponsive)
		write_register(THR, (uint8_t)character);
}

void serial_putchar(char character)
{
	if (character == '\n')
		send('\r');
	send(character);
}

void serial_flush(void)
{
	if (!unresponsive)
		wait_for(LSR_TEMT);
}

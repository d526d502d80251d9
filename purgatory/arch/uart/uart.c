// SPDX-License-Identifier: MIT
/*
 * Register names are those of the PL011 Technical Reference Manual (DDI 0183) and of the
 * PC16550D data sheet. The architecture's io.h reaches them.
 */
#include "uart.h"

#include <stdbool.h>

#include "io.h"
#include "purgatory.h"

#define UARTFR 0x18
#define UARTFR_TXFF 0x20 /* no room for a character */
#define UARTFR_BUSY 0x08 /* the last one has not left */

#define LSR 5 /* times the distance of registers */
#define LSR_THRE 0x20 /* room for a character */
#define LSR_TEMT 0x40 /* the last one has left */

/*
 * A look at a device takes some 300 nanoseconds, in a virtual machine more. So this is a
 * third of a second at least: longer than 32 characters in a FIFO take at 1200 bits a second.
 */
#define POLLS_MAX (1 << 20)

PARAMETER uint64_t console_sink = 0; /* physical address of the registers; 0: no console */
PARAMETER uint32_t console_kind = PLAIN;
PARAMETER uint32_t console_width = 1; /* bytes of one access */
PARAMETER uint32_t console_reg_shift = 0; /* 8250: registers are 1 << this bytes apart */

/* Set once a wait ran out; the UART is left alone from then on. */
static bool unresponsive;

/* The one register that is read, from console_sink. */
static uint64_t status_offset(void)
{
	return console_kind == PL011 ? UARTFR : (uint64_t)LSR << console_reg_shift;
}

/* Waits until none of busy is set in a PL011's status, or one of ready in an 8250's. */
static void wait_for(uint32_t busy, uint32_t ready)
{
	const uint64_t offset = status_offset();

	if (console_kind == PLAIN)
		return;
	for (uint32_t polls = 0; !unresponsive && polls < POLLS_MAX; polls++) {
		uint32_t status = read_device(console_sink + offset, console_width);

		if (console_kind == PL011 ? !(status & busy) : status & ready)
			return;
	}
	unresponsive = true;
}

void uart_send(char character)
{
	if (!console_sink)
		return;
	wait_for(UARTFR_TXFF, LSR_THRE);
	if (!unresponsive)
		write_device(console_sink, console_width, (uint8_t)character);
}

void uart_flush(void)
{
	if (console_sink)
		wait_for(UARTFR_BUSY, LSR_TEMT);
}

uint64_t uart_size(void)
{
	if (!console_sink)
		return 0;
	return (console_kind == PLAIN ? 0 : status_offset()) + console_width;
}

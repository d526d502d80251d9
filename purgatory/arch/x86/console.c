// SPDX-License-Identifier: MIT
/* Sends each character to the consoles that the loader enabled; none is a valid choice. */
#include "console.h"
#include "purgatory.h"

PARAMETER uint8_t console_serial = 0;
PARAMETER uint8_t console_vga = 0;

void console_start(void)
{
	if (console_serial)
		serial_start();
	if (console_vga)
		vga_start();
}

void console_putchar(char character)
{
	if (console_serial)
		serial_putchar(character);
	if (console_vga)
		vga_putchar(character);
}

void console_flush(void)
{
	if (console_serial)
		serial_flush();
}

// SPDX-License-Identifier: MIT
#include "purgatory.h"
#include "uart.h"

void console_start(void)
{
}

void console_putchar(char character)
{
	if (character == '\n')
		uart_send('\r');
	uart_send(character);
}

void console_flush(void)
{
	uart_flush();
}

/* SPDX-License-Identifier: MIT */
/* One UART in memory, with the settings that the old kernel's driver gave it. */
#ifndef UART_H
#define UART_H

#include <stdint.h>

enum console_kind {
	PLAIN = 0, /* characters go to console_sink; nothing tells whether there is room */
	PL011 = 1,
	UART_8250 = 2,
	SBI = 3, /* riscv64: no UART, the firmware's console; console_sink means nothing */
};

extern uint32_t console_kind;
extern uint64_t console_sink;

/* Sends one character, unless console_sink is 0 or the UART has stopped to answer. */
void uart_send(char character);
/* Returns when the last character has left. */
void uart_flush(void);
/* How many bytes from console_sink on are read or written; 0: none. */
uint64_t uart_size(void);

#endif

/* SPDX-License-Identifier: MIT */
/* The two consoles of a PC. */
#ifndef X86_CONSOLE_H
#define X86_CONSOLE_H

void serial_start(void);
void serial_putchar(char character);
void serial_flush(void);

void vga_start(void);
void vga_putchar(char character);

#endif

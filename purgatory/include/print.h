/* SPDX-License-Identifier: MIT */
/* Formatted output through console_putchar(), without a format string to get wrong. */
#ifndef PRINT_H
#define PRINT_H

#include <stdint.h>

/* What each line begins with that stands for itself. */
#define NAME "pykexec purgatory: "

void print(const char *text);
void print_decimal(uint32_t value);
/* "0x" and as many digits as needed. */
void print_hex(uint64_t value);
/* "47.3 MiB" (rounded down), or the exact number of bytes below 1 MiB. Below 4 PiB. */
void print_size(uint64_t bytes);
/* "64 KiB": 1 << shift bytes, of which shift is 10 at least and 51 at most. */
void print_power(uint32_t shift);
/* Two digits a byte. */
void print_bytes(const uint8_t *bytes, uint32_t count);
/* Lines of 16 bytes, as numbers and as what of them is ASCII. */
void print_dump(const uint8_t *bytes, uint32_t count);

#endif

/* SPDX-License-Identifier: MIT */
/* Formatted output through console_putchar(), without a format string to get wrong. */
#ifndef PRINT_H
#define PRINT_H

#include <stdint.h>

void print(const char *text);
void print_decimal(uint32_t value);
/* "0x" and as many digits as needed. */
void print_hex(uint64_t value);
/* "47.3 MiB" (rounded down), or the exact number of bytes below 1 MiB. Below 4 PiB. */
void print_size(uint64_t bytes);
/* Two digits a byte. */
void print_bytes(const uint8_t *bytes, uint32_t count);

#endif

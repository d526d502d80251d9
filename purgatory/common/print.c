// SPDX-License-Identifier: MIT
/* No 64-bit division here: on 32-bit architectures it would call into a library. */
#include "print.h"
#include "purgatory.h"

void print(const char *text)
{
	while (*text)
		console_putchar(*text++);
}

void print_decimal(uint32_t value)
{
	char digits[10];
	int count = 0;

	do {
		digits[count++] = (char)('0' + value % 10);
		value /= 10;
	} while (value);
	while (count)
		console_putchar(digits[--count]);
}

static void print_digit(unsigned int value)
{
	console_putchar((char)(value < 10 ? '0' + value : 'a' + value - 10));
}

void print_hex(uint64_t value)
{
	int shift = 60;

	print("0x");
	while (shift && !(value >> shift))
		shift -= 4;
	for (; shift >= 0; shift -= 4)
		print_digit(value >> shift & 0xf);
}

void print_size(uint64_t bytes)
{
	const uint32_t mib = 1 << 20;

	if (bytes < mib) {
		print_decimal((uint32_t)bytes);
		print(bytes == 1 ? " byte" : " bytes");
		return;
	}
	print_decimal((uint32_t)(bytes >> 20));
	console_putchar('.');
	print_decimal(((uint32_t)bytes & (mib - 1)) * 10 >> 20);
	print(" MiB");
}

void print_bytes(const uint8_t *bytes, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		print_digit(bytes[i] >> 4);
		print_digit(bytes[i] & 0xf);
	}
}

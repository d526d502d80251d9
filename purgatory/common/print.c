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

void print_power(uint32_t shift)
{
	print_decimal(1u << (shift < 20 ? shift - 10 : shift - 20));
	print(shift < 20 ? " KiB" : " MiB");
}

void print_bytes(const uint8_t *bytes, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		print_digit(bytes[i] >> 4);
		print_digit(bytes[i] & 0xf);
	}
}

void print_dump(const uint8_t *bytes, uint32_t count)
{
	const uint32_t width = 16;

	for (uint32_t line = 0; line < count; line += width) {
		print("   ");
		for (uint32_t i = line; i < line + width; i++) {
			print(" ");
			if (i < count)
				print_bytes(bytes + i, 1);
			else
				print("  ");
		}
		print("  ");
		for (uint32_t i = line; i < line + width && i < count; i++)
			console_putchar((char)(bytes[i] < ' ' || bytes[i] > '~' ? '.' : bytes[i]));
		print("\n");
	}
}

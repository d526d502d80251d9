// SPDX-License-Identifier: MIT
#include "strings.h"

bool same(const char *one, const char *other)
{
	while (*one && *one == *other) {
		one++;
		other++;
	}
	return *one == *other;
}

bool begins(const char *text, const char *start)
{
	while (*start) {
		if (*text++ != *start++)
			return false;
	}
	return true;
}

char *write_decimal(char *at, unsigned long value)
{
	char digits[20];
	int count = 0;

	do {
		digits[count++] = (char)('0' + value % 10);
		value /= 10;
	} while (value);
	while (count)
		*at++ = digits[--count];
	return at;
}

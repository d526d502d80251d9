// SPDX-License-Identifier: MIT
#include <stdarg.h>

#include "calls.h"
#include "say.h"
#include "strings.h"
#include "system.h"
#include "texts.h"

#define STDERR 2

struct text {
	char bytes[2048];
	size_t size;
};

static void add(struct text *text, char byte)
{
	if (text->size < sizeof(text->bytes))
		text->bytes[text->size++] = byte;
}

static void add_string(struct text *text, const char *string)
{
	while (*string)
		add(text, *string++);
}

static void add_digit(struct text *text, unsigned int value)
{
	add(text, (char)(value < 10 ? '0' + value : 'a' + value - 10));
}

static void add_decimal(struct text *text, unsigned long value)
{
	char digits[21];

	*write_decimal(digits, value) = 0;
	add_string(text, digits);
}

static void add_hex(struct text *text, uint64_t value)
{
	unsigned char digits[16];
	int count = 0;

	do {
		digits[count++] = value & 0xf;
		value >>= 4;
	} while (value);
	while (count)
		add_digit(text, digits[--count]);
}

static void add_name(struct text *text, const char *name)
{
	for (; *name; name++) {
		unsigned char byte = (unsigned char)*name;

		if (byte >= ' ' && byte <= '~') {
			add(text, *name);
			continue;
		}
		add_string(text, "\\x");
		add_digit(text, byte >> 4);
		add_digit(text, byte & 0xf);
	}
}

/* Strings one behind the other instead of pointers, which would have to be relocated. */
static const char errors[] = ERRORS;

/* Returns an errno's name, or with ``which`` 1 what it means; NULL where nobody knows. */
static const char *error_string(long error, int which)
{
	const char *string = errors;

	if (error <= 0 || error > ERRORS_LAST)
		return NULL;
	for (long skipped = 2 * (error - 1) + which; skipped; skipped--) {
		while (*string)
			string++;
		string++;
	}
	return string;
}

static void add_error_name(struct text *text, long error)
{
	const char *name = error_string(error, 0);

	if (name)
		add_string(text, name);
	else
		add_decimal(text, (unsigned long)error);
}

static void add_error_text(struct text *text, long error)
{
	const char *meaning = error_string(error, 1);

	if (meaning) {
		add_string(text, meaning);
		return;
	}
	add_string(text, "Unknown error ");
	add_decimal(text, (unsigned long)error);
}

void say(const char *format, ...)
{
	struct text text;
	va_list values;

	text.size = 0;
	va_start(values, format);
	for (; *format; format++) {
		if (*format != '%') {
			add(&text, *format);
			continue;
		}
		switch (*++format) {
		case 's':
			add_string(&text, va_arg(values, const char *));
			break;
		case 'n':
			add_name(&text, va_arg(values, const char *));
			break;
		case 'E':
			add_error_name(&text, va_arg(values, long));
			break;
		case 'e':
			add_error_text(&text, va_arg(values, long));
			break;
		case 'd':
			add_decimal(&text, va_arg(values, unsigned long));
			break;
		case 'x':
			add_hex(&text, va_arg(values, uint64_t));
			break;
		default:
			add(&text, *format);
		}
	}
	va_end(values);
	/* There is nowhere left to say that this failed. */
	system_call(CALL_WRITE, STDERR, (long)text.bytes, (long)text.size, 0);
}

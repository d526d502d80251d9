// SPDX-License-Identifier: MIT
#include "calls.h"
#include "state.h"
#include "strings.h"
#include "system.h"
#include "texts.h"

#define AT_FDCWD (-100)
#define O_RDONLY 0
#define XENFEAT_DOM0 11 /* Linux include/xen/interface/features.h */

/* Returns the length of the text that ``path`` holds, of which ``size`` - 1 bytes are read at
 * most, and ends it with a NUL; -1 where it cannot be read. */
static long read_file(const char *path, char *text, size_t size)
{
	long file = system_call(CALL_OPENAT, AT_FDCWD, (long)path, O_RDONLY, 0);
	size_t length = 0;
	long count;

	if (file < 0)
		return -1;
	do {
		count = system_call(CALL_READ, file, (long)(text + length),
				    (long)(size - 1 - length), 0);
		if (count > 0)
			length += (size_t)count;
	} while (count > 0 && length < size - 1);
	system_call(CALL_CLOSE, file, 0, 0, 0);
	text[length] = 0;
	return count < 0 ? -1 : (long)length;
}

static bool is_space(char byte)
{
	return byte == ' ' || (byte >= '\t' && byte <= '\r');
}

static const char *skip_space(const char *text)
{
	while (is_space(*text))
		text++;
	return text;
}

static int hex_digit(char byte)
{
	if (byte >= '0' && byte <= '9')
		return byte - '0';
	byte |= 0x20;
	return byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : -1;
}

/* Reads a word of hexadecimal digits and nothing else, maybe behind "0x". */
static bool parse_hex(const char *text, uint64_t *value)
{
	const char *first;

	text = skip_space(text);
	if (text[0] == '0' && (text[1] | 0x20) == 'x')
		text += 2;
	*value = 0;
	for (first = text; hex_digit(*text) >= 0; text++)
		*value = *value << 4 | (unsigned int)hex_digit(*text);
	return text > first && text - first <= 16 && !*skip_space(text);
}

static enum number parse_number(const char *text)
{
	enum number found = ZERO;
	const char *first;

	text = skip_space(text);
	if (*text == '-')
		text++;
	for (first = text; *text >= '0' && *text <= '9'; text++) {
		if (*text != '0')
			found = NOT_ZERO;
	}
	return text == first || *skip_space(text) ? UNKNOWN : found;
}

enum number read_number(const char *files)
{
	char text[64];

	while (*files) {
		enum number found;

		if (read_file(files, text, sizeof(text)) >= 0) {
			found = parse_number(text);
			if (found != UNKNOWN)
				return found;
		}
		while (*files++)
			;
	}
	return UNKNOWN;
}

static bool has_word(const char *text, const char *word)
{
	const char *end;

	for (text = skip_space(text); *text; text = skip_space(end)) {
		const char *rest = word;

		for (end = text; *end && !is_space(*end); end++) {
			if (rest && *rest == *end)
				rest++;
			else
				rest = NULL;
		}
		if (rest && !*rest)
			return true;
	}
	return false;
}

bool is_xen_host(void)
{
	char text[256];
	uint64_t features;

	if (read_file(XEN_FEATURES_FILE, text, sizeof(text)) >= 0)
		return parse_hex(text, &features) && (features >> XENFEAT_DOM0 & 1);
	return read_file(XEN_CAPABILITIES_FILE, text, sizeof(text)) >= 0 &&
	       has_word(text, "control_d");
}

/* Tells whether the record of the last load has ``words`` among its first five members. */
static bool is_recorded(const char *words)
{
	char text[512];
	const char *at;

	if (read_file(RECORD_FILE, text, sizeof(text)) < 0)
		return false;
	for (at = text; *at; at++) {
		if (begins(at, words))
			return true;
	}
	return false;
}

bool will_return(void)
{
	return is_recorded(RETURNS);
}

bool may_lose_sessions(void)
{
	char text[64];

	return read_file(UPDATE_DEVICE_FILE, text, sizeof(text)) >= 0 &&
	       is_recorded(HANDS_NOTHING_OVER);
}

bool read_capabilities(uint64_t *effective)
{
	/* What is looked for is far before the end of this, on every kernel. */
	char text[4096];
	char *line = text, *end;

	if (read_file(PROCESS_STATUS_FILE, text, sizeof(text)) < 0)
		return false;
	for (; *line; line = end) {
		for (end = line; *end && *end != '\n'; end++)
			;
		if (*end)
			*end++ = 0;
		if (begins(line, "CapEff:"))
			return parse_hex(line + sizeof("CapEff:") - 1, effective);
	}
	return false;
}

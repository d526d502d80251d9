// SPDX-License-Identifier: MIT
/*
 * A multiboot kernel for tests: says on the first serial port what it was told, and stops.
 * As an ELF program without that protocol it tells of ELF boot notes, if it has any.
 * Built with -DVERSION=1 or 2. Every line begins with "mb ".
 */
#include <stdint.h>

#define PORT 0x3f8
#define NOTES_MAGIC 0x0e1fb007u

#if VERSION == 1
#define HEADER_MAGIC 0x1badb002u
#define HEADER_FLAGS 3u
#define INFO_MAGIC 0x2badb002u
__attribute__((section(".multiboot"), used, aligned(4))) static const uint32_t header[] = {
	HEADER_MAGIC,
	HEADER_FLAGS,
	-(HEADER_MAGIC + HEADER_FLAGS),
};
#else
#define HEADER_MAGIC 0xe85250d6u
#define INFO_MAGIC 0x36d76289u
__attribute__((section(".multiboot"), used, aligned(8))) static const uint32_t header[] = {
	HEADER_MAGIC, 0, 16 + 24 + 24 + 8, -(HEADER_MAGIC + 0 + 16 + 24 + 24 + 8),
	1, 20, 3, 4, 6, 0,			/* wants modules, memory and its map */
	10, 24, 0x200000, 0x3fffffff, 0x1000, 1,	/* relocatable */
	0, 8,
};
#endif

static uint8_t stack[8192] __attribute__((used));

__attribute__((naked, section(".text.entry"), used)) void _start(void)
{
	__asm__ volatile("call 1f\n"
			 "1: popl %ecx\n"
			 "leal stack + 8192 - 1b(%ecx), %esp\n"
			 "pushl %ebx\n"
			 "pushl %eax\n"
			 "call tell\n");
}

static void out8(uint16_t port, uint8_t value)
{
	__asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static uint8_t in8(uint16_t port)
{
	uint8_t value;

	__asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

static void put(char character)
{
	while (!(in8(PORT + 5) & 0x20))
		;
	out8(PORT, (uint8_t)character);
}

static void text(const char *string)
{
	while (*string)
		put(*string++);
}

static void hex(uint64_t value)
{
	int shift = 60;

	text(" 0x");
	while (shift && !(value >> shift))
		shift -= 4;
	for (; shift >= 0; shift -= 4)
		put("0123456789abcdef"[value >> shift & 15]);
}

static void end(void)
{
	text("\r\n");
}

/* The place, the words, and the contents up to the end of their first line. */
static void module(uint32_t start, uint32_t stop, const char *words)
{
	const char *content = (const char *)(uintptr_t)start;

	text("mb module");
	hex(stop - start);
	text(" <");
	text(words);
	text("> <");
	for (uint32_t i = 0; i < stop - start && content[i] != '\n'; i++)
		put(content[i]);
	text(">");
	end();
}

static void memory(uint64_t start, uint64_t size, uint32_t type)
{
	text("mb memory");
	hex(start);
	hex(size);
	hex(type);
	end();
}

static void line(const char *name, const char *value)
{
	text("mb ");
	text(name);
	text(" <");
	text(value);
	text(">");
	end();
}

static uint32_t word(uint32_t address)
{
	return *(const uint32_t *)(uintptr_t)address;
}

static const char *string(uint32_t address)
{
	return (const char *)(uintptr_t)address;
}

#if VERSION == 1
static void tell_all(uint32_t info)
{
	uint32_t modules = word(info + 24), map = word(info + 48);

	line("cmdline", string(word(info + 16)));
	line("loader", string(word(info + 64)));
	for (uint32_t i = 0; i < word(info + 20); i++)
		module(word(modules + 16 * i), word(modules + 16 * i + 4),
		       string(word(modules + 16 * i + 8)));
	for (uint32_t at = map; at < map + word(info + 44); at += word(at) + 4)
		memory(word(at + 4) | (uint64_t)word(at + 8) << 32,
		       word(at + 12) | (uint64_t)word(at + 16) << 32, word(at + 20));
}
#else
static void tell_all(uint32_t info)
{
	for (uint32_t at = info + 8; word(at); at += (word(at + 4) + 7) & ~7u) {
		switch (word(at)) {
		case 1:
			line("cmdline", string(at + 8));
			break;
		case 2:
			line("loader", string(at + 8));
			break;
		case 3:
			module(word(at + 8), word(at + 12), string(at + 16));
			break;
		case 6:
			for (uint32_t e = at + 16; e < at + word(at + 4); e += word(at + 8))
				memory(word(e) | (uint64_t)word(e + 4) << 32,
				       word(e + 8) | (uint64_t)word(e + 12) << 32, word(e + 16));
			break;
		case 21:
			text("mb base");
			hex(word(at + 8));
			end();
			break;
		}
	}
}
#endif

/* ELF boot notes: 12 bytes of header, then notes without a name. */
static void tell_notes(uint32_t info)
{
	for (uint32_t at = info + 12; at < info + word(info + 4);) {
		text("mb note");
		hex(word(at + 8));
		text(" <");
		text(string(at + 12));
		text(">");
		end();
		at += 12 + ((word(at + 4) + 3) & ~3u);
	}
}

__attribute__((used)) void tell(uint32_t magic, uint32_t info)
{
	text("mb magic");
	hex(magic);
	end();
	if (magic == INFO_MAGIC)
		tell_all(info);
	else if (magic == NOTES_MAGIC)
		tell_notes(info);
	text("mb done");
	end();
	for (;;)
		__asm__ volatile("cli; hlt");
}

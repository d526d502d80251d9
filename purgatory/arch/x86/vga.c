// SPDX-License-Identifier: MIT
/*
 * VGA text mode, 80x25, used like a teletype: text appears on the last row and moves up, so
 * the old kernel's last words, a panic perhaps, stay on the screen as long as possible.
 */
#include "console.h"
#include "io.h"
#include "purgatory.h"

#define COLUMNS 80
#define ROWS 25
#define CELLS (COLUMNS * ROWS)
#define BLANK (0x07 << 8 | ' ') /* light grey on black */

#define WINDOW 0xb8000
#define WINDOW_CELLS (0x8000 / 2)

#define CRTC_INDEX 0x3d4
#define CRTC_DATA 0x3d5
#define CRTC_START_HIGH 0x0c
#define CRTC_START_LOW 0x0d

static volatile uint16_t *screen; /* its first cell */
static unsigned int column; /* of the next character, on the last row */

static uint8_t read_crtc(uint8_t index)
{
	out8(CRTC_INDEX, index);
	return in8(CRTC_DATA);
}

static void write_crtc(uint8_t index, uint8_t value)
{
	out8(CRTC_INDEX, index);
	out8(CRTC_DATA, value);
}

static void scroll(void)
{
	for (int i = 0; i < CELLS - COLUMNS; i++)
		screen[i] = screen[i + COLUMNS];
	for (int i = CELLS - COLUMNS; i < CELLS; i++)
		screen[i] = BLANK;
	column = 0;
}

void vga_start(void)
{
	/* Linux scrolls by moving the start address: the screen rarely begins at 0xb8000. */
	unsigned int start = (unsigned int)read_crtc(CRTC_START_HIGH) << 8;

	start |= read_crtc(CRTC_START_LOW);
	if (start > WINDOW_CELLS - CELLS) {
		start = 0;
		write_crtc(CRTC_START_HIGH, 0);
		write_crtc(CRTC_START_LOW, 0);
	}
	screen = (volatile uint16_t *)(uintptr_t)WINDOW + start;
	scroll();
}

void vga_putchar(char character)
{
	if (character == '\n' || column == COLUMNS)
		scroll();
	if (character != '\n')
		screen[CELLS - COLUMNS + column++] = (uint16_t)(BLANK & 0xff00) | (uint8_t)character;
}

// SPDX-License-Identifier: MIT
/* What a kernel that calls the BIOS must find as the BIOS left it. */
#include "exit.h"

#include "io.h"
#include "return.h"

#define PIC1_COMMAND 0x20
#define PIC1_DATA 0x21
#define PIC2_COMMAND 0xa0
#define PIC2_DATA 0xa1

#define ICW1_INIT 0x11 /* edge triggered, cascaded, ICW4 follows */
#define ICW4_8086 0x01

/* Intel 8259A data sheet; vectors and the line between the two as on every PC. */
static void reset_interrupt_controllers(void)
{
	out8(PIC1_COMMAND, ICW1_INIT);
	out8(PIC1_DATA, 0x08);
	out8(PIC1_DATA, 1 << 2);
	out8(PIC1_DATA, ICW4_8086);
	out8(PIC2_COMMAND, ICW1_INIT);
	out8(PIC2_DATA, 0x70);
	out8(PIC2_DATA, 2);
	out8(PIC2_DATA, ICW4_8086);
	/* Timer, keyboard and the second controller may interrupt; nothing on that one. */
	out8(PIC1_DATA, 0xf8);
	out8(PIC2_DATA, 0xff);
}

void prepare_exit(void)
{
	tell_of_return();
	if (exit_mode == 16)
		reset_interrupt_controllers();
}

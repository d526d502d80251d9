/* SPDX-License-Identifier: MIT */
/* What is said on standard error, and numbers of the kernel's in words. */
#ifndef SAY_H
#define SAY_H

/*
 * Writes one text in one piece. In it stand %s for a string, %d and %x for an unsigned long in
 * decimal and for a uint64_t in hexadecimal digits, %n for a name that somebody else gave, with
 * everything but printable ASCII spelled out, %E and %e for an errno's name and what it means, as
 * a long, and %% for %. What does not fit is cut off.
 */
void say(const char *format, ...);

#endif

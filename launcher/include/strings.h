/* SPDX-License-Identifier: MIT */
#ifndef STRINGS_H
#define STRINGS_H

#include <stdbool.h>

bool same(const char *one, const char *other);
/* Tells whether ``text`` begins with ``start``. */
bool begins(const char *text, const char *start);
/* Writes decimal digits, at most 20, and returns the end, where no NUL is. */
char *write_decimal(char *at, unsigned long value);

#endif

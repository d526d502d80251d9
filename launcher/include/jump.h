/* SPDX-License-Identifier: MIT */
#ifndef JUMP_H
#define JUMP_H

#include <stdbool.h>

/*
 * Leaves for the loaded kernel, as pykexec/cli/jump.py does: the same checks and calls in the
 * same order, the same words, the same exit codes. Returns one, for what kept it here.
 */
int jump(bool sync, bool interfaces_down);

#endif

/* SPDX-License-Identifier: MIT */
/* What pykexec/machine/kernel_state.py reads, as far as a jump asks for it. */
#ifndef STATE_H
#define STATE_H

#include <stdbool.h>
#include <stdint.h>

/* What a file says that holds one decimal number. */
enum number { UNKNOWN, ZERO, NOT_ZERO };

/* Returns what the first of ``files`` says that holds a number. They stand one behind the other,
 * the last one followed by an empty string. */
enum number read_number(const char *files);

bool is_xen_host(void);

/* By the record of the last load: the jump is one that is come back from. */
bool will_return(void);

/* There may be sessions for the next kernel, and by the same record it would get none. */
bool may_lose_sessions(void);

/* False where nobody tells. */
bool read_capabilities(uint64_t *effective);

#endif

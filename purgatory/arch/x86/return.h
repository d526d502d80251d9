/* SPDX-License-Identifier: MIT */
/* Where the old kernel waits to be returned to, see return.c. */
#ifndef RETURN_H
#define RETURN_H

/* Called when all is verified: writes the address to where others look for it. */
void tell_of_return(void);

#endif

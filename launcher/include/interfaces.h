/* SPDX-License-Identifier: MIT */
#ifndef INTERFACES_H
#define INTERFACES_H

/*
 * Takes every network interface down but lo, and says which of them stays up. A card that is still
 * receiving would write into the next kernel's memory.
 */
void take_interfaces_down(void);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * term.h - the operator's terminal in raw mode, and back, whatever happens.
 */
#ifndef LODGE_KEEPER_TERM_H
#define LODGE_KEEPER_TERM_H

#include "util/base.h"

/* Is stdin a terminal that we may read (we are in its foreground)? */
bool term_usable(void);
/* Raw input (output processing stays on, so that messages look right). From the first call on the
 * terminal is restored on exit() and on fatal signals, too. 0 or -errno. */
int term_raw(void);
/* As it was; does nothing when it is not raw. */
void term_restore(void);

#endif

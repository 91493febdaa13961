/* SPDX-License-Identifier: Apache-2.0 */
/*
 * escape.h - the escape key of the console: Ctrl-A, then one more key.
 */
#ifndef LODGE_KEEPER_ESCAPE_H
#define LODGE_KEEPER_ESCAPE_H

#include "util/base.h"

#define ESCAPE_KEY 0x01 /* Ctrl-A */

enum escape_action {
	ESCAPE_NONE,
	ESCAPE_QUIT,	  /* x */
	ESCAPE_HELP,	  /* h, ? */
	ESCAPE_PAUSE,	  /* p: pause or resume */
	ESCAPE_RESET,	  /* r */
	ESCAPE_POWERDOWN, /* s */
	ESCAPE_LEAVE,	  /* d: of `lodge console` */
};

/* Zero-initialised: no escape key seen. */
struct escape {
	bool armed; /* the last byte was the escape key */
};

/*
 * Takes typed bytes from in[0..*used): copies what is for the guest to out (room for n bytes), its
 * length to *out_len, and stops behind the first key that is an action. *used is how many bytes of
 * n were taken. Unknown keys after Ctrl-A are dropped; Ctrl-A a (or Ctrl-A twice) gives one Ctrl-A.
 */
enum escape_action escape_filter(struct escape *s, const uint8_t *in, size_t n, size_t *used,
				 uint8_t *out, size_t *out_len);
/* The help texts, lines separated by '\n': of the console that `lodge run` has; of `lodge console`, which comes and goes. */
extern const char escape_help[], escape_help_attached[];

#endif

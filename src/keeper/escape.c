/* SPDX-License-Identifier: Apache-2.0 */
/*
 * escape.c - the escape key of the console.
 */
#include "keeper/escape.h"

const char escape_help[] = "Ctrl-A x  quit the VM at once\n"
			   "Ctrl-A s  press the power button\n"
			   "Ctrl-A r  reset\n"
			   "Ctrl-A p  pause, or go on\n"
			   "Ctrl-A a  send Ctrl-A to the guest\n"
			   "Ctrl-A h  this help\n";

const char escape_help_attached[] = "\nCtrl-A d or x  leave the console; the VM goes on\n"
				    "Ctrl-A s       press the power button\n"
				    "Ctrl-A r       reset\n"
				    "Ctrl-A p       pause, or go on\n"
				    "Ctrl-A a       send Ctrl-A to the guest\n"
				    "Ctrl-A h       this help\n";

enum escape_action escape_filter(struct escape *s, const uint8_t *in, size_t n, size_t *used,
				 uint8_t *out, size_t *out_len)
{
	size_t i, len = 0;
	enum escape_action action = ESCAPE_NONE;

	for (i = 0; i < n && action == ESCAPE_NONE; i++) {
		if (!s->armed) {
			if (in[i] == ESCAPE_KEY)
				s->armed = true;
			else
				out[len++] = in[i];
			continue;
		}
		s->armed = false;
		switch (in[i]) {
		case ESCAPE_KEY:
		case 'a': out[len++] = ESCAPE_KEY; break;
		case 'x': action = ESCAPE_QUIT; break;
		case 'd': action = ESCAPE_LEAVE; break;
		case 'h':
		case '?': action = ESCAPE_HELP; break;
		case 'p': action = ESCAPE_PAUSE; break;
		case 'r': action = ESCAPE_RESET; break;
		case 's': action = ESCAPE_POWERDOWN; break;
		default: break;
		}
	}
	*used = i;
	*out_len = len;
	return action;
}

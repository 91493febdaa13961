/* SPDX-License-Identifier: Apache-2.0 */
/* status.h - exit statuses of `lodge`, and how it prints an error: one sentence or, with --json-errors, one JSON object. */
#ifndef LODGE_PROTO_STATUS_H
#define LODGE_PROTO_STATUS_H

#include "util/err.h"

/* Exit statuses; docs/man-lodge-run.md explains them. 0..127 may also be the guest's own with
 * --debug-exit. */
enum status {
	STATUS_OK = 0,
	STATUS_RUNTIME = 1,
	STATUS_USAGE = 2,
	STATUS_CRASHED = 3,
	STATUS_NOT_FOUND = 4,
	STATUS_CONFLICT = 5,
	STATUS_PERMISSION = 6,
	STATUS_TIMEOUT = 124,
	STATUS_INTERRUPTED = 130,
};

#define STATUS_SENTENCE_MAX (sizeof(((struct err *)0)->msg) + sizeof(((struct err *)0)->hint) + 4)

/* What is wrong and, unless that says so already, what to do. Returns `text`. */
const char *status_sentence(const struct err *e, char text[STATUS_SENTENCE_MAX]);
/* Prints e to stderr and returns `status`. */
int status_fail(const struct err *e, enum status status);
/* The status that the error of a named VM is: not found, conflict, no permission, time-out, or another. */
enum status status_of(const struct err *e);
/* The same for a field that is a configuration key: it is named as the option ("boot.kernel": --kernel). */
int status_fail_option(struct err *e, enum status status);
void status_json_errors(bool on);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* status.c - how `lodge` prints an error. */
#include "proto/status.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/control.h"

static bool json_errors;

void status_json_errors(bool on)
{
	json_errors = on;
}

/* What to do, unless the sentence says so already ("did you mean --memory?", "use --memory"). */
static const char *next_step(const struct err *e)
{
	static const char *const verbs[] = {"use ", "see ", "lodge "};
	const char *rest = e->hint;

	for (unsigned i = 0; i < ARRAY_SIZE(verbs); i++)
		if (!strncmp(rest, verbs[i], strlen(verbs[i])))
			rest += strlen(verbs[i]);
	return strstr(e->msg, rest) ? "" : e->hint;
}

const char *status_sentence(const struct err *e, char text[STATUS_SENTENCE_MAX])
{
	const char *step = next_step(e);

	snprintf(text, STATUS_SENTENCE_MAX, *step ? "%s (%s)" : "%s", e->msg[0] ? e->msg : "failed",
		 step);
	return text;
}

int status_fail(const struct err *e, enum status status)
{
	char sentence[STATUS_SENTENCE_MAX];
	_autojson json_t *j = json_errors ? control_error_json(e) : NULL;
	_autofree char *text = j ? json_text(j) : NULL;

	if (text)
		fprintf(stderr, "%s\n", text);
	else
		fprintf(stderr, "lodge: %s\n", status_sentence(e, sentence));
	return status;
}

enum status status_of(const struct err *e)
{
	switch (e->code) {
	case ESRCH: return STATUS_NOT_FOUND;
	case EEXIST:
	case EBUSY: return STATUS_CONFLICT;
	case EACCES:
	case EPERM: return STATUS_PERMISSION;
	case ETIMEDOUT: return STATUS_TIMEOUT;
	case EINVAL: return STATUS_USAGE;
	default: return STATUS_RUNTIME;
	}
}

int status_fail_option(struct err *e, enum status status)
{
	const char *key = !strncmp(e->field, "boot.", 5) ? e->field + 5 : e->field;
	char option[sizeof(e->field)];

	if (*key && *key != '-') {
		snprintf(option, sizeof(option), "--%.61s", key);
		for (char *p = option; *p; p++)
			if (*p == '.' || *p == '_')
				*p = '-';
		memcpy(e->field, option, sizeof(option));
	}
	return status_fail(e, status);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log.c - one line to stderr.
 */
#include "util/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "util/clock.h"
#include "util/err.h"

static const char *const level_names[] = {"error", "warn", "info", "debug"};
_Static_assert(ARRAY_SIZE(level_names) == LOG_LEVELS, "a name for each level");

static struct {
	char prefix[112]; /* "prog[name]: " */
	int level;	  /* atomic */
} log_state = {"lodge: ", LOG_LEVEL_INFO};

void log_init(const char *prog, const char *name)
{
	char clean[80];

	if (name && name[0])
		snprintf(log_state.prefix, sizeof(log_state.prefix), "%.24s[%s]: ", prog,
			 err_quote(clean, sizeof(clean), name));
	else
		snprintf(log_state.prefix, sizeof(log_state.prefix), "%.24s: ", prog);
}

void log_set_level(enum log_level level)
{
	__atomic_store_n(&log_state.level, (int)level, __ATOMIC_RELAXED);
}

bool log_enabled(enum log_level level)
{
	return (int)level <= __atomic_load_n(&log_state.level, __ATOMIC_RELAXED);
}

bool log_level_parse(const char *word, enum log_level *out)
{
	for (unsigned i = 0; i < LOG_LEVELS; i++) {
		if (!strcmp(word, level_names[i])) {
			*out = (enum log_level)i;
			return true;
		}
	}
	return false;
}

/* The level is said only where it matters: an ordinary line is plain text. */
static const char *log_word(enum log_level level)
{
	switch (level) {
	case LOG_LEVEL_WARN: return "warning: ";
	case LOG_LEVEL_DEBUG: return "debug: ";
	default: return "";
	}
}

void log_write(enum log_level level, const char *fmt, ...)
{
	int saved = errno;
	char line[1024];
	size_t len, start;
	ssize_t done;
	va_list ap;
	int n;

	if (!log_enabled(level))
		return;
	n = snprintf(line, sizeof(line), "%s%s", log_state.prefix, log_word(level));
	start = len = (size_t)n;
	va_start(ap, fmt);
	n = vsnprintf(line + len, sizeof(line) - 1 - len, fmt, ap);
	va_end(ap);
	if (n > 0)
		len = MIN(len + (size_t)n, sizeof(line) - 2);
	for (size_t i = start; i < len; i++)
		if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
			line[i] = '?';
	line[len++] = '\n';
	do
		/* seccomp vm nat: write */
		done = write(STDERR_FILENO, line, len);
	while (done < 0 && errno == EINTR);
	errno = saved;
}

bool log_limit_pass(struct log_limit *lim, uint32_t *held)
{
	uint64_t now = clock_ns();
	uint64_t start = __atomic_load_n(&lim->window_ns, __ATOMIC_RELAXED);

	*held = 0;
	/* Two threads may open the same window at once: then a few lines more pass, nothing worse. */
	if (!start || now - start >= CLOCK_NS_PER_S) {
		__atomic_store_n(&lim->window_ns, now, __ATOMIC_RELAXED);
		__atomic_store_n(&lim->passed, 0, __ATOMIC_RELAXED);
	}
	if (__atomic_fetch_add(&lim->passed, 1, __ATOMIC_RELAXED) >= LOG_LIMIT_BURST) {
		__atomic_fetch_add(&lim->held, 1, __ATOMIC_RELAXED);
		return false;
	}
	*held = __atomic_exchange_n(&lim->held, 0, __ATOMIC_RELAXED);
	return true;
}

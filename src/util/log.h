/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log.h - what a program tells its operator: one line each to stderr, `prog[name]: text`.
 *
 * Anything that a guest, an image or a client can cause many times is logged through a *_limited
 * macro, which lets LOG_LIMIT_BURST lines a second pass for its place in the code and then counts;
 * the next line that passes says how many were left out. One write(2) a line, so lines of several
 * threads and processes do not mix. Control bytes in a line become '?'. Any thread may log; errno
 * is kept.
 */
#ifndef LODGE_UTIL_LOG_H
#define LODGE_UTIL_LOG_H

#include "util/base.h"

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG, LOG_LEVELS };

#define LOG_LIMIT_BURST 5u

/* State of one rate-limited place; zero-initialised. Atomic fields. */
struct log_limit {
	uint64_t window_ns; /* start of the current second */
	uint32_t passed;    /* lines in it */
	uint32_t held;	    /* lines left out since the last one that passed */
};

/* `prog` and `name` appear in front of each line ("lodge-vm", VM name or NULL). Copied. Before the
 * first call lines begin with "lodge". Call before other threads start. */
void log_init(const char *prog, const char *name);
/* Lines above this level are dropped; LOG_LEVEL_INFO at start. */
void log_set_level(enum log_level level);
bool log_enabled(enum log_level level);
/* "error", "warn", "info", "debug"; returns false for another word. */
bool log_level_parse(const char *word, enum log_level *out);

void log_write(enum log_level level, const char *fmt, ...) PRINTF_FORMAT(2, 3);
/* True if a line may pass now; *held is how many were left out before it. */
bool log_limit_pass(struct log_limit *lim, uint32_t *held);

#define log_error(...) log_write(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...) log_write(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...) log_write(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) \
	(log_enabled(LOG_LEVEL_DEBUG) ? log_write(LOG_LEVEL_DEBUG, __VA_ARGS__) : (void)0)

#define log_limited(level, ...)                                                                \
	do {                                                                                   \
		static struct log_limit log_limit_;                                            \
		uint32_t log_held_;                                                            \
		if (log_enabled(level) && log_limit_pass(&log_limit_, &log_held_)) {           \
			if (log_held_)                                                         \
				log_write(level, "(%u lines like the next one were left out)", \
					  log_held_);                                          \
			log_write(level, __VA_ARGS__);                                         \
		}                                                                              \
	} while (0)
#define log_error_limited(...) log_limited(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn_limited(...) log_limited(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info_limited(...) log_limited(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug_limited(...) log_limited(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif

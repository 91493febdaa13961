/* SPDX-License-Identifier: Apache-2.0 */
/*
 * value.c - numbers and sizes as people write them (declared in opt.h). The sentences have no
 * subject: the caller puts the option's name in front ("--memory " + "\"4 GB\" has a blank ...").
 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <strings.h>

#include "util/opt.h"

static const struct {
	const char *word; /* of the letter alone */
	const char *iec;
	unsigned shift;
} units[] = {
	{"K", "KiB", 10}, {"M", "MiB", 20}, {"G", "GiB", 30}, {"T", "TiB", 40}, {"P", "PiB", 50}};

/* K, Ki, KB, KiB; empty and B are bytes. -1: not a unit. */
static int unit_shift(const char *s)
{
	if (!*s || !strcasecmp(s, "b"))
		return 0;
	for (unsigned i = 0; i < ARRAY_SIZE(units); i++) {
		if (toupper((unsigned char)s[0]) != units[i].word[0])
			continue;
		if (!s[1] || !strcasecmp(s + 1, "b") || !strcasecmp(s + 1, "i") ||
		    !strcasecmp(s + 1, "ib"))
			return (int)units[i].shift;
	}
	return -1;
}

/* Digits of *text into *v. 0, -EINVAL: none; -ERANGE: too large. *text moves behind them. */
static int digits(const char **text, uint64_t *v)
{
	const char *p = *text;
	bool over = false;

	*v = 0;
	if (*p < '0' || *p > '9')
		return -EINVAL;
	for (; *p >= '0' && *p <= '9'; p++)
		over |= __builtin_mul_overflow(*v, 10u, v) ||
			__builtin_add_overflow(*v, (unsigned)(*p - '0'), v);
	*text = p;
	return over ? -ERANGE : 0;
}

int opt_parse_uint(const char *text, uint64_t min, uint64_t max, uint64_t *out, struct err *e)
{
	const char *p = text;
	char shown[64];
	uint64_t v;
	int r = digits(&p, &v);

	err_quote(shown, sizeof(shown), text);
	if (r == -EINVAL || *p)
		err_set(e, EINVAL,
			"\"%s\" is not a whole number: it must be %" PRIu64 " to %" PRIu64, shown,
			min, max);
	else if (r == -ERANGE || v > max)
		err_set(e, EINVAL, "%s is too large: at most %" PRIu64 " is possible", shown, max);
	else if (v < min)
		err_set(e, EINVAL, "%s is too small: at least %" PRIu64 " is needed", shown, min);
	else {
		*out = v;
		return 0;
	}
	err_limit(e, "%" PRIu64 "..%" PRIu64, min, max);
	return -EINVAL;
}

int opt_parse_size(const char *text, uint64_t *bytes, struct err *e)
{
	const char *p = text;
	char shown[64];
	uint64_t v;
	int r, shift;

	err_quote(shown, sizeof(shown), text);
	err_hint(e, "write for example 512M or 4G");
	if (!*text)
		return err_set(e, EINVAL, "is empty: write for example 512M or 4G");
	if (strpbrk(text, " \t\n"))
		return err_set(e, EINVAL, "\"%s\" has a blank in it: write for example 512M or 4G",
			       shown);
	if (*text == '-')
		return err_set(e, EINVAL, "%s is negative: write for example 512M or 4G", shown);
	r = digits(&p, &v);
	if (r == -EINVAL)
		return err_set(e, EINVAL, "\"%s\" is not a size: write for example 512M or 4G",
			       shown);
	if (*p == '.' || *p == ',')
		return err_set(e, EINVAL,
			       "%s is not a whole number: use a smaller unit, for example 1536M",
			       shown);
	if ((*p == 'e' || *p == 'E') && isdigit((unsigned char)p[1 + (p[1] == '+' || p[1] == '-')]))
		return err_set(e, EINVAL, "%s has an exponent: write for example 512M or 4G", shown);
	shift = unit_shift(p);
	if (shift < 0)
		return err_set(e, EINVAL,
			       "\"%s\" has an unknown unit: use K, M, G or T (powers of 1024)",
			       shown);
	if (r == -ERANGE || (shift && v >> (64 - shift)))
		return err_set(e, EINVAL, "%s is too large: a size has at most 64 bits", shown);
	v <<= shift;
	if (!v)
		return err_set(e, EINVAL, "%s is zero: write for example 512M or 4G", shown);
	*bytes = v;
	if (e && !e->code)
		e->hint[0] = '\0';
	return 0;
}

int opt_check_size(uint64_t bytes, const char *text, uint64_t min, uint64_t max, struct err *e)
{
	char shown[64], lo[40], hi[40];

	if (bytes >= min && bytes <= max)
		return 0;
	opt_format_size(min, lo, sizeof(lo));
	opt_format_size(max, hi, sizeof(hi));
	err_limit(e, "%s..%s", lo, hi);
	return err_set(e, EINVAL, "%s is too %s: it must be %s to %s",
		       err_quote(shown, sizeof(shown), text), bytes < min ? "small" : "large", lo,
		       hi);
}

const char *opt_format_size(uint64_t bytes, char *buf, size_t size)
{
	for (int i = (int)ARRAY_SIZE(units) - 1; i >= 0 && bytes; i--) {
		uint64_t mask = BIT(units[i].shift) - 1;

		if (!(bytes & mask)) {
			snprintf(buf, size, "%" PRIu64 " %s", bytes >> units[i].shift, units[i].iec);
			return buf;
		}
	}
	snprintf(buf, size, "%" PRIu64 " bytes", bytes);
	return buf;
}

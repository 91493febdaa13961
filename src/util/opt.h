/* SPDX-License-Identifier: Apache-2.0 */
/*
 * opt.h - command-line options from one table that gives parsing, checks and help.
 *
 * Forms: --name VALUE, --name=VALUE, -n VALUE, -nVALUE, --flag; "--" ends the options. Whatever is
 * not an option is a positional argument. A misspelt name is answered with the nearest one, an
 * option given twice or without its value is refused, and every sentence names the option, the
 * value and what is allowed.
 */
#ifndef LODGE_UTIL_OPT_H
#define LODGE_UTIL_OPT_H

#include <stdio.h>

#include "util/base.h"
#include "util/err.h"

enum opt_type {
	OPT_FLAG,   /* bool */
	OPT_TEXT,   /* const char *: points into argv */
	OPT_UINT,   /* uint64_t: decimal, within min..max */
	OPT_SIZE,   /* uint64_t: bytes, as opt_parse_size(), within min..max */
	OPT_CHOICE, /* unsigned: index into `choice` */
	OPT_LIST,   /* struct opt_list: may be given several times */
};

#define OPT_LIST_MAX 32u

struct opt_list {
	const char *word[OPT_LIST_MAX]; /* point into argv */
	unsigned n;
};

struct opt_def {
	const char *name; /* without the dashes */
	char letter;	  /* short name, or 0 */
	enum opt_type type;
	size_t offset; /* where in the target the value goes, of the type above */
	const char *metavar;
	const char *help; /* one line; NULL: not shown */
	uint64_t min, max;
	const char *const *choice; /* NULL-terminated */
};

#define OPT_MAX 64 /* entries of a table */

/* What opt_parse() found besides the values. */
struct opt_result {
	uint64_t given; /* bit i: table entry i was on the command line */
	char **arg;	/* positional arguments: argv reordered in place, points into it */
	int n_args;
};

/* Parses argv[0..argc) (no program name in front). Ends with -EINVAL and a sentence at the first
 * mistake. */
int opt_parse(const struct opt_def *table, unsigned n, int argc, char **argv, void *target,
	      struct opt_result *res, struct err *e);
/* Was this one given? By its name. */
bool opt_given(const struct opt_def *table, unsigned n, const struct opt_result *res,
	       const char *name);
void opt_print_help(const struct opt_def *table, unsigned n, FILE *f);

/*
 * The inside of one option: "FILE,key=value,key". The first item is stored by table[0] (an OPT_TEXT; its metavar
 * names it), the others by the entries with their names, in any order, each once. A flag is on, off, or alone (on);
 * a comma inside of a value is written twice. `text` is cut up in place and values point into it. Bit i of *given: entry i
 * was there. `option` ("--disk") begins every sentence and is the error's field.
 */
int opt_parse_keys(const char *option, const struct opt_def *table, unsigned n, char *text,
		   void *target, uint64_t *given, struct err *e);
/* One line a key. */
void opt_print_keys(const struct opt_def *table, unsigned n, FILE *f);
/* From now on both print for a program: byte 1, the option with its value, byte 1, the text. For manual pages and completion. */
void opt_mark_help(bool on);

/*
 * "512M", "4G", "4GiB", "1048576", "64k": a whole number and an optional binary unit K, M, G, T, P
 * (also Ki, KiB, KB; any case). Refuses signs, fractions, exponents, blanks, zero and what is over
 * 64 bits, each with its own reason.
 */
int opt_parse_size(const char *text, uint64_t *bytes, struct err *e);
/* -EINVAL unless min <= bytes <= max; `text` is how it was written. */
int opt_check_size(uint64_t bytes, const char *text, uint64_t min, uint64_t max, struct err *e);
/* Decimal digits only. */
int opt_parse_uint(const char *text, uint64_t min, uint64_t max, uint64_t *out, struct err *e);
/* "512 MiB", "3 GiB", "1000 bytes": exact, for messages. Returns buf. */
const char *opt_format_size(uint64_t bytes, char *buf, size_t size);

/* Nearest word of a NULL-terminated list by edit distance (transpositions count one), or NULL if
 * none is near. */
const char *opt_suggest(const char *word, const char *const *list);

#endif

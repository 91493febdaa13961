/* SPDX-License-Identifier: Apache-2.0 */
/* show.h - rows and objects for people and programs: table, json, yaml, csv. */
#ifndef LODGE_CLI_SHOW_H
#define LODGE_CLI_SHOW_H

#include <stdio.h>

#include "util/json.h"
#include "util/opt.h"

enum show_format { SHOW_TABLE, SHOW_JSON, SHOW_YAML, SHOW_CSV, SHOW_FORMATS };
extern const char *const show_format_names[]; /* NULL-terminated */

struct show_column {
	const char *key;   /* of the row */
	const char *title; /* in the table */
};

/* An array of objects. Table and csv show `columns` (ended by a NULL key), the others all of it. */
int show_rows(const json_t *rows, const struct show_column *columns, enum show_format f, FILE *to);
/* One object; the table is a line for each member, nested ones with dots. */
int show_object(const json_t *j, enum show_format f, FILE *to);
/* A text as it is, but for what a terminal would take for an order; `lines`: line ends and tabs may be in it. */
void show_text(const char *text, bool lines, FILE *to);
/* One member of each row, a line each. */
int show_names(const json_t *rows, const char *key, FILE *to);
/* A number of bytes becomes a text for people, "512 MiB"; no number: nothing happens. */
void show_as_size(json_t *row, const char *key);
/* Takes out of `rows` what does not fit the filters, each KEY=VALUE or KEY!=VALUE, * at the end of VALUE for anything.
 * -EINVAL: a filter that is none. */
int show_filter(json_t *rows, const struct opt_list *filters, const struct show_column *columns,
		struct err *e);

#endif

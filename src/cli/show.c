/* SPDX-License-Identifier: Apache-2.0 */
/*
 * show.c - output in four formats.
 *
 * What a guest or another process said can be in a text: control bytes do not reach the terminal (table), and csv and yaml
 * quote. YAML texts are written as JSON strings, which YAML 1.2 §1.3 takes as they are.
 */
#include "cli/show.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

const char *const show_format_names[] = {"table", "json", "yaml", "csv", NULL};
_Static_assert(ARRAY_SIZE(show_format_names) == SHOW_FORMATS + 1, "a name for each format");

#define CELL_MAX 512u

/* The value as one line of text, "-" if it is not there. */
static const char *cell(const json_t *v, char buf[CELL_MAX])
{
	_autofree char *text = NULL;

	if (!v || json_is_null(v))
		return "-";
	if (json_is_string(v))
		return err_quote(buf, CELL_MAX, json_string_value(v));
	text = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);
	return err_quote(buf, CELL_MAX, text ? text : "?");
}

void show_text(const char *text, bool lines, FILE *to)
{
	char piece[CELL_MAX];

	while (*text) {
		size_t n = MIN(strcspn(text, "\n\t"), sizeof(piece) - 1);

		while (n > 1 && text[n] && ((unsigned char)text[n] & 0xc0) == 0x80)
			n--; /* not within a character */
		snprintf(piece, sizeof(piece), "%.*s", (int)n, text);
		fputs(err_quote(piece, sizeof(piece), piece), to);
		text += n;
		if (*text == '\n' || *text == '\t')
			fputc(lines ? *text++ : (text++, '?'), to);
	}
}

static void show_json(const json_t *j, FILE *to)
{
	json_dumpf(j, to, JSON_INDENT(2) | JSON_ENCODE_ANY);
	fputc('\n', to);
}

static void yaml_value(const json_t *j, int depth, FILE *to);

static void yaml_object(const json_t *j, int depth, bool first_here, FILE *to)
{
	const char *key;
	json_t *v;

	json_object_foreach((json_t *)(uintptr_t)j, key, v)
	{
		if (!first_here)
			fprintf(to, "%*s", depth * 2, "");
		first_here = false;
		show_text(key, false, to);
		fputc(':', to);
		yaml_value(v, depth + 1, to);
	}
}

/* Behind "key:" or "-"; ends the line. */
static void yaml_value(const json_t *j, int depth, FILE *to)
{
	size_t i;
	json_t *v;

	if (json_is_object(j) && json_object_size(j)) {
		fputc('\n', to);
		yaml_object(j, depth, false, to);
		return;
	}
	if (!json_is_array(j) || !json_array_size(j)) {
		fputc(' ', to);
		json_dumpf(j, to, JSON_ENCODE_ANY | JSON_COMPACT);
		fputc('\n', to);
		return;
	}
	fputc('\n', to);
	json_array_foreach((json_t *)(uintptr_t)j, i, v)
	{
		fprintf(to, "%*s-", depth * 2, "");
		if (json_is_object(v) && json_object_size(v)) {
			fputc(' ', to);
			yaml_object(v, depth + 1, true, to);
		} else {
			yaml_value(v, depth + 1, to);
		}
	}
}

static void show_yaml(const json_t *j, FILE *to)
{
	size_t i;
	json_t *v;

	if (json_is_object(j)) {
		yaml_object(j, 0, false, to);
		return;
	}
	if (!json_array_size(j))
		fprintf(to, "[]\n");
	json_array_foreach((json_t *)(uintptr_t)j, i, v)
	{
		fprintf(to, "- ");
		yaml_object(v, 1, true, to);
	}
}

/* RFC 4180 §2; what a spreadsheet would take for a formula gets no special treatment. */
static void csv_cell(const char *text, FILE *to)
{
	if (!strpbrk(text, ",\"\n\r")) {
		fputs(text, to);
		return;
	}
	fputc('"', to);
	for (; *text; text++) {
		if (*text == '"')
			fputc('"', to);
		fputc(*text, to);
	}
	fputc('"', to);
}

static void show_csv(const json_t *rows, const struct show_column *columns, FILE *to)
{
	char buf[CELL_MAX];
	json_t *row;
	size_t i;

	for (unsigned k = 0; columns[k].key; k++)
		fprintf(to, "%s%s", k ? "," : "", columns[k].key);
	fputc('\n', to);
	json_array_foreach((json_t *)(uintptr_t)rows, i, row)
	{
		for (unsigned k = 0; columns[k].key; k++) {
			const json_t *v = json_object_get(row, columns[k].key);

			if (k)
				fputc(',', to);
			csv_cell(v ? cell(v, buf) : "", to);
		}
		fputc('\n', to);
	}
}

static void show_table(const json_t *rows, const struct show_column *columns, FILE *to)
{
	int width[16] = {0};
	char buf[CELL_MAX];
	json_t *row;
	size_t i;

	for (unsigned k = 0; columns[k].key; k++) {
		width[k] = (int)strlen(columns[k].title);
		json_array_foreach((json_t *)(uintptr_t)rows, i, row)
		{
			int n = (int)strlen(cell(json_object_get(row, columns[k].key), buf));

			width[k] = MAX(width[k], n);
		}
	}
	for (unsigned k = 0; columns[k].key; k++)
		fprintf(to, "%-*s%s", columns[k + 1].key ? width[k] : 0, columns[k].title,
			columns[k + 1].key ? "  " : "\n");
	json_array_foreach((json_t *)(uintptr_t)rows, i, row)
	{
		for (unsigned k = 0; columns[k].key; k++)
			fprintf(to, "%-*s%s", columns[k + 1].key ? width[k] : 0,
				cell(json_object_get(row, columns[k].key), buf),
				columns[k + 1].key ? "  " : "\n");
	}
}

int show_rows(const json_t *rows, const struct show_column *columns, enum show_format f, FILE *to)
{
	switch (f) {
	case SHOW_JSON: show_json(rows, to); break;
	case SHOW_YAML: show_yaml(rows, to); break;
	case SHOW_CSV: show_csv(rows, columns, to); break;
	default: show_table(rows, columns, to);
	}
	return fflush(to) == 0 && !ferror(to) ? 0 : -EIO;
}

/* One line a value, "key value" or "key,value"; the keys of what is inside follow their own with a dot. */
static void show_lines(const json_t *j, const char *before, bool csv, FILE *to)
{
	const char *key;
	char buf[CELL_MAX], path[128], word[128];
	json_t *v;

	json_object_foreach((json_t *)(uintptr_t)j, key, v)
	{
		snprintf(path, sizeof(path), "%s%s", before, err_quote(word, sizeof(word), key));
		if (json_is_object(v)) {
			strncat(path, ".", sizeof(path) - strlen(path) - 1);
			show_lines(v, path, csv, to);
		} else if (csv) {
			csv_cell(path, to);
			fputc(',', to);
			csv_cell(cell(v, buf), to);
			fputc('\n', to);
		} else {
			fprintf(to, "%-24s %s\n", path, cell(v, buf));
		}
	}
}

int show_object(const json_t *j, enum show_format f, FILE *to)
{
	switch (f) {
	case SHOW_JSON: show_json(j, to); break;
	case SHOW_YAML: show_yaml(j, to); break;
	case SHOW_CSV:
		fprintf(to, "key,value\n");
		show_lines(j, "", true, to);
		break;
	default: show_lines(j, "", false, to);
	}
	return fflush(to) == 0 && !ferror(to) ? 0 : -EIO;
}

int show_names(const json_t *rows, const char *key, FILE *to)
{
	char buf[CELL_MAX];
	json_t *row;
	size_t i;

	json_array_foreach((json_t *)(uintptr_t)rows, i, row)
	{
		fprintf(to, "%s\n", cell(json_object_get(row, key), buf));
	}
	return fflush(to) == 0 && !ferror(to) ? 0 : -EIO;
}

void show_as_size(json_t *row, const char *key)
{
	const json_t *v = json_object_get(row, key);
	uint64_t bytes = (uint64_t)json_integer_value(v);
	char text[40];

	if (!json_is_integer(v))
		return;
	/* Exact, unless that is hard to read. */
	if (bytes > 8 * MIB)
		bytes = bytes / MIB * MIB;
	json_object_set_new(row, key, json_string(opt_format_size(bytes, text, sizeof(text))));
}

/* ---- filters ---- */

static bool fits(const char *text, const char *wanted)
{
	size_t n = strlen(wanted);

	if (n && wanted[n - 1] == '*')
		return !strncmp(text, wanted, n - 1);
	return !strcmp(text, wanted);
}

static int filter_parse(const char *word, const struct show_column *columns, char *key, size_t size,
			bool *equal, const char **value, struct err *e)
{
	const char *sign = strchr(word, '=');
	const char *names[17], *near;
	char shown[80], list[200] = "";
	unsigned n = 0;
	size_t len;

	*equal = !(sign && sign > word && sign[-1] == '!');
	len = sign ? (size_t)(sign - word) - !*equal : 0;
	if (!sign || !len || len >= size) {
		err_set(e, EINVAL, "the filter \"%s\" is none: write KEY=VALUE or KEY!=VALUE",
			err_quote(shown, sizeof(shown), word));
		return err_field(e, "--filter", word);
	}
	memcpy(key, word, len);
	key[len] = '\0';
	*value = sign + 1;
	for (; n < 16 && columns[n].key; n++) {
		names[n] = columns[n].key;
		if (!strcmp(key, columns[n].key))
			return 0;
	}
	names[n] = NULL;
	near = opt_suggest(key, names);
	for (unsigned i = 0; !near && i < n; i++) {
		size_t used = strlen(list);

		snprintf(list + used, sizeof(list) - used, "%s%s", i ? ", " : "", names[i]);
	}
	err_set(e, EINVAL, "there is nothing called \"%s\" to filter by: %s%s",
		err_quote(shown, sizeof(shown), key), near ? "did you mean " : "there are ",
		near ? near : list);
	return err_field(e, "--filter", word);
}

int show_filter(json_t *rows, const struct opt_list *filters, const struct show_column *columns,
		struct err *e)
{
	char key[64], buf[CELL_MAX];
	const char *value = "";
	bool equal = true;

	for (unsigned i = 0; i < filters->n; i++) {
		if (filter_parse(filters->word[i], columns, key, sizeof(key), &equal, &value, e) < 0)
			return -EINVAL;
		for (size_t k = json_array_size(rows); k-- > 0;) {
			const json_t *v = json_object_get(json_array_get(rows, k), key);

			if (fits(cell(v, buf), value) != equal)
				json_array_remove(rows, k);
		}
	}
	return 0;
}

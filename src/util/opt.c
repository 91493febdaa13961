/* SPDX-License-Identifier: Apache-2.0 */
/*
 * opt.c - options by table. Values: value.c.
 */
#include "util/opt.h"

#include <errno.h>
#include <string.h>

#define OPT_WORD_MAX 64 /* longer words are not compared for suggestions */

/* Optimal string alignment distance: insert, delete, replace, swap of neighbours cost one each. */
static unsigned opt_distance(const char *a, const char *b)
{
	unsigned row[3][OPT_WORD_MAX + 1];
	size_t la = strlen(a), lb = strlen(b);

	if (la > OPT_WORD_MAX || lb > OPT_WORD_MAX)
		return UINT32_MAX;
	for (unsigned j = 0; j <= lb; j++)
		row[0][j] = j;
	for (unsigned i = 1; i <= la; i++) {
		unsigned *cur = row[i % 3], *prev = row[(i - 1) % 3], *prev2 = row[(i + 1) % 3];

		cur[0] = i;
		for (unsigned j = 1; j <= lb; j++) {
			unsigned cost = a[i - 1] != b[j - 1];

			cur[j] = MIN(MIN(prev[j] + 1, cur[j - 1] + 1), prev[j - 1] + cost);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				cur[j] = MIN(cur[j], prev2[j - 2] + 1);
		}
	}
	return row[la % 3][lb];
}

/* How far is still "near": about a third of the word. A word that is the beginning of a longer one
 * is near, too. */
static unsigned opt_nearness(const char *word, const char *known)
{
	size_t len = strlen(word);
	unsigned d = opt_distance(word, known);

	if (len >= 2 && !strncmp(word, known, len))
		return MIN(d, 1u);
	return d <= MAX(len, (size_t)3) / 3 ? d : UINT32_MAX;
}

const char *opt_suggest(const char *word, const char *const *list)
{
	unsigned best = UINT32_MAX;
	const char *found = NULL;

	for (; *list; list++) {
		unsigned d = opt_nearness(word, *list);

		if (d < best) {
			best = d;
			found = *list;
		}
	}
	return found;
}

struct opt_run {
	const struct opt_def *table;
	unsigned n;
	char *target;
	struct opt_result *res;
	struct err *e;
};

static int opt_unknown(const struct opt_run *r, const char *shown_as, const char *name)
{
	const char *names[OPT_MAX + 1];
	const char *near;
	char shown[80];
	unsigned k = 0;

	for (unsigned i = 0; i < r->n; i++)
		if (r->table[i].help)
			names[k++] = r->table[i].name;
	names[k] = NULL;
	near = opt_suggest(name, names);
	err_quote(shown, sizeof(shown), shown_as);
	if (near) {
		err_set(r->e, EINVAL, "there is no option %s: did you mean --%s?", shown, near);
		err_hint(r->e, "use --%s", near);
	} else {
		err_set(r->e, EINVAL, "there is no option %s: see --help", shown);
		err_hint(r->e, "see --help");
	}
	return err_field(r->e, shown, NULL);
}

static int opt_choice(const struct opt_def *o, const char *label, const char *value, unsigned *out,
		      struct err *e)
{
	char list[128] = "", shown[64];
	const char *near;
	size_t used = 0;

	for (unsigned i = 0; o->choice[i]; i++) {
		if (!strcmp(o->choice[i], value)) {
			*out = i;
			return 0;
		}
		if (used < sizeof(list))
			used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s",
						 i ? ", " : "", o->choice[i]);
	}
	near = opt_suggest(value, o->choice);
	err_set(e, EINVAL, "%s \"%s\" is not known: it must be one of %s", label,
		err_quote(shown, sizeof(shown), value), list);
	err_limit(e, "%s", list);
	if (near)
		err_hint(e, "use %s", near);
	return -EINVAL;
}

/* Stores one value; `label` begins the sentence ("--memory", "--disk cache"). */
static int opt_value(const struct opt_def *o, const char *label, const char *value, void *p,
		     struct err *e)
{
	struct opt_list *list = p;
	struct err inner = {0};
	int ret = 0;

	switch (o->type) {
	case OPT_FLAG: *(bool *)p = true; break;
	case OPT_TEXT: *(const char **)p = value; break;
	case OPT_LIST:
		if (list->n == OPT_LIST_MAX)
			ret = err_set(&inner, EINVAL, "is given more than %u times", OPT_LIST_MAX);
		else
			list->word[list->n++] = value;
		break;
	case OPT_UINT: ret = opt_parse_uint(value, o->min, o->max, p, &inner); break;
	case OPT_SIZE:
		ret = opt_parse_size(value, p, &inner);
		if (!ret)
			ret = opt_check_size(*(uint64_t *)p, value, o->min, o->max, &inner);
		break;
	case OPT_CHOICE: return opt_choice(o, label, value, p, e);
	}
	if (!ret)
		return 0;
	err_set(e, inner.code, "%s %s", label, inner.msg);
	if (inner.limit[0])
		err_limit(e, "%s", inner.limit);
	if (inner.hint[0])
		err_hint(e, "%s", inner.hint);
	return ret;
}

/* `value` NULL: a flag. */
static int opt_store(const struct opt_run *r, unsigned index, const char *value)
{
	const struct opt_def *o = &r->table[index];
	char field[72];
	int ret;

	snprintf(field, sizeof(field), "--%s", o->name);
	if ((r->res->given & BIT(index)) && o->type != OPT_LIST) {
		err_set(r->e, EINVAL, "%s is given twice: give it once", field);
		return err_field(r->e, field, value);
	}
	r->res->given |= BIT(index);
	ret = opt_value(o, field, value, r->target + o->offset, r->e);
	if (ret)
		err_field(r->e, field, value);
	return ret;
}

static int opt_missing_value(const struct opt_run *r, const struct opt_def *o)
{
	char field[72];

	snprintf(field, sizeof(field), "--%s", o->name);
	err_set(r->e, EINVAL, "%s needs a value: %s %s", field, field,
		o->metavar ? o->metavar : "VALUE");
	err_hint(r->e, "%s %s", field, o->metavar ? o->metavar : "VALUE");
	return err_field(r->e, field, NULL);
}

/* --name, --name=VALUE, --name VALUE; *i is at the word, and moves on to its value. */
static int opt_long(const struct opt_run *r, int argc, char **argv, int *i)
{
	const char *word = argv[*i] + 2, *eq = strchr(word, '=');
	size_t len = eq ? (size_t)(eq - word) : strlen(word);
	char name[OPT_WORD_MAX + 1], shown[OPT_WORD_MAX + 3];
	const struct opt_def *o;
	unsigned k;

	snprintf(name, sizeof(name), "%.*s", (int)MIN(len, (size_t)OPT_WORD_MAX), word);
	for (k = 0; k < r->n; k++)
		if (strlen(r->table[k].name) == len && !strncmp(r->table[k].name, word, len))
			break;
	if (k == r->n) {
		snprintf(shown, sizeof(shown), "--%s", name);
		return opt_unknown(r, shown, name);
	}
	o = &r->table[k];
	if (o->type == OPT_FLAG) {
		if (!eq)
			return opt_store(r, k, NULL);
		err_set(r->e, EINVAL, "--%s takes no value: write it without \"=\"", o->name);
		snprintf(shown, sizeof(shown), "--%s", name);
		return err_field(r->e, shown, eq + 1);
	}
	if (eq)
		return opt_store(r, k, eq + 1);
	if (*i + 1 >= argc)
		return opt_missing_value(r, o);
	return opt_store(r, k, argv[++*i]);
}

/* -n VALUE, -nVALUE, and flags in a row (-qv). */
static int opt_short(const struct opt_run *r, int argc, char **argv, int *i)
{
	for (const char *p = argv[*i] + 1; *p; p++) {
		char name[2] = {*p}, shown[3] = {'-', *p};
		unsigned k;
		int ret;

		for (k = 0; k < r->n; k++)
			if (r->table[k].letter == *p)
				break;
		/* "-memory": two dashes were meant. */
		if (k == r->n)
			return opt_unknown(r, argv[*i][2] ? argv[*i] : shown,
					   argv[*i][2] ? argv[*i] + 1 : name);
		if (r->table[k].type == OPT_FLAG) {
			ret = opt_store(r, k, NULL);
			if (ret)
				return ret;
			continue;
		}
		if (p[1])
			return opt_store(r, k, p + 1);
		if (*i + 1 >= argc)
			return opt_missing_value(r, &r->table[k]);
		return opt_store(r, k, argv[++*i]);
	}
	return 0;
}

int opt_parse(const struct opt_def *table, unsigned n, int argc, char **argv, void *target,
	      struct opt_result *res, struct err *e)
{
	struct opt_run run = {table, n, target, res, e};
	bool only_args = false;
	int ret;

	ASSERT(n <= OPT_MAX);
	*res = (struct opt_result){.arg = argv};
	for (int i = 0; i < argc; i++) {
		char *word = argv[i];

		if (only_args || word[0] != '-' || !word[1]) {
			argv[res->n_args++] = word; /* n_args <= i: nothing unread is overwritten */
			continue;
		}
		if (!strcmp(word, "--")) {
			only_args = true;
			continue;
		}
		ret = word[1] == '-' ? opt_long(&run, argc, argv, &i) :
				       opt_short(&run, argc, argv, &i);
		if (ret)
			return ret;
	}
	return 0;
}

bool opt_given(const struct opt_def *table, unsigned n, const struct opt_result *res,
	       const char *name)
{
	for (unsigned i = 0; i < n; i++)
		if (!strcmp(table[i].name, name))
			return res->given & BIT(i);
	return false;
}

/* ---- FILE,key=value,... ---- */

/* Cuts the next item off *text, in place; ",," stands for a comma. NULL: no more. */
static char *opt_next_item(char **text)
{
	char *item = *text, *to = item, *p;

	if (!item)
		return NULL;
	for (p = item; *p && (*p != ',' || p[1] == ','); *to++ = *p++)
		p += *p == ',';
	*text = *p ? p + 1 : NULL;
	*to = '\0';
	return item;
}

static int opt_unknown_key(const char *option, const struct opt_def *table, unsigned n,
			   const char *key, struct err *e)
{
	const char *names[OPT_MAX + 1];
	char shown[64], list[200] = "";
	const char *near;
	size_t used = 0;
	unsigned k = 0;

	for (unsigned i = 1; i < n; i++) {
		names[k++] = table[i].name;
		if (used < sizeof(list))
			used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s",
						 i > 1 ? ", " : "", table[i].name);
	}
	names[k] = NULL;
	near = opt_suggest(key, names);
	err_quote(shown, sizeof(shown), key);
	err_limit(e, "%s", list);
	if (!near)
		return err_set(e, EINVAL, "%s has no key \"%s\": there are %s", option, shown, list);
	err_hint(e, "use %s", near);
	return err_set(e, EINVAL, "%s has no key \"%s\": did you mean %s?", option, shown, near);
}

static int opt_key_flag(const char *label, const char *value, bool *out, struct err *e)
{
	char shown[64];

	*out = !value || !strcmp(value, "on");
	if (*out || !strcmp(value, "off"))
		return 0;
	err_set(e, EINVAL, "%s \"%s\" is not known: it must be on or off", label,
		err_quote(shown, sizeof(shown), value));
	return err_limit(e, "on, off");
}

static int opt_key(const char *option, const struct opt_def *table, unsigned n, char *item,
		   void *target, uint64_t *given, struct err *e)
{
	char *value = strchr(item, '=');
	char label[96];
	unsigned k;

	if (value)
		*value++ = '\0';
	for (k = 1; k < n && strcmp(table[k].name, item) != 0; k++)
		;
	if (k == n)
		return opt_unknown_key(option, table, n, item, e);
	snprintf(label, sizeof(label), "%s %s", option, item);
	if (*given & BIT(k))
		return err_set(e, EINVAL, "%s is given twice: give it once", label);
	*given |= BIT(k);
	if (table[k].type == OPT_FLAG)
		return opt_key_flag(label, value, (void *)((char *)target + table[k].offset), e);
	if (!value || !*value)
		return err_set(e, EINVAL, "%s needs a value: %s=%s", label, item,
			       table[k].metavar ? table[k].metavar : "VALUE");
	return opt_value(&table[k], label, value, (char *)target + table[k].offset, e);
}

int opt_parse_keys(const char *option, const struct opt_def *table, unsigned n, char *text,
		   void *target, uint64_t *given, struct err *e)
{
	const char *what = table[0].metavar ? table[0].metavar : "VALUE";
	char whole[OPT_WORD_MAX * 2];
	char *item;
	int r = 0;

	ASSERT(n && n <= OPT_MAX && table[0].type == OPT_TEXT);
	*given = 0;
	err_quote(whole, sizeof(whole), text);
	item = opt_next_item(&text);
	if (!*item) {
		r = err_set(e, EINVAL, "%s has no %s: write %s %s[,key=value...]", option, what,
			    option, what);
	} else {
		*(const char **)(void *)((char *)target + table[0].offset) = item;
		*given |= 1;
	}
	while (!r && (item = opt_next_item(&text)))
		r = opt_key(option, table, n, item, target, given, e);
	return r ? err_field(e, option, whole) : 0;
}

static bool help_marked;

void opt_mark_help(bool on)
{
	help_marked = on;
}

/* One line for people; or, marked, its two parts. */
static void opt_help_line(FILE *f, const char *indent, int width, const char *left, const char *help)
{
	if (help_marked)
		fprintf(f, "\x01%s\x01%s\n", left + strspn(left, " "), help);
	else
		fprintf(f, "%s%-*s %s\n", indent, width, left, help);
}

void opt_print_keys(const struct opt_def *table, unsigned n, FILE *f)
{
	for (unsigned i = 1; i < n; i++) {
		const struct opt_def *o = &table[i];
		char left[64];

		snprintf(left, sizeof(left), "%s=%s", o->name,
			 o->type == OPT_FLAG ? "on|off" :
			 o->metavar	     ? o->metavar :
					       "VALUE");
		opt_help_line(f, "      ", 24, left, o->help);
	}
}

void opt_print_help(const struct opt_def *table, unsigned n, FILE *f)
{
	for (unsigned i = 0; i < n; i++) {
		const struct opt_def *o = &table[i];
		const char *metavar = o->metavar ? o->metavar : "";
		char left[64];

		if (!o->help)
			continue;
		if (o->letter)
			snprintf(left, sizeof(left), "-%c, --%s %s", o->letter, o->name, metavar);
		else
			snprintf(left, sizeof(left), "    --%s %s", o->name, metavar);
		opt_help_line(f, "  ", 26, left, o->help);
	}
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * define_yaml.c - definitions out of YAML 1.1 files, by libyaml; declared in define.h.
 *
 * The keys are looked up in the table of `lodge run` itself, so an option that is new there is a key here. A definition becomes words in the
 * table's order, which then go through the same checks as those of a command line; what these say of an option is said of the place
 * in the file where its key stands.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <yaml.h>

#include "cli/daemon.h"
#include "cli/define.h"
#include "util/buf.h"

#define FILE_MAX (1024u * 1024)

/* Options that are of no use in a definition: lodged gives them itself, or they are about the command. */
static const char *const left_out[] = {"name",	      "detach", "rm", "quiet",
				       "json-errors", "help",	NULL};

/* Other names of keys, where a list reads better. */
static const struct {
	const char *name, *option;
} plurals[] = {{"disks", "disk"}, {"networks", "net"}, {"shares", "share"}, {"ports", "publish"}};

struct reader {
	const char *path; /* as it is shown */
	const char *folder;
	yaml_document_t *doc;
	json_t *defs;
	struct err *e;
};

static int at_mark(const struct reader *r, const yaml_mark_t *m, int code, const char *text)
{
	char why[400];

	snprintf(why, sizeof(why), "%s", text); /* it may be r->e's own */
	*r->e = (struct err){0};
	err_set(r->e, code, "%s:%zu:%zu: %s", r->path, m->line + 1, m->column + 1, why);
	return -code;
}

static int bad(const struct reader *r, const yaml_node_t *n, const char *text)
{
	return at_mark(r, &n->start_mark, EINVAL, text);
}

static const char *scalar(const yaml_node_t *n)
{
	return n && n->type == YAML_SCALAR_NODE &&
			       strlen((const char *)n->data.scalar.value) == n->data.scalar.length ?
		       (const char *)n->data.scalar.value :
		       NULL;
}

/* YAML 1.1's words for a boolean that was not quoted: 1, 0; -1: another word. */
static int boolean(const yaml_node_t *n)
{
	static const char *const words[] = {"false", "off", "no", "true", "on", "yes"};
	const char *text = scalar(n);

	for (unsigned i = 0; text && i < ARRAY_SIZE(words); i++)
		if (!strcasecmp(words[i], text) && n->data.scalar.style == YAML_PLAIN_SCALAR_STYLE)
			return i >= 3;
	return -1;
}

static const struct opt_def *find_option(const char *key)
{
	const struct opt_def *table;
	unsigned n;

	for (unsigned i = 0; left_out[i]; i++)
		if (!strcmp(left_out[i], key))
			return NULL;
	for (unsigned i = 0; i < ARRAY_SIZE(plurals); i++)
		if (!strcmp(plurals[i].name, key))
			key = plurals[i].option;
	table = runopt_table(&n);
	for (unsigned i = 0; i < n; i++)
		if (!strcmp(table[i].name, key))
			return &table[i];
	return NULL;
}

static int unknown_key(const struct reader *r, const yaml_node_t *n, const char *key)
{
	static const char *const own[] = {"name", "image", "restart", "autostart", "folder"};
	const char *names[OPT_MAX + ARRAY_SIZE(own) + ARRAY_SIZE(plurals) + 1], *near;
	const struct opt_def *table;
	unsigned count, k = 0;
	char text[200], shown[64];

	table = runopt_table(&count);
	for (unsigned i = 0; i < ARRAY_SIZE(own); i++)
		names[k++] = own[i];
	for (unsigned i = 0; i < ARRAY_SIZE(plurals); i++)
		names[k++] = plurals[i].name;
	for (unsigned i = 0; i < count; i++)
		if (find_option(table[i].name))
			names[k++] = table[i].name;
	names[k] = NULL;
	near = opt_suggest(key, names);
	snprintf(text, sizeof(text), "there is no key \"%s\"%s%s%s",
		 err_quote(shown, sizeof(shown), key), near ? ": did you mean " : "",
		 near ? near : ": keys are the options of `lodge run`, without the dashes",
		 near ? "?" : "");
	(void)bad(r, n, text);
	if (near)
		err_hint(r->e, "use %s", near);
	return err_field(r->e, "key", key);
}

/* A comma in a part of "FILE,key=value" is written twice (util/opt.h). */
static void put_part(struct buf *b, const char *text)
{
	for (; *text; text++)
		buf_put(b, *text == ',' ? ",," : text, *text == ',' ? 2 : 1);
}

/* {file: a.raw, ro: true} as "a.raw,ro=on": what has the first item's name, then the others. */
static int item_word(const struct reader *r, const struct opt_def *o, const yaml_node_t *n,
		     struct buf *b)
{
	static const char *const firsts[] = {"file", "kind", "folder", "port"};
	const yaml_node_pair_t *p, *end;
	const char *first = NULL;

	if (scalar(n)) {
		buf_put(b, scalar(n), strlen(scalar(n)) + 1);
		return 0;
	}
	if (n->type != YAML_MAPPING_NODE)
		return bad(r, n, "a text is wanted here, or keys with values");
	end = n->data.mapping.pairs.top;
	for (p = n->data.mapping.pairs.start; p < end && !first; p++)
		for (unsigned i = 0; i < ARRAY_SIZE(firsts); i++) {
			const char *key = scalar(yaml_document_get_node(r->doc, p->key));

			if (key && !strcmp(key, firsts[i]))
				first = scalar(yaml_document_get_node(r->doc, p->value));
		}
	if (!first)
		return bad(r, n,
			   !strcmp(o->name, "net") ?
				   "a network needs its kind: {kind: user}" :
				   "one of its keys must be file (a disk) or folder (a share)");
	put_part(b, first);
	for (p = n->data.mapping.pairs.start; p < end; p++) {
		const yaml_node_t *kn = yaml_document_get_node(r->doc, p->key);
		const yaml_node_t *vn = yaml_document_get_node(r->doc, p->value);
		const char *key = scalar(kn), *value = scalar(vn);

		if (!key || !value)
			return bad(r, vn, "a text is wanted here");
		if (value == first)
			continue;
		buf_printf(b, ",%s=", key);
		put_part(b, boolean(vn) < 0 ? value : boolean(vn) ? "on" : "off");
	}
	buf_put_u8(b, 0);
	return 0;
}

static int add_word(const struct reader *r, const struct opt_def *o, const yaml_node_t *n,
		    json_t *words)
{
	char option[72];
	json_t *word;
	struct buf b;
	int ret, on = boolean(n);

	if (o->type == OPT_FLAG) {
		if (on < 0)
			return bad(r, n, "true or false is wanted here");
		snprintf(option, sizeof(option), "--%s", o->name);
		if (on)
			(void)json_array_append_new(words, json_string(option));
		return 0;
	}
	buf_init(&b, 0);
	if (o->type == OPT_LIST)
		ret = item_word(r, o, n, &b);
	else if (!scalar(n))
		ret = bad(r, n, "a text or a number is wanted here");
	else {
		const char *text = scalar(n);

		if (o->type == OPT_CHOICE && on >= 0)
			text = on ? "on" : "off";
		buf_put(&b, text, strlen(text) + 1);
		ret = 0;
	}
	/* "--name=value" is one word whatever the value begins with. */
	word = ret == 0 && !buf_error(&b) ? json_sprintf("--%s=%s", o->name, (const char *)b.data) :
					    NULL;
	buf_fini(&b);
	if (ret < 0)
		return ret;
	return json_array_append_new(words, word) ? bad(r, n, "this is not UTF-8 text") : 0;
}

static int add_option(const struct reader *r, const struct opt_def *o, const yaml_node_t *n,
		      json_t *words)
{
	const yaml_node_item_t *i;
	int ret = 0;

	if (n->type != YAML_SEQUENCE_NODE)
		return add_word(r, o, n, words);
	if (o->type != OPT_LIST)
		return bad(r, n, "one value is wanted here, not a list");
	for (i = n->data.sequence.items.start; ret == 0 && i < n->data.sequence.items.top; i++)
		ret = add_word(r, o, yaml_document_get_node(r->doc, *i), words);
	return ret;
}

/* name, image, restart, autostart, folder: 1 if it is one of these. */
static int own_key(const struct reader *r, const char *key, const yaml_node_t *n, json_t *def,
		   json_t *words)
{
	const char *text = scalar(n);
	char path[PATH_MAX], list[120];
	const char *near;

	if (!strcmp(key, "autostart")) {
		if (boolean(n) < 0)
			return bad(r, n, "true or false is wanted here");
		return json_object_set_new(def, key, json_boolean(boolean(n))) ? -ENOMEM : 1;
	}
	if (strcmp(key, "name") != 0 && strcmp(key, "image") != 0 && strcmp(key, "restart") != 0 &&
	    strcmp(key, "folder") != 0)
		return 0;
	if (!text)
		return bad(r, n, "a text is wanted here");
	if (!strcmp(key, "image"))
		return json_array_append_new(words, json_string(text)) ?
			       bad(r, n, "this is not UTF-8 text") :
			       1;
	if (!strcmp(key, "restart")) {
		if (boolean(n) == 0)
			text = "no";
		for (unsigned i = 0; define_restart_names[i]; i++)
			if (!strcmp(define_restart_names[i], text))
				return json_object_set_new(def, key, json_string(text)) ? -ENOMEM :
											  1;
		near = opt_suggest(text, define_restart_names);
		snprintf(list, sizeof(list), "restart must be no, on-failure or always%s%s%s",
			 near ? ": did you mean " : "", near ? near : "", near ? "?" : "");
		return bad(r, n, list);
	}
	if (!strcmp(key, "folder") && *text != '/') {
		if (snprintf(path, sizeof(path), "%s/%s", r->folder, text) >= (int)sizeof(path))
			return bad(r, n, "this path is too long");
		text = path;
	}
	if (!strcmp(key, "name") && config_check_name(text, r->e) < 0)
		return bad(r, n, r->e->msg);
	return json_object_set_new(def, key, json_string(text)) ?
		       bad(r, n, "this is not UTF-8 text") :
		       1;
}

/* The place of the option that the error is about, or of the definition. */
static int check_words(const struct reader *r, const yaml_node_t *n, const json_t *words,
		       const json_t *lines)
{
	_autofree char **argv = calloc(json_array_size(words) + 1, sizeof(*argv));
	const json_t *w, *place;
	yaml_mark_t mark = n->start_mark;
	struct err e = {0}, kept;
	size_t i;

	if (!argv)
		return bad(r, n, "out of memory");
	json_array_foreach((json_t *)(uintptr_t)words, i, w)
	{
		argv[i] = (char *)(uintptr_t)json_string_value(w); /* copied before anything is cut */
	}
	if (define_check((int)json_array_size(words), argv, &e) == 0)
		return 0;
	place = json_object_get(lines, e.field);
	if (place) {
		mark.line = (size_t)json_integer_value(json_array_get(place, 0)) - 1;
		mark.column = (size_t)json_integer_value(json_array_get(place, 1)) - 1;
	}
	kept = e;
	(void)at_mark(r, &mark, EINVAL, e.msg);
	memcpy(kept.msg, r->e->msg, sizeof(kept.msg));
	*r->e = kept;
	return -EINVAL;
}

static int definition(const struct reader *r, const yaml_node_t *n)
{
	_autojson json_t *def = json_object(), *lines = json_object(), *words = json_array();
	const yaml_node_pair_t *p;
	char option[72];
	int ret;

	if (n->type != YAML_MAPPING_NODE)
		return bad(r, n,
			   "a definition is wanted here: keys with values, such as `name: web`");
	for (p = n->data.mapping.pairs.start; p < n->data.mapping.pairs.top; p++) {
		const yaml_node_t *kn = yaml_document_get_node(r->doc, p->key);
		const yaml_node_t *vn = yaml_document_get_node(r->doc, p->value);
		const char *key = scalar(kn);
		const struct opt_def *o;

		if (!key)
			return bad(r, kn, "a key is wanted here");
		ret = own_key(r, key, vn, def, words);
		o = ret == 0 ? find_option(key) : NULL;
		if (ret < 0)
			return ret;
		if (ret == 0 && !o)
			return unknown_key(r, kn, key);
		snprintf(option, sizeof(option), "%s%s", o ? "--" : "", o ? o->name : key);
		if (json_object_get(lines, option)) {
			snprintf(option, sizeof(option), "the key \"%.32s\" stands there already",
				 key);
			return bad(r, kn, option);
		}
		json_object_set_new(lines, option,
				    json_pack("[I, I]", (json_int_t)kn->start_mark.line + 1,
					      (json_int_t)kn->start_mark.column + 1));
		ret = o ? add_option(r, o, vn, words) : 0;
		if (ret < 0)
			return ret;
	}
	if (!json_object_get(def, "name"))
		return bad(r, n, "this definition has no name: add `name: NAME`");
	ret = check_words(r, n, words, lines);
	if (ret < 0)
		return ret;
	if (!json_object_get(def, "folder"))
		json_object_set_new(def, "folder", json_string(r->folder));
	json_object_set(def, "words", words);
	for (size_t i = 0; i < json_array_size(r->defs); i++)
		if (json_equal(json_object_get(json_array_get(r->defs, i), "name"),
			       json_object_get(def, "name")))
			return bad(r, n, "another definition has this name");
	return json_array_append(r->defs, def) ? -ENOMEM : 0;
}

static int document(const struct reader *r)
{
	const yaml_node_t *n = yaml_document_get_root_node(r->doc);
	const yaml_node_item_t *i;
	int ret = 0;

	if (!n)
		return 0;
	if (n->type != YAML_SEQUENCE_NODE)
		return definition(r, n);
	for (i = n->data.sequence.items.start; ret == 0 && i < n->data.sequence.items.top; i++)
		ret = definition(r, yaml_document_get_node(r->doc, *i));
	return ret;
}

static int parse(const struct reader *r, const char *text, size_t size)
{
	yaml_parser_t p;
	bool last = false;
	int ret = 0;

	if (!yaml_parser_initialize(&p))
		return err_set(r->e, ENOMEM, "out of memory");
	yaml_parser_set_input_string(&p, (const unsigned char *)text, size);
	while (ret == 0 && !last) {
		if (!yaml_parser_load(&p, r->doc)) {
			ret = at_mark(r, &p.problem_mark, EINVAL,
				      p.problem ? p.problem : "this is not YAML");
			break;
		}
		last = !yaml_document_get_root_node(r->doc);
		ret = document(r);
		yaml_document_delete(r->doc);
	}
	yaml_parser_delete(&p);
	return ret;
}

static int read_all(const char *path, struct buf *b, struct err *e)
{
	FILE *f = strcmp(path, "-") ? fopen(path, "re") : stdin;
	char piece[65536], shown[160];
	size_t n;
	int r = 0;

	err_quote(shown, sizeof(shown), path);
	if (!f)
		return err_errno(e, errno, "cannot open \"%s\"", shown);
	while ((n = fread(piece, 1, sizeof(piece), f)) > 0)
		buf_put(b, piece, n);
	if (ferror(f))
		r = err_errno(e, errno ? errno : EIO, "cannot read \"%s\"", shown);
	else if (buf_error(b))
		r = err_set(e, EINVAL, "\"%s\" is larger than %u KiB", shown, FILE_MAX / 1024);
	if (f != stdin)
		fclose(f);
	return r;
}

/* The folder of the file, absolute; on another host it is nowhere. */
static int folder_of(const char *path, char out[PATH_MAX], struct err *e)
{
	char whole[PATH_MAX], *slash;

	if (daemon_remote()) {
		strcpy(out, "/");
		return 0;
	}
	if (!strcmp(path, "-"))
		return getcwd(out, PATH_MAX) ? 0 : err_errno(e, errno, "where are we?");
	if (!realpath(path, whole))
		return err_errno(e, errno, "cannot find the folder of \"%.200s\"", path);
	slash = strrchr(whole, '/');
	slash[slash == whole] = '\0';
	strcpy(out, whole);
	return 0;
}

int define_load(const char *path, json_t *defs, struct err *e)
{
	char folder[PATH_MAX], shown[160];
	yaml_document_t doc;
	struct reader r = {.doc = &doc,
			   .path = err_quote(shown, sizeof(shown),
					     strcmp(path, "-") ? path : "standard input"),
			   .folder = folder,
			   .defs = defs,
			   .e = e};
	size_t before = json_array_size(defs);
	struct buf b;
	int ret;

	buf_init(&b, FILE_MAX);
	ret = read_all(path, &b, e);
	if (ret == 0)
		ret = folder_of(path, folder, e);
	if (ret == 0)
		ret = parse(&r, b.len ? (const char *)b.data : "", b.len);
	buf_fini(&b);
	if (ret == 0 && json_array_size(defs) == before)
		ret = err_set(e, EINVAL, "\"%s\" has no definition in it", shown);
	if (ret < 0)
		err_field(e, "--file", path);
	return ret;
}

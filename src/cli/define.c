/* SPDX-License-Identifier: Apache-2.0 */
/* define.c - words of definitions: checked, and as values; declared in define.h. */
#include "cli/define.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

const char *const define_restart_names[] = {"no", "on-failure", "always", NULL};

int define_check(int argc, char *const *argv, struct err *e)
{
	/* It cuts words up and changes their order. */
	_autofree char **copy = calloc((size_t)argc + 1, sizeof(*copy));
	_autofree struct run_options *o = calloc(1, sizeof(*o));
	const char *console_path;
	struct vm_config c;
	int r;

	if (!copy || !o)
		return err_set(e, ENOMEM, "out of memory");
	memcpy(copy, argv, (size_t)argc * sizeof(*copy));
	r = runopt_parse(argc, copy, o, &c, &console_path, e);
	runshare_end(&o->shares);
	runnet_end(&o->nets);
	rundisk_end(&o->disks);
	runseed_end(&o->seed);
	return r;
}

static json_t *value_of(const struct opt_def *o, const void *p)
{
	const struct opt_list *list = p;
	json_t *j;

	switch (o->type) {
	case OPT_FLAG: return json_true();
	case OPT_TEXT: return json_string(*(const char *const *)p);
	case OPT_UINT:
	case OPT_SIZE: return json_u64(*(const uint64_t *)p);
	case OPT_CHOICE: return json_string(o->choice[*(const unsigned *)p]);
	case OPT_LIST: break;
	}
	j = json_array();
	for (unsigned i = 0; i < list->n; i++)
		(void)json_array_append_new(j, json_string(list->word[i]));
	return j;
}

/* The word of "restart", and so on: what is not there is what lodged takes for it. */
static void add_policies(json_t *values, const json_t *def)
{
	const json_t *restart = json_object_get(def, "restart"),
		     *folder = json_object_get(def, "folder");

	json_object_set_new(values, "restart",
			    json_string(restart ? json_string_value(restart) : "no"));
	json_object_set_new(values, "autostart",
			    json_boolean(json_is_true(json_object_get(def, "autostart"))));
	json_object_set_new(values, "folder", json_string(folder ? json_string_value(folder) : "/"));
}

json_t *define_values(const json_t *def)
{
	const json_t *words = json_object_get(def, "words"), *w;
	_autofree char **argv = calloc(json_array_size(words) + 1, sizeof(*argv));
	_autofree struct run_options *o = calloc(1, sizeof(*o));
	struct opt_result res = {0};
	const struct opt_def *table;
	json_t *values;
	unsigned n;
	size_t i;

	if (!argv || !o)
		return NULL;
	json_array_foreach((json_t *)(uintptr_t)words, i, w)
	{
		argv[i] = (char *)(uintptr_t)json_string_value(
			w); /* opt_parse() changes their order only */
	}
	table = runopt_table(&n);
	if (opt_parse(table, n, (int)json_array_size(words), argv, o, &res, NULL) < 0)
		return NULL;
	values = json_object();
	if (res.n_args)
		json_object_set_new(values, "image", json_string(res.arg[0]));
	for (unsigned k = 0; k < n; k++)
		if (res.given & BIT(k))
			json_object_set_new(values, table[k].name,
					    value_of(&table[k], (const char *)o + table[k].offset));
	add_policies(values, def);
	return values;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* store_later.c - see store_later.h. */
#include "daemon/store_later.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct store_later_item **place(const struct store_later *l, uint64_t id, const char *name)
{
	struct store_later_item **p = (struct store_later_item **)(uintptr_t)&l->first;

	while (*p && ((*p)->id != id || strcmp((*p)->name, name) != 0))
		p = &(*p)->next;
	return p;
}

int store_later_put(struct store_later *l, uint64_t id, const char *name, const json_t *value)
{
	struct store_later_item **p = place(l, id, name), *item = *p;
	json_t *copy = json_deep_copy(value);

	if (copy && !item && l->n < STORE_LATER_MAX)
		item = calloc(1, sizeof(*item));
	if (!copy || !item) {
		json_decref(copy);
		return l->n < STORE_LATER_MAX ? -ENOMEM : -ENOSPC;
	}
	if (!*p) {
		item->id = id;
		snprintf(item->name, sizeof(item->name), "%s", name);
		*p = item;
		l->n++;
	}
	json_decref(item->value);
	item->value = copy;
	return 0;
}

const struct store_later_item *store_later_find(const struct store_later *l, uint64_t id,
						const char *name)
{
	return *place(l, id, name);
}

void store_later_drop(struct store_later *l, uint64_t id, const char *name)
{
	struct store_later_item **p = place(l, id, name), *item = *p;

	if (!item)
		return;
	*p = item->next;
	l->n--;
	json_decref(item->value);
	free(item);
}

void store_later_fini(struct store_later *l)
{
	while (l->first)
		store_later_drop(l, l->first->id, l->first->name);
}

static uint64_t number(const json_t *j)
{
	return (uint64_t)json_integer_value(json_object_get(j, "id"));
}

void store_later_merge(const struct store_later *l, json_t *list, uint64_t before, unsigned limit)
{
	for (const struct store_later_item *i = l->first; i; i = i->next) {
		json_t *j = i->id && (!before || i->id < before) ? json_deep_copy(i->value) : NULL;
		size_t at = 0;

		if (!j)
			continue;
		json_object_set_new(j, "id", json_u64(i->id));
		while (at < json_array_size(list) && number(json_array_get(list, at)) > i->id)
			at++;
		if (number(json_array_get(list, at)) == i->id)
			json_array_set_new(list, at, j);
		else
			json_array_insert_new(list, at, j);
	}
	while (json_array_size(list) > limit)
		json_array_remove(list, json_array_size(list) - 1);
}

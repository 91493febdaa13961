/* SPDX-License-Identifier: Apache-2.0 */
/*
 * why_judge.c - from facts (why.h) to findings, and from findings to one sentence.
 *
 * Rules are functions that look at one thing each and add what they find; none depends on another. Which finding becomes the sentence
 * is decided by its level, and within a level by the order of the rules: what explains more stands first.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/why.h"
#include "util/buf.h"

const char *const why_level_names[] = {"stuck", "slow", "cut-off", "note", NULL};
_Static_assert(ARRAY_SIZE(why_level_names) == WHY_LEVELS + 1, "a name for each level");

/* Advice with the VM's name for each '@'; malloc'd. */
static char *with_name(const char *text, const char *name)
{
	struct buf b;

	buf_init(&b, 0);
	for (const char *at; (at = strchr(text, '@')); text = at + 1)
		buf_printf(&b, "%.*s%s", (int)(at - text), text, name);
	buf_put(&b, text, strlen(text) + 1);
	if (buf_error(&b))
		buf_fini(&b);
	return (char *)b.data;
}

void why_find(struct why *w, enum why_level level, const char *about, const char *what_to_do,
	      const char *text, ...)
{
	char said[512];
	json_t *j;
	_autofree char *advice = NULL;
	va_list ap;
	size_t at = 0;

	va_start(ap, text);
	vsnprintf(said, sizeof(said), text, ap);
	va_end(ap);
	j = json_pack("{s:s, s:s, s:s}", "level", why_level_names[level], "about", about, "text",
		      said);
	advice = what_to_do ? with_name(what_to_do, w->name) : NULL;
	if (j && advice)
		json_object_set_new(j, "do", json_string(advice));
	/* Behind those that are as bad. */
	for (; at < json_array_size(w->findings); at++) {
		const char *other = why_text(json_array_get(w->findings, at), "level");
		unsigned k = 0;

		while (strcmp(why_level_names[k], other) != 0)
			k++;
		if (k > level)
			break;
	}
	(void)json_array_insert_new(w->findings, at, j);
}

const char *why_text(const json_t *j, const char *key)
{
	const char *s = json_string_value(json_object_get(j, key));

	return s ? s : "";
}

json_int_t why_number(const json_t *j, const char *key)
{
	return json_integer_value(json_object_get(j, key));
}

json_int_t why_span_ms(const json_t *facts)
{
	json_int_t ms = why_number(facts, "span_ms");

	return ms > 0 ? ms : (json_int_t)WHY_SPAN_MS;
}

static const json_t *by_id(const json_t *look, const char *list, const char *id)
{
	const json_t *j;
	size_t i;

	json_array_foreach(json_object_get(look, list), i, j)
	{
		if (!strcmp(why_text(j, "id"), id))
			return j;
	}
	return NULL;
}

json_int_t why_rise(const struct why *w, const char *list, const char *id, const char *key)
{
	const json_t *before = list ? by_id(w->first, list, id) : w->first;
	const json_t *after = list ? by_id(w->last, list, id) : w->last;

	return before && after ? why_number(after, key) - why_number(before, key) : 0;
}

json_t *why_judge(const json_t *facts)
{
	const json_t *looks = json_object_get(facts, "looks");
	size_t n = json_array_size(looks);
	struct why w = {.facts = facts,
			.vm = json_object_get(facts, "vm"),
			.first = json_array_get(looks, 0),
			.last = n ? json_array_get(looks, n - 1) : NULL,
			.span_ms = why_span_ms(facts),
			.findings = json_array()};

	w.name = why_text(w.vm, "name");
	if (!w.findings)
		return NULL;
	why_host_rules(&w);
	why_console_rules(&w);
	why_cpu_rules(&w);
	why_device_rules(&w);
	return w.findings;
}

/* "its CPU sleeps 98 % of the time" */
static void say_busy(const json_t *looks, json_int_t span_ms, char *out, size_t size)
{
	const json_t *first = json_object_get(json_array_get(looks, 0), "vcpus"), *v;
	const json_t *last = json_object_get(json_array_get(looks, json_array_size(looks) - 1),
					     "vcpus");
	json_int_t used = 0;
	size_t i, n = json_array_size(last);

	json_array_foreach(last, i, v)
	{
		used += why_number(v, "cpu_us") - why_number(json_array_get(first, i), "cpu_us");
	}
	used = MIN(n ? used / ((json_int_t)n * 10 * span_ms) : 0, 100);
	if (n == 1)
		snprintf(out, size, "its CPU is %lld %% busy", (long long)used);
	else
		snprintf(out, size, "its %zu CPUs are %lld %% busy", n, (long long)used);
}

char *why_sentence(const json_t *facts, const json_t *findings)
{
	const json_t *vm = json_object_get(facts, "vm"), *looks = json_object_get(facts, "looks");
	const json_t *f = json_array_get(findings, 0);
	const char *name = why_text(vm, "name"), *to_do = why_text(f, "do");
	bool fine = !f || !strcmp(why_text(f, "level"), why_level_names[WHY_NOTE]);
	char busy[64] = "", *out = NULL;
	json_int_t s = why_number(json_array_get(looks, 0), "uptime_ms") / 1000;

	/* A VM process of another version may not know the question. */
	if (!f && !json_array_size(looks)) {
		if (asprintf(&out, "%s is %s, and its process says no more of it", name,
			     why_text(vm, "state")) < 0)
			return NULL;
		return out;
	}
	if (!fine || !json_array_size(looks)) {
		if (asprintf(&out, "%s %s%s%s", name, why_text(f, "text"), *to_do ? ": " : "",
			     to_do) < 0)
			return NULL;
		return out;
	}
	say_busy(looks, why_span_ms(facts), busy, sizeof(busy));
	if (asprintf(&out, "nothing is wrong: %s runs since %lld %s, %s%s%s%s%s", name,
		     (long long)(s < 120 ? s : s / 60), s < 120 ? "s" : "min", busy,
		     f ? "; it " : "", f ? why_text(f, "text") : "", *to_do ? ": " : "", to_do) < 0)
		return NULL;
	return out;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* apicheck.c - bodies and queries against the tables that are made of docs/api. */
#include "daemon/api_int.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/opt.h"

#define QUERY_MAX 8u
#define TEXT_MAX 4096u

static const struct api_field *field_of(const struct api_field *fields, const char *name)
{
	while (fields->name && strcmp(fields->name, name) != 0)
		fields++;
	return fields->name ? fields : NULL;
}

static int bad(struct err *e, const struct api_field *f, const char *wanted)
{
	err_set(e, EINVAL, "\"%s\" must be %s", f->name, wanted);
	return err_field(e, f->name, NULL);
}

static int check_value(const struct api_field *f, const json_t *v, struct err *e)
{
	const char *text = json_string_value(v);
	size_t n = text ? json_string_length(v) : json_array_size(v);
	char wanted[96];
	bool good = false;

	switch (f->kind) {
	case API_TEXT:
		good = text && n >= f->min && n <= f->max && strlen(text) == n;
		snprintf(wanted, sizeof(wanted), "a text of %llu to %llu bytes",
			 (unsigned long long)f->min, (unsigned long long)f->max);
		break;
	case API_NUMBER:
		good = json_is_integer(v) && json_integer_value(v) >= 0 &&
		       (uint64_t)json_integer_value(v) >= f->min &&
		       (uint64_t)json_integer_value(v) <= f->max;
		snprintf(wanted, sizeof(wanted), "a whole number from %llu to %llu",
			 (unsigned long long)f->min, (unsigned long long)f->max);
		break;
	case API_BOOL:
		good = json_is_boolean(v);
		strcpy(wanted, "true or false");
		break;
	case API_WORD:
		*wanted = '\0';
		for (unsigned i = 0; f->words[i]; i++) {
			size_t len = strlen(wanted);

			good = good || (text && !strcmp(text, f->words[i]));
			snprintf(wanted + len, sizeof(wanted) - len, "%s%s", i ? ", " : "one of ",
				 f->words[i]);
		}
		break;
	case API_TEXTS:
		good = json_is_array(v) && n >= f->min && n <= f->max;
		for (size_t i = 0; good && i < n; i++) {
			const json_t *t = json_array_get(v, i);

			good = json_is_string(t) && json_string_length(t) <= TEXT_MAX &&
			       strlen(json_string_value(t)) == json_string_length(t);
		}
		snprintf(wanted, sizeof(wanted), "a list of %llu to %llu texts of at most %u bytes",
			 (unsigned long long)f->min, (unsigned long long)f->max, TEXT_MAX);
		break;
	}
	return good ? 0 : bad(e, f, wanted);
}

int apicheck_body(const struct api_field *fields, const json_t *j, struct err *e)
{
	const char *key, *names[17];
	const json_t *v;
	unsigned n = 0;

	if (!json_is_object(j))
		return err_set(e, EINVAL, "the body must be an object");
	for (; n < 16 && fields[n].name; n++)
		names[n] = fields[n].name;
	names[n] = NULL;
	if (json_check_keys(j, names, "the request", e) < 0)
		return -EINVAL;
	json_object_foreach((json_t *)(uintptr_t)j, key, v)
	{
		if (check_value(field_of(fields, key), v, e) < 0)
			return -EINVAL;
	}
	for (; fields->name; fields++) {
		if (!fields->required || json_object_get(j, fields->name))
			continue;
		err_set(e, EINVAL, "\"%s\" is missing", fields->name);
		return err_field(e, fields->name, NULL);
	}
	return 0;
}

/* Undoes %XX and + in place; false: it is not proper. */
static bool unescape(char *text)
{
	char *to = text;

	for (const char *p = text; *p; p++) {
		char hex[3] = {0};

		if (*p == '%') {
			if (!isxdigit((unsigned char)p[1]) || !isxdigit((unsigned char)p[2]))
				return false;
			memcpy(hex, p + 1, 2);
			*to = (char)strtoul(hex, NULL, 16);
			if (!*to)
				return false;
			p += 2;
		} else {
			*to = *p == '+' ? ' ' : *p;
		}
		to++;
	}
	*to = '\0';
	return true;
}

/* As an object: numbers where the table wants numbers. */
int apicheck_query(const struct api_field *fields, const char *text, json_t **out, struct err *e)
{
	_autofree char *copy = strdup(text);
	char *save = NULL;
	json_t *j = json_object();
	unsigned n = 0;

	*out = j;
	for (char *p = copy ? strtok_r(copy, "&", &save) : NULL; p; p = strtok_r(NULL, "&", &save)) {
		char *value = strchr(p, '=');
		const struct api_field *f;
		uint64_t number;
		json_t *v;

		if (value)
			*value++ = '\0';
		if (!value || ++n > QUERY_MAX || !unescape(p) || !unescape(value) ||
		    json_object_get(j, p))
			return err_set(e, EINVAL,
				       "the query is not proper: write key=value&key=value");
		f = field_of(fields, p);
		v = f && f->kind == API_NUMBER &&
				    opt_parse_uint(value, 0, INT64_MAX, &number, NULL) == 0 ?
			    json_u64(number) :
			    json_string(value);
		if (!v || json_object_set_new(j, p, v) < 0)
			return err_set(e, EINVAL, "the query is not UTF-8 text");
	}
	return apicheck_body(fields, j, e);
}

enum role apicheck_role(const struct api_field *fields, const json_t *query)
{
	enum role needed = ROLE_NONE;

	for (; fields->name; fields++) {
		const char *word = json_string_value(json_object_get(query, fields->name));

		for (unsigned i = 0; fields->roles && word && fields->words[i]; i++)
			if (!strcmp(word, fields->words[i]) && fields->roles[i] > needed)
				needed = fields->roles[i];
	}
	return needed;
}

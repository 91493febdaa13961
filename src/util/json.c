/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json.c - limits in front of jansson, and typed getters for objects that are not trusted.
 *
 * jansson's parser recurses, so the depth is counted before it sees the text (brackets outside of
 * strings). So are the values: two bytes of text become some forty of memory. Everything else it checks itself when asked: keys that come twice, NUL, UTF-8, garbage
 * at the end.
 */
#include "util/json.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "util/opt.h"

void json_unref(json_t **j)
{
	json_decref(*j);
	*j = NULL;
}

/* 0, or -EINVAL where the nesting, or the number of values, passes the limit. */
static int json_check_shape(const char *text, size_t len, const char *what, struct err *e)
{
	unsigned depth = 0, line = 1, values = 1;
	size_t line_start = 0;
	bool in_string = false;

	for (size_t i = 0; i < len; i++) {
		char c = text[i];

		if (c == '\n') {
			line++;
			line_start = i + 1;
		}
		if (in_string) {
			if (c == '\\')
				i++;
			else if (c == '"')
				in_string = false;
		} else if (c == '"') {
			in_string = true;
		} else if (c == ',' || c == ':') {
			if (++values > JSON_VALUES_MAX) {
				err_set(e, EINVAL, "%s is not usable: it has more than %u values",
					what, JSON_VALUES_MAX);
				return err_limit(e, "%u values", JSON_VALUES_MAX);
			}
		} else if (c == '{' || c == '[') {
			if (++depth > JSON_DEPTH_MAX) {
				err_set(e, EINVAL,
					"%s is not usable: line %u, column %zu: nested deeper than %u levels",
					what, line, i - line_start + 1, JSON_DEPTH_MAX);
				return err_limit(e, "%u levels", JSON_DEPTH_MAX);
			}
		} else if ((c == '}' || c == ']') && depth) {
			depth--;
		}
	}
	return 0;
}

int json_parse(const char *text, size_t len, size_t max_bytes, const char *what, json_t **out,
	       struct err *e)
{
	json_error_t je;
	char why[JSON_ERROR_TEXT_LENGTH];
	json_t *j;
	int r;

	if (len > max_bytes) {
		err_set(e, EFBIG, "%s is too long: %zu bytes, at most %zu are allowed", what, len,
			max_bytes);
		err_limit(e, "%zu bytes", max_bytes);
		return -EFBIG;
	}
	r = json_check_shape(text, len, what, e);
	if (r)
		return r;
	j = json_loadb(text, len, JSON_REJECT_DUPLICATES, &je);
	if (!j) {
		if (json_error_code(&je) == json_error_out_of_memory)
			return err_errno(e, ENOMEM, "cannot read %s", what);
		return err_set(e, EINVAL, "%s is not proper JSON: line %d, column %d: %s", what,
			       je.line, je.column, err_quote(why, sizeof(why), je.text));
	}
	*out = j;
	return 0;
}

char *json_text(const json_t *j)
{
	return json_dumps(j, JSON_COMPACT);
}

int json_check_keys(const json_t *obj, const char *const *keys, const char *what, struct err *e)
{
	char shown[64];
	const char *key, *near;
	json_t *value;

	if (!json_is_object(obj))
		return err_set(e, EINVAL, "%s is not a JSON object", what);
	/* jansson's iteration macro takes a non-const object, and does not change it. */
	json_object_foreach((json_t *)(uintptr_t)obj, key, value)
	{
		unsigned i;

		for (i = 0; keys[i] && strcmp(keys[i], key); i++)
			;
		if (keys[i])
			continue;
		near = opt_suggest(key, keys);
		err_quote(shown, sizeof(shown), key);
		if (near)
			err_set(e, EINVAL, "%s has an unknown key \"%s\": did you mean \"%s\"?",
				what, shown, near);
		else
			err_set(e, EINVAL, "%s has an unknown key \"%s\"", what, shown);
		if (near)
			err_hint(e, "use \"%s\"", near);
		return err_field(e, key, NULL);
	}
	return 0;
}

static const char *json_type_name(const json_t *j)
{
	static const char *const names[] = {"an object",     "a list", "text",	"an integer",
					    "a real number", "true",   "false", "null"};

	return (unsigned)json_typeof(j) < ARRAY_SIZE(names) ? names[json_typeof(j)] : "unknown";
}

/* The member, or NULL with *r what the getter is to return. */
static const json_t *json_member(const json_t *obj, const char *key, bool required, int *r,
				 struct err *e)
{
	const json_t *j = json_object_get(obj, key);

	*r = 0;
	if (!j && required) {
		err_set(e, EINVAL, "\"%s\" is missing", key);
		*r = err_field(e, key, NULL);
	}
	return j;
}

static int json_wrong_type(const json_t *j, const char *key, const char *wanted, struct err *e)
{
	err_set(e, EINVAL, "\"%s\" must be %s, not %s", key, wanted, json_type_name(j));
	return err_field(e, key, NULL);
}

int json_get_text(const json_t *obj, const char *key, bool required, char *out, size_t size,
		  struct err *e)
{
	int r;
	const json_t *j = json_member(obj, key, required, &r, e);

	if (!j)
		return r;
	if (!json_is_string(j))
		return json_wrong_type(j, key, "text", e);
	if (json_string_length(j) >= size) {
		err_set(e, EINVAL, "\"%s\" is too long: %zu bytes, at most %zu are allowed", key,
			json_string_length(j), size - 1);
		err_limit(e, "%zu bytes", size - 1);
		return err_field(e, key, json_string_value(j));
	}
	memcpy(out, json_string_value(j), json_string_length(j) + 1);
	return 1;
}

int json_get_u64(const json_t *obj, const char *key, bool required, uint64_t min, uint64_t max,
		 uint64_t *out, struct err *e)
{
	char shown[32];
	json_int_t v;
	int r;
	const json_t *j = json_member(obj, key, required, &r, e);

	if (!j)
		return r;
	if (!json_is_integer(j))
		return json_wrong_type(j, key, "a whole number", e);
	v = json_integer_value(j);
	if (v < 0 || (uint64_t)v < min || (uint64_t)v > max) {
		snprintf(shown, sizeof(shown), "%" JSON_INTEGER_FORMAT, v);
		err_set(e, EINVAL, "\"%s\" is %s: it must be %" PRIu64 " to %" PRIu64, key, shown,
			min, max);
		err_limit(e, "%" PRIu64 "..%" PRIu64, min, max);
		return err_field(e, key, shown);
	}
	*out = (uint64_t)v;
	return 1;
}

int json_get_bool(const json_t *obj, const char *key, bool required, bool *out, struct err *e)
{
	int r;
	const json_t *j = json_member(obj, key, required, &r, e);

	if (!j)
		return r;
	if (!json_is_boolean(j))
		return json_wrong_type(j, key, "true or false", e);
	*out = json_is_true(j);
	return 1;
}

int json_get_choice(const json_t *obj, const char *key, bool required, const char *const *words,
		    unsigned *out, struct err *e)
{
	char list[96] = "", shown[64];
	size_t used = 0;
	int r;
	const json_t *j = json_member(obj, key, required, &r, e);

	if (!j)
		return r;
	if (!json_is_string(j))
		return json_wrong_type(j, key, "text", e);
	for (unsigned i = 0; words[i]; i++) {
		if (!strcmp(words[i], json_string_value(j))) {
			*out = i;
			return 1;
		}
		if (used < sizeof(list))
			used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s",
						 i ? ", " : "", words[i]);
	}
	err_set(e, EINVAL, "\"%s\" is \"%s\": it must be one of %s", key,
		err_quote(shown, sizeof(shown), json_string_value(j)), list);
	err_limit(e, "%s", list);
	return err_field(e, key, json_string_value(j));
}

json_t *json_u64(uint64_t v)
{
	return json_integer(v > INT64_MAX ? INT64_MAX : (json_int_t)v);
}

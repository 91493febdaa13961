/* SPDX-License-Identifier: Apache-2.0 */
/*
 * agent_cmd.c - single requests to a guest agent (declared in agent.h). Every part of an answer is checked for its type and
 * range before it counts.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proto/agent.h"
#include "util/base64.h"
#include "util/clock.h"

/* Lodge's own agent begins its version with this: it gives output before the end of a program. */
#define OWN_AGENT "lodge-agent "

static int add(json_t *obj, const char *key, json_t *value, struct err *e)
{
	if (value && json_object_set_new(obj, key, value) == 0)
		return 0;
	return err_set(e, EINVAL,
		       "what is to be sent to the guest agent as \"%s\" is not valid UTF-8", key);
}

int agent_get_bytes(const json_t *obj, const char *key, uint8_t **data, size_t *len, struct err *e)
{
	const json_t *j = json_object_get(obj, key);
	int r;

	*data = NULL;
	*len = 0;
	if (!j)
		return 0;
	if (!json_is_string(j))
		return err_set(e, EPROTO, "the guest agent's \"%s\" is no text", key);
	r = base64_decode(json_string_value(j), json_string_length(j), data, len);
	return r ? err_errno(e, -r, "the guest agent's \"%s\" is no base64", key) : 1;
}

/* ---- programs ---- */

static json_t *argument_list(char *const argv[], struct err *e)
{
	json_t *list = json_array();

	for (unsigned i = 1; list && argv[i]; i++) {
		json_t *word = json_string(argv[i]);

		if (word && json_array_append_new(list, word) == 0)
			continue;
		err_set(e, EINVAL,
			"argument %u is not valid UTF-8, which is all that a guest agent takes", i);
		json_decref(list);
		return NULL;
	}
	return list;
}

int agent_exec(struct agent *a, char *const argv[], const void *input, size_t input_len,
	       bool stream, uint64_t deadline_ns, uint64_t *pid, struct err *e)
{
	_autojson json_t *args = json_object();
	_autojson json_t *result = NULL;
	_autofree char *text = NULL;
	json_t *list = argument_list(argv, e);
	int r = list ? 0 : -EINVAL;

	if (input_len > AGENT_INPUT_MAX)
		r = err_set(e, EFBIG, "the input is longer than %u MiB",
			    (unsigned)(AGENT_INPUT_MAX / MIB));
	if (!r)
		r = add(args, "path", json_string(argv[0]), e);
	if (r) {
		json_decref(list);
		return r;
	}
	r = add(args, "arg", list, e);
	if (!r)
		r = add(args, "capture-output", stream ? json_string("stream") : json_true(), e);
	if (!r && input_len) {
		text = base64_encode(input, input_len);
		r = text ? add(args, "input-data", json_string_nocheck(text), e) :
			   err_set(e, ENOMEM, "out of memory");
	}
	if (!r)
		r = agent_call(a, "guest-exec", json_incref(args), deadline_ns, &result, e);
	if (!r && json_get_u64(result, "pid", true, 0, INT64_MAX, pid, e) < 0)
		r = -EPROTO;
	return r;
}

void agent_exit_fini(struct agent_exit *x)
{
	free(x->out);
	free(x->err);
	*x = (struct agent_exit){0};
}

int agent_exec_status(struct agent *a, uint64_t pid, uint64_t deadline_ns, struct agent_exit *x,
		      struct err *e)
{
	_autojson json_t *result = NULL;
	bool cut_out = false, cut_err = false;
	uint64_t sig = 0;
	int r, has_code, has_signal;

	*x = (struct agent_exit){0};
	r = agent_call(a, "guest-exec-status", json_pack("{s:I}", "pid", (json_int_t)pid),
		       deadline_ns, &result, e);
	if (r)
		return r;
	has_code = json_get_u64(result, "exitcode", false, 0, UINT8_MAX, &x->code, e);
	has_signal = json_get_u64(result, "signal", false, 0, 127, &sig, e);
	if (json_get_bool(result, "exited", true, &x->exited, e) < 0 || has_code < 0 ||
	    has_signal < 0 || json_get_bool(result, "out-truncated", false, &cut_out, e) < 0 ||
	    json_get_bool(result, "err-truncated", false, &cut_err, e) < 0)
		return -EPROTO;
	x->by_signal = has_signal && !has_code;
	if (x->by_signal)
		x->code = sig;
	if (x->exited && !has_code && !has_signal)
		return err_set(e, EPROTO, "the guest agent does not say how the program ended");
	x->cut = cut_out || cut_err;
	r = agent_get_bytes(result, "out-data", &x->out, &x->out_len, e);
	if (r >= 0)
		r = agent_get_bytes(result, "err-data", &x->err, &x->err_len, e);
	if (r >= 0)
		return 0;
	agent_exit_fini(x);
	return r;
}

int agent_can_stream(struct agent *a, uint64_t deadline_ns, struct err *e)
{
	_autojson json_t *result = NULL;
	char version[64];
	int r = agent_call(a, "guest-info", NULL, deadline_ns, &result, e);

	if (r)
		return r;
	if (json_get_text(result, "version", true, version, sizeof(version), e) < 0)
		return -EPROTO;
	return !strncmp(version, OWN_AGENT, strlen(OWN_AGENT));
}

/* ---- time ---- */

int agent_set_time(struct agent *a, uint64_t deadline_ns, struct err *e)
{
	return agent_call(a, "guest-set-time",
			  json_pack("{s:I}", "time", (json_int_t)clock_realtime_ns()), deadline_ns,
			  NULL, e);
}

/* ---- files ---- */

int agent_file_open(struct agent *a, const char *path, const char *mode, uint64_t deadline_ns,
		    int64_t *handle, struct err *e)
{
	_autojson json_t *result = NULL;
	json_t *args = json_object();
	int r = add(args, "path", json_string(path), e);

	if (!r)
		r = add(args, "mode", json_string(mode), e);
	if (r) {
		json_decref(args);
		return r;
	}
	r = agent_call(a, "guest-file-open", args, deadline_ns, &result, e);
	if (r)
		return r;
	if (!json_is_integer(result))
		return err_set(e, EPROTO, "the guest agent's file has no number");
	*handle = json_integer_value(result);
	return 0;
}

int agent_file_read(struct agent *a, int64_t handle, uint64_t deadline_ns, uint8_t **data,
		    size_t *len, struct err *e)
{
	_autojson json_t *result = NULL;
	uint64_t count;
	int r;

	*data = NULL;
	r = agent_call(a, "guest-file-read",
		       json_pack("{s:I, s:I}", "handle", (json_int_t)handle, "count",
				 (json_int_t)AGENT_CHUNK),
		       deadline_ns, &result, e);
	if (r)
		return r;
	if (json_get_u64(result, "count", true, 0, AGENT_CHUNK, &count, e) < 0)
		return -EPROTO;
	r = agent_get_bytes(result, "buf-b64", data, len, e);
	if (r < 0)
		return r;
	if (*len == count)
		return 0;
	free(*data);
	*data = NULL;
	return err_set(e, EPROTO, "the guest agent sent %zu bytes and speaks of %llu", *len,
		       (unsigned long long)count);
}

int agent_file_write(struct agent *a, int64_t handle, const void *data, size_t len,
		     uint64_t deadline_ns, struct err *e)
{
	const uint8_t *from = data;

	while (len) {
		size_t n = MIN(len, (size_t)AGENT_CHUNK);
		_autofree char *text = base64_encode(from, n);
		_autojson json_t *result = NULL;
		uint64_t count;
		int r;

		if (!text)
			return err_set(e, ENOMEM, "out of memory");
		r = agent_call(a, "guest-file-write",
			       json_pack("{s:I, s:s}", "handle", (json_int_t)handle, "buf-b64",
					 text),
			       deadline_ns, &result, e);
		if (r)
			return r;
		if (json_get_u64(result, "count", true, 1, n, &count, e) < 0)
			return -EPROTO;
		from += count;
		len -= count;
	}
	return 0;
}

int agent_file_close(struct agent *a, int64_t handle, uint64_t deadline_ns, struct err *e)
{
	return agent_call(a, "guest-file-close", json_pack("{s:I}", "handle", (json_int_t)handle),
			  deadline_ns, NULL, e);
}

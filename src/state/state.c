/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state.c - sections: the cursor with a direction, and the checks around it.
 *
 * A section in the file:
 *
 *	u32 length of the data    u16 version    u16 length of the name    u32 CRC-32 of all else    u32 0
 *	name    data
 *
 * Sections follow one another without gaps. When saving, the head is written with zeroes at the beginning of the section
 * and filled in at its end.
 */
#include "state/state.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define HEAD 16u
#define HEAD_CRC 8u
#define HEAD_PAD 12u

/* `head` has its checksum field as zero. */
static uint32_t checksum(const uint8_t head[HEAD], const void *name, size_t name_len,
			 const void *data, size_t len)
{
	uLong crc = crc32_z(0, head, HEAD);

	crc = crc32_z(crc, name, name_len);
	return (uint32_t)(len ? crc32_z(crc, data, len) : crc);
}

/* ---- errors ---- */

int state_fail(struct state *s, const char *fmt, ...)
{
	char text[384];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (s->name[0])
		return err_set(&s->err, EINVAL, "saved state \"%s\": %s", s->name, text);
	return err_set(&s->err, EINVAL, "%s", text);
}

static bool bad(const struct state *s)
{
	return s->err.code != 0;
}

/* Takes over an error of the buffers. */
static void check_buf(struct state *s, const struct buf *b)
{
	if (buf_error(b) == -ENODATA)
		state_fail(s, "it is too short");
	else if (buf_error(b) == -EFBIG)
		state_fail(s, "it is larger than %llu MiB",
			   (unsigned long long)(STATE_SECTION_MAX / MIB));
	else if (buf_error(b))
		err_set(&s->err, ENOMEM, "out of memory for saved state");
}

/* ---- directory ---- */

void state_init_save(struct state *s)
{
	memset(s, 0, sizeof(*s));
	buf_init(&s->out, 0);
}

static bool name_valid(const char *name)
{
	for (; *name; name++)
		if (*name <= ' ' || *name > '~')
			return false;
	return true;
}

static int add_section(struct state *s, struct buf *b, struct err *e)
{
	struct state_section *sec = &s->section[s->n_sections];
	uint8_t head[HEAD];
	uint32_t len, crc;
	uint16_t name_len;
	const void *name;

	buf_get(b, head, sizeof(head));
	len = buf_le32(head);
	sec->version = buf_le16(head + 4);
	name_len = buf_le16(head + 6);
	crc = buf_le32(head + HEAD_CRC);
	if (buf_error(b) || name_len == 0 || name_len > STATE_NAME_MAX || len > STATE_SECTION_MAX ||
	    buf_le32(head + HEAD_PAD))
		return err_set(e, EINVAL, "the saved state is damaged: section %u has a bad head",
			       s->n_sections);
	name = buf_get_ptr(b, name_len);
	sec->data = buf_get_ptr(b, len);
	sec->len = len;
	memset(head + HEAD_CRC, 0, 4);
	if (!name || buf_error(b) || checksum(head, name, name_len, sec->data, len) != crc)
		return err_set(e, EINVAL,
			       "the saved state is damaged: section %u has a wrong checksum",
			       s->n_sections);
	memcpy(sec->name, name, name_len);
	sec->name[name_len] = '\0';
	if (strlen(sec->name) != name_len || !name_valid(sec->name) || sec->version == 0)
		return err_set(e, EINVAL, "the saved state is damaged: section %u has no name",
			       s->n_sections);
	for (unsigned i = 0; i < s->n_sections; i++)
		if (!strcmp(s->section[i].name, sec->name))
			return err_set(e, EINVAL, "the saved state has the section \"%s\" twice",
				       sec->name);
	s->n_sections++;
	return 0;
}

int state_init_load(struct state *s, const void *data, size_t len, struct err *e)
{
	struct buf b;
	int r = 0;

	memset(s, 0, sizeof(*s));
	s->loading = true;
	s->section = calloc(STATE_SECTIONS_MAX, sizeof(*s->section));
	if (!s->section)
		return err_set(e, ENOMEM, "out of memory for saved state");
	buf_init_read(&b, data, len);
	while (r == 0 && buf_left(&b)) {
		if (s->n_sections == STATE_SECTIONS_MAX)
			r = err_set(e, EINVAL, "the saved state has more than %u sections",
				    STATE_SECTIONS_MAX);
		else
			r = add_section(s, &b, e);
	}
	if (r < 0)
		state_fini(s);
	return r;
}

int state_finish(struct state *s, struct err *e)
{
	if (!bad(s) && s->open)
		state_fail(s, "it was not ended");
	s->name[0] = '\0';
	for (unsigned i = 0; !bad(s) && i < s->n_sections; i++)
		if (!s->section[i].used)
			state_fail(s,
				   "the saved state has a part \"%s\" that this machine does not have",
				   s->section[i].name);
	if (bad(s) && e && !e->code)
		*e = s->err;
	return state_error(s);
}

void state_fini(struct state *s)
{
	buf_fini(&s->out);
	free(s->section);
	s->section = NULL;
	s->n_sections = 0;
	s->current = NULL;
}

/* ---- sections ---- */

static void full_name(char out[STATE_NAME_MAX + 1], const char *class, const char *instance)
{
	int n = snprintf(out, STATE_NAME_MAX + 1, "%s%s%s", class, instance ? ":" : "",
			 instance ? instance : "");

	ASSERT(n > 0 && n <= (int)STATE_NAME_MAX);
}

static struct state_section *find(const struct state *s, const char *name)
{
	for (unsigned i = 0; i < s->n_sections; i++)
		if (!strcmp(s->section[i].name, name))
			return &s->section[i];
	return NULL;
}

bool state_has(const struct state *s, const char *class, const char *instance)
{
	char name[STATE_NAME_MAX + 1];

	full_name(name, class, instance);
	return s->loading && find(s, name);
}

static void begin_load(struct state *s, unsigned version)
{
	struct state_section *sec = find(s, s->name);

	if (!sec) {
		state_fail(s, "it is missing");
	} else if (sec->used) {
		state_fail(s, "it was asked for twice");
	} else if (sec->version > version) {
		sec->used = true;
		state_fail(s, "it has version %u; this version of Lodge knows %u at most",
			   sec->version, version);
	} else {
		sec->used = true;
		s->current = sec;
		buf_init_read(&s->in, sec->data, sec->len);
	}
}

unsigned state_begin(struct state *s, const char *class, const char *instance, unsigned version)
{
	ASSERT(version >= 1 && version <= UINT16_MAX);
	if (bad(s))
		return version;
	if (s->open) {
		state_fail(s, "it was not ended before the next one");
		return version;
	}
	full_name(s->name, class, instance);
	s->open = true;
	if (s->loading) {
		begin_load(s, version);
		return s->current ? s->current->version : version;
	}
	s->begun_at = s->out.len;
	buf_put_u32(&s->out, 0);
	buf_put_u16(&s->out, (uint16_t)version);
	buf_put_u16(&s->out, (uint16_t)strlen(s->name));
	buf_put_u64(&s->out, 0);
	buf_put(&s->out, s->name, strlen(s->name));
	check_buf(s, &s->out);
	return version;
}

static void end_save(struct state *s)
{
	size_t name_len = strlen(s->name), at = s->begun_at + HEAD + name_len;
	size_t len = s->out.len - at;
	uint8_t *head = s->out.data + s->begun_at;

	if (len > STATE_SECTION_MAX) {
		state_fail(s, "it is larger than %llu MiB",
			   (unsigned long long)(STATE_SECTION_MAX / MIB));
		return;
	}
	buf_set_u32(&s->out, s->begun_at, (uint32_t)len);
	buf_set_u32(&s->out, s->begun_at + HEAD_CRC,
		    checksum(head, s->name, name_len, s->out.data + at, len));
}

int state_end(struct state *s)
{
	if (bad(s))
		return state_error(s);
	if (!s->open) {
		state_fail(s, "a section ends that was not begun");
		return state_error(s);
	}
	if (s->loading && buf_left(&s->in))
		state_fail(s, "it has %zu bytes too many", buf_left(&s->in));
	else if (!s->loading)
		end_save(s);
	s->open = false;
	s->current = NULL;
	if (!bad(s))
		s->name[0] = '\0';
	return state_error(s);
}

/* ---- fields ---- */

/* Moves `len` bytes of the host's, which is little-endian, in the cursor's direction. */
static void move(struct state *s, void *v, size_t len)
{
	if (!bad(s) && !s->open)
		state_fail(s, "a field outside of a section");
	if (bad(s)) {
		if (s->loading && len)
			memset(v, 0, len);
		return;
	}
	if (s->loading) {
		buf_get(&s->in, v, len);
		check_buf(s, &s->in);
	} else {
		buf_put(&s->out, v, len);
		check_buf(s, &s->out);
	}
}

void state_u8(struct state *s, uint8_t *v)
{
	move(s, v, sizeof(*v));
}

void state_u16(struct state *s, uint16_t *v)
{
	move(s, v, sizeof(*v));
}

void state_u32(struct state *s, uint32_t *v)
{
	move(s, v, sizeof(*v));
}

void state_u64(struct state *s, uint64_t *v)
{
	move(s, v, sizeof(*v));
}

void state_i64(struct state *s, int64_t *v)
{
	move(s, v, sizeof(*v));
}

void state_bool(struct state *s, bool *v)
{
	uint8_t byte = s->loading ? 0 : *v;

	move(s, &byte, 1);
	if (byte > 1) {
		state_fail(s, "a yes-or-no is %u", byte);
		byte = 0;
	}
	*v = byte;
}

void state_bytes(struct state *s, void *v, size_t len)
{
	move(s, v, len);
}

void state_u16s(struct state *s, uint16_t *v, size_t n)
{
	move(s, v, n * sizeof(*v));
}

void state_u32s(struct state *s, uint32_t *v, size_t n)
{
	move(s, v, n * sizeof(*v));
}

void state_u64s(struct state *s, uint64_t *v, size_t n)
{
	move(s, v, n * sizeof(*v));
}

void state_u32_max(struct state *s, uint32_t *v, uint32_t max)
{
	move(s, v, sizeof(*v));
	if (*v > max) {
		state_fail(s, "a number is %u; at most %u is possible", *v, max);
		if (s->loading)
			*v = 0;
	}
}

void state_u64_max(struct state *s, uint64_t *v, uint64_t max)
{
	move(s, v, sizeof(*v));
	if (*v > max) {
		state_fail(s, "a number is %llu; at most %llu is possible", (unsigned long long)*v,
			   (unsigned long long)max);
		if (s->loading)
			*v = 0;
	}
}

unsigned state_choice(struct state *s, unsigned v, unsigned limit)
{
	uint32_t n = v;

	state_u32_max(s, &n, limit - 1);
	return bad(s) && s->loading ? 0 : n;
}

void state_same(struct state *s, uint64_t v, const char *what)
{
	uint64_t saved = v;

	move(s, &saved, sizeof(saved));
	if (!bad(s) && saved != v)
		state_fail(s, "%s was %llu and is %llu in this machine", what,
			   (unsigned long long)saved, (unsigned long long)v);
}

const void *state_blob(struct state *s, const void *v, size_t *len, size_t max)
{
	uint32_t n = (uint32_t)*len;
	const void *p = v;

	if (!s->loading && *len > max)
		state_fail(s, "%zu bytes are more than the %zu that are possible", *len, max);
	state_u32_max(s, &n, (uint32_t)MIN(max, STATE_SECTION_MAX));
	if (s->loading) {
		p = bad(s) ? NULL : buf_get_ptr(&s->in, n);
		check_buf(s, &s->in);
		*len = p ? n : 0;
		return p;
	}
	if (!bad(s)) {
		buf_put(&s->out, v, n);
		check_buf(s, &s->out);
	}
	return p;
}

void state_text(struct state *s, char *v, size_t size)
{
	size_t len = s->loading ? 0 : strnlen(v, size);
	const char *p;

	p = state_blob(s, v, &len, size - 1);
	if (!s->loading)
		return;
	v[0] = '\0';
	if (!p)
		return;
	if (memchr(p, 0, len)) {
		state_fail(s, "a text has a NUL in it");
		return;
	}
	memcpy(v, p, len);
	v[len] = '\0';
}

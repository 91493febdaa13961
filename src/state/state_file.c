/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state_file.c - head, layout and areas of a saved machine's file.
 *
 * The head, little-endian:
 *	0   magic "lodge vm state\r\n" (16 bytes; a copy that changes line ends damages it)
 *	16  u32 version          20  u32 CRC-32 of the head with zero here
 *	24  u64 size of the file
 *	32  u64 length of the sections (they begin at 4096)
 *	40  u64 offset, u64 size of each area (three in version 1); size 0: not there
 */
#include "state/state_file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "util/fdio.h"

#define PAGE 4096u
#define MAGIC_LEN 16u
#define HEAD_LEN_MAX (40u + 16u * STATE_AREAS)
#define FILE_MAX (UINT64_C(1) << 60)

static const char magic[MAGIC_LEN + 1] = "lodge vm state\r\n";

static unsigned n_areas(uint32_t version)
{
	return version == 1 ? STATE_AREA_OVERLAY : STATE_AREAS;
}

static unsigned head_len(uint32_t version)
{
	return 40 + 16 * n_areas(version);
}

static uint32_t head_checksum(const uint8_t head[HEAD_LEN_MAX])
{
	static const uint8_t zero[4];
	uLong crc = crc32_z(0, head, 20);

	crc = crc32_z(crc, zero, 4);
	return (uint32_t)crc32_z(crc, head + 24, head_len(buf_le32(head + 16)) - 24);
}

/* ---- writing ---- */

int state_file_write_error(int code, struct err *e)
{
	if (code == ENOSPC || code == EDQUOT) {
		err_set(e, code, "the disk is full: the state was not saved");
		err_hint(e, "make room, or save to another file system");
		return -code;
	}
	if (code == EFBIG)
		return err_set(
			e, code,
			"the state was not saved: the file would be larger than this file system or limit allows");
	return err_errno(e, code, "the state was not saved: cannot write the file");
}

int state_file_begin(struct state_file *f, int fd, const struct buf *sections, struct err *e)
{
	uint64_t at;
	int r;

	f->fd = fd;
	f->sections_len = sections->len;
	at = ALIGN_UP(PAGE + f->sections_len, PAGE);
	for (unsigned i = 0; i < STATE_AREAS; i++) {
		f->area[i].offset = f->area[i].size ? at : 0;
		at += ALIGN_UP(f->area[i].size, PAGE);
	}
	r = fdio_write(fd, sections->data, sections->len, PAGE);
	return r < 0 ? state_file_write_error(-r, e) : 0;
}

int state_file_copy(struct state_file *f, enum state_area area, int from, uint64_t from_offset,
		    struct err *e)
{
	_autofree uint8_t *chunk = malloc(MIB);
	uint64_t done = 0, size = f->area[area].size;
	int r = 0;

	if (!chunk)
		return err_set(e, ENOMEM, "out of memory");
	while (done < size) {
		size_t n = MIN(size - done, MIB);

		r = fdio_read(from, chunk, n, from_offset + done);
		if (r < 0)
			return err_errno(e, -r, "cannot read the boot files to save them");
		r = fdio_write(f->fd, chunk, n, f->area[area].offset + done);
		if (r < 0)
			return state_file_write_error(-r, e);
		done += n;
	}
	return 0;
}

static uint64_t file_size(const struct state_file *f)
{
	uint64_t end = PAGE + f->sections_len;

	for (unsigned i = 0; i < STATE_AREAS; i++)
		if (f->area[i].size)
			end = f->area[i].offset + f->area[i].size;
	return end;
}

int state_file_end(struct state_file *f, struct err *e)
{
	uint32_t version = f->area[STATE_AREA_OVERLAY].size ? STATE_FILE_VERSION : 1;
	uint8_t head[PAGE] = {0};
	struct buf b;
	int r;

	/* seccomp vm: ftruncate, fsync - a saved state */
	if (ftruncate(f->fd, (off_t)file_size(f)) < 0 || fsync(f->fd) < 0)
		return state_file_write_error(errno, e);
	buf_init(&b, 0);
	buf_put(&b, magic, MAGIC_LEN);
	buf_put_u32(&b, version);
	buf_put_u32(&b, 0);
	buf_put_u64(&b, file_size(f));
	buf_put_u64(&b, f->sections_len);
	for (unsigned i = 0; i < n_areas(version); i++) {
		buf_put_u64(&b, f->area[i].offset);
		buf_put_u64(&b, f->area[i].size);
	}
	if (buf_error(&b) == 0)
		buf_set_u32(&b, 20, head_checksum(b.data));
	r = buf_error(&b);
	if (r == 0)
		memcpy(head, b.data, head_len(version));
	buf_fini(&b);
	if (r == 0)
		r = fdio_write(f->fd, head, sizeof(head), 0);
	if (r == 0 && fsync(f->fd) < 0)
		r = -errno;
	return r < 0 ? state_file_write_error(-r, e) : 0;
}

/* ---- reading ---- */

static int damaged(struct err *e, const char *what)
{
	return err_set(e, EINVAL, "the saved state is damaged: %s", what);
}

/* Areas lie one after the other, in order, in the file. */
static int check_areas(struct state_file *f, uint64_t size, struct err *e)
{
	uint64_t end = PAGE + f->sections_len;

	for (unsigned i = 0; i < STATE_AREAS; i++) {
		uint64_t offset = f->area[i].offset, len = f->area[i].size;

		if (len == 0 && offset == 0)
			continue;
		if (len == 0 || offset % PAGE || offset < end || len > size || offset > size - len)
			return damaged(e, "a part of it is out of place");
		end = offset + len;
	}
	return size == end ? 0 : damaged(e, "it has bytes that belong to nothing");
}

static int read_head(struct state_file *f, struct err *e)
{
	uint8_t head[HEAD_LEN_MAX];
	struct stat st;
	uint32_t version;
	uint64_t size;
	int r;

	if (fstat(f->fd, &st) < 0)
		return err_errno(e, errno, "cannot look at the saved state");
	r = fdio_read(f->fd, head, sizeof(head), 0);
	if (r < 0 && r != -ENODATA)
		return err_errno(e, -r, "cannot read the saved state");
	if (r < 0 || memcmp(head, magic, MAGIC_LEN) != 0)
		return err_set(e, EINVAL, "the file is not the saved state of a VM");
	version = buf_le32(head + 16);
	if (version < 1 || version > STATE_FILE_VERSION)
		return err_set(
			e, EINVAL,
			"the saved state has the format version %u; this version of Lodge reads 1 to %u",
			version, STATE_FILE_VERSION);
	if (buf_le32(head + 20) != head_checksum(head))
		return damaged(e, "its head has a wrong checksum");
	size = buf_le64(head + 24);
	if (size > FILE_MAX)
		return damaged(e, "it has an impossible size");
	if ((uint64_t)st.st_size != size)
		return err_set(
			e, EINVAL,
			"the saved state was cut short, or is more than that: it has %llu bytes and should have %llu",
			(unsigned long long)st.st_size, (unsigned long long)size);
	f->sections_len = buf_le64(head + 32);
	if (f->sections_len > STATE_FILE_SECTIONS_MAX || size < PAGE ||
	    f->sections_len > size - PAGE)
		return damaged(e, "its sections have an impossible size");
	for (unsigned i = 0; i < n_areas(version); i++) {
		f->area[i].offset = buf_le64(head + 40 + 16 * i);
		f->area[i].size = buf_le64(head + 48 + 16 * i);
	}
	return check_areas(f, size, e);
}

int state_file_open(struct state_file *f, int fd, struct err *e)
{
	int r;

	memset(f, 0, sizeof(*f));
	f->fd = fd;
	r = read_head(f, e);
	if (r < 0)
		return r;
	f->sections = malloc(f->sections_len + 1);
	if (!f->sections)
		return err_set(e, ENOMEM, "out of memory for the saved state");
	r = fdio_read(fd, f->sections, f->sections_len, PAGE);
	return r < 0 ? err_errno(e, -r, "cannot read the saved state") : 0;
}

void state_file_fini(struct state_file *f)
{
	free(f->sections);
	f->sections = NULL;
}

int state_file_config_section(struct state *s, char **text)
{
	size_t len = *text ? strlen(*text) : 0;
	const char *p;

	if (state_loading(s))
		*text = NULL;
	state_begin(s, "config", NULL, 1);
	p = state_blob(s, *text, &len, STATE_FILE_CONFIG_MAX);
	if (state_loading(s) && p) {
		*text = memchr(p, 0, len) ? NULL : strndup(p, len);
		if (!*text)
			state_fail(s, "it is no text");
	}
	return state_end(s);
}

char *state_file_config(const struct state_file *f, struct err *e)
{
	char *text = NULL;
	struct state s;

	if (state_init_load(&s, f->sections, f->sections_len, e) < 0)
		return NULL;
	if (state_file_config_section(&s, &text) < 0) {
		free(text);
		text = NULL;
		if (e && !e->code)
			*e = s.err;
	}
	state_fini(&s);
	return text;
}

int state_file_extract(const struct state_file *f, enum state_area area, const char *name,
		       struct err *e)
{
	_autofree uint8_t *chunk = malloc(MIB);
	_autoclose int fd = memfd_create(name, MFD_CLOEXEC);
	uint64_t done = 0, size = f->area[area].size;
	int out, r;

	if (!chunk || fd < 0)
		return err_set(e, ENOMEM, "out of memory for the %s in the saved state", name);
	while (done < size) {
		size_t n = MIN(size - done, MIB);

		r = fdio_read(f->fd, chunk, n, f->area[area].offset + done);
		if (r == 0)
			r = fdio_write(fd, chunk, n, done);
		if (r < 0)
			return err_errno(e, -r, "cannot read the %s in the saved state", name);
		done += n;
	}
	out = fd;
	fd = -1;
	return out;
}

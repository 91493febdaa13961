/* SPDX-License-Identifier: Apache-2.0 */
/*
 * boot_decompress.c - the payload of a bzImage as a source of chunks, for every compression that Linux offers
 * and a library exists for: gzip, bzip2, lzma, xz (with the x86 BCJ filter), lz4 (legacy format), zstd.
 *
 * The image's build appends the unpacked size to what it compresses ("size_append"; for gzip it is the
 * format's own trailer). We take that size as a promise: a stream that gives less or more is refused, and the
 * caller has checked the size against guest RAM, so a decompression bomb ends at that bound. Input after the
 * end of the stream (that size, padding) is not looked at.
 *
 * Input is read as it is needed, into a small buffer that is used again and again: memory that is touched for the first time costs as
 * much as unpacking what is read into it.
 */
#include <bzlib.h>
#include <errno.h>
#include <lz4.h>
#include <lzma.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "board/boot_internal.h"

#define LZ4_LEGACY_MAGIC 0x184c2102u
#define LZ4_LEGACY_BLOCK (8 * MIB)
#define XZ_MEMORY_MAX (512 * MIB) /* a kernel's dictionary is at most 128 MiB */
#define ZSTD_WINDOW_LOG_MAX 27	  /* zstd --ultra -22, what the kernel's build uses */

#define LZ4_BLOCK_MAX ((size_t)LZ4_COMPRESSBOUND(LZ4_LEGACY_BLOCK))
#define IN_PIECE (64 * KIB) /* read at once, at least */

enum step {
	STEP_MORE,
	STEP_END,
	STEP_ERROR,
	STEP_FAILED
}; /* ERROR: the data is wrong; FAILED: d->result says what */

struct boot_dec {
	struct boot_src src; /* first */
	const struct method *m;
	const struct boot_file *file;
	uint64_t file_at, file_end; /* of the file: what is still to be read */
	uint8_t *in;		    /* owned, in_cap bytes */
	size_t in_cap, in_len, in_pos;
	int result;
	struct err *e;
	uint8_t *out; /* owned, out_cap bytes */
	size_t out_cap;
	bool ended;
	union {
		z_stream z;
		bz_stream bz;
		lzma_stream lzma;
		ZSTD_DStream *zstd;
	};
};

struct method {
	const char *name;
	uint8_t magic[6], magic_len;
	int (*open)(struct boot_dec *d); /* 0, or -errno */
	/* Appends to out[*len..out_cap) from what is in in[in_pos..in_len), which is not empty before the input's end. */
	enum step (*step)(struct boot_dec *d, size_t *len);
	void (*close)(struct boot_dec *d);
};

/* Reads on until there are `want` bytes of input, or all that there are. */
static int feed(struct boot_dec *d, size_t want)
{
	size_t have = d->in_len - d->in_pos, n;

	if (have >= want || d->file_at == d->file_end)
		return 0;
	memmove(d->in, d->in + d->in_pos, have);
	d->in_pos = 0;
	d->in_len = have;
	n = MIN(MAX(want - have, (size_t)IN_PIECE), d->in_cap - have);
	n = (size_t)MIN((uint64_t)n, d->file_end - d->file_at);
	d->result = boot_file_read(d->file, d->file_at, d->in + have, n, d->e);
	if (d->result)
		return d->result;
	d->file_at += n;
	d->in_len += n;
	return 0;
}

static int gzip_open(struct boot_dec *d)
{
	return inflateInit2(&d->z, 15 + 16) == Z_OK ? 0 : -ENOMEM;
}

static enum step gzip_step(struct boot_dec *d, size_t *len)
{
	int r;

	d->z.next_in = (Bytef *)(uintptr_t)(d->in + d->in_pos);
	d->z.avail_in = (uInt)MIN(d->in_len - d->in_pos, BIT(30));
	d->z.next_out = d->out + *len;
	d->z.avail_out = (uInt)(d->out_cap - *len);
	r = inflate(&d->z, Z_NO_FLUSH);
	d->in_pos = (size_t)(d->z.next_in - d->in);
	*len = d->out_cap - d->z.avail_out;
	if (r == Z_STREAM_END)
		return STEP_END;
	return r == Z_OK || r == Z_BUF_ERROR ? STEP_MORE : STEP_ERROR;
}

static void gzip_close(struct boot_dec *d)
{
	inflateEnd(&d->z);
}

static int bzip2_open(struct boot_dec *d)
{
	return BZ2_bzDecompressInit(&d->bz, 0, 0) == BZ_OK ? 0 : -ENOMEM;
}

static enum step bzip2_step(struct boot_dec *d, size_t *len)
{
	int r;

	d->bz.next_in = (char *)(uintptr_t)(d->in + d->in_pos);
	d->bz.avail_in = (unsigned)MIN(d->in_len - d->in_pos, BIT(30));
	d->bz.next_out = (char *)d->out + *len;
	d->bz.avail_out = (unsigned)(d->out_cap - *len);
	r = BZ2_bzDecompress(&d->bz);
	d->in_pos = (size_t)((const uint8_t *)d->bz.next_in - d->in);
	*len = d->out_cap - d->bz.avail_out;
	if (r == BZ_STREAM_END)
		return STEP_END;
	return r == BZ_OK ? STEP_MORE : STEP_ERROR;
}

static void bzip2_close(struct boot_dec *d)
{
	BZ2_bzDecompressEnd(&d->bz);
}

static int xz_open(struct boot_dec *d)
{
	d->lzma = (lzma_stream)LZMA_STREAM_INIT;
	return lzma_stream_decoder(&d->lzma, XZ_MEMORY_MAX, 0) == LZMA_OK ? 0 : -ENOMEM;
}

static int lzma_open(struct boot_dec *d)
{
	d->lzma = (lzma_stream)LZMA_STREAM_INIT;
	return lzma_alone_decoder(&d->lzma, XZ_MEMORY_MAX) == LZMA_OK ? 0 : -ENOMEM;
}

static enum step xz_step(struct boot_dec *d, size_t *len)
{
	lzma_ret r;

	d->lzma.next_in = d->in + d->in_pos;
	d->lzma.avail_in = d->in_len - d->in_pos;
	d->lzma.next_out = d->out + *len;
	d->lzma.avail_out = d->out_cap - *len;
	r = lzma_code(&d->lzma, LZMA_RUN);
	d->in_pos = d->in_len - d->lzma.avail_in;
	*len = d->out_cap - d->lzma.avail_out;
	if (r == LZMA_STREAM_END)
		return STEP_END;
	return r == LZMA_OK || r == LZMA_BUF_ERROR ? STEP_MORE : STEP_ERROR;
}

static void xz_close(struct boot_dec *d)
{
	lzma_end(&d->lzma);
}

static int zstd_open(struct boot_dec *d)
{
	d->zstd = ZSTD_createDStream();
	if (!d->zstd)
		return -ENOMEM;
	ZSTD_DCtx_setParameter(d->zstd, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG_MAX);
	return 0;
}

static enum step zstd_step(struct boot_dec *d, size_t *len)
{
	ZSTD_inBuffer in = {d->in, d->in_len, d->in_pos};
	ZSTD_outBuffer out = {d->out, d->out_cap, *len};
	size_t r = ZSTD_decompressStream(d->zstd, &out, &in);

	if (ZSTD_isError(r))
		return STEP_ERROR;
	d->in_pos = in.pos;
	*len = out.pos;
	return r == 0 ? STEP_END :
			STEP_MORE; /* 0: a frame is whole; the kernel's payload is one frame */
}

static void zstd_close(struct boot_dec *d)
{
	ZSTD_freeDStream(d->zstd);
}

/* The legacy frame: magic, then blocks of { le32 compressed size, data }, each of 8 MiB unpacked but the last.
 * It has no end mark: it ends where only the appended size is left. */
static int lz4_open(struct boot_dec *d)
{
	free(d->out);
	free(d->in);
	d->out_cap = LZ4_LEGACY_BLOCK;
	d->out = boot_buffer(d->out_cap);
	d->in_cap = 4 + LZ4_BLOCK_MAX + IN_PIECE;
	d->in = boot_buffer(d->in_cap);
	return d->out && d->in ? 0 : -ENOMEM;
}

static enum step lz4_step(struct boot_dec *d, size_t *len)
{
	uint32_t n;
	int r;

	if (feed(d, 5))
		return STEP_FAILED;
	if (d->in_len - d->in_pos <= 4)
		return STEP_END;
	n = boot_get32(d->in + d->in_pos);
	if (n == LZ4_LEGACY_MAGIC) { /* the first, and frames one after the other */
		d->in_pos += 4;
		return STEP_MORE;
	}
	if (n > LZ4_BLOCK_MAX)
		return STEP_ERROR;
	if (feed(d, 4 + (size_t)n))
		return STEP_FAILED;
	d->in_pos += 4;
	if (n > d->in_len - d->in_pos)
		return STEP_ERROR;
	r = LZ4_decompress_safe((const char *)d->in + d->in_pos, (char *)d->out, (int)n,
				(int)d->out_cap);
	if (r <= 0)
		return STEP_ERROR;
	d->in_pos += n;
	*len = (size_t)r;
	return STEP_MORE;
}

static void lz4_close(struct boot_dec *d)
{
	(void)d;
}

static const struct method methods[] = {
	{"gzip", {0x1f, 0x8b}, 2, gzip_open, gzip_step, gzip_close},
	{"bzip2", {'B', 'Z', 'h'}, 3, bzip2_open, bzip2_step, bzip2_close},
	{"lzma", {0x5d, 0x00, 0x00}, 3, lzma_open, xz_step, xz_close},
	{"xz", {0xfd, '7', 'z', 'X', 'Z', 0x00}, 6, xz_open, xz_step, xz_close},
	{"lz4", {0x02, 0x21, 0x4c, 0x18}, 4, lz4_open, lz4_step, lz4_close},
	{"zstd", {0x28, 0xb5, 0x2f, 0xfd}, 4, zstd_open, zstd_step, zstd_close},
};

static const struct method *find(const uint8_t *in, size_t in_len)
{
	for (size_t i = 0; i < ARRAY_SIZE(methods); i++)
		if (in_len > methods[i].magic_len &&
		    !memcmp(in, methods[i].magic, methods[i].magic_len))
			return &methods[i];
	return NULL;
}

const char *boot_decompress_name(const uint8_t *in, size_t in_len)
{
	const struct method *m = find(in, in_len);
	return m ? m->name : NULL;
}

static int dec_next(struct boot_src *s, const uint8_t **p, size_t *n, struct err *e)
{
	struct boot_dec *d = container_of(s, struct boot_dec, src);
	bool whole_blocks = d->m->step == lz4_step;
	size_t len = 0;

	d->e = e;
	while (!d->ended && len < d->out_cap) {
		size_t rest, before = len;
		enum step r = feed(d, 1) ? STEP_FAILED : STEP_MORE;

		rest = d->in_len - d->in_pos;
		if (r == STEP_MORE)
			r = d->m->step(d, &len);
		if (r == STEP_FAILED)
			return d->result;
		if (r == STEP_ERROR)
			return err_set(
				e, EINVAL,
				"kernel '%s' is damaged: its %s payload does not unpack at byte %llu",
				s->name, d->m->name, (unsigned long long)(s->pos + len));
		if (r == STEP_END)
			d->ended = true;
		else if (len == before && d->in_len - d->in_pos == rest)
			return err_set(e, EINVAL,
				       "kernel '%s' is damaged: its %s payload ends in the middle",
				       s->name, d->m->name);
		if (whole_blocks && len)
			break;
	}
	if (len > s->size - s->pos)
		return err_set(
			e, EINVAL,
			"kernel '%s' is damaged: its %s payload unpacks to more than the %llu bytes it says",
			s->name, d->m->name, (unsigned long long)s->size);
	if (d->ended && s->pos + len < s->size)
		return err_set(
			e, EINVAL,
			"kernel '%s' is damaged: its %s payload unpacks to %llu bytes, not to the %llu it says",
			s->name, d->m->name, (unsigned long long)(s->pos + len),
			(unsigned long long)s->size);
	s->pos += len;
	*p = d->out;
	*n = len;
	return 0;
}

int boot_decompress_open(const struct boot_file *f, uint64_t off, uint64_t len, uint64_t size,
			 struct boot_src **out, const char **method, struct err *e)
{
	const struct method *m;
	struct boot_dec *d;
	uint8_t head[8];
	size_t n = (size_t)MIN(len, (uint64_t)sizeof(head));
	int r = boot_file_read(f, off, head, n, e);

	*out = NULL;
	m = r ? NULL : find(head, n);
	if (!m)
		return r;
	d = calloc(1, sizeof(*d));
	if (!d)
		return err_set(e, ENOMEM, "no memory to unpack kernel '%s'", f->name);
	d->m = m;
	d->file = f;
	d->file_at = off;
	d->file_end = off + len;
	d->in_cap = IN_PIECE;
	d->in = malloc(d->in_cap);
	d->out_cap = BOOT_CHUNK;
	d->out = malloc(d->out_cap);
	d->src = (struct boot_src){.next = dec_next, .size = size, .name = f->name};
	if (!d->in || !d->out || m->open(d)) {
		free(d->in);
		free(d->out);
		free(d);
		return err_set(e, ENOMEM, "no memory to unpack kernel '%s'", f->name);
	}
	*out = &d->src;
	*method = m->name;
	return 0;
}

void boot_decompress_close(struct boot_src *s)
{
	struct boot_dec *d;

	if (!s)
		return;
	d = container_of(s, struct boot_dec, src);
	d->m->close(d);
	free(d->in);
	free(d->out);
	free(d);
}

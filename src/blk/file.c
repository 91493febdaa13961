/* SPDX-License-Identifier: Apache-2.0 */
/*
 * file.c - the lowest layer: a raw file or a block device, by aio.h.
 *
 * Theory of operation. One request is one file_op, which goes through one or more system calls: a read or write that
 * came back short goes on with the rest, a flush after write-zeroes with BLK_FUA is a second step, and what the host's file
 * system cannot do is done in another way:
 *
 *   discard        PUNCH_HOLE (a real discard on a block device); where that is not there: nothing, which is allowed
 *   write-zeroes   with BLK_UNMAP PUNCH_HOLE, else ZERO_RANGE; then writing zeroes, ZEROES_STEP at a time
 *
 * A read of nothing is the end of the file, where there was data when it was opened: somebody has cut it. That is EIO for the
 * guest and a line for the operator.
 *
 * With O_DIRECT, memory and lengths have to be aligned as the host says; a request that is not goes through a buffer of
 * ours. Offsets and whole lengths are multiples of the block size, which therefore must be one of the host's.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "blk/layer.h"
#include "util/log.h"
#include "util/opt.h"

#define ZEROES_PIECE (64 * KIB)
#define ZEROES_STEP (1024 * KIB)
#define KEEP FALLOC_FL_KEEP_SIZE
#define POOL_MAX 64u
#define BOUNCE_ALIGN 4096u

enum file_step { FILE_IO, FILE_PUNCH, FILE_ZERO_RANGE, FILE_ZEROES, FILE_SYNC };

struct file_op {
	struct aio_req aio;
	struct file *f;
	struct blk_io *io;
	struct file_op *next; /* in the pool */
	enum file_step step;
	uint64_t done; /* bytes that are through */
	struct iovec *iov; /* ours: the rest of a short one, zeroes, or `bounce`; NULL: the request's own */
	uint8_t *bounce; /* O_DIRECT with unaligned memory */
	struct iovec bounce_iov;
};

struct file {
	struct blk_layer layer;
	struct aio *aio;
	int fd;
	char name[64];
	bool device; /* a block device */
	bool direct;
	uint32_t mem_align, offset_align; /* O_DIRECT's */
	bool no_punch, no_zero_range;	  /* the host said so */
	bool told_short;
	uint8_t *zeroes; /* ZEROES_PIECE; made when first needed */
	struct file_op *pool;
	unsigned n_pool;
	struct layer_refused refused;
};

static void file_next(struct file_op *op);

static struct file *file_of(struct blk_layer *l)
{
	return container_of(l, struct file, layer);
}

/* ---- operations ---- */

static void file_op_free(struct file_op *op)
{
	struct file *f = op->f;

	free(op->bounce);
	free(op->iov);
	if (f->n_pool >= POOL_MAX) {
		free(op);
		return;
	}
	op->next = f->pool;
	f->pool = op;
	f->n_pool++;
}

static void file_finish(struct file_op *op, int result)
{
	struct blk_io *io = op->io;

	if (op->bounce && io->op == BLK_READ && !result) {
		uint8_t *from = op->bounce;

		for (unsigned i = 0; i < io->n_iov; i++) {
			memcpy(io->iov[i].iov_base, from, io->iov[i].iov_len);
			from += io->iov[i].iov_len;
		}
	}
	file_op_free(op);
	io->done(io, result);
}

static void file_read_past_end(struct file_op *op)
{
	struct file *f = op->f;

	if (!f->told_short)
		log_error("the disk \"%s\" ends before byte %llu: it was made smaller while in use",
			  f->name, (unsigned long long)(op->aio.offset + op->aio.bytes));
	f->told_short = true;
	file_finish(op, -EIO);
}

/* After one system call of a read, a write or of writing zeroes. */
static void file_moved(struct file_op *op, int64_t n)
{
	struct blk_io *io = op->io;

	if (n < 0) {
		file_finish(op, (int)n);
		return;
	}
	if (!n && io->op == BLK_READ) {
		file_read_past_end(op);
		return;
	}
	if (op->f->direct && op->done + (uint64_t)n < io->bytes) /* goes on at a block */
		n = ALIGN_DOWN(n, op->f->layer.info.block);
	if (!n) {
		file_finish(op, -EIO);
		return;
	}
	op->done += (uint64_t)n;
	if (op->done < io->bytes)
		file_next(op);
	else if (op->step == FILE_ZEROES && (io->flags & BLK_FUA)) {
		op->step = FILE_SYNC;
		file_next(op);
	} else {
		file_finish(op, 0);
	}
}

static bool file_cannot(int64_t error)
{
	return error == -EOPNOTSUPP || error == -ENOSYS || error == -EINVAL || error == -ENODEV;
}

/* After a hole was punched, or a range zeroed. */
static void file_ranged(struct file_op *op, int64_t result)
{
	struct file *f = op->f;
	struct blk_io *io = op->io;

	if (!file_cannot(result)) {
		op->step = FILE_SYNC;
		if (!result && io->op == BLK_WRITE_ZEROES && (io->flags & BLK_FUA))
			file_next(op);
		else
			file_finish(op, (int)result);
		return;
	}
	if (op->step == FILE_PUNCH)
		f->no_punch = true;
	else
		f->no_zero_range = true;
	if (io->op == BLK_DISCARD) {
		file_finish(op, 0);
		return;
	}
	op->step = op->step == FILE_PUNCH && !f->no_zero_range ? FILE_ZERO_RANGE : FILE_ZEROES;
	file_next(op);
}

static void file_done(struct aio_req *r, int64_t result)
{
	struct file_op *op = container_of(r, struct file_op, aio);

	switch (op->step) {
	case FILE_IO:
	case FILE_ZEROES: file_moved(op, result); break;
	case FILE_PUNCH:
	case FILE_ZERO_RANGE: file_ranged(op, result); break;
	case FILE_SYNC: file_finish(op, (int)result); break;
	}
}

/* What is left of the request's memory. NULL: no memory for that. */
static const struct iovec *file_rest(struct file_op *op, unsigned *n)
{
	const struct iovec *iov = op->bounce ? &op->bounce_iov : op->io->iov;
	uint64_t skip = op->done;

	*n = op->bounce ? 1 : op->io->n_iov;
	if (!skip)
		return iov;
	for (; skip >= iov->iov_len; iov++, --*n)
		skip -= iov->iov_len;
	if (!op->iov)
		op->iov = calloc(*n, sizeof(*iov));
	if (!op->iov)
		return NULL;
	memcpy(op->iov, iov, *n * sizeof(*iov));
	op->iov[0].iov_base = (uint8_t *)op->iov[0].iov_base + skip;
	op->iov[0].iov_len -= skip;
	return op->iov;
}

static const struct iovec *file_zeroes(struct file_op *op, uint64_t bytes, unsigned *n)
{
	struct file *f = op->f;

	if (!f->zeroes)
		f->zeroes = aligned_alloc(BOUNCE_ALIGN, ZEROES_PIECE);
	if (!op->iov)
		op->iov = calloc(ZEROES_STEP / ZEROES_PIECE, sizeof(*op->iov));
	if (!f->zeroes || !op->iov)
		return NULL;
	memset(f->zeroes, 0, ZEROES_PIECE);
	for (*n = 0; bytes; ++*n) {
		op->iov[*n].iov_base = f->zeroes;
		op->iov[*n].iov_len = MIN(bytes, ZEROES_PIECE);
		bytes -= op->iov[*n].iov_len;
	}
	return op->iov;
}

/* The next system call of a request. */
static void file_next(struct file_op *op)
{
	struct file *f = op->f;
	struct blk_io *io = op->io;
	struct aio_req *a = &op->aio;

	a->fd = f->fd;
	a->offset = io->offset + op->done;
	a->bytes = io->bytes - op->done;
	a->dsync = false;
	a->n_iov = 0;
	a->done = file_done;
	switch (op->step) {
	case FILE_IO:
		a->op = io->op == BLK_READ ? AIO_READ : AIO_WRITE;
		a->dsync = io->op == BLK_WRITE && (io->flags & BLK_FUA);
		a->iov = file_rest(op, &a->n_iov);
		break;
	case FILE_ZEROES:
		a->op = AIO_WRITE;
		a->bytes = MIN(a->bytes, ZEROES_STEP);
		a->iov = file_zeroes(op, a->bytes, &a->n_iov);
		break;
	case FILE_PUNCH:
		a->op = AIO_FALLOCATE;
		a->mode = FALLOC_FL_PUNCH_HOLE | KEEP |
			  (io->op == BLK_DISCARD && f->device ? FALLOC_FL_NO_HIDE_STALE : 0);
		break;
	case FILE_ZERO_RANGE:
		a->op = AIO_FALLOCATE;
		a->mode = FALLOC_FL_ZERO_RANGE | KEEP;
		break;
	case FILE_SYNC:
		a->op = AIO_SYNC;
		a->bytes = 0;
		break;
	}
	if ((op->step == FILE_IO || op->step == FILE_ZEROES) && !a->iov)
		aio_submit_error(f->aio, a, -ENOMEM);
	else
		aio_submit(f->aio, a);
}

static bool file_aligned(const struct file *f, const struct blk_io *io)
{
	for (unsigned i = 0; i < io->n_iov; i++)
		if (((uintptr_t)io->iov[i].iov_base & (f->mem_align - 1)) ||
		    (io->iov[i].iov_len & (f->offset_align - 1)))
			return false;
	return true;
}

static void file_bounce(struct file_op *op)
{
	struct blk_io *io = op->io;
	uint8_t *to;

	op->bounce = aligned_alloc(BOUNCE_ALIGN, ALIGN_UP(io->bytes, (uint64_t)BOUNCE_ALIGN));
	if (!op->bounce)
		return; /* the system call will refuse it */
	op->bounce_iov = (struct iovec){op->bounce, io->bytes};
	to = op->bounce;
	for (unsigned i = 0; i < io->n_iov && io->op == BLK_WRITE; i++) {
		memcpy(to, io->iov[i].iov_base, io->iov[i].iov_len);
		to += io->iov[i].iov_len;
	}
}

static void file_submit(struct blk_layer *l, struct blk_io *io)
{
	struct file *f = file_of(l);
	struct file_op *op = f->pool;

	if (op) {
		f->pool = op->next;
		f->n_pool--;
	} else {
		op = malloc(sizeof(*op));
		if (!op) {
			layer_refuse(&f->refused, io);
			return;
		}
	}
	op->f = f;
	op->io = io;
	op->done = 0;
	op->iov = NULL;
	op->bounce = NULL;
	switch (io->op) {
	case BLK_READ:
	case BLK_WRITE:
		op->step = FILE_IO;
		if (f->direct && !file_aligned(f, io))
			file_bounce(op);
		break;
	case BLK_DISCARD: op->step = FILE_PUNCH; break;
	case BLK_WRITE_ZEROES:
		op->step = (io->flags & BLK_UNMAP) && !f->no_punch ? FILE_PUNCH :
			   f->no_zero_range			   ? FILE_ZEROES :
								     FILE_ZERO_RANGE;
		break;
	default: op->step = FILE_SYNC; break;
	}
	file_next(op);
}

static void file_commit(struct blk_layer *l)
{
	aio_commit(file_of(l)->aio);
}

static bool file_wait(struct blk_layer *l)
{
	struct file *f = file_of(l);

	return layer_refused_run(&f->refused) || aio_wait(f->aio);
}

/* ---- size ---- */

static int file_size(const struct file *f, uint64_t *size, struct err *e)
{
	struct stat st;
	int r = 0;

	if (f->device)
		/* seccomp vm: ioctl arg1=BLKGETSIZE64 */
		r = ioctl(f->fd, BLKGETSIZE64, size) < 0 ? -errno : 0;
	else if (fstat(f->fd, &st) < 0)
		r = -errno;
	else
		*size = (uint64_t)st.st_size;
	return r ? err_errno(e, -r, "cannot find out how large the disk \"%s\" is", f->name) : 0;
}

static int file_grow(struct blk_layer *l, uint64_t bytes, struct err *e)
{
	struct file *f = file_of(l);
	uint64_t now = l->info.size, there = 0;
	char shown[40], old[40];
	int r;

	opt_format_size(bytes, shown, sizeof(shown));
	opt_format_size(now, old, sizeof(old));
	if (bytes % l->info.block) {
		err_set(e, EINVAL,
			"%s is no size for the disk \"%s\": it must be a multiple of %u bytes",
			shown, f->name, l->info.block);
		return err_field(e, "size", shown);
	}
	if (bytes && bytes < now) {
		err_set(e, EINVAL, "the disk \"%s\" has %s: it can only grow, not shrink to %s",
			f->name, old, shown);
		err_limit(e, "more than %s", old);
		return err_field(e, "size", shown);
	}
	r = file_size(f, &there, e);
	if (r)
		return r;
	if (bytes > there) {
		if (f->device) {
			err_set(e, EINVAL,
				"the device \"%s\" is not as large as %s: enlarge it first",
				f->name, shown);
			return err_field(e, "size", shown);
		}
		/* seccomp vm: ftruncate - a disk that grows */
		if (ftruncate(f->fd, (off_t)bytes) < 0) {
			r = errno;
			err_errno(e, r, "cannot make the disk \"%s\" as large as %s", f->name,
				  shown);
			err_field(e, "size", shown);
			return -r;
		}
		there = bytes;
	}
	if (!bytes)
		bytes = ALIGN_DOWN(there, (uint64_t)l->info.block);
	if (bytes < now)
		return err_set(
			e, EINVAL,
			"the disk \"%s\" was made smaller while in use: it had %s, make it as large again",
			f->name, old);
	l->info.size = bytes;
	return 0;
}

/* ---- life ---- */

static void file_destroy(struct blk_layer *l)
{
	struct file *f = file_of(l);

	aio_destroy(f->aio);
	layer_refused_fini(&f->refused);
	while (f->pool) {
		struct file_op *op = f->pool;

		f->pool = op->next;
		free(op);
	}
	free(f->zeroes);
	base_close_fd(&f->fd);
	free(f);
}

static const struct blk_layer_class file_class = {
	.name = "file",
	.submit = file_submit,
	.commit = file_commit,
	.wait = file_wait,
	.grow = file_grow,
	.destroy = file_destroy,
};

static void file_batch(void *ctx)
{
	layer_batch(&((struct file *)ctx)->layer);
}

/* What O_DIRECT wants (statx(2), STATX_DIOALIGN); where the host does not say: a page. */
static void file_direct_align(struct file *f)
{
	f->mem_align = f->offset_align = 4096;
#ifdef STATX_DIOALIGN
	struct statx sx;

	/* seccomp vm: statx arg2=AT_EMPTY_PATH - of an open file; a path would find an empty tree */
	if (statx(f->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &sx) == 0 &&
	    (sx.stx_mask & STATX_DIOALIGN) && sx.stx_dio_mem_align && sx.stx_dio_offset_align) {
		f->mem_align = sx.stx_dio_mem_align;
		f->offset_align = sx.stx_dio_offset_align;
	}
#endif
}

static int look_failed(const struct file *f, int error, struct err *e)
{
	int r = err_errno(e, error, "cannot look at the disk \"%s\"", f->name);

	/* As a file system by FUSE says it to other users than who mounted it. */
	if (error == EACCES)
		err_hint(e,
			 "the VM process has a user of its own: mount the file system with allow_other, or give --sandbox off");
	return r;
}

static int file_look(struct file *f, const struct file_config *cfg, struct err *e)
{
	struct blk_info *info = &f->layer.info;
	unsigned sector = 0;
	struct stat st;
	int r;

	if (fstat(f->fd, &st) < 0)
		return look_failed(f, errno, e);
	f->device = S_ISBLK(st.st_mode);
	if (!f->device && !S_ISREG(st.st_mode))
		return err_set(e, EINVAL, "the disk \"%s\" is neither a file nor a block device",
			       f->name);
	r = file_size(f, &info->size, e);
	if (r)
		return r;
	info->block = cfg->block ? cfg->block : BLK_SECTOR;
	if (!info->size || info->size % info->block)
		return err_set(
			e, EINVAL,
			"the disk \"%s\" has %llu bytes: that is no multiple of its block size of %u",
			f->name, (unsigned long long)info->size, info->block);
	info->physical = 4096;
	/* seccomp vm: ioctl arg1=BLKPBSZGET */
	if (f->device && ioctl(f->fd, BLKPBSZGET, &sector) == 0 && sector >= info->block &&
	    sector <= 65536)
		info->physical = sector;
	info->physical = MAX(info->physical, info->block);
	info->read_only = cfg->read_only;
	info->discard = info->write_zeroes = info->can_grow = !cfg->read_only;
	f->direct = cfg->direct;
	if (f->direct)
		file_direct_align(f);
	if (f->direct && info->block % f->offset_align) {
		err_set(e, EINVAL,
			"the host wants direct accesses to the disk \"%s\" in units of %u bytes, its blocks have %u: use cache=writeback or block=4096",
			f->name, f->offset_align, info->block);
		return err_hint(e, "use cache=writeback");
	}
	return 0;
}

int file_open(struct blk_layer **out, struct loop *l, const struct file_config *cfg, struct err *e)
{
	struct file *f = calloc(1, sizeof(*f));
	int r, fd = cfg->fd;

	*out = NULL;
	if (!f) {
		base_close_fd(&fd);
		return err_errno(e, ENOMEM, "cannot open a disk");
	}
	f->layer.class = &file_class;
	layer_refused_init(&f->refused, l, &f->layer);
	f->fd = fd;
	err_quote(f->name, sizeof(f->name), cfg->name);
	r = file_look(f, cfg, e);
	if (!r)
		r = aio_create(&f->aio, l, cfg->aio, e);
	if (r) {
		file_destroy(&f->layer);
		return r;
	}
	aio_set_batch(f->aio, file_batch, f);
	*out = &f->layer;
	return 0;
}

struct aio *file_aio(struct blk_layer *l)
{
	return file_of(l)->aio;
}

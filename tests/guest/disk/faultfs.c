/* SPDX-License-Identifier: Apache-2.0 */
/*
 * faultfs DIRECTORY FILE SEED FAULTS - a file system with one file, "disk", which is FILE but for what goes wrong on the way.
 *
 * It speaks the protocol of /dev/fuse by itself, mounts itself on DIRECTORY (so it needs a mount name space), says "ready" and serves
 * until the mount is gone. The file is opened for direct I/O: each system call on it arrives here. FAULTS is a list of words with
 * rates in 1/1000, as in "eio=20,short=100": eio (reads and writes), enospc (writes), short and short-read (writes and reads come back
 * with a part, of whole blocks), sync (fsync fails). What went wrong is counted and printed at the end.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define ROOT 1u
#define FILE_NODE 2u
#define WRITE_MAX (1u << 20)
#define BLOCK 512u

static int fuse, file;
static uint64_t rng;
static struct {
	unsigned eio, enospc, shorter, short_read, sync;
} rate, happened;

static bool now(unsigned per_thousand, unsigned *count)
{
	bool yes;

	rng = rng * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	yes = (rng >> 33) % 1000 < per_thousand;
	*count += yes;
	return yes;
}

/* A part of it in whole blocks; nothing at all is no part. */
static uint32_t part(uint32_t size, unsigned per_thousand, unsigned *count)
{
	if (size <= BLOCK || !now(per_thousand, count))
		return size;
	return BLOCK * (1 + (uint32_t)(rng >> 20) % (size / BLOCK));
}

static void reply(const struct fuse_in_header *in, int error, const void *data, size_t len)
{
	struct fuse_out_header out = {.len = (uint32_t)(sizeof(out) + len),
				      .error = -error,
				      .unique = in->unique};
	struct iovec iov[2] = {{&out, sizeof(out)}, {NULL, len}};

	memcpy(&iov[1].iov_base, &data, sizeof(data));		   /* (const) */
	if (writev(fuse, iov, len ? 2 : 1) < 0 && errno != ENOENT) /* the caller was interrupted */
		perror("faultfs: reply");
}

static void fill_attr(struct fuse_attr *a, uint64_t node)
{
	struct stat st;

	memset(a, 0, sizeof(*a));
	if (fstat(file, &st) < 0)
		return;
	a->ino = node;
	a->nlink = 1;
	a->uid = getuid();
	a->gid = getgid();
	a->blksize = 4096;
	a->mode = node == ROOT ? S_IFDIR | 0755 : S_IFREG | 0644;
	a->size = node == ROOT ? 0 : (uint64_t)st.st_size;
	a->blocks = node == ROOT ? 0 : (uint64_t)st.st_blocks;
}

static void do_init(const struct fuse_in_header *in, const struct fuse_init_in *arg)
{
	struct fuse_init_out out = {.major = FUSE_KERNEL_VERSION,
				    .minor = FUSE_KERNEL_MINOR_VERSION,
				    .max_readahead = arg->max_readahead,
				    .flags = arg->flags & (FUSE_BIG_WRITES | FUSE_MAX_PAGES),
				    .max_pages = WRITE_MAX / 4096,
				    .max_write = WRITE_MAX};

	reply(in, 0, &out, sizeof(out));
}

static void do_lookup(const struct fuse_in_header *in, const char *name)
{
	struct fuse_entry_out out = {.nodeid = FILE_NODE};

	if (in->nodeid != ROOT || strcmp(name, "disk") != 0) {
		reply(in, ENOENT, NULL, 0);
		return;
	}
	fill_attr(&out.attr, FILE_NODE);
	reply(in, 0, &out, sizeof(out));
}

static void do_read(const struct fuse_in_header *in, const struct fuse_read_in *arg)
{
	static uint8_t data[WRITE_MAX];
	uint32_t size = arg->size < WRITE_MAX ? arg->size : WRITE_MAX;
	ssize_t n;

	if (now(rate.eio, &happened.eio)) {
		reply(in, EIO, NULL, 0);
		return;
	}
	size = part(size, rate.short_read, &happened.short_read);
	n = pread(file, data, size, (off_t)arg->offset);
	reply(in, n < 0 ? errno : 0, data, n < 0 ? 0 : (size_t)n);
}

static void do_write(const struct fuse_in_header *in, const struct fuse_write_in *arg)
{
	struct fuse_write_out out = {0};
	ssize_t n;

	if (now(rate.eio, &happened.eio) || now(rate.enospc, &happened.enospc)) {
		/* As a real device: a part may be there all the same. */
		n = pwrite(file, arg + 1, arg->size / 2 / BLOCK * BLOCK, (off_t)arg->offset);
		reply(in,
		      n >= 0 && rng & 1 << 20 && rate.enospc ? ENOSPC :
		      rate.eio				     ? EIO :
							       ENOSPC,
		      NULL, 0);
		return;
	}
	n = pwrite(file, arg + 1, part(arg->size, rate.shorter, &happened.shorter),
		   (off_t)arg->offset);
	out.size = n < 0 ? 0 : (uint32_t)n;
	reply(in, n < 0 ? errno : 0, &out, n < 0 ? 0 : sizeof(out));
}

static void serve(const struct fuse_in_header *in)
{
	const void *arg = in + 1;
	struct fuse_attr_out attr = {0};
	struct fuse_open_out opened = {.open_flags = FOPEN_DIRECT_IO};
	struct fuse_statfs_out stat = {
		.st = {.blocks = 1 << 20, .bfree = 1 << 19, .bsize = 4096, .frsize = 4096}};

	switch (in->opcode) {
	case FUSE_INIT: do_init(in, arg); break;
	case FUSE_LOOKUP: do_lookup(in, arg); break;
	case FUSE_SETATTR: /* nobody here changes the length */
	case FUSE_GETATTR:
		fill_attr(&attr.attr, in->nodeid);
		reply(in, 0, &attr, sizeof(attr));
		break;
	case FUSE_OPEN:
	case FUSE_OPENDIR: reply(in, 0, &opened, sizeof(opened)); break;
	case FUSE_READ: do_read(in, arg); break;
	case FUSE_WRITE: do_write(in, arg); break;
	case FUSE_FSYNC:
		reply(in, now(rate.sync, &happened.sync) || fsync(file) < 0 ? EIO : 0, NULL, 0);
		break;
	case FUSE_STATFS: reply(in, 0, &stat, sizeof(stat)); break;
	case FUSE_FLUSH:
	case FUSE_RELEASE:
	case FUSE_RELEASEDIR: reply(in, 0, NULL, 0); break;
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
	case FUSE_INTERRUPT: break; /* no answer */
	default: reply(in, ENOSYS, NULL, 0);
	}
}

static bool parse_faults(char *words)
{
	static const struct {
		const char *name;
		unsigned *rate;
	} known[] = {{"eio", &rate.eio},
		     {"enospc", &rate.enospc},
		     {"short", &rate.shorter},
		     {"short-read", &rate.short_read},
		     {"sync", &rate.sync}};

	for (char *w = strtok(words, ","); w; w = strtok(NULL, ",")) {
		char *value = strchr(w, '=');
		bool found = false;

		if (!value)
			return false;
		*value++ = '\0';
		for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
			if (!strcmp(known[i].name, w)) {
				*known[i].rate = (unsigned)strtoul(value, NULL, 10);
				found = true;
			}
		if (!found)
			return false;
	}
	return true;
}

int main(int argc, char **argv)
{
	static uint8_t buf[WRITE_MAX + 65536] __attribute__((aligned(8)));
	char options[128];
	ssize_t n;

	if (argc != 5 || !parse_faults(argv[4])) {
		fprintf(stderr,
			"usage: faultfs DIRECTORY FILE SEED eio=N,enospc=N,short=N,short-read=N,sync=N\n");
		return 2;
	}
	rng = strtoull(argv[3], NULL, 10);
	file = open(argv[2], O_RDWR | O_CLOEXEC);
	fuse = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (file < 0 || fuse < 0) {
		perror(file < 0 ? argv[2] : "/dev/fuse");
		return 1;
	}
	snprintf(options, sizeof(options),
		 "fd=%d,rootmode=40000,user_id=%u,group_id=%u,max_read=%u,allow_other", fuse,
		 (unsigned)getuid(), (unsigned)getgid(), WRITE_MAX);
	if (mount("faultfs", argv[1], "fuse", MS_NOSUID | MS_NODEV, options) < 0) {
		perror("faultfs: mount");
		return 1;
	}
	puts("ready");
	fflush(stdout);
	for (;;) {
		n = read(fuse, buf, sizeof(buf));
		if (n < 0 && (errno == EINTR || errno == ENOENT))
			continue;
		if (n < (ssize_t)sizeof(struct fuse_in_header))
			break; /* unmounted */
		serve((const struct fuse_in_header *)buf);
	}
	printf("eio %u enospc %u short %u short-read %u sync %u\n", happened.eio, happened.enospc,
	       happened.shorter, happened.short_read, happened.sync);
	return 0;
}

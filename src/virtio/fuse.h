/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuse.h - what a shared folder has to know of the requests that pass through it: FUSE, as in Linux's include/uapi/linux/fuse.h.
 */
#ifndef LODGE_VIRTIO_FUSE_H
#define LODGE_VIRTIO_FUSE_H

#include <fcntl.h>
#include <string.h>

#include "util/base.h"

struct fuse_in {
	uint32_t len, opcode;
	uint64_t unique, nodeid;
	uint32_t uid, gid, pid, padding;
};
_Static_assert(sizeof(struct fuse_in) == 40, "as the kernel has it");

struct fuse_out {
	uint32_t len;
	int32_t error; /* -errno */
	uint64_t unique;
};

#define FUSE_OP_OPEN 14u

/* Does this request (at least a struct fuse_in) leave the file system as it is? What is not known here does not. */
static inline bool fuse_only_reads(const uint8_t *request, size_t len)
{
	/* LOOKUP FORGET GETATTR READLINK, READ STATFS RELEASE FSYNC GETXATTR LISTXATTR FLUSH INIT OPENDIR READDIR RELEASEDIR FSYNCDIR
	 * GETLK ACCESS INTERRUPT DESTROY BATCH_FORGET READDIRPLUS LSEEK SYNCFS */
	static const uint8_t ops[] = {1,  2,  3,  5,  15, 17, 18, 20, 22, 23, 25, 26,
				      27, 28, 29, 30, 31, 34, 36, 38, 42, 44, 46, 50};
	struct fuse_in in;
	uint32_t flags;

	memcpy(&in, request, sizeof(in));
	if (in.opcode == FUSE_OP_OPEN && len >= sizeof(in) + sizeof(flags)) {
		memcpy(&flags, request + sizeof(in), sizeof(flags));
		return (flags & O_ACCMODE) == O_RDONLY && !(flags & (O_TRUNC | O_CREAT));
	}
	for (unsigned i = 0; i < ARRAY_SIZE(ops); i++)
		if (in.opcode == ops[i])
			return true;
	return false;
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ring.c - what the kernel does for a taken-over process that writes into the disk's I/O ring itself: nothing but what the ring is for.
 *
 * The filter of system calls does not see what stands in a ring, so this is the ring's own restriction (blk/aio_uring.c). The ring is
 * found among the open descriptors and mapped once more; where its fields are is known from a ring of the same kind that was made,
 * and closed again, before the process locked itself in.
 */
#include "sandbox/owned.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define ENTRIES 128u /* of the disk's ring; where things are depends on it */

static struct io_uring_params shape;

void owned_before(void)
{
	int fd = (int)syscall(SYS_io_uring_setup, ENTRIES, &shape);

	if (fd >= 0)
		close(fd);
}

struct ring {
	int fd;
	uint8_t *fields;
	struct io_uring_sqe *sqe;
	struct io_uring_cqe *cqe;
};

static uint32_t *field(const struct ring *r, uint32_t offset)
{
	return (uint32_t *)(void *)(r->fields + offset);
}

/* Of the descriptors that are no file, only a ring can be mapped there. */
static bool find_ring(struct ring *r)
{
	struct stat st;

	for (r->fd = 0; r->fd < 64; r->fd++) {
		if (fstat(r->fd, &st) || (st.st_mode & S_IFMT))
			continue;
		r->sqe = mmap(NULL, ENTRIES * sizeof(*r->sqe), PROT_READ | PROT_WRITE, MAP_SHARED,
			      r->fd, IORING_OFF_SQES);
		r->fields = mmap(NULL, shape.sq_off.array + ENTRIES * sizeof(uint32_t),
				 PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, IORING_OFF_SQ_RING);
		r->cqe = (void *)(r->fields + shape.cq_off.cqes);
		if (r->sqe != MAP_FAILED && r->fields != MAP_FAILED)
			return true;
	}
	return false;
}

/* Has the kernel do one request; its result. */
static int run(const struct ring *r, const struct io_uring_sqe *sqe)
{
	uint32_t *tail = field(r, shape.sq_off.tail), *cq_head = field(r, shape.cq_off.head);
	uint32_t mask = *field(r, shape.sq_off.ring_mask), at = *cq_head;

	*r->sqe = *sqe;
	field(r, shape.sq_off.array)[*tail & mask] = 0;
	__atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
	if (syscall(SYS_io_uring_enter, r->fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) < 0)
		return -errno;
	if (__atomic_load_n(field(r, shape.cq_off.tail), __ATOMIC_ACQUIRE) == at)
		return -ENOMSG;
	at &= *field(r, shape.cq_off.ring_mask);
	__atomic_store_n(cq_head, *cq_head + 1, __ATOMIC_RELEASE);
	return r->cqe[at].res;
}

static bool allowed(uint8_t op)
{
	return op == IORING_OP_READV || op == IORING_OP_WRITEV || op == IORING_OP_FSYNC ||
	       op == IORING_OP_FALLOCATE;
}

bool owned_ring_beyond(const struct owned_targets *t)
{
	static const char path[] = "/etc/passwd";
	static char byte[1];
	const struct iovec iov = {.iov_base = byte, .iov_len = 1};
	const int disk = t->fds->fd[CONFIG_FD_DISK];
	const struct io_uring_sqe good = {.opcode = IORING_OP_READV,
					  .fd = disk,
					  .addr = (uintptr_t)&iov,
					  .len = 1};
	struct io_uring_sqe sqe;
	struct ring r;
	int result;

	if (!shape.sq_entries)
		return false; /* the host has none */
	if (!find_ring(&r) || run(&r, &good) < 0) {
		fprintf(stderr, "the ring was not found, or does not do what it is for\n");
		return true;
	}
	for (unsigned op = 0; op < 256; op++) {
		sqe = good;
		sqe.opcode = (uint8_t)op;
		if (op == IORING_OP_OPENAT || op == IORING_OP_UNLINKAT || op == IORING_OP_MKDIRAT) {
			sqe.fd = AT_FDCWD;
			sqe.addr = (uintptr_t)path;
			sqe.len = 0;
		} else if (op == IORING_OP_ACCEPT || op == IORING_OP_SHUTDOWN) {
			sqe.fd = t->control_fd;
		} else if (op == 45 /* IORING_OP_SOCKET, which older headers lack */) {
			sqe = (struct io_uring_sqe){.opcode = 45, .fd = AF_INET, .off = SOCK_STREAM};
		}
		if (allowed(sqe.opcode))
			continue;
		result = run(&r, &sqe);
		/* Of a number that it does not know a kernel says so first. */
		if (result != -EACCES && (result != -EINVAL || op <= IORING_OP_LINKAT)) {
			fprintf(stderr, "operation %u of the ring: %d\n", op, result);
			return true;
		}
	}
	for (unsigned flag = 1; flag < 256; flag <<= 1) {
		if (flag == IOSQE_ASYNC)
			continue;
		sqe = good;
		sqe.flags = (uint8_t)flag;
		result = run(&r, &sqe);
		if (result != -EACCES && (result != -EINVAL || flag < 0x80)) {
			fprintf(stderr, "flag %#x of the ring: %d\n", flag, result);
			return true;
		}
	}
	return run(&r, &good) < 0;
}

/* Registered files, buffers and rights would go beyond it, too. */
bool owned_ring_register(const struct owned_targets *t)
{
	struct ring r;
	int fd = t->control_fd;

	return shape.sq_entries && find_ring(&r) &&
	       syscall(SYS_io_uring_register, r.fd, IORING_REGISTER_FILES, &fd, 1) == 0;
}

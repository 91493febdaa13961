/* SPDX-License-Identifier: Apache-2.0 */
/*
 * console.c - console bytes, with back-pressure both ways.
 *
 * Output. The UART offers bytes on a vCPU's thread, VM lock held; they go to a ring, and the loop thread
 * writes the ring to the fd. A guest writes byte by byte, so the loop is not woken for each: the first byte in
 * an empty ring sets a timer of a fraction of a millisecond, a ring that fills up posts at once. When the reader is
 * slow, write() says EAGAIN and the loop waits for EPOLLOUT; when the ring is full the UART keeps its
 * FIFO and shows the guest a busy transmitter: nothing is lost, and no vCPU blocks in here. A reader
 * that went away (EPIPE, a full disk) is reported once, and from then on output is dropped.
 *
 * Input. The loop reads no more than the UART has room for. When there is none it stops watching the fd;
 * the UART's rx_room (on a vCPU's thread) posts the work that watches it again.
 *
 * Locks: the ring, the UART pointer and the flags marked so below are under the VM lock, which is held for
 * copies only, never for read() or write(). The rest belongs to the loop thread.
 */
#include "vm/console.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "util/clock.h"
#include "util/log.h"

#define RING_SIZE 65536u
#define RING_RESERVE 64u /* kept for the FIFO of a UART that is being detached */
#define CHUNK_SIZE 16384u
#define WAIT_NS (200 * CLOCK_NS_PER_US) /* how long a first byte may wait for others */

struct console {
	struct loop *loop;
	pthread_mutex_t *lock; /* the VM lock */
	int in_fd, out_fd;
	struct loop_fd *in, *out; /* NULL: none, or ended */
	struct loop_timer out_timer;
	struct loop_work out_work, in_work;

	/* VM lock. */
	struct console_user user; /* ctx NULL: none */
	uint32_t head, tail;	  /* in the ring: put at head, take at tail; free-running */
	bool out_broken;	  /* the reader went away */
	bool out_full;		  /* the UART waits for room in the ring */
	bool in_blocked;	  /* the UART's receive FIFO is full */
	bool detaching;
	struct console_stats stats;

	/* Loop thread. */
	size_t chunk_len, chunk_off;
	void (*done)(void *ctx);
	void *done_ctx;

	/* Nobody reads what was not written there: pages of it are touched when they are needed. */
	uint8_t ring[RING_SIZE];   /* VM lock */
	uint8_t chunk[CHUNK_SIZE]; /* loop thread */
};

static size_t take_output(void *ctx, const uint8_t *buf, size_t len)
{
	struct console *c = ctx;
	uint32_t used = c->head - c->tail;
	uint32_t limit = RING_SIZE - (c->detaching ? 0 : RING_RESERVE);
	size_t n = used < limit ? MIN(len, limit - used) : 0;

	if (c->out_broken)
		return len;
	for (size_t i = 0; i < n; i++)
		c->ring[c->head++ % RING_SIZE] = buf[i];
	c->stats.bytes_out += n;
	if (n < len) {
		c->out_full = true;
		c->stats.n_blocked++;
	}
	if (used + n >= RING_SIZE / 4)
		loop_post(c->loop, &c->out_work);
	else if (used == 0 && n && loop_timer_set(&c->out_timer, clock_ns() + WAIT_NS) < 0)
		loop_post(c->loop, &c->out_work);
	return n;
}

static void input_room(void *ctx)
{
	struct console *c = ctx;

	if (c->in_blocked)
		loop_post(c->loop, &c->in_work);
}

void console_backend(struct console *c, struct console_calls *out)
{
	*out = (struct console_calls){.ctx = c,
				      .tx = c->out_fd >= 0 ? take_output : NULL,
				      .rx_room = input_room};
}

/* ---- output, loop thread ---- */

/* Next bytes of the ring into the empty chunk. Room in the ring is offered to a UART that waits for it. */
static void take_chunk(struct console *c)
{
	pthread_mutex_lock(c->lock);
	c->chunk_off = c->chunk_len = 0;
	while (c->tail != c->head && c->chunk_len < CHUNK_SIZE) {
		uint32_t at = c->tail % RING_SIZE;
		uint32_t n = MIN(c->head - c->tail, RING_SIZE - at);

		n = MIN(n, (uint32_t)(CHUNK_SIZE - c->chunk_len));
		memcpy(c->chunk + c->chunk_len, c->ring + at, n);
		c->chunk_len += n;
		c->tail += n;
	}
	if (c->out_full && c->chunk_len) {
		c->out_full = false;
		if (c->user.ctx)
			c->user.tx_ready(c->user.ctx);
	}
	pthread_mutex_unlock(c->lock);
}

static void break_output(struct console *c, int error)
{
	log_warn("console output is dropped from now on: %s", strerror(error));
	loop_fd_del(c->out);
	c->out = NULL;
	c->chunk_len = c->chunk_off = 0;
	pthread_mutex_lock(c->lock);
	c->out_broken = true;
	c->tail = c->head;
	if (c->out_full && c->user.ctx)
		c->user.tx_ready(c->user.ctx);
	c->out_full = false;
	pthread_mutex_unlock(c->lock);
}

/* Writes until there is no more, or the reader is full: then the rest comes with EPOLLOUT. */
static void write_out(void *ctx)
{
	struct console *c = ctx;
	ssize_t n;

	while (c->out) {
		if (c->chunk_off == c->chunk_len)
			take_chunk(c);
		if (c->chunk_len == 0) {
			(void)loop_fd_mod(c->out, 0);
			break;
		}
		/* seccomp vm: write */
		n = write(c->out_fd, c->chunk + c->chunk_off, c->chunk_len - c->chunk_off);
		if (n >= 0) {
			c->chunk_off += (size_t)n;
		} else if (errno == EAGAIN) {
			if (loop_fd_mod(c->out, EPOLLOUT) < 0)
				break_output(c, errno);
			return;
		} else if (errno != EINTR) {
			break_output(c, errno);
		}
	}
	if (c->done) {
		void (*done)(void *ctx) = c->done;

		c->done = NULL;
		done(c->done_ctx);
	}
}

static void out_ready(void *ctx, int fd, uint32_t events)
{
	(void)fd;
	(void)events; /* an error shows in write() */
	write_out(ctx);
}

void console_flush(struct console *c, void (*done)(void *ctx), void *ctx)
{
	c->done = done;
	c->done_ctx = ctx;
	loop_post(c->loop, &c->out_work);
}

/* ---- input, loop thread ---- */

static void end_input(struct console *c)
{
	loop_fd_del(c->in);
	c->in = NULL;
}

static void in_ready(void *ctx, int fd, uint32_t events)
{
	struct console *c = ctx;
	uint8_t buf[256];
	size_t room;
	ssize_t n;

	(void)events;
	pthread_mutex_lock(c->lock);
	room = c->user.ctx ? c->user.rx_space(c->user.ctx) : 0;
	c->in_blocked = room == 0;
	pthread_mutex_unlock(c->lock);
	if (room == 0) {
		(void)loop_fd_mod(c->in, 0);
		return;
	}
	/* seccomp vm: read */
	n = read(fd, buf, MIN(room, sizeof(buf)));
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		end_input(c);
		return;
	}
	pthread_mutex_lock(c->lock);
	/* Only this thread fills the FIFO, so the room is still there. */
	c->stats.bytes_in += c->user.rx_push(c->user.ctx, buf, (size_t)n);
	pthread_mutex_unlock(c->lock);
}

static void in_again(void *ctx)
{
	struct console *c = ctx;

	if (c->in && loop_fd_mod(c->in, EPOLLIN) < 0)
		end_input(c);
}

/* ---- life ---- */

static int set_nonblock(int fd)
{
	/* seccomp vm: fcntl arg1=F_GETFL/F_SETFL */
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || (!(flags & O_NONBLOCK) && fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0))
		return -errno;
	return 0;
}

int console_create(struct console **out, struct loop *l, pthread_mutex_t *lock, int in_fd,
		   int out_fd, struct err *e)
{
	struct console *c = malloc(sizeof(*c));
	int r = 0;

	*out = NULL;
	if (!c)
		return err_set(e, ENOMEM, "out of memory");
	memset(c, 0, offsetof(struct console, ring));
	c->loop = l;
	c->lock = lock;
	c->in_fd = in_fd;
	c->out_fd = out_fd;
	c->in_blocked = true; /* until there is a device */
	loop_timer_init(&c->out_timer, l, write_out, c);
	loop_work_init(&c->out_work, write_out, c);
	loop_work_init(&c->in_work, in_again, c);
	if (in_fd >= 0) {
		r = set_nonblock(in_fd);
		if (r == 0)
			r = loop_fd_add(l, in_fd, 0, in_ready, c, &c->in);
	}
	if (r == 0 && out_fd >= 0) {
		r = set_nonblock(out_fd);
		if (r == 0)
			r = loop_fd_add(l, out_fd, 0, out_ready, c, &c->out);
	}
	if (r < 0) {
		console_destroy(c);
		return err_errno(e, -r, "cannot use the console's file descriptors");
	}
	*out = c;
	return 0;
}

void console_destroy(struct console *c)
{
	if (!c)
		return;
	loop_fd_del(c->in);
	loop_fd_del(c->out);
	loop_timer_cancel(&c->out_timer);
	loop_unpost(c->loop, &c->out_work);
	loop_unpost(c->loop, &c->in_work);
	free(c);
}

void console_attach(struct console *c, const struct console_user *user)
{
	pthread_mutex_lock(c->lock);
	c->user = *user;
	c->in_blocked = false;
	pthread_mutex_unlock(c->lock);
	in_again(c);
}

void console_detach(struct console *c)
{
	pthread_mutex_lock(c->lock);
	if (c->user.ctx) {
		c->detaching = true;
		c->user.tx_ready(c->user.ctx);
		c->detaching = false;
	}
	c->user.ctx = NULL;
	c->out_full = false;
	c->in_blocked = true;
	pthread_mutex_unlock(c->lock);
	loop_post(c->loop, &c->out_work);
}

uint64_t console_pending(struct console *c)
{
	uint64_t n;

	pthread_mutex_lock(c->lock);
	n = c->head - c->tail;
	pthread_mutex_unlock(c->lock);
	return n + (c->chunk_len - c->chunk_off);
}

void console_stats(struct console *c, struct console_stats *out)
{
	pthread_mutex_lock(c->lock);
	*out = c->stats;
	pthread_mutex_unlock(c->lock);
}

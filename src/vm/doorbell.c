/* SPDX-License-Identifier: Apache-2.0 */
/*
 * doorbell.c - an eventfd for each doorbell: the engine signals it, the loop calls the device.
 *
 * Theory of operation. Doorbells come and go on vCPU threads (a driver starts its queues), with the VM lock held; watches of
 * the loop only on the loop's thread. So a bell, once made, keeps its eventfd and its watch until the machine goes, and is used
 * again for another doorbell: adding one makes the engine signal the eventfd, removing one makes it stop. A bell that is
 * new posts its watch to the loop; what is signalled before that waits in the eventfd.
 *
 * A removal on a vCPU's thread may meet a call that has just begun on the loop. That is as if the guest had rung a moment before;
 * devices are destroyed on the loop's thread, where nothing is in between.
 */
#include "vm/doorbell.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "util/log.h"

struct bell {
	struct doorbell_set *set;
	struct dev_doorbell *db; /* NULL: free. Written under the VM lock; atomic */
	int fd;
	struct loop_work watch_it;
	struct loop_fd *watch; /* loop thread */
	struct bell *next;
};

struct doorbell_set {
	const struct engine_class *cls;
	struct engine *en;
	struct loop *loop;
	struct bell *bells; /* VM lock */
};

static void rung(void *ctx, int fd, uint32_t events)
{
	struct bell *b = ctx;
	struct dev_doorbell *db;
	uint64_t n;

	(void)events;
	if (read(fd, &n, sizeof(n)) != (ssize_t)sizeof(n))
		return;
	db = __atomic_load_n(&b->db, __ATOMIC_ACQUIRE);
	if (db)
		db->fn(db->arg);
}

static void watch_it(void *ctx)
{
	struct bell *b = ctx;
	int r = loop_fd_add(b->set->loop, b->fd, EPOLLIN, rung, b, &b->watch);

	if (r < 0)
		log_error("cannot watch a doorbell: error %d; its queue stands still", -r);
}

static struct bell *bell_get(struct doorbell_set *s)
{
	struct bell *b;

	for (b = s->bells; b; b = b->next)
		if (!b->db)
			return b;
	b = calloc(1, sizeof(*b));
	if (!b)
		return NULL;
	/* seccomp vm: eventfd2 */
	b->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (b->fd < 0) {
		free(b);
		return NULL;
	}
	b->set = s;
	loop_work_init(&b->watch_it, watch_it, b);
	b->next = s->bells;
	s->bells = b;
	loop_post(s->loop, &b->watch_it);
	return b;
}

static int engine_rings(struct bell *b, const struct dev_doorbell *db, bool on)
{
	return b->set->cls->doorbell(b->set->en, db->gpa, db->size, db->match ? &db->value : NULL,
				     b->fd, on);
}

static int add(void *ctx, struct dev_doorbell *db)
{
	struct doorbell_set *s = ctx;
	struct bell *b = bell_get(s);
	int r;

	if (!b)
		return -ENOMEM;
	__atomic_store_n(&b->db, db, __ATOMIC_RELEASE);
	r = engine_rings(b, db, true);
	if (r < 0) {
		__atomic_store_n(&b->db, NULL, __ATOMIC_RELEASE);
		return r;
	}
	db->host = b;
	return 0;
}

static void remove_bell(void *ctx, struct dev_doorbell *db)
{
	struct bell *b = db->host;
	uint64_t n;

	(void)ctx;
	if (!b)
		return;
	(void)engine_rings(b, db, false);
	__atomic_store_n(&b->db, NULL, __ATOMIC_RELEASE);
	if (read(b->fd, &n, sizeof(n)) < 0 && errno != EAGAIN)
		log_error("cannot quieten a doorbell");
	db->host = NULL;
}

int doorbell_set_create(struct doorbell_set **out, const struct engine_class *cls,
			struct engine *en, struct loop *l, struct dev_env *env, struct err *e)
{
	struct doorbell_set *s;

	*out = NULL;
	if (!cls->doorbell || !l)
		return 0;
	s = calloc(1, sizeof(*s));
	if (!s)
		return err_set(e, ENOMEM, "out of memory");
	s->cls = cls;
	s->en = en;
	s->loop = l;
	env->doorbell_add = add;
	env->doorbell_remove = remove_bell;
	env->doorbell_ctx = s;
	*out = s;
	return 0;
}

void doorbell_set_destroy(struct doorbell_set *s)
{
	if (!s)
		return;
	while (s->bells) {
		struct bell *b = s->bells;

		s->bells = b->next;
		loop_unpost(s->loop, &b->watch_it);
		loop_fd_del(b->watch);
		close(b->fd);
		free(b);
	}
	free(s);
}

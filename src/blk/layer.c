/* SPDX-License-Identifier: Apache-2.0 */
/* layer.c - what layers share. */
#include "blk/layer.h"

#include <errno.h>

bool layer_refused_run(struct layer_refused *r)
{
	struct blk_io *io = r->first, *next;

	r->first = NULL;
	if (!io)
		return false;
	for (; io; io = next) {
		next = io->next;
		io->done(io, -ENOMEM);
	}
	layer_batch(r->layer);
	return true;
}

static void work(void *ctx)
{
	(void)layer_refused_run(ctx);
}

void layer_refused_init(struct layer_refused *r, struct loop *loop, struct blk_layer *layer)
{
	*r = (struct layer_refused){.loop = loop, .layer = layer};
	loop_work_init(&r->work, work, r);
}

void layer_refused_fini(struct layer_refused *r)
{
	if (r->loop)
		loop_unpost(r->loop, &r->work);
}

void layer_refuse(struct layer_refused *r, struct blk_io *io)
{
	io->next = r->first;
	r->first = io;
	loop_post(r->loop, &r->work);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* pvpanic.c - the port by which a guest's kernel says that it has panicked. */
#include "board/pvpanic.h"

#include <errno.h>
#include <stdlib.h>

#include "board/bus.h"
#include "board/layout.h"
#include "state/state.h"
#include "util/log.h"

#define PANICKED 1u
#define CRASH_LOADED 2u

struct pvpanic {
	struct device dev;
	const struct dev_env *env;
	struct bus_range range;
};

static uint64_t pvpanic_read(void *ctx, uint64_t offset, unsigned size)
{
	(void)ctx;
	(void)offset;
	(void)size;
	return PANICKED | CRASH_LOADED;
}

static void pvpanic_write(void *ctx, uint64_t offset, uint64_t value, unsigned size)
{
	struct pvpanic *p = ctx;

	(void)offset;
	(void)size;
	if (value & PANICKED)
		dev_request(p->env, DEV_REQ_PANIC, 0);
	else if (value & CRASH_LOADED)
		log_warn_limited("the guest's kernel has panicked, and a crash kernel takes over");
}

static const struct bus_ops pvpanic_ops = {.read = pvpanic_read, .write = pvpanic_write};

/* There is nothing to remember, but that it is there. */
static int pvpanic_state(struct device *d, struct state *s)
{
	(void)d;
	state_begin(s, "pvpanic", NULL, 1);
	return state_end(s);
}

static void pvpanic_destroy(struct device *d)
{
	struct pvpanic *p = container_of(d, struct pvpanic, dev);

	bus_remove(p->env->ports, &p->range);
	free(p);
}

static const struct dev_class pvpanic_class = {
	.name = "pvpanic",
	.help = "the guest's kernel says that it has panicked",
	.destroy = pvpanic_destroy,
	.state = pvpanic_state,
};

int pvpanic_create(struct device **out, const struct dev_env *env, struct err *e)
{
	struct pvpanic *p = calloc(1, sizeof(*p));
	int r;

	*out = NULL;
	if (!p)
		return err_set(e, ENOMEM, "no memory for the panic device");
	p->dev.class = &pvpanic_class;
	p->dev.id = "pvpanic";
	p->env = env;
	p->range = (struct bus_range){"pvpanic", LAYOUT_PORT_PVPANIC, 1, &pvpanic_ops, p};
	r = bus_add(env->ports, &p->range, e);
	if (r < 0) {
		free(p);
		return r;
	}
	*out = &p->dev;
	return 0;
}

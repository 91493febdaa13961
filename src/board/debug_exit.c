/* SPDX-License-Identifier: Apache-2.0 */
/* debug_exit.c - the port by which test guests end the machine with a code. */
#include "board/debug_exit.h"

#include <errno.h>
#include <stdlib.h>

#include "board/bus.h"
#include "board/layout.h"
#include "state/state.h"

struct debug_exit {
	struct device dev;
	const struct dev_env *env;
	struct bus_range range;
};

static uint64_t debug_exit_read(void *ctx, uint64_t offset, unsigned size)
{
	(void)ctx;
	(void)offset;
	(void)size;
	return 0;
}

static void debug_exit_write(void *ctx, uint64_t offset, uint64_t value, unsigned size)
{
	struct debug_exit *x = ctx;

	(void)size;
	if (offset == 0)
		dev_request(x->env, DEV_REQ_DEBUG_EXIT, (uint32_t)value);
}

static const struct bus_ops debug_exit_ops = {.read = debug_exit_read, .write = debug_exit_write};

/* There is nothing to remember, but that it is there. */
static int debug_exit_state(struct device *d, struct state *s)
{
	(void)d;
	state_begin(s, "debug-exit", NULL, 1);
	return state_end(s);
}

static void debug_exit_destroy(struct device *d)
{
	struct debug_exit *x = container_of(d, struct debug_exit, dev);

	bus_remove(x->env->ports, &x->range);
	free(x);
}

static const struct dev_class debug_exit_class = {
	.name = "debug-exit",
	.help = "test guests end the machine by writing a code to port 0xf4",
	.destroy = debug_exit_destroy,
	.state = debug_exit_state,
};

int debug_exit_create(struct device **out, const struct dev_env *env, struct err *e)
{
	struct debug_exit *x = calloc(1, sizeof(*x));
	int ret;

	*out = NULL;
	if (!x)
		return err_set(e, ENOMEM, "no memory for the debug-exit device");
	x->dev.class = &debug_exit_class;
	x->dev.id = "debug-exit";
	x->env = env;
	x->range = (struct bus_range){"debug-exit", LAYOUT_PORT_DEBUG_EXIT, 4, &debug_exit_ops, x};
	ret = bus_add(env->ports, &x->range, e);
	if (ret < 0) {
		device_destroy(&x->dev);
		return ret;
	}
	*out = &x->dev;
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* hotplug.c - the ports of PCI slots whose card can come and go. */
#include "board/hotplug.h"

#include <errno.h>
#include <stdlib.h>

#include "board/bus.h"
#include "board/layout.h"
#include "board/pm.h"
#include "state/state.h"

struct hotplug {
	struct device dev;
	const struct dev_env *env;
	struct hotplug_config cfg;
	struct bus_range range;
	uint32_t slots;	  /* that there are */
	uint32_t came;	  /* news for the guest */
	uint32_t ask;	  /* likewise */
	uint32_t leaving; /* asked for, not ejected */
};

static struct hotplug *from_dev(struct device *d)
{
	return container_of(d, struct hotplug, dev);
}

static uint64_t hotplug_read(void *ctx, uint64_t offset, unsigned size)
{
	struct hotplug *h = ctx;

	if (size != 4)
		return UINT64_MAX;
	return offset == 0 ? h->came : offset == 4 ? h->ask : 0;
}

static void eject(struct hotplug *h, uint32_t slots)
{
	for (slots &= h->leaving; slots; slots &= slots - 1) {
		unsigned slot = (unsigned)__builtin_ctz(slots);

		h->leaving &= ~(uint32_t)BIT(slot);
		h->cfg.eject(h->cfg.ctx, slot);
	}
}

static void hotplug_write(void *ctx, uint64_t offset, uint64_t value, unsigned size)
{
	struct hotplug *h = ctx;

	if (size != 4)
		return;
	if (offset == 0)
		h->came &= ~(uint32_t)value;
	else if (offset == 4)
		h->ask &= ~(uint32_t)value;
	else if (offset == 8)
		eject(h, (uint32_t)value);
}

static const struct bus_ops hotplug_ops = {hotplug_read, hotplug_write, 4};

void hotplug_set_slots(struct device *d, uint32_t slots)
{
	from_dev(d)->slots = slots & ~1u;
}

uint32_t hotplug_slots(const struct device *d)
{
	return container_of(d, const struct hotplug, dev)->slots;
}

uint32_t hotplug_leaving(const struct device *d)
{
	return container_of(d, const struct hotplug, dev)->leaving;
}

void hotplug_came(struct device *d, unsigned slot)
{
	struct hotplug *h = from_dev(d);

	h->came |= (uint32_t)BIT(slot);
	h->ask &= ~(uint32_t)BIT(slot);
	pm_gpe(h->cfg.pm, HOTPLUG_GPE);
}

void hotplug_ask(struct device *d, unsigned slot)
{
	struct hotplug *h = from_dev(d);

	h->ask |= (uint32_t)BIT(slot);
	h->leaving |= (uint32_t)BIT(slot);
	h->came &= ~(uint32_t)BIT(slot);
	pm_gpe(h->cfg.pm, HOTPLUG_GPE);
}

static int hotplug_state(struct device *d, struct state *s)
{
	struct hotplug *h = from_dev(d);

	state_begin(s, "hotplug", NULL, 1);
	state_u32(s, &h->slots);
	state_u32(s, &h->came);
	state_u32(s, &h->ask);
	state_u32(s, &h->leaving);
	return state_end(s);
}

static int hotplug_loaded(struct device *d, struct err *e)
{
	const struct hotplug *h = from_dev(d);

	if (h->slots & 1 || (h->came | h->ask | h->leaving) & ~h->slots || h->ask & ~h->leaving)
		return err_set(e, EINVAL, "the saved state of PCI hot-plug cannot be");
	return 0;
}

static void hotplug_dump(const struct device *d, struct text *t)
{
	const struct hotplug *h = container_of(d, const struct hotplug, dev);

	text_print(t, " slots %08x came %08x ask %08x leaving %08x\n", h->slots, h->came, h->ask,
		   h->leaving);
}

static void hotplug_destroy(struct device *d)
{
	struct hotplug *h = from_dev(d);

	bus_remove(h->env->ports, &h->range);
	free(h);
}

static const struct dev_class hotplug_class = {
	.name = "hotplug",
	.help = "PCI slots whose card can come and go",
	.destroy = hotplug_destroy,
	.state = hotplug_state,
	.loaded = hotplug_loaded,
	.dump = hotplug_dump,
};

int hotplug_create(struct device **out, const struct dev_env *env, const struct hotplug_config *cfg,
		   struct err *e)
{
	struct hotplug *h = calloc(1, sizeof(*h));
	int r;

	*out = NULL;
	if (!h)
		return err_set(e, ENOMEM, "no memory for PCI hot-plug");
	h->dev.class = &hotplug_class;
	h->dev.id = "hotplug";
	h->env = env;
	h->cfg = *cfg;
	h->range = (struct bus_range){"hotplug", LAYOUT_PORT_HOTPLUG, HOTPLUG_SIZE, &hotplug_ops, h};
	r = bus_add(env->ports, &h->range, e);
	if (r < 0) {
		free(h);
		return r;
	}
	*out = &h->dev;
	return 0;
}

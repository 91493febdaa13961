/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pm.c - ACPI fixed hardware: PM1a event and control, PM timer, GPE0, and the SCI they drive.
 *
 * Registers are written byte by byte, so that any access size works: write-1-to-clear and the sleep command do not need
 * their neighbours (SLP_TYP and SLP_EN share a byte). A read samples the clock once.
 *
 * The PM timer is computed from board time. TMR_STS is set whenever its top bit changes; this is found on reads, and by a
 * timer while TMR_EN asks for an SCI.
 */
#include "board/pm.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "board/bus.h"
#include "board/irq.h"
#include "board/layout.h"
#include "state/state.h"

#define NS_PER_S UINT64_C(1000000000)

#define PM1_STS 0x00u
#define PM1_EN 0x02u
#define PM1_CNT 0x04u
#define PM_TMR 0x08u
#define GPE0_STS 0x20u
#define GPE0_EN 0x28u
#define SMI_EN 0x30u
#define SMI_STS 0x34u

#define PM1_EVENTS (PM1_TMR_STS | PM1_GBL_STS | PM1_PWRBTN_STS | PM1_RTC_STS)
#define PM1_CNT_KEPT 0x1c03u /* SLP_TYP, BM_RLD, SCI_EN */
#define PM1_SLP_TYP(v) (((v) >> 10) & 7u)

struct pm {
	struct device dev;
	const struct dev_env *env;
	struct bus_range range;
	bool mapped;
	unsigned timer_bits;
	uint16_t sts, en, cnt;
	uint64_t gpe_sts, gpe_en;
	uint32_t smi_en;
	uint64_t half;	  /* timer's count >> (bits - 1) when last looked at */
	uint64_t base_ns; /* board time at which the timer was 0 */
	struct dev_timer timer;
};

static uint64_t timer_count(const struct pm *p)
{
	return dev_muldiv(dev_now(&p->env->clock) - p->base_ns, PM_TIMER_HZ, NS_PER_S);
}

static void sync_timer(struct pm *p, uint64_t count)
{
	uint64_t half = count >> (p->timer_bits - 1);

	if (half != p->half)
		p->sts |= PM1_TMR_STS;
	p->half = half;
}

static void update(struct pm *p)
{
	bool sci = (p->sts & p->en & PM1_EVENTS) || (p->gpe_sts & p->gpe_en);

	irq_line_set(p->env->irq, LAYOUT_IRQ_SCI, sci);
	if ((p->en & PM1_TMR_STS) && !(p->sts & PM1_TMR_STS)) {
		uint64_t next = (p->half + 1) << (p->timer_bits - 1);

		p->env->clock.arm(p->env->clock.ctx, &p->timer,
				  p->base_ns + dev_muldiv(next, NS_PER_S, PM_TIMER_HZ) + 1);
	} else {
		p->env->clock.cancel(p->env->clock.ctx, &p->timer);
	}
}

static void fired(void *arg)
{
	struct pm *p = arg;

	sync_timer(p, timer_count(p));
	update(p);
}

static uint8_t get_byte(const struct pm *p, unsigned off, uint64_t count)
{
	switch (off) {
	case PM1_STS ... PM1_STS + 1: return (uint8_t)(p->sts >> 8 * (off - PM1_STS));
	case PM1_EN ... PM1_EN + 1: return (uint8_t)(p->en >> 8 * (off - PM1_EN));
	case PM1_CNT ... PM1_CNT + 1: return (uint8_t)(p->cnt >> 8 * (off - PM1_CNT));
	case PM_TMR ... PM_TMR + 3:
		count &= BIT(p->timer_bits) - 1;
		return (uint8_t)(count >> 8 * (off - PM_TMR));
	case GPE0_STS ... GPE0_STS + 7: return (uint8_t)(p->gpe_sts >> 8 * (off - GPE0_STS));
	case GPE0_EN ... GPE0_EN + 7: return (uint8_t)(p->gpe_en >> 8 * (off - GPE0_EN));
	case SMI_EN ... SMI_EN + 3: return (uint8_t)(p->smi_en >> 8 * (off - SMI_EN));
	}
	return 0;
}

static uint64_t put(uint64_t old, unsigned byte, uint8_t v)
{
	return (old & ~(UINT64_C(0xff) << 8 * byte)) | (uint64_t)v << 8 * byte;
}

static void put_byte(struct pm *p, unsigned off, uint8_t v)
{
	switch (off) {
	case PM1_STS ... PM1_STS + 1: p->sts &= (uint16_t) ~(v << 8 * (off - PM1_STS)); break;
	case PM1_EN ... PM1_EN + 1:
		p->en = (uint16_t)put(p->en, off - PM1_EN, v) & PM1_EVENTS;
		break;
	case PM1_CNT ... PM1_CNT + 1:
		p->cnt = ((uint16_t)put(p->cnt, off - PM1_CNT, v) & PM1_CNT_KEPT) | PM1_CNT_SCI_EN;
		if (off == PM1_CNT + 1 && (v & (PM1_CNT_SLP_EN >> 8)) &&
		    (PM1_SLP_TYP(p->cnt) == PM_SLP_TYP_S5 || PM1_SLP_TYP(p->cnt) == 7))
			dev_request(p->env, DEV_REQ_POWEROFF, 0);
		break;
	case GPE0_STS ... GPE0_STS + 7: p->gpe_sts &= ~((uint64_t)v << 8 * (off - GPE0_STS)); break;
	case GPE0_EN ... GPE0_EN + 7: p->gpe_en = put(p->gpe_en, off - GPE0_EN, v); break;
	case SMI_EN ... SMI_EN + 3: p->smi_en = (uint32_t)put(p->smi_en, off - SMI_EN, v); break;
	}
}

static uint64_t pm_read(void *ctx, uint64_t offset, unsigned size)
{
	struct pm *p = ctx;
	uint64_t count = timer_count(p), v = 0;

	sync_timer(p, count);
	for (unsigned i = 0; i < size; i++)
		v |= (uint64_t)get_byte(p, (unsigned)offset + i, count) << 8 * i;
	/* Found an overflow on the way: the SCI may be due. */
	if (p->sts & p->en & PM1_TMR_STS)
		update(p);
	return v;
}

static void pm_write(void *ctx, uint64_t offset, uint64_t value, unsigned size)
{
	struct pm *p = ctx;

	sync_timer(p, timer_count(p));
	for (unsigned i = 0; i < size; i++)
		put_byte(p, (unsigned)offset + i, (uint8_t)(value >> 8 * i));
	update(p);
}

static const struct bus_ops pm_ops = {pm_read, pm_write, 4};

void pm_map(struct device *d, uint16_t base, bool enabled)
{
	struct pm *p = container_of(d, struct pm, dev);

	if (p->mapped && enabled && p->range.base == base)
		return;
	bus_remove(p->env->ports, &p->range);
	p->range.base = base;
	/* A guest that puts it on top of something else loses it. */
	p->mapped = enabled && bus_add(p->env->ports, &p->range, NULL) == 0;
}

bool pm_power_button(struct device *d)
{
	struct pm *p = container_of(d, struct pm, dev);

	p->sts |= PM1_PWRBTN_STS;
	update(p);
	return p->en & PM1_PWRBTN_STS;
}

void pm_gpe(struct device *d, unsigned n)
{
	struct pm *p = container_of(d, struct pm, dev);

	if (n >= PM_GPES)
		return;
	p->gpe_sts |= BIT(n);
	update(p);
}

static void pm_reset(struct device *d)
{
	struct pm *p = container_of(d, struct pm, dev);

	p->sts = p->en = 0;
	p->cnt = PM1_CNT_SCI_EN;
	p->gpe_sts = p->gpe_en = 0;
	p->smi_en = 0;
	p->half = timer_count(p) >> (p->timer_bits - 1);
	update(p);
}

static void pm_pause(struct device *d)
{
	struct pm *p = container_of(d, struct pm, dev);

	p->env->clock.cancel(p->env->clock.ctx, &p->timer);
}

static void pm_resume(struct device *d)
{
	update(container_of(d, struct pm, dev));
}

/* Where the registers are is the LPC bridge's; without one they stay where they were made. */
static int pm_state(struct device *d, struct state *s)
{
	struct pm *p = container_of(d, struct pm, dev);

	state_begin(s, "pm", NULL, 1);
	state_same(s, p->timer_bits, "the width of the ACPI timer");
	state_u16(s, &p->sts);
	state_u16(s, &p->en);
	state_u16(s, &p->cnt);
	state_u64(s, &p->gpe_sts);
	state_u64(s, &p->gpe_en);
	state_u32(s, &p->smi_en);
	state_u64(s, &p->half);
	state_u64(s, &p->base_ns);
	return state_end(s);
}

static int pm_loaded(struct device *d, struct err *e)
{
	struct pm *p = container_of(d, struct pm, dev);

	if (p->base_ns > dev_now(&p->env->clock))
		return err_set(e, EINVAL, "the saved ACPI timer began in the future");
	p->half = MIN(p->half, timer_count(p) >> (p->timer_bits - 1));
	p->sts &= PM1_EVENTS | PM1_WAK_STS;
	p->en &= PM1_EVENTS;
	p->cnt = (p->cnt & PM1_CNT_KEPT) | PM1_CNT_SCI_EN;
	update(p);
	return 0;
}

static void pm_destroy(struct device *d)
{
	struct pm *p = container_of(d, struct pm, dev);

	p->env->clock.cancel(p->env->clock.ctx, &p->timer);
	bus_remove(p->env->ports, &p->range);
	free(p);
}

static void pm_dump(const struct device *d, struct text *t)
{
	const struct pm *p = container_of(d, const struct pm, dev);

	text_print(t,
		   "port %#" PRIx64 "%s sts %04x en %04x cnt %04x gpe %" PRIx64 "/%" PRIx64
		   " timer %" PRIu64 "\n",
		   p->range.base, p->mapped ? "" : " (unmapped)", p->sts, p->en, p->cnt, p->gpe_sts,
		   p->gpe_en, timer_count(p));
}

static const struct dev_class pm_class = {
	.name = "pm",
	.help = "ACPI power management registers",
	.destroy = pm_destroy,
	.reset = pm_reset,
	.pause = pm_pause,
	.resume = pm_resume,
	.state = pm_state,
	.loaded = pm_loaded,
	.dump = pm_dump,
};

int pm_create(struct device **out, const struct dev_env *env, const struct pm_config *cfg,
	      struct err *e)
{
	struct pm *p = calloc(1, sizeof(*p));
	int ret;

	*out = NULL;
	if (!p)
		return err_set(e, ENOMEM, "no memory for the power management registers");
	p->dev.class = &pm_class;
	p->dev.id = "pm";
	p->env = env;
	p->timer_bits = cfg->timer_32bit ? 32 : 24;
	p->timer = (struct dev_timer){.fn = fired, .arg = p};
	p->base_ns = dev_now(&env->clock);
	p->range = (struct bus_range){"acpi pm", LAYOUT_PORT_PM, PM_SIZE, &pm_ops, p};
	pm_reset(&p->dev);
	ret = bus_add(env->ports, &p->range, e);
	if (ret < 0) {
		device_destroy(&p->dev);
		return ret;
	}
	p->mapped = true;
	*out = &p->dev;
	return 0;
}

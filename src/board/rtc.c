/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rtc.c - MC146818 real time clock and CMOS memory (Motorola MC146818A data sheet; ICH9 §13.6).
 *
 * The clock is the host's wall clock plus an offset, in UTC; the guest that sets it changes the offset. While the
 * guest has it stopped (SET bit, or divider in reset) the time registers are plain memory; when it goes on, they
 * become the new offset.
 *
 * Flags PF, AF and UF are found by comparing now with when they were last looked at (sync), so they are right for
 * systems that poll. A host timer runs only while an interrupt is enabled and none is pending: after one, the
 * guest has to read register C before there can be another, so a guest sets the pace and not the clock.
 */
#include "board/rtc.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "board/bus.h"
#include "board/irq.h"
#include "board/layout.h"
#include "state/state.h"

#define NS_PER_S INT64_C(1000000000)
#define UIP_NS 244000 /* update-in-progress comes this long before the update */
#define DAY_S 86400
#define LAST_S INT64_C(8000000000) /* 2223: nanoseconds since 1970 have room beyond */

#define R_SECONDS 0x00u
#define R_SECONDS_ALARM 0x01u
#define R_MINUTES 0x02u
#define R_MINUTES_ALARM 0x03u
#define R_HOURS 0x04u
#define R_HOURS_ALARM 0x05u
#define R_WEEKDAY 0x06u
#define R_DAY 0x07u
#define R_MONTH 0x08u
#define R_YEAR 0x09u
#define R_A 0x0au
#define R_B 0x0bu
#define R_C 0x0cu
#define R_D 0x0du
#define R_CENTURY 0x32u

#define A_UIP 0x80u
#define B_SET 0x80u
#define B_PIE 0x40u
#define B_AIE 0x20u
#define B_UIE 0x10u
#define B_BINARY 0x04u
#define B_24H 0x02u
#define C_IRQ 0x80u
#define C_PERIODIC 0x40u
#define C_ALARM 0x20u
#define C_UPDATE 0x10u
#define D_VALID 0x80u

struct rtc {
	struct device dev;
	const struct dev_env *env;
	struct rtc_config cfg;
	struct bus_range range;
	uint8_t index[2]; /* ports 0x70 and 0x72 */
	uint8_t cmos[256];
	uint8_t flags;	       /* register C */
	int64_t offset_ns;     /* guest's clock less the host's wall clock */
	int64_t frozen_sub_ns; /* part of the second at which it was stopped */
	int64_t seen_s;	       /* guest second at the last sync */
	uint64_t seen_period;
	struct dev_timer timer;
};

static bool frozen(const struct rtc *r)
{
	return (r->cmos[R_B] & B_SET) || (r->cmos[R_A] & 0x60) == 0x60;
}

static int64_t guest_ns(const struct rtc *r)
{
	return r->env->clock.wall(r->env->clock.ctx) + r->offset_ns;
}

static int64_t floor_s(int64_t ns)
{
	return ns / NS_PER_S - (ns % NS_PER_S < 0);
}

/* ---- registers and calendar ---- */

static uint8_t encode(const struct rtc *r, unsigned v)
{
	return (uint8_t)(r->cmos[R_B] & B_BINARY ? v : (v / 10 % 10) << 4 | v % 10);
}

static unsigned decode(const struct rtc *r, uint8_t v)
{
	return r->cmos[R_B] & B_BINARY ? v : (unsigned)(v >> 4) * 10 + (v & 0xf);
}

static uint8_t encode_hour(const struct rtc *r, unsigned h)
{
	if (r->cmos[R_B] & B_24H)
		return encode(r, h);
	return (uint8_t)(encode(r, (h + 11) % 12 + 1) | (h >= 12 ? 0x80 : 0));
}

static unsigned decode_hour(const struct rtc *r, uint8_t v)
{
	if (r->cmos[R_B] & B_24H)
		return decode(r, v);
	return decode(r, v & 0x7f) % 12 + (v & 0x80 ? 12 : 0);
}

/* Time registers from the clock. */
static void time_to_regs(struct rtc *r, int64_t s)
{
	time_t t = (time_t)s;
	struct tm tm;

	if (!gmtime_r(&t, &tm))
		return;
	r->cmos[R_SECONDS] = encode(r, (unsigned)tm.tm_sec);
	r->cmos[R_MINUTES] = encode(r, (unsigned)tm.tm_min);
	r->cmos[R_HOURS] = encode_hour(r, (unsigned)tm.tm_hour);
	r->cmos[R_WEEKDAY] = encode(r, (unsigned)tm.tm_wday + 1);
	r->cmos[R_DAY] = encode(r, (unsigned)tm.tm_mday);
	r->cmos[R_MONTH] = encode(r, (unsigned)tm.tm_mon + 1);
	r->cmos[R_YEAR] = encode(r, (unsigned)(tm.tm_year + 1900) % 100);
	r->cmos[R_CENTURY] = encode(r, (unsigned)(tm.tm_year + 1900) / 100 % 100);
}

/* The clock from time registers, whatever is in them: 1970 to 2223. */
static int64_t regs_to_time(const struct rtc *r)
{
	int64_t s;
	struct tm tm = {
		.tm_sec = (int)decode(r, r->cmos[R_SECONDS]),
		.tm_min = (int)decode(r, r->cmos[R_MINUTES]),
		.tm_hour = (int)decode_hour(r, r->cmos[R_HOURS]),
		.tm_mday = (int)decode(r, r->cmos[R_DAY]),
		.tm_mon = (int)decode(r, r->cmos[R_MONTH]) - 1,
		.tm_year = (int)(decode(r, r->cmos[R_YEAR]) + 100 * decode(r, r->cmos[R_CENTURY])) -
			   1900,
	};

	s = (int64_t)timegm(&tm);
	return MAX(0, MIN(s, LAST_S));
}

static bool is_time(unsigned reg)
{
	return reg == R_SECONDS || reg == R_MINUTES || reg == R_HOURS ||
	       (reg >= R_WEEKDAY && reg <= R_YEAR) || reg == R_CENTURY;
}

/* ---- flags and interrupt ---- */

/* Length of the periodic interrupt in 1/32768 s; 0: off. */
static unsigned period(const struct rtc *r)
{
	unsigned rate = r->cmos[R_A] & 0xf;

	if (rate == 0 || (r->cmos[R_A] & 0x70) != 0x20)
		return 0;
	return 1u << ((rate <= 2 ? rate + 7 : rate) - 1);
}

static uint64_t period_count(const struct rtc *r)
{
	unsigned p = period(r);

	return p ? dev_muldiv(dev_now(&r->env->clock), 32768, NS_PER_S) / p : 0;
}

/* The first second after `from` that matches the alarm registers (0xc0 and up: any); -1: none within a day. */
static int64_t next_alarm(const struct rtc *r, int64_t from)
{
	uint8_t rs = r->cmos[R_SECONDS_ALARM], rm = r->cmos[R_MINUTES_ALARM],
		rh = r->cmos[R_HOURS_ALARM];
	int64_t t = from + 1, end = from + DAY_S;

	while (t <= end) {
		unsigned day = (unsigned)(((t % DAY_S) + DAY_S) % DAY_S);

		if (rh < 0xc0 && decode_hour(r, rh) != day / 3600)
			t += 3600 - day % 3600;
		else if (rm < 0xc0 && decode(r, rm) != day / 60 % 60)
			t += 60 - day % 60;
		else if (rs < 0xc0 && decode(r, rs) != day % 60)
			t++;
		else
			return t;
	}
	return -1;
}

/* Collects flags for what has happened since the last time. */
static void sync_flags(struct rtc *r)
{
	uint64_t p = period_count(r);

	if (p != r->seen_period)
		r->flags |= C_PERIODIC;
	r->seen_period = p;
	if (!frozen(r)) {
		int64_t s = floor_s(guest_ns(r));

		if (s > r->seen_s) {
			int64_t alarm = next_alarm(r, r->seen_s);

			r->flags |= C_UPDATE;
			if (alarm >= 0 && alarm <= s)
				r->flags |= C_ALARM;
		}
		r->seen_s = s;
	}
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* Board time at which the guest's clock shows second s. */
static uint64_t when(const struct rtc *r, int64_t s)
{
	int64_t left = s * NS_PER_S - guest_ns(r);

	return dev_now(&r->env->clock) + (uint64_t)MAX(left, 0);
}

/* Interrupt line and timer after any change. */
static void update(struct rtc *r)
{
	uint8_t b = r->cmos[R_B];
	uint64_t next = UINT64_MAX;
	unsigned p = period(r);

	if (r->flags & b & (B_PIE | B_AIE | B_UIE))
		r->flags |= C_IRQ;
	irq_line_set(r->env->irq, LAYOUT_IRQ_RTC, r->flags & C_IRQ);
	if (!(r->flags & C_IRQ)) {
		if ((b & B_PIE) && p)
			next = dev_muldiv((r->seen_period + 1) * p, NS_PER_S, 32768) + 1;
		if ((b & B_UIE) && !frozen(r))
			next = earlier(next, when(r, r->seen_s + 1));
		if ((b & B_AIE) && !frozen(r)) {
			int64_t alarm = next_alarm(r, r->seen_s);

			if (alarm >= 0)
				next = earlier(next, when(r, alarm));
		}
	}
	if (next == UINT64_MAX)
		r->env->clock.cancel(r->env->clock.ctx, &r->timer);
	else
		r->env->clock.arm(r->env->clock.ctx, &r->timer, next);
}

static void fired(void *arg)
{
	struct rtc *r = arg;

	sync_flags(r);
	update(r);
}

/* ---- accesses ---- */

/* Registers A and B can stop and start the clock. */
static void control_write(struct rtc *r, unsigned reg, uint8_t v)
{
	bool was = frozen(r);
	bool divider_reset = (r->cmos[R_A] & 0x60) == 0x60;
	int64_t now = guest_ns(r);

	if (reg == R_B && (v & B_SET))
		v &= (uint8_t)~B_UIE;
	if (!was && ((reg == R_B && (v & B_SET)) || (reg == R_A && (v & 0x60) == 0x60))) {
		time_to_regs(r, floor_s(now));
		r->frozen_sub_ns = now - floor_s(now) * NS_PER_S;
	}
	r->cmos[reg] = v;
	if (reg == R_A)
		r->seen_period = period_count(r);
	/* The first update comes half a second after the divider starts (MC146818A, register A). */
	if (reg == R_A && divider_reset && (v & 0x60) != 0x60)
		r->frozen_sub_ns = NS_PER_S / 2;
	if (was && !frozen(r)) {
		int64_t s = regs_to_time(r);

		r->offset_ns += s * NS_PER_S + r->frozen_sub_ns - now;
		r->seen_s = s;
	}
}

static void data_write(struct rtc *r, unsigned reg, uint8_t v)
{
	int64_t now, s;

	switch (reg) {
	case R_A:
		sync_flags(r);
		control_write(r, reg, v & 0x7f);
		break;
	case R_B:
		sync_flags(r);
		control_write(r, reg, v);
		break;
	case R_C:
	case R_D: return;
	default:
		if (!is_time(reg) || frozen(r)) {
			r->cmos[reg] = v;
			break;
		}
		sync_flags(r);
		now = guest_ns(r);
		s = floor_s(now);
		time_to_regs(r, s);
		r->cmos[reg] = v;
		if (reg != R_WEEKDAY)
			r->offset_ns += (regs_to_time(r) - s) * NS_PER_S;
		r->seen_s = floor_s(guest_ns(r));
	}
	update(r);
}

static uint8_t data_read(struct rtc *r, unsigned reg)
{
	uint8_t v = r->cmos[reg];
	int64_t now;

	switch (reg) {
	case R_A:
		now = guest_ns(r);
		if (!frozen(r) && now - floor_s(now) * NS_PER_S >= NS_PER_S - UIP_NS)
			v |= A_UIP;
		break;
	case R_C:
		sync_flags(r);
		update(r);
		v = r->flags;
		r->flags = 0;
		update(r);
		break;
	case R_D: v = D_VALID; break;
	default:
		if (is_time(reg) && !frozen(r)) {
			time_to_regs(r, floor_s(guest_ns(r)));
			v = r->cmos[reg];
		}
	}
	return v;
}

static uint64_t rtc_read(void *ctx, uint64_t offset, unsigned size)
{
	struct rtc *r = ctx;

	(void)size;
	switch (offset) {
	case 1: return data_read(r, r->index[0]);
	case 3: return data_read(r, r->index[1]);
	}
	return r->index[offset >> 1];
}

static void rtc_write(void *ctx, uint64_t offset, uint64_t value, unsigned size)
{
	struct rtc *r = ctx;

	(void)size;
	switch (offset) {
	case 0: /* bit 7: NMI off; there is none to switch */ r->index[0] = value & 0x7f; break;
	case 1: data_write(r, r->index[0], (uint8_t)value); break;
	case 2: /* reaches the upper bank too */ r->index[1] = (uint8_t)value; break;
	case 3: data_write(r, r->index[1], (uint8_t)value); break;
	}
}

static const struct bus_ops rtc_ops = {rtc_read, rtc_write, 1};

/* ---- life ---- */

void rtc_cmos_set(struct device *d, uint8_t index, uint8_t value)
{
	if (index > R_D && index != R_CENTURY)
		container_of(d, struct rtc, dev)->cmos[index] = value;
}

void rtc_get_battery(const struct device *d, struct rtc_battery *out)
{
	const struct rtc *r = container_of(d, const struct rtc, dev);

	memcpy(out->cmos, r->cmos, sizeof(out->cmos));
	out->offset_ns = r->offset_ns;
	out->frozen_sub_ns = r->frozen_sub_ns;
}

/* Sizes where PC firmware looks for them, in the units it expects. */
static void set_memory_size(struct rtc *r)
{
	uint64_t low = r->cfg.low_ram_bytes, above1 = low > MIB ? (low - MIB) / KIB : 0;
	uint64_t above16 = low > 16 * MIB ? (low - 16 * MIB) / (64 * KIB) : 0;
	uint64_t high = r->cfg.high_ram_bytes / (64 * KIB);
	uint8_t *m = r->cmos;

	above1 = MIN(above1, 0xffff);
	above16 = MIN(above16, 0xffff);
	high = MIN(high, 0xffffff);
	m[0x15] = 640 & 0xff;
	m[0x16] = 640 >> 8;
	m[0x17] = m[0x30] = (uint8_t)above1;
	m[0x18] = m[0x31] = (uint8_t)(above1 >> 8);
	m[0x34] = (uint8_t)above16;
	m[0x35] = (uint8_t)(above16 >> 8);
	m[0x5b] = (uint8_t)high;
	m[0x5c] = (uint8_t)(high >> 8);
	m[0x5d] = (uint8_t)(high >> 16);
	m[0x14] = 0x02; /* equipment: FPU */
	m[0x5f] = (uint8_t)(r->cfg.n_cpus ? r->cfg.n_cpus - 1 : 0);
}

/* Time, alarm and memory have a battery; a reset clears interrupt enables and flags. */
static void rtc_reset(struct device *d)
{
	struct rtc *r = container_of(d, struct rtc, dev);

	if (r->cmos[R_B] & B_SET)
		control_write(r, R_B, r->cmos[R_B] & (uint8_t)~B_SET);
	r->cmos[R_B] &= (uint8_t) ~(B_PIE | B_AIE | B_UIE | 0x08);
	r->index[0] = r->index[1] = 0;
	r->flags = 0;
	r->seen_s = floor_s(guest_ns(r));
	r->seen_period = period_count(r);
	update(r);
}

static void rtc_pause(struct device *d)
{
	struct rtc *r = container_of(d, struct rtc, dev);

	r->env->clock.cancel(r->env->clock.ctx, &r->timer);
}

static void rtc_resume(struct device *d)
{
	fired(container_of(d, struct rtc, dev));
}

static int rtc_state(struct device *d, struct state *s)
{
	struct rtc *r = container_of(d, struct rtc, dev);

	state_begin(s, "rtc", NULL, 1);
	state_bytes(s, r->index, sizeof(r->index));
	state_bytes(s, r->cmos, sizeof(r->cmos));
	state_u8(s, &r->flags);
	state_i64(s, &r->offset_ns);
	state_i64(s, &r->frozen_sub_ns);
	state_i64(s, &r->seen_s);
	state_u64(s, &r->seen_period);
	return state_end(s);
}

/* The clock goes on with the host's: time that passed while the machine was a file has passed, as with a battery. */
static int rtc_loaded(struct device *d, struct err *e)
{
	struct rtc *r = container_of(d, struct rtc, dev);
	int64_t wall = r->env->clock.wall(r->env->clock.ctx), now;
	uint64_t p = period_count(r);

	if (__builtin_add_overflow(wall, r->offset_ns, &now) || now > LAST_S * NS_PER_S ||
	    now < -LAST_S * NS_PER_S || r->frozen_sub_ns < 0 || r->frozen_sub_ns >= NS_PER_S)
		return err_set(e, EINVAL, "the saved real time clock has an impossible time");
	r->index[0] &= 0x7f;
	r->cmos[R_A] &= 0x7f;
	r->flags &= C_PERIODIC | C_ALARM | C_UPDATE | C_IRQ;
	if (r->seen_s > floor_s(now) || r->seen_s < -LAST_S)
		r->seen_s = floor_s(now);
	r->seen_period = MIN(r->seen_period, p);
	update(r);
	return 0;
}

static void rtc_destroy(struct device *d)
{
	struct rtc *r = container_of(d, struct rtc, dev);

	r->env->clock.cancel(r->env->clock.ctx, &r->timer);
	bus_remove(r->env->ports, &r->range);
	free(r);
}

static void rtc_dump(const struct device *d, struct text *t)
{
	const struct rtc *r = container_of(d, const struct rtc, dev);

	text_print(t,
		   "time %" PRId64 " s since 1970%s offset %" PRId64
		   " ns a %02x b %02x c %02x index %02x\n",
		   floor_s(guest_ns(r)), frozen(r) ? " (stopped)" : "", r->offset_ns, r->cmos[R_A],
		   r->cmos[R_B], r->flags, r->index[0]);
}

static const struct dev_class rtc_class = {
	.name = "rtc",
	.help = "real time clock and CMOS memory",
	.destroy = rtc_destroy,
	.reset = rtc_reset,
	.pause = rtc_pause,
	.resume = rtc_resume,
	.state = rtc_state,
	.loaded = rtc_loaded,
	.dump = rtc_dump,
};

int rtc_create(struct device **out, const struct dev_env *env, const struct rtc_config *cfg,
	       struct err *e)
{
	struct rtc *r = calloc(1, sizeof(*r));
	int ret;

	*out = NULL;
	if (!r)
		return err_set(e, ENOMEM, "no memory for the real time clock");
	r->dev.class = &rtc_class;
	r->dev.id = "rtc";
	r->env = env;
	r->cfg = *cfg;
	r->timer = (struct dev_timer){.fn = fired, .arg = r};
	r->offset_ns = cfg->offset_ns;
	r->cmos[R_A] = 0x26; /* 32.768 kHz, 1024 Hz */
	r->cmos[R_B] = B_24H;
	if (cfg->battery) {
		memcpy(r->cmos, cfg->battery->cmos, sizeof(r->cmos));
		r->offset_ns = cfg->battery->offset_ns;
		r->frozen_sub_ns = cfg->battery->frozen_sub_ns;
	}
	set_memory_size(r);
	rtc_reset(&r->dev);
	r->range = (struct bus_range){"rtc", LAYOUT_PORT_RTC, 4, &rtc_ops, r};
	ret = bus_add(env->ports, &r->range, e);
	if (ret < 0) {
		device_destroy(&r->dev);
		return ret;
	}
	*out = &r->dev;
	return 0;
}

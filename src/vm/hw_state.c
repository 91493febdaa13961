/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hw_state.c - the hardware into saved state and out of it.
 *
 * One function goes through everything in a fixed order, in either direction: what the machine is, what CPUID shows, the
 * processors, the interrupt controllers (the board's or the engine's own, in the same form), lines, devices. Then, when loading,
 * loaded() of every device, which drives lines that have their level already.
 *
 * Time. Board time is a number that goes on. The TSC travels as the guest reads it; its offset is made from the host's
 * TSC (hw_guest_counts() of it) at the load, and hw_tsc_back() takes away what passes until the vCPUs run, as after a pause. The paravirtual clock is a line
 * through one point: so many nanoseconds when vCPU 0's TSC has that value.
 *
 * What a guest was shown by CPUID it goes on to use: so the feature words are saved, and a load into an engine that lacks one of
 * them is refused by name. (The other way round, more features than before, does no harm: software has looked already.)
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "state/state_x86.h"
#include "util/clock.h"
#include "vm/hw.h"
#include "x86/cpuid_model.h"

#define TSC_TOLERANCE_PPM 250u /* what guests' own clocks correct, and what measuring it costs */
#define TSC_KHZ_MIN \
	100000u /* of a guest that may go on at its own rate: what a file says is not to be believed */
#define TSC_KHZ_MAX 20000000u
#define LVTS_OF_ALL 6u /* local APIC entries that every engine has: no CMCI */

/* ---- processor features ---- */

struct feature_word {
	uint32_t leaf, sub;
	enum cpuid_reg reg;
	uint32_t ignore; /* bits that software switches */
};

/*
 * Bits that only tell of speculation, and which protections the kernel may switch on: MD_CLEAR, SPEC_CTRL, STIBP, L1D_FLUSH,
 * ARCH_CAPABILITIES, SSBD; IBPB, IBRS, STIBP and their preferences. No program computes anything else without them, and the
 * engines take their MSRs whether they show the bits or not.
 */
#define SPECULATION_7_EDX (1u << 10 | 1u << 26 | 1u << 27 | 1u << 28 | 1u << 29 | 1u << 31)
#define SPECULATION_8_EBX                                                                        \
	(1u << 12 | 1u << 14 | 1u << 15 | 1u << 16 | 1u << 17 | 1u << 18 | 1u << 19 | 1u << 24 | \
	 1u << 25 | 1u << 26 | 1u << 28 | 1u << 29 | 1u << 30)

static const struct feature_word words[] = {
	{0x1, 0, CPUID_ECX, 1u << 27 /* OSXSAVE */},
	{0x1, 0, CPUID_EDX, 0},
	{0x7, 0, CPUID_EBX, 0},
	{0x7, 0, CPUID_ECX, 1u << 4 /* OSPKE */},
	{0x7, 0, CPUID_EDX, SPECULATION_7_EDX},
	{0x7, 1, CPUID_EAX, 0},
	{0xd, 0, CPUID_EAX, 0},
	{0xd, 1, CPUID_EAX, 0},
	{0x40000001, 0, CPUID_EAX, 0},
	{0x80000001, 0, CPUID_ECX, 1u << 4},
	{0x80000001, 0, CPUID_EDX, 0},
	{0x80000008, 0, CPUID_EBX, SPECULATION_8_EBX},
};

static int missing(struct state *s, const struct feature_word *w, uint32_t bits, const char *engine)
{
	static const char *const reg[] = {"EAX", "EBX", "ECX", "EDX"};
	unsigned bit = (unsigned)__builtin_ctz(bits);
	const char *name = cpuid_feature_name(w->leaf, w->sub, w->reg, bit);

	if (name)
		return state_fail(
			s,
			"the guest was shown the processor feature %s, which the %s engine does not have on this host",
			name, engine);
	return state_fail(
		s,
		"the guest was shown a processor feature (CPUID %#x.%u %s bit %u) that the %s engine does not have on this host",
		w->leaf, w->sub, reg[w->reg], bit, engine);
}

static void cpuid_state(struct hw *hw, struct state *s)
{
	const struct engine_class *cls = hw->cfg.engine;
	uint32_t known = cls->cpuid ? 1 : 0, out[4] = {0}, vendor[3], bits;

	state_begin(s, "cpuid", NULL, 1);
	state_u32_max(s, &known, 1);
	if (cls->cpuid)
		cls->cpuid(hw->engine, 0, 0, out);
	vendor[0] = out[CPUID_EBX];
	vendor[1] = out[CPUID_EDX];
	vendor[2] = out[CPUID_ECX];
	state_u32s(s, vendor, 3);
	if (known && cls->cpuid && state_error(s) == 0 &&
	    (vendor[0] != out[CPUID_EBX] || vendor[1] != out[CPUID_EDX] ||
	     vendor[2] != out[CPUID_ECX]))
		state_fail(s, "the guest was shown a processor of another vendor");
	for (unsigned i = 0; i < ARRAY_SIZE(words); i++) {
		const struct feature_word *w = &words[i];
		uint32_t have;

		if (cls->cpuid)
			cls->cpuid(hw->engine, w->leaf, w->sub, out);
		have = bits = out[w->reg] & ~w->ignore;
		state_u32(s, &bits);
		if (known && cls->cpuid && (bits & ~have) && state_error(s) == 0)
			missing(s, w, bits & ~have, cls->name);
	}
	state_end(s);
}

/* ---- the machine as a whole ---- */

/* The saved guest's TSC has not this host's rate. */
static void other_rate(struct hw *hw, struct state *s, uint32_t khz)
{
	const struct engine_class *cls = hw->cfg.engine;

	if (khz < TSC_KHZ_MIN || khz > TSC_KHZ_MAX || !cls->set_tsc_khz ||
	    cls->set_tsc_khz(hw->engine, khz) < 0)
		state_fail(
			s,
			"the guest's time stamp counter runs at %u kHz, and %u kHz is what this host can give it",
			khz, hw->tsc_khz);
	else
		hw->tsc_khz = khz;
}

static void machine_state(struct hw *hw, struct state *s)
{
	uint32_t khz = hw->tsc_khz;
	uint64_t board_ns = vmclock_now(hw->cfg.clock), diff;
	int64_t wall = (int64_t)clock_realtime_ns();

	state_begin(s, "machine", NULL, 1);
	state_same(s, hw->n_cpus, "the number of vCPUs");
	state_same(s, hw->cfg.mem->size_bytes, "the size of memory");
	state_u64_max(s, &board_ns, IRQCHIP_TIME_MAX);
	state_i64(s, &wall); /* when it was saved; for people */
	state_u32(s, &khz);
	diff = khz > hw->tsc_khz ? khz - hw->tsc_khz : hw->tsc_khz - khz;
	if (state_error(s) == 0 && diff * 1000000 > (uint64_t)hw->tsc_khz * TSC_TOLERANCE_PPM)
		other_rate(hw, s, khz);
	state_end(s);
	if (state_loading(s) && state_error(s) == 0)
		vmclock_set(hw->cfg.clock, board_ns);
}

/* ---- processors ---- */

static void get_lapic(struct hw *hw, unsigned i, struct irqchip_lapic *l, struct state *s)
{
	const struct engine_class *cls = hw->cfg.engine;
	int r = 0;

	if (hw->lapics)
		lapic_get(hw->lapics, i, l);
	else
		r = cls->get_lapic ? cls->get_lapic(vcpu_engine(hw->vcpus, i), l) : -ENOTSUP;
	if (r < 0)
		state_fail(s, "the %s engine does not give its local APICs out (%s)", cls->name,
			   strerror(-r));
}

static void set_lapic(struct hw *hw, unsigned i, const struct irqchip_lapic *l, struct state *s)
{
	const struct engine_class *cls = hw->cfg.engine;
	struct err e = {0};
	int r;

	if (hw->lapics) {
		r = lapic_set(hw->lapics, i, l, &e);
	} else {
		r = state_lapic_check(l, i, LVTS_OF_ALL, &e);
		if (r == 0)
			r = cls->set_lapic ? cls->set_lapic(vcpu_engine(hw->vcpus, i), l) : -ENOTSUP;
	}
	if (r < 0)
		state_fail(s, "%s", e.code ? e.msg : "the engine refused the state of a local APIC");
}

/* What the guest has switched on, the engine has: the features that the file says the guest was shown may be a lie. */
static bool xcr0_possible(struct hw *hw, uint64_t xcr0)
{
	uint32_t leaf[4] = {0};

	if (hw->cfg.engine->cpuid)
		hw->cfg.engine->cpuid(hw->engine, 0xd, 0, leaf);
	return !(xcr0 & ~((uint64_t)leaf[CPUID_EDX] << 32 | leaf[CPUID_EAX] | X86_XCR0_X87));
}

static void set_vcpu(struct hw *hw, unsigned i, struct x86_state *x, uint64_t tsc, uint64_t now,
		     struct state *s)
{
	struct err e = {0};

	if (state_x86_check(x, i, &e) < 0) {
		state_fail(s, "%s", e.msg);
		return;
	}
	if (!xcr0_possible(hw, x->xcr0)) {
		state_fail(
			s,
			"the saved vCPU %u has XCR0 %#llx, more than the %s engine has on this host",
			i, (unsigned long long)x->xcr0, hw->cfg.engine->name);
		return;
	}
	x->msr.tsc_offset = tsc - now;
	__atomic_store_n(&hw->tsc_offset[i], x->msr.tsc_offset, __ATOMIC_RELEASE);
	if (vcpu_set_state(hw->vcpus, i, X86_STATE_ALL, x) < 0)
		state_fail(s, "the %s engine refused the state of vCPU %u", hw->cfg.engine->name, i);
}

/* Processor i and its local APIC, each a section. *tsc: its TSC as the guest reads it at `now`. */
static void vcpu_state(struct hw *hw, struct state *s, unsigned i, uint64_t now, uint64_t *tsc)
{
	struct irqchip_lapic l = {0};
	struct x86_state x;
	uint32_t pending = 0;
	unsigned version;
	char name[12];

	snprintf(name, sizeof(name), "%u", i);
	x86_state_reset(&x, i == 0);
	if (!state_loading(s)) {
		get_lapic(hw, i, &l, s);
		vcpu_get_state(hw->vcpus, i, X86_STATE_ALL, &x);
		pending = vcpu_get_requests(hw->vcpus, i);
		*tsc = now + x.msr.tsc_offset;
		x.msr.apic_base = l.apic_base;
		x.msr.tsc_deadline = l.tsc_deadline;
	}
	state_begin(s, "lapic", name, 1);
	state_lapic(s, &l);
	state_end(s);
	version = state_begin(s, "vcpu", name, 2);
	state_x86(s, &x, tsc);
	state_u32_max(s, &pending, VCPU_REQUESTS_MAX);
	if (version >= 2)
		state_avx512(s, &x.avx512);
	state_end(s);
	if (!state_loading(s) || state_error(s) < 0)
		return;
	x.msr.apic_base = l.apic_base;
	x.msr.tsc_deadline = l.tsc_deadline;
	set_vcpu(hw, i, &x, *tsc, now, s);
	if (state_error(s) == 0)
		set_lapic(hw, i, &l, s);
	if (state_error(s) == 0)
		vcpu_set_requests(hw->vcpus, i, pending);
}

static void clock_state(struct hw *hw, struct state *s, uint64_t tsc)
{
	const struct engine_class *cls = hw->cfg.engine;
	uint64_t ns = 0;
	int r = 0;

	if (!state_loading(s) && cls->get_clock)
		r = cls->get_clock(hw->engine, tsc, &ns);
	state_begin(s, "kvmclock", NULL, 1);
	state_u64(s, &ns);
	if (state_loading(s) && state_error(s) == 0 && cls->set_clock)
		r = cls->set_clock(hw->engine, tsc, ns);
	if (r < 0)
		state_fail(s, "the %s engine: %s", cls->name, strerror(-r));
	state_end(s);
}

/* ---- interrupt controllers ---- */

static int engine_get_chips(struct hw *hw, struct irqchip_pic *pic, struct irqchip_ioapic *io)
{
	const struct engine_class *cls = hw->cfg.engine;
	int r;

	if (!cls->get_pic || !cls->get_ioapic)
		return -ENOTSUP;
	r = cls->get_pic(hw->engine, pic);
	return r < 0 ? r : cls->get_ioapic(hw->engine, io);
}

static int engine_set_chips(struct hw *hw, const struct irqchip_pic *pic,
			    const struct irqchip_ioapic *io, struct err *e)
{
	const struct engine_class *cls = hw->cfg.engine;
	int r = state_pic_check(pic, e);

	if (r == 0)
		r = state_ioapic_check(io, e);
	if (r == 0)
		r = cls->set_pic && cls->set_ioapic ? cls->set_pic(hw->engine, pic) : -ENOTSUP;
	return r < 0 ? r : cls->set_ioapic(hw->engine, io);
}

static void chips_state(struct hw *hw, struct state *s)
{
	struct irqchip_ioapic io = {0};
	struct irqchip_pic pic = {0};
	struct err e = {0};
	int r = 0;

	if (!state_loading(s)) {
		if (hw->lapics)
			irq_get_chips(hw->irq, &pic, &io);
		else
			r = engine_get_chips(hw, &pic, &io);
	}
	state_begin(s, "pic", NULL, 1);
	state_pic(s, &pic);
	state_end(s);
	state_begin(s, "ioapic", NULL, 1);
	state_ioapic(s, &io);
	state_end(s);
	irq_state(hw->irq, s);
	if (state_loading(s) && state_error(s) == 0)
		r = hw->lapics ? irq_set_chips(hw->irq, &pic, &io, &e) :
				 engine_set_chips(hw, &pic, &io, &e);
	if (r < 0)
		state_fail(s, "%s",
			   e.code ? e.msg :
				    "the engine does not exchange its interrupt controllers");
}

/* The interval timer, where it is the engine's. The board's is a device and has the same section. */
static void engine_pit_state(struct hw *hw, struct state *s)
{
	const struct engine_class *cls = hw->cfg.engine;
	struct irqchip_pit pit = {0};
	struct err e = {0};
	int r = 0;

	if (!state_loading(s))
		r = cls->get_pit(hw->engine, &pit);
	state_begin(s, "pit", NULL, 1);
	state_pit(s, &pit);
	if (state_loading(s) && state_error(s) == 0) {
		r = state_pit_check(&pit, &e);
		if (r == 0)
			r = cls->set_pit(hw->engine, &pit);
	}
	if (r < 0)
		state_fail(s, "%s", e.code ? e.msg : "the engine does not exchange its timer");
	state_end(s);
}

/* ---- all ---- */

static int devices_loaded(struct hw *hw, struct err *e)
{
	int r = 0;

	for (unsigned i = 0; i < HW_DEVICES && r == 0; i++)
		r = device_loaded(hw->dev[i], e);
	return r < 0 ? r : pci_root_loaded(hw->pci, e);
}

int hw_state(struct hw *hw, struct state *s, uint64_t tsc_now, struct err *e)
{
	uint64_t tsc = 0, tsc0 = 0, now;
	int r = 0;

	machine_state(hw, s);
	cpuid_state(hw, s);
	now = hw_guest_counts(hw, tsc_now);
	for (unsigned i = 0; i < hw->n_cpus && state_error(s) == 0; i++) {
		vcpu_state(hw, s, i, now, &tsc);
		if (i == 0)
			tsc0 = tsc;
	}
	clock_state(hw, s, tsc0);
	pthread_mutex_lock(hw->cfg.lock);
	chips_state(hw, s);
	if (!hw->dev[HW_PIT])
		engine_pit_state(hw, s);
	for (unsigned i = 0; i < HW_DEVICES; i++)
		device_state(hw->dev[i], s);
	pci_root_state(hw->pci, s);
	if (state_loading(s) && state_error(s) == 0)
		r = devices_loaded(hw, e);
	pthread_mutex_unlock(hw->cfg.lock);
	if (state_error(s) < 0 && e && !e->code)
		*e = s->err;
	return r < 0 ? r : state_error(s);
}

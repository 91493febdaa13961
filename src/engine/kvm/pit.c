/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pit.c - the kernel's interval timer (8254) with port 0x61, and its state in the form of x86/irqchip.h.
 *
 * Theory of operation. The kernel's timer answers its ports without an exit to us, and raises IRQ 0 without us; it costs a kernel thread for
 * each VM. So a VM has it that asks for it (engine_config.kvm_pit), for a guest that lives by this timer. Ticks that the guest did not
 * take in time are not made up for, as the board's are not: a guest that counts them is as wrong on either, and one
 * that looks at other clocks is not told the same time twice.
 *
 * State. The kernel does not tell how far channel 0 has come, and begins every count anew when its state is set. So
 * a periodic count goes on with a whole period, and one that was to end once is set to what is left of it, as far as that is known: its
 * interrupt comes at the right time when it comes from the board, and late by no more than the whole count when it comes from the kernel. What has
 * ended already would end again; it gets the longest count there is, and the guest a tick that it does not wait for. Bits 2 and 3 of port 0x61,
 * which do nothing, read as 0.
 *
 * Pause. The timer stands still by a mode in which the kernel runs none, and begins its count anew when the VM goes on.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "engine/kvm/kvm.h"
#include "util/clock.h"
#include "util/log.h"

/*
 * seccomp vm: ioctl arg1=KVM_CHECK_EXTENSION/KVM_CREATE_PIT2/KVM_REINJECT_CONTROL/KVM_GET_PIT2/
 *	KVM_SET_PIT2
 */

#define HZ 1193182u
#define LONGEST 65536u
#define MODE_NONE 5u	 /* of channel 0: the kernel runs no timer */
#define MODE_RESET 0xffu /* what the kernel has until a first control word */
/* read_state and write_state of the kernel: which byte comes; count_latched: the same of the latched count. */
enum { BYTE_LOW = 1, BYTE_HIGH = 2, WORD_LOW = 3, WORD_HIGH = 4 };

int kvm_pit_create(struct engine *en, struct err *e)
{
	struct kvm_pit_config c = {.flags = KVM_PIT_SPEAKER_DUMMY};
	struct kvm_reinject_control none = {.pit_reinject = 0};
	int r = -ENOTSUP;

	if (en->cfg.kvm_pit == KVM_PIT_BOARD)
		return 0;
	if (ioctl(en->made.vm, KVM_CHECK_EXTENSION, (unsigned long)KVM_CAP_PIT2) > 0 &&
	    ioctl(en->made.vm, KVM_CHECK_EXTENSION, (unsigned long)KVM_CAP_PIT_STATE2) > 0 &&
	    ioctl(en->made.vm, KVM_CHECK_EXTENSION, (unsigned long)KVM_CAP_REINJECT_CONTROL) > 0)
		r = kvm_ioctl(en->made.vm, KVM_CREATE_PIT2, &c);
	if (r == 0)
		r = kvm_ioctl(en->made.vm, KVM_REINJECT_CONTROL, &none);
	en->pit = r == 0;
	if (r < 0 && en->cfg.kvm_pit == KVM_PIT_KERNEL)
		return err_errno(e, -r, "KVM here has no interval timer");
	return 0;
}

bool kvm_pit_there(const struct engine *en)
{
	return en->pit;
}

/* ---- out ---- */

static uint64_t to_ns(uint64_t clocks)
{
	return (clocks * CLOCK_NS_PER_S + HZ - 1) / HZ;
}

static uint64_t to_clocks(uint64_t ns)
{
	return (uint64_t)((unsigned __int128)ns * HZ / CLOCK_NS_PER_S);
}

static bool by_trigger(unsigned mode)
{
	return mode == 1 || mode == 5;
}

static bool once(unsigned mode)
{
	return mode == 0 || mode == 4;
}

static void channel_out(const struct kvm_pit_channel_state *k, unsigned i, uint64_t now,
			struct irqchip_8254 *c)
{
	uint64_t loaded = (uint64_t)k->count_load_time;

	*c = (struct irqchip_8254){
		.mode = k->mode <= 5 ? k->mode : 3,
		.rw = k->rw_mode >= 1 && k->rw_mode <= 3 ? k->rw_mode : 3,
		.bcd = k->bcd,
		.gate = k->gate,
		.loaded = k->mode <= 5,
		.count = k->count >= 1 && k->count <= LONGEST ? k->count : LONGEST,
		.latch = k->latched_count,
		.latched = k->count_latched == WORD_LOW ? 2 :
			   k->count_latched		? 1 :
							  0,
		.status = k->status,
		.status_latched = k->status_latched,
		.read_high = k->read_state == WORD_HIGH || k->count_latched == WORD_HIGH,
		.write_high = k->write_state == WORD_HIGH,
		.write_low = k->write_latch,
	};
	if (i > 0 && c->loaded && loaded && loaded < now)
		c->elapsed_ns = MIN(now - loaded, IRQCHIP_TIME_MAX);
	c->triggered = c->loaded && by_trigger(c->mode) && c->gate && i == 2;
	if (c->loaded && !c->gate && !by_trigger(c->mode)) {
		c->frozen = true;
		c->frozen_clocks = to_clocks(c->elapsed_ns);
		c->elapsed_ns = 0;
	}
}

static void pit_out(const struct kvm_pit_state2 *k, struct irqchip_pit *p)
{
	uint64_t now = clock_ns();

	*p = (struct irqchip_pit){.edge_left_ns = IRQCHIP_NEVER};
	for (unsigned i = 0; i < 3; i++)
		channel_out(&k->channels[i], i, now, &p->ch[i]);
	if (p->ch[0].loaded && !by_trigger(p->ch[0].mode))
		p->edge_left_ns = to_ns(p->ch[0].count + (p->ch[0].mode == 4));
	p->port61 = (uint8_t)((p->ch[2].gate ? 1 : 0) |
			      (k->flags & KVM_PIT_FLAGS_SPEAKER_DATA_ON ? 2 : 0));
}

/* ---- in ---- */

/* Of a count that ends once, what is left. */
static uint32_t count_left(const struct irqchip_8254 *c, unsigned i, uint64_t edge_left_ns)
{
	uint64_t gone = c->frozen ? c->frozen_clocks : to_clocks(c->elapsed_ns), left;

	if (i == 0)
		left = edge_left_ns == IRQCHIP_NEVER ? LONGEST : to_clocks(edge_left_ns);
	else
		left = gone < c->count ? c->count - gone : 0;
	return (uint32_t)MAX(MIN(left, LONGEST), 1u);
}

static void channel_in(const struct irqchip_8254 *c, unsigned i, uint64_t edge_left_ns,
		       struct kvm_pit_channel_state *k)
{
	bool word = c->rw == 3;

	*k = (struct kvm_pit_channel_state){
		.count = c->has_next ? c->next : c->count,
		.latched_count = c->latch,
		.status_latched = c->status_latched,
		.status = c->status,
		.read_state = !word	   ? c->rw :
			      c->read_high ? WORD_HIGH :
					     WORD_LOW,
		.write_state = !word	     ? c->rw :
			       c->write_high ? WORD_HIGH :
					       WORD_LOW,
		.write_latch = c->write_low,
		.rw_mode = c->rw,
		/* Nothing was ever set up: the kernel's own mark for that, so that it does not tick. */
		.mode = c->loaded || c->write_high || c->mode != 3 ? c->mode : MODE_RESET,
		.bcd = c->bcd,
		.gate = c->gate,
	};
	if (c->latched)
		k->count_latched = !word ? c->rw : c->latched == 2 ? WORD_LOW : WORD_HIGH;
	if (c->loaded && once(c->mode))
		k->count = count_left(c, i, edge_left_ns);
}

static void pit_in(const struct irqchip_pit *p, struct kvm_pit_state2 *k)
{
	memset(k, 0, sizeof(*k));
	for (unsigned i = 0; i < 3; i++)
		channel_in(&p->ch[i], i, p->edge_left_ns, &k->channels[i]);
	k->flags = p->port61 & 2 ? KVM_PIT_FLAGS_SPEAKER_DATA_ON : 0;
}

/* ---- state and pause ---- */

int kvm_pit_get(struct engine *en, struct irqchip_pit *p)
{
	struct kvm_pit_state2 k = en->paused_pit;
	int r = en->pit_stands ? 0 : kvm_ioctl(en->made.vm, KVM_GET_PIT2, &k);

	if (r == 0)
		pit_out(&k, p);
	return r;
}

int kvm_pit_set(struct engine *en, const struct irqchip_pit *p)
{
	struct kvm_pit_state2 k;

	pit_in(p, &k);
	if (!en->pit_stands)
		return kvm_ioctl(en->made.vm, KVM_SET_PIT2, &k);
	en->paused_pit = k; /* set at the resume */
	return 0;
}

void kvm_pit_pause(struct engine *en)
{
	struct kvm_pit_state2 k;

	if (!en->pit || en->pit_stands || kvm_ioctl(en->made.vm, KVM_GET_PIT2, &k) < 0)
		return;
	en->paused_pit = k;
	en->pit_stands = true;
	k.channels[0].mode = MODE_NONE;
	if (kvm_ioctl(en->made.vm, KVM_SET_PIT2, &k) < 0)
		log_warn("KVM's interval timer goes on in the pause");
}

void kvm_pit_resume(struct engine *en)
{
	if (!en->pit_stands)
		return;
	en->pit_stands = false;
	if (kvm_ioctl(en->made.vm, KVM_SET_PIT2, &en->paused_pit) < 0)
		log_error("KVM did not take its interval timer of before the pause");
}

void kvm_pit_dump(struct engine *en, struct text *t)
{
	struct irqchip_pit p = {0};

	if (!en->pit || kvm_pit_get(en, &p) < 0)
		return;
	for (unsigned i = 0; i < 3; i++)
		text_print(t, "pit (kernel) channel %u: mode %u rw %u count %u loaded %d gate %d\n",
			   i, p.ch[i].mode, p.ch[i].rw, p.ch[i].count, p.ch[i].loaded, p.ch[i].gate);
}

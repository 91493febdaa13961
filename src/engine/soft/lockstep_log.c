/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lockstep_log.c - what the outside told the translated side, for the reference way to be told the same; and
 * exceptions, which both sides must deliver at the same places.
 *
 * May run while guest FPU state is in the host's registers: no C library here but snprintf after soft_fp_save().
 */
#include <stdio.h>

#include "engine/soft/lockstep.h"
#include "engine/soft/mmu.h"

static const char *const call_names[LOCKSTEP_CALLS] = {
	[LOCKSTEP_PORT_IN] = "a read of port",
	[LOCKSTEP_PORT_OUT] = "a write to port",
	[LOCKSTEP_MMIO_READ] = "a read of device memory",
	[LOCKSTEP_MMIO_WRITE] = "a write to device memory",
	[LOCKSTEP_MSR_READ] = "a read of MSR",
	[LOCKSTEP_MSR_WRITE] = "a write to MSR",
	[LOCKSTEP_CR8_READ] = "a read of CR8",
	[LOCKSTEP_CR8_WRITE] = "a write to CR8",
	[LOCKSTEP_TSC] = "a look at the clock",
	[LOCKSTEP_WALL_CLOCK] = "a look at the time of day",
	[LOCKSTEP_RANDOM] = "a random number",
	[LOCKSTEP_HYPERCALL] = "hypercall",
	[LOCKSTEP_EXCEPTION] = "exception",
};

static void differ(struct soft_vcpu *v, const struct soft_lockstep_entry *e,
		   const struct soft_lockstep_entry *want)
{
	struct soft_lockstep *l = v->lockstep;
	bool live = v->fp_live;

	if (l->differs)
		return;
	soft_fp_save(v);
	l->differs = true;
	if (want)
		(void)snprintf(l->why, sizeof(l->why),
			       "here %s %#x (address %#llx, value %#llx), there %s %#x (%#llx, %#llx)",
			       call_names[e->call], e->number, (unsigned long long)e->addr,
			       (unsigned long long)e->value, call_names[want->call], want->number,
			       (unsigned long long)want->addr, (unsigned long long)want->value);
	else
		(void)snprintf(l->why, sizeof(l->why),
			       "%s %#x (address %#llx, value %#llx) by one side alone",
			       call_names[e->call], e->number, (unsigned long long)e->addr,
			       (unsigned long long)e->value);
	if (live)
		soft_fp_load(v);
}

/* The next entry of the log, which must be the same call as e; NULL: it is not. */
static const struct soft_lockstep_entry *expected(struct soft_vcpu *v,
						  const struct soft_lockstep_entry *e)
{
	struct soft_lockstep *l = v->lockstep;
	const struct soft_lockstep_entry *want;

	if (l->next == l->n_entries) {
		differ(v, e, NULL);
		return NULL;
	}
	want = &l->entry[l->next++];
	if (e->call != want->call || e->size != want->size || e->number != want->number ||
	    e->addr != want->addr || e->value != want->value) {
		differ(v, e, want);
		return NULL;
	}
	return want;
}

bool soft_lockstep_replay(struct soft_vcpu *v, struct soft_lockstep_entry *e)
{
	const struct soft_lockstep_entry *want;

	if (!v->lockstep->replay)
		return false;
	want = expected(v, e);
	e->ok = want ? want->ok : true;
	e->result = want ? want->result : 0;
	return true;
}

void soft_lockstep_record(struct soft_vcpu *v, const struct soft_lockstep_entry *e)
{
	struct soft_lockstep *l = v->lockstep;

	if (l->n_entries == LOCKSTEP_ENTRIES) {
		l->overflow = true;
		return;
	}
	l->entry[l->n_entries++] = *e;
}

void soft_lockstep_exception(struct soft_vcpu *v)
{
	struct soft_lockstep_entry e = {.call = LOCKSTEP_EXCEPTION,
					.number = v->exc.vector,
					.addr = v->s.rip,
					.value = v->exc.error,
					.result = v->s.rflags};
	const struct soft_lockstep_entry *want;
	uint32_t diff;

	if (!v->lockstep->replay) {
		soft_lockstep_record(v, &e);
		return;
	}
	want = expected(v, &e);
	if (!want)
		return;
	diff = (uint32_t)(want->result ^ e.result) & ~X86_RF; /* as soft_lockstep_same() */
	if (!diff)
		return;
	if ((diff & ~(uint32_t)X86_STATUS_FLAGS) || !soft_lockstep_dead(v, diff)) {
		e.value = e.result;
		struct soft_lockstep_entry flags = *want;

		flags.value = want->result;
		differ(v, &e, &flags);
		return;
	}
	v->s.rflags = want->result; /* nobody can tell, and the frames are to be alike */
}

/* ---- liveness, by its own reading of the code ---- */

#define DEAD_INSNS 100u
#define DEAD_BRANCHES 4u

static bool decode_code(struct soft_vcpu *v, uint64_t va, struct x86_insn *in)
{
	uint8_t buf[X86_INSN_MAX];
	unsigned n = 0;

	while (n < X86_INSN_MAX) {
		const struct soft_xtlb_entry *x = soft_fetch_page_peek(v, va + n);
		unsigned pos = (unsigned)(va + n) & 0xfff, part;

		if (!x || !x->host)
			break;
		part = MIN(4096 - pos, X86_INSN_MAX - n);
		soft_copy_code(buf + n, x->host, pos, part);
		n += part;
	}
	return n && soft_decode(v, in, buf, n) == X86_DECODE_OK;
}

/* Can the flags be seen by more than what the decode table says that it reads? */
static bool shows_flags(const struct x86_insn *in)
{
	switch (in->op) {
	case X86_OP_CLI:
	case X86_OP_STI:
	case X86_OP_CLAC:
	case X86_OP_STAC:
	case X86_OP_CLD:
	case X86_OP_STD:
	case X86_OP_RDTSC:
	case X86_OP_RDTSCP:
	case X86_OP_SWAPGS:
	case X86_OP_MOV_FROM_SREG: return false;
	case X86_OP_PUSHF: return true;
	default: return (in->attr & X86_A_END) && !(in->attr & X86_A_BRANCH);
	}
}

static bool dead_at(struct soft_vcpu *v, uint64_t va, uint32_t flags, unsigned branches)
{
	for (unsigned i = 0; i < DEAD_INSNS; i++) {
		struct x86_insn in;
		uint64_t target;

		if (!decode_code(v, va, &in) || shows_flags(&in) || (in.flags_read & flags))
			return false;
		flags &= ~(uint32_t)in.flags_write;
		if (!flags)
			return true;
		va += in.len;
		target = va + (uint64_t)in.imm;
		if (v->mode != X86_MODE_64) {
			va = (uint32_t)va;
			target = (uint32_t)target;
		}
		switch (in.op) {
		case X86_OP_JCC:
			if (!branches || !dead_at(v, target, flags, branches - 1))
				return false;
			branches--;
			break;
		case X86_OP_JMP:
		case X86_OP_CALL:
			if (!branches--)
				return false;
			va = target;
			break;
		default:
			if (in.attr & X86_A_BRANCH)
				return false;
			break;
		}
	}
	return false;
}

bool soft_lockstep_dead(struct soft_vcpu *v, uint32_t flags)
{
	/* In its own page tables' terms s.rip is the code that comes next; looking at it changes accessed bits at most. */
	return dead_at(v, v->s.rip, flags, DEAD_BRANCHES);
}

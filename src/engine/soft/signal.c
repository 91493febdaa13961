/* SPDX-License-Identifier: Apache-2.0 */
/*
 * signal.c - host faults inside translated code become guest exceptions.
 *
 * A guest instruction that runs as itself may fault as itself: a divide error, an unmasked SSE or x87
 * exception, #GP for an unaligned SSE operand. The host delivers a signal. The handler finds the guest
 * instruction by the host address (block, then site), and sends the thread to the `fault` stub, which leaves
 * translated code with the guest registers as they were before the instruction; the dispatcher then runs it by
 * soft_step(), which raises the exact exception. A page fault means a store through a stale write tag to a page that
 * another vCPU put code into (smc.c): the stale tags go, and the instruction runs again. In a string stub likewise,
 * which goes on where it says (stubs_string.c). A page fault in a window brings the page, if there is one (window.c).
 *
 * In a thunk of native.c the trap number is handed over and the thunk ends. Any other fault is our own bug and
 * kills the process as it would without us.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <ucontext.h>

#include "engine/soft/translate.h"

static __thread struct soft_vcpu *current;

static const struct soft_site *find_site(const struct soft_block *b, uint32_t host)
{
	const struct soft_site *best = NULL;

	for (unsigned i = 0; i < b->n_sites && b->site[i].host <= host; i++)
		best = &b->site[i];
	return best;
}

/* In a string stub: a page that got code under its stores. */
static bool in_stub(struct soft_vcpu *v, const uint8_t *pc, greg_t *g)
{
	const struct soft_stubs *st = &v->soft->cache->stub;

	if (g[REG_TRAPNO] != X86_EXC_PF)
		return false;
	for (unsigned i = 0; i < st->n_fault_at; i++) {
		if (pc != st->fault_at[i].insn)
			continue;
		soft_tlb_drop_write_tags(v);
		g[REG_RIP] = (greg_t)(uintptr_t)st->fault_at[i].go_on;
		return true;
	}
	return false;
}

/* True: the thread goes on somewhere else. */
static bool redirect(struct soft_vcpu *v, ucontext_t *uc)
{
	struct soft_cache *c = v->soft->cache;
	greg_t *g = uc->uc_mcontext.gregs;
	const uint8_t *pc = (const uint8_t *)(uintptr_t)g[REG_RIP];
	size_t off = (size_t)(pc - c->rx);

	if (pc < c->rx || off >= c->size)
		return false;
	if (off < c->thunks)
		return in_stub(v, pc, g);
	if (off < c->stubs_end) {
		v->tr.native_trap = (uint32_t)g[REG_TRAPNO] + 1;
		g[REG_RIP] = (greg_t)(uintptr_t)c->stub.native_done;
		return true;
	}
	const struct soft_block *b = soft_cache_block_at(c, pc);
	const struct soft_site *s = b ? find_site(b, (uint32_t)(pc - b->code)) : NULL;

	if (!s)
		return false;
	if (g[REG_TRAPNO] == X86_EXC_PF) {
		enum soft_window_answer a = soft_window_fault(v, (uint64_t)g[REG_CR2],
							      g[REG_ERR] & 2);

		if (a == SOFT_WINDOW_RETRY)
			return true;
		if (a == SOFT_WINDOW_OTHER)
			soft_tlb_drop_write_tags(v);
	}
	v->tr.fault_rip = b->va + s->off;
	if (b->key & SOFT_KEY_COMPAT)
		v->tr.fault_rip = (uint32_t)v->tr.fault_rip;
	v->tr.fault_left = soft_block_left(b, s->off);
	if (!(s->loc & LOC_SLOT))
		v->tr.flags_slot = soft_slot_of_flags((uint64_t)g[REG_EFL]);
	g[REG_RIP] = (greg_t)(uintptr_t)c->stub.fault;
	return true;
}

static void handler(int sig, siginfo_t *si, void *ctx)
{
	struct sigaction dfl = {.sa_handler = SIG_DFL};

	(void)si;
	if (current && current->soft->cache && redirect(current, ctx))
		return;
	/* Not ours: the instruction faults again, with the default action. */
	(void)sigaction(sig, &dfl, NULL);
}

/* seccomp vm: rt_sigaction */
int soft_signal_init(struct err *e)
{
	static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP};
	struct sigaction sa = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_NODEFER};

	for (unsigned i = 0; i < ARRAY_SIZE(signals); i++)
		if (sigaction(signals[i], &sa, NULL) < 0)
			return err_errno(e, errno, "cannot handle signal %d for the software engine",
					 signals[i]);
	return 0;
}

void soft_signal_attach(struct soft_vcpu *v)
{
	current = v;
}

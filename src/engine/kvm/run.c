/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run.c - the vCPU's run loop: into the kernel, and what comes out of it.
 *
 * Theory of operation. KVM_RUN returns when the guest did something that the kernel leaves to us, said in the page that
 * it shares with us. An access to a device is answered there, and the next KVM_RUN completes the instruction. Interrupts,
 * HLT, IPIs and APIC timers never come here.
 *
 * Kicks. Who wants the vCPU out sets immediate_exit in the shared page and, if the thread is in the kernel or about to
 * be, sends it a signal with an empty handler. The kernel looks at immediate_exit after it has completed the instruction
 * of the exit before and before it runs the guest; so a kick at any moment ends this or the next KVM_RUN, and leaves no
 * instruction half done. That is why nothing here leaves the loop on a kick but by KVM_RUN itself.
 *
 * Writes that do nothing but set a latch (engine_config.latch_port) the kernel keeps in a ring, which is emptied before
 * anything else is told: half of the accesses to CMOS are no exits then. Whoever is first out of the kernel empties it.
 *
 * The thread says in `in_kernel` that a signal would do something; it sets it before it enters the kernel, and the kicker
 * looks at it after it has set immediate_exit. One of them sees the other. The same way round with `awaited`, by which kvm_run_out()
 * hears that a vCPU has come out.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "engine/kvm/kvm.h"
#include "x86/msr.h"

/* seccomp vm: ioctl arg1=KVM_RUN/KVM_NMI/KVM_GET_REGS/KVM_GET_SREGS */

#define SIG_KICK SIGUSR1
#define INSN_BYTES 15u
#ifndef KVM_EXIT_MEMORY_FAULT
#define KVM_EXIT_MEMORY_FAULT 39
#endif

#define load(p) __atomic_load_n(p, __ATOMIC_SEQ_CST)
#define store(p, v) __atomic_store_n(p, v, __ATOMIC_SEQ_CST)
#define count(p) __atomic_store_n(p, __atomic_load_n(p, __ATOMIC_RELAXED) + 1, __ATOMIC_RELAXED)

static void on_kick(int sig)
{
	(void)sig;
}

int kvm_run_attach(struct engine_vcpu *v, struct err *e)
{
	const struct sigaction sa = {.sa_handler = on_kick}; /* no SA_RESTART: KVM_RUN ends */
	sigset_t set;

	if (sigaction(SIG_KICK, &sa, NULL) < 0)
		return err_errno(e, errno, "cannot take the signal that ends KVM_RUN");
	sigemptyset(&set);
	sigaddset(&set, SIG_KICK);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	v->thread = pthread_self();
	store(&v->attached, true);
	return 0;
}

void kvm_run_kick(struct engine_vcpu *v, bool out)
{
	if (!out)
		return; /* interrupts are the kernel's */
	store(&v->run->immediate_exit, 1);
	if (load(&v->in_kernel) && load(&v->attached) && !pthread_equal(pthread_self(), v->thread))
		pthread_kill(v->thread, SIG_KICK);
}

/* The vCPU has come out, or is out, and somebody waits for that. */
static void tell_out(struct engine_vcpu *v)
{
	pthread_mutex_lock(&v->en->out_lock);
	store(&v->awaited, false);
	pthread_cond_broadcast(&v->en->out);
	pthread_mutex_unlock(&v->en->out_lock);
}

void kvm_run_out(struct engine *en)
{
	for (unsigned i = 0; i < en->n_vcpus; i++) {
		store(&en->vcpu[i]->awaited, true);
		if (load(&en->vcpu[i]->in_kernel))
			kvm_run_kick(en->vcpu[i], true);
		else /* another may wait for it, too */
			tell_out(en->vcpu[i]);
	}
	pthread_mutex_lock(&en->out_lock);
	for (unsigned i = 0; i < en->n_vcpus; i++)
		while (load(&en->vcpu[i]->awaited))
			pthread_cond_wait(&en->out, &en->out_lock);
	pthread_mutex_unlock(&en->out_lock);
}

void kvm_run_nmi(struct engine_vcpu *v)
{
	(void)ioctl(v->fd, KVM_NMI, 0);
}

/* ---- what the guest did ---- */

void kvm_run_late_writes(struct engine *en, unsigned vcpu)
{
	const struct engine_host *h = en->cfg.host;
	struct kvm_coalesced_mmio_ring *ring = en->ring;
	unsigned max = (unsigned)((4096 - sizeof(*ring)) / sizeof(ring->coalesced_mmio[0]));

	if (!ring || load(&ring->first) == load(&ring->last))
		return;
	pthread_mutex_lock(&en->ring_lock);
	while (ring->first != __atomic_load_n(&ring->last, __ATOMIC_ACQUIRE)) {
		const struct kvm_coalesced_mmio *m = &ring->coalesced_mmio[ring->first % max];
		uint32_t value = 0;

		memcpy(&value, m->data, MIN(m->len, (uint32_t)sizeof(value)));
		h->port_out(h->ctx, vcpu, (uint16_t)m->phys_addr, value, m->len);
		__atomic_store_n(&ring->first, (ring->first + 1) % max, __ATOMIC_RELEASE);
		count(&en->vcpu[vcpu]->stats.n_coalesced);
	}
	pthread_mutex_unlock(&en->ring_lock);
}

static void port_in(struct engine_vcpu *v, struct kvm_run *run)
{
	const struct engine_host *h = v->en->cfg.host;
	uint8_t *data = (uint8_t *)run + run->io.data_offset;

	for (uint32_t i = 0; i < run->io.count; i++, data += run->io.size) {
		uint32_t value = h->port_in(h->ctx, v->index, run->io.port, run->io.size);

		memcpy(data, &value, run->io.size);
	}
	count(&v->stats.n_port_in);
}

static void port_out(struct engine_vcpu *v, struct kvm_run *run)
{
	const struct engine_host *h = v->en->cfg.host;
	const uint8_t *data = (const uint8_t *)run + run->io.data_offset;

	for (uint32_t i = 0; i < run->io.count; i++, data += run->io.size) {
		uint32_t value = 0;

		memcpy(&value, data, run->io.size);
		h->port_out(h->ctx, v->index, run->io.port, value, run->io.size);
	}
	count(&v->stats.n_port_out);
}

static void mmio(struct engine_vcpu *v, struct kvm_run *run)
{
	const struct engine_host *h = v->en->cfg.host;
	unsigned len = MIN(run->mmio.len, (unsigned)sizeof(run->mmio.data));
	uint64_t value = 0;

	if (run->mmio.is_write) {
		memcpy(&value, run->mmio.data, len);
		h->mmio_write(h->ctx, v->index, run->mmio.phys_addr, value, len);
		count(&v->stats.n_mmio_write);
		return;
	}
	value = h->mmio_read(h->ctx, v->index, run->mmio.phys_addr, len);
	memcpy(run->mmio.data, &value, len);
	count(&v->stats.n_mmio_read);
}

/* An MSR that KVM does not know: as the software engine has it, or #GP. */
static void msr(struct engine_vcpu *v, struct kvm_run *run)
{
	uint64_t value = 0;
	bool known = msr_constant(v->en->vendor, run->msr.index, &value);

	if (run->exit_reason == KVM_EXIT_X86_RDMSR)
		run->msr.data = value;
	else
		known = known && !msr_constant_read_only(run->msr.index);
	run->msr.error = !known;
	count(&v->stats.n_msr);
}

/* ---- what went wrong ---- */

static void fail(struct engine_vcpu *v, struct engine_exit *exit, const char *fmt, ...)
	PRINTF_FORMAT(3, 4);

/* The sentence, and where the guest was. */
static void fail(struct engine_vcpu *v, struct engine_exit *exit, const char *fmt, ...)
{
	struct kvm_regs r = {0};
	struct kvm_sregs s = {0};
	va_list ap;
	int n;

	exit->reason = ENGINE_EXIT_ERROR;
	va_start(ap, fmt);
	n = vsnprintf(exit->why, sizeof(exit->why), fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= sizeof(exit->why) || ioctl(v->fd, KVM_GET_REGS, &r) < 0 ||
	    ioctl(v->fd, KVM_GET_SREGS, &s) < 0)
		return;
	snprintf(exit->why + n, sizeof(exit->why) - (size_t)n,
		 "; the guest was%s at %04x:%#llx (RSP %#llx, RFLAGS %#llx, CR0 %#llx, CR2 %#llx, CR3 %#llx, CR4 %#llx, EFER %#llx)",
		 v->run->flags & KVM_RUN_X86_SMM ?
			 " in system management mode, for which there is no firmware," :
			 "",
		 s.cs.selector, r.rip, r.rsp, r.rflags, s.cr0, s.cr2, s.cr3, s.cr4, s.efer);
}

/* Bytes as " 0f 01 c1". */
static const char *hex(char *buf, size_t size, const uint8_t *bytes, unsigned n)
{
	size_t at = 0;

	buf[0] = '\0';
	for (unsigned i = 0; i < n && at + 4 <= size; i++)
		at += (size_t)snprintf(buf + at, size - at, " %02x", bytes[i]);
	return buf;
}

static void internal_error(struct engine_vcpu *v, const struct kvm_run *run,
			   struct engine_exit *exit)
{
	char text[4 * INSN_BYTES + 1];

	switch (run->internal.suberror) {
	case KVM_INTERNAL_ERROR_EMULATION:
		if (run->emulation_failure.ndata >= 3 &&
		    (run->emulation_failure.flags &
		     KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES))
			fail(v, exit, "KVM cannot emulate the instruction%s",
			     hex(text, sizeof(text), run->emulation_failure.insn_bytes,
				 MIN((unsigned)run->emulation_failure.insn_size, INSN_BYTES)));
		else
			fail(v, exit,
			     "KVM cannot emulate an instruction, or cannot read it: there may be no RAM at its address");
		return;
	case KVM_INTERNAL_ERROR_SIMUL_EX:
		fail(v, exit, "KVM met an exception while it delivered another one");
		return;
	case KVM_INTERNAL_ERROR_DELIVERY_EV:
		fail(v, exit,
		     "KVM could not deliver the event of vector %u: the guest's descriptor or stack pages are not RAM",
		     run->internal.ndata ? (unsigned)(run->internal.data[0] & 0xff) : 0);
		return;
	case KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON:
		fail(v, exit, "KVM met an exit of the processor that it does not know (%#llx)",
		     run->internal.ndata ? (unsigned long long)run->internal.data[0] : 0);
		return;
	default: fail(v, exit, "KVM reports the internal error %u", run->internal.suberror); return;
	}
}

/* An exit that is not an access. True: *exit is filled in. */
static bool leave(struct engine_vcpu *v, const struct kvm_run *run, struct engine_exit *exit)
{
	count(&v->stats.n_other);
	switch (run->exit_reason) {
	case KVM_EXIT_INTR:
	case KVM_EXIT_IRQ_WINDOW_OPEN:
	case KVM_EXIT_SET_TPR: return false;
	case KVM_EXIT_SHUTDOWN: exit->reason = ENGINE_EXIT_SHUTDOWN; return true;
	case KVM_EXIT_HLT: exit->reason = ENGINE_EXIT_HALT; return true;
	case KVM_EXIT_INTERNAL_ERROR: internal_error(v, run, exit); return true;
	case KVM_EXIT_FAIL_ENTRY:
		fail(v, exit,
		     "the processor refuses the guest's state (hardware reason %#llx, on host CPU %u)",
		     (unsigned long long)run->fail_entry.hardware_entry_failure_reason,
		     run->fail_entry.cpu);
		return true;
	case KVM_EXIT_UNKNOWN:
		fail(v, exit, "KVM met an exit of the processor that it does not know (%#llx)",
		     (unsigned long long)run->hw.hardware_exit_reason);
		return true;
	case KVM_EXIT_SYSTEM_EVENT:
		fail(v, exit, "KVM reports the system event %u", run->system_event.type);
		return true;
	default:
		fail(v, exit, "KVM returned with the exit reason %u", run->exit_reason);
		return true;
	}
}

/* Of KVM_EXIT_MEMORY_FAULT: flags, address, size (Linux 6.8; api, 5). */
static unsigned long long fault_address(const struct kvm_run *run)
{
	uint64_t info[3];

	memcpy(info, run->padding, sizeof(info));
	return info[1];
}

/* KVM_RUN failed with `code`. True: *exit is filled in. */
static bool run_failed(struct engine_vcpu *v, int code, struct engine_exit *exit)
{
	if (code == EAGAIN) /* a vCPU that waited for INIT has got it */
		return false;
	if (code == EINTR) {
		if (!__atomic_exchange_n(&v->run->immediate_exit, 0, __ATOMIC_SEQ_CST))
			return false; /* another signal */
		count(&v->stats.n_kicks);
		exit->reason = ENGINE_EXIT_KICK;
		return true;
	}
	if (code == EFAULT && v->run->exit_reason == KVM_EXIT_MEMORY_FAULT)
		fail(v, exit,
		     "the host could not give the page of guest memory at %#llx (is it out of memory?)",
		     fault_address(v->run));
	else if (code == EFAULT)
		fail(v, exit,
		     "the host could not give a page of guest memory (is it out of memory?)");
	else if (code == EIO)
		fail(v, exit,
		     "KVM has given the VM up after an error of its own: see the host's kernel log");
	else
		fail(v, exit, "KVM_RUN failed: %s", strerror(code));
	return true;
}

void kvm_run_loop(struct engine_vcpu *v, struct engine_exit *exit)
{
	struct kvm_run *run = v->run;

	for (;;) {
		int r, code;

		store(&v->in_kernel, true);
		r = ioctl(v->fd, KVM_RUN, 0);
		code = errno;
		store(&v->in_kernel, false);
		if (load(&v->awaited))
			tell_out(v);
		kvm_run_late_writes(v->en, v->index);
		if (r < 0) {
			if (run_failed(v, code, exit))
				return;
			continue;
		}
		count(&v->stats.n_exits);
		switch (run->exit_reason) {
		case KVM_EXIT_IO:
			if (run->io.direction == KVM_EXIT_IO_OUT)
				port_out(v, run);
			else
				port_in(v, run);
			break;
		case KVM_EXIT_MMIO: mmio(v, run); break;
		case KVM_EXIT_X86_RDMSR:
		case KVM_EXIT_X86_WRMSR: msr(v, run); break;
		case KVM_EXIT_DIRTY_RING_FULL: kvm_dirty_full(v); break;
		default:
			if (leave(v, run, exit))
				return;
		}
	}
}

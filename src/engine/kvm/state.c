/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state.c - architectural state (x86/state.h) to and from the kernel.
 *
 * Theory of operation. The kernel splits a vCPU's state over a dozen calls; each part of x86_state is made of some of
 * them. A part is set by reading what the kernel has, replacing what is ours, and writing it back, so that what
 * x86_state does not name keeps its value.
 *
 * MSRs go one by one through a table. A host's KVM may not know one, or refuse the guest one that its CPUID does not show;
 * that is remembered, and such an MSR reads as 0 and takes only 0.
 */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include "engine/kvm/kvm.h"
#include "util/log.h"

/*
 * seccomp vm: ioctl arg1=KVM_GET_REGS/KVM_SET_REGS/KVM_GET_SREGS/KVM_SET_SREGS/
 *	KVM_GET_DEBUGREGS/KVM_SET_DEBUGREGS/KVM_GET_XCRS/KVM_SET_XCRS/KVM_GET_MSRS/KVM_SET_MSRS/
 *	KVM_GET_XSAVE/KVM_SET_XSAVE/KVM_GET_MP_STATE/KVM_SET_MP_STATE/KVM_GET_VCPU_EVENTS/KVM_SET_VCPU_EVENTS
 */

#define MSR_TSC_DEADLINE 0x6e0u
#define MSI_ADDRESS 0xfee00000u
#define MSI_ALL 0xffu
#define MSI_REMOTE_READ 0x300u /* delivery mode 3 */

/* ---- segments ---- */

static void seg_out(const struct kvm_segment *k, struct x86_seg *s)
{
	s->base = k->base;
	s->limit = k->limit;
	s->sel = k->selector;
	s->attr = (uint16_t)((k->type & 0xf) | (k->s ? X86_ATTR_S : 0) |
			     (k->dpl & 3u) << X86_ATTR_DPL_SHIFT |
			     (k->present && !k->unusable ? X86_ATTR_P : 0) |
			     (k->avl ? X86_ATTR_AVL : 0) | (k->l ? X86_ATTR_L : 0) |
			     (k->db ? X86_ATTR_DB : 0) | (k->g ? X86_ATTR_G : 0));
}

static void seg_in(const struct x86_seg *s, struct kvm_segment *k)
{
	memset(k, 0, sizeof(*k));
	k->base = s->base;
	k->limit = s->limit;
	k->selector = s->sel;
	k->type = s->attr & X86_ATTR_TYPE;
	k->s = !!(s->attr & X86_ATTR_S);
	k->dpl = X86_ATTR_DPL(s->attr);
	k->present = !!(s->attr & X86_ATTR_P);
	k->avl = !!(s->attr & X86_ATTR_AVL);
	k->l = !!(s->attr & X86_ATTR_L);
	k->db = !!(s->attr & X86_ATTR_DB);
	k->g = !!(s->attr & X86_ATTR_G);
	k->unusable = !k->present;
}

/* In the order of enum x86_sreg. */
static struct kvm_segment *seg_of(struct kvm_sregs *s, unsigned i)
{
	struct kvm_segment *const seg[X86_SREGS] = {&s->es, &s->cs, &s->ss, &s->ds, &s->fs, &s->gs};

	return seg[i];
}

/* ---- general and system registers ---- */

static int gpr_get(struct engine_vcpu *v, struct x86_state *s)
{
	struct kvm_regs r;
	int ret = kvm_ioctl(v->fd, KVM_GET_REGS, &r);

	if (ret < 0)
		return ret;
	s->gpr[X86_RAX] = r.rax;
	s->gpr[X86_RCX] = r.rcx;
	s->gpr[X86_RDX] = r.rdx;
	s->gpr[X86_RBX] = r.rbx;
	s->gpr[X86_RSP] = r.rsp;
	s->gpr[X86_RBP] = r.rbp;
	s->gpr[X86_RSI] = r.rsi;
	s->gpr[X86_RDI] = r.rdi;
	s->gpr[X86_R8] = r.r8;
	s->gpr[X86_R9] = r.r9;
	s->gpr[X86_R10] = r.r10;
	s->gpr[X86_R11] = r.r11;
	s->gpr[X86_R12] = r.r12;
	s->gpr[X86_R13] = r.r13;
	s->gpr[X86_R14] = r.r14;
	s->gpr[X86_R15] = r.r15;
	s->rip = r.rip;
	s->rflags = r.rflags;
	return 0;
}

static int gpr_set(struct engine_vcpu *v, const struct x86_state *s)
{
	struct kvm_regs r = {
		.rax = s->gpr[X86_RAX],
		.rcx = s->gpr[X86_RCX],
		.rdx = s->gpr[X86_RDX],
		.rbx = s->gpr[X86_RBX],
		.rsp = s->gpr[X86_RSP],
		.rbp = s->gpr[X86_RBP],
		.rsi = s->gpr[X86_RSI],
		.rdi = s->gpr[X86_RDI],
		.r8 = s->gpr[X86_R8],
		.r9 = s->gpr[X86_R9],
		.r10 = s->gpr[X86_R10],
		.r11 = s->gpr[X86_R11],
		.r12 = s->gpr[X86_R12],
		.r13 = s->gpr[X86_R13],
		.r14 = s->gpr[X86_R14],
		.r15 = s->gpr[X86_R15],
		.rip = s->rip,
		.rflags = s->rflags | X86_F1,
	};

	return kvm_ioctl(v->fd, KVM_SET_REGS, &r);
}

/* SYS, and of the MSRs EFER and IA32_APIC_BASE, which come with the same call. */
static int sys_get(struct engine_vcpu *v, uint64_t mask, struct x86_state *s)
{
	struct kvm_debugregs d;
	struct kvm_xcrs x;
	struct kvm_sregs k;
	int r = kvm_ioctl(v->fd, KVM_GET_SREGS, &k);

	if (r < 0)
		return r;
	if (mask & X86_STATE_MSR) {
		s->msr.efer = k.efer;
		s->msr.apic_base = k.apic_base;
	}
	if (!(mask & X86_STATE_SYS))
		return 0;
	for (unsigned i = 0; i < X86_SREGS; i++)
		seg_out(seg_of(&k, i), &s->seg[i]);
	seg_out(&k.ldt, &s->ldt);
	seg_out(&k.tr, &s->tr);
	s->gdt = (struct x86_dtr){.base = k.gdt.base, .limit = k.gdt.limit};
	s->idt = (struct x86_dtr){.base = k.idt.base, .limit = k.idt.limit};
	s->cr0 = k.cr0;
	s->cr2 = k.cr2;
	s->cr3 = k.cr3;
	s->cr4 = k.cr4;
	s->cr8 = k.cr8;
	memset(s->dr, 0, sizeof(s->dr));
	r = kvm_ioctl(v->fd, KVM_GET_DEBUGREGS, &d);
	if (r < 0)
		return r;
	for (unsigned i = 0; i < 4; i++)
		s->dr[i] = d.db[i];
	s->dr[6] = d.dr6;
	s->dr[7] = d.dr7;
	s->xcr0 = X86_XCR0_X87;
	if (v->en->caps.xcrs && kvm_ioctl(v->fd, KVM_GET_XCRS, &x) == 0 && x.nr_xcrs > 0)
		s->xcr0 = x.xcrs[0].value;
	return 0;
}

static int sys_set(struct engine_vcpu *v, uint64_t mask, const struct x86_state *s)
{
	struct kvm_debugregs d = {.dr6 = s->dr[6], .dr7 = s->dr[7]};
	struct kvm_xcrs x = {.nr_xcrs = 1, .xcrs = {{.xcr = 0, .value = s->xcr0}}};
	struct kvm_sregs k;
	int r = kvm_ioctl(v->fd, KVM_GET_SREGS, &k);

	if (r < 0)
		return r;
	if (mask & X86_STATE_MSR) {
		k.efer = s->msr.efer;
		/* The software engine shows it on every AMD host; a processor that lacks it would refuse the guest. */
		if (!v->en->cpuid.auto_ibrs)
			k.efer &= ~(uint64_t)X86_EFER_AIBRSE;
		k.apic_base = s->msr.apic_base;
	}
	if (mask & X86_STATE_SYS) {
		for (unsigned i = 0; i < X86_SREGS; i++)
			seg_in(&s->seg[i], seg_of(&k, i));
		seg_in(&s->ldt, &k.ldt);
		seg_in(&s->tr, &k.tr);
		k.gdt = (struct kvm_dtable){.base = s->gdt.base, .limit = s->gdt.limit};
		k.idt = (struct kvm_dtable){.base = s->idt.base, .limit = s->idt.limit};
		k.cr0 = s->cr0;
		k.cr2 = s->cr2;
		k.cr3 = s->cr3;
		k.cr4 = s->cr4;
		k.cr8 = s->cr8;
	}
	memset(k.interrupt_bitmap, 0,
	       sizeof(k.interrupt_bitmap)); /* an event of state.h's is set by events_set() */
	r = kvm_ioctl(v->fd, KVM_SET_SREGS, &k);
	if (r < 0 || !(mask & X86_STATE_SYS))
		return r;
	for (unsigned i = 0; i < 4; i++)
		d.db[i] = s->dr[i];
	r = kvm_ioctl(v->fd, KVM_SET_DEBUGREGS, &d);
	if (r == 0 && v->en->caps.xcrs && v->en->cpuid.xcr0_valid)
		r = kvm_ioctl(v->fd, KVM_SET_XCRS, &x);
	return r;
}

/* ---- MSRs ---- */

#define F(name) offsetof(struct x86_msrs, name)
#define FIXED(n) (F(mtrr_fixed) + 8 * (n))
#define VAR(n)                                          \
	{0x200 + 2 * (n), F(mtrr_base) + 8 * (n)},      \
	{                                               \
		0x201 + 2 * (n), F(mtrr_mask) + 8 * (n) \
	}

/* In the order in which they are set. EFER and IA32_APIC_BASE go with the system registers, the TSC's offset by itself. */
static const struct {
	uint32_t msr;
	uint32_t field;
} msrs[] = {
	{0xc0000081, F(star)},
	{0xc0000082, F(lstar)},
	{0xc0000083, F(cstar)},
	{0xc0000084, F(sfmask)},
	{0xc0000102, F(kernel_gs_base)},
	{0x174, F(sysenter_cs)},
	{0x175, F(sysenter_esp)},
	{0x176, F(sysenter_eip)},
	{0x277, F(pat)},
	{0x1a0, F(misc_enable)},
	{0xc0000103, F(tsc_aux)},
	{0x3b, F(tsc_adjust)},
	{0x2ff, F(mtrr_def_type)},
	{0x250, FIXED(0)},
	{0x258, FIXED(1)},
	{0x259, FIXED(2)},
	{0x268, FIXED(3)},
	{0x269, FIXED(4)},
	{0x26a, FIXED(5)},
	{0x26b, FIXED(6)},
	{0x26c, FIXED(7)},
	{0x26d, FIXED(8)},
	{0x26e, FIXED(9)},
	{0x26f, FIXED(10)},
	VAR(0),
	VAR(1),
	VAR(2),
	VAR(3),
	VAR(4),
	VAR(5),
	VAR(6),
	VAR(7),
	{0x48, F(spec_ctrl)},
	{0xc001011f, F(virt_spec_ctrl)},
	{0x17a, F(mcg_status)},
	{0x4b564d04, F(kvm_pv_eoi)},
	{0x4b564d03, F(kvm_steal_time)},
	{0x4b564d00, F(kvm_wall_clock)},
	{0x4b564d01, F(kvm_system_time)},
	{MSR_TSC_DEADLINE, F(tsc_deadline)},
};
_Static_assert(ARRAY_SIZE(msrs) <= KVM_MSRS, "room for a mark for each MSR");

enum { MSR_UNTRIED, MSR_WORKS, MSR_REFUSED };

union msr_buf {
	struct kvm_msrs head;
	uint8_t bytes[sizeof(struct kvm_msrs) + ARRAY_SIZE(msrs) * sizeof(struct kvm_msr_entry)];
};

/*
 * One call with the MSRs from index *at on that are not refused. The kernel stops at the first that it does not take:
 * that one is marked, and *at is behind it. `map`: the index of each entry of buf.
 */
static int msrs_call(struct engine_vcpu *v, unsigned long request, union msr_buf *buf,
		     unsigned *map, unsigned n)
{
	unsigned done = 0;

	while (done < n) {
		union msr_buf part;
		int r;

		memset(&part, 0, sizeof(part));
		part.head.nmsrs = n - done;
		memcpy(part.head.entries, buf->head.entries + done,
		       (n - done) * sizeof(struct kvm_msr_entry));
		r = kvm_ioctl(v->fd, request, &part);
		if (r < 0)
			return r;
		if ((unsigned)r > n - done)
			return -EIO;
		memcpy(buf->head.entries + done, part.head.entries,
		       (unsigned)r * sizeof(struct kvm_msr_entry));
		for (unsigned i = 0; i < (unsigned)r; i++)
			v->en->msr_ok[map[done + i]] = MSR_WORKS;
		done += (unsigned)r;
		if (done == n)
			break;
		if (v->en->msr_ok[map[done]] == MSR_WORKS)
			return -EINVAL; /* the value, not the MSR */
		v->en->msr_ok[map[done]] = MSR_REFUSED;
		buf->head.entries[done].data = 0;
		done++;
	}
	return 0;
}

static uint64_t *field(struct x86_msrs *m, unsigned i)
{
	return (uint64_t *)(void *)((uint8_t *)m + msrs[i].field);
}

static int msr_get(struct engine_vcpu *v, struct x86_msrs *m)
{
	unsigned map[ARRAY_SIZE(msrs)], n = 0;
	union msr_buf buf;
	int r;

	memset(&buf, 0, sizeof(buf));
	for (unsigned i = 0; i < ARRAY_SIZE(msrs); i++) {
		*field(m, i) = 0;
		if (v->en->msr_ok[i] == MSR_REFUSED)
			continue;
		map[n] = i;
		buf.head.entries[n++].index = msrs[i].msr;
	}
	r = msrs_call(v, KVM_GET_MSRS, &buf, map, n);
	for (unsigned i = 0; i < n && r == 0; i++)
		*field(m, map[i]) = buf.head.entries[i].data;
	/* KVM takes only 32 bits of these on AMD's processors, where SYSENTER is for legacy mode (APM vol. 2 §6.1.2). */
	if (v->en->vendor == CPUID_VENDOR_AMD) {
		m->sysenter_esp = (uint32_t)m->sysenter_esp;
		m->sysenter_eip = (uint32_t)m->sysenter_eip;
	}
	return r;
}

static int msr_set(struct engine_vcpu *v, const struct x86_msrs *m)
{
	unsigned map[ARRAY_SIZE(msrs)], n = 0;
	struct x86_msrs values = *m;
	union msr_buf buf;

	memset(&buf, 0, sizeof(buf));
	for (unsigned i = 0; i < ARRAY_SIZE(msrs); i++) {
		if (v->en->msr_ok[i] == MSR_REFUSED) {
			if (*field(&values, i))
				log_warn("KVM here does not have MSR %#x: its value %#llx is lost",
					 msrs[i].msr, (unsigned long long)*field(&values, i));
			continue;
		}
		map[n] = i;
		buf.head.entries[n].index = msrs[i].msr;
		buf.head.entries[n++].data = *field(&values, i);
	}
	return msrs_call(v, KVM_SET_MSRS, &buf, map, n);
}

/*
 * MSRs that a guest may have written though x86_state does not have them: CPUID faulting (which KVM has on any processor) and DEBUGCTL. After a reset
 * they would still be as the system before left them. What is 0 is not written: where KVM has no DEBUGCTL to give, each write of it is a
 * line in the host's log.
 */
static void msr_clear_others(struct engine_vcpu *v)
{
	static const uint32_t others[] = {0x140, 0x1d9};

	for (unsigned i = 0; i < ARRAY_SIZE(others); i++) {
		union msr_buf buf;

		memset(&buf, 0, sizeof(buf));
		buf.head.nmsrs = 1;
		buf.head.entries[0].index = others[i];
		if (kvm_ioctl(v->fd, KVM_GET_MSRS, &buf) != 1 || !buf.head.entries[0].data)
			continue;
		buf.head.entries[0].data = 0;
		(void)kvm_ioctl(v->fd, KVM_SET_MSRS, &buf);
	}
}

/* ---- x87, SSE, AVX, AVX-512 ---- */

static int fpu_get(struct engine_vcpu *v, struct x86_state *s)
{
	struct kvm_xsave x;
	int r = kvm_ioctl(v->fd, KVM_GET_XSAVE, &x);

	if (r == 0)
		kvm_xsave_out(&x, &v->en->xsave, v->en->cpuid.xcr0_valid, s);
	return r;
}

static int fpu_set(struct engine_vcpu *v, const struct x86_state *s)
{
	struct kvm_xsave x;

	kvm_xsave_in(&x, &v->en->xsave, v->en->cpuid.xcr0_valid, s);
	return kvm_ioctl(v->fd, KVM_SET_XSAVE, &x);
}

/* ---- events ---- */

/*
 * A kick (hypercall KICK_CPU) that came before the HLT that it is for. The kernel does not tell whether there was one: we say yes, since
 * a HLT of several vCPUs may end for no reason, and must not wait for a kick that was lost. The kernel's own way
 * to note one is an interrupt of the delivery mode that hardware calls "remote read".
 */
static void kick_set(struct engine_vcpu *v)
{
	if (v->en->cfg.n_vcpus > 1 && v->index < MSI_ALL)
		(void)kvm_irqchip.msi(v->en, MSI_ADDRESS | v->index << 12, MSI_REMOTE_READ);
}

static int events_get(struct engine_vcpu *v, struct x86_events *ev)
{
	struct kvm_mp_state mp = {.mp_state = KVM_MP_STATE_RUNNABLE};
	struct kvm_vcpu_events k = {0};
	int r = kvm_ioctl(v->fd, KVM_GET_MP_STATE, &mp);

	if (r == 0)
		r = kvm_ioctl(v->fd, KVM_GET_VCPU_EVENTS, &k);
	if (r < 0)
		return r;
	*ev = (struct x86_events){
		.sti_shadow = k.interrupt.shadow & KVM_X86_SHADOW_INT_STI,
		.movss_shadow = k.interrupt.shadow & KVM_X86_SHADOW_INT_MOV_SS,
		/* One on its way is given out as pending; some processors' KVM masks NMIs already. */
		.nmi_masked = k.nmi.masked && !k.nmi.injected,
		.nmi_pending = k.nmi.pending || k.nmi.injected,
		.halted = mp.mp_state == KVM_MP_STATE_HALTED,
		.kicked = v->en->cfg.n_vcpus > 1 && mp.mp_state == KVM_MP_STATE_RUNNABLE,
		.wait_for_sipi = mp.mp_state == KVM_MP_STATE_UNINITIALIZED ||
				 mp.mp_state == KVM_MP_STATE_INIT_RECEIVED,
	};
	return 0;
}

static int events_set(struct engine_vcpu *v, const struct x86_events *ev)
{
	struct kvm_mp_state mp = {.mp_state = ev->wait_for_sipi ? KVM_MP_STATE_INIT_RECEIVED :
					      ev->halted	? KVM_MP_STATE_HALTED :
								  KVM_MP_STATE_RUNNABLE};
	struct kvm_vcpu_events k = {
		/* Out of system management mode, where a guest's SMI has brought it and nothing but a reset leads out of. */
		.flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW |
			 KVM_VCPUEVENT_VALID_SMM,
		.interrupt.shadow = (uint8_t)((ev->sti_shadow ? KVM_X86_SHADOW_INT_STI : 0) |
					      (ev->movss_shadow ? KVM_X86_SHADOW_INT_MOV_SS : 0)),
		.nmi = {.pending = ev->nmi_pending, .masked = ev->nmi_masked},
	};
	int r = kvm_ioctl(v->fd, KVM_SET_VCPU_EVENTS, &k);

	if (r == 0)
		r = kvm_ioctl(v->fd, KVM_SET_MP_STATE, &mp);
	if (r == 0 && ev->kicked)
		kick_set(v);
	return r;
}

/* ---- all of it ---- */

void kvm_state_get(struct engine_vcpu *v, uint64_t mask, struct x86_state *s)
{
	int r = 0;

	if (mask & X86_STATE_GPR)
		r = gpr_get(v, s);
	if (r == 0 && (mask & (X86_STATE_SYS | X86_STATE_MSR)))
		r = sys_get(v, mask, s);
	if (r == 0 && (mask & X86_STATE_MSR)) {
		r = msr_get(v, &s->msr);
		s->msr.tsc_offset = kvm_tsc_get(v);
	}
	if (r == 0 && (mask & X86_STATE_FPU))
		r = fpu_get(v, s);
	if (r == 0 && (mask & X86_STATE_EVENTS))
		r = events_get(v, &s->ev);
	if (r < 0)
		log_error_limited("KVM does not give the state of vCPU %u: %s", v->index,
				  strerror(-r));
}

int kvm_state_set(struct engine_vcpu *v, uint64_t mask, const struct x86_state *s)
{
	int r = 0;

	if (mask & (X86_STATE_SYS | X86_STATE_MSR))
		r = sys_set(v, mask, s);
	if (r == 0 && (mask & X86_STATE_GPR))
		r = gpr_set(v, s);
	if (r == 0 && (mask & X86_STATE_FPU))
		r = fpu_set(v, s);
	if (r == 0 && (mask & X86_STATE_MSR)) {
		r = kvm_tsc_set(v, &s->msr);
		if (r == 0)
			r = msr_set(v, &s->msr);
		msr_clear_others(v);
	}
	if (r == 0 && (mask & X86_STATE_EVENTS))
		r = events_set(v, &s->ev);
	return r;
}

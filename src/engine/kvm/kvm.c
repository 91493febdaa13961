/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kvm.c - the KVM engine as an engine_class: a VM of the host kernel, its memory slots and its vCPUs.
 *
 * Theory of operation. The kernel runs the guest and has the interrupt controllers; what is left to do here is to
 * describe the machine to it, to answer the accesses that reach devices (run.c), and to move state in and out (state.c,
 * irqchip.c). All numbers are those of Linux, Documentation/virt/kvm/api.rst (cited as "api").
 *
 * Memory. Each region of guest memory is a slot. gmem maps memory at 2 MiB, and regions begin at whole MiB of guest
 * space, so guest and host addresses are congruent and the kernel can map huge pages: a fault then fills 2 MiB, and a
 * TLB miss of the guest takes a level less. Private memory (mem/gmem.h) gets them.
 *
 * What the host cannot do is found once, when the VM is opened (struct kvm_caps). What we cannot do without is an
 * error then: the kernel's interrupt controllers, immediate_exit (Linux 4.13).
 */
#include "engine/kvm/kvm.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "util/log.h"

/*
 * seccomp vm: ioctl arg1=KVM_CHECK_EXTENSION/KVM_SET_USER_MEMORY_REGION/KVM_SET_IDENTITY_MAP_ADDR/
 *	KVM_SET_TSS_ADDR/KVM_ENABLE_CAP/KVM_REGISTER_COALESCED_MMIO/
 *	KVM_CREATE_VCPU/KVM_HAS_DEVICE_ATTR/KVM_IOEVENTFD
 */

int kvm_ioctl(int fd, unsigned long request, void *arg)
{
	int r;

	do
		r = ioctl(fd, request, arg);
	while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : r;
}

/* ---- opening ---- */

static int cap(const struct engine *en, unsigned long what)
{
	int r = ioctl(en->made.vm, KVM_CHECK_EXTENSION, what);

	return MAX(r, 0);
}

static int look(struct engine *en, struct err *e)
{
	struct kvm_caps *c = &en->caps;

	c->immediate_exit = cap(en, KVM_CAP_IMMEDIATE_EXIT);
	c->signal_msi = cap(en, KVM_CAP_SIGNAL_MSI);
	c->user_msr = cap(en, KVM_CAP_X86_USER_SPACE_MSR);
	c->tsc_deadline = cap(en, KVM_CAP_TSC_DEADLINE_TIMER);
	c->xsave = cap(en, KVM_CAP_XSAVE);
	c->xcrs = cap(en, KVM_CAP_XCRS);
	c->vcpu_events = cap(en, KVM_CAP_VCPU_EVENTS);
	c->debugregs = cap(en, KVM_CAP_DEBUGREGS);
	c->kvmclock_ctrl = cap(en, KVM_CAP_KVMCLOCK_CTRL);
	c->adjust_clock = cap(en, KVM_CAP_ADJUST_CLOCK);
	c->readonly_mem = cap(en, KVM_CAP_READONLY_MEM);
	if (cap(en, KVM_CAP_COALESCED_PIO))
		c->coalesced = (unsigned)cap(en, KVM_CAP_COALESCED_MMIO);
	c->max_vcpus = (unsigned)cap(en, KVM_CAP_MAX_VCPUS);
	if (!c->max_vcpus)
		c->max_vcpus = (unsigned)cap(en, KVM_CAP_NR_VCPUS);
	if (en->cfg.n_vcpus > c->max_vcpus)
		return err_set(e, EINVAL, "KVM here runs at most %u vCPUs in a VM, not %u",
			       c->max_vcpus, en->cfg.n_vcpus);
	if (!cap(en, KVM_CAP_IRQCHIP) || !cap(en, KVM_CAP_IRQ_ROUTING) || !c->signal_msi)
		return err_set(e, ENODEV, "KVM here has no interrupt controllers of its own");
	if (!c->immediate_exit || !c->vcpu_events)
		return err_set(e, ENODEV, "KVM here is too old: Linux 4.13 or later is needed");
	return 0;
}

static int add_memory(struct engine *en, struct err *e)
{
	const struct gmem *m = en->cfg.mem;

	for (unsigned i = 0; i < m->n_regions; i++) {
		struct kvm_userspace_memory_region slot = {
			.slot = i,
			.guest_phys_addr = m->region[i].gpa,
			.memory_size = m->region[i].size,
			.userspace_addr = (uintptr_t)m->region[i].hva,
		};
		int r = kvm_ioctl(en->made.vm, KVM_SET_USER_MEMORY_REGION, &slot);

		if (r < 0)
			return err_errno(e, -r,
					 "KVM does not take %" PRIu64
					 " MiB of guest memory at %#" PRIx64,
					 m->region[i].size / MIB, m->region[i].gpa);
	}
	return 0;
}

/* Pages that only Intel processors without "unrestricted guest" need; the calls must come before the first vCPU. */
static void reserve_pages(struct engine *en)
{
	uint64_t map = KVM_IDENTITY_MAP;

	(void)ioctl(en->made.vm, KVM_SET_IDENTITY_MAP_ADDR, &map);
	(void)ioctl(en->made.vm, KVM_SET_TSS_ADDR, (unsigned long)KVM_TSS);
}

/* MSRs that KVM does not know come to run.c, so that a guest sees those that the software engine shows. */
static void take_unknown_msrs(struct engine *en)
{
	struct kvm_enable_cap c = {.cap = KVM_CAP_X86_USER_SPACE_MSR,
				   .args = {KVM_MSR_EXIT_REASON_UNKNOWN}};

	if (en->caps.user_msr && ioctl(en->made.vm, KVM_ENABLE_CAP, &c) < 0)
		en->caps.user_msr = false;
}

/*
 * No performance counters: on AMD's processors a guest could use four of them whatever CPUID says, and would miss them where it is
 * moved to (Linux 5.18; api, 8.35).
 */
static void without_counters(struct engine *en)
{
	struct kvm_enable_cap c = {.cap = KVM_CAP_PMU_CAPABILITY, .args = {KVM_PMU_CAP_DISABLE}};

	(void)ioctl(en->made.vm, KVM_ENABLE_CAP, &c);
}

/*
 * MSRs of KVM and of Hyper-V that CPUID does not show are #GP: else KVM serves all that it has to any guest that knows their numbers, none of
 * which we save or reset (Linux 5.10 and 5.14; api, 4.71 and 7.24).
 */
static void only_what_is_shown(const struct engine_vcpu *v)
{
	static const uint32_t caps[] = {KVM_CAP_ENFORCE_PV_FEATURE_CPUID,
					KVM_CAP_HYPERV_ENFORCE_CPUID};

	for (unsigned i = 0; i < ARRAY_SIZE(caps); i++) {
		struct kvm_enable_cap c = {.cap = caps[i], .args = {1}};

		(void)ioctl(v->fd, KVM_ENABLE_CAP, &c);
	}
}

/* Writes to latches are kept by the kernel until there is another exit (api, 4.116). */
static void coalesce_latches(struct engine *en)
{
	for (unsigned i = 0; i < en->cfg.n_latch_ports && en->caps.coalesced; i++) {
		struct kvm_coalesced_mmio_zone zone = {.addr = en->cfg.latch_port[i],
						       .size = 1,
						       .pio = 1};

		if (ioctl(en->made.vm, KVM_REGISTER_COALESCED_MMIO, &zone) < 0)
			en->caps.coalesced = 0;
	}
}

static void kvm_close(struct engine *en)
{
	if (!en)
		return;
	if (en->cfg.mem->hook.ctx == en)
		en->cfg.mem->hook = (struct gmem_hook){0};
	pthread_mutex_destroy(&en->ring_lock);
	pthread_mutex_destroy(&en->dirty_lock);
	pthread_mutex_destroy(&en->out_lock);
	pthread_cond_destroy(&en->out);
	free(en->supported);
	kvm_made_close(&en->made);
	free(en);
}

static int kvm_open(struct engine **out, const struct engine_config *cfg, struct err *e)
{
	struct engine *en = calloc(1, sizeof(*en) + cfg->n_vcpus * sizeof(struct engine_vcpu *));
	int r;

	*out = NULL;
	if (!en) {
		kvm_abandon(cfg->begun);
		return err_set(e, ENOMEM, "out of memory");
	}
	en->cfg = *cfg;
	pthread_mutex_init(&en->ring_lock, NULL);
	pthread_mutex_init(&en->dirty_lock, NULL);
	pthread_mutex_init(&en->out_lock, NULL);
	pthread_cond_init(&en->out, NULL);
	en->tsc_khz = cfg->tsc_khz;
	r = kvm_made_get(cfg->begun, cfg->kvm_fd, &en->made, e);
	if (r == 0)
		r = look(en, e);
	if (r == 0)
		r = kvm_irqchip_create(en, e);
	if (r == 0)
		r = kvm_pit_create(en, e);
	if (r == 0)
		r = kvm_dirty_init(en, e);
	if (r == 0)
		r = add_memory(en, e);
	if (r < 0) {
		kvm_close(en);
		return r;
	}
	kvm_tsc_host_rate(en);
	reserve_pages(en);
	take_unknown_msrs(en);
	without_counters(en);
	coalesce_latches(en);
	cfg->mem->hook = (struct gmem_hook){.collect = kvm_dirty_collect, .ctx = en};
	*out = en;
	return 0;
}

/* ---- vCPUs ---- */

static void kvm_vcpu_destroy(struct engine_vcpu *v)
{
	if (!v)
		return;
	if (v->index == 0)
		v->en->ring = NULL;
	kvm_dirty_unmap(v);
	if (v->run)
		munmap(v->run, v->en->made.run_size);
	base_close_fd(&v->fd);
	v->en->vcpu[v->index] = NULL;
	free(v);
}

static int kvm_vcpu_create(struct engine *en, unsigned index, struct engine_vcpu **out,
			   struct err *e)
{
	struct engine_vcpu *v = calloc(1, sizeof(*v));
	void *run;
	int r;

	*out = NULL;
	if (!v)
		return err_set(e, ENOMEM, "no memory for vCPU %u", index);
	v->en = en;
	v->index = index;
	v->fd = ioctl(en->made.vm, KVM_CREATE_VCPU, (unsigned long)index);
	if (v->fd < 0) {
		r = err_errno(e, errno, "KVM cannot make vCPU %u", index);
		goto fail;
	}
	(void)fcntl(v->fd, F_SETFD, FD_CLOEXEC);
	run = mmap(NULL, en->made.run_size, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
	if (run == MAP_FAILED) {
		r = err_errno(e, errno, "cannot map the shared page of vCPU %u", index);
		goto fail;
	}
	v->run = run;
	kvm_tsc_vcpu_rate(v);
	if (index == 0 && en->caps.coalesced)
		en->ring = (void *)((uint8_t *)run +
				    en->caps.coalesced * (size_t)sysconf(_SC_PAGESIZE));
	r = kvm_dirty_map(v, e);
	if (r == 0 && index == 0)
		r = kvm_cpuid_init(en, e);
	if (r == 0)
		r = kvm_cpuid_set(v, e);
	if (r < 0)
		goto fail;
	only_what_is_shown(v);
	en->caps.tsc_offset = ioctl(v->fd, KVM_HAS_DEVICE_ATTR,
				    &(struct kvm_device_attr){.group = KVM_VCPU_TSC_CTRL,
							      .attr = KVM_VCPU_TSC_OFFSET}) == 0;
	en->vcpu[index] = v;
	en->n_vcpus++;
	*out = v;
	return 0;
fail:
	kvm_vcpu_destroy(v);
	return r;
}

static void kvm_cpuid(struct engine *en, uint32_t leaf, uint32_t sub, uint32_t out[4])
{
	cpuid_get(&en->cpuid, leaf, sub, 0, &out[CPUID_EAX], &out[CPUID_EBX], &out[CPUID_ECX],
		  &out[CPUID_EDX]);
}

static int kvm_doorbell(struct engine *en, uint64_t gpa, unsigned size, const uint64_t *match,
			int fd, bool on)
{
	struct kvm_ioeventfd io = {
		.addr = gpa,
		.len = size,
		.fd = fd,
		.datamatch = match ? *match : 0,
		.flags = (match ? KVM_IOEVENTFD_FLAG_DATAMATCH : 0) |
			 (on ? 0 : KVM_IOEVENTFD_FLAG_DEASSIGN),
	};

	return kvm_ioctl(en->made.vm, KVM_IOEVENTFD, &io);
}

static int kvm_stats_text(struct engine *en, char *buf, size_t size)
{
	struct kvm_stats sum = {0};

	for (unsigned i = 0; i < en->cfg.n_vcpus; i++) {
		const struct engine_vcpu *v = en->vcpu[i];

#define ADD(field) (sum.field += v ? __atomic_load_n(&v->stats.field, __ATOMIC_RELAXED) : 0)
		ADD(n_coalesced);
		ADD(n_exits);
		ADD(n_port_in);
		ADD(n_port_out);
		ADD(n_mmio_read);
		ADD(n_mmio_write);
		ADD(n_msr);
		ADD(n_kicks);
		ADD(n_other);
		ADD(n_ring_full);
#undef ADD
	}
	return snprintf(buf, size,
			"kvm.exits %" PRIu64 "\nkvm.late_writes %" PRIu64 "\nkvm.port_in %" PRIu64
			"\nkvm.port_out %" PRIu64 "\nkvm.mmio_read %" PRIu64
			"\nkvm.mmio_write %" PRIu64 "\nkvm.msr %" PRIu64 "\nkvm.kicks %" PRIu64
			"\nkvm.other %" PRIu64 "\nkvm.ring_full %" PRIu64 "\n",
			sum.n_exits, sum.n_coalesced, sum.n_port_in, sum.n_port_out, sum.n_mmio_read,
			sum.n_mmio_write, sum.n_msr, sum.n_kicks, sum.n_other, sum.n_ring_full);
}

const struct engine_class engine_kvm = {
	.name = "kvm",
	.help = "the host kernel's virtualization",
	.begin = kvm_begin,
	.abandon = kvm_abandon,
	.open = kvm_open,
	.close = kvm_close,
	.vcpu_create = kvm_vcpu_create,
	.vcpu_destroy = kvm_vcpu_destroy,
	.vcpu_attach = kvm_run_attach,
	.run = kvm_run_loop,
	.kick = kvm_run_kick,
	.nmi = kvm_run_nmi,
	.get_state = kvm_state_get,
	.set_state = kvm_state_set,
	.dirty_sync = kvm_dirty_sync,
	.get_lapic = kvm_chips_get_lapic,
	.set_lapic = kvm_chips_set_lapic,
	.get_ioapic = kvm_chips_get_ioapic,
	.set_ioapic = kvm_chips_set_ioapic,
	.get_pic = kvm_chips_get_pic,
	.set_pic = kvm_chips_set_pic,
	.has_pit = kvm_pit_there,
	.get_pit = kvm_pit_get,
	.set_pit = kvm_pit_set,
	.get_clock = kvm_tsc_get_clock,
	.set_clock = kvm_tsc_set_clock,
	.set_tsc_khz = kvm_tsc_set_khz,
	.tsc_scaled = kvm_tsc_scaled,
	.cpuid = kvm_cpuid,
	.doorbell = kvm_doorbell,
	.irqchip = &kvm_irqchip,
	.stats = kvm_stats_text,
};

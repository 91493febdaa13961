/* SPDX-License-Identifier: Apache-2.0 */
/*
 * probe.c - what KVM on this host can really do.
 *
 * Theory of operation. A /dev/kvm that opens says little: there are KVMs that emulate every
 * instruction of guest kernel code (hundreds of ns each) and cannot go to guest user code and back,
 * which is of no use for a whole operating system. So a child process makes a VM with one vCPU in
 * 64-bit mode and a few pages, and runs:
 *
 *   ROUNDS times:  OUT mark; OUT mark; 2000 instructions at CPL 0; OUT mark
 *   SYSRETQ to CPL 3, which adds up CS and does SYSCALL; the kernel goes back by IRETQ; the same
 *   again; OUT of the sum, which is right only if both ways to CPL 3 worked.
 *
 * The time between the first two marks is an exit and entry; from the second to the third it is the
 * same plus the loop. The best round counts, so a busy host does not look like a slow KVM.
 *
 * Nothing can hang the caller: the vCPU runs under a timer of processor time whose signal ends
 * KVM_RUN, and the caller reads the child's reports from a pipe with a deadline, after which it
 * kills the child. Each report is the whole state so far; the last one that came is judged. A child
 * also keeps the slow teardown of a VM out of the way.
 */
#include "engine/kvm/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/kvm.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "engine/kvm/absent.h"
#include "engine/kvm/support.h"
#include "util/clock.h"
#include "x86/cpuid_model.h"

#define PROBE_API_VERSION 12 /* Documentation/virt/kvm/api.rst, 4.1: the only one */
#define PROBE_ROUNDS 3u
#define PROBE_LOOP_INSNS 2000u
#define PROBE_SLOW_PS \
	150000u /* an instruction of kernel code takes a real processor well under 5 ns */
#define PROBE_RUN_MS \
	40u /* processor time that the vCPU gets: a busy host does not make it shorter */
#define PROBE_WAIT_MS 1000u  /* and how long the caller waits for it */
#define PROBE_SETUP_MS 2500u /* making a VM may take long on a busy or an emulated host */
#define PROBE_CPUID_ENTRIES 128u

/* The test guest's memory. */
#define GUEST_SIZE 0x10000u
#define GUEST_PML4 0x1000u
#define GUEST_PDPT 0x2000u
#define GUEST_PD 0x3000u
#define GUEST_GDT 0x4000u
#define GUEST_TSS 0x5000u
#define GUEST_KERNEL 0x8000u
#define GUEST_SYSCALL 0x8800u
#define GUEST_USER 0x9000u
#define GUEST_STACK 0xb000u
#define PORT_MARK 0xe0
#define PORT_SUM 0xe1

/* Selectors, laid out as SYSCALL and SYSRET want them (SDM vol. 3 §5.8.8). */
#define SEL_KERNEL_CS 0x08u
#define SEL_USER_BASE 0x13u /* SYSRETQ: SS = base + 8, CS = base + 16 */
#define SEL_USER_SS 0x1bu
#define SEL_USER_CS 0x23u
#define SEL_TSS 0x28u

#define MSR_STAR 0xc0000081u
#define MSR_LSTAR 0xc0000082u
#define MSR_SFMASK 0xc0000084u

enum probe_stage {
	STAGE_BEGIN,
	STAGE_API,   /* KVM_GET_API_VERSION */
	STAGE_VM,    /* KVM_CREATE_VM */
	STAGE_VCPU,  /* vCPU and its state */
	STAGE_RUN,   /* in the guest */
	STAGE_TIMED, /* at least one round is over */
	STAGE_DONE,  /* the sum came, right or wrong */
};

/* What the child reports. */
struct probe_report {
	enum probe_stage stage;	   /* reached */
	int error;		   /* errno of the step that failed, or 0 */
	int exit_reason;	   /* unexpected KVM_EXIT_*, or -1 */
	uint64_t exit_ns, loop_ns; /* best round */
	unsigned rounds;
	uint32_t sum;
};

/* clang-format off */
static const uint8_t guest_kernel[] = {
	/* 00 */ 0xe6, PORT_MARK,		/* out PORT_MARK, al */
	/* 02 */ 0xe6, PORT_MARK,		/* out PORT_MARK, al */
	/* 04 */ 0xb9, 0xe8, 0x03, 0x00, 0x00,	/* mov ecx, 1000 */
	/* 09 */ 0xff, 0xc9,			/* 1: dec ecx */
	/* 0b */ 0x75, 0xfc,			/* jnz 1b */
	/* 0d */ 0xe6, PORT_MARK,		/* out PORT_MARK, al */
	/* 0f */ 0xff, 0xcb,			/* dec ebx */
	/* 11 */ 0x75, 0xed,			/* jnz 0 */
	/* 13 */ 0xb9, 0x00, 0x90, 0x00, 0x00,	/* mov ecx, GUEST_USER */
	/* 18 */ 0x41, 0xbb, 0x02, 0x00, 0x00, 0x00, /* mov r11d, 2 */
	/* 1e */ 0x48, 0x0f, 0x07,		/* sysretq */
};
static const uint8_t guest_syscall[] = {
	/* 00 */ 0x83, 0xfe, 0x01,		/* cmp esi, 1 */
	/* 03 */ 0x75, 0x0e,			/* jne 13 */
	/* 05 */ 0x6a, SEL_USER_SS,		/* push SS */
	/* 07 */ 0x54,				/* push rsp */
	/* 08 */ 0x6a, 0x02,			/* push RFLAGS */
	/* 0a */ 0x6a, SEL_USER_CS,		/* push CS */
	/* 0c */ 0x68, 0x00, 0x90, 0x00, 0x00,	/* push GUEST_USER */
	/* 11 */ 0x48, 0xcf,			/* iretq */
	/* 13 */ 0x89, 0xf8,			/* mov eax, edi */
	/* 15 */ 0xe7, PORT_SUM,		/* out PORT_SUM, eax */
	/* 17 */ 0xf4,				/* hlt */
};
static const uint8_t guest_user[] = {
	0x8c, 0xc8, /* mov eax, cs */
	0x01, 0xc7, /* add edi, eax */
	0xff, 0xc6, /* inc esi */
	0x0f, 0x05, /* syscall */
};
/* clang-format on */
#define GUEST_SUM (2 * SEL_USER_CS)

static void put64(uint8_t *mem, uint32_t at, uint64_t v)
{
	memcpy(mem + at, &v, sizeof(v));
}

static void guest_load(uint8_t *mem)
{
	const uint64_t table = 0x7; /* present, writable, user */

	put64(mem, GUEST_PML4, GUEST_PDPT | table);
	put64(mem, GUEST_PDPT, GUEST_PD | table);
	put64(mem, GUEST_PD, 0x87); /* one 2 MiB page at 0 */
	put64(mem, GUEST_GDT + SEL_KERNEL_CS, UINT64_C(0x00af9b000000ffff));
	put64(mem, GUEST_GDT + 0x10, UINT64_C(0x00cf93000000ffff));
	put64(mem, GUEST_GDT + 0x18, UINT64_C(0x00cff3000000ffff));
	put64(mem, GUEST_GDT + 0x20, UINT64_C(0x00affb000000ffff));
	put64(mem, GUEST_GDT + SEL_TSS, UINT64_C(0x00008b0000000067) | (uint64_t)GUEST_TSS << 16);
	memcpy(mem + GUEST_KERNEL, guest_kernel, sizeof(guest_kernel));
	memcpy(mem + GUEST_SYSCALL, guest_syscall, sizeof(guest_syscall));
	memcpy(mem + GUEST_USER, guest_user, sizeof(guest_user));
}

static int vcpu_cpuid(int kvm, int vcpu)
{
	union {
		struct kvm_cpuid2 head;
		uint8_t bytes[sizeof(struct kvm_cpuid2) +
			      PROBE_CPUID_ENTRIES * sizeof(struct kvm_cpuid_entry2)];
	} cpuid;

	memset(&cpuid, 0, sizeof(cpuid));
	cpuid.head.nent = PROBE_CPUID_ENTRIES;
	if (ioctl(kvm, KVM_GET_SUPPORTED_CPUID, &cpuid) < 0)
		return -1;
	return ioctl(vcpu, KVM_SET_CPUID2, &cpuid);
}

static int vcpu_state(int vcpu)
{
	const struct kvm_segment code = {.limit = 0xffffffff,
					 .selector = SEL_KERNEL_CS,
					 .type = 0xb,
					 .present = 1,
					 .s = 1,
					 .l = 1,
					 .g = 1};
	const struct kvm_segment data = {.limit = 0xffffffff,
					 .selector = 0x10,
					 .type = 0x3,
					 .present = 1,
					 .s = 1,
					 .db = 1,
					 .g = 1};
	const struct kvm_segment tss = {
		.base = GUEST_TSS, .limit = 0x67, .selector = SEL_TSS, .type = 0xb, .present = 1};
	const struct kvm_regs regs = {.rip = GUEST_KERNEL,
				      .rsp = GUEST_STACK,
				      .rflags = 2,
				      .rbx = PROBE_ROUNDS};
	union {
		struct kvm_msrs head;
		uint8_t bytes[sizeof(struct kvm_msrs) + 3 * sizeof(struct kvm_msr_entry)];
	} msrs;
	const struct kvm_msr_entry entry[3] = {
		{.index = MSR_STAR,
		 .data = (uint64_t)SEL_USER_BASE << 48 | (uint64_t)SEL_KERNEL_CS << 32},
		{.index = MSR_LSTAR, .data = GUEST_SYSCALL},
		{.index = MSR_SFMASK, .data = 0},
	};
	struct kvm_sregs s;

	if (ioctl(vcpu, KVM_GET_SREGS, &s) < 0)
		return -1;
	s.cs = code;
	s.ds = s.es = s.fs = s.gs = s.ss = data;
	s.tr = tss;
	s.ldt = (struct kvm_segment){.unusable = 1};
	s.gdt = (struct kvm_dtable){.base = GUEST_GDT, .limit = 0x37};
	s.idt = (struct kvm_dtable){0}; /* any exception is a triple fault, which is an answer too */
	s.cr0 = 0x80010033;		/* PG, WP, NE, ET, MP, PE */
	s.cr3 = GUEST_PML4;
	s.cr4 = 0x620;	/* OSXMMEXCPT, OSFXSR, PAE */
	s.efer = 0x501; /* LMA, LME, SCE */
	if (ioctl(vcpu, KVM_SET_SREGS, &s) < 0)
		return -1;
	memset(&msrs, 0, sizeof(msrs));
	msrs.head.nmsrs = 3;
	memcpy(msrs.bytes + sizeof(struct kvm_msrs), entry, sizeof(entry));
	if (ioctl(vcpu, KVM_SET_MSRS, &msrs) != 3)
		return -1;
	return ioctl(vcpu, KVM_SET_REGS, &regs);
}

/* ---- the child: only system calls, no allocation, no stdio ---- */

static void child_signal(int sig)
{
	(void)sig;
}

static uint64_t child_cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * CLOCK_NS_PER_S + (uint64_t)ts.tv_nsec;
}

static void child_report(int out, struct probe_report *r, enum probe_stage stage)
{
	ssize_t n;

	r->stage = stage;
	n = write(out, r, sizeof(*r));
	(void)n; /* nobody is left to tell */
}

static void child_timer(void)
{
	const struct sigaction sa = {.sa_handler = child_signal}; /* no SA_RESTART: KVM_RUN ends */
	/* It repeats, in case the first one hits between two KVM_RUNs. */
	const struct itimerval timer = {.it_value = {.tv_usec = PROBE_RUN_MS * 1000},
					.it_interval = {.tv_usec = 1000}};
	sigset_t set;

	sigaction(SIGPROF, &sa, NULL);
	sigemptyset(&set);
	sigaddset(&set, SIGPROF);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	setitimer(ITIMER_PROF, &timer, NULL);
}

static void child_run(int vcpu, const struct kvm_run *run, int out, struct probe_report *r)
{
	uint64_t deadline = child_cpu_ns() + PROBE_RUN_MS * CLOCK_NS_PER_MS, mark[3] = {0};
	unsigned marks = 0;

	for (;;) {
		if (ioctl(vcpu, KVM_RUN, 0) < 0) {
			if (errno == EINTR && child_cpu_ns() < deadline)
				continue;
			r->error = errno;
			child_report(out, r, r->stage);
			return;
		}
		if (run->exit_reason == KVM_EXIT_INTR && child_cpu_ns() < deadline)
			continue;
		if (run->exit_reason == KVM_EXIT_IO && run->io.port == PORT_MARK) {
			mark[marks++ % 3] = clock_ns();
			if (marks % 3)
				continue;
			if (!r->rounds || mark[1] - mark[0] < r->exit_ns)
				r->exit_ns = mark[1] - mark[0];
			if (!r->rounds || mark[2] - mark[1] < r->loop_ns)
				r->loop_ns = mark[2] - mark[1];
			r->rounds++;
			child_report(out, r, STAGE_TIMED);
			continue;
		}
		if (run->exit_reason == KVM_EXIT_IO && run->io.port == PORT_SUM) {
			memcpy(&r->sum, (const uint8_t *)run + run->io.data_offset, sizeof(r->sum));
			child_report(out, r, STAGE_DONE);
			return;
		}
		r->exit_reason = (int)run->exit_reason;
		child_report(out, r, r->stage);
		return;
	}
}

static void child_main(int kvm, int out)
{
	struct probe_report r = {.exit_reason = -1};
	struct kvm_userspace_memory_region region = {.memory_size = GUEST_SIZE};
	uint8_t *mem;
	void *run;
	int vm, vcpu, size;

	r.error = ioctl(kvm, KVM_GET_API_VERSION, 0) == PROBE_API_VERSION ? 0 : ENOTTY;
	child_report(out, &r, STAGE_API);
	if (r.error)
		return;
	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	r.error = vm < 0 ? errno : 0;
	child_report(out, &r, STAGE_VM);
	if (r.error)
		return;
	/* Old processors need a hidden TSS; others ignore it. */
	ioctl(vm, KVM_SET_TSS_ADDR, 0xfffbd000ul);
	mem = mmap(NULL, GUEST_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (mem != MAP_FAILED)
		guest_load(mem);
	region.userspace_addr = (uintptr_t)mem;
	vcpu = -1;
	size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	run = MAP_FAILED;
	if (mem != MAP_FAILED && size > 0 && ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) == 0)
		vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	if (vcpu >= 0)
		run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	if (run == MAP_FAILED || vcpu_cpuid(kvm, vcpu) < 0 || vcpu_state(vcpu) < 0)
		r.error = errno ? errno : EIO;
	child_report(out, &r, STAGE_VCPU);
	if (r.error)
		return;
	child_timer();
	child_report(out, &r, STAGE_RUN);
	child_run(vcpu, run, out, &r);
}

/* ---- the caller's side ---- */

/* Reads reports until the child closes the pipe or the time is over; the last one is left in *r. */
static void probe_collect(int in, struct probe_report *r)
{
	uint64_t deadline = clock_ns() + PROBE_SETUP_MS * CLOCK_NS_PER_MS;

	for (;;) {
		struct pollfd p = {.fd = in, .events = POLLIN};
		uint64_t now = clock_ns();
		struct probe_report next;
		ssize_t n;

		if (now >= deadline)
			return;
		if (poll(&p, 1, (int)((deadline - now) / CLOCK_NS_PER_MS) + 1) <= 0)
			continue;
		n = read(in, &next, sizeof(next)); /* whole: far below PIPE_BUF */
		if (n < 0 && errno == EINTR)
			continue;
		if (n != (ssize_t)sizeof(next))
			return;
		*r = next;
		if (r->stage == STAGE_DONE || r->error || r->exit_reason >= 0)
			return;
		if (r->stage == STAGE_RUN)
			deadline = clock_ns() + PROBE_WAIT_MS * CLOCK_NS_PER_MS;
	}
}

/* The child has nothing more to say; taking its VM down may still need some ms, which are not ours
 * to wait for longer than this. What is left then is reaped when the caller ends. */
static void probe_reap(pid_t pid)
{
	const struct timespec pause = {.tv_nsec = 200000};

	kill(pid, SIGKILL);
	for (int i = 0; i < 100; i++) {
		pid_t r = waitpid(pid, NULL, WNOHANG);

		if (r == pid || (r < 0 && errno != EINTR))
			return;
		nanosleep(&pause, NULL);
	}
}

static void probe_say(struct kvm_probe *p, enum kvm_probe_result result, const char *fmt, ...)
	PRINTF_FORMAT(3, 4);

static void probe_say(struct kvm_probe *p, enum kvm_probe_result result, const char *fmt, ...)
{
	va_list ap;

	p->result = result;
	va_start(ap, fmt);
	vsnprintf(p->why, sizeof(p->why), fmt, ap);
	va_end(ap);
}

/* The name of a group: from the file, not by what nsswitch.conf asks, for which a static program would load libraries. */
static void group_name(gid_t gid, char *name, size_t size)
{
	FILE *f = fopen("/etc/group", "re");
	struct group *g = NULL;

	if (f)
		do
			g = fgetgrent(f);
		while (g && g->gr_gid != gid);
	snprintf(name, size, "%s", g ? g->gr_name : "");
	if (f)
		fclose(f);
}

static void probe_open_failed(struct kvm_probe *p, int code)
{
	char why[96], group[64];
	struct kvm_absent absent;
	struct stat st;

	if (code == ENOENT || code == ENODEV || code == ENXIO) {
		kvm_absent_look(&absent);
		kvm_absent_say(&absent, p->why, sizeof(p->why));
		p->result = KVM_PROBE_ABSENT;
		return;
	}
	if ((code == EACCES || code == EPERM) && stat("/dev/kvm", &st) == 0) {
		group_name(st.st_gid, group, sizeof(group));
		if ((st.st_mode & 0060) == 0060 && *group && st.st_gid)
			probe_say(p, KVM_PROBE_PERMISSION,
				  "no permission to open /dev/kvm: become a member of the group \"%s\"",
				  group);
		else
			probe_say(p, KVM_PROBE_PERMISSION,
				  "no permission to open /dev/kvm: only its owner may, not its group \"%s\"",
				  *group ? group : "?");
		return;
	}
	probe_say(p, code == EACCES || code == EPERM ? KVM_PROBE_PERMISSION : KVM_PROBE_BROKEN,
		  "/dev/kvm cannot be opened: %s", strerror_r(code, why, sizeof(why)));
}

static void probe_judge(struct kvm_probe *p, const struct probe_report *r)
{
	char why[96];
	const char *text = r->error ? strerror_r(r->error, why, sizeof(why)) : "no answer in time";

	if (r->rounds && r->loop_ns > r->exit_ns)
		p->kernel_insn_ps = (r->loop_ns - r->exit_ns) * 1000 / PROBE_LOOP_INSNS;
	p->sysret_works = r->stage == STAGE_DONE && r->sum == GUEST_SUM;
	switch (r->stage) {
	case STAGE_BEGIN: probe_say(p, KVM_PROBE_BROKEN, "KVM here does not answer"); return;
	case STAGE_API:
		if (r->error)
			probe_say(p, KVM_PROBE_BROKEN,
				  "/dev/kvm here is not a KVM of API version 12");
		else
			probe_say(p, KVM_PROBE_BROKEN, "KVM here does not answer");
		return;
	case STAGE_VM:
		probe_say(p, KVM_PROBE_BROKEN, "KVM here cannot make a virtual machine: %s", text);
		return;
	case STAGE_VCPU:
		probe_say(p, KVM_PROBE_BROKEN, "KVM here cannot make a virtual processor: %s", text);
		return;
	case STAGE_RUN:
		probe_say(p, KVM_PROBE_BROKEN, "KVM here cannot run guest kernel code (%s)",
			  r->exit_reason >= 0 ? "it gave up" :
						"it did not get through a loop in time");
		return;
	case STAGE_TIMED:
	case STAGE_DONE: break;
	}
	if (p->kernel_insn_ps > PROBE_SLOW_PS)
		probe_say(p, KVM_PROBE_SLOW,
			  "KVM here emulates guest kernel code (%llu ns an instruction)%s: it is a PVM, without hardware virtualization",
			  (unsigned long long)(p->kernel_insn_ps / 1000),
			  p->sysret_works ? "" : " and cannot do SYSRET and IRETQ");
	else if (!p->sysret_works)
		probe_say(
			p, KVM_PROBE_BROKEN,
			"KVM here cannot switch between guest kernel and user code (SYSRET, IRETQ, SYSCALL)");
	else
		probe_say(p, KVM_PROBE_USABLE,
			  "KVM here runs guest kernel code natively (%llu.%llu ns an instruction)",
			  (unsigned long long)(p->kernel_insn_ps / 1000),
			  (unsigned long long)(p->kernel_insn_ps / 100 % 10));
}

static void probe_run(struct kvm_probe *p, int kvm)
{
	struct probe_report r = {.exit_reason = -1};
	int pipe_fd[2];
	char why[96];
	pid_t pid;

	if (pipe2(pipe_fd, O_CLOEXEC) < 0) {
		probe_say(p, KVM_PROBE_BROKEN, "KVM here was not tried: %s",
			  strerror_r(errno, why, sizeof(why)));
		return;
	}
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(pipe_fd[0]);
		child_main(kvm, pipe_fd[1]);
		_exit(0);
	}
	close(pipe_fd[1]);
	if (pid < 0) {
		probe_say(p, KVM_PROBE_BROKEN, "KVM here was not tried: %s",
			  strerror_r(errno, why, sizeof(why)));
	} else {
		probe_collect(pipe_fd[0], &r);
		probe_reap(pid);
		probe_judge(p, &r);
	}
	close(pipe_fd[0]);
}

/* What the engine would use (docs/engines.md), whether or not guests run. */
static void probe_features(struct kvm_probe *p, int kvm)
{
	static const struct {
		int cap;
		const char *name;
	} known[] = {
		{KVM_CAP_IRQCHIP, "interrupt controllers"},
		{KVM_CAP_SIGNAL_MSI, "MSI"},
		{KVM_CAP_IOEVENTFD, "doorbells"},
		{KVM_CAP_TSC_DEADLINE_TIMER, "TSC-deadline timer"},
		{KVM_CAP_COALESCED_PIO, "late port writes"},
		{KVM_CAP_X86_USER_SPACE_MSR, "MSRs of ours"},
		{KVM_CAP_XSAVE, "AVX state"},
		{KVM_CAP_PIT_STATE2, "interval timer"},
		{KVM_CAP_DIRTY_LOG_RING, "dirty rings"},
	};
	int max = ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPUS);
	struct kvm_cpuid2 *support;
	size_t at = 0;

	p->max_vcpus = max > 0 ? (unsigned)max : 0;
	for (unsigned i = 0; i < ARRAY_SIZE(known) && at < sizeof(p->has); i++)
		if (ioctl(kvm, KVM_CHECK_EXTENSION, known[i].cap) > 0)
			at += (size_t)snprintf(p->has + at, sizeof(p->has) - at, "%s%s",
					       at ? ", " : "", known[i].name);
	if (kvm_support_read(kvm, &support) < 0)
		return;
	kvm_support_use(support);
	cpuid_model_list(kvm_support_source, p->models, sizeof(p->models));
	kvm_support_use(NULL);
	free(support);
}

void kvm_probe(struct kvm_probe *out)
{
	uint64_t start = clock_ns();
	_autoclose int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	memset(out, 0, sizeof(*out));
	if (kvm < 0) {
		probe_open_failed(out, errno);
	} else {
		probe_features(out, kvm);
		probe_run(out, kvm);
	}
	out->took_ns = clock_ns() - start;
}

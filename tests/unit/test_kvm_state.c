/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_kvm_state.c - the state of a KVM vCPU comes back as it was set: thousands of random ones, and that of a Linux guest which
 * boots and checks itself, and whose state is read, set again and read again hundreds of times meanwhile: what is
 * read must not change, and the guest must not notice.
 *
 * The guest's machine is whole (vm/machine.h) and paused each time. Environment: GUEST_KERNEL,
 * GUEST_INITRD. Without them, or where KVM does not run stock guests, that is skipped, and says so.
 */
#include "vm_fixture.h"

#include <stdlib.h>

#include "engine/kvm/probe.h"
#include "x86/cpuid.h"

#define RANDOM_STATES 2000u
#define TRIPS_MIN 100u
#define BETWEEN_NS 15000000

static struct {
	unsigned n;
	char wrong[80]; /* what differed first */
} trip;

static void differs(const char *what)
{
	if (!trip.wrong[0])
		snprintf(trip.wrong, sizeof(trip.wrong), "%s", what);
}

static bool same_dtr(const struct x86_dtr *a, const struct x86_dtr *b)
{
	return a->base == b->base && a->limit == b->limit;
}

/* Names what is not the same. */
static void compare(const struct x86_state *one, const struct x86_state *two)
{
	if (memcmp(one->gpr, two->gpr, sizeof(one->gpr)) || one->rip != two->rip ||
	    one->rflags != two->rflags)
		differs("registers");
	if (memcmp(one->seg, two->seg, sizeof(one->seg)) ||
	    memcmp(&one->ldt, &two->ldt, sizeof(one->ldt)) ||
	    memcmp(&one->tr, &two->tr, sizeof(one->tr)) || !same_dtr(&one->gdt, &two->gdt) ||
	    !same_dtr(&one->idt, &two->idt))
		differs("segments");
	if (one->cr0 != two->cr0 || one->cr2 != two->cr2 || one->cr3 != two->cr3 ||
	    one->cr4 != two->cr4 || one->cr8 != two->cr8 || one->xcr0 != two->xcr0)
		differs("control registers");
	if (memcmp(one->dr, two->dr, sizeof(one->dr)))
		differs("debug registers");
	for (unsigned i = 0; i < sizeof(one->msr) / 8; i++) {
		uint64_t a = ((const uint64_t *)&one->msr)[i], b = ((const uint64_t *)&two->msr)[i];
		char text[64];

		snprintf(text, sizeof(text), "field %u of the MSRs: %#llx and %#llx", i,
			 (unsigned long long)a, (unsigned long long)b);
		if (a != b)
			differs(text);
	}
	if (memcmp(&one->ev, &two->ev, sizeof(one->ev)))
		differs("events");
	if (memcmp(one->fx, two->fx, sizeof(one->fx)))
		differs("XSAVE area");
	if (memcmp(&one->avx512, &two->avx512, sizeof(one->avx512)))
		differs("AVX-512 state");
}

/* ---- random states ---- */

static uint64_t rng;

static uint64_t next(void) /* xorshift64 */
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng;
}

static uint64_t canonical(void)
{
	return (uint64_t)((int64_t)(next() << 16) >> 16);
}

/* Each byte one of these. */
static uint64_t bytes_of(const uint8_t *choice, unsigned n)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < 8; i++)
		v = v << 8 | choice[next() % n];
	return v;
}

/* As a processor can have loaded it: G follows from the limit, a loaded segment is accessed. Or none. */
static struct x86_seg segment(uint16_t attr, bool may_be_none)
{
	struct x86_seg s = {.sel = (uint16_t)next(), .attr = attr};

	if (may_be_none && next() % 4 == 0)
		return (struct x86_seg){.sel = (uint16_t)(next() & 3)};
	s.base = (uint32_t)next();
	if (next() % 2) {
		s.limit = (uint32_t)next() | 0xfff;
		if (s.limit > 0xfffff)
			s.attr |= X86_ATTR_G;
	} else {
		s.limit = (uint32_t)next() & 0xfffff;
	}
	return s;
}

static void random_fpu(struct x86_state *s, uint64_t xcr0_valid)
{
	uint64_t bv = next() & (X86_XCR0_X87 | X86_XCR0_SSE | (xcr0_valid & X86_XCR0_AVX));
	uint32_t mxcsr = (uint32_t)next() & 0xffff;

	memset(s->fx, 0, sizeof(s->fx));
	s->fx[0] = 0x7f;
	s->fx[1] = 0x03;
	if (bv & X86_XCR0_X87) {
		for (unsigned i = 2; i < 24; i++)
			s->fx[i] = (uint8_t)next();
		s->fx[5] = 0; /* reserved */
		s->fx[7] &= 7;
		for (unsigned r = 0; r < 8; r++)
			for (unsigned i = 0; i < 10; i++)
				s->fx[32 + 16 * r + i] = (uint8_t)next();
	}
	for (unsigned i = 0; (bv & X86_XCR0_SSE) && i < 256; i++)
		s->fx[X86_FX_XMM + i] = (uint8_t)next();
	for (unsigned i = 0; (bv & X86_XCR0_AVX) && i < 256; i++)
		s->fx[X86_FX_YMM_HI + i] = (uint8_t)next();
	for (unsigned i = 0; (xcr0_valid & X86_XCR0_AVX512) && i < sizeof(s->avx512); i++)
		((uint8_t *)&s->avx512)[i] = (uint8_t)next();
	memcpy(s->fx + 24, &mxcsr, sizeof(mxcsr));
	memcpy(s->fx + X86_FX_XSTATE_BV, &bv, sizeof(bv));
}

static void random_msrs(struct x86_msrs *m)
{
	static const uint8_t pat[] = {0, 1, 4, 5, 6, 7}, mtrr[] = {0, 1, 4, 5, 6};

	m->star = next();
	m->lstar = canonical();
	m->cstar = canonical();
	m->sfmask = (uint32_t)next();
	m->kernel_gs_base = canonical();
	m->sysenter_cs = (uint32_t)next(); /* AMD keeps 32 bits of these */
	m->sysenter_esp = (uint32_t)next() & 0x7fffffff;
	m->sysenter_eip = (uint32_t)next() & 0x7fffffff;
	m->pat = bytes_of(pat, sizeof(pat));
	m->tsc_aux = (uint32_t)next();
	m->tsc_adjust = next();
	m->tsc_offset = next();
	m->mtrr_def_type = 0xc00 | mtrr[next() % sizeof(mtrr)];
	for (unsigned i = 0; i < ARRAY_SIZE(m->mtrr_fixed); i++)
		m->mtrr_fixed[i] = bytes_of(mtrr, sizeof(mtrr));
}

static void random_state(struct x86_state *s, uint64_t xcr0_valid)
{
	enum { REAL, PROTECTED, LONG, MODES } mode = (unsigned)(next() % MODES);
	const uint16_t data = X86_ATTR_P | X86_ATTR_S | X86_ATTR_RW | X86_ATTR_ACCESSED;
	uint16_t dpl = mode == REAL ? 0 : (uint16_t)((next() & 3) << X86_ATTR_DPL_SHIFT);

	x86_state_reset(s, true);
	for (unsigned i = 0; i < 16; i++)
		s->gpr[i] = next();
	s->rip = mode == LONG ? canonical() : (uint32_t)next();
	s->rflags = X86_F1 | (next() & (X86_STATUS_FLAGS | X86_IF | X86_DF | X86_IOPL | X86_NT |
					X86_AC | X86_ID));
	s->cr0 = X86_CR0_ET | (next() & (X86_CR0_MP | X86_CR0_TS | X86_CR0_NE | X86_CR0_AM)) |
		 (mode == REAL ? 0 : X86_CR0_PE | (next() & X86_CR0_WP));
	s->cr2 = next();
	s->cr4 = next() & (X86_CR4_PSE | X86_CR4_PGE | X86_CR4_DE | X86_CR4_MCE | X86_CR4_TSD |
			   X86_CR4_OSFXSR | X86_CR4_OSXMMEXCPT);
	if (mode == LONG) {
		s->cr0 |= X86_CR0_PG;
		s->cr4 |= X86_CR4_PAE;
		s->cr3 = next() & 0xfffff000;
		s->msr.efer = X86_EFER_LME | X86_EFER_LMA;
	}
	s->msr.efer |= next() & (X86_EFER_SCE | X86_EFER_NXE);
	s->cr8 = next() & 0xf;
	for (unsigned i = 0; i < 4; i++)
		s->dr[i] = canonical();
	s->dr[6] = 0xffff0ff0 | (next() & 0xf);
	s->dr[7] = 0x400 | (next() & 0xffff00ff);
	for (unsigned i = 0; i < X86_SREGS; i++)
		s->seg[i] = segment(data | dpl, mode != REAL && i != X86_SS && i != X86_CS);
	s->seg[X86_CS].attr |= X86_ATTR_CODE | (mode == LONG ? X86_ATTR_L : 0);
	if (mode == LONG) {
		s->seg[X86_FS].base = canonical();
		s->seg[X86_GS].base = canonical();
	}
	s->ldt = segment(X86_ATTR_P | 2, true);
	s->tr = segment(X86_ATTR_P | 11, false);
	s->gdt = (struct x86_dtr){canonical(), (uint16_t)next()};
	s->idt = (struct x86_dtr){canonical(), (uint16_t)next()};
	s->xcr0 = xcr0_valid ? (xcr0_valid & X86_XCR0_AVX && next() % 2 ? 7 :
				next() % 2				? 3 :
									  1) :
			       1;
	random_msrs(&s->msr);
	random_fpu(s, xcr0_valid);
	s->ev.nmi_masked = next() % 2;
	s->ev.nmi_pending = next() % 2;
	s->ev.halted = next() % 2;
}

static bool stock_guests(void)
{
	struct kvm_probe probe;

	kvm_probe(&probe);
	if (!kvm_probe_usable(&probe))
		print_message("skipped: %s\n", probe.why);
	return kvm_probe_usable(&probe);
}

static void test_random_states(void **state)
{
	static struct x86_state want, one, two;
	struct gmem_range range = {0, 2 * MIB};
	struct engine_config c = {.n_vcpus = 1, .tsc_khz = clock_tsc_khz(), .kvm_fd = -1};
	struct engine_host host = {0};
	struct engine *en = NULL;
	struct engine_vcpu *v = NULL;
	struct err e = {0};
	uint32_t leaf[4];

	(void)state;
	if (!stock_guests())
		skip();
	assert_int_equal(gmem_create(&c.mem, &range, 1, -1, &e), 0);
	c.host = &host;
	assert_int_equal(engine_kvm.open(&en, &c, &e), 0);
	assert_int_equal(engine_kvm.vcpu_create(en, 0, &v, &e), 0);
	engine_kvm.cpuid(en, 0xd, 0, leaf);
	rng = UINT64_C(0x9e3779b97f4a7c15);
	trip.wrong[0] = '\0';
	for (unsigned i = 0; i < RANDOM_STATES; i++) {
		memset(&want, 0, sizeof(want));
		memset(&one, 0, sizeof(one));
		memset(&two, 0, sizeof(two));
		random_state(&want, leaf[CPUID_EAX]);
		assert_int_equal(engine_kvm.set_state(v, X86_STATE_ALL, &want), 0);
		engine_kvm.get_state(v, X86_STATE_ALL, &one);
		want.msr.misc_enable = one.msr.misc_enable; /* bits of the host's are in it */
		if (!one.msr.tsc_aux)
			want.msr.tsc_aux = 0; /* no RDTSCP here */
		compare(&want, &one);
		assert_int_equal(engine_kvm.set_state(v, X86_STATE_ALL, &one), 0);
		engine_kvm.get_state(v, X86_STATE_ALL, &two);
		compare(&one, &two);
		if (trip.wrong[0]) {
			static char text[16384];

			x86_state_print(&want, text, sizeof(text));
			print_message("state %u: %s\n--- set\n%s", i, trip.wrong, text);
			x86_state_print(&one, text, sizeof(text));
			print_message("--- read\n%s", text);
			break;
		}
	}
	assert_string_equal(trip.wrong, "");
	engine_kvm.vcpu_destroy(v);
	engine_kvm.close(en);
	gmem_destroy(c.mem);
}

/* ---- a running guest ---- */

/* The machine is paused. */
static void round_trip(struct engine_vcpu *v)
{
	static struct x86_state one, two;
	static struct irqchip_lapic l, l2;

	memset(&one, 0, sizeof(one));
	memset(&two, 0, sizeof(two));
	memset(&l, 0, sizeof(l));
	memset(&l2, 0, sizeof(l2));
	if (engine_kvm.get_lapic(v, &l) < 0)
		differs("what get_lapic() says");
	engine_kvm.get_state(v, X86_STATE_ALL, &one);
	if (engine_kvm.set_state(v, X86_STATE_ALL, &one) < 0)
		differs("what set_state() says");
	if (engine_kvm.set_lapic(v, &l) < 0)
		differs("what set_lapic() says");
	engine_kvm.get_state(v, X86_STATE_ALL, &two);
	if (engine_kvm.get_lapic(v, &l2) < 0)
		differs("what get_lapic() says");
	one.msr.tsc_deadline = two.msr.tsc_deadline = 0; /* the local APIC's */
	compare(&one, &two);
	if (l.timer_left_ns != IRQCHIP_NEVER && l2.timer_left_ns <= l.timer_left_ns)
		l2.timer_left_ns = l.timer_left_ns; /* it goes on */
	if (memcmp(&l, &l2, sizeof(l)))
		differs("local APIC");
	trip.n++;
}

static struct engine_vcpu *the_vcpu;

static int noting_vcpu_create(struct engine *en, unsigned index, struct engine_vcpu **out,
			      struct err *e)
{
	int r = engine_kvm.vcpu_create(en, index, out, e);

	the_vcpu = *out;
	return r;
}

static void test_running_guest(void **state)
{
	const char *kernel = getenv("GUEST_KERNEL"), *initrd = getenv("GUEST_INITRD");
	struct engine_class cls = engine_kvm;
	static char console[16384];
	struct err e = {0};
	size_t len = 0;

	(void)state;
	if (!kernel || !initrd) {
		print_message("skipped: no GUEST_KERNEL and GUEST_INITRD\n");
		skip();
	}
	if (!stock_guests())
		skip();
	cls.vcpu_create = noting_vcpu_create;
	fx_prepare(NULL);
	fx_console();
	close(fx.fds.fd[CONFIG_FD_KERNEL]);
	fx.fds.fd[CONFIG_FD_KERNEL] = open(kernel, O_RDONLY | O_CLOEXEC);
	fx.fds.fd[CONFIG_FD_INITRD] = open(initrd, O_RDONLY | O_CLOEXEC);
	strcpy(fx.cfg.initrd_name, "initrd");
	strcpy(fx.cfg.cmdline,
	       "console=ttyS0 quiet panic=-1 audit=0 lodge.mode=check lodge.token=t lodge.cpus=1 lodge.mib=128");
	fx.cfg.memory_bytes = 128 * MIB;
	fx.cfg.debug_exit = true;
	fx.cfg.rng = fx.cfg.balloon = false;
	if (machine_create(&fx.m, fx.loop, &fx.cfg, &fx.fds, &cls, &fx.owner, &e) < 0)
		fail_msg("%s", e.msg);
	trip.wrong[0] = '\0';
	assert_int_equal(machine_start(fx.m, &e), 0);
	assert_int_equal(fcntl(fx.out_r, F_SETFL, O_NONBLOCK), 0);
	for (uint64_t end = clock_ns() + 10 * DEADLINE_NS; !fx.ended && clock_ns() < end;) {
		uint64_t until = clock_ns() + BETWEEN_NS;
		ssize_t got;

		while (!fx.ended && clock_ns() < until)
			loop_run_once(fx.loop, 5);
		while (len < sizeof(console) - 1 &&
		       (got = read(fx.out_r, console + len, sizeof(console) - 1 - len)) > 0)
			len += (size_t)got;
		if (fx.ended || machine_pause(fx.m, &e) < 0)
			continue;
		round_trip(the_vcpu);
		assert_int_equal(machine_resume(fx.m, &e), 0);
	}
	print_message("%u times; the guest said:\n%s\n", trip.n, console);
	assert_string_equal(trip.wrong, "");
	/* Its word, and its end: as tests/bed/move.sh says, what it writes to the test device may not arrive in the bed. */
	assert_true(fx.ended);
	assert_non_null(strstr(console, "lodge-check: t pass"));
	assert_true(trip.n >= TRIPS_MIN);
	fx_finish();
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_random_states),
					   cmocka_unit_test(test_running_guest)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

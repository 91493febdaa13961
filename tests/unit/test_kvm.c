/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_kvm.c - the KVM engine, with the KVM that is here: small guests of a few instructions, kicks, and state that comes
 * back as it was set. Without /dev/kvm everything is skipped, and says so. A KVM that is not for whole
 * guests (the probe says so) can still do what is asked of it here, but for what the tests name.
 */
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "kvm_fixture.h"

/* Of the test in which two vCPUs write pages: more than fit into a ring. */
#define WRITERS_MEMORY (96 * MIB)
#define WRITERS_FIRST (16 * MIB / GMEM_PAGE)
#define WRITERS_PAGES 6000u

static int setup(void **state)
{
	return setup_n(state, 1, MEMORY, KVM_DIRTY_AUTO, KVM_PIT_BOARD);
}

static int setup_two(void **state)
{
	return setup_n(state, 2, MEMORY, KVM_DIRTY_AUTO, KVM_PIT_BOARD);
}

static int setup_ring(void **state)
{
	return setup_n(state, 1, MEMORY, KVM_DIRTY_RING, KVM_PIT_BOARD);
}

static int setup_two_log(void **state)
{
	return setup_n(state, 2, WRITERS_MEMORY, KVM_DIRTY_LOG, KVM_PIT_BOARD);
}

static int setup_two_ring(void **state)
{
	return setup_n(state, 2, WRITERS_MEMORY, KVM_DIRTY_RING, KVM_PIT_BOARD);
}

static void test_ports(void **state)
{
	struct fixture *f = fixture(state);
	static const uint8_t code[] = {
		0xb8, 0x34, 0x12, /* mov ax, 1234h */
		0xe7, PORT,	  /* out PORT, ax */
		0x66, 0xe5, PORT, /* in eax, PORT */
		0x66, 0xe7, PORT, /* out PORT, eax */
		0xbe, 0x00, 0x20, /* mov si, 2000h */
		0xba, PORT, 0x00, /* mov dx, PORT */
		0xb9, 0x03, 0x00, /* mov cx, 3 */
		0xf3, 0x6e,	  /* rep outsb */
		0xa2, 0x00, 0x30, /* mov [3000h], al */
		0x66, 0xe7, PORT, /* out PORT, eax */
		0xeb, 0xfe,	  /* jmp $ */
	};
	unsigned want = 6;

	assert_int_equal(gmem_write(f->mem, 0x2000, "abc", 3), 0);
	start(f, code, sizeof(code));
	f->kick_on_out = true;
	while (f->n_out < want)
		assert_int_equal(run(f), ENGINE_EXIT_KICK);
	assert_int_equal(f->out[0], 0x1234);
	assert_int_equal(f->out[1], 0x11223344);
	assert_int_equal(f->out[2], 'a');
	assert_int_equal(f->out[3], 'b');
	assert_int_equal(f->out[4], 'c');
	assert_int_equal(f->out[5], 0x11223344);
	assert_int_equal(*(uint8_t *)gmem_at(f->mem, 0x3000, 1), 0x44);
}

/* After a kick from inside of an access the instruction is complete, and RIP behind it. */
static void test_kick_completes(void **state)
{
	struct fixture *f = fixture(state);
	static const uint8_t code[] = {0x66, 0xe5, PORT, 0xe6, PORT, 0xe5, PORT, 0xeb, 0xfe};
	struct x86_state s;

	start(f, code, sizeof(code));
	f->kick_on_out = true;
	assert_int_equal(run(f), ENGINE_EXIT_KICK);
	engine_kvm.get_state(f->v[0], X86_STATE_GPR, &s);
	assert_int_equal(s.rip, CODE + 5);
	assert_int_equal(s.gpr[X86_RAX], 0x11223344);
	/* A kick before run() counts for it. */
	engine_kvm.kick(f->v[0], true);
	assert_int_equal(run(f), ENGINE_EXIT_KICK);
	engine_kvm.get_state(f->v[0], X86_STATE_GPR, &s);
	assert_int_equal(s.rip, CODE + 5);
}

static void test_mmio(void **state)
{
	struct fixture *f = fixture(state);
	static const uint8_t code[] = {
		0xb8, 0x00, 0xf0,		    /* mov ax, f000h: 0xf0000 is RAM here, 2 MiB */
		0x66, 0xb8, 0x78, 0x56, 0x34, 0x12, /* mov eax, 12345678h */
		0x67, 0x66, 0xa1, 0x00, 0x10, 0x00, 0xd0, /* mov eax, [d0001000h] */
		0x66, 0x05, 0x01, 0x00, 0x00, 0x00,	  /* add eax, 1 */
		0x67, 0x66, 0xa3, 0x04, 0x10, 0x00, 0xd0, /* mov [d0001004h], eax */
		0xeb, 0xfe,
	};

	start_unreal(f, code, sizeof(code));
	assert_int_equal(run(f), ENGINE_EXIT_KICK);
	assert_int_equal(f->mmio_gpa, 0xd0001004);
	assert_int_equal(f->mmio_value, (0xd0001000u ^ 0x5a) + 1);
	assert_int_equal(f->mmio_size, 4);
}

static void *kicker(void *arg)
{
	struct fixture *f = arg;

	engine_kvm.kick(f->v[0], true);
	return NULL;
}

/* A guest in an endless loop comes out by a kick from another thread. */
static void test_kick_from_outside(void **state)
{
	struct fixture *f = fixture(state);
	static const uint8_t code[] = {0xeb, 0xfe};
	pthread_t t;

	start(f, code, sizeof(code));
	for (int i = 0; i < 20; i++) {
		assert_int_equal(pthread_create(&t, NULL, kicker, f), 0);
		assert_int_equal(run(f), ENGINE_EXIT_KICK);
		pthread_join(t, NULL);
	}
}

static void fill(struct x86_state *s)
{
	x86_state_reset(s, true);
	for (unsigned i = 0; i < 16; i++)
		s->gpr[i] = 0x0123456789abcdef * (i + 1);
	s->rip = 0xffffffff81000123;
	s->rflags = X86_F1 | X86_CF | X86_IF | X86_DF;
	s->cr0 = X86_CR0_PE | X86_CR0_PG | X86_CR0_NE | X86_CR0_ET | X86_CR0_WP;
	s->cr2 = 0x7fff12345678;
	s->cr3 = 0x100000;
	s->cr4 = X86_CR4_PAE | X86_CR4_OSFXSR | X86_CR4_OSXMMEXCPT | X86_CR4_PGE;
	s->cr8 = 3;
	for (unsigned i = 0; i < 4; i++)
		s->dr[i] = 0x1000 * (i + 1);
	s->dr[7] = 0x455;
	s->msr.efer = X86_EFER_SCE | X86_EFER_LME | X86_EFER_LMA | X86_EFER_NXE;
	s->seg[X86_CS] = (struct x86_seg){.sel = 0x10, .limit = 0xffffffff, .attr = 0xa09b};
	for (unsigned i = 0; i < X86_SREGS; i++)
		if (i != X86_CS)
			s->seg[i] =
				(struct x86_seg){.sel = 0x18, .limit = 0xffffffff, .attr = 0xc093};
	s->seg[X86_FS].base = 0x7f0000001000;
	s->seg[X86_GS].base = 0xffff888000000000;
	s->ldt = (struct x86_seg){0};
	s->tr = (struct x86_seg){.sel = 0x40,
				 .base = 0xfffffe0000003000,
				 .limit = 0x206f,
				 .attr = 0x8b};
	s->gdt = (struct x86_dtr){.base = 0xfffffe0000001000, .limit = 0x7f};
	s->idt = (struct x86_dtr){.base = 0xfffffe0000000000, .limit = 0xfff};
	s->msr.star = 0x0023001000000000;
	s->msr.lstar = 0xffffffff81800000;
	s->msr.cstar = 0xffffffff81800100;
	s->msr.sfmask = 0x47700;
	s->msr.kernel_gs_base = 0x7f0000002000;
	s->msr.tsc_adjust = 5;
	s->msr.tsc_offset = 0x1234567;
	for (unsigned i = 0; i < 16; i++)
		memset(s->fx + X86_FX_XMM + 16 * i, (int)(i + 1), 16);
	s->fx[24] = 0xa0; /* MXCSR */
	s->fx[X86_FX_XSTATE_BV] = X86_XCR0_X87 | X86_XCR0_SSE;
	s->ev.nmi_masked = true;
}

static bool same(const struct x86_state *a, const struct x86_state *b)
{
	static char ta[16384], tb[16384];

	x86_state_print(a, ta, sizeof(ta));
	x86_state_print(b, tb, sizeof(tb));
	if (strcmp(ta, tb) == 0)
		return true;
	print_message("--- one\n%s--- other\n%s", ta, tb);
	return false;
}

/* What is set is what is read, and read, set and read again is the same to the bit. */
static void test_state(void **state)
{
	struct fixture *f = fixture(state);
	struct x86_state set, one, two;
	struct kvm_probe probe;

	kvm_probe(&probe);
	memset(&set, 0, sizeof(set));
	memset(&one, 0, sizeof(one));
	fill(&set);
	assert_int_equal(engine_kvm.set_state(f->v[0], X86_STATE_ALL, &set), 0);
	engine_kvm.get_state(f->v[0], X86_STATE_ALL, &one);
	if (kvm_probe_usable(&probe))
		assert_true(same(&set, &one));
	assert_memory_equal(one.gpr, set.gpr, sizeof(set.gpr));
	assert_memory_equal(one.fx, set.fx, sizeof(set.fx));
	assert_true(one.ev.nmi_masked);
	assert_int_equal(engine_kvm.set_state(f->v[0], X86_STATE_ALL, &one), 0);
	memset(&two, 0, sizeof(two));
	engine_kvm.get_state(f->v[0], X86_STATE_ALL, &two);
	assert_true(same(&one, &two));
	assert_memory_equal(one.gpr, two.gpr, sizeof(one.gpr));
	assert_memory_equal(one.fx, two.fx, sizeof(one.fx));
	assert_memory_equal(&one.msr, &two.msr, sizeof(one.msr));
	assert_memory_equal(one.seg, two.seg, sizeof(one.seg));
	/* A part alone leaves the others. */
	one.gpr[X86_RAX] = 1;
	one.cr2 = 2;
	assert_int_equal(engine_kvm.set_state(f->v[0], X86_STATE_GPR, &one), 0);
	engine_kvm.get_state(f->v[0], X86_STATE_GPR | X86_STATE_SYS, &two);
	assert_int_equal(two.gpr[X86_RAX], 1);
	assert_int_equal(two.cr2, set.cr2);
}

/* The second processor waits for its start-up IPI. */
static void test_wait_for_sipi(void **state)
{
	struct fixture *f = fixture(state);
	struct x86_state s;

	engine_kvm.get_state(f->v[1], X86_STATE_EVENTS, &s);
	assert_true(s.ev.wait_for_sipi);
	x86_state_reset(&s, false);
	assert_int_equal(engine_kvm.set_state(f->v[1], X86_STATE_ALL, &s), 0);
	engine_kvm.get_state(f->v[1], X86_STATE_EVENTS, &s);
	assert_true(s.ev.wait_for_sipi);
	engine_kvm.get_state(f->v[0], X86_STATE_EVENTS, &s);
	assert_false(s.ev.wait_for_sipi);
}

/* kvmclock goes by the TSC: what is set for a TSC value is what is read for it. */
static void test_clock(void **state)
{
	struct fixture *f = fixture(state);
	const uint64_t hour = UINT64_C(3600000000000);
	uint64_t ns = 0, off = UINT64_MAX;
	struct x86_state s;

	x86_state_reset(&s, true);
	s.msr.tsc_offset = 0 - clock_tsc();
	assert_int_equal(engine_kvm.set_state(f->v[0], X86_STATE_ALL, &s), 0);
	/* The kernel's clock is not the TSC's to the last digit, and a busy host may take the processor away between the readings. */
	for (unsigned i = 0; i < 100 && off >= 5000000; i++) {
		assert_int_equal(engine_kvm.set_clock(f->en, 1000000, hour), 0);
		assert_int_equal(engine_kvm.get_clock(f->en, 1000000, &ns), 0);
		off = ns > hour ? ns - hour : hour - ns;
	}
	assert_true(off < 5000000);
}

/* A page that the guest has written is in the log, once; one that it has not is not. */
static void test_dirty(void **state)
{
	struct fixture *f = fixture(state);
	static const uint8_t code[] = {0xa2, 0x00, 0x30, /* mov [3000h], al */
				       0xe6, PORT, 0xa2, 0x00, 0x50, 0xe6, PORT, 0xeb, 0xfe};
	uint64_t map[MEMORY / GMEM_PAGE / 64];

	f->kick_on_out = true;
	start(f, code, sizeof(code));
	assert_int_equal(gmem_dirty_start(f->mem), 0);
	engine_kvm.dirty_sync(f->en);
	gmem_dirty_harvest(f->mem, map);
	assert_int_equal(run(f), ENGINE_EXIT_KICK);
	gmem_dirty_harvest(f->mem, map);
	assert_true(map[0] & BIT(3));
	assert_false(map[0] & BIT(5));
	assert_int_equal(run(f), ENGINE_EXIT_KICK);
	gmem_dirty_harvest(f->mem, map);
	assert_false(map[0] & BIT(3));
	assert_true(map[0] & BIT(5));
	gmem_dirty_stop(f->mem);
	engine_kvm.dirty_sync(f->en);
}

/* The vCPU writes to WRITERS_PAGES pages, each second one from WRITERS_FIRST + its number on. */
static void start_writer(struct fixture *f, unsigned vcpu)
{
	static const uint8_t code[] = {
		0x88, 0x06, /* 1: mov [esi], al */
		0x01, 0xd6, /* add esi, edx */
		0x49,	    /* dec ecx */
		0x75, 0xf9, /* jnz 1b */
		0xe6, PORT, /* out PORT, al */
		0xeb, 0xfe,
	};
	const struct x86_seg data = {.sel = 0x18, .limit = 0xffffffff, .attr = 0xc093};
	struct x86_state s;

	memcpy(gmem_at(f->mem, CODE, sizeof(code)), code, sizeof(code));
	x86_state_reset(&s, true);
	s.cr0 = X86_CR0_PE | X86_CR0_ET | X86_CR0_NE;
	for (unsigned i = 0; i < X86_SREGS; i++)
		s.seg[i] = data;
	s.seg[X86_CS] = (struct x86_seg){.sel = 0x10, .limit = 0xffffffff, .attr = 0xc09b};
	s.rip = CODE;
	s.gpr[X86_RSI] = (WRITERS_FIRST + vcpu) * GMEM_PAGE;
	s.gpr[X86_RDX] = 2 * GMEM_PAGE;
	s.gpr[X86_RCX] = WRITERS_PAGES;
	f->done[vcpu] = false;
	assert_int_equal(engine_kvm.set_state(f->v[vcpu], X86_STATE_ALL, &s), 0);
}

struct writer {
	struct fixture *f;
	unsigned vcpu;
};

/* NULL: it has done its work. */
static void *writer(void *arg)
{
	struct engine_exit exit = {.why = ""};
	struct writer *w = arg;
	struct err e = {0};

	if (engine_kvm.vcpu_attach(w->f->v[w->vcpu], &e) < 0)
		return w;
	while (!w->f->done[w->vcpu] && exit.reason == ENGINE_EXIT_KICK)
		engine_kvm.run(w->f->v[w->vcpu], &exit);
	return exit.reason == ENGINE_EXIT_KICK ? NULL : w;
}

static uint64_t writers_map[WRITERS_MEMORY / GMEM_PAGE / 64]; /* what the log named */

/* Pages in a part of it, from WRITERS_FIRST on: what is below may be written by how the processor is made. */
static uint64_t count_pages(const uint64_t *map)
{
	uint64_t n = 0;

	for (uint64_t k = WRITERS_FIRST / 64; k < ARRAY_SIZE(writers_map); k++)
		n += (uint64_t)__builtin_popcountll(map[k]);
	return n;
}

/* Both vCPUs write; n_harvests times while they do and once after it the log is read, into writers_map. Returns the pages named
 * there; *sum: how often pages were named. */
static uint64_t write_pages(struct fixture *f, unsigned n_harvests, uint64_t *sum)
{
	static uint64_t part[ARRAY_SIZE(writers_map)];
	struct writer w[2] = {{f, 0}, {f, 1}};
	void *bad[2] = {NULL, NULL};
	pthread_t t[2];

	*sum = 0;
	memset(writers_map, 0, sizeof(writers_map));
	for (unsigned i = 0; i < 2; i++)
		start_writer(f, i);
	gmem_dirty_harvest(f->mem, part); /* what was before */
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&t[i], NULL, writer, &w[i]), 0);
	for (unsigned i = 0; i <= n_harvests; i++) {
		for (unsigned k = 0; i == n_harvests && k < 2; k++)
			pthread_join(t[k], &bad[k]);
		gmem_dirty_harvest(f->mem, part);
		*sum += count_pages(part);
		for (unsigned k = 0; k < ARRAY_SIZE(part); k++)
			writers_map[k] |= part[k];
	}
	assert_true(!bad[0] && !bad[1]);
	return count_pages(writers_map);
}

static unsigned long times_full(struct fixture *f)
{
	unsigned long n = 0;
	char text[1024];
	const char *at;

	engine_kvm.stats(f->en, text, sizeof(text));
	at = strstr(text, "kvm.ring_full ");
	assert_non_null(at);
	assert_int_equal(sscanf(at, "kvm.ring_full %lu", &n), 1);
	return n;
}

/* Whatever way the kernel notes them: two vCPUs write pages, and these are what the log has, also when it is read meanwhile. */
static void two_write(struct fixture *f, bool ring)
{
	uint64_t sum = 0;

	f->kick_on_out = true;
	assert_int_equal(gmem_dirty_start(f->mem), 0);
	engine_kvm.dirty_sync(f->en);
	for (unsigned n_harvests = 0; n_harvests <= 20; n_harvests += 20) {
		assert_int_equal(write_pages(f, n_harvests, &sum), 2 * WRITERS_PAGES);
		for (uint64_t p = WRITERS_FIRST; p < WRITERS_FIRST + 2 * WRITERS_PAGES; p++)
			assert_true(writers_map[p / 64] & BIT(p % 64));
		if (n_harvests)
			continue;
		assert_int_equal(sum, 2 * WRITERS_PAGES);
		assert_int_equal(times_full(f) > 0, ring);
	}
	/* Off and on again: nothing of before is left. */
	gmem_dirty_stop(f->mem);
	engine_kvm.dirty_sync(f->en);
	assert_int_equal(write_pages(f, 0, &sum), 0);
	assert_int_equal(gmem_dirty_start(f->mem), 0);
	engine_kvm.dirty_sync(f->en);
	gmem_dirty_harvest(f->mem, writers_map);
	assert_int_equal(count_pages(writers_map), 0);
	assert_int_equal(write_pages(f, 0, &sum), 2 * WRITERS_PAGES);
}

static void test_dirty_two_log(void **state)
{
	two_write(fixture(state), false);
}

/* (A KVM that emulates whole stretches of guest code lets a ring run over.) */
static void test_dirty_two_ring(void **state)
{
	struct fixture *f = fixture(state);
	struct kvm_probe probe;

	kvm_probe(&probe);
	if (kvm_probe_usable(&probe))
		two_write(f, true);
	else
		skip();
}

static void test_refusals(void **state)
{
	struct fixture *f = fixture(state);
	struct engine_config c = {.mem = f->mem, .host = &f->host, .n_vcpus = 1, .kvm_fd = -1};
	struct engine *en = NULL;
	struct err e = {0};

	c.n_vcpus = 100000;
	assert_true(engine_kvm.open(&en, &c, &e) < 0);
	assert_null(en);
	assert_non_null(strstr(e.msg, "vCPUs"));
	e = (struct err){0};
	c.n_vcpus = 1;
	c.kvm_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	assert_true(engine_kvm.open(&en, &c, &e) < 0);
	assert_non_null(strstr(e.msg, "/dev/kvm"));
	close(c.kvm_fd);
}

static unsigned count_fds(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/* A VM that is made in the background: taken over by open(), with its error if there is one, or taken back while it is under way. */
static void test_begin(void **state)
{
	struct fixture *f = fixture(state);
	struct engine_config c = {.mem = f->mem, .host = &f->host, .n_vcpus = 1, .kvm_fd = -1};
	struct gmem_hook hook = f->mem->hook; /* the fixture's engine goes on with it */
	unsigned before = count_fds();
	struct engine *en = NULL;
	struct err e = {0};

	c.begun = engine_kvm.begin(-1);
	assert_non_null(c.begun);
	if (engine_kvm.open(&en, &c, &e) < 0)
		fail_msg("%s", e.msg);
	assert_int_equal(count_fds(), before + 2);
	engine_kvm.close(en);
	f->mem->hook = hook;
	assert_int_equal(count_fds(), before);

	engine_kvm.abandon(engine_kvm.begin(-1));
	engine_kvm.abandon(NULL);
	assert_int_equal(count_fds(), before);

	c.kvm_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	engine_kvm.abandon(engine_kvm.begin(c.kvm_fd));
	c.begun = engine_kvm.begin(c.kvm_fd);
	assert_true(engine_kvm.open(&en, &c, &e) < 0);
	assert_non_null(strstr(e.msg, "/dev/kvm"));
	c.begun = engine_kvm.begin(c.kvm_fd);
	assert_true(engine_kvm.open(&en, &c, NULL) < 0);
	assert_int_equal(count_fds(), before + 1); /* borrowed, and still open */
	close(c.kvm_fd);

	/* What was made is closed, too, when open() fails behind it. */
	c.kvm_fd = -1;
	c.n_vcpus = 100000;
	c.begun = engine_kvm.begin(-1);
	assert_true(engine_kvm.open(&en, &c, NULL) < 0);
	assert_int_equal(count_fds(), before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_ports, setup, teardown),
		cmocka_unit_test_setup_teardown(test_kick_completes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_mmio, setup, teardown),
		cmocka_unit_test_setup_teardown(test_kick_from_outside, setup, teardown),
		cmocka_unit_test_setup_teardown(test_state, setup, teardown),
		cmocka_unit_test_setup_teardown(test_wait_for_sipi, setup_two, teardown),
		cmocka_unit_test_setup_teardown(test_clock, setup, teardown),
		cmocka_unit_test_setup_teardown(test_dirty, setup, teardown),
		cmocka_unit_test_setup_teardown(test_dirty, setup_ring, teardown),
		cmocka_unit_test_setup_teardown(test_dirty_two_log, setup_two_log, teardown),
		cmocka_unit_test_setup_teardown(test_dirty_two_ring, setup_two_ring, teardown),
		cmocka_unit_test_setup_teardown(test_refusals, setup, teardown),
		cmocka_unit_test_setup_teardown(test_begin, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kvm_fixture.h - a VM of the KVM engine for unit tests: one or two vCPUs, a port that notes what the guest writes, real-mode code. For the
 * files whose tests are run after one another by cmocka, which they have included.
 */
#ifndef LODGE_TESTS_KVM_FIXTURE_H
#define LODGE_TESTS_KVM_FIXTURE_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/engine.h"
#include "engine/kvm/probe.h"
#include "util/clock.h"

#define MEMORY (2 * MIB)
#define CODE 0x1000u
#define PORT 0xe2u

struct fixture {
	struct gmem *mem;
	struct engine *en;
	struct engine_vcpu *v[2];
	struct engine_host host;
	unsigned n;
	/* What the guest did. */
	uint32_t out[64];
	unsigned n_out;
	uint64_t mmio_gpa, mmio_value;
	unsigned mmio_size;
	bool kick_on_out;
	bool done[2]; /* each vCPU's: it has written to PORT */
};

static inline uint32_t port_in(void *ctx, unsigned vcpu, uint16_t port, unsigned size)
{
	(void)ctx;
	(void)vcpu;
	return port == PORT ? 0x11223344u >> (32 - 8 * size) : ~0u;
}

static inline void port_out(void *ctx, unsigned vcpu, uint16_t port, uint32_t value, unsigned size)
{
	struct fixture *f = ctx;

	(void)size;
	if (port == PORT && f->n_out < ARRAY_SIZE(f->out))
		f->out[f->n_out++] = value;
	f->done[vcpu] = true;
	if (f->kick_on_out)
		engine_kvm.kick(f->v[vcpu], true);
}

static inline uint64_t mmio_read(void *ctx, unsigned vcpu, gpa_t gpa, unsigned size)
{
	(void)ctx;
	(void)vcpu;
	(void)size;
	return gpa ^ 0x5a;
}

static inline void mmio_write(void *ctx, unsigned vcpu, gpa_t gpa, uint64_t value, unsigned size)
{
	struct fixture *f = ctx;

	(void)vcpu;
	f->mmio_gpa = gpa;
	f->mmio_value = value;
	f->mmio_size = size;
	engine_kvm.kick(f->v[0], true);
}

static inline int setup_n(void **state, unsigned n, uint64_t memory, enum kvm_dirty dirty,
			  enum kvm_pit pit)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct gmem_range range = {0, memory};
	struct err e = {0};
	int r;

	*state = f;
	if (access("/dev/kvm", R_OK | W_OK) < 0)
		return 0;
	f->n = n;
	f->host = (struct engine_host){.ctx = f,
				       .port_in = port_in,
				       .port_out = port_out,
				       .mmio_read = mmio_read,
				       .mmio_write = mmio_write};
	r = gmem_create(&f->mem, &range, 1, -1, &e);
	if (r == 0) {
		struct engine_config c = {.mem = f->mem,
					  .host = &f->host,
					  .n_vcpus = n,
					  .tsc_khz = clock_tsc_khz(),
					  .kvm_dirty = dirty,
					  .kvm_pit = pit,
					  .kvm_fd = -1};

		r = engine_kvm.open(&f->en, &c, &e);
	}
	for (unsigned i = 0; i < n && r == 0; i++)
		r = engine_kvm.vcpu_create(f->en, i, &f->v[i], &e);
	if (r == 0)
		r = engine_kvm.vcpu_attach(f->v[0], &e);
	if (r < 0)
		print_message("%s\n", e.msg);
	return r;
}

static inline int teardown(void **state)
{
	struct fixture *f = *state;

	if (f->en) {
		for (unsigned i = 0; i < f->n; i++)
			engine_kvm.vcpu_destroy(f->v[i]);
		engine_kvm.close(f->en);
	}
	gmem_destroy(f->mem);
	free(f);
	return 0;
}

static inline struct fixture *fixture(void **state)
{
	struct fixture *f = *state;

	if (!f->en) {
		print_message("skipped: no /dev/kvm here that may be opened\n");
		skip();
	}
	return f;
}

/* Real mode at CODE, where the bytes are. */
static inline void start(struct fixture *f, const uint8_t *code, size_t len)
{
	struct x86_state s;

	assert_int_equal(gmem_write(f->mem, CODE, code, len), 0);
	x86_state_reset(&s, true);
	s.seg[X86_CS].sel = 0;
	s.seg[X86_CS].base = 0;
	s.rip = CODE;
	s.gpr[X86_RSP] = 0x8000;
	assert_int_equal(engine_kvm.set_state(f->v[0], X86_STATE_ALL, &s), 0);
}

/* All of real mode's data is in reach. */
static inline void start_unreal(struct fixture *f, const uint8_t *code, size_t len)
{
	struct x86_state s;

	start(f, code, len);
	engine_kvm.get_state(f->v[0], X86_STATE_SYS, &s);
	s.seg[X86_DS].limit = 0xffffffff;
	s.seg[X86_DS].attr |= X86_ATTR_G;
	assert_int_equal(engine_kvm.set_state(f->v[0], X86_STATE_SYS, &s), 0);
}

static inline enum engine_exit_reason run(struct fixture *f)
{
	struct engine_exit exit = {.why = ""};

	engine_kvm.run(f->v[0], &exit);
	if (exit.reason == ENGINE_EXIT_ERROR)
		print_message("%s\n", exit.why);
	return exit.reason;
}

#endif

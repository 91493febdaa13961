/* SPDX-License-Identifier: Apache-2.0 */
/*
 * soft_fixture.h - a soft engine's vCPU for unit tests: RAM at [0, 32 MiB) and [4 GiB, 4 GiB + 8 MiB), a host
 * that records MMIO, a pretended processor with every feature, and ways to catch what an access raises.
 */
#ifndef LODGE_TESTS_UNIT_SOFT_FIXTURE_H
#define LODGE_TESTS_UNIT_SOFT_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/soft/mmu.h"
#include "engine/soft/translate.h"

#define FIX_RAM (32 * MIB)
#define FIX_HIGH (4 * GIB)
#define FIX_HIGH_SIZE (8 * MIB)

struct fix {
	struct gmem *mem;
	struct engine *en;
	struct engine_vcpu *ev;
	struct soft_vcpu *v;
	struct engine_host host;
	/* The last MMIO access. */
	gpa_t mmio_gpa;
	uint64_t mmio_value;
	unsigned mmio_size, n_mmio;
	uint16_t port;
	uint32_t port_value;
	unsigned n_port;
};

static uint64_t fix_mmio_read(void *ctx, unsigned vcpu, gpa_t gpa, unsigned size)
{
	struct fix *f = ctx;

	(void)vcpu;
	f->mmio_gpa = gpa;
	f->mmio_size = size;
	f->n_mmio++;
	return 0x1122334455667788;
}

static void fix_mmio_write(void *ctx, unsigned vcpu, gpa_t gpa, uint64_t value, unsigned size)
{
	struct fix *f = ctx;

	(void)vcpu;
	f->mmio_gpa = gpa;
	f->mmio_size = size;
	f->mmio_value = value;
	f->n_mmio++;
}

static uint32_t fix_port_in(void *ctx, unsigned vcpu, uint16_t port, unsigned size)
{
	struct fix *f = ctx;

	(void)vcpu;
	(void)size;
	f->port = port;
	f->n_port++;
	return 0xa5a5a5a5;
}

static void fix_port_out(void *ctx, unsigned vcpu, uint16_t port, uint32_t value, unsigned size)
{
	struct fix *f = ctx;

	(void)vcpu;
	(void)size;
	f->port = port;
	f->port_value = value;
	f->n_port++;
}

static int fix_apic_read(void *ctx, unsigned vcpu, uint32_t msr, uint64_t *value)
{
	(void)ctx;
	(void)vcpu;
	*value = 0;
	return msr == 0x1b ? 0 : -1;
}

static int fix_apic_write(void *ctx, unsigned vcpu, uint32_t msr, uint64_t value)
{
	(void)ctx;
	(void)vcpu;
	(void)value;
	return msr == 0x1b ? 0 : -1;
}

static unsigned fix_cr8_read(void *ctx, unsigned vcpu)
{
	(void)ctx;
	(void)vcpu;
	return 0;
}

static void fix_cr8_write(void *ctx, unsigned vcpu, unsigned tpr)
{
	(void)ctx;
	(void)vcpu;
	(void)tpr;
}

static bool fix_irq_pending(void *ctx, unsigned vcpu)
{
	(void)ctx;
	(void)vcpu;
	return false;
}

static int fix_irq_ack(void *ctx, unsigned vcpu)
{
	(void)ctx;
	(void)vcpu;
	return -1;
}

/* A processor that has every feature there is. */
static void fix_cpuid(uint32_t leaf, uint32_t sub, uint32_t out[4])
{
	for (unsigned i = 0; i < 4; i++)
		out[i] = ~0u;
	switch (leaf) {
	case 0:
		out[CPUID_EAX] = 0x20;
		out[CPUID_EBX] = 0x756e6547; /* GenuineIntel */
		out[CPUID_EDX] = 0x49656e69;
		out[CPUID_ECX] = 0x6c65746e;
		break;
	case 4: out[CPUID_EAX] = sub < 3 ? 0x121 | sub << 5 : 0; break;
	case 0x80000000: out[CPUID_EAX] = 0x80000021; break;
	case 0x80000008: out[CPUID_EAX] = 46 | 48 << 8; break;
	default: break;
	}
}

/* With so many vCPUs, of which the first is made, to run in a mode. */
static inline void fix_open_as(struct fix *f, unsigned n_vcpus, enum soft_mode mode)
{
	static const struct gmem_range range[] = {{0, FIX_RAM}, {FIX_HIGH, FIX_HIGH_SIZE}};
	struct err e = {0};

	memset(f, 0, sizeof(*f));
	f->host = (struct engine_host){
		.ctx = f,
		.port_in = fix_port_in,
		.port_out = fix_port_out,
		.mmio_read = fix_mmio_read,
		.mmio_write = fix_mmio_write,
		.apic_msr_read = fix_apic_read,
		.apic_msr_write = fix_apic_write,
		.cr8_read = fix_cr8_read,
		.cr8_write = fix_cr8_write,
		.irq_pending = fix_irq_pending,
		.irq_ack = fix_irq_ack,
	};
	assert_int_equal(gmem_create(&f->mem, range, 2, -1, &e), 0);
	struct engine_config cfg = {
		.mem = f->mem,
		.host = &f->host,
		.n_vcpus = n_vcpus,
		.tsc_khz = 2000000,
		.soft_mode = mode,
	};

	assert_int_equal(engine_soft.open(&f->en, &cfg, &e), 0);
	assert_int_equal(engine_soft.vcpu_create(f->en, 0, &f->ev, &e), 0);
	assert_int_equal(engine_soft.vcpu_attach(f->ev, &e), 0);
	f->v = soft_vcpu_of(f->ev);
	cpuid_build(&f->v->soft->cpuid, fix_cpuid, CPUID_MODEL_HOST, n_vcpus, cfg.tsc_khz);
	cpuid_add_pv(&f->v->soft->cpuid, n_vcpus, UINT32_MAX);
}

static inline void fix_open(struct fix *f)
{
	fix_open_as(f, 1, SOFT_MODE_REFERENCE);
}

static inline void fix_close(struct fix *f)
{
	engine_soft.vcpu_destroy(f->ev);
	engine_soft.close(f->en);
	gmem_destroy(f->mem);
}

/* For cmocka: the vCPU is *state. */
static inline int fix_setup(void **state)
{
	static struct fix f;

	fix_open(&f);
	*state = &f;
	return 0;
}

static inline int fix_teardown(void **state)
{
	fix_close(*state);
	return 0;
}

static inline uint64_t fix_get(struct fix *f, gpa_t gpa, unsigned size)
{
	uint64_t r = 0;

	assert_int_equal(gmem_read(f->mem, gpa, &r, size), 0);
	return r;
}

static inline void fix_put(struct fix *f, gpa_t gpa, uint64_t value, unsigned size)
{
	assert_int_equal(gmem_write(f->mem, gpa, &value, size), 0);
}

/* Runs fn(v, arg). True: it raised (v->exc says what). */
static __attribute__((noinline)) bool fix_raises(struct soft_vcpu *v,
						 void (*fn)(struct soft_vcpu *, void *), void *arg)
{
	if (__builtin_setjmp(v->unwind))
		return true;
	fn(v, arg);
	return false;
}

/* One access, for fix_raises(). */
struct fix_access {
	uint64_t la, value;
	unsigned size, access;
};

static inline void fix_do_access(struct soft_vcpu *v, void *arg)
{
	struct fix_access *a = arg;

	if (a->access == SOFT_WRITE)
		soft_write(v, a->la, a->value, a->size);
	else if (a->access == SOFT_READ)
		a->value = soft_read(v, a->la, a->size);
	else
		a->value = soft_fetch_page(v, a->la)->gpa;
}

static inline bool fix_read(struct soft_vcpu *v, uint64_t la, unsigned size, uint64_t *value)
{
	struct fix_access a = {.la = la, .size = size, .access = SOFT_READ};
	bool raised = fix_raises(v, fix_do_access, &a);

	if (!raised && value)
		*value = a.value;
	return !raised;
}

static inline bool fix_write(struct soft_vcpu *v, uint64_t la, uint64_t value, unsigned size)
{
	struct fix_access a = {.la = la, .value = value, .size = size, .access = SOFT_WRITE};

	return !fix_raises(v, fix_do_access, &a);
}

static inline bool fix_fetch(struct soft_vcpu *v, uint64_t la)
{
	struct fix_access a = {.la = la, .size = 1, .access = SOFT_FETCH};

	return !fix_raises(v, fix_do_access, &a);
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_state.c - sections: both directions, every way in which data can be wrong, and the wire form of the processor.
 */
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "state/state.h"
#include "state/state_x86.h"

struct thing {
	uint8_t a;
	uint16_t b;
	uint32_t c, small;
	uint64_t d;
	int64_t e;
	bool f;
	unsigned mode;
	uint32_t list[3];
	char name[12];
	uint8_t added; /* version 2 */
};

static int thing_state(struct state *s, struct thing *t, unsigned version)
{
	unsigned v = state_begin(s, "thing", "one", version);

	state_u8(s, &t->a);
	state_u16(s, &t->b);
	state_u32(s, &t->c);
	state_u32_max(s, &t->small, 10);
	state_u64(s, &t->d);
	state_i64(s, &t->e);
	state_bool(s, &t->f);
	t->mode = state_choice(s, t->mode, 4);
	state_u32s(s, t->list, 3);
	state_text(s, t->name, sizeof(t->name));
	state_same(s, 7, "the number of legs");
	if (v >= 2)
		state_u8(s, &t->added);
	return state_end(s);
}

static const struct thing sample = {
	.a = 0x12,
	.b = 0x3456,
	.c = 0x789abcde,
	.small = 10,
	.d = UINT64_C(0x1122334455667788),
	.e = -5,
	.f = true,
	.mode = 3,
	.list = {1, 2, UINT32_MAX},
	.name = "hello",
	.added = 99,
};

/* The bytes of one `thing`; the caller frees. */
static uint8_t *saved_thing(unsigned version, size_t *len)
{
	struct thing t = sample;
	struct state s;
	uint8_t *data;

	state_init_save(&s);
	assert_int_equal(thing_state(&s, &t, version), 0);
	assert_int_equal(state_finish(&s, NULL), 0);
	data = malloc(s.out.len);
	memcpy(data, s.out.data, s.out.len);
	*len = s.out.len;
	state_fini(&s);
	return data;
}

/* Loads a `thing` of at most that version; the whole result of the load. */
static int load_thing(const uint8_t *data, size_t len, unsigned version, struct thing *t,
		      struct err *e)
{
	struct state s;
	int r = state_init_load(&s, data, len, e);

	if (r < 0)
		return r;
	(void)thing_state(&s, t, version);
	r = state_finish(&s, e);
	state_fini(&s);
	return r;
}

static void test_round_trip(void **ctx)
{
	struct thing t = {.added = 1};
	size_t len;
	uint8_t *data = saved_thing(2, &len);

	(void)ctx;
	assert_int_equal(load_thing(data, len, 2, &t, NULL), 0);
	assert_memory_equal(&t, &sample, sizeof(t));
	free(data);
}

/* Little-endian, without padding, head as documented. */
static void test_bytes(void **ctx)
{
	static const uint8_t body[] = {0x12, 0x56, 0x34, 0xde, 0xbc, 0x9a, 0x78, 10,   0,    0,
				       0,    0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0xfb};
	size_t len;
	uint8_t *data = saved_thing(1, &len);

	(void)ctx;
	assert_int_equal(buf_le32(data), len - 16 - 9);
	assert_int_equal(buf_le16(data + 4), 1);
	assert_int_equal(buf_le16(data + 6), 9);
	assert_memory_equal(data + 16, "thing:one", 9);
	assert_memory_equal(data + 25, body, sizeof(body));
	free(data);
}

static void test_versions(void **ctx)
{
	struct thing t = {.added = 42};
	struct err e = {0};
	size_t len;
	uint8_t *data = saved_thing(1, &len);

	(void)ctx;
	assert_int_equal(load_thing(data, len, 2, &t, NULL), 0);
	assert_int_equal(t.added, 42); /* as after a reset */
	free(data);
	data = saved_thing(2, &len);
	assert_int_equal(load_thing(data, len, 1, &t, &e), -EINVAL);
	assert_non_null(strstr(e.msg, "version 2"));
	free(data);
}

static void test_truncated(void **ctx)
{
	size_t len;
	uint8_t *data = saved_thing(2, &len);

	(void)ctx;
	for (size_t n = 0; n < len; n++) {
		uint8_t *cut = malloc(n ? n : 1); /* its own block: a read too far shows */
		struct thing t = {0};
		struct err e = {0};

		memcpy(cut, data, n);
		assert_true(load_thing(cut, n, 2, &t, &e) < 0);
		assert_true(e.msg[0]);
		free(cut);
	}
	free(data);
}

static void test_flipped(void **ctx)
{
	size_t len;
	uint8_t *data = saved_thing(2, &len);

	(void)ctx;
	for (size_t bit = 0; bit < len * 8; bit++) {
		struct thing t = {0};

		data[bit / 8] ^= (uint8_t)(1u << (bit & 7));
		assert_true(load_thing(data, len, 2, &t, NULL) < 0);
		data[bit / 8] ^= (uint8_t)(1u << (bit & 7));
	}
	free(data);
}

/* Recomputes the checksum of a single section, as who forges one would. */
static void forge(uint8_t *data, size_t len)
{
	uLong crc;

	memset(data + 8, 0, 4);
	crc = crc32_z(0, data, len);
	memcpy(data + 8, &(uint32_t){(uint32_t)crc}, 4);
}

/* With a right checksum: it fails, or every limit holds. */
static void test_forged(void **ctx)
{
	size_t len, good = 0;
	uint8_t *data = saved_thing(2, &len);

	(void)ctx;
	for (size_t at = 25; at < len; at++) {
		uint8_t was = data[at];

		for (unsigned v = 0; v < 256; v++) {
			struct thing t = {0};

			data[at] = (uint8_t)v;
			forge(data, len);
			good += load_thing(data, len, 2, &t, NULL) == 0;
			assert_true(t.small <= 10 && t.mode < 4 &&
				    memchr(t.name, 0, sizeof(t.name)));
		}
		data[at] = was;
	}
	assert_true(good > 0);
	free(data);
}

static void test_misuse(void **ctx)
{
	struct thing t = sample;
	struct err e = {0};
	struct state s;
	uint8_t *data, *twice, byte = 0;
	size_t len;

	(void)ctx;
	data = saved_thing(2, &len);
	/* The same section twice. */
	twice = malloc(2 * len);
	memcpy(twice, data, len);
	memcpy(twice + len, data, len);
	assert_int_equal(load_thing(twice, 2 * len, 2, &t, &e), -EINVAL);
	assert_non_null(strstr(e.msg, "twice"));
	free(twice);
	/* One that nobody asks for; one that is not there. */
	e = (struct err){0};
	assert_int_equal(state_init_load(&s, data, len, NULL), 0);
	assert_true(state_has(&s, "thing", "one"));
	assert_false(state_has(&s, "thing", "two"));
	assert_int_equal(state_finish(&s, &e), -EINVAL);
	assert_non_null(strstr(e.msg, "thing:one"));
	state_fini(&s);
	e = (struct err){0};
	assert_int_equal(state_init_load(&s, data, len, NULL), 0);
	state_begin(&s, "thing", "two", 1);
	state_u8(&s, &byte);
	assert_int_equal(state_end(&s), -EINVAL);
	assert_int_equal(state_finish(&s, &e), -EINVAL);
	assert_non_null(strstr(e.msg, "missing"));
	state_fini(&s);
	/* Not consumed; consumed beyond the end. */
	assert_int_equal(state_init_load(&s, data, len, NULL), 0);
	state_begin(&s, "thing", "one", 2);
	state_u8(&s, &byte);
	assert_int_equal(state_end(&s), -EINVAL);
	state_fini(&s);
	/* A field outside of a section; a section that is not ended. */
	state_init_save(&s);
	state_u8(&s, &byte);
	assert_int_equal(state_finish(&s, NULL), -EINVAL);
	state_fini(&s);
	state_init_save(&s);
	state_begin(&s, "thing", NULL, 1);
	assert_int_equal(state_finish(&s, NULL), -EINVAL);
	state_fini(&s);
	/* Saving what cannot be loaded. */
	state_init_save(&s);
	t.small = 11;
	assert_int_equal(thing_state(&s, &t, 2), -EINVAL);
	assert_int_equal(t.small, 11);
	state_fini(&s);
	free(data);
}

/* ---- the processor ---- */

static void cpu_state(struct state *s, struct x86_state *x, uint64_t *tsc, struct irqchip_lapic *l)
{
	state_begin(s, "vcpu", "0", 2);
	state_x86(s, x, tsc);
	state_avx512(s, &x->avx512);
	state_end(s);
	state_begin(s, "lapic", "0", 1);
	state_lapic(s, l);
	state_end(s);
}

static void test_x86(void **ctx)
{
	struct irqchip_lapic l, l2;
	struct x86_state x, x2;
	uint64_t tsc = 12345, tsc2 = 0;
	struct state s, in;

	(void)ctx;
	/* Any bytes: the wire form is complete and exact. Bools are to be bools. */
	memset(&x, 0xa5, sizeof(x));
	memset(&l, 0x5a, sizeof(l));
	x.ev = (struct x86_events){.movss_shadow = true, .nmi_pending = true};
	l.extint = true;
	for (size_t i = 0; i < sizeof(x.fx); i++)
		x.fx[i] = (uint8_t)(i * 7);
	state_init_save(&s);
	cpu_state(&s, &x, &tsc, &l);
	assert_int_equal(state_finish(&s, NULL), 0);
	assert_int_equal(state_init_load(&in, s.out.data, s.out.len, NULL), 0);
	memset(&x2, 0xa5, sizeof(x2)); /* padding, and tsc_offset, which does not travel */
	memset(&l2, 0x5a, sizeof(l2));
	memset(x2.gpr, 0, sizeof(x2.gpr));
	memset(&x2.avx512, 0, sizeof(x2.avx512));
	cpu_state(&in, &x2, &tsc2, &l2);
	assert_int_equal(state_finish(&in, NULL), 0);
	assert_memory_equal(&x, &x2, sizeof(x));
	assert_memory_equal(&l, &l2, sizeof(l));
	assert_int_equal(tsc2, 12345);
	state_fini(&in);
	state_fini(&s);
}

static void test_x86_check(void **ctx)
{
	struct x86_state x;
	struct err e = {0};

	(void)ctx;
	x86_state_reset(&x, true);
	assert_int_equal(state_x86_check(&x, 0, NULL), 0);
#define REFUSED(change)                                                \
	do {                                                           \
		x86_state_reset(&x, true);                             \
		change;                                                \
		e = (struct err){0};                                   \
		assert_int_equal(state_x86_check(&x, 3, &e), -EINVAL); \
		assert_non_null(strstr(e.msg, "vCPU 3"));              \
	} while (0)
	REFUSED(x.rflags = 0);
	REFUSED(x.rflags |= 0x8000);
	REFUSED(x.cr0 |= X86_CR0_PG);
	REFUSED(x.cr0 |= BIT(40));
	REFUSED(x.msr.efer = X86_EFER_LMA);
	REFUSED(x.cr4 |= X86_CR4_PCIDE);
	REFUSED(x.seg[X86_CS].attr = 0);
	REFUSED(x.seg[X86_FS].base = BIT(60));
	REFUSED(x.gdt.base = BIT(50));
	REFUSED(x.rip = BIT(32));
	REFUSED(x.msr.lstar = BIT(55));
	REFUSED(x.xcr0 = 0);
	REFUSED(x.xcr0 = 5);
	REFUSED(x.xcr0 = 0x27); /* AVX-512 in part, and without AVX */
	REFUSED(x.xcr0 = 0xe3);
	REFUSED(x.xcr0 = 0x207);
	x86_state_reset(&x, true);
	x.xcr0 = 0xe7;
	assert_int_equal(state_x86_check(&x, 0, NULL), 0);
	REFUSED(x.cr8 = 16);
	REFUSED(x.rflags |= X86_VM);
	REFUSED(x.fx[26] = 1);
	REFUSED(x.fx[X86_FX_XSTATE_BV] = 0x20);
}

static void test_irqchip_check(void **ctx)
{
	const struct irqchip_lapic good = {
		.apic_base = 0xfee00900,
		.id = 1,
		.lvt = {[IRQCHIP_LVT_CMCI] = IRQCHIP_LVT_MASKED},
		.timer_initial = 100,
		.timer_divide = 0xb,
		.timer_left_ns = 100,
	};
	struct irqchip_lapic l = good;
	struct irqchip_pit pit = {.edge_left_ns = IRQCHIP_NEVER};
	struct irqchip_ioapic io = {0};
	struct irqchip_pic pic = {0};

	(void)ctx;
	assert_int_equal(state_lapic_check(&l, 1, 6, NULL), 0);
	assert_int_equal(state_lapic_check(&l, 0, 6, NULL), -EINVAL);
	l.timer_left_ns = 101;
	assert_int_equal(state_lapic_check(&l, 1, 6, NULL), -EINVAL);
	l = good;
	l.lvt[IRQCHIP_LVT_CMCI] = 0x20;
	assert_int_equal(state_lapic_check(&l, 1, 6, NULL), -EINVAL);
	assert_int_equal(state_lapic_check(&l, 1, 7, NULL), 0);
	l = good;
	l.irr[0] = 1;
	assert_int_equal(state_lapic_check(&l, 1, 6, NULL), -EINVAL);
	l = good;
	l.apic_base = 0xfee00400;
	assert_int_equal(state_lapic_check(&l, 1, 6, NULL), -EINVAL);

	assert_int_equal(state_ioapic_check(&io, NULL), 0);
	io.line = 1u << 24;
	assert_int_equal(state_ioapic_check(&io, NULL), -EINVAL);
	assert_int_equal(state_pic_check(&pic, NULL), 0);
	pic.chip[1].lowest = 8;
	assert_int_equal(state_pic_check(&pic, NULL), -EINVAL);
	assert_int_equal(state_pit_check(&pit, NULL), -EINVAL); /* count 0 */
	for (unsigned i = 0; i < 3; i++)
		pit.ch[i] = (struct irqchip_8254){.rw = 3, .count = 65536};
	assert_int_equal(state_pit_check(&pit, NULL), 0);
	pit.ch[2].mode = 6;
	assert_int_equal(state_pit_check(&pit, NULL), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip), cmocka_unit_test(test_bytes),
		cmocka_unit_test(test_versions),   cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_flipped),	   cmocka_unit_test(test_forged),
		cmocka_unit_test(test_misuse),	   cmocka_unit_test(test_x86),
		cmocka_unit_test(test_x86_check),  cmocka_unit_test(test_irqchip_check),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * op_string.c - MOVS, STOS, LODS, CMPS, SCAS with REP in all address sizes and both directions.
 *
 * Theory of operation. A REP runs as a series of chunks. A chunk is as many elements as lie in one page of
 * RAM on each side, inside the segment and without a wrap of the offset; it is done on host pointers, and the
 * registers are brought up to date after it, so that they are exact whenever an access raises. What is not
 * that simple (a page crossing, MMIO, breakpoints) is done one element at a time by the MMU's functions,
 * which is also a REP's way to fault. One call does a bounded amount of work and then asks to be called again
 * (next_rip = rip), so that interrupts are taken in time; with TF set it is one element, since each iteration
 * traps (SDM vol. 1 §7.3.9, vol. 2 "REP").
 *
 * Overlapping MOVS copies element by element as written: host pointers, not guest addresses, are compared,
 * so that two mappings of one page count as overlapping.
 *
 * Intel's processors differ from others in three things, which the SDM tells in part only, and all of which were seen
 * on a Xeon: a REP of 32-bit addresses cuts its registers before it looks at the count or at memory, CMPS reads
 * the operand of RDI first, and a comparison that faults half way leaves the flags as they were before it.
 */
#include "engine/soft/op_util.h"

#define CHUNK_BYTES 65536u  /* done by host pointers in one call */
#define SLOW_ELEMENTS 4096u /* done one at a time in one call */

/* The state of one string instruction. */
struct string {
	struct soft_vcpu *v;
	const struct x86_insn *in;
	unsigned size, addr_bytes;
	uint64_t addr_mask;
	bool down;
	uint64_t count;			/* elements left; 1 without REP */
	unsigned bytes_left, slow_left; /* of this call's work */
};

/* So the upper halves are gone also when the count is zero, or when the first element faults. */
static void string_cut(struct soft_vcpu *v, unsigned reg)
{
	v->s.gpr[reg] &= 0xffffffffu;
}

static void string_begin(struct string *s, struct soft_vcpu *v, const struct x86_insn *in)
{
	if (in->rep && in->addr_bytes == 4 && soft_intel(v->soft)) {
		string_cut(v, X86_RCX);
		if (in->op == X86_OP_MOVS)
			string_cut(v, X86_RSI);
		if (in->op == X86_OP_MOVS || in->op == X86_OP_STOS)
			string_cut(v, X86_RDI);
	}
	s->v = v;
	s->in = in;
	s->size = in->opnd_bytes;
	s->addr_bytes = in->addr_bytes;
	s->addr_mask = op_mask(in->addr_bytes);
	s->down = v->s.rflags & X86_DF;
	s->count = in->rep ? v->s.gpr[X86_RCX] & s->addr_mask : 1;
	s->bytes_left = CHUNK_BYTES;
	s->slow_left = SLOW_ELEMENTS;
	if (v->s.rflags & X86_TF)
		s->slow_left = 1;
}

static bool string_crosses(const struct string *s, uint64_t la)
{
	return (la & 0xfff) + s->size > 4096;
}

static bool string_go(const struct string *s)
{
	return s->count != 0 && s->slow_left != 0 && s->bytes_left >= s->size;
}

/* Chunks are possible at all. */
static bool string_chunks(const struct string *s)
{
	return s->in->rep && s->slow_left > 1 && s->count > 1;
}

static void string_end(const struct string *s)
{
	if (s->count != 0)
		s->v->next_rip = s->v->s.rip;
}

static uint64_t string_off(const struct string *s, unsigned reg)
{
	return s->v->s.gpr[reg] & s->addr_mask;
}

static void string_advance(const struct string *s, unsigned reg, uint64_t n)
{
	uint64_t step = n * s->size;

	op_gpr_set(s->v, reg, s->v->s.gpr[reg] + (s->down ? -step : step), s->addr_bytes);
}

static void string_counted(struct string *s, uint64_t n)
{
	s->count -= n;
	if (s->in->rep)
		op_gpr_set(s->v, X86_RCX, s->count, s->addr_bytes);
}

/* After one element the slow way. */
static void string_slow_done(struct string *s)
{
	string_counted(s, 1);
	s->slow_left--;
	if (unlikely(s->v->trap_pending)) /* a data breakpoint: the trap comes between iterations */
		s->slow_left = 0;
}

static void string_chunk_done(struct string *s, uint64_t n)
{
	string_counted(s, n);
	s->bytes_left -= (unsigned)(n * s->size);
}

/* How many of n elements from offset `off`, whose first has linear address la, are in one page and in the segment. */
static uint64_t string_span(const struct string *s, unsigned seg, uint64_t off, uint64_t la,
			    uint64_t n)
{
	const struct x86_seg *sg = &s->v->s.seg[seg];
	unsigned in_page = la & 0xfff, size = s->size;
	uint64_t room;

	if (string_crosses(s, la))
		return 0;
	n = MIN(n, s->down ? in_page / size + 1 : (4096 - in_page) / size);
	if (s->down) {
		n = MIN(n, off / size + 1);
		if (s->v->mode == X86_MODE_64)
			return n;
		/* Below the lower limit of an expand-down segment there is nothing. */
		return (s->v->s.cr0 & X86_CR0_PE) && !(sg->attr & X86_ATTR_CODE) &&
				       (sg->attr & X86_ATTR_EXPAND_DOWN) ?
			       0 :
			       n;
	}
	room = s->addr_mask - off + 1; /* zero: all of 2^64 */
	if (room != 0)
		n = MIN(n, room / size);
	if (s->v->mode == X86_MODE_64)
		return n;
	if ((s->v->s.cr0 & X86_CR0_PE) && !(sg->attr & X86_ATTR_CODE) &&
	    (sg->attr & X86_ATTR_EXPAND_DOWN))
		return 0;
	return MIN(n, ((uint64_t)sg->limit - off + 1) / size);
}

/* Host address of the lowest byte of n elements that begin (or, going down, end) at la. The element at la is the one
 * that a fault names; the others are in its page. */
static void *string_ptr(const struct string *s, uint64_t la, uint64_t n, unsigned access)
{
	uint8_t *p = soft_ptr(s->v, la, s->size, access);

	return p && s->down ? p - (n - 1) * s->size : p;
}

static void string_wrote(const struct string *s, uint64_t la, uint64_t n)
{
	uint64_t low = s->down ? la - (n - 1) * s->size : la;

	soft_wrote(s->v, low, (unsigned)(n * s->size));
}

static uint64_t string_linear(const struct string *s, unsigned seg, uint64_t off, unsigned access)
{
	return soft_linear(s->v, seg, off, s->size, access);
}

/* ---- MOVS ---- */

op_inline void copy_up(uint8_t *dst, const uint8_t *src, uint64_t n, unsigned size)
{
	for (uint64_t i = 0; i < n * size; i += size) {
		op_store(dst + i, op_load(src + i, size), size);
		__asm__ volatile("" : : : "memory"); /* stays a loop */
	}
}

op_inline void copy_down(uint8_t *dst, const uint8_t *src, uint64_t n, unsigned size)
{
	for (uint64_t i = n * size; i != 0; i -= size) {
		op_store(dst + i - size, op_load(src + i - size, size), size);
		__asm__ volatile("" : : : "memory");
	}
}

/* clang-format off */
#define BY_SIZE(fn, ...)                                                                           \
	do {                                                                                       \
		switch (s->size) {                                                                 \
		case 1: fn(__VA_ARGS__, 1); break;                                                 \
		case 2: fn(__VA_ARGS__, 2); break;                                                 \
		case 4: fn(__VA_ARGS__, 4); break;                                                 \
		default: fn(__VA_ARGS__, 8); break;                                                \
		}                                                                                  \
	} while (0)

/* clang-format on */

static void copy_elements(const struct string *s, uint8_t *dst, const uint8_t *src, uint64_t n)
{
	uint64_t bytes = n * s->size;

	if (s->down) {
		BY_SIZE(copy_down, dst, src, n);
	} else if (dst > src && dst < src + bytes) {
		BY_SIZE(copy_up, dst, src, n);
	} else {
		__asm__ volatile("rep movsb" : "+D"(dst), "+S"(src), "+c"(bytes) : : "memory");
	}
}

/* One chunk; false: do one element the slow way. */
static bool movs_chunk(struct string *s, uint64_t la_src, uint64_t la_dst)
{
	uint64_t n = MIN(s->count, s->bytes_left / s->size);

	n = string_span(s, s->in->seg, string_off(s, X86_RSI), la_src, n);
	n = string_span(s, X86_ES, string_off(s, X86_RDI), la_dst, n);
	if (n == 0)
		return false;
	const uint8_t *src = string_ptr(s, la_src, n, SOFT_READ);
	uint8_t *dst = src ? string_ptr(s, la_dst, n, SOFT_WRITE) : NULL;
	if (dst == NULL)
		return false;
	copy_elements(s, dst, src, n);
	string_wrote(s, la_dst, n);
	string_advance(s, X86_RSI, n);
	string_advance(s, X86_RDI, n);
	string_chunk_done(s, n);
	return true;
}

void soft_op_movs(struct soft_vcpu *v, const struct x86_insn *in)
{
	struct string s;

	for (string_begin(&s, v, in); string_go(&s);) {
		uint64_t la_src = string_linear(&s, in->seg, string_off(&s, X86_RSI), SOFT_READ);

		if (string_chunks(&s) && !string_crosses(&s, la_src)) {
			/* A bad destination is found after the source is read. */
			soft_ptr(v, la_src, s.size, SOFT_READ);
			uint64_t la_dst = string_linear(&s, X86_ES, string_off(&s, X86_RDI),
							SOFT_WRITE);
			if (movs_chunk(&s, la_src, la_dst))
				continue;
		}
		uint64_t value = soft_read(v, la_src, s.size);
		uint64_t la_dst = string_linear(&s, X86_ES, string_off(&s, X86_RDI), SOFT_WRITE);
		soft_write(v, la_dst, value, s.size);
		string_advance(&s, X86_RSI, 1);
		string_advance(&s, X86_RDI, 1);
		string_slow_done(&s);
	}
	string_end(&s);
}

/* ---- STOS ---- */

static void fill(const struct string *s, uint8_t *dst, uint64_t value, uint64_t n)
{
	switch (s->size) {
	case 1: __asm__ volatile("rep stosb" : "+D"(dst), "+c"(n) : "a"(value) : "memory"); break;
	case 2: __asm__ volatile("rep stosw" : "+D"(dst), "+c"(n) : "a"(value) : "memory"); break;
	case 4: __asm__ volatile("rep stosl" : "+D"(dst), "+c"(n) : "a"(value) : "memory"); break;
	default: __asm__ volatile("rep stosq" : "+D"(dst), "+c"(n) : "a"(value) : "memory"); break;
	}
}

static bool stos_chunk(struct string *s, uint64_t la)
{
	uint64_t n = string_span(s, X86_ES, string_off(s, X86_RDI), la,
				 MIN(s->count, s->bytes_left / s->size));
	uint8_t *dst = n ? string_ptr(s, la, n, SOFT_WRITE) : NULL;

	if (dst == NULL)
		return false;
	fill(s, dst, s->v->s.gpr[X86_RAX], n);
	string_wrote(s, la, n);
	string_advance(s, X86_RDI, n);
	string_chunk_done(s, n);
	return true;
}

void soft_op_stos(struct soft_vcpu *v, const struct x86_insn *in)
{
	struct string s;

	for (string_begin(&s, v, in); string_go(&s);) {
		uint64_t la = string_linear(&s, X86_ES, string_off(&s, X86_RDI), SOFT_WRITE);

		if (string_chunks(&s) && stos_chunk(&s, la))
			continue;
		soft_write(v, la, v->s.gpr[X86_RAX] & op_mask(s.size), s.size);
		string_advance(&s, X86_RDI, 1);
		string_slow_done(&s);
	}
	string_end(&s);
}

/* ---- LODS ---- */

void soft_op_lods(struct soft_vcpu *v, const struct x86_insn *in)
{
	struct string s;

	for (string_begin(&s, v, in); string_go(&s);) {
		uint64_t la = string_linear(&s, in->seg, string_off(&s, X86_RSI), SOFT_READ);
		uint64_t value = soft_read(v, la, s.size);

		op_gpr_set(v, X86_RAX, value, s.size);
		string_advance(&s, X86_RSI, 1);
		string_slow_done(&s);
	}
	string_end(&s);
}

/*
 * ---- CMPS, SCAS ----
 * When an iteration faults after others were done, AMD leaves the flags of the last comparison, Intel those
 * from before the instruction (SDM vol. 2, "REP").
 */

/* Flags after a comparison that more may follow. */
static void string_compared(const struct string *s, uint64_t flags)
{
	if (!soft_intel(s->v->soft))
		s->v->s.rflags = flags;
}

/* Does REPE or REPNE go on after this comparison? */
static bool string_repeats(const struct string *s, bool equal)
{
	return s->in->rep == 0xf3 ? equal : !equal;
}

/* Compares up to n elements of a with those of b (step 0: one value); returns how many, and the last pair. */
op_inline uint64_t compare_run(const struct string *s, const uint8_t *a, const uint8_t *b,
			       bool b_moves, uint64_t n, uint64_t *last_a, uint64_t *last_b,
			       unsigned size)
{
	int64_t step = s->down ? -(int64_t)size : (int64_t)size;
	bool while_equal = s->in->rep == 0xf3;
	uint64_t i = 0, x, y;

	do {
		x = op_load(a, size);
		y = op_load(b, size);
		a += step;
		b += b_moves ? step : 0;
		i++;
	} while (i < n && (x == y) == while_equal);
	*last_a = x;
	*last_b = y;
	return i;
}

static uint64_t compare_elements(const struct string *s, const uint8_t *a, const uint8_t *b,
				 bool b_moves, uint64_t n, uint64_t *last_a, uint64_t *last_b)
{
	switch (s->size) {
	case 1: return compare_run(s, a, b, b_moves, n, last_a, last_b, 1);
	case 2: return compare_run(s, a, b, b_moves, n, last_a, last_b, 2);
	case 4: return compare_run(s, a, b, b_moves, n, last_a, last_b, 4);
	default: return compare_run(s, a, b, b_moves, n, last_a, last_b, 8);
	}
}

/* Goes down from the highest element of a run. */
static const uint8_t *first_element(const struct string *s, const uint8_t *low, uint64_t n)
{
	return s->down ? low + (n - 1) * s->size : low;
}

static uint64_t cmps_chunk(struct string *s, uint64_t la_src, uint64_t la_dst, uint64_t *a,
			   uint64_t *b)
{
	uint64_t n = MIN(s->count, s->bytes_left / s->size);

	n = string_span(s, s->in->seg, string_off(s, X86_RSI), la_src, n);
	n = string_span(s, X86_ES, string_off(s, X86_RDI), la_dst, n);
	const uint8_t *src = n ? string_ptr(s, la_src, n, SOFT_READ) : NULL;
	const uint8_t *dst = src ? string_ptr(s, la_dst, n, SOFT_READ) : NULL;
	if (dst == NULL)
		return 0;
	return compare_elements(s, first_element(s, src, n), first_element(s, dst, n), true, n, a,
				b);
}

/* Linear address of CMPS's operand i: 0 that of RSI, 1 that of RDI. */
static uint64_t cmps_linear(const struct string *s, unsigned i)
{
	return string_linear(s, i ? X86_ES : s->in->seg, string_off(s, i ? X86_RDI : X86_RSI),
			     SOFT_READ);
}

void soft_op_cmps(struct soft_vcpu *v, const struct x86_insn *in)
{
	unsigned first = soft_intel(v->soft) ? 1 : 0; /* whose fault comes when both do */
	uint64_t flags = v->s.rflags;
	struct string s;
	bool more = true;

	for (string_begin(&s, v, in); more && string_go(&s);) {
		uint64_t la[2], value[2] = {0, 0}, n = 0;

		la[first] = cmps_linear(&s, first);
		if (string_chunks(&s) && !string_crosses(&s, la[first])) {
			soft_ptr(v, la[first], s.size, SOFT_READ);
			la[!first] = cmps_linear(&s, !first);
			n = cmps_chunk(&s, la[0], la[1], &value[0], &value[1]);
		}
		if (n == 0) {
			value[first] = soft_read(v, la[first], s.size);
			la[!first] = cmps_linear(&s, !first);
			value[!first] = soft_read(v, la[!first], s.size);
		}
		host_sub(value[0], value[1], 0, s.size, &flags);
		string_compared(&s, flags);
		more = string_repeats(&s, value[0] == value[1]);
		string_advance(&s, X86_RSI, n ? n : 1);
		string_advance(&s, X86_RDI, n ? n : 1);
		if (n)
			string_chunk_done(&s, n);
		else
			string_slow_done(&s);
	}
	v->s.rflags = flags;
	if (more)
		string_end(&s);
}

static uint64_t scas_chunk(struct string *s, uint64_t la, uint64_t acc, uint64_t *value)
{
	uint64_t n = string_span(s, X86_ES, string_off(s, X86_RDI), la,
				 MIN(s->count, s->bytes_left / s->size));
	const uint8_t *p = n ? string_ptr(s, la, n, SOFT_READ) : NULL;
	uint64_t same;

	if (p == NULL)
		return 0;
	return compare_elements(s, first_element(s, p, n), (const uint8_t *)&acc, false, n, value,
				&same);
}

void soft_op_scas(struct soft_vcpu *v, const struct x86_insn *in)
{
	uint64_t acc = v->s.gpr[X86_RAX] & op_mask(in->opnd_bytes);
	uint64_t flags = v->s.rflags;
	struct string s;
	bool more = true;

	for (string_begin(&s, v, in); more && string_go(&s);) {
		uint64_t la = string_linear(&s, X86_ES, string_off(&s, X86_RDI), SOFT_READ);
		uint64_t value = 0, n = 0;

		if (string_chunks(&s))
			n = scas_chunk(&s, la, acc, &value);
		if (n == 0)
			value = soft_read(v, la, s.size);
		host_sub(acc, value, 0, s.size, &flags);
		string_compared(&s, flags);
		more = string_repeats(&s, acc == value);
		string_advance(&s, X86_RDI, n ? n : 1);
		if (n)
			string_chunk_done(&s, n);
		else
			string_slow_done(&s);
	}
	v->s.rflags = flags;
	if (more)
		string_end(&s);
}

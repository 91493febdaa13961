/* SPDX-License-Identifier: Apache-2.0 */
/*
 * code.c - code that is written and then run: by the processor that wrote it, which needs nothing in between, and by another
 * one, which is told by a flag and executes a serialising instruction first, or which runs while single aligned
 * stores change it (SDM vol. 3 §8.1.3, as Linux's jump labels and function tracing rely on).
 *
 * The code page is mapped twice, so that each test is made through the address that runs, and through another one.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "litmus.h"

#define CODE_BYTES 16384u

static uint8_t *code, *alias; /* the same memory */
static uint8_t *write_at;     /* where stores go: one of them */
static uint64_t n, errors;
static struct line stop, seen_old, seen_new;

typedef uint32_t function(void);

static uint32_t call(const uint8_t *p)
{
	return ((function *)(uintptr_t)p)();
}

static void serialize(void)
{
	uint32_t a = 0, c = 0;

	__asm__ volatile("cpuid" : "+a"(a), "+c"(c) : : "ebx", "edx", "memory");
}

static void put(unsigned at, const void *bytes, size_t size)
{
	memcpy(write_at + at, bytes, size);
	barrier();
}

/* mov eax, v; ret. The constant is aligned. */
#define IMM_AT 4u
static void put_function(unsigned at, uint32_t v)
{
	uint8_t f[9] = {0x0f, 0x1f, 0x00, 0xb8, 0, 0, 0, 0, 0xc3};

	memcpy(f + IMM_AT, &v, 4);
	put(at, f, sizeof(f));
}

static void put_imm(unsigned at, uint32_t v)
{
	__atomic_store_n((uint32_t *)(void *)(write_at + at + IMM_AT), v, __ATOMIC_RELEASE);
}

/* ---- by the same processor ---- */

static void self(unsigned me)
{
	(void)me;
	put_function(0, 0);
	for (uint32_t i = 1; i <= n; i++) {
		put_imm(0, i);
		if (write_at != code)
			serialize(); /* only stores to the linear address that runs are looked for */
		errors += call(code) != i;
	}
}

/* The store changes an instruction just behind it. */
static void self_ahead(unsigned me)
{
	static const uint8_t f[] = {
		0x89, 0x3d, 0x03, 0x00, 0x00, 0x00, /* mov [rip + 3], edi: the constant */
		0x66, 0x90,			    /* nop */
		0xb8, 0x00, 0x00, 0x00, 0x00,	    /* mov eax, 0 */
		0xc3,				    /* ret */
	};

	(void)me;
	put(0, f, sizeof(f));
	for (uint32_t i = 1; i <= n; i++)
		errors += ((uint32_t(*)(uint32_t))(uintptr_t)code)(i) != i;
}

/* A loop that counts by a constant which it changes itself, and a store that reaches over the end of a page. */
static void self_loop(unsigned me)
{
	static const uint8_t f[] = {
		0x31, 0xc0,			    /* xor eax, eax */
		0x05, 0x01, 0x00, 0x00, 0x00,	    /* 1: add eax, 1 */
		0xff, 0x05, 0xf6, 0xff, 0xff, 0xff, /* inc dword [rip - 10]: that constant */
		0xff, 0xcf,			    /* dec edi */
		0x75, 0xf1,			    /* jnz 1b */
		0xc3,				    /* ret */
	};
	unsigned at = 4096 - 5; /* the constant crosses into the next page */

	(void)me;
	for (uint32_t i = 1; i <= n; i++) {
		uint32_t loops = i % 7 + 1;

		put(at, f, sizeof(f));
		errors += ((uint32_t(*)(uint32_t))(uintptr_t)(code + at))(loops) !=
			  loops * (loops + 1) / 2;
	}
}

/* A function that is moved about: its old place gets other code. */
static void self_move(unsigned me)
{
	uint64_t random = 99;

	(void)me;
	for (uint32_t i = 1; i <= n; i++) {
		unsigned at = (unsigned)(litmus_random(&random) % (CODE_BYTES / 16)) * 16;

		put_function(at, i);
		errors += call(code + at) != i;
	}
}

/* ---- by another processor ---- */

/* In turns: thread 0 writes in odd steps and runs what thread 1 wrote in even ones. */
static void cross(unsigned me)
{
	static uint32_t value;

	if (me == 0)
		put_function(0, 0);
	for (uint64_t i = 1; i <= n; i++) {
		litmus_meet(me, 2 * i - 1, 0);
		if ((i & 1) == me) {
			value = (uint32_t)(i * 2654435761u);
			put_imm(0, value);
		}
		litmus_meet(me, 2 * i, 0);
		serialize();
		if (call(code) != value)
			__atomic_fetch_add(&errors, 1, __ATOMIC_RELAXED);
	}
}

/* Whole functions instead of constants, over the end of a page. */
static void cross_function(unsigned me)
{
	unsigned at = 4096 - 7;

	for (uint32_t i = 1; i <= n; i++) {
		litmus_meet(me, 2 * (uint64_t)i - 1, 0);
		if ((i & 1) == me)
			put_function(at, i);
		litmus_meet(me, 2 * (uint64_t)i, 0);
		serialize();
		if (call(code + at) != i)
			__atomic_fetch_add(&errors, 1, __ATOMIC_RELAXED);
	}
}

/* Thread 1 runs the code all the time while thread 0 changes it between two states by one aligned store: it sees one of
 * them, never a mixture; and after the last store, the last one. */
static void runner(uint32_t a, uint32_t b)
{
	uint64_t old = 0, new = 0;
	uint32_t r;

	while (!__atomic_load_n(&stop.v, __ATOMIC_ACQUIRE)) {
		r = call(code);
		old += r == a;
		new += r == b;
		if (r != a && r != b && !errors++)
			printf("    it returned %#x\n", r);
	}
	serialize();
	errors += call(code) != a;
	seen_old.v = old;
	seen_new.v = new;
}

#define STATE_A 0x11111111u
#define STATE_B 0xeeeeeeeeu

static void live_imm(unsigned me)
{
	if (me == 0)
		put_function(0, STATE_A);
	litmus_meet(me, 1, 0);
	if (me == 1) {
		runner(STATE_A, STATE_B);
		return;
	}
	for (uint64_t i = 0; i < n; i++)
		put_imm(0, i & 1 ? STATE_A : STATE_B);
	__atomic_store_n(&stop.v, 1, __ATOMIC_SEQ_CST);
}

/* A jump label: five bytes that are a NOP or a jump, within eight aligned ones, changed as those eight. */
static void live_jump(unsigned me)
{
	static const uint8_t f[] = {
		0xb8, 0x11, 0x11, 0x11, 0x11, 0x66,
		0x66, 0x90, /* mov eax, A; nop */
		0x0f, 0x1f, 0x44, 0x00, 0x00, 0x0f,
		0x1f, 0x00, /* nop of five bytes (or jmp); nop */
		0xc3, 0x90, 0x90, 0x90, 0x90, 0x90,
		0x90, 0x90,			    /* ret */
		0xb8, 0xee, 0xee, 0xee, 0xee, 0xc3, /* mov eax, B; ret */
	};
	static const uint8_t jump[8] = {0xe9, 0x0b, 0x00, 0x00, 0x00, 0x0f, 0x1f, 0x00};
	uint64_t state[2];

	memcpy(&state[0], jump, 8);
	memcpy(&state[1], f + 8, 8);
	if (me == 0)
		put(0, f, sizeof(f));
	litmus_meet(me, 1, 0);
	if (me == 1) {
		runner(STATE_A, STATE_B);
		return;
	}
	for (uint64_t i = 0; i < n; i++)
		__atomic_store_n((uint64_t *)(void *)(write_at + 8), state[i & 1], __ATOMIC_RELEASE);
	__atomic_store_n(&stop.v, 1, __ATOMIC_SEQ_CST);
}

/* ---- all of them ---- */

static void map_code(void)
{
	int fd = memfd_create("code", 0);

	if (fd < 0 || ftruncate(fd, CODE_BYTES) < 0) {
		perror("lodge-litmus: memfd");
		exit(1);
	}
	code = mmap(NULL, CODE_BYTES, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_SHARED, fd, 0);
	alias = mmap(NULL, CODE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (code == MAP_FAILED || alias == MAP_FAILED) {
		perror("lodge-litmus: mmap");
		exit(1);
	}
	close(fd);
}

unsigned code_tests(unsigned percent)
{
	static const struct {
		const char *name;
		void (*fn)(unsigned me);
		unsigned threads;
		uint64_t iterations;
		unsigned by_alias; /* 1: through it too */
	} tests[] = {
		{"code: own", self, 1, 100000, 1},
		{"code: own, just ahead", self_ahead, 1, 100000, 0},
		{"code: own, in a loop", self_loop, 1, 50000, 0},
		{"code: own, moved", self_move, 1, 50000, 0},
		{"code: the other's", cross, 2, 50000, 1},
		{"code: the other's, whole", cross_function, 2, 50000, 1},
		{"code: constant, live", live_imm, 2, 100000, 1},
		{"code: jump label, live", live_jump, 2, 100000, 1},
	};
	unsigned bad = 0;
	char note[64];

	map_code();
	for (unsigned i = 0; i < sizeof(tests) / sizeof(tests[0]); i++) {
		for (unsigned by_alias = 0; by_alias <= tests[i].by_alias; by_alias++) {
			write_at = by_alias ? alias : code;
			n = (tests[i].iterations * percent / 100 + 2) & ~UINT64_C(1);
			errors = stop.v = seen_old.v = seen_new.v = 0;
			litmus_threads(tests[i].threads, tests[i].fn);
			snprintf(note, sizeof(note), "%s%" PRIu64 " wrong",
				 by_alias ? "by another address, " : "", errors);
			if (seen_old.v + seen_new.v)
				snprintf(note, sizeof(note),
					 "%sran %" PRIu64 " and %" PRIu64 " times",
					 by_alias ? "by alias, " : "", seen_old.v, seen_new.v);
			bad += litmus_row(tests[i].name, n, errors, note);
		}
	}
	return bad;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trace.c - the perf map, and the trace of a block.
 *
 * `perf` looks for names of code that no file holds in /tmp/perf-PID.map: lines "START SIZE NAME", the numbers
 * hexadecimal. We get the file open and append a line for each block, named guest_ADDRESS, with _user or
 * _user32 for code of CPL 3. Code memory is used anew after a flush, and later lines then overlap earlier ones: for
 * a profile choose --soft-cache large enough that this does not happen.
 *
 * Lines of the map are put together by hand, because guest FPU state may be in the registers; a trace saves
 * that state first.
 */
#include "engine/soft/trace.h"

#include <stdio.h>
#include <unistd.h>

#include "engine/soft/verify.h"
#include "util/log.h"

/* ---- perf map ---- */

static char *put_text(char *p, const char *text)
{
	while (*text)
		*p++ = *text++;
	return p;
}

static char *put_hex(char *p, uint64_t v)
{
	unsigned shift = 60;

	while (shift && !(v >> shift))
		shift -= 4;
	for (;; shift -= 4) {
		*p++ = "0123456789abcdef"[v >> shift & 15];
		if (!shift)
			return p;
	}
}

static void map_line(const struct soft *so, const uint8_t *start, const uint8_t *end,
		     const char *name, const uint64_t *va, const char *suffix)
{
	char line[96], *p = line;

	p = put_hex(p, (uint64_t)(uintptr_t)start);
	*p++ = ' ';
	p = put_hex(p, (uint64_t)(end - start));
	*p++ = ' ';
	p = put_text(p, name);
	if (va)
		p = put_hex(p, *va);
	p = put_text(p, suffix);
	*p++ = '\n';
	/* The map is an aid: a line that cannot be written is missing there, and nowhere else. */
	if (write(so->cfg.soft_perf_map_fd, line, (size_t)(p - line)) < 0)
		return;
}

void soft_trace_stubs(const struct soft *so)
{
	const struct soft_cache *c = so->cache;

	if (so->cfg.soft_perf_map)
		map_line(so, c->rx, c->rx + c->stubs_end, "lodge_stubs", NULL, "");
}

/* ---- trace ---- */

static const char *hex(char *text, const uint8_t *bytes, unsigned n)
{
	char *p = text;

	for (unsigned i = 0; i < n; i++) {
		*p++ = "0123456789abcdef"[bytes[i] >> 4];
		*p++ = "0123456789abcdef"[bytes[i] & 15];
		*p++ = ' ';
	}
	*p = '\0';
	return text;
}

#define HEX_MAX 64u /* bytes: an instruction or a record */

static void guest_code(const struct soft_block *b, const struct tr *t)
{
	char text[3 * HEX_MAX + 1];

	for (unsigned i = 0; i < t->n; i++) {
		const struct x86_insn *in = &t->insn[i];

		log_info("  %016llx  %-34s %s", (unsigned long long)(b->va + t->off[i]),
			 hex(text, in->bytes, in->len), x86_op_name(in->op));
	}
}

static void host_code(const struct soft_cache *c, const struct soft_block *b)
{
	char text[3 * HEX_MAX + 1];
	struct soft_walk w;
	unsigned site = 0;

	for (soft_walk_start(&w, c, b); soft_walk_next(&w);) {
		uint32_t at = (uint32_t)(w.at - b->code);

		for (; site < b->n_sites && b->site[site].host <= at; site++)
			log_info("  of %016llx:", (unsigned long long)(b->va + b->site[site].off));
		log_info("    +%04x  %-34s %s", at, hex(text, w.at, MIN(w.len, HEX_MAX)),
			 w.record ? "(record)" : x86_op_name(w.in.op));
	}
	if (w.p != w.end)
		log_info("    +%04x  and %u bytes that cannot be decoded",
			 (unsigned)(w.p - b->code), (unsigned)(w.end - w.p));
}

void soft_trace_block(struct soft_vcpu *v, const struct soft_block *b, const struct tr *t)
{
	const struct soft *so = v->soft;
	const char *user = b->key & SOFT_KEY_COMPAT ? "_user32" :
			   b->key & SOFT_KEY_CPL3   ? "_user" :
						      "";

	if (so->cfg.soft_perf_map)
		map_line(so, b->code, b->code_end, "guest_", &b->va, user);
	if (!so->cfg.soft_trace || so->cfg.soft_trace_address - b->va >= b->bytes)
		return;
	soft_fp_save(v);
	log_info("trace: block of guest address %#llx%s, mode key %#x: %u instructions, %u bytes; %u bytes of code at %#llx",
		 (unsigned long long)b->va, user, b->key, b->n_insns, b->bytes,
		 (unsigned)(b->code_end - b->code), (unsigned long long)(uintptr_t)b->code);
	guest_code(b, t);
	host_code(so->cache, b);
}

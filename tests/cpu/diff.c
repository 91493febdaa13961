/* SPDX-License-Identifier: Apache-2.0 */
/*
 * diff.c - the differential CPU test's main program: batches through both sides, comparison, report.
 *
 *   cpu-diff [--seed S] [--count N] [--case N] [--form NAME] [--mode reference|translate|both|chaos] [--blocks PERCENT]
 *            [--native] [--coverage] [--list] [-v]
 *
 * Mode chaos is translate in an engine that throws its caches away at random (chaos.c), always by the engine's own loop.
 * --case N runs one case of the seed and prints it; --form takes an operation ("add") or a form's whole name
 * ("01:add", see --list); --native compares the processor with itself (a check of this test). Exit code 0:
 * all cases agree and every form was executed or has a reason not to be; 1: not so; 2: usage.
 *
 * What is not compared: status flags that the instruction leaves undefined (the decoder's flags_undef, less
 * what a constant shift count makes certain); RF in a fault's frame; FPU instruction and data pointers and
 * last opcode (FIP, FDP, FOP), in the state and in images that an instruction stores; reserved bytes of the
 * FXSAVE image; status flags when a REP CMPS or SCAS faults half way (but on Intel); which byte of an FPU
 * image CR2 names, or which byte of a VMASKMOV's elements in the page; what an x87 store of 10 bytes has written of
 * its operand when it faults (it may be made in pieces: SDM vol. 3, "Guaranteed Atomic Operations"). In
 * translate mode also the status flags of a fault's frame that this or a later instruction of the block overwrites
 * (docs: the translator does not keep dead flags).
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "diff.h"

static struct {
	uint64_t seed, count, only;
	bool one, verbose, native, coverage, chaos;
	const char *form;
	unsigned modes; /* bit a diff_mode */
	unsigned blocks, max_reports;
} opt = {.seed = 1, .count = 1000000, .modes = BIT(DIFF_REFERENCE), .blocks = 20, .max_reports = 20};

static uint64_t n_failed, n_faults, n_empty;
static uint64_t n_vector[256];

/* A branch to a place that is not there: done on one side, a fetch fault at the target on the other. */
static void normalise(const struct diff_case *c, struct diff_result *r)
{
	if (r->vector == X86_EXC_PF && (r->err & 0x10) && r->cr2 == r->r.rip &&
	    r->r.rip != c->in.rip) {
		r->vector = DIFF_NO_VECTOR;
		r->err = r->cr2 = 0;
		r->r.rflags &= ~(uint64_t)X86_RF;
	}
	/* A single one to the INT3s between the cells, where a random address may lead. */
	if (!c->block && r->vector == X86_EXC_BP && r->r.rip - 1 != c->in.rip &&
	    (diff_forms[c->form].f.attr & X86_A_BRANCH)) {
		r->vector = DIFF_NO_VECTOR;
		r->r.rip--;
	}
}

/* The instruction that faulted, if one did. */
static const struct diff_insn *faulting(const struct diff_case *c, const struct diff_result *r)
{
	for (unsigned i = 0; i < c->n_insns && r->vector != DIFF_NO_VECTOR; i++)
		if (c->insn[i].rip == r->r.rip)
			return &c->insn[i];
	return NULL;
}

static uint64_t flag_mask(const struct diff_case *c, const struct diff_result *r, bool translate)
{
	uint64_t mask = 0x3f7fd7; /* all but reserved bits; RF apart */
	unsigned i;

	mask &= ~(uint64_t)X86_RF;
	for (i = 0; i < c->n_insns; i++)
		if (c->insn[i].rip == r->r.rip)
			break;
	if (r->vector == DIFF_NO_VECTOR || i == c->n_insns) /* traps too */
		return mask & ~(uint64_t)c->insn[c->n_insns - 1].undef_out;
	/* A fault at instruction i. A string instruction that was under way has flags of its own. */
	mask &= ~(uint64_t)(c->insn[i].undef_in | c->insn[i].fault_undef);
	if (translate)
		for (; i < c->n_insns; i++)
			mask &= ~(uint64_t)c->insn[i].flags_write;
	return mask;
}

/* What vendors order differently, and no specification orders. */
static bool may_differ(const struct diff_case *c, const struct diff_result *nat,
		       const struct diff_result *soft)
{
	enum x86_op op = diff_forms[c->form].f.op;

	const struct x86_form_info *f = &diff_forms[c->form].f;

	/* SHA with an operand that is not aligned: AMD takes it. */
	if (!c->block && op == X86_OP_FP && soft->vector == X86_EXC_GP &&
	    nat->vector != X86_EXC_GP &&
	    ((f->map == X86_MAP_0F38 && f->opcode >= 0xc8 && f->opcode <= 0xcd) ||
	     (f->map == X86_MAP_0F3A && f->opcode == 0xcc)))
		return true;
	/* A gather's random index may find a page of the trampoline. */
	if (soft->vector == X86_EXC_PF && soft->cr2 - DIFF_OWN < DIFF_OWN_SIZE)
		return true;
#ifdef __SANITIZE_ADDRESS__
	/* The child process has the sanitizer's shadow memory from 2 GiB to 16 TiB. */
	if (soft->vector == X86_EXC_PF && soft->cr2 >= 0x7fff7000 &&
	    soft->cr2 < UINT64_C(0x10007fff8000))
		return true;
#endif
	/* An FPU image that reaches from one bad place into another is stored in pieces, in the processor's order. */
	if (!c->block && (f->attr & X86_A_FSTENV) && nat->vector != DIFF_NO_VECTOR &&
	    soft->vector != DIFF_NO_VECTOR && (nat->vector != soft->vector || nat->err != soft->err))
		return true;
	/* The same of an x87 operand across the end of the lower half. */
	if (!c->block && (f->attr & X86_A_X87) && nat->vector == X86_EXC_PF &&
	    nat->cr2 >= UINT64_C(0x7ffffffff000) &&
	    (soft->vector == X86_EXC_GP || soft->vector == X86_EXC_SS))
		return true;
	/* MASKMOV with no byte to store: a processor may fault or not (and then take the trap of TF). */
	if (!c->block && op == X86_OP_MASKMOV && nat->vector == X86_EXC_PF &&
	    (soft->vector == DIFF_NO_VECTOR || soft->vector == X86_EXC_DB))
		return true;
	/* CALL to a non-canonical address with a stack that faults. */
	return !c->block && op == X86_OP_CALL_IND && soft->vector == X86_EXC_GP &&
	       nat->vector != DIFF_NO_VECTOR;
}

static int complain(char *buf, size_t size, const char *what, uint64_t native, uint64_t soft)
{
	return snprintf(buf, size, "  %-8s native %#18llx   soft %#18llx\n", what,
			(unsigned long long)native, (unsigned long long)soft);
}

/* `pieces`: the page in which an operand faulted that may be stored in pieces, else 0. */
static bool line_differs(const struct diff_case *c, unsigned no, const uint8_t *a, const uint8_t *b,
			 uint64_t pieces)
{
	for (unsigned i = 0; i < DIFF_LINE; i++) {
		uint32_t addr = DIFF_D0 + no * DIFF_LINE + i;

		if (a[i] != b[i] && !(c->ptr_len && addr - c->ptr_addr < c->ptr_len) &&
		    !(pieces && pieces - addr <= 9))
			return true;
	}
	return false;
}

static const uint8_t *find_line(const struct diff_batch *b, const struct diff_result *r, unsigned no)
{
	for (unsigned i = 0; i < r->n_lines; i++)
		if (r->line_no[i] == no)
			return r->line[i];
	return b->data + no * DIFF_LINE;
}

static void dump(const char *name, const uint8_t *p, unsigned n)
{
	printf("  %-8s", name);
	for (unsigned i = 0; i < n; i++)
		printf("%s%02x", i % 8 == 0 ? " " : "", p[i]);
	printf("\n");
}

/* Compares; fills `text` with what differs. */
static bool differs(const struct diff_batch *b, const struct diff_case *c, struct diff_result *nat,
		    struct diff_result *soft, bool translate, char *text, size_t size)
{
	static const char *const reg[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
					  "r8",	 "r9",	"r10", "r11", "r12", "r13", "r14", "r15"};
	const struct diff_insn *at;
	size_t n = 0;
	uint64_t mask, m;

#define SAY(...) (n += n < size ? (size_t)complain(text + n, size - n, __VA_ARGS__) : 0)
	text[0] = 0;
	normalise(c, nat);
	normalise(c, soft);
	at = faulting(c, nat);
	if (may_differ(c, nat, soft))
		return false;
	if (nat->vector != soft->vector)
		SAY("vector", nat->vector, soft->vector);
	if (nat->r.rip != soft->r.rip)
		SAY("rip", nat->r.rip, soft->r.rip);
	if (nat->vector != DIFF_NO_VECTOR && nat->vector == soft->vector) {
		/* Of a kernel-half or last-page address Linux hides the present bit. */
		m = nat->vector == X86_EXC_PF && nat->cr2 >= UINT64_C(0x7ffffffff000) ?
			    ~UINT64_C(1) :
			    ~UINT64_C(0);
		if ((nat->err & m) != (soft->err & m))
			SAY("error", nat->err, soft->err);
		/* FPU images (and masked bytes) are stored in pieces, in an order of the processor's own. Of
		 * masked elements in a page that may not be written Intel names the last byte, AMD the first. */
		m = at && at->any_cr2 ? ~UINT64_C(0xfff) : ~UINT64_C(0);
		if (nat->vector == X86_EXC_PF && ((nat->cr2 ^ soft->cr2) & m) &&
		    !(!c->block && ((diff_forms[c->form].f.attr & X86_A_FSTENV) ||
				    diff_forms[c->form].f.op == X86_OP_MASKMOV)))
			SAY("cr2", nat->cr2, soft->cr2);
	}
	m = c->compat ? 0xffffffff : ~UINT64_C(0);
	for (unsigned i = 0; i < (c->compat ? 8 : 16); i++)
		if ((nat->r.gpr[i] ^ soft->r.gpr[i]) & m)
			SAY(reg[i], nat->r.gpr[i], soft->r.gpr[i]);
	mask = flag_mask(c, nat, translate);
	if ((nat->r.rflags ^ soft->r.rflags) & mask) {
		SAY("rflags", nat->r.rflags, soft->r.rflags);
		SAY("(mask)", mask, (nat->r.rflags ^ soft->r.rflags) & mask);
	}
	if (!c->compat && nat->r.fs_base != soft->r.fs_base)
		SAY("fs_base", nat->r.fs_base, soft->r.fs_base);
	if (nat->r.gs_base != soft->r.gs_base)
		SAY("gs_base", nat->r.gs_base, soft->r.gs_base);
	for (unsigned i = 0; i < X86_FX_SIZE; i++) {
		char name[16];
		unsigned from = i & ~7u;

		if (i >= (c->compat ? 288u : 416u) &&
		    (i < X86_FX_YMM_HI || i >= (c->compat ? 704u : 832u)))
			continue;

		if (c->fpu_lost && nat->vector == X86_EXC_GP)
			break;
		if ((i >= 6 && i < 24) || (i >= 28 && i < 32) || nat->r.fx[i] == soft->r.fx[i])
			continue;
		if (i >= 32 && i < 160 && i % 16 >= 10)
			continue; /* reserved part of an x87 register */
		if (i < 32)
			snprintf(name, sizeof(name), "fx[%u]", from);
		else if (i < 160)
			snprintf(name, sizeof(name), "st%u%s", (i - 32) / 16, i & 8 ? ".hi" : "");
		else
			snprintf(name, sizeof(name), "xmm%u%s", (i - 160) / 16, i & 8 ? ".hi" : "");
		uint64_t x, y;
		memcpy(&x, nat->r.fx + from, 8);
		memcpy(&y, soft->r.fx + from, 8);
		SAY(name, x, y);
		i = from + 7;
	}
	m = nat->vector == X86_EXC_PF && at && at->pieces ? nat->cr2 & ~UINT64_C(0xfff) : 0;
	for (unsigned i = 0; i < nat->n_lines + soft->n_lines; i++) {
		unsigned no = i < nat->n_lines ? nat->line_no[i] : soft->line_no[i - nat->n_lines];
		const uint8_t *x = find_line(b, nat, no), *y = find_line(b, soft, no);

		if (line_differs(c, no, x, y, m)) {
			for (unsigned k = 0; k < DIFF_LINE; k += 8) {
				uint64_t p, q;

				memcpy(&p, x + k, 8);
				memcpy(&q, y + k, 8);
				if (p != q) {
					char name[20];

					snprintf(name, sizeof(name), "%x",
						 DIFF_D0 + no * DIFF_LINE + k);
					SAY(name, p, q);
				}
			}
		}
	}
#undef SAY
	return text[0] != 0;
}

static void print_case(const struct diff_batch *b, const struct diff_case *c)
{
	static const char *const reg[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
					  "r8",	 "r9",	"r10", "r11", "r12", "r13", "r14", "r15"};

	printf("case %llu seed %llu %s%s%s\n", (unsigned long long)c->number,
	       (unsigned long long)opt.seed, c->compat ? "compat" : "64-bit",
	       c->block ? " block" : "", c->step ? " TF" : "");
	for (unsigned i = 0; i < c->n_insns; i++) {
		struct x86_insn in;
		uint64_t off = c->insn[i].rip - DIFF_CODE;
		uint8_t bytes[16] = {0};

		for (unsigned k = 0; k < c->insn[i].len; k++)
			bytes[k] = off + k < DIFF_CODE_SIZE ? b->native_code[off + k] : 0;
		diff_decode(&in, bytes, 15, c->compat);
		printf("  %08llx: ", (unsigned long long)c->insn[i].rip);
		for (unsigned k = 0; k < c->insn[i].len; k++)
			printf("%02x ", bytes[k]);
		printf("  %s opnd %u addr %u%s", x86_op_name(in.op), in.opnd_bytes, in.addr_bytes,
		       in.lock ? " lock" : "");
		if (in.has_mem)
			printf(" mem %u seg %u base %d index %d<<%u disp %lld", in.mem_bytes, in.seg,
			       (int8_t)in.base, (int8_t)in.index, in.scale, (long long)in.disp);
		printf(" undef %#x\n", c->insn[i].undef_out);
	}
	for (unsigned i = 0; i < 16; i++)
		printf("%s%-3s %016llx", i % 4 ? "  " : "  ", reg[i],
		       (unsigned long long)c->in.gpr[i]),
			i % 4 == 3 ? (void)printf("\n") : (void)0;
	printf("  rip %016llx  flags %llx  fs %llx  gs %llx\n", (unsigned long long)c->in.rip,
	       (unsigned long long)c->in.rflags, (unsigned long long)c->in.fs_base,
	       (unsigned long long)c->in.gs_base);
	if (c->poke_len) {
		printf("  poke %#x, %u bytes:", c->poke_addr, c->poke_len);
		for (unsigned i = 0; i < c->poke_len && i < 32; i++)
			printf(" %02x", c->poke[i]);
		printf("\n");
	}
	if (opt.verbose) {
		dump("fx", c->in.fx, 32);
		for (unsigned i = 0; i < 8; i++)
			dump("st", c->in.fx + 32 + 16 * i, 10);
		for (unsigned i = 0; i < 16; i++)
			dump("xmm", c->in.fx + 160 + 16 * i, 16);
		printf("  native: vector %u err %llx cr2 %llx rip %llx flags %llx\n", c->nat.vector,
		       (unsigned long long)c->nat.err, (unsigned long long)c->nat.cr2,
		       (unsigned long long)c->nat.r.rip, (unsigned long long)c->nat.r.rflags);
	}
}

static void account(const struct diff_case *c)
{
	struct diff_form *f = &diff_forms[c->form];

	n_vector[c->nat.vector]++;
	if (c->nat.vector != DIFF_NO_VECTOR)
		n_faults++;
	if (c->block)
		return;
	f->tried++;
	if (c->nat.vector != X86_EXC_UD || f->f.op == X86_OP_UD || f->f.op == X86_OP_CLAC ||
	    f->f.op == X86_OP_STAC || f->f.op == X86_OP_RSM)
		f->ran++;
}

/* The engine does not come back: say where, and give up. */
static volatile uint64_t now_at;

static void hung(int sig)
{
	char buf[80];
	int n = snprintf(buf, sizeof(buf), "cpu-diff: the engine hangs in case %llu\n",
			 (unsigned long long)now_at);

	(void)sig;
	if (write(STDOUT_FILENO, buf, (size_t)n) != n)
		_exit(3);
	_exit(1);
}

static void check(struct diff_soft *soft, struct diff_batch *b)
{
	static struct diff_result out;
	static char text[65536];

	alarm(30); /* a batch takes milliseconds */
	if (soft)
		diff_soft_begin_batch(soft, b);
	for (unsigned i = 0; i < b->n; i++) {
		struct diff_case *c = &b->c[i];

		if (opt.one && c->number != opt.only)
			continue;
		if (!c->n_insns) {
			n_empty++;
			continue;
		}
		account(c);
		now_at = c->number;
		for (unsigned m = 0; soft && m < 2; m++) {
			if (!(opt.modes & BIT(m)))
				continue;
			bool whole = opt.chaos || c->number % 3 == 0;

			diff_soft_run(soft, b, c, (enum diff_mode)m,
				      whole ? 0 : 1 + (unsigned)(c->number % 40), &out);
			if (differs(b, c, &c->nat, &out, m == DIFF_TRANSLATE, text, sizeof(text))) {
				n_failed++;
				if (!c->block)
					diff_forms[c->form].failed++;
				if (n_failed <= opt.max_reports) {
					printf("DIFFERS (%s) %s\n",
					       m == DIFF_TRANSLATE ? "translate" : "reference",
					       c->block ? "" : diff_forms[c->form].name);
					print_case(b, c);
					fputs(text, stdout);
				}
			} else if (opt.one) {
				printf("agrees (%s)\n",
				       m == DIFF_TRANSLATE ? "translate" : "reference");
			}
		}
		if (opt.one && opt.verbose)
			print_case(b, c);
	}
}

/* The processor against itself: run the batch twice. */
static void check_native(struct diff_native *nat, struct diff_batch *b)
{
	static struct diff_batch first;
	static char text[65536];
	unsigned at;

	first = *b;
	diff_native_submit(nat, 0);
	if (!diff_native_wait(nat, 0, &at))
		exit(1);
	for (unsigned i = 0; i < b->n; i++) {
		struct diff_case *c = &b->c[i];

		if (!c->n_insns || (opt.one && c->number != opt.only))
			continue;
		account(c);
		if (differs(b, c, &c->nat, &first.c[i].nat, false, text, sizeof(text))) {
			n_failed++;
			if (n_failed <= opt.max_reports) {
				printf("DIFFERS (native) %s\n",
				       c->block ? "" : diff_forms[c->form].name);
				print_case(b, c);
				fputs(text, stdout);
			}
		} else if (opt.one) {
			print_case(b, c);
		}
	}
}

static bool report(void)
{
	unsigned n_tested = 0, n_missing = 0, n_skipped = 0;
	bool whole = !opt.form && !opt.one && opt.count >= 100 * diff_n_forms;

	for (unsigned i = 0; i < diff_n_forms; i++) {
		const struct diff_form *f = &diff_forms[i];

		if (f->skip) {
			n_skipped++;
		} else if (f->ran) {
			n_tested++;
		} else if (whole) {
			printf("not executed: %s (%llu cases)\n", f->name,
			       (unsigned long long)f->tried);
			n_missing++;
		}
		if (opt.coverage)
			printf("%-32s %8llu %8llu %6llu%s%s\n", f->name,
			       (unsigned long long)f->tried, (unsigned long long)f->ran,
			       (unsigned long long)f->failed, f->skip ? "  skipped: " : "",
			       f->skip ? f->skip : "");
	}
	for (unsigned i = 0; opt.coverage && i < 256; i++)
		if (n_vector[i])
			printf("vector %3u: %llu\n", i, (unsigned long long)n_vector[i]);
	if (n_failed && !opt.coverage)
		for (unsigned i = 0; i < diff_n_forms; i++)
			if (diff_forms[i].failed)
				printf("  %-32s %llu of %llu differ\n", diff_forms[i].name,
				       (unsigned long long)diff_forms[i].failed,
				       (unsigned long long)diff_forms[i].tried);
	printf("cpu-diff: seed %llu: %llu cases, %llu of them faults, %llu not made; %llu differ; forms: %u executed, %u out of scope, "
	       "%u missing\n",
	       (unsigned long long)opt.seed, (unsigned long long)opt.count,
	       (unsigned long long)n_faults, (unsigned long long)n_empty,
	       (unsigned long long)n_failed, n_tested, n_skipped, n_missing);
	return n_failed == 0 && n_missing == 0;
}

static uint64_t number(const char *s)
{
	char *end;
	uint64_t x;

	errno = 0;
	x = strtoull(s, &end, 0);
	if (errno || end == s || *end) {
		fprintf(stderr, "cpu-diff: '%s' is not a number\n", s);
		exit(2);
	}
	return x;
}

static void options(int argc, char **argv)
{
	static const struct option long_opts[] = {
		{"seed", 1, NULL, 's'},	   {"count", 1, NULL, 'c'},    {"case", 1, NULL, 'n'},
		{"form", 1, NULL, 'f'},	   {"mode", 1, NULL, 'm'},     {"blocks", 1, NULL, 'b'},
		{"native", 0, NULL, 'N'},  {"coverage", 0, NULL, 'C'}, {"list", 0, NULL, 'l'},
		{"reports", 1, NULL, 'r'}, {"help", 0, NULL, 'h'},     {NULL, 0, NULL, 0},
	};
	int o;

	while ((o = getopt_long(argc, argv, "v", long_opts, NULL)) != -1) {
		switch (o) {
		case 's': opt.seed = number(optarg); break;
		case 'c': opt.count = number(optarg); break;
		case 'n':
			opt.one = true;
			opt.only = number(optarg);
			break;
		case 'f': opt.form = optarg; break;
		case 'b': opt.blocks = (unsigned)number(optarg); break;
		case 'r': opt.max_reports = (unsigned)number(optarg); break;
		case 'N': opt.native = true; break;
		case 'C': opt.coverage = true; break;
		case 'v': opt.verbose = true; break;
		case 'm':
			opt.chaos = strcmp(optarg, "chaos") == 0;
			opt.modes = strcmp(optarg, "reference") == 0 ? BIT(DIFF_REFERENCE) :
				    strcmp(optarg, "translate") == 0 || opt.chaos ?
								       BIT(DIFF_TRANSLATE) :
				    strcmp(optarg, "both") == 0 ? BIT(DIFF_REFERENCE) |
									  BIT(DIFF_TRANSLATE) :
								  0;
			if (opt.modes)
				break;
			/* fall through */
		case 'l':
			if (o == 'l') {
				for (unsigned i = 0; i < diff_n_forms; i++)
					printf("%-32s %s\n", diff_forms[i].name,
					       diff_forms[i].skip ? diff_forms[i].skip : "");
				exit(0);
			}
			/* fall through */
		default:
			fprintf(stderr,
				"usage: cpu-diff [--seed S] [--count N] [--case N] [--form NAME] [--blocks PERCENT]\n"
				"                [--mode reference|translate|both|chaos] [--native] [--coverage] [--reports N] [--list] [-v]\n");
			exit(o == 'h' ? 0 : 2);
		}
	}
}

int main(int argc, char **argv)
{
	struct diff_gen_opts g = {0};
	struct diff_native *nat;
	struct diff_soft *soft = NULL;
	struct diff_rng r;
	uint64_t n_batches, first = 0;
	unsigned at;

	setvbuf(stdout, NULL, _IOLBF, 0);
	diff_forms_init();
	options(argc, argv);
	diff_rng_seed(&r, opt.seed, 0x4432);
	diff_rng_data(&r, diff_d2, sizeof(diff_d2));
	g.seed = opt.seed;
	g.form = opt.form;
	g.blocks = opt.blocks;
	if (opt.one) {
		first = opt.only / DIFF_BATCH;
		opt.count = 1;
	}
	n_batches = (opt.count + DIFF_BATCH - 1) / DIFF_BATCH;

	/* The child is forked before the engine makes its mappings and threads. */
	nat = diff_native_create(opt.native ? 1 : 2);
	if (!opt.native) {
		soft = diff_soft_create(opt.chaos);
		signal(SIGALRM, hung);
	}
	if (soft && (opt.modes & BIT(DIFF_TRANSLATE)) && !diff_soft_has_translate()) {
		fprintf(stderr, "cpu-diff: this build has no translator\n");
		return 77;
	}
	/* Two slots: while the child runs one batch, this process makes the next and checks the one before. */
	for (uint64_t k = 0; k < n_batches + 1; k++) {
		if (k < n_batches) {
			struct diff_batch *b = diff_native_batch(nat, opt.native ? 0 : k & 1);

			b->first = (first + k) * DIFF_BATCH;
			b->n = DIFF_BATCH;
			diff_gen_batch(b, &g);
			if (opt.one)
				for (unsigned i = 0; i < b->n; i++)
					if (b->c[i].number != opt.only)
						b->c[i].n_insns = 0;
			diff_native_submit(nat, opt.native ? 0 : k & 1);
		}
		if (opt.native ? k < n_batches : k > 0) {
			unsigned slot = opt.native ? 0 : (k - 1) & 1;
			struct diff_batch *b = diff_native_batch(nat, slot);

			if (!diff_native_wait(nat, slot, &at)) {
				printf("native child hung or died in case %llu\n",
				       (unsigned long long)(b->first + at));
				if (at < b->n)
					print_case(b, &b->c[at]);
				return 1;
			}
			if (opt.native)
				check_native(nat, b);
			else
				check(soft, b);
		}
		if (n_failed > 100000)
			break;
	}
	diff_native_destroy(nat);
	if (soft)
		diff_soft_destroy(soft);
	return report() ? 0 : 1;
}

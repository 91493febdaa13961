/* SPDX-License-Identifier: Apache-2.0 */
/*
 * diff_native.c - the real processor's side of the differential test.
 *
 * Theory of operation. A child process maps the code cells and data pages at the addresses of diff.h, and
 * two pages of its own below 2 GiB: the trampoline, and a context page that the trampoline reaches by
 * absolute addresses, so that it needs no register. For each case the child fills the context with the input,
 * calls the trampoline's entry, which loads FPU, FS/GS bases, flags and all general registers and jumps to
 * the case. The case ends in a stub that writes its number to the context (a MOV, which touches no flag) and
 * jumps to the trampoline's exit, or in a signal, whose handler copies the interrupted state out and
 * returns to the tail of the exit. The C library keeps its thread pointer in FS, so nothing but the
 * trampoline runs before FS is put back, in the handler too.
 *
 * Compatibility mode: Linux keeps a flat 32-bit code segment (selector 0x23); the entry goes there by a far
 * jump, the stubs come back by one.
 *
 * Parent and child talk by two semaphores a batch slot, in the shared mapping.
 */
#include <errno.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "diff.h"

#define TRAMP 0x40000000
#define CTX 0x40010000
#define XSTR(x) #x
#define STR(x) XSTR(x)

/* The context page. The offsets are used in the assembler text below. */
struct ctx {
	uint64_t gpr[16];   /* 0x000 */
	uint64_t rip;	    /* 0x080 */
	uint64_t rflags;    /* 0x088 */
	uint64_t fs_base;   /* 0x090 */
	uint64_t gs_base;   /* 0x098 */
	uint64_t host_rsp;  /* 0x0a0 */
	uint64_t host_fs;   /* 0x0a8 */
	uint32_t far_off;   /* 0x0b0 */
	uint16_t far_sel;   /* 0x0b4 */
	uint8_t stub, pad0; /* 0x0b6 */
	uint64_t host_gs;   /* 0x0b8 */
	uint32_t fsgsbase;  /* 0x0c0: the instructions may be used */
	uint32_t mxcsr;	    /* 0x0c4 */
	uint64_t iret_cs;   /* 0x0c8 */
	uint64_t iret_ss;   /* 0x0d0 */
	uint32_t xsave;	    /* 0x0d8: components to load and save by XSAVE, 0: FXSAVE */
	uint8_t pad1[0x200 - 0x0dc];
	uint8_t fx[X86_FX_SIZE]; /* 0x200 */
};
_Static_assert(offsetof(struct ctx, stub) == 0xb6 && offsetof(struct ctx, iret_ss) == 0xd0 &&
		       offsetof(struct ctx, fx) == 0x200,
	       "offsets of the trampoline");
#define C ((struct ctx *)(uintptr_t)CTX)

extern const char __attribute__((visibility("hidden"))) diff_tramp_begin[], diff_tramp_end[],
	diff_tramp_enter64[], diff_tramp_enter32[], diff_tramp_enter_iret[], diff_tramp_exit64[],
	diff_tramp_exit32[], diff_tramp_tail[], diff_sig_entry[];

__asm__(".pushsection .text\n"
	".set CTX, " STR(
		CTX) "\n"
		     ".set TRAMP, " STR(
			     TRAMP) "\n"
				    ".globl diff_tramp_begin, diff_tramp_exit64, diff_tramp_exit32\n"
				    ".hidden diff_tramp_begin, diff_tramp_exit64, diff_tramp_exit32\n"
				    "diff_tramp_begin:\n"

				    ".macro enter_common\n"
				    "	push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
				    "	mov %rsp, CTX+0xa0\n"
				    "	mov CTX+0xd8, %eax; xor %edx, %edx; test %eax, %eax\n"
				    "	je 2f\n"
				    "	xrstor64 CTX+0x200\n"
				    "	jmp 3f\n"
				    "2:	fxrstor64 CTX+0x200\n"
				    "3:\n"
				    "	cmpl $0, CTX+0xc0\n"
				    "	je 1f\n"
				    "	mov CTX+0x90, %rax; wrfsbase %rax\n"
				    "	mov CTX+0x98, %rax; wrgsbase %rax\n"
				    "1:\n"
				    ".endm\n"
				    ".macro load_regs\n"
				    "	mov CTX+0x00, %rax; mov CTX+0x08, %rcx; mov CTX+0x10, %rdx; mov CTX+0x18, %rbx\n"
				    "	mov CTX+0x28, %rbp; mov CTX+0x30, %rsi; mov CTX+0x38, %rdi\n"
				    "	mov CTX+0x40, %r8;  mov CTX+0x48, %r9;  mov CTX+0x50, %r10; mov CTX+0x58, %r11\n"
				    "	mov CTX+0x60, %r12; mov CTX+0x68, %r13; mov CTX+0x70, %r14; mov CTX+0x78, %r15\n"
				    ".endm\n"

				    "diff_tramp_enter64:\n"
				    "	enter_common\n"
				    "	push CTX+0x88; popfq\n"
				    "	load_regs\n"
				    "	mov CTX+0x20, %rsp\n"
				    "	jmp *CTX+0x80\n"

				    "diff_tramp_enter32:\n"
				    "	enter_common\n"
				    "	push CTX+0x88; popfq\n"
				    "	load_regs\n"
				    "	mov CTX+0x20, %rsp\n"
				    "	ljmpl *CTX+0xb0\n"

				    "diff_tramp_enter_iret:\n" /* with RFLAGS.TF: the first trap comes after the first instruction of the case */
				    "	enter_common\n"
				    "	push CTX+0xd0; push CTX+0x20; push CTX+0x88; push CTX+0xc8; push CTX+0x80\n"
				    "	load_regs\n"
				    "	iretq\n"

				    "diff_tramp_exit64:\n"
				    "	mov %rax, CTX+0x00; mov %rcx, CTX+0x08; mov %rdx, CTX+0x10; mov %rbx, CTX+0x18\n"
				    "	mov %rsp, CTX+0x20; mov %rbp, CTX+0x28; mov %rsi, CTX+0x30; mov %rdi, CTX+0x38\n"
				    "	mov %r8,  CTX+0x40; mov %r9,  CTX+0x48; mov %r10, CTX+0x50; mov %r11, CTX+0x58\n"
				    "	mov %r12, CTX+0x60; mov %r13, CTX+0x68; mov %r14, CTX+0x70; mov %r15, CTX+0x78\n"
				    "	mov CTX+0xa0, %rsp\n"
				    "	pushfq; pop CTX+0x88\n"
				    "	push $0x202; popfq\n"
				    "	mov CTX+0xd8, %eax; xor %edx, %edx; test %eax, %eax\n"
				    "	je 2f\n"
				    "	xsave64 CTX+0x200\n"
				    "	vzeroupper\n"
				    "	jmp 3f\n"
				    "2:	fxsave64 CTX+0x200\n"
				    "3:\n"
				    "	cmpl $0, CTX+0xc0\n"
				    "	je diff_tramp_tail\n"
				    "	rdfsbase %rax; mov %rax, CTX+0x90\n"
				    "	rdgsbase %rax; mov %rax, CTX+0x98\n"
				    "	mov CTX+0xa8, %rax; wrfsbase %rax\n"
				    "	mov CTX+0xb8, %rax; wrgsbase %rax\n"
				    "diff_tramp_tail:\n"
				    "	fninit\n"
				    "	ldmxcsr CTX+0xc4\n"
				    "	pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
				    "	ret\n"

				    ".code32\n"
				    "diff_tramp_exit32:\n"
				    "	ljmp $" STR(
					    DIFF_CS64) ", $(TRAMP + (diff_tramp_exit64 - diff_tramp_begin))\n"
						       ".code64\n"
						       "diff_tramp_end:\n"

						       /* Signal entry: FS first, the handler in C uses it. rdi, rsi, rdx are the arguments. */
						       "diff_sig_entry:\n"
						       "	cmpl $0, CTX+0xc0\n"
						       "	je 1f\n"
						       "	rdfsbase %rax; mov %rax, CTX+0x90\n"
						       "	rdgsbase %rax; mov %rax, CTX+0x98\n"
						       "	mov CTX+0xa8, %rax; wrfsbase %rax\n"
						       "	mov CTX+0xb8, %rax; wrgsbase %rax\n"
						       "1:	jmp diff_sig_handler\n"
						       ".popsection\n");

bool diff_host_avx(void)
{
	return __builtin_cpu_supports("avx");
}

bool diff_host_intel(void)
{
	return __builtin_cpu_is("intel");
}

struct slot {
	sem_t go, done;
	unsigned at; /* case being run */
	struct diff_batch b;
};

struct diff_native {
	unsigned slots;
	struct slot *slot; /* shared */
	uint8_t *code;	   /* shared: the code cells */
	int code_fd;
	pid_t pid;
};

/* Child only. */
static struct {
	bool running;
	struct diff_result *out;
} child;

void diff_sig_handler(int sig, siginfo_t *si, void *ucv);
__attribute__((used)) void diff_sig_handler(int sig, siginfo_t *si, void *ucv)
{
	ucontext_t *uc = ucv;
	greg_t *g = uc->uc_mcontext.gregs;
	struct diff_result *o = child.out;
	static const uint8_t reg[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
					REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
					REG_R12, REG_R13, REG_R14, REG_R15};

	(void)si;
	if (!child.running) {
		signal(sig, SIG_DFL);
		return;
	}
	child.running = false;
	for (unsigned i = 0; i < 16; i++)
		o->r.gpr[i] = (uint64_t)g[reg[i]];
	o->r.rip = (uint64_t)g[REG_RIP];
	o->r.rflags = (uint64_t)g[REG_EFL];
	o->vector = (uint8_t)g[REG_TRAPNO];
	o->err = (uint64_t)g[REG_ERR];
	o->cr2 = (uint64_t)g[REG_CR2];
	memcpy(o->r.fx, uc->uc_mcontext.fpregs, C->xsave ? X86_FX_SIZE : 512);
	if (C->xsave && !(o->r.fx[X86_FX_XSTATE_BV] & X86_XCR0_AVX))
		memset(o->r.fx + X86_FX_YMM_HI, 0, X86_FX_SIZE - X86_FX_YMM_HI);
	g[REG_RIP] = TRAMP + (diff_tramp_tail - diff_tramp_begin);
	g[REG_RSP] = (greg_t)C->host_rsp;
	g[REG_EFL] = 0x202;
	g[REG_CSGSFS] = (g[REG_CSGSFS] & ~0xffffll) | DIFF_CS64;
}

#ifdef __SANITIZE_ADDRESS__
__attribute__((no_sanitize("address"))) /* a case may have written to the shadow */
#endif
static void
collect_lines(struct diff_result *o, uint8_t *data, const uint8_t *pristine)
{
	o->n_lines = 0;
	if (memcmp(data, pristine, DIFF_DATA_SIZE) == 0)
		return;
	for (unsigned i = 0; i < DIFF_LINES; i++) {
		uint8_t *p = data + i * DIFF_LINE;

		if (memcmp(p, pristine + i * DIFF_LINE, DIFF_LINE) != 0) {
			o->line_no[o->n_lines] = (uint16_t)i;
			memcpy(o->line[o->n_lines++], p, DIFF_LINE);
			memcpy(p, pristine + i * DIFF_LINE, DIFF_LINE);
		}
	}
}

#ifdef __SANITIZE_ADDRESS__
__attribute__((no_sanitize("address")))
#endif
static void
run_case(struct diff_batch *b, struct diff_case *c)
{
	struct diff_result *o = &c->nat;
	uint8_t *data = (uint8_t *)(uintptr_t)DIFF_D0;
	const char *entry = c->step   ? diff_tramp_enter_iret :
			    c->compat ? diff_tramp_enter32 :
					diff_tramp_enter64;

	memcpy(C->gpr, c->in.gpr, sizeof(C->gpr));
	C->rip = c->in.rip;
	C->rflags = c->in.rflags;
	C->fs_base = c->in.fs_base;
	C->gs_base = c->in.gs_base;
	memcpy(C->fx, c->in.fx, sizeof(C->fx));
	C->far_off = (uint32_t)c->in.rip;
	C->far_sel = DIFF_CS32;
	C->iret_cs = c->compat ? DIFF_CS32 : DIFF_CS64;
	C->stub = 0xff;
	if (c->poke_len)
		memcpy((uint8_t *)(uintptr_t)c->poke_addr, c->poke, c->poke_len);
	o->vector = DIFF_NO_VECTOR;
	o->err = 0;
	o->cr2 = 0;
	child.out = o;
	child.running = true;
	((void (*)(void))(uintptr_t)(TRAMP + (entry - diff_tramp_begin)))();
	child.running = false;
	if (o->vector == DIFF_NO_VECTOR) {
		memcpy(o->r.gpr, C->gpr, sizeof(C->gpr));
		o->r.rflags = C->rflags;
		o->r.rip = C->stub < c->n_ends ? c->end[C->stub] : 0;
		memcpy(o->r.fx, C->fx, sizeof(C->fx));
	}
	o->r.fs_base = C->fs_base;
	o->r.gs_base = C->gs_base;
	collect_lines(o, data, b->data);
}

static _Noreturn void child_main(struct diff_native *n)
{
	static uint8_t altstack[65536];
	struct sigaction sa = {.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
	stack_t ss = {.ss_sp = altstack, .ss_size = sizeof(altstack)};
	static const int sigs[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP};
	uint8_t *tramp, *data = NULL;
	size_t tramp_len = (size_t)(diff_tramp_end - diff_tramp_begin);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	tramp = mmap((void *)TRAMP, 4096, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	if (tramp != (void *)TRAMP ||
	    mmap((void *)CTX, 4096, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != (void *)CTX ||
	    mmap((void *)(uintptr_t)DIFF_CODE, DIFF_CODE_SIZE, PROT_READ | PROT_EXEC,
		 MAP_SHARED | MAP_FIXED_NOREPLACE, n->code_fd, 0) != (void *)(uintptr_t)DIFF_CODE ||
	    (data = mmap((void *)(uintptr_t)DIFF_D0, 3 * 4096, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0)) !=
		    (void *)(uintptr_t)DIFF_D0)
		_exit(70);
	memcpy(tramp, diff_tramp_begin, tramp_len);
	mprotect(tramp, 4096, PROT_READ | PROT_EXEC);
	memset(data, 0, DIFF_DATA_SIZE);
	memcpy(data + DIFF_DATA_SIZE, diff_d2, 4096);
	mprotect(data + DIFF_DATA_SIZE, 4096, PROT_READ);

	memset(C, 0, sizeof(*C));
	C->mxcsr = 0x1f80;
	C->xsave = diff_host_avx() ? X86_XCR0_X87 | X86_XCR0_SSE | X86_XCR0_AVX : 0;
	C->iret_ss = DIFF_DS;
	C->fsgsbase = (getauxval(AT_HWCAP2) & 2) != 0;
	if (C->fsgsbase)
		__asm__ volatile("rdfsbase %0; rdgsbase %1" : "=r"(C->host_fs), "=r"(C->host_gs));
	__asm__ volatile("mov %0, %%ds; mov %0, %%es" : : "r"(DIFF_DS));
	sigaltstack(&ss, NULL);
	sa.sa_sigaction = (void (*)(int, siginfo_t *, void *))(uintptr_t)diff_sig_entry;
	for (unsigned i = 0; i < ARRAY_SIZE(sigs); i++)
		sigaction(sigs[i], &sa, NULL);

	for (unsigned k = 0;; k = (k + 1) % n->slots) {
		struct slot *s = &n->slot[k];

		while (sem_wait(&s->go) != 0)
			;
		memcpy((void *)(uintptr_t)DIFF_D0, s->b.data, DIFF_DATA_SIZE);
		memcpy(n->code, s->b.native_code, DIFF_CODE_SIZE);
		/* In 64-bit mode the selectors do not matter; in compatibility mode GS has a flat segment, FS none. */
		__asm__ volatile("mov %0, %%gs" : : "r"(s->b.compat ? DIFF_DS : 0));
		for (unsigned i = 0; i < s->b.n; i++) {
			s->at = i;
			if (s->b.c[i].n_insns)
				run_case(&s->b, &s->b.c[i]);
		}
		sem_post(&s->done);
	}
}

static void start(struct diff_native *n)
{
	for (unsigned i = 0; i < n->slots; i++) {
		sem_init(&n->slot[i].go, 1, 0);
		sem_init(&n->slot[i].done, 1, 0);
	}
	fflush(NULL);
	n->pid = fork();
	if (n->pid == 0)
		child_main(n);
}

struct diff_native *diff_native_create(unsigned slots)
{
	struct diff_native *n = calloc(1, sizeof(*n));

	n->slots = slots;
	n->slot = mmap(NULL, slots * sizeof(*n->slot), PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	n->code_fd = memfd_create("diff-code", MFD_CLOEXEC);
	if (n->slot == MAP_FAILED || n->code_fd < 0 || ftruncate(n->code_fd, DIFF_CODE_SIZE) != 0) {
		perror("cpu-diff: shared memory");
		exit(1);
	}
	n->code = mmap(NULL, DIFF_CODE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, n->code_fd, 0);
	start(n);
	return n;
}

void diff_native_destroy(struct diff_native *n)
{
	if (n->pid > 0) {
		kill(n->pid, SIGKILL);
		waitpid(n->pid, NULL, 0);
	}
	munmap(n->slot, n->slots * sizeof(*n->slot));
	munmap(n->code, DIFF_CODE_SIZE);
	close(n->code_fd);
	free(n);
}

struct diff_batch *diff_native_batch(struct diff_native *n, unsigned slot)
{
	return &n->slot[slot].b;
}

void diff_native_submit(struct diff_native *n, unsigned slot)
{
	n->slot[slot].at = ~0u;
	sem_post(&n->slot[slot].go);
}

bool diff_native_wait(struct diff_native *n, unsigned slot, unsigned *at)
{
	for (unsigned tries = 0; tries < 100; tries++) { /* 20 s: a batch takes some milliseconds */
		struct timespec ts;
		int status;

		clock_gettime(CLOCK_REALTIME, &ts);
		ts.tv_nsec += 200000000;
		ts.tv_sec += ts.tv_nsec / 1000000000;
		ts.tv_nsec %= 1000000000;
		if (sem_timedwait(&n->slot[slot].done, &ts) == 0)
			return true;
		if (errno == ETIMEDOUT && waitpid(n->pid, &status, WNOHANG) == n->pid) {
			fprintf(stderr, "cpu-diff: native child ended with status %#x\n", status);
			n->pid = -1;
			break;
		}
	}
	*at = n->slot[slot].at;
	return false;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * boot.c - direct kernel boot: the files, the parts of low memory that are the same for all kernels, and the
 * first vCPU's state.
 *
 * Order: identify the kernel file; its headers give the limits for initrd and command line; these are placed
 * (initrd as high as it may go); then the kernel, below the initrd; then boot_params or hvm_start_info, which
 * describe it all. Which kernel is entered how: boot_elf.c and boot_bzimage.c.
 */
#include "board/boot.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "board/boot_internal.h"
#include "board/layout.h"

const char *const boot_method_name[BOOT_METHODS] = {
	[BOOT_LINUX64] = "linux64",
	[BOOT_LINUX64_Z] = "linux64-decompressor",
	[BOOT_LINUX32] = "linux32",
	[BOOT_PVH] = "pvh",
};

/* hvm_start_info, version 1 (Xen public/arch-x86/hvm/start_info.h): magic and sizes. */
#define PVH_MAGIC 0x336ec578u
#define PVH_INFO_SIZE 56u
#define PVH_MODULE_SIZE 32u
#define PVH_MEMMAP_SIZE 24u

#define SEL_CS 0x10u
#define SEL_DS 0x18u
#define SEL_TR 0x20u
#define GDT_ENTRIES 6u

/* ---- files ---- */

int boot_file_open(struct boot_file *f, int fd, const char *what, const char *name, struct err *e)
{
	struct stat st;
	const char *kind = NULL;

	*f = (struct boot_file){.fd = fd, .what = what, .name = name ? name : what};
	/* seccomp vm: fstat */
	if (fstat(fd, &st))
		return err_errno(e, errno, "cannot look at %s '%s'", what, f->name);
	if (S_ISDIR(st.st_mode))
		kind = "directory";
	else if (S_ISFIFO(st.st_mode))
		kind = "pipe";
	else if (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode))
		kind = "device";
	else if (S_ISSOCK(st.st_mode))
		kind = "socket";
	else if (!S_ISREG(st.st_mode))
		kind = "special file";
	if (kind)
		err_set(e, EINVAL, "%s '%s' is a %s, not a regular file", what, f->name, kind);
	else if (st.st_size <= 0)
		err_set(e, EINVAL, "%s '%s' is an empty file", what, f->name);
	if (kind || st.st_size <= 0) {
		err_field(e, what, f->name);
		return -EINVAL;
	}
	f->size = (uint64_t)st.st_size;
	return 0;
}

int boot_file_read(const struct boot_file *f, uint64_t off, void *buf, size_t len, struct err *e)
{
	uint8_t *p = buf;

	while (len) {
		ssize_t n = pread(f->fd, p, MIN(len, (size_t)BIT(30)), (off_t)off);
		int code = errno;

		if (n < 0 && code == EINTR)
			continue;
		if (n < 0)
			err_errno(e, code, "cannot read %s '%s'", f->what, f->name);
		else if (n == 0)
			err_set(e, EINVAL, "%s '%s' is truncated: it ends at byte %llu", f->what,
				f->name, (unsigned long long)off);
		if (n <= 0) {
			err_field(e, f->what, f->name);
			return n < 0 ? -code : -EINVAL;
		}
		p += n;
		off += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

static int file_src_next(struct boot_src *s, const uint8_t **p, size_t *n, struct err *e)
{
	struct boot_file_src *fs = container_of(s, struct boot_file_src, src);
	int r;

	*p = fs->buf;
	*n = s->pos < s->size ? MIN(s->size - s->pos, (uint64_t)BOOT_CHUNK) : 0;
	r = boot_file_read(fs->file, s->pos, fs->buf, *n, e);
	s->pos += *n;
	return r;
}

int boot_file_src_init(struct boot_file_src *s, const struct boot_file *f, struct err *e)
{
	s->src = (struct boot_src){.next = file_src_next,
				   .size = f->size,
				   .seekable = true,
				   .name = f->name};
	s->file = f;
	s->buf = malloc(BOOT_CHUNK);
	return s->buf ? 0 : err_set(e, ENOMEM, "no memory to read kernel '%s'", f->name);
}

void boot_file_src_fini(struct boot_file_src *s)
{
	free(s->buf);
}

void *boot_buffer(size_t len)
{
	size_t size = ALIGN_UP(len, 2 * MIB);
	void *p = aligned_alloc(2 * MIB, size);

	if (p)
		(void)madvise(p, size, MADV_HUGEPAGE);
	return p;
}

/* ---- guest memory ---- */

static unsigned long long mib(uint64_t bytes)
{
	return (bytes + MIB - 1) / MIB;
}

int boot_check_place(struct boot_ctx *c, gpa_t gpa, uint64_t len)
{
	const struct boot_result *r = c->r;

	if (!gmem_at(c->mem, gpa, len)) {
		err_set(c->e, ENOMEM,
			"kernel '%s' needs memory from 0x%llx to 0x%llx, but the guest has %llu MiB",
			c->kernel.name, (unsigned long long)gpa, (unsigned long long)(gpa + len),
			mib(c->mem->size_bytes));
		if (gpa + len < LAYOUT_LOW_RAM_MAX && gpa + len > gpa)
			err_hint(c->e, "give the guest at least %llu MiB", mib(gpa + len));
		err_field(c->e, "memory", NULL);
		return -ENOMEM;
	}
	if (gpa < BOOT_LOW_END || (gpa < MIB && gpa + len > LAYOUT_EBDA))
		return err_set(
			c->e, EINVAL,
			"kernel '%s' has a segment at 0x%llx, below 1 MiB, where firmware and boot data are",
			c->kernel.name, (unsigned long long)gpa);
	if (r->initrd_size && gpa < r->initrd_gpa + r->initrd_size && r->initrd_gpa < gpa + len) {
		err_set(c->e, ENOMEM,
			"kernel '%s' and initrd '%s' do not both fit into %llu MiB of guest memory",
			c->kernel.name, c->initrd.name, mib(c->mem->size_bytes));
		err_hint(c->e, "give the guest at least %llu MiB", mib(gpa + len + r->initrd_size));
		err_field(c->e, "memory", NULL);
		return -ENOMEM;
	}
	return 0;
}

int boot_write_file(struct boot_ctx *c, gpa_t gpa, const struct boot_file *f, uint64_t off,
		    uint64_t len)
{
	void *p = gmem_at(c->mem, gpa, len);
	int r;

	if (!p)
		return err_set(c->e, EFAULT, "%s '%s' does not fit into guest memory at 0x%llx",
			       f->what, f->name, (unsigned long long)gpa);
	gmem_fill(c->mem, gpa, len);
	r = boot_file_read(f, off, p, len, c->e);
	if (r)
		return r;
	gmem_dirty_mark(c->mem, gpa, len);
	if (c->mem->hook.written)
		c->mem->hook.written(c->mem->hook.ctx, gpa, len);
	return 0;
}

static bool is_zero(const uint8_t *p, size_t n)
{
	return n == 0 || (p[0] == 0 && !memcmp(p, p + 1, n - 1));
}

int boot_write(struct boot_ctx *c, gpa_t gpa, const void *buf, uint64_t len)
{
	const uint8_t *p = buf;
	uint64_t from = 0, at = 0; /* [from, at): to be written */
	int r = 0;

	while (c->cfg->memory_is_zero && at < len && !r) {
		uint64_t n = MIN(len - at, GMEM_PAGE - ((gpa + at) & (GMEM_PAGE - 1)));

		if (is_zero(p + at, n)) {
			if (at > from)
				r = gmem_write(c->mem, gpa + from, p + from, at - from);
			from = at + n;
		}
		at += n;
	}
	if (!r && len > from)
		r = gmem_write(c->mem, gpa + from, p + from, len - from);
	if (r)
		return err_set(c->e, EFAULT, "kernel '%s' does not fit into guest memory at 0x%llx",
			       c->kernel.name, (unsigned long long)gpa);
	return 0;
}

int boot_clear(struct boot_ctx *c, gpa_t gpa, uint64_t len)
{
	static const uint8_t zero[64 * 1024];
	int r = 0;

	if (c->cfg->memory_is_zero)
		return 0;
	for (uint64_t n; len && !r; gpa += n, len -= n) {
		n = MIN(len, sizeof(zero));
		r = boot_write(c, gpa, zero, n);
	}
	return r;
}

uint64_t boot_random(struct boot_ctx *c, uint64_t n)
{
	uint64_t v = boot_get64(c->cfg->seed + c->seed_used);

	ASSERT(n > 0);
	c->seed_used = (c->seed_used + 8) % 32; /* the other half is the guest's: SETUP_RNG_SEED */
	return v % n;
}

/* ---- initrd and command line ---- */

static int place_initrd(struct boot_ctx *c)
{
	uint64_t size = c->initrd.size, pages = ALIGN_UP(size, (uint64_t)GMEM_PAGE);
	uint64_t top = MIN(c->low_top, 4 * GIB);

	if (size > c->mem->size_bytes)
		goto too_big;
	top = ALIGN_DOWN(MIN(top, c->initrd_max + 1), (uint64_t)GMEM_PAGE);
	if (top > MIB && top - MIB >= pages) {
		c->r->initrd_gpa = top - pages;
		return 0;
	}
	for (unsigned i = 0; c->initrd_high_ok && i < c->mem->n_regions; i++) {
		const struct gmem_region *m = &c->mem->region[i];

		if (m->gpa >= 4 * GIB && m->size >= pages) {
			c->r->initrd_gpa = m->gpa;
			return 0;
		}
	}
too_big:
	err_set(c->e, ENOMEM, "initrd '%s' (%llu MiB) does not fit into %llu MiB of guest memory",
		c->initrd.name, mib(size), mib(c->mem->size_bytes));
	if (size < GIB * 1024)
		err_hint(c->e, "give the guest at least %llu MiB", mib(size + 64 * MIB));
	err_field(c->e, "initrd", c->initrd.name);
	return -ENOMEM;
}

int boot_load_initrd_cmdline(struct boot_ctx *c)
{
	const char *cmdline = c->cfg->cmdline ? c->cfg->cmdline : "";
	uint64_t len = strlen(cmdline), max = MIN(c->cmdline_max, (uint64_t)BOOT_CMDLINE_MAX - 1);
	int r;

	if (len > max) {
		err_set(c->e, E2BIG,
			"the command line has %llu bytes, kernel '%s' takes at most %llu",
			(unsigned long long)len, c->kernel.name, (unsigned long long)max);
		err_limit(c->e, "%llu bytes", (unsigned long long)max);
		err_field(c->e, "cmdline", cmdline);
		return -E2BIG;
	}
	r = gmem_write(c->mem, BOOT_CMDLINE, cmdline, len + 1);
	if (r)
		return err_set(c->e, EFAULT, "guest memory has no room for the command line");
	if (c->initrd.fd < 0)
		return 0;
	r = place_initrd(c);
	if (r)
		return r;
	r = boot_write_file(c, c->r->initrd_gpa, &c->initrd, 0, c->initrd.size);
	if (!r)
		c->r->initrd_size = c->initrd.size;
	return r;
}

bool boot_has_word(const char *cmdline, const char *word)
{
	size_t n = strlen(word);

	for (const char *p = cmdline; p && (p = strstr(p, word)); p += n)
		if ((p == cmdline || p[-1] == ' ') && (p[n] == ' ' || !p[n]))
			return true;
	return false;
}

/* ---- what firmware and boot loader leave in low memory ---- */

static int write_low_memory(struct boot_ctx *c)
{
	struct boot_result *r = c->r;
	bool is64 = r->method == BOOT_LINUX64 || r->method == BOOT_LINUX64_Z;
	/* mov dx, LAYOUT_PORT_RESET; mov al, ACPI_RESET_VALUE; out dx, al; hlt; jmp to the hlt. */
	static const uint8_t reset[] = {0xba, 0xf9, 0x0c, 0xb0, 0x06, 0xee, 0xf4, 0xeb, 0xfd};
	uint8_t bda[0x100] = {0}, ebda = 1, gdt[GDT_ENTRIES * 8] = {0};
	uint8_t table[512 * 8];
	int ret;

	/* BIOS data area: COM1, EBDA segment, KiB of memory below it; EBDA: its size in KiB. */
	boot_put16(bda + 0x00, LAYOUT_PORT_COM1);
	boot_put16(bda + 0x0e, LAYOUT_EBDA >> 4);
	boot_put16(bda + 0x13, LAYOUT_EBDA / 1024);
	ret = boot_write(c, BOOT_BDA, bda, sizeof(bda));
	if (!ret)
		ret = boot_write(c, LAYOUT_EBDA, &ebda, 1);
	if (!ret)
		ret = boot_write(c, LAYOUT_RESET_VECTOR, reset, sizeof(reset));

	boot_put64(gdt + SEL_CS, is64 ? 0x00af9b000000ffffu : 0x00cf9b000000ffffu);
	boot_put64(gdt + SEL_DS, 0x00cf93000000ffffu);
	boot_put64(gdt + SEL_TR, 0x00008b0000000067u); /* 16 bytes in 64-bit mode */
	r->gdt = BOOT_GDT;
	r->gdt_limit = sizeof(gdt) - 1;
	if (!ret)
		ret = boot_write(c, BOOT_GDT, gdt, sizeof(gdt));
	if (ret || !is64)
		return ret;

	/* Identity map of 4 GiB with 2 MiB pages: present, writable, accessed, dirty, large. */
	r->cr3 = BOOT_PAGE_TABLES;
	memset(table, 0, sizeof(table));
	boot_put64(table, (BOOT_PAGE_TABLES + 0x1000) | 0x23);
	ret = boot_write(c, BOOT_PAGE_TABLES, table, sizeof(table));
	for (unsigned i = 0; i < 4; i++)
		boot_put64(table + i * 8, (BOOT_PAGE_TABLES + 0x2000 + i * 0x1000) | 0x23);
	if (!ret)
		ret = boot_write(c, BOOT_PAGE_TABLES + 0x1000, table, sizeof(table));
	for (unsigned i = 0; i < 4 && !ret; i++) {
		for (unsigned j = 0; j < 512; j++)
			boot_put64(table + j * 8, (i * 512ull + j) * 2 * MIB | 0xe3);
		ret = boot_write(c, BOOT_PAGE_TABLES + 0x2000 + i * 0x1000, table, sizeof(table));
	}
	return ret;
}

static int write_pvh_info(struct boot_ctx *c)
{
	uint8_t b[PVH_INFO_SIZE + PVH_MODULE_SIZE + BOOT_E820_MAX * PVH_MEMMAP_SIZE] = {0};
	uint8_t *module = b + PVH_INFO_SIZE, *memmap = module + PVH_MODULE_SIZE;
	struct boot_e820 map[BOOT_E820_MAX];
	unsigned n = boot_e820_build(c->mem, map);

	boot_put32(b, PVH_MAGIC);
	boot_put32(b + 4, 1); /* version */
	if (c->r->initrd_size) {
		boot_put32(b + 12, 1);
		boot_put64(b + 16, BOOT_PVH_INFO + (uint64_t)(module - b));
		boot_put64(module, c->r->initrd_gpa);
		boot_put64(module + 8, c->r->initrd_size);
	}
	boot_put64(b + 24, BOOT_CMDLINE);
	boot_put64(b + 32, c->cfg->rsdp);
	boot_put64(b + 40, BOOT_PVH_INFO + (uint64_t)(memmap - b));
	boot_put32(b + 48, n);
	for (unsigned i = 0; i < n; i++) {
		boot_put64(memmap + i * PVH_MEMMAP_SIZE, map[i].addr);
		boot_put64(memmap + i * PVH_MEMMAP_SIZE + 8, map[i].size);
		boot_put32(memmap + i * PVH_MEMMAP_SIZE + 16, map[i].type);
	}
	return boot_write(c, BOOT_PVH_INFO, b, sizeof(b));
}

/* ---- the whole ---- */

/* What a file that is no kernel looks like, for the message. */
static const char *identify(const uint8_t *h, size_t n, const char **hint)
{
	const char *z = boot_decompress_name(h, n);
	uint32_t pe = n > 0x40 ? boot_get32(h + 0x3c) : 0;

	*hint = NULL;
	if (n > 64 && !memcmp(h + 56, "ARM\x64", 4))
		return "a Linux kernel for arm64, not for x86-64";
	if (n > 64 && (!memcmp(h + 48, "RISCV", 5) || !memcmp(h + 56, "RSC\x05", 4)))
		return "a Linux kernel for RISC-V, not for x86-64";
	if (n > 40 && boot_get32(h + 36) == 0x016f2818)
		return "a Linux kernel for 32-bit ARM, not for x86-64";
	if (n > 4 && !memcmp(h, "\x27\x05\x19\x56", 4))
		return "a U-Boot image, not an x86-64 kernel";
	if (n > 2 && !memcmp(h, "MZ", 2) && pe + 6ull <= n && !memcmp(h + pe, "PE\0\0", 4)) {
		*hint = "an EFI program needs firmware: boot it from a disk";
		if (boot_get16(h + pe + 4) == 0xaa64)
			return "an EFI program for arm64";
		return boot_get16(h + pe + 4) == 0x8664 ?
			       "an EFI program, not a kernel for direct boot" :
			       "an EFI program for another architecture";
	}
	if (n > 6 && (!memcmp(h, "070701", 6) || !memcmp(h, "070702", 6))) {
		*hint = "give it as the initrd";
		return "a cpio archive, not a kernel";
	}
	if (n > 4 && !memcmp(h, "QFI\xfb", 4)) {
		*hint = "give it as a disk";
		return "a qcow2 disk image, not a kernel";
	}
	if (n > 2 && !memcmp(h, "#!", 2))
		return "a script, not a kernel";
	if (z) {
		*hint = "unpack it first, if there is a kernel in it";
		return "a compressed file, not a kernel";
	}
	if (n >= 512 && boot_get16(h + 510) == 0xaa55) {
		*hint = "give it as a disk";
		return "a boot sector or disk image, not a Linux kernel";
	}
	return "neither a Linux bzImage nor an ELF file";
}

static int load_elf_file(struct boot_ctx *c)
{
	struct boot_file_src src;
	int r;

	boot_setup_default(c);
	r = boot_load_initrd_cmdline(c);
	if (r)
		return r;
	r = boot_file_src_init(&src, &c->kernel, c->e);
	if (r)
		return r;
	r = boot_elf_load(c, &src.src, false);
	boot_file_src_fini(&src);
	return r;
}

static int load(struct boot_ctx *c)
{
	const struct gmem_region *low = gmem_find(c->mem, 0);
	uint8_t head[4096];
	const char *hint;
	size_t n;
	int r;

	if (!low || low->gpa != 0 || low->size < 2 * MIB)
		return err_set(c->e, ENOMEM,
			       "the guest needs at least 2 MiB of memory to boot a kernel");
	c->low_top = low->size;
	r = boot_file_open(&c->kernel, c->cfg->kernel_fd, "kernel", c->cfg->kernel_name, c->e);
	if (r)
		return r;
	c->initrd.fd = -1;
	if (c->cfg->initrd_fd >= 0) {
		r = boot_file_open(&c->initrd, c->cfg->initrd_fd, "initrd", c->cfg->initrd_name,
				   c->e);
		if (r)
			return r;
	}
	n = MIN(c->kernel.size, sizeof(head));
	r = boot_file_read(&c->kernel, 0, head, n, c->e);
	if (r)
		return r;

	if (boot_elf_probe(head, n)) {
		r = load_elf_file(c);
	} else if (boot_bzimage_probe(head, n)) {
		r = boot_bzimage_load(c);
	} else {
		err_set(c->e, EINVAL, "kernel '%s' is %s", c->kernel.name, identify(head, n, &hint));
		return hint ? err_hint(c->e, "%s", hint) : -EINVAL;
	}
	if (!r)
		r = write_low_memory(c);
	if (r)
		return r;
	c->r->params = c->r->method == BOOT_PVH ? BOOT_PVH_INFO : BOOT_ZERO_PAGE;
	return c->r->method == BOOT_PVH ? write_pvh_info(c) : boot_zero_page_write(c);
}

int boot_load(const struct boot_config *cfg, struct gmem *mem, struct boot_result *out,
	      struct err *e)
{
	struct boot_ctx *c = calloc(1, sizeof(*c));
	int r;

	memset(out, 0, sizeof(*out));
	if (!c)
		return err_set(e, ENOMEM, "no memory to load a kernel");
	c->cfg = cfg;
	c->mem = mem;
	c->r = out;
	c->e = e;
	c->nokaslr = cfg->cmdline && boot_has_word(cfg->cmdline, "nokaslr");
	r = load(c);
	if (r)
		err_field(e, "kernel", cfg->kernel_name); /* if nobody below knew better */
	free(c);
	return r;
}

static struct x86_seg segment(unsigned sel, uint32_t limit, unsigned attr)
{
	return (struct x86_seg){.sel = (uint16_t)sel, .limit = limit, .attr = (uint16_t)attr};
}

void boot_start_state(const struct boot_result *r, struct x86_state *s)
{
	const unsigned code = X86_ATTR_P | X86_ATTR_S | X86_ATTR_CODE | X86_ATTR_RW |
			      X86_ATTR_ACCESSED | X86_ATTR_G;
	const unsigned data = X86_ATTR_P | X86_ATTR_S | X86_ATTR_RW | X86_ATTR_ACCESSED |
			      X86_ATTR_G | X86_ATTR_DB;
	bool is64 = r->method == BOOT_LINUX64 || r->method == BOOT_LINUX64_Z;

	x86_state_reset(s, true);
	memset(s->gpr, 0, sizeof(s->gpr));
	s->gpr[r->method == BOOT_PVH ? X86_RBX : X86_RSI] = r->params;
	s->gpr[X86_RSP] = BOOT_STACK;
	s->rip = r->entry;
	s->rflags = X86_F1;

	for (unsigned i = 0; i < X86_SREGS; i++)
		s->seg[i] = segment(SEL_DS, 0xffffffff, data);
	s->seg[X86_CS] = segment(SEL_CS, 0xffffffff, code | (is64 ? X86_ATTR_L : X86_ATTR_DB));
	s->tr = segment(SEL_TR, 0x67, X86_ATTR_P | 0xb); /* busy TSS */
	s->ldt = segment(0, 0, 0);
	s->gdt = (struct x86_dtr){r->gdt, r->gdt_limit};
	s->idt = (struct x86_dtr){0, 0};

	s->cr0 = X86_CR0_PE | X86_CR0_ET;
	s->cr3 = 0;
	s->cr4 = 0;
	s->msr.efer = 0;
	if (is64) {
		s->cr0 |= X86_CR0_PG;
		s->cr3 = r->cr3;
		s->cr4 = X86_CR4_PAE;
		s->msr.efer = X86_EFER_LME | X86_EFER_LMA;
	}
}

void boot_firmware_msrs(struct x86_state *s, unsigned phys_bits)
{
	const uint64_t wb = 0x0606060606060606;

	/* SDM vol. 3 §12.11: on, fixed ranges on, default write-back; VGA hole and PCI hole uncached. */
	s->msr.mtrr_def_type = 0xc06;
	for (unsigned i = 0; i < ARRAY_SIZE(s->msr.mtrr_fixed); i++)
		s->msr.mtrr_fixed[i] = i == 2 ? 0 : wb; /* 2: 0xa0000-0xbffff */
	memset(s->msr.mtrr_base, 0, sizeof(s->msr.mtrr_base));
	memset(s->msr.mtrr_mask, 0, sizeof(s->msr.mtrr_mask));
	if (phys_bits >= 32 && phys_bits < 64) {
		s->msr.mtrr_base[0] = LAYOUT_PCI_MMIO32;
		s->msr.mtrr_mask[0] = ((BIT(phys_bits) - 1) & ~(GIB - 1)) | 0x800;
	}
}

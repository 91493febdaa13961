/* SPDX-License-Identifier: Apache-2.0 */
/* test_boot.c - kernel loaders: every way to boot, every compression, placement, and files that lie. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "board/acpi.h"
#include "board/boot.h"
#include "board/layout.h"
#include "boot_image.h"

#define RSDP 0xe0000u

static uint8_t seed[BOOT_SEED_SIZE];

struct run {
	struct boot_config cfg;
	struct gmem *mem;
	struct boot_result r;
	struct err e;
	int ret;
};

static struct gmem *ram(uint64_t low, uint64_t high)
{
	struct gmem_range range[] = {{0, low}, {4 * GIB, high}};
	struct gmem *m = NULL;

	assert_int_equal(gmem_create(&m, range, high ? 2 : 1, -1, NULL), 0);
	return m;
}

/* Boots `im` (freed) in `mem`; cfg may be preset. */
static int boot(struct run *t, struct image im)
{
	t->cfg.kernel_fd = image_fd(&im);
	t->cfg.kernel_name = "k";
	if (!t->cfg.initrd_fd)
		t->cfg.initrd_fd = -1;
	t->cfg.rsdp = RSDP;
	memset(&t->e, 0, sizeof(t->e));
	t->ret = boot_load(&t->cfg, t->mem, &t->r, &t->e);
	if (t->ret)
		assert_int_not_equal(t->e.msg[0], 0);
	else
		assert_int_equal(t->e.msg[0], 0);
	close(t->cfg.kernel_fd);
	free(im.p);
	return t->ret;
}

static struct image bz(struct image elf, const char *method)
{
	struct image z = image_compress(&elf, method), b = image_bzimage(&z, 0x20f);

	free(elf.p);
	free(z.p);
	return b;
}

static void expect(struct run *t, struct image im, const char *words)
{
	if (boot(t, im) == 0)
		fail_msg("accepted, expected: %s", words);
	if (!strstr(t->e.msg, words))
		fail_msg("'%s' does not say '%s'", t->e.msg, words);
}

static uint64_t rd(const struct gmem *m, gpa_t gpa, unsigned n)
{
	const uint8_t *p = gmem_at(m, gpa, n);
	uint64_t v = 0;

	assert_non_null(p);
	for (unsigned i = 0; i < n; i++)
		v |= (uint64_t)p[i] << (8 * i);
	return v;
}

static void check_text(const struct run *t, gpa_t base)
{
	const uint8_t *p = gmem_at(t->mem, base, IMAGE_TEXT_SIZE + IMAGE_BSS_SIZE);

	assert_non_null(p);
	for (size_t i = 0; i < IMAGE_TEXT_SIZE; i++)
		if (p[i] != image_text_byte(i))
			fail_msg("text differs at 0x%zx", i);
	for (size_t i = 0; i < IMAGE_BSS_SIZE; i++)
		if (p[IMAGE_TEXT_SIZE + i])
			fail_msg("BSS is not zero at 0x%zx", i);
}

static void test_compressions(void **st)
{
	(void)st;
	for (size_t i = 0; i < ARRAY_SIZE(image_methods); i++) {
		struct run t = {.mem = ram(64 * MIB, 0)};

		t.cfg.memory_is_zero = i & 1;
		if (!t.cfg.memory_is_zero)
			memset(gmem_at(t.mem, 0, 64 * MIB), 0x55, 64 * MIB);
		if (boot(&t, bz(image_elf(0), image_methods[i])))
			fail_msg("%s: %s", image_methods[i], t.e.msg);
		assert_string_equal(t.r.compression, image_methods[i]);
		assert_int_equal(t.r.method, BOOT_LINUX64);
		assert_int_equal(t.r.entry, IMAGE_ENTRY);
		assert_string_equal(t.r.version, "6.1.0-test (somebody@somewhere)");
		assert_int_equal(t.r.kernel_gpa, IMAGE_TEXT_PADDR);
		assert_false(t.r.kaslr);
		check_text(&t, IMAGE_TEXT_PADDR);
		assert_int_equal(rd(t.mem, IMAGE_PERCPU_PADDR + IMAGE_PERCPU_SIZE - 4, 4),
				 0xaaaaaaaa);
		gmem_destroy(t.mem);
	}
}

/* A page of zero in the file stays untouched in memory that is known to be zero. */
static void test_untouched(void **st)
{
	struct run t = {.mem = ram(64 * MIB, 0), .cfg = {.memory_is_zero = true}};
	unsigned char vec[1] = {1};

	(void)st;
	assert_int_equal(boot(&t, bz(image_elf(0), "zstd")), 0);
	assert_int_equal(mincore(gmem_at(t.mem, IMAGE_TEXT_PADDR + 2 * 4096, 4096), 4096, vec), 0);
	assert_int_equal(vec[0] & 1, 0);
	assert_int_equal(mincore(gmem_at(t.mem, IMAGE_TEXT_PADDR + 3 * 4096, 4096), 4096, vec), 0);
	assert_int_equal(vec[0] & 1, 1);
	gmem_destroy(t.mem);
}

static int file_of(size_t n)
{
	struct image im = {0};
	int fd;

	image_put(&im, 0, NULL, n);
	for (size_t i = 0; i < n; i++)
		im.p[i] = (uint8_t)(i * 13);
	fd = image_fd(&im);
	free(im.p);
	return fd;
}

static void test_zero_page(void **st)
{
	struct run t = {.mem = ram(3 * GIB, GIB)};
	gpa_t z;

	(void)st;
	t.cfg.initrd_fd = file_of(100001);
	t.cfg.cmdline = "console=ttyS0 quiet";
	t.cfg.seed = seed;
	assert_int_equal(boot(&t, bz(image_elf(0), "lz4")), 0);
	z = t.r.params;
	assert_int_equal(t.r.initrd_size, 100001);
	assert_int_equal(t.r.initrd_gpa,
			 0x80000000 - 0x19000); /* as high as initrd_addr_max lets it */
	assert_int_equal(rd(t.mem, t.r.initrd_gpa + 100000, 1), (uint8_t)(100000 * 13));
	assert_int_equal(rd(t.mem, z + 0x070, 8), RSDP);
	assert_int_equal(rd(t.mem, z + 0x1ef, 1), 0); /* sentinel */
	assert_int_equal(rd(t.mem, z + 0x1fe, 2), 0xaa55);
	assert_int_equal(rd(t.mem, z + 0x202, 4), 0x53726448);
	assert_int_equal(rd(t.mem, z + 0x206, 2), 0x20f);
	assert_int_equal(rd(t.mem, z + 0x210, 1), 0xff);
	assert_int_equal(rd(t.mem, z + 0x218, 4), t.r.initrd_gpa);
	assert_int_equal(rd(t.mem, z + 0x21c, 4), 100001);
	assert_string_equal(gmem_at(t.mem, rd(t.mem, z + 0x228, 4), 20), "console=ttyS0 quiet");
	assert_int_equal(rd(t.mem, rd(t.mem, z + 0x250, 8) + 8, 4), 9); /* SETUP_RNG_SEED */
	assert_int_equal(rd(t.mem, z + 0x1e8, 1), 5);
	static const uint64_t e820[5][3] = {{0, 0x9fc00, 1},
					    {0x9fc00, 0x60400, 2},
					    {MIB, 3 * GIB - MIB, 1},
					    {LAYOUT_ECAM, LAYOUT_ECAM_SIZE, 2},
					    {4 * GIB, GIB, 1}};
	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(rd(t.mem, z + 0x2d0 + i * 20, 8), e820[i][0]);
		assert_int_equal(rd(t.mem, z + 0x2d0 + i * 20 + 8, 8), e820[i][1]);
		assert_int_equal(rd(t.mem, z + 0x2d0 + i * 20 + 16, 4), e820[i][2]);
	}
	close(t.cfg.initrd_fd);
	gmem_destroy(t.mem);
}

static void test_state64(void **st)
{
	struct run t = {.mem = ram(64 * MIB, 0)};
	struct x86_state s;

	(void)st;
	assert_int_equal(boot(&t, bz(image_elf(0), "gzip")), 0);
	boot_start_state(&t.r, &s);
	assert_int_equal(s.rip, IMAGE_ENTRY);
	assert_int_equal(s.gpr[X86_RSI], t.r.params);
	assert_int_equal(s.rflags, X86_F1);
	assert_int_equal(s.msr.efer, X86_EFER_LME | X86_EFER_LMA);
	assert_int_equal(s.seg[X86_CS].attr, 0xa09b);
	assert_int_equal(s.seg[X86_SS].attr, 0xc093);
	assert_true(s.cr0 & X86_CR0_PG && s.cr4 & X86_CR4_PAE);
	/* The descriptors in memory say the same. */
	assert_int_equal(rd(t.mem, s.gdt.base + s.seg[X86_CS].sel, 8), 0x00af9b000000ffff);
	assert_int_equal(rd(t.mem, s.gdt.base + s.seg[X86_DS].sel, 8), 0x00cf93000000ffff);
	/* Identity map: walk a few addresses. */
	for (uint64_t va = 0; va < 4 * GIB; va += 0x3fe00000 / 2) {
		uint64_t e = rd(t.mem, s.cr3 + (va >> 39 & 511) * 8, 8);

		e = rd(t.mem, (e & ~4095ull) + (va >> 30 & 511) * 8, 8);
		e = rd(t.mem, (e & ~4095ull) + (va >> 21 & 511) * 8, 8);
		assert_int_equal(e & 0x83, 0x83);
		assert_int_equal(e & ~0xfffull, va & ~0x1fffffull);
	}
	/* f000:fff0 resets the machine. */
	assert_int_equal(rd(t.mem, LAYOUT_RESET_VECTOR, 8),
			 0xebf4ee00b00000ba | (uint64_t)ACPI_RESET_VALUE << 32 |
				 LAYOUT_PORT_RESET << 8);
	assert_int_equal(rd(t.mem, LAYOUT_RESET_VECTOR + 8, 1), 0xfd);
	boot_firmware_msrs(&s, 40);
	assert_int_equal(s.msr.mtrr_def_type, 0xc06);
	assert_int_equal(s.msr.mtrr_mask[0], 0xffc0000800);
	gmem_destroy(t.mem);
}

static struct image bz_relocs(unsigned lists)
{
	struct image elf = image_elf(0);

	image_relocs(&elf, lists);
	return bz(elf, "zstd");
}

static uint32_t text32(size_t off)
{
	return (uint32_t)(image_text_byte(off) | image_text_byte(off + 1) << 8 |
			  image_text_byte(off + 2) << 16) |
	       (uint32_t)image_text_byte(off + 3) << 24;
}

static void test_kaslr(void **st)
{
	bool moved_virt = false, moved_phys = false;

	(void)st;
	for (unsigned i = 0; i < 12; i++) {
		struct run t = {.mem = ram(256 * MIB, 0)};
		uint64_t d;

		for (size_t k = 0; k < sizeof(seed); k++)
			seed[k] = (uint8_t)(i * 37 + k * 101 + (k * i) % 7);
		t.cfg.seed = seed;
		t.cfg.initrd_fd = file_of(5000000);
		assert_int_equal(boot(&t, bz_relocs(i & 1 ? 2 : 3)), 0);
		assert_true(t.r.kaslr);
		d = t.r.kaslr_virt;
		moved_virt |= d != 0;
		moved_phys |= t.r.kaslr_phys != 0;
		assert_int_equal(d % (2 * MIB), 0);
		assert_int_equal(t.r.kaslr_phys % (int64_t)(2 * MIB), 0);
		assert_true(d + IMAGE_TEXT_PADDR + t.r.kernel_size <= GIB);
		assert_true(t.r.kernel_gpa + t.r.kernel_size <= t.r.initrd_gpa);
		assert_int_equal(t.r.entry, IMAGE_ENTRY + t.r.kaslr_phys);
		assert_int_equal(rd(t.mem, t.r.kernel_gpa + IMAGE_RELOC32, 4),
				 (uint32_t)(text32(IMAGE_RELOC32) + d));
		assert_int_equal(rd(t.mem, t.r.kernel_gpa + IMAGE_RELOC32 + 4, 4),
				 (uint32_t)(text32(IMAGE_RELOC32 + 4) + d));
		assert_int_equal(rd(t.mem, t.r.kernel_gpa + IMAGE_RELOC_INV, 4),
				 (uint32_t)(text32(IMAGE_RELOC_INV) - (i & 1 ? 0 : d)));
		assert_int_equal(rd(t.mem, t.r.kernel_gpa + IMAGE_RELOC64, 8),
				 (text32(IMAGE_RELOC64) | (uint64_t)text32(IMAGE_RELOC64 + 4) << 32) +
					 d);
		assert_int_equal(rd(t.mem, t.r.params + 0x211, 1) & 2, 2);
		assert_int_equal(rd(t.mem, t.r.kernel_gpa + IMAGE_PERCPU_PADDR - IMAGE_TEXT_PADDR,
				    4),
				 0xaaaaaaaa);
		close(t.cfg.initrd_fd);
		gmem_destroy(t.mem);
	}
	assert_true(moved_virt && moved_phys);

	struct run t = {.mem = ram(256 * MIB, 0), .cfg = {.seed = seed, .cmdline = "quiet nokaslr"}};

	assert_int_equal(boot(&t, bz_relocs(3)), 0);
	assert_false(t.r.kaslr);
	assert_int_equal(t.r.kernel_gpa, IMAGE_TEXT_PADDR);
	check_text(&t, IMAGE_TEXT_PADDR);
	assert_int_equal(rd(t.mem, t.r.params + 0x211, 1) & 2, 0);
	t.cfg.cmdline = "xnokaslr nokaslr2";
	assert_int_equal(boot(&t, bz_relocs(3)), 0);
	assert_true(t.r.kaslr);

	/* A list that points outside of the kernel; and something that is no list at all. */
	struct image elf = image_elf(0);

	t.cfg.cmdline = NULL;
	image_relocs(&elf, 3);
	image_le(&elf, elf.n - 4, 0x70000000, 4);
	expect(&t, bz(elf, "xz"), "relocation");
	elf = image_elf(0);
	image_le(&elf, elf.n, 0x1234567, 4);
	assert_int_equal(boot(&t, bz(elf, "xz")), 0);
	assert_false(t.r.kaslr);
	gmem_destroy(t.mem);
}

static void test_handover(void **st)
{
	struct run t = {.mem = ram(64 * MIB, 0)};
	struct image im;
	struct x86_state s;

	(void)st;
	/* A compression without a library; payload that is no ELF file; as asked. */
	assert_int_equal(boot(&t, bz(image_elf(0), "lzo")), 0);
	assert_int_equal(t.r.method, BOOT_LINUX64_Z);
	assert_int_equal(t.r.entry, 0x1000200);
	assert_null(t.r.compression);
	assert_int_equal(rd(t.mem, 0x1000000 + IMAGE_PAYLOAD_OFF - 1, 1), 0x90);
	assert_int_equal(rd(t.mem, t.r.params + 0x214, 4), 0x1000000);
	im = (struct image){calloc(1, 50000), 50000};
	assert_int_equal(boot(&t, bz(im, "gzip")), 0);
	assert_int_equal(t.r.method, BOOT_LINUX64_Z);
	t.cfg.protocol = BOOT_WANT_HANDOVER;
	assert_int_equal(boot(&t, bz(image_elf(0), "zstd")), 0);
	assert_int_equal(t.r.method, BOOT_LINUX64_Z);

	/* An ELF file has nothing to unpack. */
	assert_int_equal(boot(&t, image_elf(0)), 0);
	assert_int_equal(t.r.method, BOOT_LINUX64);
	/* What its header says of the place is taken as little on trust as the rest. */
	im = bz(image_elf(0), "zstd");
	image_le(&im, 0x260, 0x7fffffff, 4);
	expect(&t, im, "needs memory from 0x1000000 to 0x80ffffff");
	im = bz(image_elf(0), "zstd");
	image_le(&im, 0x258, UINT64_C(0xffffffffff000000), 8);
	expect(&t, im, "load address 0xffffffffff000000");
	im = bz(image_elf(0), "zstd");
	image_le(&im, 0x258, 0x1000200, 8);
	expect(&t, im, "does not fit at its load address 0x1000200");
	im = bz(image_elf(0), "zstd");
	im.n -= 4000;
	expect(&t, im, "truncated");

	/* 32-bit entry, not relocatable; nothing but the version's fields counts. */
	im = bz(image_elf(0), "zstd");
	image_le(&im, 0x206, 0x204, 2);
	assert_int_equal(boot(&t, im), 0);
	assert_int_equal(t.r.method, BOOT_LINUX32);
	assert_int_equal(t.r.entry, 0x100000);
	assert_int_equal(rd(t.mem, t.r.params + 0x258, 8), 0);
	boot_start_state(&t.r, &s);
	assert_int_equal(s.gpr[X86_RSI], t.r.params);
	assert_int_equal(s.cr0, X86_CR0_PE | X86_CR0_ET);
	assert_int_equal(s.msr.efer, 0);
	assert_int_equal(s.seg[X86_CS].attr, 0xc09b);
	assert_int_equal(rd(t.mem, s.gdt.base + s.seg[X86_CS].sel, 8), 0x00cf9b000000ffff);

	t.cfg.protocol = BOOT_AUTO;
	im = bz(image_elf(0), "zstd");
	image_le(&im, 0x206, 0x207, 2);
	image_le(&im, 0x234, 0, 1);
	image_le(&im, 0x214, 0, 4);
	expect(&t, im, "real mode");
	gmem_destroy(t.mem);
}

static void test_vmlinux(void **st)
{
	struct run t = {.mem = ram(64 * MIB, 0)};

	(void)st;
	assert_int_equal(boot(&t, image_elf(0)), 0);
	assert_int_equal(t.r.method, BOOT_LINUX64);
	assert_int_equal(t.r.entry, IMAGE_ENTRY);
	check_text(&t, IMAGE_TEXT_PADDR);
	assert_int_equal(rd(t.mem, t.r.params + 0x206, 2), 0x20f);

	assert_int_equal(boot(&t, image_elf(IMAGE_PVH | IMAGE_GUEST_LINUX)), 0);
	assert_int_equal(t.r.method, BOOT_LINUX64);
	assert_int_equal(boot(&t, image_elf(IMAGE_NOT_LINUX)), 0);
	assert_int_equal(t.r.method, BOOT_LINUX64);
	assert_int_equal(boot(&t, image_elf(IMAGE_ELF32)), 0);
	assert_int_equal(t.r.method, BOOT_LINUX32);
	expect(&t, image_elf(IMAGE_ELF32 | IMAGE_NOT_LINUX), "PVH");
	t.cfg.protocol = BOOT_WANT_PVH;
	expect(&t, image_elf(0), "no PVH entry");
	expect(&t, bz(image_elf(0), "xz"), "no PVH entry");
	assert_int_equal(boot(&t, bz(image_elf(IMAGE_PVH), "xz")), 0);
	assert_int_equal(t.r.method, BOOT_PVH);
	gmem_destroy(t.mem);
}

static void test_pvh(void **st)
{
	static const unsigned flags[] = {IMAGE_PVH | IMAGE_NOT_LINUX,
					 IMAGE_PVH | IMAGE_NOT_LINUX | IMAGE_ELF32};

	(void)st;
	for (unsigned i = 0; i < 2; i++) {
		struct run t = {.mem = ram(64 * MIB, 0), .cfg = {.cmdline = "hello"}};
		struct x86_state s;
		gpa_t p;

		t.cfg.initrd_fd = file_of(12345);
		assert_int_equal(boot(&t, image_elf(flags[i])), 0);
		assert_int_equal(t.r.method, BOOT_PVH);
		assert_int_equal(t.r.entry, 0x1000080);
		boot_start_state(&t.r, &s);
		p = s.gpr[X86_RBX];
		assert_int_equal(p, t.r.params);
		assert_int_equal(s.cr0, X86_CR0_PE | X86_CR0_ET);
		assert_int_equal(s.cr4, 0);
		assert_int_equal(s.tr.attr, 0x8b);
		assert_int_equal(s.tr.limit, 0x67);
		assert_int_equal(rd(t.mem, p, 4), 0x336ec578);
		assert_int_equal(rd(t.mem, p + 4, 4), 1);
		assert_int_equal(rd(t.mem, p + 12, 4), 1);
		assert_int_equal(rd(t.mem, rd(t.mem, p + 16, 8), 8), t.r.initrd_gpa);
		assert_int_equal(rd(t.mem, rd(t.mem, p + 16, 8) + 8, 8), 12345);
		assert_string_equal(gmem_at(t.mem, rd(t.mem, p + 24, 8), 6), "hello");
		assert_int_equal(rd(t.mem, p + 32, 8), RSDP);
		assert_int_equal(rd(t.mem, p + 48, 4), 4);
		assert_int_equal(rd(t.mem, rd(t.mem, p + 40, 8) + 2 * 24, 8), MIB);
		assert_int_equal(rd(t.mem, rd(t.mem, p + 40, 8) + 2 * 24 + 8, 8), 63 * MIB);
		assert_int_equal(rd(t.mem, rd(t.mem, p + 40, 8) + 2 * 24 + 16, 4), 1);
		close(t.cfg.initrd_fd);
		gmem_destroy(t.mem);
	}
}

static struct image text(const char *s, size_t n)
{
	struct image im = {0};

	image_put(&im, 0, NULL, 2048);
	memcpy(im.p, s, n);
	return im;
}

static void test_not_a_kernel(void **st)
{
	struct run t = {.mem = ram(64 * MIB, 0)};
	struct image im;
	int p[2], fd;

	(void)st;
	im = text("", 0);
	memcpy(im.p + 56, "ARM\x64", 4);
	expect(&t, im, "arm64");
	im = text("MZ", 2);
	im.p[0x3c] = 0x80;
	memcpy(im.p + 0x80, "PE\0\0\x64\xaa", 6);
	expect(&t, im, "EFI program for arm64");
	im = image_elf(0);
	im.p[18] = 183;
	im.p[19] = 0;
	expect(&t, im, "for arm64, not for x86-64");
	im = image_elf(0);
	im.p[18] = 243;
	im.p[19] = 0;
	expect(&t, im, "RISC-V");
	im = image_elf(0);
	im.p[16] = 1;
	expect(&t, im, "object file");
	im = image_elf(0);
	im.p[64 + 2 * 56] = PT_INTERP;
	expect(&t, im, "a program");
	expect(&t, text("070701", 6), "cpio");
	assert_string_equal(t.e.hint, "give it as the initrd");
	expect(&t, text("QFI\xfb", 4), "qcow2");
	expect(&t, text("\x1f\x8b\x08", 3), "compressed");
	expect(&t, text("#!/bin/sh", 9), "script");
	im = text("", 0);
	im.p[510] = 0x55;
	im.p[511] = 0xaa;
	expect(&t, im, "boot sector");
	expect(&t, text("", 0), "neither");
	expect(&t, (struct image){malloc(1), 0}, "empty");
	assert_string_equal(t.e.field, "kernel");

	t.cfg.initrd_fd = -1;
	t.cfg.kernel_fd = open("/", O_RDONLY | O_DIRECTORY);
	memset(&t.e, 0, sizeof(t.e));
	assert_int_equal(boot_load(&t.cfg, t.mem, &t.r, &t.e), -EINVAL);
	assert_non_null(strstr(t.e.msg, "directory"));
	close(t.cfg.kernel_fd);
	assert_int_equal(pipe(p), 0);
	t.cfg.initrd_fd = p[0];
	expect(&t, image_elf(0), "pipe");
	assert_string_equal(t.e.field, "initrd");
	close(p[0]);
	close(p[1]);
	fd = open("/dev/null", O_RDONLY);
	t.cfg.initrd_fd = fd;
	expect(&t, image_elf(0), "device");
	close(fd);
	t.cfg.initrd_fd = -1;
	im = image_elf(0);
	t.cfg.kernel_fd = image_fd(&im);
	assert_int_equal(boot_load(&t.cfg, t.mem, &t.r, NULL), 0); /* no struct err */
	close(t.cfg.kernel_fd);
	free(im.p);
	gmem_destroy(t.mem);
}

static void test_damaged(void **st)
{
	struct run t = {.mem = ram(64 * MIB, 0)};
	struct image im, elf = image_elf(0), z;

	(void)st;
	for (size_t i = 0; i < ARRAY_SIZE(image_methods); i++) {
		bool checked = i < 2 || !strcmp(image_methods[i],
						"xz"); /* there is a checksum in the format */

		/* Says too much, too little, much too much; is cut; is wrong in the middle. */
		for (int delta = -5; delta <= 5; delta += 10) {
			z = image_compress(&elf, image_methods[i]);
			image_le(&z, z.n - 4, (uint64_t)((int64_t)elf.n + delta), 4);
			expect(&t, image_bzimage(&z, 0x20f), "damaged");
			free(z.p);
		}
		z = image_compress(&elf, image_methods[i]);
		image_le(&z, z.n - 4, 0xfffffff0, 4);
		expect(&t, image_bzimage(&z, 0x20f), "4095 MiB");
		assert_string_equal(t.e.field, "memory");
		z.n /= 2;
		image_le(&z, z.n - 4, elf.n, 4);
		expect(&t, image_bzimage(&z, 0x20f), "damaged");
		free(z.p);
		z = image_compress(&elf, image_methods[i]);
		memset(z.p + z.n / 2, 0xff, 64);
		boot(&t, image_bzimage(&z, 0x20f));
		if (checked) /* else anything but a crash is right */
			assert_non_null(strstr(t.e.msg, "damaged"));
		free(z.p);
	}
	free(elf.p);

	im = bz(image_elf(0), "gzip");
	im.n -= 100;
	expect(&t, im, "truncated: its protected-mode part");
	im = bz(image_elf(0), "gzip");
	im.n = 0x230;
	expect(&t, im, "truncated: its setup header");
	im = bz(image_elf(0), "gzip");
	im.n = 0x600;
	expect(&t, im, "truncated: its setup code");
	im = bz(image_elf(0), "gzip");
	image_le(&im, 0x24c, 0xfffffff0, 4);
	expect(&t, im, "truncated: its payload");
	im = bz(image_elf(0), "gzip");
	image_le(&im, 0x206, 0x201, 2);
	expect(&t, im, "boot protocol 2.01");
	im = bz(image_elf(0), "gzip");
	image_le(&im, 0x211, 0, 1);
	expect(&t, im, "zImage");
	im = bz(image_elf(0), "gzip");
	image_le(&im, 0x230, 0x300000, 4);
	expect(&t, im, "alignment");

	im = image_elf(0);
	im.n = IMAGE_TEXT_OFF + 100;
	expect(&t, im, "truncated");
	im = image_elf(0);
	im.n = 60;
	expect(&t, im, "truncated");
	im = image_elf(0);
	image_le(&im, 24, 0x5000000, 8);
	expect(&t, im, "entry point");
	im = image_elf(0);
	image_le(&im, 64 + 56 + 24, IMAGE_TEXT_PADDR + 0x1000, 8);
	expect(&t, im, "overlap");
	im = image_elf(0);
	image_le(&im, 64 + 24, 0x8000, 8);
	expect(&t, im, "below 1 MiB");
	im = image_elf(0);
	image_le(&im, 64 + 40, UINT64_MAX - 5, 8);
	expect(&t, im, "contradict");
	im = image_elf(0);
	image_le(&im, 56, 1000, 2);
	expect(&t, im, "make no sense");
	gmem_destroy(t.mem);
}

/* Every prefix is refused with a sentence, and nothing worse. */
static void test_prefixes(void **st)
{
	struct run t = {.mem = ram(64 * MIB, 0)};
	struct image whole = bz(image_elf(0), "lz4"), elf = image_elf(IMAGE_PVH), im;

	(void)st;
	for (size_t n = 1; n < whole.n; n += n < 0x700 ? 1 : 997) {
		im = (struct image){malloc(n), n};
		memcpy(im.p, whole.p, n);
		assert_int_not_equal(boot(&t, im), 0);
	}
	for (size_t n = 1; n < IMAGE_PERCPU_OFF; n += n < 0x200 ? 1 : 4999) {
		im = (struct image){malloc(n), n};
		memcpy(im.p, elf.p, n);
		assert_int_not_equal(boot(&t, im), 0);
	}
	free(whole.p);
	free(elf.p);
	gmem_destroy(t.mem);
}

static void test_placement(void **st)
{
	struct run t = {.mem = ram(17 * MIB, 0)};
	char *line = malloc(70000);

	(void)st;
	expect(&t, bz(image_elf(0), "gzip"), "the guest has 17 MiB");
	assert_string_equal(t.e.hint, "give the guest at least 19 MiB");
	assert_string_equal(t.e.field, "memory");
	gmem_destroy(t.mem);
	t.mem = ram(MIB, 0);
	expect(&t, image_elf(0), "at least 2 MiB");
	gmem_destroy(t.mem);

	t.mem = ram(32 * MIB, 0);
	t.cfg.initrd_fd = file_of(20 * MIB);
	expect(&t, bz(image_elf(0), "gzip"), "do not both fit");
	close(t.cfg.initrd_fd);
	t.cfg.initrd_fd = file_of(33 * MIB);
	expect(&t, bz(image_elf(0), "gzip"), "initrd");
	assert_string_equal(t.e.field, "initrd");
	assert_non_null(strstr(t.e.msg, "33 MiB"));
	gmem_destroy(t.mem);
	t.mem = ram(32 * MIB, 64 * MIB); /* above 4 GiB, then */
	assert_int_equal(boot(&t, bz(image_elf(0), "gzip")), 0);
	assert_int_equal(t.r.initrd_gpa, 4 * GIB);
	assert_int_equal(rd(t.mem, t.r.params + 0x218, 4), 0);
	assert_int_equal(rd(t.mem, t.r.params + 0x0c0, 4), 1);
	close(t.cfg.initrd_fd);
	t.cfg.initrd_fd = -1;

	memset(line, 'x', 70000);
	line[2047] = 0;
	t.cfg.cmdline = line;
	assert_int_equal(boot(&t, bz(image_elf(0), "gzip")), 0);
	line[2047] = 'x';
	line[2048] = 0;
	expect(&t, bz(image_elf(0), "gzip"), "2048 bytes, kernel 'k' takes at most 2047");
	assert_string_equal(t.e.field, "cmdline");
	assert_int_equal(t.ret, -E2BIG);
	line[2048] = 'x';
	line[69999] = 0;
	expect(&t, image_elf(0), "69999 bytes");
	free(line);
	gmem_destroy(t.mem);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_compressions), cmocka_unit_test(test_untouched),
		cmocka_unit_test(test_zero_page),    cmocka_unit_test(test_state64),
		cmocka_unit_test(test_kaslr),	     cmocka_unit_test(test_handover),
		cmocka_unit_test(test_vmlinux),	     cmocka_unit_test(test_pvh),
		cmocka_unit_test(test_not_a_kernel), cmocka_unit_test(test_damaged),
		cmocka_unit_test(test_prefixes),     cmocka_unit_test(test_placement),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

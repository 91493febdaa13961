/* SPDX-License-Identifier: Apache-2.0 */
/*
 * boot_bzimage.c - Linux's bzImage: the setup header, the payload, and boot_params ("zero page").
 *
 * A bzImage is: boot sector and real-mode setup code (we only take the setup header at 0x1f1 from it), then
 * the protected-mode part, which is a decompressor with the compressed kernel as its payload (boot protocol
 * 2.08 says where). Either we unpack the payload and enter the vmlinux in it: no guest instruction is
 * spent on it. Or, if that is what is wanted (BOOT_WANT_HANDOVER), there is no payload, or its compression
 * has no library, the protected-mode part is loaded and entered at its 64-bit entry (2.12, XLF_KERNEL_64) or its
 * 32-bit entry, and the guest unpacks itself. It takes init_size bytes from its load address on for that.
 *
 * A field of the header is only read if the header's version has it; what is behind is not Linux's.
 */
#include <errno.h>
#include <string.h>

#include "board/boot_internal.h"
#include "board/layout.h"

/* Offsets in the file, and in boot_params (boot.rst, "The Real-Mode Kernel Header"; zero-page.rst). */
#define ZP_ACPI_RSDP 0x070
#define ZP_EXT_RAMDISK_IMAGE 0x0c0
#define ZP_EXT_RAMDISK_SIZE 0x0c4
#define ZP_E820_ENTRIES 0x1e8
#define ZP_E820_TABLE 0x2d0
#define HDR_START 0x1f1
#define HDR_SETUP_SECTS 0x1f1
#define HDR_SYSSIZE 0x1f4
#define HDR_VID_MODE 0x1fa
#define HDR_BOOT_FLAG 0x1fe
#define HDR_JUMP 0x200
#define HDR_MAGIC 0x202
#define HDR_VERSION 0x206
#define HDR_KERNEL_VERSION 0x20e
#define HDR_TYPE_OF_LOADER 0x210
#define HDR_LOADFLAGS 0x211
#define HDR_CODE32_START 0x214
#define HDR_RAMDISK_IMAGE 0x218
#define HDR_RAMDISK_SIZE 0x21c
#define HDR_CMD_LINE_PTR 0x228
#define HDR_INITRD_ADDR_MAX 0x22c
#define HDR_KERNEL_ALIGNMENT 0x230
#define HDR_RELOCATABLE 0x234
#define HDR_XLOADFLAGS 0x236
#define HDR_CMDLINE_SIZE 0x238
#define HDR_PAYLOAD_OFFSET 0x248
#define HDR_PAYLOAD_LENGTH 0x24c
#define HDR_SETUP_DATA 0x250
#define HDR_PREF_ADDRESS 0x258
#define HDR_INIT_SIZE 0x260
#define HDR_END_MAX 0x26c

#define LOADFLAG_HIGH 0x01u
#define LOADFLAG_KASLR 0x02u /* tells the kernel that it was moved */
#define XLF_KERNEL_64 0x1u
#define XLF_ABOVE_4G 0x2u
#define ENTRY64_OFFSET 0x200u
#define LOADER_UNDEFINED 0xffu
#define VID_MODE_NORMAL 0xffffu

#define SETUP_RNG_SEED 9u
#define RNG_SEED_LEN 32u

struct bzimage {
	uint16_t version;
	uint64_t pm_off, pm_len; /* protected-mode part in the file */
	uint32_t payload_off, payload_len;
	uint16_t xloadflags;
	uint32_t init_size;
	uint64_t load; /* preferred address of the protected-mode part */
};

bool boot_bzimage_probe(const uint8_t *head, size_t n)
{
	return n >= HDR_VERSION + 2 && boot_get16(head + HDR_BOOT_FLAG) == 0xaa55 &&
	       !memcmp(head + HDR_MAGIC, "HdrS", 4);
}

/* How far the setup header of a protocol version reaches. */
static unsigned header_end(uint16_t version)
{
	static const struct {
		uint16_t version, end;
	} ends[] = {
		{0x20f, 0x26c}, {0x20b, 0x268}, {0x20a, 0x264}, {0x209, 0x258}, {0x208, 0x250},
		{0x207, 0x248}, {0x206, 0x23c}, {0x205, 0x236}, {0x203, 0x230}, {0x202, 0x22c},
	};

	for (size_t i = 0; i < ARRAY_SIZE(ends); i++)
		if (version >= ends[i].version)
			return ends[i].end;
	return 0x228;
}

static int truncated(struct boot_ctx *c, const char *part, uint64_t need)
{
	return err_set(c->e, EINVAL,
		       "kernel '%s' is truncated: its %s ends at byte %llu, the file has %llu",
		       c->kernel.name, part, (unsigned long long)need,
		       (unsigned long long)c->kernel.size);
}

/* Copies the version string: offset 0x200 + kernel_version, in the setup code. */
static void read_version(struct boot_ctx *c, uint16_t field, uint64_t pm_off)
{
	char *v = c->r->version;
	uint8_t text[sizeof(c->r->version) - 1];
	uint64_t off = (uint64_t)field + 0x200;
	struct err ignored = {0};

	if (!field || off >= pm_off || pm_off - off < sizeof(text) ||
	    boot_file_read(&c->kernel, off, text, sizeof(text), &ignored))
		return;
	for (size_t i = 0; i < sizeof(text) && text[i] >= ' ' && text[i] < 0x7f; i++)
		v[i] = (char)text[i];
}

static int parse_header(struct boot_ctx *c, struct bzimage *b)
{
	uint8_t h[HDR_END_MAX] = {0};
	uint64_t syssize, need;
	unsigned end, sects;
	int r;

	if (c->kernel.size < HDR_END_MAX)
		return truncated(c, "setup header", HDR_END_MAX);
	r = boot_file_read(&c->kernel, 0, h, sizeof(h), c->e);
	if (r)
		return r;
	b->version = boot_get16(h + HDR_VERSION);
	if (b->version < 0x202 || b->version >= 0x300)
		return err_set(c->e, EINVAL,
			       "kernel '%s' speaks boot protocol %u.%02u; 2.02 to 2.15 are supported",
			       c->kernel.name, b->version >> 8, b->version & 0xff);
	end = MIN(header_end(b->version), HDR_MAGIC + (unsigned)h[HDR_JUMP + 1]);
	if (end < header_end(0x202))
		return err_set(c->e, EINVAL, "kernel '%s' is damaged: its setup header ends at 0x%x",
			       c->kernel.name, end);
	memset(h + end, 0, sizeof(h) - end);

	if (!(h[HDR_LOADFLAGS] & LOADFLAG_HIGH))
		return err_set(c->e, EINVAL,
			       "kernel '%s' is a zImage, to be loaded below 640 KiB: not supported",
			       c->kernel.name);
	sects = h[HDR_SETUP_SECTS] ? h[HDR_SETUP_SECTS] : 4;
	b->pm_off = (sects + 1) * 512ull;
	if (b->pm_off >= c->kernel.size)
		return truncated(c, "setup code", b->pm_off);
	b->pm_len = c->kernel.size - b->pm_off;
	syssize = b->version >= 0x204 ? boot_get32(h + HDR_SYSSIZE) :
					0; /* before: 16 bits, not reliable */
	need = b->pm_off + syssize * 16;
	if (need > ALIGN_UP(b->pm_len, 16) + b->pm_off)
		return truncated(c, "protected-mode part", need);
	if (syssize)
		b->pm_len = MIN(b->pm_len, syssize * 16);
	read_version(c, boot_get16(h + HDR_KERNEL_VERSION), b->pm_off);

	b->payload_off = boot_get32(h + HDR_PAYLOAD_OFFSET);
	b->payload_len = boot_get32(h + HDR_PAYLOAD_LENGTH);
	if (b->payload_len &&
	    ((uint64_t)b->payload_off + b->payload_len > b->pm_len || b->payload_len < 16))
		return truncated(c, "payload", b->pm_off + b->payload_off + b->payload_len);
	b->xloadflags = boot_get16(h + HDR_XLOADFLAGS);
	b->init_size = boot_get32(h + HDR_INIT_SIZE);
	c->relocatable = h[HDR_RELOCATABLE] != 0;
	c->align = boot_get32(h + HDR_KERNEL_ALIGNMENT);
	if (c->align & (c->align - 1) || c->align > GIB)
		return err_set(c->e, EINVAL, "kernel '%s' is damaged: alignment 0x%x",
			       c->kernel.name, c->align);
	b->load = boot_get32(h + HDR_CODE32_START);
	if (c->relocatable && b->version >= 0x20a)
		b->load = boot_get64(h + HDR_PREF_ADDRESS);

	c->cmdline_max = b->version >= 0x206 ? boot_get32(h + HDR_CMDLINE_SIZE) : 255;
	c->initrd_max = b->version >= 0x203 ? boot_get32(h + HDR_INITRD_ADDR_MAX) : 0x37ffffff;
	c->initrd_high_ok = (b->xloadflags & XLF_KERNEL_64) && (b->xloadflags & XLF_ABOVE_4G);
	memcpy(c->zero_page + HDR_START, h + HDR_START, end - HDR_START);
	return 0;
}

/* Returns 1 if the payload is nothing that we can unpack and enter. */
static int load_payload(struct boot_ctx *c, const struct bzimage *b)
{
	uint64_t at = b->pm_off + b->payload_off, size;
	struct boot_src *src = NULL;
	const char *method = NULL;
	uint8_t end[4];
	int r = boot_file_read(&c->kernel, at + b->payload_len - 4, end, 4, c->e);

	if (r)
		return r;
	size = boot_get32(end);
	r = boot_decompress_open(&c->kernel, at, b->payload_len, size, &src, &method, c->e);
	if (r)
		return r;
	if (!src)
		return 1;
	if (size > c->mem->size_bytes) {
		r = err_set(c->e, ENOMEM,
			    "kernel '%s' unpacks to %llu MiB, but the guest has %llu MiB of memory",
			    c->kernel.name, (unsigned long long)(size / MIB),
			    (unsigned long long)(c->mem->size_bytes / MIB));
		err_hint(c->e,
			 "give the guest more memory, or check that the kernel file is intact");
		err_field(c->e, "memory", NULL);
	} else {
		r = boot_elf_load(c, src, true);
	}
	if (!r)
		c->r->compression = method;
	boot_decompress_close(src);
	return r;
}

/* The image's own decompressor: the protected-mode part, as it is. */
static int load_protected_mode(struct boot_ctx *c, const struct bzimage *b)
{
	uint64_t len = MAX(b->pm_len, (uint64_t)b->init_size), load = b->load;
	int r;

	if (load < MIB) {
		err_set(c->e, EINVAL, "kernel '%s' can only be entered in real mode",
			c->kernel.name);
		return err_hint(c->e, "boot it through firmware, from a disk");
	}
	if (b->pm_len > c->mem->size_bytes || load % MAX(c->align, 1u))
		return err_set(c->e, EINVAL,
			       "kernel '%s' (%llu MiB) does not fit at its load address 0x%llx",
			       c->kernel.name, (unsigned long long)(b->pm_len / MIB),
			       (unsigned long long)load);
	if (load > 4 * GIB - len)
		return err_set(c->e, EINVAL, "kernel '%s' is damaged: load address 0x%llx",
			       c->kernel.name, (unsigned long long)load);
	r = boot_check_place(c, load, len);
	if (!r)
		r = boot_write_file(c, load, &c->kernel, b->pm_off, b->pm_len);
	if (r)
		return r;
	boot_put32(c->zero_page + HDR_CODE32_START, (uint32_t)load);
	c->r->kernel_gpa = load;
	c->r->kernel_size = len;
	if (b->xloadflags & XLF_KERNEL_64) {
		c->r->method = BOOT_LINUX64_Z;
		c->r->entry = load + ENTRY64_OFFSET;
	} else {
		c->r->method = BOOT_LINUX32;
		c->r->entry = load;
	}
	return 0;
}

int boot_bzimage_load(struct boot_ctx *c)
{
	struct bzimage b = {0};
	int r = parse_header(c, &b);

	if (!r)
		r = boot_load_initrd_cmdline(c);
	if (r)
		return r;
	r = 1;
	if (b.payload_len && c->cfg->protocol != BOOT_WANT_HANDOVER)
		r = load_payload(c, &b);
	if (r == 1 && c->cfg->protocol == BOOT_WANT_PVH)
		return err_set(c->e, EINVAL, "kernel '%s' has no payload with a PVH entry",
			       c->kernel.name);
	if (r == 1)
		r = load_protected_mode(c, &b);
	return r;
}

void boot_setup_default(struct boot_ctx *c)
{
	uint8_t *z = c->zero_page;

	boot_put16(z + HDR_BOOT_FLAG, 0xaa55);
	memcpy(z + HDR_MAGIC, "HdrS", 4);
	boot_put16(z + HDR_VERSION, 0x20f);
	z[HDR_LOADFLAGS] = LOADFLAG_HIGH;
	boot_put32(z + HDR_KERNEL_ALIGNMENT, 2 * MIB);
	boot_put32(z + HDR_INITRD_ADDR_MAX, 0x7fffffff);
	boot_put32(z + HDR_CMDLINE_SIZE, 2047);
	boot_put16(z + HDR_XLOADFLAGS, XLF_KERNEL_64 | XLF_ABOVE_4G);
	c->align = 2 * MIB;
	c->cmdline_max = 2047; /* COMMAND_LINE_SIZE - 1 */
	c->initrd_max = 0x7fffffff;
	c->initrd_high_ok = true;
}

/* setup_data: a list that boot_params points to. One node: bytes for the random number generator, which the
 * kernel wipes (Linux 6.0 and later; others skip a type that they do not know). */
static int write_setup_data(struct boot_ctx *c)
{
	uint8_t node[16 + RNG_SEED_LEN] = {0};

	if (!c->cfg->seed)
		return 0;
	boot_put32(node + 8, SETUP_RNG_SEED);
	boot_put32(node + 12, RNG_SEED_LEN);
	memcpy(node + 16, c->cfg->seed + BOOT_SEED_SIZE - RNG_SEED_LEN, RNG_SEED_LEN);
	if (boot_get16(c->zero_page + HDR_VERSION) >= 0x209)
		boot_put64(c->zero_page + HDR_SETUP_DATA, BOOT_SETUP_DATA);
	return boot_write(c, BOOT_SETUP_DATA, node, sizeof(node));
}

int boot_zero_page_write(struct boot_ctx *c)
{
	struct boot_e820 map[BOOT_E820_MAX];
	uint8_t *z = c->zero_page;
	unsigned n = boot_e820_build(c->mem, map);
	int r;

	boot_put64(z + ZP_ACPI_RSDP, c->cfg->rsdp);
	z[ZP_E820_ENTRIES] = (uint8_t)n;
	for (unsigned i = 0; i < n; i++) {
		boot_put64(z + ZP_E820_TABLE + i * 20, map[i].addr);
		boot_put64(z + ZP_E820_TABLE + i * 20 + 8, map[i].size);
		boot_put32(z + ZP_E820_TABLE + i * 20 + 16, map[i].type);
	}
	boot_put16(z + HDR_VID_MODE, VID_MODE_NORMAL);
	z[HDR_TYPE_OF_LOADER] = LOADER_UNDEFINED;
	z[HDR_LOADFLAGS] &= (uint8_t)~LOADFLAG_KASLR;
	if (c->r->kaslr)
		z[HDR_LOADFLAGS] |= LOADFLAG_KASLR;
	boot_put32(z + HDR_CMD_LINE_PTR, BOOT_CMDLINE);
	boot_put32(z + HDR_RAMDISK_IMAGE, (uint32_t)c->r->initrd_gpa);
	boot_put32(z + HDR_RAMDISK_SIZE, (uint32_t)c->r->initrd_size);
	boot_put32(z + ZP_EXT_RAMDISK_IMAGE, (uint32_t)(c->r->initrd_gpa >> 32));
	boot_put32(z + ZP_EXT_RAMDISK_SIZE, (uint32_t)(c->r->initrd_size >> 32));
	boot_put64(z + HDR_SETUP_DATA, 0);
	r = write_setup_data(c);
	if (r)
		return r;
	return boot_write(c, BOOT_ZERO_PAGE, z, sizeof(c->zero_page));
}

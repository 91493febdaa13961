/* SPDX-License-Identifier: Apache-2.0 */
/*
 * boot_image.h - makes small kernel files for the tests: vmlinux-like ELF files and bzImages around them, with
 * any of the compressions. Used by test_boot.c and as seeds by fuzz_boot.c.
 */
#ifndef LODGE_TESTS_BOOT_IMAGE_H
#define LODGE_TESTS_BOOT_IMAGE_H

#include <bzlib.h>
#include <elf.h>
#include <lz4.h>
#include <lzma.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "util/base.h"

struct image {
	uint8_t *p;
	size_t n;
};

static inline void image_put(struct image *im, size_t off, const void *data, size_t n)
{
	if (off + n > im->n) {
		im->p = realloc(im->p, off + n);
		memset(im->p + im->n, 0, off + n - im->n);
		im->n = off + n;
	}
	if (data)
		memcpy(im->p + off, data, n);
}

static inline void image_le(struct image *im, size_t off, uint64_t v, unsigned n)
{
	uint8_t b[8];

	for (unsigned i = 0; i < n; i++)
		b[i] = (uint8_t)(v >> (8 * i));
	image_put(im, off, b, n);
}

static inline int image_fd(const struct image *im)
{
	int fd = memfd_create("image", MFD_CLOEXEC);

	for (size_t at = 0; at < im->n;) {
		ssize_t n = write(fd, im->p + at, im->n - at);

		if (n <= 0)
			break;
		at += (size_t)n;
	}
	return fd;
}

/* ---- ELF ---- */

#define IMAGE_MAP UINT64_C(0xffffffff80000000)
#define IMAGE_TEXT_OFF 0x1000u
#define IMAGE_TEXT_SIZE 0x90000u
#define IMAGE_TEXT_PADDR 0x1000000u
#define IMAGE_BSS_SIZE 0x23000u
#define IMAGE_PERCPU_OFF (IMAGE_TEXT_OFF + IMAGE_TEXT_SIZE)
#define IMAGE_PERCPU_SIZE 0x1800u
#define IMAGE_PERCPU_PADDR 0x1200000u
#define IMAGE_ENTRY (IMAGE_TEXT_PADDR + 0x40)
/* Words that the relocations of image_relocs() name, as offsets from the text. */
#define IMAGE_RELOC32 0x100u
#define IMAGE_RELOC_INV 0x200u
#define IMAGE_RELOC64 0x300u

enum { IMAGE_PVH = 1, IMAGE_NOT_LINUX = 2, IMAGE_ELF32 = 4, IMAGE_GUEST_LINUX = 8 };

/* Byte i of the text segment: compressible, never a whole page of zero but for the third page. */
static inline uint8_t image_text_byte(size_t i)
{
	if (i / 4096 == 2)
		return 0;
	return (uint8_t)((i >> 4) * 7 + (i % 61 == 0 ? i >> 9 : 3));
}

static inline void image_note(struct image *im, size_t *at, const char *name, uint32_t type,
			      const void *desc, uint32_t n)
{
	uint32_t namesz = (uint32_t)strlen(name) + 1;

	image_le(im, *at, namesz, 4);
	image_le(im, *at + 4, n, 4);
	image_le(im, *at + 8, type, 4);
	image_put(im, *at + 12, NULL, ALIGN_UP(namesz, 4u) + ALIGN_UP(n, 4u));
	memcpy(im->p + *at + 12, name, namesz);
	memcpy(im->p + *at + 12 + ALIGN_UP(namesz, 4u), desc, n);
	*at += 12 + ALIGN_UP(namesz, 4u) + ALIGN_UP(n, 4u);
}

static inline void image_phdr(struct image *im, unsigned flags, unsigned i, uint32_t type,
			      uint64_t off, uint64_t va, uint64_t pa, uint64_t filesz,
			      uint64_t memsz)
{
	if (flags & IMAGE_ELF32) {
		Elf32_Phdr ph = {type,
				 (uint32_t)off,
				 (uint32_t)va,
				 (uint32_t)pa,
				 (uint32_t)filesz,
				 (uint32_t)memsz,
				 7,
				 4096};
		image_put(im, sizeof(Elf32_Ehdr) + i * sizeof(ph), &ph, sizeof(ph));
	} else {
		Elf64_Phdr ph = {type, 7, off, va, pa, filesz, memsz, 4096};
		image_put(im, sizeof(Elf64_Ehdr) + i * sizeof(ph), &ph, sizeof(ph));
	}
}

static inline struct image image_elf(unsigned flags)
{
	struct image im = {0};
	uint64_t map = flags & IMAGE_NOT_LINUX ? 0 : flags & IMAGE_ELF32 ? 0xc0000000 : IMAGE_MAP;
	bool percpu = !(flags & (IMAGE_NOT_LINUX | IMAGE_ELF32));
	size_t notes = IMAGE_PERCPU_OFF + IMAGE_PERCPU_SIZE, at = notes, sh;
	unsigned n = 0;

	image_put(&im, 0, NULL, notes);
	for (size_t i = 0; i < IMAGE_TEXT_SIZE; i++)
		im.p[IMAGE_TEXT_OFF + i] = image_text_byte(i);
	memset(im.p + IMAGE_PERCPU_OFF, 0xaa, IMAGE_PERCPU_SIZE);
	if (flags & IMAGE_PVH) {
		uint8_t entry[8] = {0x80, 0, 0, 1}; /* 0x1000080 */

		image_note(&im, &at, "Xen", 18, entry, flags & IMAGE_ELF32 ? 4 : 8);
	}
	if (flags & IMAGE_GUEST_LINUX)
		image_note(&im, &at, "Xen", 6, "linux", 6);
	image_note(&im, &at, "GNU", 3, "0123456789abcdef", 16);
	sh = ALIGN_UP(at, (size_t)64);
	image_put(&im, sh, NULL, 128); /* two section headers */

	image_phdr(&im, flags, n++, PT_LOAD, IMAGE_TEXT_OFF, map + IMAGE_TEXT_PADDR,
		   IMAGE_TEXT_PADDR, IMAGE_TEXT_SIZE, IMAGE_TEXT_SIZE + IMAGE_BSS_SIZE);
	if (percpu)
		image_phdr(&im, flags, n++, PT_LOAD, IMAGE_PERCPU_OFF, 0, IMAGE_PERCPU_PADDR,
			   IMAGE_PERCPU_SIZE, IMAGE_PERCPU_SIZE);
	image_phdr(&im, flags, n++, PT_NOTE, notes, 0, 0, at - notes, at - notes);
	if (flags & IMAGE_ELF32) {
		Elf32_Ehdr eh = {.e_type = ET_EXEC,
				 .e_machine = EM_386,
				 .e_version = 1,
				 .e_entry = IMAGE_ENTRY,
				 .e_phoff = sizeof(eh),
				 .e_shoff = (uint32_t)sh,
				 .e_phentsize = sizeof(Elf32_Phdr),
				 .e_phnum = (uint16_t)n,
				 .e_shentsize = 40,
				 .e_shnum = 2};
		memcpy(eh.e_ident,
		       "\x7f"
		       "ELF\1\1\1",
		       7);
		image_put(&im, 0, &eh, sizeof(eh));
	} else {
		Elf64_Ehdr eh = {.e_type = ET_EXEC,
				 .e_machine = EM_X86_64,
				 .e_version = 1,
				 .e_entry = IMAGE_ENTRY,
				 .e_phoff = sizeof(eh),
				 .e_shoff = sh,
				 .e_phentsize = sizeof(Elf64_Phdr),
				 .e_phnum = (uint16_t)n,
				 .e_shentsize = 64,
				 .e_shnum = 2};
		memcpy(eh.e_ident,
		       "\x7f"
		       "ELF\2\1\1",
		       7);
		image_put(&im, 0, &eh, sizeof(eh));
	}
	return im;
}

/* Appends relocation lists; `lists` 2 or 3. */
static inline void image_relocs(struct image *im, unsigned lists)
{
	uint32_t base = (uint32_t)(IMAGE_MAP + IMAGE_TEXT_PADDR);

	image_le(im, im->n, 0, 4);
	image_le(im, im->n, base + IMAGE_RELOC64, 4);
	if (lists == 3) {
		image_le(im, im->n, 0, 4);
		image_le(im, im->n, base + IMAGE_RELOC_INV, 4);
	}
	image_le(im, im->n, 0, 4);
	image_le(im, im->n, base + IMAGE_RELOC32, 4);
	image_le(im, im->n, base + IMAGE_RELOC32 + 4, 4);
}

/* ---- compression ---- */

static const char *const image_methods[] = {"gzip", "bzip2", "lzma", "xz", "lz4", "zstd"};

static inline struct image image_compress(const struct image *in, const char *method)
{
	struct image out = {malloc(in->n + in->n / 2 + 4096), 0};
	size_t cap = in->n + in->n / 2 + 4096;

	if (!strcmp(method, "gzip")) {
		z_stream z = {.next_in = in->p,
			      .avail_in = (uInt)in->n,
			      .next_out = out.p,
			      .avail_out = (uInt)cap};

		deflateInit2(&z, 6, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY);
		deflate(&z, Z_FINISH);
		out.n = z.total_out;
		deflateEnd(&z);
		return out; /* its own trailer is the size */
	}
	if (!strcmp(method, "bzip2")) {
		unsigned n = (unsigned)cap;

		BZ2_bzBuffToBuffCompress((char *)out.p, &n, (char *)in->p, (unsigned)in->n, 9, 0, 0);
		out.n = n;
	} else if (!strcmp(method, "xz")) {
		lzma_options_lzma opt;
		lzma_filter f[3] = {{LZMA_FILTER_X86, NULL},
				    {LZMA_FILTER_LZMA2, &opt},
				    {LZMA_VLI_UNKNOWN, NULL}};

		lzma_lzma_preset(&opt, 3);
		if (lzma_stream_buffer_encode(f, LZMA_CHECK_CRC32, NULL, in->p, in->n, out.p,
					      &out.n, cap) != LZMA_OK)
			out.n = 0;
	} else if (!strcmp(method, "lzma")) {
		lzma_options_lzma opt;
		lzma_stream s = LZMA_STREAM_INIT;

		lzma_lzma_preset(&opt, 3);
		if (lzma_alone_encoder(&s, &opt) == LZMA_OK) {
			s.next_in = in->p;
			s.avail_in = in->n;
			s.next_out = out.p;
			s.avail_out = cap;
			out.n = lzma_code(&s, LZMA_FINISH) == LZMA_STREAM_END ? s.total_out : 0;
		}
		lzma_end(&s);
	} else if (!strcmp(method, "lz4")) {
		size_t at = 4, block = 0x40000;

		memcpy(out.p, "\x02\x21\x4c\x18", 4);
		for (size_t i = 0; i < in->n; i += block) {
			int n = LZ4_compress_default((char *)in->p + i, (char *)out.p + at + 4,
						     (int)MIN(block, in->n - i),
						     (int)(cap - at - 4));
			for (unsigned k = 0; k < 4; k++)
				out.p[at + k] = (uint8_t)((unsigned)n >> (8 * k));
			at += 4 + (size_t)n;
		}
		out.n = at;
	} else if (!strcmp(method, "zstd")) {
		out.n = ZSTD_compress(out.p, cap, in->p, in->n, 3);
	} else { /* not a method that anybody knows */
		memcpy(out.p, "\x89LZO", 4);
		memcpy(out.p + 4, in->p, in->n);
		out.n = in->n + 4;
	}
	image_le(&out, out.n, in->n, 4);
	return out;
}

/* ---- bzImage ---- */

#define IMAGE_SETUP_SECTS 7u
#define IMAGE_PM_OFF ((IMAGE_SETUP_SECTS + 1) * 512u)
#define IMAGE_PAYLOAD_OFF 0x2ccu

static inline struct image image_bzimage(const struct image *payload, unsigned version)
{
	struct image im = {0};

	image_put(&im, 0, NULL, IMAGE_PM_OFF);
	image_le(&im, 0x1f1, IMAGE_SETUP_SECTS, 1);
	image_le(&im, 0x1fe, 0xaa55, 2);
	image_put(&im, 0x200, "\xeb\x6aHdrS", 6);
	image_le(&im, 0x206, version, 2);
	image_le(&im, 0x20e, 0x400, 2);
	image_put(&im, 0x600, "6.1.0-test (somebody@somewhere)", 32);
	image_le(&im, 0x211, 1, 1);
	image_le(&im, 0x214, 0x100000, 4);
	image_le(&im, 0x22c, 0x7fffffff, 4);
	image_le(&im, 0x230, 0x200000, 4);
	image_le(&im, 0x234, 1, 1);
	image_le(&im, 0x236, 0x7f, 2);
	image_le(&im, 0x238, 2047, 4);
	image_le(&im, 0x248, IMAGE_PAYLOAD_OFF, 4);
	image_le(&im, 0x24c, payload->n, 4);
	image_le(&im, 0x258, 0x1000000, 8);
	image_le(&im, 0x260, 0x400000, 4);
	image_put(&im, IMAGE_PM_OFF, NULL, IMAGE_PAYLOAD_OFF);
	memset(im.p + IMAGE_PM_OFF, 0x90, IMAGE_PAYLOAD_OFF);
	image_put(&im, IMAGE_PM_OFF + IMAGE_PAYLOAD_OFF, payload->p, payload->n);
	while ((im.n - IMAGE_PM_OFF) % 16)
		image_le(&im, im.n, 0, 1);
	image_le(&im, 0x1f4, (im.n - IMAGE_PM_OFF) / 16, 4);
	return im;
}

#endif

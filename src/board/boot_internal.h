/* SPDX-License-Identifier: Apache-2.0 */
/*
 * boot_internal.h - what the boot_*.c files give one another. Nobody else includes it.
 *
 * Theory of operation. A kernel comes as a *source*: a sequence of chunks, either of the file itself or out
 * of a decompressor. The ELF loader reads the headers from the first chunk, makes a list of *sinks* (a range
 * of the source and where it goes: guest memory, or a host buffer for notes and relocations), and then hands
 * every chunk to the sinks it overlaps. So nothing is decompressed twice or held whole on our side, and a
 * compressed and a plain vmlinux take the same way.
 */
#ifndef LODGE_BOARD_BOOT_INTERNAL_H
#define LODGE_BOARD_BOOT_INTERNAL_H

#include "board/boot.h"

/* Low memory, all of it RAM that the guest may use once it has read what is there. */
#define BOOT_BDA 0x400u /* BIOS data area, 256 bytes */
#define BOOT_GDT 0x1000u
#define BOOT_STACK 0x6000u /* grows down */
#define BOOT_PVH_INFO 0x6000u
#define BOOT_ZERO_PAGE 0x7000u
#define BOOT_SETUP_DATA 0x8000u
#define BOOT_PAGE_TABLES 0x9000u /* PML4, PDPT, 4 page directories */
#define BOOT_CMDLINE 0x20000u
#define BOOT_CMDLINE_MAX 0x10000u /* with the final 0 */
#define BOOT_LOW_END 0x30000u /* a kernel may use RAM from here to LAYOUT_EBDA, and from 1 MiB up */

#define BOOT_CHUNK (256 * 1024u)

/* Link-time address of physical 0 in a 64-bit Linux kernel (__START_KERNEL_map), and of PAGE_OFFSET on i386. */
#define BOOT_LINUX_MAP 0xffffffff80000000u
#define BOOT_LINUX_IMAGE_MAX GIB /* KERNEL_IMAGE_SIZE with CONFIG_RANDOMIZE_BASE */

struct boot_file {
	int fd;
	const char *what; /* "kernel", "initrd" */
	const char *name;
	uint64_t size;
};

/* Accepts a regular file that is not empty, or says what else it is. */
int boot_file_open(struct boot_file *f, int fd, const char *what, const char *name, struct err *e);
/* Reads exactly len bytes, or fails ("truncated"). */
int boot_file_read(const struct boot_file *f, uint64_t off, void *buf, size_t len, struct err *e);

/* A buffer of some MiB, in huge pages if the host has them: a fault for each page costs more than what is done with it.
 * NULL: no memory. For free(). */
void *boot_buffer(size_t len);

struct boot_src {
	/* The next chunk: *n bytes at *p, valid until the next call; *n 0 at the end. The first chunk is
	 * BOOT_CHUNK long, or the whole. */
	int (*next)(struct boot_src *s, const uint8_t **p, size_t *n, struct err *e);
	uint64_t pos;  /* of the next chunk's first byte; may be moved forward if `seekable` */
	uint64_t size; /* of the whole: what the file, or the image's header, says */
	bool seekable;
	const char *name; /* of the kernel file */
};

/* The file as a source. */
struct boot_file_src {
	struct boot_src src;
	const struct boot_file *file;
	uint8_t *buf;
};
int boot_file_src_init(struct boot_file_src *s, const struct boot_file *f, struct err *e);
void boot_file_src_fini(struct boot_file_src *s);

/* One load. */
struct boot_ctx {
	const struct boot_config *cfg;
	struct gmem *mem;
	struct boot_result *r;
	struct err *e;
	struct boot_file kernel;
	struct boot_file initrd; /* fd -1: none */
	uint64_t low_top;	 /* end of the RAM that begins at 0 */
	bool nokaslr;
	bool relocatable; /* the setup header says that it runs at any place of this alignment: */
	uint32_t align;
	uint64_t seed_used; /* bytes of cfg->seed */

	uint8_t zero_page[4096]; /* struct boot_params under construction; setup header at 0x1f1 */
	uint64_t cmdline_max;	 /* bytes, without the 0 */
	gpa_t initrd_max;	 /* last byte the initrd may use */
	bool initrd_high_ok;	 /* it may go above 4 GiB, too */
};

static inline uint16_t boot_get16(const void *p)
{
	const uint8_t *b = p;
	return (uint16_t)(b[0] | b[1] << 8);
}
static inline uint32_t boot_get32(const void *p)
{
	return boot_get16(p) | (uint32_t)boot_get16((const uint8_t *)p + 2) << 16;
}
static inline uint64_t boot_get64(const void *p)
{
	return boot_get32(p) | (uint64_t)boot_get32((const uint8_t *)p + 4) << 32;
}
static inline void boot_put16(void *p, uint16_t v)
{
	uint8_t *b = p;
	b[0] = (uint8_t)v;
	b[1] = (uint8_t)(v >> 8);
}
static inline void boot_put32(void *p, uint32_t v)
{
	boot_put16(p, (uint16_t)v);
	boot_put16((uint8_t *)p + 2, (uint16_t)(v >> 16));
}
static inline void boot_put64(void *p, uint64_t v)
{
	boot_put32(p, (uint32_t)v);
	boot_put32((uint8_t *)p + 4, (uint32_t)(v >> 32));
}

/* boot.c: may a kernel's [gpa, gpa+len) go there? Else an error that says why and how much is there. */
int boot_check_place(struct boot_ctx *c, gpa_t gpa, uint64_t len);
/* Writes; pages of zero are left alone where memory is known to be zero. The range was checked. */
int boot_write(struct boot_ctx *c, gpa_t gpa, const void *buf, uint64_t len);
int boot_clear(struct boot_ctx *c, gpa_t gpa, uint64_t len);
/* Reads [off, off+len) of a file to there, without a buffer of ours. */
int boot_write_file(struct boot_ctx *c, gpa_t gpa, const struct boot_file *f, uint64_t off,
		    uint64_t len);
/* A random number below n (n > 0), from cfg->seed. */
uint64_t boot_random(struct boot_ctx *c, uint64_t n);
/* Finds room for the initrd as the context's limits say, and loads it. After these are known, before the
 * kernel is placed. Also checks and writes the command line. */
int boot_load_initrd_cmdline(struct boot_ctx *c);

/* boot_bzimage.c: is it one? Loads it. */
bool boot_bzimage_probe(const uint8_t *head, size_t n);
int boot_bzimage_load(struct boot_ctx *c);
/* The setup header for a vmlinux that comes without one. */
void boot_setup_default(struct boot_ctx *c);
/* Completes c->zero_page with what we know now, and writes it. */
int boot_zero_page_write(struct boot_ctx *c);

/* boot_elf.c: is it one (of any kind)? */
bool boot_elf_probe(const uint8_t *head, size_t n);
/* Loads the ELF file in `src`. `payload`: out of a bzImage, so a Linux kernel, maybe with relocations
 * behind it. Returns 1 if the source is not an ELF file that we know (payload only; nothing was loaded). */
int boot_elf_load(struct boot_ctx *c, struct boot_src *src, bool payload);

/* boot_decompress.c: a source that unpacks [off, off+len) of a file, which is borrowed. *out NULL and 0 returned: no compression that
 * we know. `size`: what it must unpack to, exactly. */
int boot_decompress_open(const struct boot_file *f, uint64_t off, uint64_t len, uint64_t size,
			 struct boot_src **out, const char **method, struct err *e);
void boot_decompress_close(struct boot_src *s);			    /* accepts NULL */
const char *boot_decompress_name(const uint8_t *in, size_t in_len); /* NULL: none known */

#endif

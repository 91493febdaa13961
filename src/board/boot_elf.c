/* SPDX-License-Identifier: Apache-2.0 */
/*
 * boot_elf.c - kernels that are ELF files: Linux vmlinux, alone or unpacked from a bzImage, and PVH images.
 *
 * Segments go to their physical addresses (p_paddr). How the file is entered:
 *
 *   ELF64, Linux (vaddr = paddr + __START_KERNEL_map, or a "Linux" note)   64-bit boot protocol at e_entry
 *   ELF64 or ELF32 with the PVH note (name "Xen", type 18)                 PVH at the note's address
 *   ELF64, neither                                                        64-bit boot protocol at e_entry
 *   ELF32, i386 Linux (vaddr - paddr constant, not 0)                      32-bit boot protocol at e_entry
 *
 * Address randomisation. A bzImage of a kernel with CONFIG_RANDOMIZE_BASE has the relocations that its own
 * decompressor would apply behind the ELF file: three lists (64-bit, inverse 32-bit, 32-bit; two where the
 * per-CPU area is linked like the rest, Linux 6.15 and later), each of them preceded by a zero word and all to
 * be read from the end. An entry is a link-time virtual address, cut to 32 bits, of a word to which the offset is added
 * (subtracted, for the inverse ones). The physical place needs no relocation: the 64-bit entry finds out where
 * it runs. As in the kernel's own code: virtual and physical place are chosen independently, in steps of the
 * kernel's alignment, within 1 GiB of virtual space from LOAD_PHYSICAL_ADDR on.
 */
#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "board/boot_internal.h"
#include "board/layout.h"

#define MAX_LOADS 32u
#define MAX_PHDRS 128u
#define MAX_NOTES 4u
#define NOTES_MAX (64 * KIB)
#define RELOCS_MAX (64 * MIB)
#define ALIGN_MIN (2 * MIB)

#define NOTE_XEN_GUEST_OS 6u
#define NOTE_XEN_PHYS32_ENTRY 18u

/* A range of the source, and where it goes: to `buf`, or else to guest memory. */
struct sink {
	uint64_t off, len;
	gpa_t gpa;
	uint8_t *buf;
};

struct load {
	uint64_t off, filesz, memsz, vaddr, paddr;
};

struct elf {
	struct boot_ctx *c;
	const char *name;
	bool is64;
	uint64_t entry, end; /* end: of the ELF file proper in the source */
	struct load load[MAX_LOADS];
	unsigned n_loads;
	uint64_t lo, hi;	      /* physical extent as linked */
	struct sink notes[MAX_NOTES]; /* buf owned */
	unsigned n_notes;
	struct sink sink[MAX_LOADS + MAX_NOTES + 1];
	unsigned n_sinks;
	uint8_t *relocs; /* owned */
	uint64_t relocs_len;
	int64_t phys; /* added to physical addresses */
	bool xen_linux, linux_note, has_pvh;
	uint64_t pvh_entry;
};

static const char *machine_name(unsigned m, char buf[32])
{
	switch (m) {
	case EM_AARCH64: return "arm64";
	case EM_ARM: return "32-bit ARM";
	case EM_RISCV: return "RISC-V";
	case EM_PPC:
	case EM_PPC64: return "PowerPC";
	case EM_S390: return "s390";
	case EM_MIPS: return "MIPS";
	case 258: /* EM_LOONGARCH */ return "LoongArch";
	case EM_SPARC:
	case EM_SPARCV9: return "SPARC";
	}
	snprintf(buf, 32, "ELF machine %u", m);
	return buf;
}

bool boot_elf_probe(const uint8_t *head, size_t n)
{
	return n >= EI_NIDENT && !memcmp(head, ELFMAG, SELFMAG);
}

static int damaged(struct elf *f, const char *what)
{
	return err_set(f->c->e, EINVAL, "kernel '%s' is damaged: %s", f->name, what);
}

static int add_phdr(struct elf *f, uint32_t type, const struct load *l, uint64_t src_size)
{
	if (type == PT_INTERP)
		return err_set(f->c->e, EINVAL,
			       "kernel '%s' is a program of an operating system, not a kernel",
			       f->name);
	if (type != PT_LOAD && type != PT_NOTE)
		return 0;
	if (l->off > src_size || l->filesz > src_size - l->off)
		return err_set(
			f->c->e, EINVAL,
			"kernel '%s' is truncated: a segment of %llu bytes at offset %llu lies outside the file of %llu bytes",
			f->name, (unsigned long long)l->filesz, (unsigned long long)l->off,
			(unsigned long long)src_size);
	f->end = MAX(f->end, l->off + l->filesz);
	if (type == PT_NOTE) {
		if (f->n_notes < MAX_NOTES && l->filesz && l->filesz <= NOTES_MAX)
			f->notes[f->n_notes++] = (struct sink){.off = l->off, .len = l->filesz};
		return 0;
	}
	if (!l->memsz)
		return 0;
	if (l->filesz > l->memsz || l->paddr + l->memsz < l->paddr)
		return damaged(f, "a segment's sizes contradict each other");
	if (f->n_loads == MAX_LOADS)
		return damaged(f, "too many segments");
	for (unsigned i = 0; i < f->n_loads; i++)
		if (l->paddr < f->load[i].paddr + f->load[i].memsz &&
		    f->load[i].paddr < l->paddr + l->memsz)
			return damaged(f, "two segments overlap in memory");
	f->load[f->n_loads++] = *l;
	f->lo = MIN(f->lo, l->paddr);
	f->hi = MAX(f->hi, l->paddr + l->memsz);
	return 0;
}

/* Returns 1 if the payload is no ELF file for us. */
static int parse(struct elf *f, const uint8_t *h, size_t n, uint64_t src_size, bool payload)
{
	unsigned machine, phnum, phent, min;
	uint64_t phoff, sh_end;
	char num[32];

	if (!boot_elf_probe(h, n))
		return payload ? 1 : damaged(f, "it does not begin with an ELF header");
	f->is64 = h[EI_CLASS] == ELFCLASS64;
	if (n < sizeof(Elf64_Ehdr))
		return err_set(f->c->e, EINVAL,
			       "kernel '%s' is truncated: it ends in the ELF header", f->name);
	machine = boot_get16(h + 18);
	if (h[EI_DATA] != ELFDATA2LSB)
		return err_set(f->c->e, EINVAL,
			       "kernel '%s' is a big-endian ELF file, not for x86-64", f->name);
	if (machine != (f->is64 ? EM_X86_64 : EM_386))
		return err_set(f->c->e, EINVAL, "kernel '%s' is for %s, not for x86-64", f->name,
			       machine_name(machine, num));
	if (boot_get16(h + 16) != ET_EXEC && boot_get16(h + 16) != ET_DYN)
		return err_set(
			f->c->e, EINVAL,
			"kernel '%s' is an ELF object file (a kernel module?), not a linked kernel",
			f->name);
	if (f->is64) {
		Elf64_Ehdr eh;

		memcpy(&eh, h, sizeof(eh));
		f->entry = eh.e_entry;
		phoff = eh.e_phoff;
		phnum = eh.e_phnum;
		phent = eh.e_phentsize;
		min = sizeof(Elf64_Phdr);
		sh_end = eh.e_shoff > src_size ? UINT64_MAX :
						 eh.e_shoff + (uint64_t)eh.e_shnum * eh.e_shentsize;
	} else {
		Elf32_Ehdr eh;

		memcpy(&eh, h, sizeof(eh));
		f->entry = eh.e_entry;
		phoff = eh.e_phoff;
		phnum = eh.e_phnum;
		phent = eh.e_phentsize;
		min = sizeof(Elf32_Phdr);
		sh_end = eh.e_shoff + (uint64_t)eh.e_shnum * eh.e_shentsize;
	}
	if (!phnum || phnum > MAX_PHDRS || phent < min)
		return damaged(f, "its ELF program headers make no sense");
	if (phoff > src_size || (uint64_t)phnum * phent > src_size - phoff)
		return err_set(f->c->e, EINVAL,
			       "kernel '%s' is truncated: it ends before its ELF program headers",
			       f->name);
	if (phoff > n || (uint64_t)phnum * phent > n - phoff)
		return damaged(f, "its ELF program headers are not at its beginning");

	f->lo = UINT64_MAX;
	for (unsigned i = 0; i < phnum; i++) {
		const uint8_t *p = h + phoff + (size_t)i * phent;
		struct load l;
		int r;

		if (f->is64) {
			Elf64_Phdr ph;

			memcpy(&ph, p, sizeof(ph));
			l = (struct load){ph.p_offset, ph.p_filesz, ph.p_memsz, ph.p_vaddr,
					  ph.p_paddr};
		} else {
			Elf32_Phdr ph;

			memcpy(&ph, p, sizeof(ph));
			l = (struct load){ph.p_offset, ph.p_filesz, ph.p_memsz, ph.p_vaddr,
					  ph.p_paddr};
		}
		r = add_phdr(f, boot_get32(p), &l, src_size);
		if (r)
			return r;
	}
	if (!f->n_loads)
		return damaged(f, "it has no segment to load");
	/* Symbols and section headers: what lies behind them is not the ELF file's. A file that lost them boots. */
	if (payload && sh_end > src_size)
		return damaged(f, "its ELF section headers lie outside its payload");
	f->end = MAX(f->end, MIN(sh_end, src_size));
	return 0;
}

/* Linked as Linux links it: all of the kernel at one offset from its physical place. The per-CPU segment
 * of older kernels is linked at 0. */
static bool linked_as_linux(const struct elf *f)
{
	uint64_t map = f->is64 ? BOOT_LINUX_MAP : f->load[0].vaddr - f->load[0].paddr;
	bool any = false;

	if (!map)
		return false;
	for (unsigned i = 0; i < f->n_loads; i++) {
		if (f->load[i].vaddr == f->load[i].paddr + map)
			any = true;
		else if (f->load[i].vaddr != 0 || !f->is64)
			return false;
	}
	return any;
}

static void read_note(struct elf *f, uint32_t type, const uint8_t *name, uint64_t namesz,
		      const uint8_t *desc, uint64_t descsz)
{
	if (namesz == 6 && !memcmp(name, "Linux", 6)) {
		f->linux_note = true;
	} else if (namesz == 4 && !memcmp(name, "Xen", 4)) {
		if (type == NOTE_XEN_PHYS32_ENTRY && (descsz == 4 || descsz == 8)) {
			f->has_pvh = true;
			f->pvh_entry = descsz == 8 ? boot_get64(desc) : boot_get32(desc);
		} else if (type == NOTE_XEN_GUEST_OS && descsz >= 5 && !memcmp(desc, "linux", 5)) {
			f->xen_linux = true;
		}
	}
}

static void read_notes(struct elf *f, const struct sink *s)
{
	uint64_t pos = 0;

	while (s->len - pos >= 12) {
		const uint8_t *p = s->buf + pos;
		uint64_t namesz = boot_get32(p), descsz = boot_get32(p + 4);
		uint64_t desc = pos + 12 + ALIGN_UP(namesz, 4);

		if (desc > s->len || descsz > s->len - desc)
			return;
		read_note(f, boot_get32(p + 8), p + 12, namesz, s->buf + desc, descsz);
		pos = desc + ALIGN_UP(descsz, 4);
		if (pos > s->len)
			return;
	}
}

static int add_sink(struct elf *f, uint64_t off, uint64_t len, gpa_t gpa, uint8_t **buf)
{
	uint8_t *b = NULL;

	if (buf) {
		b = malloc(len);
		if (!b)
			return err_set(f->c->e, ENOMEM, "no memory to load kernel '%s'", f->name);
		*buf = b;
	}
	f->sink[f->n_sinks++] = (struct sink){off, len, gpa, b};
	return 0;
}

/* Hands chunks of the source to the sinks until all has been seen. */
static int pump(struct elf *f, struct boot_src *src, const uint8_t *p, size_t n, bool to_end)
{
	uint64_t at = 0;

	for (;;) {
		uint64_t want = UINT64_MAX; /* next byte that a sink still needs */
		int r;

		for (unsigned i = 0; i < f->n_sinks; i++) {
			const struct sink *s = &f->sink[i];
			uint64_t a = MAX(s->off, at), b = MIN(s->off + s->len, at + n);

			if (a < b) {
				if (s->buf) {
					memcpy(s->buf + (a - s->off), p + (a - at), b - a);
				} else {
					r = boot_write(f->c, s->gpa + (a - s->off), p + (a - at),
						       b - a);
					if (r)
						return r;
				}
			}
			if (s->off + s->len > at + n)
				want = MIN(want, MAX(s->off, at + n));
		}
		if (!to_end && want == UINT64_MAX)
			return 0;
		at += n;
		if (src->seekable) {
			at = want;
			src->pos = at;
		}
		r = src->next(src, &p, &n, f->c->e);
		if (r)
			return r;
		if (!n)
			return want == UINT64_MAX ?
				       0 :
				       err_set(f->c->e, EINVAL,
					       "kernel '%s' is truncated: it ends at byte %llu",
					       f->name, (unsigned long long)at);
	}
}

/* Chooses where the kernel goes: as linked, or at random between there and the end of low RAM or the initrd. */
static void choose_phys(struct elf *f)
{
	struct boot_ctx *c = f->c;
	uint64_t align = MAX((uint64_t)c->align, ALIGN_MIN), size = f->hi - f->lo;
	uint64_t top = MIN(c->low_top, 4 * GIB);

	if (c->initrd.fd >= 0 && c->r->initrd_gpa < top)
		top = c->r->initrd_gpa;
	if (f->lo % ALIGN_MIN || f->lo > top || size > top - f->lo)
		return;
	f->phys = (int64_t)(boot_random(c, (top - f->lo - size) / align + 1) * align);
}

/* Where the lists of relocations begin and end: words [from, to) are entries. */
struct relocs {
	struct {
		size_t from, to;
	} list[3]; /* 32-bit, inverse 32-bit, 64-bit */
};

static bool find_relocs(const struct elf *f, struct relocs *r)
{
	size_t words = f->relocs_len / 4, to = words, n = 0;
	size_t zero[3];

	if (f->relocs_len % 4 || words < 2)
		return false;
	for (size_t i = words; i-- > 0;) {
		if (boot_get32(f->relocs + i * 4))
			continue;
		if (n == 3)
			return false;
		zero[n++] = i;
	}
	if (n < 2 || zero[n - 1] != 0)
		return false;
	memset(r, 0, sizeof(*r));
	for (size_t i = 0; i < n; i++) {
		unsigned kind = i == 0 ? 0 : i == n - 1 ? 2 : 1;

		r->list[kind].from = zero[i] + 1;
		r->list[kind].to = to;
		to = zero[i];
	}
	return true;
}

/* Moves the loaded kernel's virtual addresses by a random offset. */
static int relocate(struct elf *f)
{
	struct boot_ctx *c = f->c;
	uint64_t align = MAX((uint64_t)c->align, ALIGN_MIN), size = f->hi - f->lo, delta;
	uint8_t *image;
	struct relocs r;

	if (!find_relocs(f, &r) || !linked_as_linux(f))
		return 0; /* not a form that we know: it stays where it was linked */
	if (f->lo + size > BOOT_LINUX_IMAGE_MAX)
		return 0;
	delta = boot_random(c, (BOOT_LINUX_IMAGE_MAX - f->lo - size) / align + 1) * align;
	image = gmem_at(c->mem, f->lo + (uint64_t)f->phys, size);
	if (!image)
		return damaged(f, "its segments do not fit together");

	for (unsigned kind = 0; kind < 3; kind++) {
		unsigned width = kind == 2 ? 8 : 4;

		for (size_t i = r.list[kind].from; i < r.list[kind].to; i++) {
			uint64_t va = (uint64_t)(int64_t)(int32_t)boot_get32(f->relocs + i * 4);
			uint64_t at = va - BOOT_LINUX_MAP - f->lo;

			if (at >= size || size - at < width)
				return damaged(f, "a relocation points outside of it");
			if (kind == 2)
				boot_put64(image + at, boot_get64(image + at) + delta);
			else if (kind == 1)
				boot_put32(image + at, boot_get32(image + at) - (uint32_t)delta);
			else
				boot_put32(image + at, boot_get32(image + at) + (uint32_t)delta);
		}
	}
	c->r->kaslr = true;
	c->r->kaslr_virt = delta;
	return 0;
}

/* An address where the guest starts: in a segment, below 4 GiB. `what` for the message. */
static int check_entry(struct elf *f, uint64_t entry, const char *what)
{
	for (unsigned i = 0; i < f->n_loads; i++) {
		uint64_t p = f->load[i].paddr + (uint64_t)f->phys;

		if (entry >= p && entry - p < f->load[i].memsz && entry < 4 * GIB) {
			f->c->r->entry = entry;
			return 0;
		}
	}
	return err_set(f->c->e, EINVAL,
		       "kernel '%s' is damaged: its %s 0x%llx is in none of its segments", f->name,
		       what, (unsigned long long)entry);
}

static int choose_method(struct elf *f, bool payload)
{
	enum boot_protocol want = f->c->cfg->protocol;
	bool linux_like = linked_as_linux(f) || f->linux_note || f->xen_linux;
	struct boot_result *r = f->c->r;
	uint64_t entry = f->entry;

	if (want == BOOT_WANT_PVH && !f->has_pvh)
		return err_set(f->c->e, EINVAL, "kernel '%s' has no PVH entry note", f->name);
	if (f->has_pvh &&
	    (want == BOOT_WANT_PVH || (want != BOOT_WANT_LINUX && !payload && !linux_like))) {
		r->method = BOOT_PVH;
		return check_entry(f, f->pvh_entry + (uint64_t)f->phys, "PVH entry point");
	}
	if (!f->is64 && !payload && !linked_as_linux(f)) {
		err_set(f->c->e, EINVAL,
			"kernel '%s' is a 32-bit ELF file without a PVH entry note, and no Linux kernel: how to start it is unknown",
			f->name);
		return err_hint(f->c->e, "multiboot images need a boot loader on a disk");
	}
	r->method = f->is64 ? BOOT_LINUX64 : BOOT_LINUX32;
	if (f->is64 && entry >= BOOT_LINUX_MAP) /* linked with a virtual entry point */
		entry -= BOOT_LINUX_MAP;
	return check_entry(f, entry + (uint64_t)f->phys, "entry point");
}

static int load(struct elf *f, struct boot_src *src, bool payload)
{
	struct boot_ctx *c = f->c;
	const uint8_t *p;
	size_t n;
	int r;

	r = src->next(src, &p, &n, c->e);
	if (r)
		return r;
	r = parse(f, p, n, src->size, payload);
	if (r)
		return r;
	if (payload && src->size > f->end && src->size - f->end <= RELOCS_MAX && f->is64 &&
	    c->relocatable && c->cfg->seed && !c->nokaslr && c->cfg->protocol != BOOT_WANT_PVH) {
		f->relocs_len = src->size - f->end;
		r = add_sink(f, f->end, f->relocs_len, 0, &f->relocs);
		if (r)
			return r;
		if (linked_as_linux(f))
			choose_phys(f);
	}
	for (unsigned i = 0; i < f->n_notes; i++) {
		r = add_sink(f, f->notes[i].off, f->notes[i].len, 0, &f->notes[i].buf);
		if (r)
			return r;
	}
	for (unsigned i = 0; i < f->n_loads; i++) {
		const struct load *l = &f->load[i];
		gpa_t gpa = l->paddr + (uint64_t)f->phys;

		r = boot_check_place(c, gpa, l->memsz);
		if (!r && l->memsz > l->filesz)
			r = boot_clear(c, gpa + l->filesz, l->memsz - l->filesz);
		if (!r && l->filesz)
			r = add_sink(f, l->off, l->filesz, gpa, NULL);
		if (r)
			return r;
	}
	c->r->kernel_gpa = f->lo + (uint64_t)f->phys;
	c->r->kernel_size = f->hi - f->lo;
	c->r->kaslr_phys = f->phys;
	gmem_fill(c->mem, c->r->kernel_gpa, c->r->kernel_size);
	r = pump(f, src, p, n, payload);
	if (r)
		return r;
	for (unsigned i = 0; i < f->n_notes; i++)
		read_notes(f, &f->notes[i]);
	if (f->relocs) {
		r = relocate(f);
		if (r)
			return r;
	}
	return choose_method(f, payload);
}

int boot_elf_load(struct boot_ctx *c, struct boot_src *src, bool payload)
{
	struct elf f = {.c = c, .name = c->kernel.name};
	int r = load(&f, src, payload);

	for (unsigned i = 0; i < f.n_notes; i++)
		free(f.notes[i].buf);
	free(f.relocs);
	return r;
}

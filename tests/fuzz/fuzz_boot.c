/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_boot.c - the kernel loaders fed with damaged files.
 *
 * One input is one kernel file; its first byte's low bits are also taken as options (initrd, protocol, random
 * placement). LLVMFuzzerTestOneInput is for libFuzzer (-DFUZZ_LIBFUZZER leaves out main). The plain program
 * either replays the files that it is given, or, given `--rounds N [--seed S]`, mutates its own seed images N
 * times; the same seed gives the same inputs. Whatever comes, boot_load() must return 0 with an
 * entry point inside of what it loaded, or an error with a sentence.
 */
#include <inttypes.h>
#include <stdio.h>

#include "board/boot.h"
#include "../unit/boot_image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void die(const char *what, const struct boot_result *r, const struct err *e)
{
	fprintf(stderr,
		"%s: entry 0x%" PRIx64 " kernel 0x%" PRIx64 "+0x%" PRIx64 " initrd 0x%" PRIx64
		" '%s'\n",
		what, r->entry, r->kernel_gpa, r->kernel_size, r->initrd_gpa, e->msg);
	abort();
}

static unsigned n_ok, n_refused;

static void load_one(const uint8_t *data, size_t size, unsigned options)
{
	static const struct gmem_range range[] = {{0, 32 * MIB}, {4 * GIB, 8 * MIB}};
	static const char initrd[5000] = "070701";
	static uint8_t seed[BOOT_SEED_SIZE];
	static struct gmem *mem;
	static int kernel_fd = -1, initrd_fd = -1;
	struct boot_config cfg = {0};
	struct boot_result r;
	struct err e = {0};

	if (!mem) {
		if (gmem_create(&mem, range, 2, -1, &e))
			die("no guest memory", &(struct boot_result){0}, &e);
		kernel_fd = memfd_create("kernel", MFD_CLOEXEC);
		initrd_fd = memfd_create("initrd", MFD_CLOEXEC);
		if (pwrite(initrd_fd, initrd, sizeof(initrd), 0) != sizeof(initrd))
			abort();
	}
	if (ftruncate(kernel_fd, 0) || pwrite(kernel_fd, data, size, 0) != (ssize_t)size)
		abort();
	for (size_t i = 0; i < sizeof(seed); i++)
		seed[i] = (uint8_t)(seed[i] * 5 + i + options);
	cfg.kernel_fd = kernel_fd;
	cfg.kernel_name = "fuzz";
	cfg.initrd_fd = options & 1 ? initrd_fd : -1;
	cfg.cmdline = "quiet";
	cfg.seed = options & 2 ? seed : NULL;
	cfg.protocol = options & 4 ? (enum boot_protocol)(options >> 3 & 3) : BOOT_AUTO;
	if (boot_load(&cfg, mem, &r, &e)) {
		n_refused++;
		if (!e.msg[0] || !e.code)
			die("refused without a reason", &r, &e);
		return;
	}
	n_ok++;
	/* The entry lies in what was loaded, in RAM; a place that we chose overlaps nothing. */
	if (!gmem_at(mem, r.kernel_gpa, 1) || !gmem_at(mem, r.entry, 1) || r.entry < r.kernel_gpa ||
	    r.entry - r.kernel_gpa >= MAX(r.kernel_size, (uint64_t)1) || e.msg[0])
		die("bad entry", &r, &e);
	if ((r.kaslr_phys || r.method == BOOT_LINUX64_Z) && r.initrd_size &&
	    r.initrd_gpa < r.kernel_gpa + r.kernel_size &&
	    r.kernel_gpa < r.initrd_gpa + r.initrd_size)
		die("overlap", &r, &e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size && size <= 16 * MIB)
		load_one(data, size, data[size / 2]);
	return 0;
}

#ifndef FUZZ_LIBFUZZER
static uint64_t rng_state;

static uint64_t rng(void)
{
	uint64_t z = (rng_state += 0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

/* Seeds: each compression, each kind of ELF file; with a small kernel so that a round is short. */
static unsigned make_seeds(struct image *seed)
{
	static const unsigned elf[] = {0, IMAGE_PVH, IMAGE_PVH | IMAGE_NOT_LINUX,
				       IMAGE_PVH | IMAGE_NOT_LINUX | IMAGE_ELF32, IMAGE_ELF32};
	unsigned n = 0;

	for (size_t i = 0; i <= ARRAY_SIZE(image_methods); i++) {
		struct image k = image_elf(0), z;

		image_relocs(&k, i & 1 ? 2 : 3);
		z = image_compress(&k, i < ARRAY_SIZE(image_methods) ? image_methods[i] : "none");
		seed[n++] = image_bzimage(&z, i & 2 ? 0x20f : 0x20c);
		free(k.p);
		free(z.p);
	}
	for (size_t i = 0; i < ARRAY_SIZE(elf); i++)
		seed[n++] = image_elf(elf[i]);
	return n;
}

/* Where the headers are: most mutations go there. */
static size_t pick(const struct image *im)
{
	bool elf = im->p[0] == 0x7f;

	switch (rng() % 8) {
	case 0: return rng() % im->n;
	case 1: return im->n - 1 - rng() % MIN(im->n, (size_t)128);
	case 2:
		return (elf ? IMAGE_PERCPU_OFF + IMAGE_PERCPU_SIZE :
			      IMAGE_PM_OFF + IMAGE_PAYLOAD_OFF) +
		       rng() % 96;
	default: return elf ? rng() % 280 : 0x1f1 + rng() % 0x7b;
	}
}

static void mutate(struct image *im)
{
	static const uint64_t edge[] = {0,	    1,
					0x7f,	    0xff,
					0x7fff,	    0xffff,
					0x7fffffff, 0x80000000,
					0xffffffff, 0x7fffffffffffffff,
					UINT64_MAX, 0x1000};

	for (unsigned n = 1 + rng() % 4; n; n--) {
		size_t off = pick(im), left;

		if (off >= im->n)
			continue;
		left = im->n - off;
		switch (rng() % 6) {
		case 0: im->p[off] ^= (uint8_t)(1u << rng() % 8); break;
		case 1: im->p[off] = (uint8_t)rng(); break;
		case 2:
		case 3: {
			uint64_t v = edge[rng() % ARRAY_SIZE(edge)] + rng() % 3 - 1;
			size_t width = (size_t)1 << rng() % 4;

			memcpy(im->p + off, &v, MIN(left, width));
			break;
		}
		case 4: {
			size_t from = pick(im), len = rng() % 64;

			if (from < im->n && len <= im->n - from && len <= left)
				memmove(im->p + off, im->p + from, len);
			break;
		}
		case 5:
			if (rng() % 4 == 0)
				im->n = 1 + rng() % im->n;
			break;
		}
	}
}

/* ELF damage inside of a payload that unpacks well. */
static struct image mutate_inside(void)
{
	struct image k = image_elf(rng() % 4 ? 0 : IMAGE_PVH), z, b;

	image_relocs(&k, rng() % 2 ? 2 : 3);
	mutate(&k);
	if (rng() % 2)
		k.p[k.n - 1 - rng() % MIN(k.n, (size_t)40)] ^= (uint8_t)(1u << rng() % 8);
	z = image_compress(&k, "lz4");
	b = image_bzimage(&z, 0x20f);
	free(k.p);
	free(z.p);
	return b;
}

static int replay(const char *path)
{
	static uint8_t buf[16 * MIB];
	FILE *f = fopen(path, "rb");
	size_t n;

	if (!f) {
		perror(path);
		return 1;
	}
	n = fread(buf, 1, sizeof(buf), f);
	fclose(f);
	LLVMFuzzerTestOneInput(buf, n);
	return 0;
}

int main(int argc, char **argv)
{
	struct image seed[16];
	unsigned long rounds = 0;
	unsigned n_seeds;
	int r = 0;

	rng_state = 1;
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--rounds") && i + 1 < argc)
			rounds = strtoul(argv[++i], NULL, 0);
		else if (!strcmp(argv[i], "--seed") && i + 1 < argc)
			rng_state = strtoul(argv[++i], NULL, 0);
		else
			r |= replay(argv[i]);
	}
	n_seeds = make_seeds(seed);
	for (unsigned i = 0; i < n_seeds; i++)
		load_one(seed[i].p, seed[i].n, 0);
	if (n_refused && argc <= 1)
		r = 1;
	for (unsigned long i = 0; i < rounds; i++) {
		struct image im = {0};

		if (rng() % 3 == 0) {
			im = mutate_inside();
		} else {
			const struct image *s = &seed[rng() % n_seeds];

			image_put(&im, 0, s->p, s->n);
			mutate(&im);
		}
		load_one(im.p, im.n, (unsigned)rng());
		free(im.p);
	}
	for (unsigned i = 0; i < n_seeds; i++)
		free(seed[i].p);
	printf("fuzz_boot: %u loaded, %u refused\n", n_ok, n_refused);
	return r;
}
#endif

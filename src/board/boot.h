/* SPDX-License-Identifier: Apache-2.0 */
/*
 * boot.h - direct kernel boot: puts a kernel, its initrd and what they need to know into guest memory,
 * and says in which processor state the first vCPU starts.
 *
 * Kernels: Linux bzImage (unpacked on our side, or by the guest), Linux vmlinux
 * (64-bit boot protocol) and ELF files with a PVH entry note. Specifications: Linux
 * Documentation/arch/x86/boot.rst and zero-page.rst ("boot protocol" below), Xen docs/misc/pvh.
 *
 * The files are hostile: every size in them is checked against the file and against guest RAM; they are
 * read with pread, so a file that shrinks under us is an error and not a signal.
 *
 * boot_load() is called before the vCPUs run, and again for a reset. Any one thread.
 */
#ifndef LODGE_BOARD_BOOT_H
#define LODGE_BOARD_BOOT_H

#include "mem/gmem.h"
#include "util/err.h"
#include "x86/state.h"

/* How the guest is entered. */
enum boot_method {
	BOOT_LINUX64,	/* vmlinux at its 64-bit entry: long mode, boot_params in RSI */
	BOOT_LINUX64_Z, /* bzImage's own decompressor at its 64-bit entry (load address + 0x200) */
	BOOT_LINUX32,	/* 32-bit boot protocol: flat protected mode, boot_params in ESI */
	BOOT_PVH,	/* flat protected mode, hvm_start_info in EBX */
	BOOT_METHODS
};
extern const char *const boot_method_name[BOOT_METHODS]; /* for people and logs */

/* What the caller may ask for. */
enum boot_protocol {
	BOOT_AUTO,	 /* as the file has it; a bzImage is unpacked on our side, if we can */
	BOOT_WANT_LINUX, /* Linux boot protocol, even if there is a PVH note */
	BOOT_WANT_PVH, /* PVH; an error if there is no note (a bzImage's payload is looked at, too) */
	BOOT_WANT_HANDOVER /* BOOT_AUTO, but a bzImage unpacks itself: its own decompressor is entered */
};

#define BOOT_SEED_SIZE 64

struct boot_config {
	int kernel_fd;		 /* regular file; position ignored and unchanged; not owned */
	const char *kernel_name; /* for messages; NULL: "kernel" */
	int initrd_fd;		 /* the same; -1: none */
	const char *initrd_name;
	const char *cmdline; /* NULL: empty */
	enum boot_protocol protocol;
	gpa_t rsdp; /* where acpi_install() puts it, now or later; 0: no ACPI */
	/* Fresh random bytes, or NULL. With them the kernel's place is randomised (unless the command line
	 * says nokaslr or the kernel has no relocations) and its random number generator is seeded. */
	const uint8_t *seed;
	/* Guest RAM is known to be all zero: BSS need not be cleared, so its pages stay untouched. */
	bool memory_is_zero;
};

struct boot_result {
	enum boot_method method;
	gpa_t entry;  /* RIP */
	gpa_t params; /* boot_params (RSI) or hvm_start_info (EBX) */
	gpa_t cr3;    /* identity map of the first 4 GiB (BOOT_LINUX64*) */
	gpa_t gdt;
	uint16_t gdt_limit;

	/* For people: the log line and `query`. */
	gpa_t kernel_gpa;     /* lowest address of the loaded kernel */
	uint64_t kernel_size; /* bytes of RAM it takes, BSS included */
	gpa_t initrd_gpa;
	uint64_t initrd_size;
	const char *compression; /* "xz", ...; NULL: none, or left to the guest */
	char version[96]; /* bzImage's version string, printable characters only; may be "" */
	bool kaslr;
	uint64_t kaslr_virt; /* added to link-time virtual addresses */
	int64_t kaslr_phys;  /* added to link-time physical addresses */
};

/* Loads everything. 0, or -errno with one sentence; guest memory is then undefined. */
int boot_load(const struct boot_config *cfg, struct gmem *mem, struct boot_result *out,
	      struct err *e);

/* Is this one of the words of a command line? */
bool boot_has_word(const char *cmdline, const char *word);

/* Fills in the whole state of the first vCPU: power-up state, then what the method asks for. */
void boot_start_state(const struct boot_result *r, struct x86_state *s);

/*
 * What firmware would have left in the model-specific registers of *every* vCPU: MTRRs on, write-back by
 * default, the PCI hole uncached. Linux does without PAT where MTRRs are off. boot_start_state() does
 * not call it; call it for all vCPUs after reset, with the physical address width of the CPU model.
 */
void boot_firmware_msrs(struct x86_state *s, unsigned phys_bits);

/* Memory map, ascending, as BIOS E820 reports it. Also used for PVH and for fw_cfg. */
enum { BOOT_E820_RAM = 1, BOOT_E820_RESERVED = 2, BOOT_E820_ACPI = 3, BOOT_E820_NVS = 4 };
struct boot_e820 {
	uint64_t addr;
	uint64_t size;
	uint32_t type; /* BOOT_E820_* */
};
#define BOOT_E820_MAX 16
/* Returns the number of entries written, at most BOOT_E820_MAX. */
unsigned boot_e820_build(const struct gmem *mem, struct boot_e820 map[BOOT_E820_MAX]);

#endif

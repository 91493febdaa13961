/* SPDX-License-Identifier: Apache-2.0 */
/*
 * boot_e820.c - the memory map that firmware reports (ACPI 6.5 §15): RAM as guest memory has it, without the
 * EBDA and BIOS area, plus the ranges that no operating system may hand out.
 */
#include "board/boot.h"
#include "board/layout.h"

static unsigned add(struct boot_e820 *map, unsigned n, uint64_t addr, uint64_t size, uint32_t type)
{
	if (!size || n == BOOT_E820_MAX)
		return n;
	map[n] = (struct boot_e820){.addr = addr, .size = size, .type = type};
	return n + 1;
}

unsigned boot_e820_build(const struct gmem *mem, struct boot_e820 map[BOOT_E820_MAX])
{
	bool ecam = false;
	unsigned n = 0;

	for (unsigned i = 0; i < mem->n_regions; i++) {
		uint64_t start = mem->region[i].gpa, end = start + mem->region[i].size;

		if (!ecam && start >= LAYOUT_ECAM + LAYOUT_ECAM_SIZE) {
			n = add(map, n, LAYOUT_ECAM, LAYOUT_ECAM_SIZE, BOOT_E820_RESERVED);
			ecam = true;
		}
		if (start < LAYOUT_EBDA) {
			n = add(map, n, start, MIN(end, LAYOUT_EBDA) - start, BOOT_E820_RAM);
			n = add(map, n, LAYOUT_EBDA, MIB - LAYOUT_EBDA, BOOT_E820_RESERVED);
			start = MIB;
		}
		if (end > start)
			n = add(map, n, start, end - start, BOOT_E820_RAM);
	}
	if (!ecam)
		n = add(map, n, LAYOUT_ECAM, LAYOUT_ECAM_SIZE, BOOT_E820_RESERVED);
	return n;
}

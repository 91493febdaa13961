/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hw_boot.c - what firmware would do for a machine at its start: ACPI tables, kernel and initrd in guest memory, and the processors as
 * they are then, the first one at the kernel's entry.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "board/acpi.h"
#include "board/boot_disk.h"
#include "board/hotplug.h"
#include "board/layout.h"
#include "util/clock.h"
#include "vm/hw.h"
#include "x86/cpuid.h"

#define store(p, v) __atomic_store_n(p, v, __ATOMIC_RELEASE)

unsigned hw_phys_bits(void)
{
	uint32_t r[4];

	cpuid_host(0x80000000u, 0, r);
	if (r[CPUID_EAX] < 0x80000008u)
		return 36;
	cpuid_host(0x80000008u, 0, r);
	return r[CPUID_EAX] & 0xff;
}

static bool has_word(const char *cmdline, const char *const *words, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (boot_has_word(cmdline, words[i]))
			return true;
	return false;
}

bool hw_boot_wants_pit(const char *cmdline)
{
	static const char *const words[] = {"clocksource=pit", "nolapic_timer", "noapictimer",
					    "nolapic", "disableapic"};

	return has_word(cmdline, words, ARRAY_SIZE(words));
}

/*
 * Whether the ACPI tables say "hardware-reduced". Linux then neither looks for the 8259s, 8254 and PM timer nor sets them up, 500 accesses in a
 * boot; but it must know the Generic Event Device (4.9), and do with APIC timer, IOAPIC and MSI.
 */
static bool choose_reduced(const struct vm_config *vm, const struct boot_result *boot,
			   const char *cmdline)
{
	static const char *const words[] = {"noapic", "lapic=notscdeadline", "clocksource=acpi_pm"};
	char *end;
	unsigned long major = strtoul(boot->version, &end, 10);
	unsigned long minor = *end == '.' ? strtoul(end + 1, NULL, 10) : 0;

	if (vm->acpi != CONFIG_ACPI_AUTO)
		return vm->acpi == CONFIG_ACPI_REDUCED;
	if (boot->method != BOOT_LINUX64 && boot->method != BOOT_LINUX64_Z)
		return false;
	if (major < 4 || (major == 4 && minor < 9))
		return false;
	return !hw_boot_wants_pit(cmdline) && !has_word(cmdline, words, ARRAY_SIZE(words));
}

/*
 * Kernel and initrd of the first disk. Its file system is the root, whatever else the command line is: the configuration's, or
 * the disk's own.
 */
static int kernel_from_disk(struct hw *hw, struct boot_disk *disk, struct boot_config *boot,
			    char *cmdline, size_t size, struct err *e)
{
	const struct vm_config *vm = hw->cfg.vm;
	const char *rest = vm->cmdline[0]   ? vm->cmdline :
			   disk->cmdline[0] ? disk->cmdline :
					      "console=ttyS0 quiet";
	const char *root = strstr(rest, "root=");
	int n;

	if (root && (root == rest || root[-1] == ' '))
		n = snprintf(cmdline, size, "%s", rest);
	else
		n = snprintf(cmdline, size, "%s ro %s", disk->root, rest);
	if (n < 0 || (size_t)n >= size)
		return err_set(
			e, E2BIG,
			"the kernel command line of the disk is too long: %d bytes, at most %zu are possible",
			n, size - 1);
	boot->kernel_fd = disk->kernel_fd;
	boot->kernel_name = disk->kernel_name;
	boot->initrd_fd = disk->initrd_fd;
	boot->initrd_name = disk->initrd_name;
	boot->cmdline = cmdline;
	return 0;
}

int hw_boot_acpi(struct hw *hw, struct err *e)
{
	struct acpi_config acpi = {.n_cpus = hw->n_cpus,
				   .no_lpc = !hw->cfg.vm->lpc,
				   .reduced = hw->acpi_reduced,
				   .hotplug_slots = hotplug_slots(hw->dev[HW_HOTPLUG])};

	acpi.mmio64_base = acpi_mmio64_base(hw->cfg.mem);
	if (acpi.mmio64_base + LAYOUT_PCI_MMIO64_SIZE <= BIT(hw_phys_bits()))
		acpi.mmio64_size = LAYOUT_PCI_MMIO64_SIZE;
	return acpi_install(&acpi, hw->cfg.mem, e);
}

int hw_boot_load(struct hw *hw, struct err *e)
{
	const struct vm_config *vm = hw->cfg.vm;
	struct boot_disk disk = {.kernel_fd = -1, .initrd_fd = -1};
	char cmdline[CONFIG_CMDLINE_MAX + 1];
	uint8_t seed[BOOT_SEED_SIZE];
	struct boot_config boot = {
		.kernel_fd = hw->cfg.fds->fd[CONFIG_FD_KERNEL],
		.kernel_name = vm->kernel_name,
		.initrd_fd = vm->initrd_name[0] ? hw->cfg.fds->fd[CONFIG_FD_INITRD] : -1,
		.initrd_name = vm->initrd_name,
		.cmdline = vm->cmdline,
		.protocol = vm->boot_unpack == CONFIG_UNPACK_GUEST ? BOOT_WANT_HANDOVER : BOOT_AUTO,
		.rsdp = LAYOUT_RSDP,
		.memory_is_zero = hw->cfg.memory_is_zero,
	};
	int r = 0;

	if (getrandom(seed, sizeof(seed), GRND_NONBLOCK) == sizeof(seed))
		boot.seed = seed;
	if (!vm->kernel_name[0]) {
		r = boot_disk_open(&disk, hw->cfg.fds->fd[CONFIG_FD_DISK], vm->memory_bytes, e);
		if (r == 0)
			r = kernel_from_disk(hw, &disk, &boot, cmdline, sizeof(cmdline), e);
	}
	if (r == 0)
		r = boot_load(&boot, hw->cfg.mem, &hw->boot, e);
	if (r == 0)
		hw->acpi_reduced = choose_reduced(vm, &hw->boot, boot.cmdline);
	boot_disk_close(&disk);
	return r;
}

/* The processors as firmware would leave them, the first one at the kernel's entry. */
int hw_boot_start(struct hw *hw, struct err *e)
{
	uint64_t tsc_offset = 0 - clock_tsc();
	struct x86_state st;

	for (unsigned i = 0; i < hw->n_cpus; i++) {
		int r;

		x86_state_reset(&st, i == 0);
		if (i == 0)
			boot_start_state(&hw->boot, &st);
		boot_firmware_msrs(&st, hw_phys_bits());
		st.msr.tsc_offset = tsc_offset;
		store(&hw->tsc_offset[i], tsc_offset);
		r = vcpu_set_state(hw->vcpus, i, X86_STATE_ALL, &st);
		if (r < 0)
			return err_errno(e, -r, "the %s engine refused the first state of vCPU %u",
					 hw->cfg.engine->name, i);
	}
	if (hw->lapics) {
		lapic_virtual_wire(hw->lapics, 0);
		return 0;
	}
	if (hw->cfg.engine->irqchip->virtual_wire(hw->engine) < 0)
		return err_set(e, EIO, "the %s engine refused the first state of the local APIC",
			       hw->cfg.engine->name);
	return 0;
}

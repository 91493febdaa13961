/* SPDX-License-Identifier: Apache-2.0 */
/*
 * absent.c - why a host has no /dev/kvm: the file, the module, the firmware or the processor.
 *
 * The kernel's list of a processor's features differs from CPUID's where firmware has switched hardware virtualization off: Linux
 * takes VMX away since 5.6 and SVM since 6.8. Before that the module refuses, and the kernel's log says so.
 */
#include "engine/kvm/absent.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "util/procfile.h"
#include "x86/cpuid.h"

#define F1_ECX_VMX BIT(5)
#define F1_ECX_HYPERVISOR BIT(31)
#define FX1_ECX_SVM BIT(2)
#define CPUINFO_MAX 16384u /* the first processor's lines */

/* Is `word` among the first processor's flags? */
static bool kernel_shows(const char *word)
{
	char *text = malloc(CPUINFO_MAX), *line = NULL, *end, *save = NULL;
	bool found = false;

	if (text && procfile_read("/proc/cpuinfo", text, CPUINFO_MAX))
		line = strstr(text, "\nflags");
	if (line) {
		end = strchr(line + 1, '\n');
		if (end)
			*end = '\0';
		for (char *w = strtok_r(line, " \t:", &save); w && !found;
		     w = strtok_r(NULL, " \t:", &save))
			found = strcmp(w, word) == 0;
	}
	free(text);
	return found;
}

void kvm_absent_look(struct kvm_absent *a)
{
	uint32_t first[4], extended[4];
	bool amd;

	cpuid_host(0, 0, first);
	amd = first[CPUID_EBX] != 0x756e6547; /* "Genu" */
	*a = (struct kvm_absent){
		.feature = amd ? "SVM" : "VT-x",
		.module = amd ? "kvm_amd" : "kvm_intel",
		.device = access("/sys/class/misc/kvm", F_OK) == 0,
		.kernel = kernel_shows(amd ? "svm" : "vmx"),
		.loaded = access(amd ? "/sys/module/kvm_amd" : "/sys/module/kvm_intel", F_OK) == 0,
	};
	cpuid_host(1, 0, first);
	cpuid_host(0x80000001, 0, extended);
	a->guest = first[CPUID_ECX] & (uint32_t)F1_ECX_HYPERVISOR;
	a->processor = amd ? extended[CPUID_ECX] & (uint32_t)FX1_ECX_SVM :
			     first[CPUID_ECX] & (uint32_t)F1_ECX_VMX;
}

void kvm_absent_say(const struct kvm_absent *a, char *buf, size_t size)
{
	if (a->device)
		snprintf(buf, size,
			 "the kernel has KVM, but /dev/kvm is not here: a container must be given it");
	else if (!a->processor && a->guest)
		snprintf(buf, size,
			 "this host has no KVM: it is a virtual machine itself, whose host does not pass %s on",
			 a->feature);
	else if (!a->processor)
		snprintf(buf, size,
			 "this host has no KVM: its processor shows no %s, which firmware (BIOS) may have switched off",
			 a->feature);
	else if (a->loaded)
		snprintf(buf, size,
			 "this host has no KVM: its kernel's %s refuses the processor, and the kernel's log says why; %s may be switched off in the firmware (BIOS)",
			 a->module, a->feature);
	else if (!a->kernel)
		snprintf(buf, size,
			 "this host has no KVM: %s is switched off in the firmware (BIOS)",
			 a->feature);
	else
		snprintf(buf, size,
			 "this host has no KVM: the kernel's module is not loaded (\"modprobe %s\"; if that fails, the kernel's log says why)",
			 a->module);
}

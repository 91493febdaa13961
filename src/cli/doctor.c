/* SPDX-License-Identifier: Apache-2.0 */
/*
 * doctor.c - `lodge doctor`: what this host can do for VMs, one fact a line.
 */
#include <cpuid.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "cli/cli.h"
#include "engine/kvm/probe.h"
#include "util/clock.h"
#include "x86/cpuid_model.h"

/* The processor's brand string (SDM vol. 2 "CPUID", leaves 0x80000002-4), without leading blanks. */
static void doctor_cpu(char *out, size_t size)
{
	uint32_t brand[13] = {0};

	for (unsigned i = 0; i < 3; i++) {
		uint32_t *b = brand + 4 * i;

		if (!__get_cpuid(0x80000002u + i, &b[0], &b[1], &b[2], &b[3]))
			break;
	}
	err_quote(out, size, (const char *)brand + strspn((const char *)brand, " "));
}

static void doctor_line(const char *what, const char *text)
{
	printf("%-10s %s\n", what, text);
}

int cli_doctor(int argc, char **argv)
{
	char text[PATH_MAX + 64], path[PATH_MAX];
	struct kvm_probe probe;
	struct utsname un;
	struct err e = {0};
	char shown[64];

	for (int i = 0; i < argc; i++) {
		if (!strcmp(argv[i], "--json-errors"))
			continue;
		if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))
			return cli_own_help(cli_doctor);
		err_set(&e, EINVAL, "`lodge doctor` takes no arguments: what is \"%s\"?",
			err_quote(shown, sizeof(shown), argv[i]));
		return status_fail(&e, STATUS_USAGE);
	}
	doctor_cpu(text, sizeof(text));
	doctor_line("processor", text);
	snprintf(text, sizeof(text), "%ld", sysconf(_SC_NPROCESSORS_ONLN));
	doctor_line("cpus", text);
	snprintf(text, sizeof(text), "%llu MiB",
		 (unsigned long long)sysconf(_SC_PHYS_PAGES) *
			 (unsigned long long)sysconf(_SC_PAGESIZE) / MIB);
	doctor_line("memory", text);
	if (uname(&un) == 0) {
		snprintf(text, sizeof(text), "%s %s", un.sysname, un.release);
		doctor_line("system", text);
	}
	snprintf(text, sizeof(text), "%u kHz (%s)%s", clock_tsc_khz(), clock_tsc_source(),
		 clock_tsc_invariant() ? "" : ", not invariant: guest time may drift");
	doctor_line("tsc", text);
	kvm_probe(&probe);
	snprintf(text, sizeof(text), "%s: %s (probed in %.1f ms)",
		 kvm_probe_usable(&probe) ? "usable" : "not usable", probe.why,
		 (double)probe.took_ns / 1e6);
	doctor_line("kvm", text);
	if (probe.has[0]) {
		snprintf(text, sizeof(text), "%s; %u vCPUs in a VM", probe.has, probe.max_vcpus);
		doctor_line("kvm has", text);
	}
	if (probe.models[0])
		doctor_line("kvm cpus", probe.models);
	snprintf(text, sizeof(text), "x86-64-v3 as far as the processor has it; %u vCPUs in a VM",
		 CONFIG_CPUS_MAX);
	doctor_line("soft has", text);
	doctor_line("soft cpus", cpuid_model_list(cpuid_host, text, sizeof(text)));
	doctor_line("engines", kvm_probe_usable(&probe) ? "kvm soft" : "soft");
	doctor_line("auto", kvm_probe_usable(&probe) ? "kvm" : "soft");
	if (launch_find("lodge-vm", path, sizeof(path), &e))
		snprintf(text, sizeof(text), "%s", e.msg);
	else
		snprintf(text, sizeof(text), "%s", path);
	doctor_line("lodge-vm", text);
	return STATUS_OK;
}

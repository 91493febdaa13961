/* SPDX-License-Identifier: Apache-2.0 */
/*
 * doctor.c - `lodge doctor`: what this host can do for VMs, one fact a line, and whether it is well, one check a line.
 */
#include <cpuid.h>
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "cli/doctor.h"
#include "keeper/probekeep.h"
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

static const char *const levels[] = {"fact", "ok", "warn", "fail"};

void doctor_say(json_t *lines, const char *what, enum doctor_level level, const char *to_do,
		const char *text, ...)
{
	char said[PATH_MAX + 256];
	va_list ap;
	json_t *j;

	va_start(ap, text);
	vsnprintf(said, sizeof(said), text, ap);
	va_end(ap);
	j = json_pack("{s:s, s:s, s:s}", "what", what, "level", levels[level], "text", said);
	if (j && to_do)
		json_object_set_new(j, "do", json_string(to_do));
	(void)json_array_append_new(lines, j);
}

static void fact(json_t *lines, const char *what, const char *text)
{
	doctor_say(lines, what, DOCTOR_FACT, NULL, "%s", text);
}

static void add_facts(json_t *lines, const struct kvm_probe *probe)
{
	char text[PATH_MAX + 64], path[PATH_MAX];
	struct utsname un;
	struct err e = {0};

	doctor_cpu(text, sizeof(text));
	fact(lines, "processor", text);
	doctor_say(lines, "cpus", DOCTOR_FACT, NULL, "%ld", sysconf(_SC_NPROCESSORS_ONLN));
	doctor_say(lines, "memory", DOCTOR_FACT, NULL, "%llu MiB",
		   (unsigned long long)sysconf(_SC_PHYS_PAGES) *
			   (unsigned long long)sysconf(_SC_PAGESIZE) / MIB);
	if (uname(&un) == 0)
		doctor_say(lines, "system", DOCTOR_FACT, NULL, "%s %s", un.sysname, un.release);
	doctor_say(lines, "tsc", DOCTOR_FACT, NULL, "%u kHz (%s)%s", clock_tsc_khz(),
		   clock_tsc_source(),
		   clock_tsc_invariant() ? "" : ", not invariant: guest time may drift");
	doctor_say(lines, "kvm", DOCTOR_FACT, NULL, "%s: %s (probed in %.1f ms)",
		   kvm_probe_usable(probe) ? "usable" : "not usable", probe->why,
		   (double)probe->took_ns / 1e6);
	if (probe->has[0])
		doctor_say(lines, "kvm has", DOCTOR_FACT, NULL, "%s; %u vCPUs in a VM", probe->has,
			   probe->max_vcpus);
	if (probe->models[0])
		fact(lines, "kvm cpus", probe->models);
	doctor_say(lines, "soft has", DOCTOR_FACT, NULL,
		   "x86-64-v3 as far as the processor has it; %u vCPUs in a VM", CONFIG_CPUS_MAX);
	fact(lines, "soft cpus", cpuid_model_list(cpuid_host, text, sizeof(text)));
	fact(lines, "engines", kvm_probe_usable(probe) ? "kvm soft" : "soft");
	fact(lines, "auto", kvm_probe_usable(probe) ? "kvm" : "soft");
	fact(lines, "lodge-vm", launch_find("lodge-vm", path, sizeof(path), &e) ? e.msg : path);
}

static unsigned count(const json_t *lines, enum doctor_level level)
{
	unsigned n = 0;
	const json_t *j;
	size_t i;

	json_array_foreach((json_t *)(uintptr_t)lines, i, j)
	{
		n += !strcmp(json_string_value(json_object_get(j, "level")), levels[level]);
	}
	return n;
}

/* Facts as they are, then the checks. */
static void print_lines(const json_t *lines)
{
	unsigned warned = count(lines, DOCTOR_WARN), failed = count(lines, DOCTOR_FAIL);
	const json_t *j;
	size_t i;

	json_array_foreach((json_t *)(uintptr_t)lines, i, j)
	{
		const char *level = json_string_value(json_object_get(j, "level"));
		const char *to_do = json_string_value(json_object_get(j, "do"));
		bool is_fact = !strcmp(level, levels[DOCTOR_FACT]);

		printf("%-10s %s%s%s%s%s\n", json_string_value(json_object_get(j, "what")),
		       is_fact ? "" : level,
		       is_fact		  ? "" :
		       strlen(level) == 2 ? "    " :
					    "  ",
		       json_string_value(json_object_get(j, "text")), to_do ? ": " : "",
		       to_do ? to_do : "");
	}
	if (failed)
		printf("VMs cannot run here.\n");
	else if (warned)
		printf("VMs run here; %u thing%s could be better.\n", warned,
		       warned == 1 ? "" : "s");
	else
		printf("All is well.\n");
}

static const struct opt_def table[] = {VM_OPT_FORMAT, VM_OPT_END};

static const struct show_column columns[] = {
	{"what", "WHAT"}, {"level", "LEVEL"}, {"text", "TEXT"}, {"do", "DO"}, {NULL, NULL}};

void cli_doctor_options(FILE *f)
{
	opt_print_help(table, ARRAY_SIZE(table), f);
	fprintf(f, "\nExit status: 0, or 1 if no VM can run here.\n");
}

int cli_doctor(int argc, char **argv)
{
	_autojson json_t *lines = json_array();
	struct vm_options o = {0};
	struct opt_result res = {0};
	struct kvm_probe probe;
	struct err e = {0};
	char shown[64];

	if (opt_parse(table, ARRAY_SIZE(table), argc, argv, &o, &res, &e))
		return status_fail(&e, STATUS_USAGE);
	if (o.help)
		return cli_own_help(cli_doctor);
	if (res.n_args) {
		err_set(&e, EINVAL, "`lodge doctor` takes no arguments: what is \"%s\"?",
			err_quote(shown, sizeof(shown), res.arg[0]));
		return status_fail(&e, STATUS_USAGE);
	}
	probekeep_renew(&probekeep_here, &probe);
	add_facts(lines, &probe);
	doctor_host(lines, &probe);
	doctor_lodge(lines);
	if (o.format == SHOW_TABLE)
		print_lines(lines);
	else if (show_rows(lines, columns, (enum show_format)o.format, stdout) < 0)
		return STATUS_RUNTIME;
	return count(lines, DOCTOR_FAIL) ? STATUS_RUNTIME : STATUS_OK;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * probekeep.c - the answer of the probe of KVM, kept in the run directory.
 *
 * Theory of operation. The probe makes a VM and takes it down again: some ms of a start on most hosts, most of them spent waiting
 * for the host's kernel. What it finds changes only with the host's kernel, its KVM and the processor. So the answer is kept, in
 * `kvm.json` beside the folders of the VMs, together with a key of all that it depends on, and holds as long as the key
 * is what would be written today:
 *
 *	Lodge's version and the form of this file; the user
 *	the boot (boot_id), the kernel's release and version
 *	the device: inode, number, time of change. A KVM module that is loaded anew, with other parameters too, makes another node
 *	the processor: CPUID leaves 0 and 1 and its name, for virtual machines that are moved to another host
 *
 * The device is opened first in any case: whether this process may is asked each time.
 *
 * Not every answer is kept. That KVM cannot be used is kept only if it was found by what the test guest computed (SYSRET and
 * IRETQ that do not work, as on a PVM), and not by a time: a busy host can be slow once.
 *
 * Trust. The folder belongs to the user and nobody else writes to it (proto/rundir.h); what is in the file decides which engine is
 * tried and nothing else. A VM that does not end well on a kept answer drops it (run.c), so that the next start
 * probes. A file that cannot be read or written means a probe at each start.
 */
#include "keeper/probekeep.h"

#include <cpuid.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "proto/rundir.h"
#include "util/procfile.h"

#define PROBEKEEP_FILE "kvm.json"
#define PROBEKEEP_FORM 1u
#define PROBEKEEP_KEY_MAX 640u

const struct probekeep_host probekeep_here = {
	.device = "/dev/kvm",
	.boot_id = "/proc/sys/kernel/random/boot_id",
	.probe = kvm_probe,
};

/* The answers that are kept, by the words of the file. */
static const struct {
	const char *word;
	enum kvm_probe_result result;
} kept_results[] = {{"usable", KVM_PROBE_USABLE}, {"slow", KVM_PROBE_SLOW}};

/* The processor's name, as far as it tells one: CPUID 0x80000002 to 0x80000004 (AMD APM vol. 3, appendix E). */
static void processor(char *out, size_t size)
{
	uint32_t id[4] = {0}, one[4] = {0}, name[12] = {0};

	(void)__get_cpuid(0, &id[0], &id[1], &id[2], &id[3]);
	(void)__get_cpuid(1, &one[0], &one[1], &one[2], &one[3]);
	for (unsigned i = 0; i < 3; i++)
		(void)__get_cpuid(0x80000002 + i, &name[4 * i], &name[4 * i + 1], &name[4 * i + 2],
				  &name[4 * i + 3]);
	/* Not EBX of leaf 1: it has the number of the CPU that this runs on. */
	snprintf(out, size, "%x-%x-%x-%x %x-%x-%x %.48s", id[0], id[1], id[2], id[3], one[0],
		 one[2], one[3], (const char *)name);
}

/* What the answer depends on. False: it cannot be told, or the device cannot be opened. */
static bool key_of(const struct probekeep_host *h, char *key, size_t size)
{
	_autoclose int fd = open(h->device, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	char boot[64], cpu[160];
	struct utsname un;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0 || uname(&un) < 0 ||
	    !procfile_read(h->boot_id, boot, sizeof(boot)))
		return false;
	boot[strcspn(boot, "\n")] = '\0';
	processor(cpu, sizeof(cpu));
	return (size_t)snprintf(key, size,
				"%u %s | %u | %s | %s %s | %llx:%llx %llx %lld.%09ld | %s",
				PROBEKEEP_FORM, LODGE_VERSION, (unsigned)geteuid(), boot,
				un.release, un.version, (unsigned long long)st.st_dev,
				(unsigned long long)st.st_ino, (unsigned long long)st.st_rdev,
				(long long)st.st_ctim.tv_sec, (long)st.st_ctim.tv_nsec, cpu) < size;
}

static bool recall(const char *key, struct kvm_probe *out)
{
	_autojson json_t *j = NULL;
	const char *was, *word, *why;
	struct rundir base;

	if (rundir_open_base(&base, NULL) == 0)
		j = rundir_read(&base, PROBEKEEP_FILE);
	rundir_close(&base);
	was = json_string_value(json_object_get(j, "key"));
	word = json_string_value(json_object_get(j, "result"));
	why = json_string_value(json_object_get(j, "why"));
	if (!was || !word || !why || strcmp(was, key) != 0 || strlen(why) >= sizeof(out->why))
		return false;
	for (unsigned i = 0; i < ARRAY_SIZE(kept_results); i++) {
		if (strcmp(word, kept_results[i].word) != 0)
			continue;
		*out = (struct kvm_probe){.result = kept_results[i].result};
		strcpy(out->why, why);
		return true;
	}
	return false;
}

static void keep(const char *key, const struct kvm_probe *p)
{
	_autojson json_t *j = NULL;
	struct rundir base;

	for (unsigned i = 0; i < ARRAY_SIZE(kept_results); i++)
		if (p->result == kept_results[i].result)
			j = json_pack("{s:s, s:s, s:s}", "key", key, "result", kept_results[i].word,
				      "why", p->why);
	/* Usable with it, unusable without: then the sum decided, and no time. */
	if (!j || kvm_probe_usable(p) != p->sysret_works) {
		probekeep_drop();
		return;
	}
	if (rundir_open_base(&base, NULL) == 0)
		(void)rundir_write(&base, PROBEKEEP_FILE, j, NULL);
	rundir_close(&base);
}

bool probekeep_get(const struct probekeep_host *h, struct kvm_probe *out)
{
	char key[PROBEKEEP_KEY_MAX];

	if (!key_of(h, key, sizeof(key))) {
		h->probe(out);
		return false;
	}
	if (recall(key, out))
		return true;
	h->probe(out);
	keep(key, out);
	return false;
}

void probekeep_renew(const struct probekeep_host *h, struct kvm_probe *out)
{
	char key[PROBEKEEP_KEY_MAX];

	h->probe(out);
	if (key_of(h, key, sizeof(key)))
		keep(key, out);
	else
		probekeep_drop();
}

void probekeep_drop(void)
{
	struct rundir base;

	if (rundir_open_base(&base, NULL) == 0)
		(void)unlinkat(base.dir, PROBEKEEP_FILE, 0);
	rundir_close(&base);
}

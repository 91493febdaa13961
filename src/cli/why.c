/* SPDX-License-Identifier: Apache-2.0 */
/*
 * why.c - `lodge why VM`: why a guest stands still, is slow or is not to be reached, in one sentence, and what to do.
 *
 * Gathers what there is to know (why.h) from the run directory, the VM process, the host's kernel, the guest's agent and lodged, and has it
 * judged (why_judge.c). It looks several times within WHY_SPAN_MS: a processor that is found at the same few instructions each time
 * spins, a counter that does not move stands. Five times as long where that would deceive: at a VM that comes up, and at one that seems to wait
 * for the host. The VM's processors are stopped for a moment at each look, as `lodge ctl VM dump` does.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cli/daemon.h"
#include "cli/guestio.h"
#include "cli/why.h"
#include "keeper/guest.h"
#include "util/clock.h"
#include "util/fdio.h"
#include "util/procfile.h"

#define LOOKS 9u /* within WHY_SPAN_MS */
#define LOOKS_MORE 8u
#define WHY_SPAN_MORE_MS 800u
#define LOOK_ANSWER_NS (500 * CLOCK_NS_PER_MS)
#define AGENT_NS CLOCK_NS_PER_S
#define CONSOLE_BYTES 16384u

static const struct opt_def table[] = {
	VM_OPT_FORMAT,
	{"frames", 0, OPT_FLAG, VM_AT(frames), "", NULL, 0, 0, NULL}, /* by lodged */
	VM_OPT_END,
};

void cli_why_options(FILE *f)
{
	opt_print_help(table, ARRAY_SIZE(table), f);
	fprintf(f, "\njson, yaml and csv have all that was found, the table is its sentence.\n");
}

/* ---- the host's view of a process ---- */

/* proc(5), /proc/PID/stat: the letter behind the name, which stands in parentheses. */
static json_t *process_facts(json_int_t pid)
{
	char path[64], text[4096];
	const char *p;
	json_t *j;

	snprintf(path, sizeof(path), "/proc/%lld/stat", (long long)pid);
	if (pid <= 0 || !procfile_read(path, text, sizeof(text)) || !(p = strrchr(text, ')')) ||
	    strlen(p) < 3)
		return NULL;
	j = json_pack("{s:s%}", "state", p + 2, (size_t)1);
	snprintf(path, sizeof(path), "/proc/%lld/status", (long long)pid);
	if (procfile_read(path, text, sizeof(text)) && (p = strstr(text, "VmSwap:")))
		json_object_set_new(j, "swap_bytes", json_u64(strtoull(p + 7, NULL, 10) * KIB));
	return j;
}

/* How long its vCPU threads were ready to run and did not, each, in ns: proc(5), /proc/PID/schedstat. Returns how many. */
static unsigned delays(json_int_t pid, uint64_t out[CONFIG_CPUS_MAX])
{
	char path[320], text[128];
	const struct dirent *d;
	unsigned n = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%lld/task", (long long)pid);
	dir = pid > 0 ? opendir(path) : NULL;
	while (dir && n < CONFIG_CPUS_MAX && (d = readdir(dir))) {
		if (!isdigit((unsigned char)d->d_name[0]))
			continue;
		snprintf(path, sizeof(path), "/proc/%lld/task/%s/comm", (long long)pid, d->d_name);
		if (!procfile_read(path, text, sizeof(text)) || strncmp(text, "vcpu", 4) != 0)
			continue;
		snprintf(path, sizeof(path), "/proc/%lld/task/%s/schedstat", (long long)pid,
			 d->d_name);
		if (procfile_read(path, text, sizeof(text)) && strchr(text, ' '))
			out[n++] = strtoull(strchr(text, ' '), NULL, 10);
	}
	if (dir)
		closedir(dir);
	return n;
}

/* ---- the VM process ---- */

/* One more, after a pause; false: it does not answer, or it is not running, and so nothing moves. */
static bool look(int fd, json_t *looks, unsigned pause_ms)
{
	const struct timespec pause = {.tv_nsec = pause_ms * CLOCK_NS_PER_MS};
	json_t *answer = NULL;

	if (pause_ms)
		(void)nanosleep(&pause, NULL);
	if (control_call(fd, CONTROL_LOOK, clock_ns() + LOOK_ANSWER_NS, &answer, NULL) < 0)
		return false;
	(void)json_array_append_new(looks, answer);
	return !strcmp(why_text(answer, "state"), "running");
}

/* Which share of the time since `began` the vCPU that fared worst was ready to run and did not, in 1/1000. */
static json_int_t delay_permille(json_int_t pid, unsigned n, const uint64_t before[CONFIG_CPUS_MAX],
				 uint64_t began)
{
	uint64_t after[CONFIG_CPUS_MAX], worst = 0;

	n = MIN(n, delays(pid, after));
	for (unsigned i = 0; i < n; i++)
		worst = MAX(worst, after[i] - MIN(before[i], after[i]));
	return (json_int_t)(worst * 1000 / MAX(clock_ns() - began, UINT64_C(1)));
}

static void add_looks(const struct rundir *r, json_t *facts, json_int_t pid)
{
	json_t *looks = json_array(), *process = json_object_get(facts, "process");
	uint64_t before[CONFIG_CPUS_MAX], began = clock_ns();
	unsigned n = delays(pid, before);
	_autoclose int fd = vmsock_open(r, NULL);
	bool on = fd >= 0 && look(fd, looks, 0);
	const json_t *first = json_array_get(looks, 0);

	json_object_set_new(facts, "looks", looks);
	for (unsigned i = 1; on && i < LOOKS; i++)
		on = look(fd, looks, WHY_SPAN_MS / (LOOKS - 1));
	/* A moment's wait for the host is nothing, and what comes up may stay within one loop for longer. */
	if (on && (why_number(first, "uptime_ms") < WHY_YOUNG_MS ||
		   delay_permille(pid, n, before, began) >= WHY_DELAY_PERMILLE))
		for (unsigned i = 0; on && i < LOOKS_MORE; i++)
			on = look(fd, looks, WHY_SPAN_MORE_MS / LOOKS_MORE);
	if (!on)
		return;
	json_object_set_new(facts, "span_ms", json_u64((clock_ns() - began) / CLOCK_NS_PER_MS));
	if (process)
		json_object_set_new(process, "delay_permille",
				    json_integer(delay_permille(pid, n, before, began)));
}

/* ---- its control group ---- */

/* How often the kernel has stopped it because its CPU time was used up (cgroup-v2.rst, cpu.stat; the same name in version 1); -1: not known. */
static json_int_t throttled(const struct rundir *r)
{
	static const char key[] = "nr_throttled ";
	_autojson json_t *j = rundir_read(r, RUNDIR_FOLDERS_FILE);
	char path[PATH_MAX], text[1024], *at;
	json_t *folder;
	size_t i;

	json_array_foreach(json_object_get(j, RUNDIR_FOLDERS), i, folder)
	{
		const char *name = json_string_value(folder);

		if (name &&
		    (size_t)snprintf(path, sizeof(path), "%s/cpu.stat", name) < sizeof(path) &&
		    procfile_read(path, text, sizeof(text)) && (at = strstr(text, key)))
			return strtoll(at + strlen(key), NULL, 10);
	}
	return -1;
}

/* ---- its console ---- */

/* What the guest said last: since it began to boot, if that is still there. Control characters but line ends go. */
static void add_console(const struct rundir *r, json_t *facts)
{
	static const char boot[] = "Linux version ";
	_autoclose int fd = openat(r->dir, "console.log", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	char text[CONSOLE_BYTES + 1], *begin = text, *found;
	struct stat st;
	size_t n;

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return;
	n = (size_t)MIN(st.st_size, (off_t)CONSOLE_BYTES);
	if (fdio_read(fd, text, n, (uint64_t)st.st_size - n) < 0)
		return;
	for (size_t i = 0; i < n; i++)
		if ((uint8_t)text[i] < ' ' && text[i] != '\n' && text[i] != '\r')
			text[i] = ' ';
		else if ((uint8_t)text[i] >= 0x7f)
			text[i] = '?';
	text[n] = '\0';
	while ((found = strstr(begin, boot)))
		begin = found + strlen(boot);
	json_object_set_new(facts, "console", json_string(begin));
}

/* ---- the guest's agent ---- */

/* Is it one by which others may reach the guest? */
static bool is_reachable(const char *ip)
{
	return *ip && strncmp(ip, "127.", 4) != 0 && strcmp(ip, "::1") != 0 &&
	       strncmp(ip, "fe80:", 5) != 0;
}

static void add_agent(const struct rundir *r, json_t *facts)
{
	uint64_t deadline = clock_ns() + AGENT_NS;
	json_t *j, *list = json_array(), *card, *address;
	_autojson json_t *cards = NULL;
	struct agent a;
	size_t i, k;
	int got;

	agent_init(&a);
	got = guest_connect(r->name, deadline, &a, NULL);
	if (got == 0)
		got = agent_call(&a, "guest-network-get-interfaces", NULL, deadline, &cards, NULL);
	agent_fini(&a);
	json_array_foreach(cards, i, card)
	{
		json_array_foreach(json_object_get(card, "ip-addresses"), k, address)
		{
			const char *ip = why_text(address, "ip-address");

			if (is_reachable(ip))
				(void)json_array_append_new(list, json_string(ip));
		}
	}
	/* One that answers in the negative answers. */
	j = json_pack("{s:b, s:o}", "answers", got == 0 || got == -EREMOTEIO, "addresses", list);
	if (got != -EREMOTEIO)
		json_object_set(facts, "agent", j);
	json_decref(j);
}

/* ---- lodged ---- */

static void add_lodged(const char *name, json_t *facts)
{
	_autojson json_t *all = NULL;
	json_t *def = NULL, *op;
	char path[96];
	size_t i;

	snprintf(path, sizeof(path), "/1.0/vms/%.64s", name);
	if (daemon_call("GET", path, NULL, &def, NULL) != 200) {
		json_decref(def);
		return;
	}
	json_object_set_new(facts, "lodged", def);
	if (daemon_call("GET", "/1.0/operations", NULL, &all, NULL) != 200)
		return;
	json_array_foreach(json_object_get(all, "operations"), i, op)
	{
		if (strcmp(why_text(op, "vm"), name) != 0)
			continue;
		if (!strcmp(why_text(op, "state"), "failed"))
			json_object_set(facts, "failed", op);
		return; /* the last one counts */
	}
}

/* ---- the command ---- */

static int print_sentence(const char *sentence, struct err *e)
{
	show_text(sentence, true, stdout);
	return putchar('\n') < 0 ? err_set(e, EIO, "cannot write the answer") : 0;
}

static int answer(json_t *facts, const struct vm_options *o, struct err *e)
{
	_autojson json_t *findings = why_judge(facts), *j = NULL;
	_autofree char *sentence = findings ? why_sentence(facts, findings) : NULL;
	const json_t *vm = json_object_get(facts, "vm");

	if (!sentence)
		return err_set(e, ENOMEM, "out of memory");
	if (o->format == SHOW_TABLE && !o->frames)
		return print_sentence(sentence, e);
	j = json_pack("{s:s, s:s, s:s, s:O}", "name", why_text(vm, "name"), "state",
		      why_text(vm, "state"), "sentence", sentence, "findings", findings);
	if (!j)
		return err_set(e, ENOMEM, "out of memory");
	if (o->frames)
		return guestio_result(j);
	return show_object(j, (enum show_format)o->format, stdout) < 0 ?
		       err_set(e, EIO, "cannot write the answer") :
		       0;
}

static int why_vm(struct rundir *r, const struct vm_options *o, struct err *e)
{
	_autojson json_t *facts = json_pack("{s:o}", "vm", vm_describe(r));
	json_t *vm = json_object_get(facts, "vm"), *p;
	json_int_t before;

	if (!vm)
		return err_set(e, ENOMEM, "out of memory");
	add_lodged(r->name, facts);
	add_console(r, facts);
	if (rundir_alive(r)) {
		p = process_facts(why_number(vm, "vm"));
		if (p)
			json_object_set_new(facts, "process", p);
		p = process_facts(why_number(vm, "keeper"));
		if (p)
			json_object_set_new(facts, "keeper", p);
		before = throttled(r);
		add_looks(r, facts, why_number(vm, "vm"));
		if (before >= 0)
			json_object_set_new(facts, "throttled", json_integer(throttled(r) - before));
		p = json_array_get(json_object_get(facts, "looks"), 0);
		if (!strcmp(why_text(p, "state"), "running") &&
		    !strcmp(why_text(p, "agent"), "open"))
			add_agent(r, facts);
	}
	return answer(facts, o, e);
}

static int why_one(struct rundir *r, const struct vm_options *o, int *status, struct err *e)
{
	(void)status;
	return why_vm(r, o, e);
}

static int why_managed(const char *name, const struct vm_options *o, struct err *e)
{
	_autojson json_t *facts = NULL;
	struct rundir r;
	int got;

	got = rundir_open(&r, name, NULL);
	if (got == 0)
		got = why_vm(&r, o, e);
	rundir_close(&r);
	if (got != -ESRCH)
		return got;
	facts = json_pack("{s:{s:s, s:s}}", "vm", "name", name, "state", "defined");
	add_lodged(name, facts);
	return answer(facts, o, e);
}

static int why_remote(const char *name, const struct vm_options *o, int *status, struct err *e)
{
	_autojson json_t *j = NULL;
	char path[96];
	int r;

	(void)status;
	snprintf(path, sizeof(path), "/1.0/vms/%.64s/why", name);
	r = daemon_call("GET", path, NULL, &j, e);
	if (r != 200)
		return daemon_refused(r, e);
	if (o->format == SHOW_TABLE)
		return print_sentence(why_text(j, "sentence"), e);
	return show_object(j, (enum show_format)o->format, stdout) < 0 ?
		       err_set(e, EIO, "cannot write the answer") :
		       0;
}

int cli_why(int argc, char **argv)
{
	static const struct vm_verb verb = {table,   ARRAY_SIZE(table), cli_why,   true,
					    why_one, why_managed,	why_remote};
	struct vm_options o = {0};

	return vm_each(&verb, &o, argc, argv);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * runopt.c - the options of `lodge run`, and what can be checked without looking at the host.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "keeper/run.h"
#include "keeper/image.h"
#include "sandbox/cgroup.h"

static const char *const engine_words[] = {"auto", "kvm", "soft", NULL};

static const char *const unpack_words[] = {"auto", "host", "guest", NULL};

static const char *const on_off[] = {"off", "on", NULL};
static const char *const ring_words[] = {"packed", "split", NULL};

#define AT(field) offsetof(struct run_options, field)

static const struct opt_def run_options[] = {
	{"kernel", 0, OPT_TEXT, AT(kernel), "FILE",
	 "Linux kernel: bzImage or vmlinux (from the first disk)", 0, 0, NULL},
	{"restore", 0, OPT_TEXT, AT(restore), "FILE",
	 "go on with a machine that was saved, instead", 0, 0, NULL},
	{"initrd", 0, OPT_TEXT, AT(initrd), "FILE", "initial RAM disk", 0, 0, NULL},
	{"kernel-unpack", 0, OPT_CHOICE, AT(kernel_unpack), "WORD",
	 "who unpacks a compressed kernel: host, guest, or auto: the guest with KVM (auto)", 0, 0,
	 unpack_words},
	{"acpi", 0, OPT_CHOICE, AT(acpi), "WORD",
	 "ACPI tables with the PC's fixed hardware: full, without: reduced, or auto: full where the guest needs it (auto)",
	 0, 0, config_acpi_names},
	{"cmdline", 0, OPT_TEXT, AT(cmdline), "TEXT",
	 "kernel command line (console=ttyS0 or hvc0, or what the disk says)", 0, 0, NULL},
	{"cpus", 'c', OPT_UINT, AT(cpus), "N", "virtual CPUs (1)", 1, CONFIG_CPUS_MAX, NULL},
	{"cpu-weight", 0, OPT_UINT, AT(cpu_weight), "N",
	 "share of the host's CPUs when they are wanted by others, who have 100", 1,
	 CGROUP_WEIGHT_MAX, NULL},
	{"cpu-quota", 0, OPT_UINT, AT(cpu_quota), "PERCENT",
	 "of one host CPU, for the whole VM, at most: 150 is one and a half", 1, 100000, NULL},
	{"cpu-model", 0, OPT_CHOICE, AT(cpu_model), "WORD",
	 "host, x86-64, x86-64-v2 or x86-64-v3: the same on every host (host)", 0, 0,
	 config_cpu_model_names},
	{"memory", 'm', OPT_SIZE, AT(memory), "SIZE", "memory, for example 512M or 4G (512M)",
	 CONFIG_MEMORY_MIN, CONFIG_MEMORY_MAX, NULL},
	{"huge-pages", 0, OPT_CHOICE, AT(memory_huge), "SIZE",
	 "memory of huge pages that the host has reserved, for KVM: 2M or 1G (no)", 0, 0,
	 config_huge_names},
	{"engine", 0, OPT_CHOICE, AT(engine), "WORD", "auto, kvm or soft (auto)", 0, 0,
	 engine_words},
	{"no-probe", 0, OPT_FLAG, AT(no_probe), "",
	 "with --engine kvm: do not try out first whether KVM here runs guests", 0, 0, NULL},
	{"kvm-pit", 0, OPT_CHOICE, AT(kvm_pit), "WORD",
	 "KVM: whose interval timer the guest has: auto, board or kernel (auto)", 0, 0,
	 config_kvm_pit_names},
	{"soft-mode", 0, OPT_CHOICE, AT(soft_mode), "WORD",
	 "software engine: translate, reference, lockstep or chaos", 0, 0, config_soft_mode_names},
	{"soft-cache", 0, OPT_SIZE, AT(soft_cache), "SIZE",
	 "software engine: translated code, at most (64M)", CONFIG_SOFT_CACHE_MIN,
	 CONFIG_SOFT_CACHE_MAX, NULL},
	{"soft-trace", 0, OPT_TEXT, AT(soft_trace), "ADDRESS",
	 "software engine: print the translation of the guest code at ADDRESS", 0, 0, NULL},
	{"perf-map", 0, OPT_FLAG, AT(perf_map), "",
	 "software engine: write /tmp/perf-PID.map for `perf`", 0, 0, NULL},
	{"name", 0, OPT_TEXT, AT(name), "NAME", "name of the VM (one is made up)", 0, 0, NULL},
	{"console", 0, OPT_TEXT, AT(console), "WHERE", "stdio, none, file:PATH or pty (stdio)", 0,
	 0, NULL},
	{"console-device", 0, OPT_CHOICE, AT(console_device), "WORD",
	 "what the console is in the guest: serial (ttyS0) or virtio (hvc0) (serial)", 0, 0,
	 config_console_device_names},
	{"control", 0, OPT_TEXT, AT(control), "PATH",
	 "make a socket for `lodge ctl`, exec, cp and guest", 0, 0, NULL},
	{"disk", 0, OPT_LIST, AT(disk), "FILE,...", "a disk; may be repeated", 0, 0, NULL},
	{"ssh-key", 0, OPT_TEXT, AT(seed.ssh_key), "FILE",
	 "first start: who has one of these public keys may log in as root, or as USER", 0, 0, NULL},
	{"user", 0, OPT_TEXT, AT(seed.user), "NAME", "first start: make this user, with sudo", 0, 0,
	 NULL},
	{"hostname", 0, OPT_TEXT, AT(seed.hostname), "NAME",
	 "first start: the guest's host name (with one of these three: the VM's name)", 0, 0, NULL},
	{"cloud-init", 0, OPT_TEXT, AT(seed.cloud_init), "FILE",
	 "first start: user-data for cloud-init or Lodge's images", 0, 0, NULL},
	{"share", 0, OPT_LIST, AT(share), "FOLDER,...",
	 "a folder of this host for the guest (virtiofs); may be repeated", 0, 0, NULL},
	{"rng", 0, OPT_CHOICE, AT(rng), "WORD", "entropy device: on or off (on)", 0, 0, on_off},
	{"net", 0, OPT_LIST, AT(net), "KIND,...",
	 "network card: user, tap, socket or none (none); may be repeated", 0, 0, NULL},
	{"publish", 'p', OPT_LIST, AT(publish), "PORT:GUESTPORT",
	 "forward a port of the host: [HOST:]PORT:GUESTPORT[/udp]; may be repeated", 0, 0, NULL},
	{"balloon", 0, OPT_CHOICE, AT(balloon), "WORD",
	 "memory balloon, gives free memory back to the host: on or off (on)", 0, 0, on_off},
	{"rings", 0, OPT_CHOICE, AT(rings), "WORD",
	 "virtqueues: packed where the guest knows them, or split only (packed)", 0, 0, ring_words},
	{"agent", 0, OPT_TEXT, AT(agent), "WHERE",
	 "port for a guest agent: off, or make a socket to it: on, or its PATH (only the port)", 0,
	 0, NULL},
	{"vsock", 0, OPT_TEXT, AT(vsock), "PATH",
	 "sockets to and from the guest: PATH for its ports, PATH_PORT for the host's", 0, 0, NULL},
	{"vsock-cid", 0, OPT_UINT, AT(vsock_cid), "N", "the guest's vsock address (3)",
	 CONFIG_VSOCK_CID_MIN, CONFIG_VSOCK_CID_MAX, NULL},
	{"detach", 'd', OPT_FLAG, AT(detach), "",
	 "print the name when the VM runs, and leave it to itself", 0, 0, NULL},
	{"rm", 0, OPT_FLAG, AT(remove), "", "with --detach: leave nothing behind when it has ended",
	 0, 0, NULL},
	{"sandbox", 0, OPT_CHOICE, AT(sandbox), "WORD",
	 "lock the VM process in: on, strict, trace or off (on); see docs/security.md", 0, 0,
	 config_sandbox_names},
	{"timeout", 0, OPT_UINT, AT(timeout_s), "SECONDS",
	 "end the VM after this time, exit status 124", 1, UINT32_MAX, NULL},
	{"no-reboot", 0, OPT_FLAG, AT(no_reboot), "", "end the VM when the guest resets", 0, 0,
	 NULL},
	{"on-crash", 0, OPT_CHOICE, AT(on_crash), "WORD",
	 "triple fault or kernel panic: stop the VM, or reset it (stop)", 0, 0,
	 config_on_crash_names},
	{"debug-exit", 0, OPT_FLAG, AT(debug_exit), "", "test device: port 0xf4 ends the VM", 0, 0,
	 NULL},
	{"quiet", 'q', OPT_FLAG, AT(quiet), "", "only errors and what the guest says", 0, 0, NULL},
	{"json-errors", 0, OPT_FLAG, AT(json_errors), "", "errors as JSON objects", 0, 0, NULL},
	{"help", 'h', OPT_FLAG, AT(help), "", "this help", 0, 0, NULL},
};

const struct opt_def *runopt_table(unsigned *n)
{
	*n = ARRAY_SIZE(run_options);
	return run_options;
}

void runopt_print_help(FILE *f)
{
	opt_print_help(run_options, ARRAY_SIZE(run_options), f);
	rundisk_print_help(f);
	runnet_print_help(f);
	runshare_print_help(f);
}

static int runopt_console(const char *word, struct vm_config *c, const char **path, struct err *e)
{
	static const char *const words[] = {"stdio", "none", "file", "pty", NULL};
	const char *near;
	char shown[64];

	*path = NULL;
	if (!strncmp(word, "file:", 5)) {
		c->console = CONFIG_CONSOLE_FILE;
		*path = word + 5;
		if (**path)
			return 0;
		err_set(e, EINVAL, "--console file: needs a path: --console file:PATH");
		return err_field(e, "--console", word);
	}
	for (unsigned i = 0; config_console_names[i]; i++) {
		if (i != CONFIG_CONSOLE_FILE && !strcmp(word, config_console_names[i])) {
			c->console = (enum config_console)i;
			return 0;
		}
	}
	near = opt_suggest(word, words);
	err_set(e, EINVAL, "--console \"%s\" is not known: it must be stdio, none, file:PATH or pty",
		err_quote(shown, sizeof(shown), word));
	err_limit(e, "stdio, none, file:PATH, pty");
	if (near)
		err_hint(e, "use %s%s", near, !strcmp(near, "file") ? ":PATH" : "");
	return err_field(e, "--console", word);
}

static int runopt_cmdline(const char *text, struct vm_config *c, struct err *e)
{
	size_t len = strlen(text);

	if (len > CONFIG_CMDLINE_MAX) {
		err_set(e, EINVAL, "--cmdline is too long: %zu bytes, at most %u are possible", len,
			CONFIG_CMDLINE_MAX);
		err_limit(e, "%u bytes", CONFIG_CMDLINE_MAX);
		err_hint(e, "shorten it");
		return err_field(e, "--cmdline", text);
	}
	if (strchr(text, '\n')) {
		err_set(e, EINVAL, "--cmdline has a line break in it: write it as one line");
		return err_field(e, "--cmdline", text);
	}
	memcpy(c->cmdline, text, len + 1);
	return 0;
}

/* The last part of a path, shortened, for messages. */
static void runopt_display(char *dst, size_t size, const char *path)
{
	const char *slash = strrchr(path, '/');

	err_quote(dst, size, slash && slash[1] ? slash + 1 : path);
}

static int runopt_file(const char *path, const char *option, struct err *e)
{
	if (*path)
		return 0;
	err_set(e, EINVAL, "%s is empty: give the path of a file", option);
	return err_field(e, option, path);
}

/* An image is a first disk that is thrown away, and a network if nothing is said about that. */
static int runopt_image(struct run_options *o, struct err *e)
{
	char path[PATH_MAX], *to = o->image_disk;
	int r = image_path(o->image, path, e);

	if (r)
		return r;
	if (o->disk.n == OPT_LIST_MAX)
		return err_set(e, E2BIG, "an image and %u disks are too many", o->disk.n);
	for (const char *p = path; *p; p++) {
		*to++ = *p;
		if (*p == ',')
			*to++ = ','; /* opt_parse_keys() */
	}
	strcpy(to, ",snapshot=on");
	memmove(&o->disk.word[1], &o->disk.word[0], o->disk.n++ * sizeof(o->disk.word[0]));
	o->disk.word[0] = o->image_disk;
	if (!o->net.n)
		o->net.word[o->net.n++] = "user";
	return 0;
}

static bool runopt_given(const struct opt_result *res, const char *name)
{
	return opt_given(run_options, ARRAY_SIZE(run_options), res, name);
}

/* With --restore the machine is as it was saved: only what is the host's can be chosen. */
static int runopt_restore(struct run_options *o, const struct opt_result *res, struct err *e)
{
	static const char *const allowed[] = {
		"detach",      "rm",	    "agent",	  "vsock",	"restore",    "engine",
		"no-probe",    "soft-mode", "soft-cache", "soft-trace", "perf-map",   "name",
		"console",     "control",   "timeout",	  "no-reboot",	"on-crash",   "quiet",
		"json-errors", "help",	    "disk",	  "net",	"publish",    "sandbox",
		"ssh-key",     "user",	    "hostname",	  "cloud-init", "huge-pages", "cpu-weight",
		"cpu-quota",   "kvm-pit",
	};

	for (unsigned i = 0; i < ARRAY_SIZE(run_options); i++) {
		const char *name = run_options[i].name;
		unsigned k = 0;
		char option[40];

		while (k < ARRAY_SIZE(allowed) && strcmp(allowed[k], name))
			k++;
		if (k < ARRAY_SIZE(allowed) || !runopt_given(res, name))
			continue;
		snprintf(option, sizeof(option), "--%s", name);
		err_set(e, EINVAL,
			"%s cannot be used with --restore: the machine is as it was when it was saved",
			option);
		err_hint(e, "leave out %s", option);
		return err_field(e, option, NULL);
	}
	o->given.engine = runopt_given(res, "engine");
	o->given.name = runopt_given(res, "name");
	o->given.no_reboot = runopt_given(res, "no-reboot");
	o->given.on_crash = runopt_given(res, "on-crash");
	o->given.soft_mode = runopt_given(res, "soft-mode");
	o->given.kvm_pit = runopt_given(res, "kvm-pit");
	o->given.soft_cache = runopt_given(res, "soft-cache");
	return *o->restore ? 0 : err_set(e, EINVAL, "--restore is empty: give the path of a file");
}

int runopt_parse(int argc, char **argv, struct run_options *o, struct vm_config *c,
		 const char **console_path, struct err *e)
{
	static const char *const soft_only[] = {"--soft-mode", "--soft-cache", "--soft-trace",
						"--perf-map"};
	struct opt_result res = {0};
	char shown[64];
	int r;

	config_init(c);
	*o = (struct run_options){.console = "stdio",
				  .cpus = c->cpus,
				  .memory = c->memory_bytes,
				  .soft_cache = c->soft_cache_bytes,
				  .vsock_cid = CONFIG_VSOCK_CID_MIN,
				  .seed = {.fd = -1},
				  .rng = c->rng,
				  .balloon = c->balloon};
	r = opt_parse(run_options, ARRAY_SIZE(run_options), argc, argv, o, &res, e);
	if (r || o->help)
		return r;
	if (res.n_args > 1) {
		err_set(e, EINVAL, "`lodge run` takes one image: what is \"%s\"?",
			err_quote(shown, sizeof(shown), res.arg[1]));
		return err_field(e, NULL, NULL);
	}
	o->image = res.n_args ? res.arg[0] : NULL;
	if (o->restore && o->image)
		return err_set(e, EINVAL, "--restore takes no image: what is \"%s\"?",
			       err_quote(shown, sizeof(shown), o->image));
	if (o->restore && runopt_restore(o, &res, e) < 0)
		return -EINVAL;
	if (o->image && o->kernel) {
		err_set(e, EINVAL,
			"an image has its own kernel: leave out either \"%s\" or --kernel",
			err_quote(shown, sizeof(shown), o->image));
		err_hint(e, "use --disk FILE for a disk beside a kernel");
		return err_field(e, "--kernel", o->kernel);
	}
	if (!o->kernel && !o->image && !o->disk.n && !o->restore) {
		err_set(e, EINVAL,
			"there is nothing to boot: give an image (debian:12), a disk by --disk FILE, or a kernel by --kernel FILE");
		err_hint(e, "lodge run debian:12");
		return err_field(e, "--kernel", NULL);
	}
	if (o->name)
		r = config_check_name(o->name, e);
	if (!r && o->kernel)
		r = runopt_file(o->kernel, "--kernel", e);
	if (!r && o->initrd)
		r = runopt_file(o->initrd, "--initrd", e);
	if (!r)
		r = runopt_console(o->console, c, console_path, e);
	if (!o->cmdline && o->console_device == CONFIG_CONSOLE_VIRTIO)
		o->cmdline = "console=hvc0";
	if (!o->cmdline)
		o->cmdline = o->kernel ? "console=ttyS0" : ""; /* "": the disk's own */
	if (!r)
		r = runopt_cmdline(o->cmdline, c, e);
	if (r)
		return r;
	for (unsigned i = 0; o->engine == RUN_ENGINE_KVM && i < ARRAY_SIZE(soft_only); i++) {
		if (!opt_given(run_options, ARRAY_SIZE(run_options), &res, soft_only[i] + 2))
			continue;
		err_set(e, EINVAL,
			"%s is for the software engine: leave it out, or use --engine soft",
			soft_only[i]);
		return err_field(e, soft_only[i], NULL);
	}
	if (o->soft_trace &&
	    config_parse_address("--soft-trace", o->soft_trace, &c->soft_trace_address, e))
		return err_field(e, "--soft-trace", o->soft_trace);
	c->soft_trace = o->soft_trace;
	c->soft_perf_map = o->perf_map;
	if (o->name)
		strcpy(c->name, o->name);
	c->cpus = (unsigned)o->cpus;
	c->cpu_model = (enum config_cpu_model)o->cpu_model;
	c->memory_bytes = o->memory;
	c->memory_huge = (enum config_huge)o->memory_huge;
	c->soft_mode = (enum config_soft_mode)o->soft_mode;
	c->kvm_pit = (enum config_kvm_pit)o->kvm_pit;
	c->acpi = (enum config_acpi)o->acpi;
	c->soft_cache_bytes = o->soft_cache;
	c->console_device = (enum config_console_device)o->console_device;
	c->agent = !o->agent || strcmp(o->agent, "off") != 0;
	if (!c->agent)
		o->agent = NULL;
	c->vsock_cid = o->vsock ? (uint32_t)o->vsock_cid : 0;
	c->rng = o->rng;
	c->balloon = o->balloon;
	c->split_rings = o->rings;
	c->debug_exit = o->debug_exit;
	c->no_reboot = o->no_reboot;
	c->on_crash = (enum config_on_crash)o->on_crash;
	c->sandbox = (enum config_sandbox)o->sandbox;
	r = o->image ? runopt_image(o, e) : 0;
	if (!r)
		r = runseed_parse(&o->seed, &o->disk, o->restore, e);
	if (r || o->restore)
		return r; /* with it the rest comes from the file */
	if (o->kernel)
		runopt_display(c->kernel_name, sizeof(c->kernel_name), o->kernel);
	if (o->initrd)
		runopt_display(c->initrd_name, sizeof(c->initrd_name), o->initrd);
	r = rundisk_parse(&o->disk, c, &o->disks, e);
	if (!r)
		r = runnet_parse(&o->net, &o->publish, c, &o->nets, e);
	if (!r)
		r = runshare_parse(&o->share, c, &o->shares, e);
	return r ? r : config_check(c, e);
}

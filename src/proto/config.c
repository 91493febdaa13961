/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config.c - the resolved configuration: names, defaults, JSON both ways, checks.
 */
#include "proto/config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "util/opt.h"

const char *const config_engine_names[] = {"soft", "kvm", NULL};
const char *const config_soft_mode_names[] = {"translate", "reference", "lockstep", "chaos", NULL};
const char *const config_kvm_pit_names[] = {"auto", "board", "kernel", NULL};
const char *const config_acpi_names[] = {"auto", "full", "reduced", NULL};
const char *const config_cpu_model_names[] = {"host", "x86-64", "x86-64-v2", "x86-64-v3", NULL};
static const char *const rings_names[] = {"split", NULL}; /* packed is what is not said */
const char *const config_huge_names[] = {"no", "2M", "1G", NULL};
const char *const config_console_names[] = {"none", "stdio", "file", "pty", NULL};
const char *const config_console_device_names[] = {"serial", "virtio", NULL};
const char *const config_fd_names[] = {"kernel",
				       "initrd",
				       "console-in",
				       "console-out",
				       "perf-map",
				       "kvm",
				       "agent-listen",
				       "vsock-listen",
				       "vsock-opener",
				       "state",
				       "control-listen",
				       "control-extra",
				       "disk.0",
				       "disk.1",
				       "disk.2",
				       "disk.3",
				       "disk.4",
				       "disk.5",
				       "disk.6",
				       "disk.7",
				       "overlay.0",
				       "overlay.1",
				       "overlay.2",
				       "overlay.3",
				       "overlay.4",
				       "overlay.5",
				       "overlay.6",
				       "overlay.7",
				       "net.0",
				       "net.1",
				       "net.2",
				       "net.3",
				       "net.4",
				       "net.5",
				       "net.6",
				       "net.7",
				       "share.0",
				       "share.1",
				       "share.2",
				       "share.3",
				       NULL};
_Static_assert(ARRAY_SIZE(config_engine_names) == CONFIG_ENGINES + 1, "a name for each engine");
_Static_assert(ARRAY_SIZE(config_soft_mode_names) == CONFIG_SOFT_MODES + 1, "a name for each mode");
_Static_assert(ARRAY_SIZE(config_kvm_pit_names) == CONFIG_KVM_PITS + 1, "a name for each");
_Static_assert(ARRAY_SIZE(config_acpi_names) == CONFIG_ACPIS + 1, "a name for each");
_Static_assert(ARRAY_SIZE(config_cpu_model_names) == CONFIG_CPU_MODELS + 1, "a name for each model");
_Static_assert(ARRAY_SIZE(config_huge_names) == CONFIG_HUGES + 1, "a name for each size");
_Static_assert(ARRAY_SIZE(config_console_names) == CONFIG_CONSOLES + 1, "a name for each console");
_Static_assert(ARRAY_SIZE(config_console_device_names) == CONFIG_CONSOLE_DEVICES + 1,
	       "a name for each device");
const char *const config_unpack_names[] = {"host", "guest", NULL};
const char *const config_on_crash_names[] = {"stop", "reset", NULL};
const char *const config_sandbox_names[] = {"on", "strict", "trace", "off", NULL};
_Static_assert(ARRAY_SIZE(config_sandbox_names) == CONFIG_SANDBOXES + 1, "a name for each");
_Static_assert(ARRAY_SIZE(config_unpack_names) == CONFIG_UNPACKS + 1, "a name for each");
_Static_assert(ARRAY_SIZE(config_on_crash_names) == CONFIG_ON_CRASHES + 1, "a name for each");
_Static_assert(ARRAY_SIZE(config_fd_names) == CONFIG_FDS + 1, "a name for each fd");

#define CONFIG_PAGE 4096u

void config_init(struct vm_config *c)
{
	memset(c, 0, sizeof(*c));
	strcpy(c->name, "vm");
	c->cpus = 1;
	c->rng = true;
	c->balloon = true;
	c->memory_bytes = 512 * MIB;
	c->soft_cache_bytes = CONFIG_SOFT_CACHE_DEFAULT;
}

void config_fds_init(struct config_fds *f)
{
	for (unsigned i = 0; i < CONFIG_FDS; i++)
		f->fd[i] = -1;
}

void config_fds_close(struct config_fds *f)
{
	for (unsigned i = 0; i < CONFIG_FDS; i++)
		base_close_fd(&f->fd[i]);
}

json_t *config_to_json(const struct vm_config *c)
{
	json_t *j = json_object();
	int r = 0;

	r |= json_object_set_new(j, "name", json_string(c->name));
	r |= json_object_set_new(j, "engine", json_string(config_engine_names[c->engine]));
	r |= json_object_set_new(j, "soft.mode", json_string(config_soft_mode_names[c->soft_mode]));
	r |= json_object_set_new(j, "soft.cache", json_u64(c->soft_cache_bytes));
	r |= json_object_set_new(j, "soft.perf_map", json_boolean(c->soft_perf_map));
	if (c->soft_trace)
		r |= json_object_set_new(j, "soft.trace",
					 json_sprintf("%#llx",
						      (unsigned long long)c->soft_trace_address));
	r |= json_object_set_new(j, "kvm.pit", json_string(config_kvm_pit_names[c->kvm_pit]));
	r |= json_object_set_new(j, "cpus", json_integer(c->cpus));
	r |= json_object_set_new(j, "cpu.model", json_string(config_cpu_model_names[c->cpu_model]));
	r |= json_object_set_new(j, "memory", json_u64(c->memory_bytes));
	r |= json_object_set_new(j, "memory.huge", json_string(config_huge_names[c->memory_huge]));
	if (c->kernel_name[0])
		r |= json_object_set_new(j, "boot.kernel", json_string(c->kernel_name));
	if (c->initrd_name[0])
		r |= json_object_set_new(j, "boot.initrd", json_string(c->initrd_name));
	r |= json_object_set_new(j, "boot.cmdline", json_string(c->cmdline));
	r |= json_object_set_new(j, "boot.unpack", json_string(config_unpack_names[c->boot_unpack]));
	r |= json_object_set_new(j, "console", json_string(config_console_names[c->console]));
	r |= json_object_set_new(j, "console.device",
				 json_string(config_console_device_names[c->console_device]));
	r |= json_object_set_new(j, "rng", json_boolean(c->rng));
	if (c->n_disks)
		r |= json_object_set_new(j, "disk", config_disk_to_json(c));
	if (c->n_nets)
		r |= json_object_set_new(j, "net", config_net_to_json(c));
	if (c->n_shares)
		r |= json_object_set_new(j, "share", config_share_to_json(c));
	r |= json_object_set_new(j, "balloon", json_boolean(c->balloon));
	r |= json_object_set_new(j, "agent", json_boolean(c->agent));
	if (c->split_rings)
		r |= json_object_set_new(j, "rings", json_string(rings_names[0]));
	if (c->vsock_cid)
		r |= json_object_set_new(j, "vsock.cid", json_u64(c->vsock_cid));
	if (c->acpi != CONFIG_ACPI_AUTO)
		r |= json_object_set_new(j, "acpi", json_string(config_acpi_names[c->acpi]));
	if (!c->lpc)
		r |= json_object_set_new(j, "lpc", json_false());
	r |= json_object_set_new(j, "debug_exit", json_boolean(c->debug_exit));
	r |= json_object_set_new(j, "no_reboot", json_boolean(c->no_reboot));
	r |= json_object_set_new(j, "on_crash", json_string(config_on_crash_names[c->on_crash]));
	r |= json_object_set_new(j, "sandbox", json_string(config_sandbox_names[c->sandbox]));
	if (r) {
		json_decref(j);
		return NULL;
	}
	return j;
}

int config_from_json(const json_t *j, struct vm_config *c, struct err *e)
{
	static const char *const keys[] = {
		"name",	       "engine",      "soft.mode",    "soft.cache",  "soft.perf_map",
		"soft.trace",  "cpus",	      "cpu.model",    "memory",	     "memory.huge",
		"boot.kernel", "boot.initrd", "boot.cmdline", "console",     "console.device",
		"rng",	       "balloon",     "agent",	      "disk",	     "net",
		"vsock.cid",   "debug_exit",  "no_reboot",    "on_crash",    "sandbox",
		"share",       "kvm.pit",     "rings",	      "boot.unpack", "lpc",
		"acpi",	       NULL,
	};
	unsigned engine = 0, mode = 0, model = 0, huge = 0, console = 0, device = 0, on_crash = 0,
		 sandbox = 0, pit = 0, rings = 0, unpack = 0, acpi = 0;
	uint64_t cpus = 0, cid = 0;
	char trace[24] = "";

	config_init(c);
	c->lpc = true; /* where nothing is said */
	if (json_check_keys(j, keys, "the configuration", e) ||
	    json_get_text(j, "name", true, c->name, sizeof(c->name), e) < 0 ||
	    json_get_choice(j, "engine", true, config_engine_names, &engine, e) < 0 ||
	    json_get_choice(j, "soft.mode", true, config_soft_mode_names, &mode, e) < 0 ||
	    json_get_u64(j, "soft.cache", true, CONFIG_SOFT_CACHE_MIN, CONFIG_SOFT_CACHE_MAX,
			 &c->soft_cache_bytes, e) < 0 ||
	    json_get_bool(j, "soft.perf_map", true, &c->soft_perf_map, e) < 0 ||
	    json_get_text(j, "soft.trace", false, trace, sizeof(trace), e) < 0 ||
	    json_get_u64(j, "cpus", true, 1, CONFIG_CPUS_MAX, &cpus, e) < 0 ||
	    json_get_choice(j, "cpu.model", true, config_cpu_model_names, &model, e) < 0 ||
	    json_get_u64(j, "memory", true, CONFIG_MEMORY_MIN, CONFIG_MEMORY_MAX, &c->memory_bytes,
			 e) < 0 ||
	    json_get_choice(j, "memory.huge", true, config_huge_names, &huge, e) < 0 ||
	    json_get_text(j, "boot.kernel", false, c->kernel_name, sizeof(c->kernel_name), e) < 0 ||
	    json_get_text(j, "boot.initrd", false, c->initrd_name, sizeof(c->initrd_name), e) < 0 ||
	    json_get_text(j, "boot.cmdline", true, c->cmdline, sizeof(c->cmdline), e) < 0 ||
	    json_get_choice(j, "boot.unpack", false, config_unpack_names, &unpack, e) < 0 ||
	    json_get_choice(j, "console", true, config_console_names, &console, e) < 0 ||
	    json_get_choice(j, "console.device", true, config_console_device_names, &device, e) < 0 ||
	    json_get_bool(j, "rng", true, &c->rng, e) < 0 ||
	    config_disk_from_json(json_object_get(j, "disk"), c, e) < 0 ||
	    config_net_from_json(json_object_get(j, "net"), c, e) < 0 ||
	    config_share_from_json(json_object_get(j, "share"), c, e) < 0 ||
	    json_get_bool(j, "agent", true, &c->agent, e) < 0 ||
	    json_get_bool(j, "balloon", true, &c->balloon, e) < 0 ||
	    json_get_choice(j, "rings", false, rings_names, &rings, e) < 0 ||
	    json_get_u64(j, "vsock.cid", false, CONFIG_VSOCK_CID_MIN, CONFIG_VSOCK_CID_MAX, &cid,
			 e) < 0 ||
	    json_get_bool(j, "lpc", false, &c->lpc, e) < 0 ||
	    json_get_bool(j, "debug_exit", true, &c->debug_exit, e) < 0 ||
	    json_get_bool(j, "no_reboot", true, &c->no_reboot, e) < 0 ||
	    json_get_choice(j, "on_crash", true, config_on_crash_names, &on_crash, e) < 0 ||
	    json_get_choice(j, "sandbox", false, config_sandbox_names, &sandbox, e) < 0 ||
	    json_get_choice(j, "kvm.pit", false, config_kvm_pit_names, &pit, e) < 0 ||
	    json_get_choice(j, "acpi", false, config_acpi_names, &acpi, e) < 0)
		return -EINVAL;
	if (json_object_get(j, "boot.kernel") && !c->kernel_name[0]) {
		err_set(e, EINVAL, "the kernel's name is empty");
		return err_field(e, "boot.kernel", "");
	}
	c->split_rings = json_object_get(j, "rings");
	c->soft_trace = json_object_get(j, "soft.trace");
	if (c->soft_trace &&
	    config_parse_address("soft.trace", trace, &c->soft_trace_address, e) < 0)
		return err_field(e, "soft.trace", trace);
	c->engine = (enum config_engine)engine;
	c->soft_mode = (enum config_soft_mode)mode;
	c->kvm_pit = (enum config_kvm_pit)pit;
	c->acpi = (enum config_acpi)acpi;
	c->boot_unpack = (enum config_unpack)unpack;
	c->console = (enum config_console)console;
	c->console_device = (enum config_console_device)device;
	c->on_crash = (enum config_on_crash)on_crash;
	c->sandbox = (enum config_sandbox)sandbox;
	c->cpus = (unsigned)cpus;
	c->cpu_model = (enum config_cpu_model)model;
	c->memory_huge = (enum config_huge)huge;
	c->vsock_cid = (uint32_t)cid;
	return config_check(c, e);
}

/* Keys that the guest does not see. */
static bool config_host_key(const char *key)
{
	static const char *const keys[] = {"name",	"engine",   "memory.huge", "console",
					   "no_reboot", "on_crash", "sandbox",	   "boot.unpack"};

	for (unsigned i = 0; i < ARRAY_SIZE(keys); i++)
		if (!strcmp(key, keys[i]))
			return true;
	return !strncmp(key, "soft.", 5) || !strncmp(key, "kvm.", 4);
}

/* The value of a key without what the guest does not see of disks and network cards. A new reference, NULL: out of memory. */
static json_t *config_guest_part(const char *key, const json_t *value)
{
	static const char *const disk[] = {"file", "cache",	"full",	      "aio",	 "bps",
					   "iops", "bps_burst", "iops_burst", "changed", NULL};
	static const char *const net[] = {"kind",	 "bytes_per_s",	  "packets_per_s",
					  "bytes_burst", "packets_burst", "unplugged",
					  NULL};
	const char *const *keys = !strcmp(key, "disk") ? disk : !strcmp(key, "net") ? net : NULL;
	json_t *copy, *j;
	size_t i;

	if (!keys)
		return json_incref((json_t *)(uintptr_t)value);
	copy = json_deep_copy(value);
	json_array_foreach(copy, i, j)
	{
		for (unsigned k = 0; keys[k]; k++)
			(void)json_object_del(j, keys[k]);
	}
	return copy;
}

static int config_differs(const char *key, const json_t *saved, const json_t *now, struct err *e)
{
	_autofree char *was = json_dumps(saved, JSON_COMPACT | JSON_ENCODE_ANY);
	_autofree char *is = json_dumps(now, JSON_COMPACT | JSON_ENCODE_ANY);
	char shown[64], shown_was[64], shown_is[64];

	err_set(e, EINVAL,
		"the saved state is of a machine with another configuration: %s was %s and is %s",
		err_quote(shown, sizeof(shown), key),
		err_quote(shown_was, sizeof(shown_was), was ? was : "not there"),
		err_quote(shown_is, sizeof(shown_is), is ? is : "not there"));
	return err_field(e, key, is);
}

int config_same_machine(const json_t *saved, const json_t *now, struct err *e)
{
	const char *key;
	const json_t *value;

	json_object_foreach((json_t *)(uintptr_t)saved, key, value)
	{
		const json_t *other = json_object_get(now, key);
		_autojson json_t *was = config_guest_part(key, value);
		_autojson json_t *is = config_guest_part(key, other);

		if (!config_host_key(key) && !json_equal(was, is))
			return config_differs(key, was, is, e);
	}
	json_object_foreach((json_t *)(uintptr_t)now, key, value)
	{
		if (!config_host_key(key) && !json_object_get(saved, key))
			return config_differs(key, NULL, value, e);
	}
	return 0;
}

int config_parse_address(const char *what, const char *text, uint64_t *out, struct err *e)
{
	const char *p = text[0] == '0' && (text[1] == 'x' || text[1] == 'X') ? text + 2 : text;
	size_t n = strspn(p, "0123456789abcdefABCDEF");
	char shown[64];

	if (n && n <= 16 && !p[n]) {
		*out = strtoull(p, NULL, 16);
		return 0;
	}
	err_set(e, EINVAL, "%s \"%s\" is not an address: write up to 16 hexadecimal digits", what,
		err_quote(shown, sizeof(shown), text));
	return err_limit(e, "0..0xffffffffffffffff");
}

int config_check_name(const char *name, struct err *e)
{
	size_t len = strlen(name), bad;
	char shown[80];

	err_quote(shown, sizeof(shown), name);
	bad = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");
	if (!len)
		err_set(e, EINVAL, "a VM's name is empty: give it 1 to %u characters",
			CONFIG_NAME_MAX);
	else if (len > CONFIG_NAME_MAX)
		err_set(e, EINVAL,
			"the VM name \"%s\" is too long: %zu characters, at most %u are allowed",
			shown, len, CONFIG_NAME_MAX);
	else if (name[0] == '-' || name[0] == '.')
		err_set(e, EINVAL,
			"the VM name \"%s\" begins with \"%c\": begin with a letter or a digit",
			shown, name[0]);
	else if (name[bad])
		err_set(e, EINVAL,
			"the VM name \"%s\" has a character that is not allowed: use letters, digits, \".\", \"_\" and \"-\"",
			shown);
	else
		return 0;
	err_limit(e, "1..%u of a-z A-Z 0-9 . _ -", CONFIG_NAME_MAX);
	return err_field(e, "name", name);
}

uint64_t config_huge_bytes(enum config_huge h)
{
	static const uint64_t bytes[CONFIG_HUGES] = {0, 2 * MIB, GIB};

	return bytes[h];
}

static int config_check_memory(const struct vm_config *c, struct err *e)
{
	uint64_t bytes = c->memory_bytes, huge;
	char text[40];

	opt_format_size(bytes, text, sizeof(text));
	if (opt_check_size(bytes, text, CONFIG_MEMORY_MIN, CONFIG_MEMORY_MAX, e))
		return err_field(e, "memory", text);
	if (bytes % CONFIG_PAGE) {
		err_set(e, EINVAL, "the memory size %s is not a multiple of 4 KiB", text);
		return err_field(e, "memory", text);
	}
	huge = (unsigned)c->memory_huge < CONFIG_HUGES ? config_huge_bytes(c->memory_huge) : 0;
	if (huge && bytes % huge) {
		err_set(e, EINVAL, "the memory size %s is not a multiple of its huge pages' %s",
			text, config_huge_names[c->memory_huge]);
		return err_field(e, "memory", text);
	}
	return 0;
}

int config_check(const struct vm_config *c, struct err *e)
{
	int r = config_check_name(c->name, e);

	if (!r)
		r = config_check_memory(c, e);
	if (r)
		return r;
	if (c->cpus < 1 || c->cpus > CONFIG_CPUS_MAX) {
		err_set(e, EINVAL, "%u CPUs are not possible: 1 to %u are", c->cpus,
			CONFIG_CPUS_MAX);
		err_limit(e, "1..%u", CONFIG_CPUS_MAX);
		return err_field(e, "cpus", NULL);
	}
	if ((unsigned)c->engine >= CONFIG_ENGINES || (unsigned)c->soft_mode >= CONFIG_SOFT_MODES ||
	    (unsigned)c->kvm_pit >= CONFIG_KVM_PITS || (unsigned)c->cpu_model >= CONFIG_CPU_MODELS ||
	    (unsigned)c->memory_huge >= CONFIG_HUGES || (unsigned)c->acpi >= CONFIG_ACPIS ||
	    (unsigned)c->boot_unpack >= CONFIG_UNPACKS || (unsigned)c->console >= CONFIG_CONSOLES ||
	    (unsigned)c->console_device >= CONFIG_CONSOLE_DEVICES ||
	    (unsigned)c->on_crash >= CONFIG_ON_CRASHES || (unsigned)c->sandbox >= CONFIG_SANDBOXES)
		return err_set(e, EINVAL, "the configuration has a choice out of range");
	if (!c->kernel_name[0] && c->initrd_name[0]) {
		err_set(e, EINVAL, "there is an initrd without a kernel");
		return err_field(e, "boot.initrd", c->initrd_name);
	}
	if (!c->kernel_name[0] && !c->n_disks) {
		err_set(e, EINVAL, "there is no kernel to boot, and no disk to take one from");
		return err_field(e, "boot.kernel", NULL);
	}
	r = config_disk_check(c, e);
	if (!r)
		r = config_net_check(c, e);
	if (!r)
		r = config_share_check(c, e);
	if (r)
		return r;
	if (memchr(c->cmdline, '\n', strlen(c->cmdline))) {
		err_set(e, EINVAL, "the kernel command line has a line break in it");
		return err_field(e, "boot.cmdline", c->cmdline);
	}
	return 0;
}

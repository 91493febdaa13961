/* SPDX-License-Identifier: Apache-2.0 */
/* test_proto_config.c - the configuration as JSON: round trip, and everything that must be refused. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "proto/config.h"

static void example(struct vm_config *c)
{
	config_init(c);
	strcpy(c->name, "web-1");
	c->engine = CONFIG_ENGINE_KVM;
	c->soft_mode = CONFIG_SOFT_LOCKSTEP;
	c->soft_perf_map = true;
	c->kvm_pit = CONFIG_KVM_PIT_BOARD;
	c->acpi = CONFIG_ACPI_REDUCED;
	c->soft_trace = true;
	c->soft_trace_address = UINT64_C(0xffffffff81000000);
	c->cpus = 4;
	c->memory_bytes = 3 * GIB;
	strcpy(c->kernel_name, "vmlinuz");
	strcpy(c->initrd_name, "initrd.img");
	memset(c->cmdline, 'x', CONFIG_CMDLINE_MAX);
	c->console = CONFIG_CONSOLE_PTY;
	c->debug_exit = true;
	c->agent = true;
	c->split_rings = true;
	c->vsock_cid = 77;
	c->no_reboot = true;
	c->boot_unpack = CONFIG_UNPACK_GUEST;
}

static void test_roundtrip(void **state)
{
	struct vm_config a, b;
	struct err e = {0};
	json_t *j;

	(void)state;
	example(&a);
	j = config_to_json(&a);
	assert_non_null(j);
	memset(&b, 0xff, sizeof(b));
	assert_int_equal(config_from_json(j, &b, &e), 0);
	json_unref(&j);
	assert_string_equal(a.name, b.name);
	assert_string_equal(a.kernel_name, b.kernel_name);
	assert_string_equal(a.initrd_name, b.initrd_name);
	assert_string_equal(a.cmdline, b.cmdline);
	assert_int_equal(a.engine, b.engine);
	assert_int_equal(a.soft_mode, b.soft_mode);
	assert_int_equal(a.soft_cache_bytes, b.soft_cache_bytes);
	assert_true(b.soft_perf_map && b.soft_trace);
	assert_int_equal(a.kvm_pit, b.kvm_pit);
	assert_int_equal(b.acpi, CONFIG_ACPI_REDUCED);
	assert_true(a.soft_trace_address == b.soft_trace_address);
	assert_int_equal(a.cpus, b.cpus);
	assert_true(a.memory_bytes == b.memory_bytes);
	assert_int_equal(a.console, b.console);
	assert_true(b.debug_exit && b.no_reboot && b.agent && b.split_rings);
	assert_int_equal(b.vsock_cid, 77);
	assert_int_equal(b.boot_unpack, CONFIG_UNPACK_GUEST);
	assert_false(b.lpc);
	a.lpc = true;		   /* as in a configuration that does not know it */
	a.acpi = CONFIG_ACPI_AUTO; /* likewise */
	a.initrd_name[0] = '\0';
	a.debug_exit = a.soft_trace = a.split_rings = false;
	j = config_to_json(&a);
	assert_null(json_object_get(j, "lpc"));
	assert_null(json_object_get(j, "acpi"));
	assert_int_equal(json_object_del(j, "boot.unpack"), 0);
	assert_int_equal(config_from_json(j, &b, &e), 0);
	json_unref(&j);
	assert_true(b.lpc);
	assert_int_equal(b.acpi, CONFIG_ACPI_AUTO);
	assert_int_equal(b.boot_unpack, CONFIG_UNPACK_HOST);
	assert_string_equal(b.initrd_name, "");
	assert_false(b.debug_exit || b.soft_trace || b.split_rings);
}

static void test_disks(void **state)
{
	static const char *const keys[] = {"format", "id", "queues", "ro"};
	struct vm_config a, b;
	struct err e = {0};
	json_t *j;

	(void)state;
	example(&a);
	a.n_disks = 2;
	a.disk[0] = (struct config_disk){.id = "disk0",
					 .name = "a.raw",
					 .read_only = true,
					 .serial = "x",
					 .queues = 3,
					 .block = 4096,
					 .cache = CONFIG_DISK_NONE,
					 .full = CONFIG_DISK_REPORT,
					 .aio = CONFIG_DISK_THREADS,
					 .limits = {1, 2, 3, 4}};
	a.disk[1] = (struct config_disk){
		.id = "b", .name = "b.raw", .snapshot = true, .queues = 1, .block = 512};
	j = config_to_json(&a);
	assert_int_equal(config_from_json(j, &b, &e), 0);
	assert_int_equal(b.n_disks, 2);
	for (unsigned i = 0; i < 2; i++) {
		assert_string_equal(a.disk[i].id, b.disk[i].id);
		assert_string_equal(a.disk[i].name, b.disk[i].name);
		assert_string_equal(a.disk[i].serial, b.disk[i].serial);
		assert_int_equal(a.disk[i].read_only, b.disk[i].read_only);
		assert_int_equal(a.disk[i].snapshot, b.disk[i].snapshot);
		assert_int_equal(a.disk[i].cache, b.disk[i].cache);
		assert_int_equal(a.disk[i].full, b.disk[i].full);
		assert_int_equal(a.disk[i].aio, b.disk[i].aio);
		assert_int_equal(a.disk[i].queues, b.disk[i].queues);
		assert_int_equal(a.disk[i].block, b.disk[i].block);
		assert_memory_equal(&a.disk[i].limits, &b.disk[i].limits, sizeof(a.disk[i].limits));
	}
	/* A key that is missing, one at a time; then values that cannot be. */
	for (unsigned i = 0; i < ARRAY_SIZE(keys); i++) {
		json_t *k = json_deep_copy(j);

		json_object_del(json_array_get(json_object_get(k, "disk"), 1), keys[i]);
		assert_int_equal(config_from_json(k, &b, NULL), -EINVAL);
		json_unref(&k);
	}
	json_unref(&j);
	for (unsigned i = 0; i < 6; i++) {
		example(&b);
		b.n_disks = 2;
		b.disk[0] = a.disk[0];
		b.disk[1] = a.disk[1];
		switch (i) {
		case 0: strcpy(b.disk[1].id, "disk0"); break;
		case 1: b.disk[1].read_only = true; break;
		case 2: b.disk[1].queues = 17; break;
		case 3: b.disk[1].block = 1024; break;
		case 4: strcpy(b.disk[1].serial, "a b"); break;
		case 5: b.n_disks = CONFIG_DISKS_MAX + 1; break;
		}
		assert_true(config_check(&b, NULL) < 0);
	}
}

/* The example with one key changed to `value` (consumed), or removed when it is NULL. */
static void refused(const char *key, json_t *value)
{
	struct vm_config c;
	struct err e = {0};
	json_t *j;

	example(&c);
	j = config_to_json(&c);
	if (value)
		json_object_set_new(j, key, value);
	else
		json_object_del(j, key);
	assert_int_equal(config_from_json(j, &c, &e), -EINVAL);
	assert_string_equal(e.field, key);
	assert_true(e.msg[0]);
	json_unref(&j);
}

/* Possible if there is a disk to take one from, and never with an initrd. */
static void without_kernel(void)
{
	struct vm_config c;
	struct err e = {0};

	example(&c);
	c.kernel_name[0] = '\0';
	assert_int_equal(config_check(&c, &e), -EINVAL);
	assert_string_equal(e.field, "boot.initrd");
	c.initrd_name[0] = '\0';
	memset(&e, 0, sizeof(e));
	if (c.n_disks)
		assert_int_equal(config_check(&c, &e), 0);
	c.n_disks = 0;
	assert_int_equal(config_check(&c, &e), -EINVAL);
	assert_string_equal(e.field, "boot.kernel");
}

static void test_refused(void **state)
{
	static const char *const required[] = {"name",	       "engine",	"soft.mode",
					       "soft.cache",   "soft.perf_map", "cpus",
					       "cpu.model",    "memory.huge",	"memory",
					       "boot.cmdline", "console",	"debug_exit",
					       "no_reboot"};
	char text[CONFIG_CMDLINE_MAX + 2];

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(required); i++) {
		refused(required[i], NULL);
		refused(required[i], json_null());
		refused(required[i], json_array());
	}
	refused("boot.kernel", json_integer(1));
	refused("boot.kernel", json_array());
	without_kernel();
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	refused("boot.cmdline", json_string(text));
	refused("boot.cmdline", json_string("a\nb"));
	text[CONFIG_FILE_NAME_MAX + 1] = '\0';
	refused("boot.kernel", json_string(text));
	refused("boot.kernel", json_string(""));
	refused("cpus", json_integer(0));
	refused("cpus", json_integer(256));
	refused("cpus", json_integer(-1));
	refused("cpus", json_real(1.0));
	refused("cpu.model", json_string("pentium"));
	refused("cpu.model", json_integer(0));
	refused("memory.huge", json_string("4K"));
	refused("memory.huge", json_integer(2));
	refused("boot.unpack", json_string("auto"));
	refused("boot.unpack", json_integer(1));
	refused("lpc", json_integer(0));
	refused("acpi", json_string("some"));
	refused("memory", json_integer(0));
	refused("memory", json_integer(16 * (json_int_t)MIB + 1));
	refused("memory", json_integer(INT64_MAX));
	refused("memory", json_string("512M"));
	refused("engine", json_string("auto"));
	refused("engine", json_integer(0));
	refused("soft.mode", json_string(""));
	refused("soft.perf_map", json_string("yes"));
	refused("soft.trace", json_integer(4096));
	refused("soft.trace", json_string(""));
	refused("soft.trace", json_string("0x12345678901234567"));
	refused("soft.trace", json_string("-1"));
	refused("console", json_string("vga"));
	refused("debug_exit", json_integer(1));
	refused("boot.initrd", json_integer(1));
	refused("kernel", json_string("/etc/shadow")); /* unknown */
	refused("name", json_string("../x"));
}

static void test_names(void **state)
{
	static const char *const good[] = {"a", "vm", "Web-1.example_2", "0"};
	static const char *const bad[] = {"",	 ".",	 "..", "../x",	   "-x",  "a/b",
					  "a b", "a\nb", ".x", "\xc3\xa4", "a:b", "a\x1b"};
	char text[CONFIG_NAME_MAX + 2];
	struct err e;

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(good); i++)
		assert_int_equal(config_check_name(good[i], NULL), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		e = (struct err){0};
		assert_int_equal(config_check_name(bad[i], &e), -EINVAL);
		assert_string_equal(e.field, "name");
	}
	memset(text, 'x', sizeof(text) - 1);
	text[CONFIG_NAME_MAX] = '\0';
	assert_int_equal(config_check_name(text, NULL), 0);
	text[CONFIG_NAME_MAX] = 'x';
	text[CONFIG_NAME_MAX + 1] = '\0';
	assert_int_equal(config_check_name(text, NULL), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_roundtrip),
		cmocka_unit_test(test_disks),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

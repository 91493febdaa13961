/* SPDX-License-Identifier: Apache-2.0 */
/* test_keeper_runopt.c - from the words of `lodge run` to a configuration. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "keeper/run.h"

static struct run_options o;
static struct vm_config c;
static const char *console_path;
static struct err e;

/* Words are separated by '|'. */
static int parse(const char *line)
{
	static char text[8192];
	static char *argv[64];
	int argc = 0;

	assert_true(strlen(line) < sizeof(text));
	strcpy(text, line);
	for (char *p = text, *word; (word = strsep(&p, "|"));)
		argv[argc++] = word;
	e = (struct err){0};
	return runopt_parse(argc, argv, &o, &c, &console_path, &e);
}

static void test_defaults(void **state)
{
	(void)state;
	assert_int_equal(parse("--kernel|/boot/vmlinuz"), 0);
	assert_string_equal(c.name, "vm");
	assert_string_equal(c.kernel_name, "vmlinuz");
	assert_string_equal(c.initrd_name, "");
	assert_string_equal(c.cmdline, "console=ttyS0");
	assert_int_equal(c.cpus, 1);
	assert_true(c.memory_bytes == 512 * MIB);
	assert_int_equal(c.console, CONFIG_CONSOLE_STDIO);
	assert_int_equal(o.engine, RUN_ENGINE_AUTO);
	assert_int_equal(o.kernel_unpack, RUN_UNPACK_AUTO);
	assert_int_equal(c.soft_mode, CONFIG_SOFT_TRANSLATE);
	assert_int_equal(o.timeout_s, 0);
}

static void test_all(void **state)
{
	(void)state;
	assert_int_equal(
		parse("--kernel|k|--initrd|d/i|--cmdline|a b|-c4|--cpu-model|x86-64-v2|--huge-pages|1G|-m|2G|--engine|soft|--kernel-unpack|guest|"
		      "--soft-mode|lockstep|--kvm-pit|kernel|--acpi|full|--name|x1|--console|file:/tmp/log|--control|/tmp/s|"
		      "--soft-trace|0xffffffff81000010|--perf-map|--timeout|30|--no-reboot|--debug-exit|-q|--json-errors"),
		0);
	assert_string_equal(c.initrd_name, "i");
	assert_string_equal(c.cmdline, "a b");
	assert_int_equal(c.cpus, 4);
	assert_int_equal(c.cpu_model, CONFIG_CPU_V2);
	assert_int_equal(c.memory_huge, CONFIG_HUGE_1G);
	assert_int_equal(o.kernel_unpack, RUN_UNPACK_GUEST);
	assert_true(c.memory_bytes == 2 * GIB);
	assert_int_equal(o.engine, RUN_ENGINE_SOFT);
	assert_int_equal(c.soft_mode, CONFIG_SOFT_LOCKSTEP);
	assert_int_equal(c.kvm_pit, CONFIG_KVM_PIT_KERNEL);
	assert_int_equal(c.acpi, CONFIG_ACPI_FULL);
	assert_int_equal(c.console, CONFIG_CONSOLE_FILE);
	assert_string_equal(console_path, "/tmp/log");
	assert_int_equal(o.timeout_s, 30);
	assert_true(c.no_reboot && c.debug_exit && o.quiet);
	assert_true(c.soft_perf_map && c.soft_trace &&
		    c.soft_trace_address == UINT64_C(0xffffffff81000010));
	assert_int_equal(parse("--kernel|k|--soft-trace|7fFF|--rings|split"), 0);
	assert_true(c.split_rings);
	assert_true(c.soft_trace && c.soft_trace_address == 0x7fff && !c.soft_perf_map);
}

static void test_disks(void **state)
{
	(void)state;
	assert_int_equal(
		parse("--kernel|k|-c8|--disk|dir/a,,b.raw|--disk=cd.ISO|--disk|x.iso,ro=off,queues=2|"
		      "--disk|d,snapshot,cache=none,full=report,aio=threads,block=4096,serial=S1,id=root,"
		      "bps=10M,bps-burst=20M,iops=100,iops-burst=7,format=raw"),
		0);
	assert_int_equal(c.n_disks, 4);
	assert_string_equal(c.disk[0].name, "a,b.raw");
	assert_string_equal(o.disks.disk[0].path, "dir/a,b.raw");
	assert_string_equal(c.disk[0].id, "disk0");
	assert_string_equal(c.disk[0].serial, "disk0");
	assert_int_equal(c.disk[0].queues, 4);
	assert_int_equal(c.disk[0].block, 512);
	assert_false(c.disk[0].read_only || c.disk[0].snapshot);
	assert_true(c.disk[1].read_only && !c.disk[2].read_only);
	assert_int_equal(c.disk[2].queues, 2);
	assert_string_equal(c.disk[2].id, "disk2");
	assert_true(c.disk[3].snapshot && !c.disk[3].read_only);
	assert_int_equal(c.disk[3].cache, CONFIG_DISK_NONE);
	assert_int_equal(c.disk[3].full, CONFIG_DISK_REPORT);
	assert_int_equal(c.disk[3].aio, CONFIG_DISK_THREADS);
	assert_int_equal(c.disk[3].block, 4096);
	assert_string_equal(c.disk[3].id, "root");
	assert_string_equal(c.disk[3].serial, "S1");
	assert_true(c.disk[3].limits.bps == 10 * MIB && c.disk[3].limits.bps_burst == 20 * MIB);
	assert_true(c.disk[3].limits.iops == 100 && c.disk[3].limits.iops_burst == 7);
	assert_true(o.disks.disk[3].format_given && !o.disks.disk[0].format_given);
	rundisk_end(&o.disks);
	rundisk_end(&o.disks);
}

static void test_refused(void **state)
{
	static const struct {
		const char *line, *field;
	} cases[] = {
		{"-c1", "--kernel"},
		{"--kernel|", "--kernel"},
		{"--kernel|k|stray", "--kernel"},
		{"one:1|two:2", ""},
		{"One", "image"},
		{"one:1|--disk|", "--disk"},
		{"--kernel|k|--initrd|", "--initrd"},
		{"--kernel|k|-c|0", "--cpus"},
		{"--kernel|k|-c|256", "--cpus"},
		{"--kernel|k|--cpu-model|x86-64-v8", "--cpu-model"},
		{"--kernel|k|--cpu-model=", "--cpu-model"},
		{"--kernel|k|--huge-pages|4K", "--huge-pages"},
		{"--kernel|k|--kernel-unpack|us", "--kernel-unpack"},
		{"--restore|f|--kernel-unpack|host", "--kernel-unpack"},
		{"--kernel|k|--huge-pages|2M|-m|129M", "memory"},
		{"--kernel|k|-m|1M", "--memory"},
		{"--kernel|k|-m|16385K", "memory"}, /* not whole pages */
		{"--kernel|k|-m|2T", "--memory"},
		{"--kernel|k|--engine|tcg", "--engine"},
		{"--kernel|k|--engine|kvm|--soft-mode|lockstep", "--soft-mode"},
		{"--kernel|k|--soft-mode|fast", "--soft-mode"},
		{"--kernel|k|--soft-trace|", "--soft-trace"},
		{"--kernel|k|--soft-trace|0x", "--soft-trace"},
		{"--kernel|k|--soft-trace|0x1ffffffffffffffff", "--soft-trace"},
		{"--kernel|k|--soft-trace|start_kernel", "--soft-trace"},
		{"--kernel|k|--engine|kvm|--perf-map", "--perf-map"},
		{"--kernel|k|--engine|kvm|--soft-trace|1", "--soft-trace"},
		{"--kernel|k|--console|vga", "--console"},
		{"--kernel|k|--console|file", "--console"},
		{"--kernel|k|--console|file:", "--console"},
		{"--kernel|k|--name|../x", "name"},
		{"--kernel|k|--name|-x", "name"},
		{"--kernel|k|--name=", "name"},
		{"--kernel|k|--cmdline|a\nb", "--cmdline"},
		{"--kernel|k|--timeout|0", "--timeout"},
	};

	(void)state;
	/* Where names of images are looked for, also without HOME. */
	setenv("LODGE_IMAGES", "/nonexistent", 1);
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_not_equal(parse(cases[i].line), 0);
		assert_string_equal(e.field, cases[i].field);
		assert_true(e.msg[0]);
		assert_null(strchr(e.msg, '\n'));
		rundisk_end(&o.disks); /* what was parsed before the bad word */
		runnet_end(&o.nets);
	}
}

static void test_cmdline_limit(void **state)
{
	char line[CONFIG_CMDLINE_MAX + 64] = "--kernel|k|--cmdline|";
	size_t head = strlen(line);

	(void)state;
	memset(line + head, 'x', CONFIG_CMDLINE_MAX);
	assert_int_equal(parse(line), 0);
	line[head + CONFIG_CMDLINE_MAX] = 'x';
	assert_int_equal(parse(line), -EINVAL);
	assert_string_equal(e.limit, "2047 bytes");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),      cmocka_unit_test(test_all),
		cmocka_unit_test(test_disks),	      cmocka_unit_test(test_refused),
		cmocka_unit_test(test_cmdline_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

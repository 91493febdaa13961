/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_sandbox_cgroup.c - where the control groups of a process are, read from what /proc says; and that both files are read whole.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "sandbox/cgroup_where.h"
#include "util/procfile.h"

/* The folder of this process's group; NULL: none. For one check at a time. */
static const char *folder(const char *groups, const char *mounts, const char *controller)
{
	struct cgroup_span group, place, below;
	static char text[200];

	if (!cgroup_where_group(groups, controller, &group) ||
	    !cgroup_where_folder(mounts, controller, group, &place, &below))
		return NULL;
	snprintf(text, sizeof(text), "%.*s|%.*s", (int)place.len, place.at, (int)below.len,
		 below.at);
	return text;
}

static const char groups_v1[] = "12:cpuset:/\n"
				"11:cpu,cpuacct:/user.slice\n"
				"10:memory:/user.slice/user-0.slice/session-1.scope\n"
				"9:pids:/\n"
				"1:name=systemd:/user.slice/a:b\n"
				"0::/x";
static const char mounts_v1[] =
	"24 30 0:22 / /sys rw,nosuid shared:7 - sysfs sysfs rw\n"
	"31 24 0:28 / /sys/fs/cgroup/cpuset rw shared:9 master:1 - cgroup cgroup rw,cpuset\n"
	"32 24 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
	"33 24 0:30 / /sys/fs/cgroup/memory rw shared:11 - cgroup cgroup rw,memory\n"
	"34 24 0:31 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n"
	"35 24 0:32 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n"
	"36 24 0:33 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids";

static void version_1(void **state)
{
	(void)state;
	assert_string_equal(folder(groups_v1, mounts_v1, "memory"),
			    "/sys/fs/cgroup/memory|/user.slice/user-0.slice/session-1.scope");
	/* A controller is a whole word of a list: cpu is neither cpuset nor cpuacct. */
	assert_string_equal(folder(groups_v1, mounts_v1, "cpu"),
			    "/sys/fs/cgroup/cpu,cpuacct|/user.slice");
	assert_string_equal(folder(groups_v1, mounts_v1, "cpuacct"),
			    "/sys/fs/cgroup/cpu,cpuacct|/user.slice");
	/* The root, in the last line, which has no end. */
	assert_string_equal(folder(groups_v1, mounts_v1, "pids"), "/sys/fs/cgroup/pids|");
	assert_string_equal(folder(groups_v1, mounts_v1, "name=systemd"),
			    "/sys/fs/cgroup/systemd|/user.slice/a:b");
	assert_null(folder(groups_v1, mounts_v1, "cpus"));
	assert_null(folder(groups_v1, mounts_v1, "blkio"));
	assert_string_equal(folder(groups_v1, mounts_v1, NULL), "/sys/fs/cgroup/unified|/x");
}

static void version_2(void **state)
{
	static const char mounts[] =
		"30 24 0:26 / /sys/fs/cgroup rw shared:9 - cgroup2 cgroup2 rw\n";

	(void)state;
	assert_string_equal(folder("0::/a/b\n", mounts, NULL), "/sys/fs/cgroup|/a/b");
	assert_string_equal(folder("0::/\n", mounts, NULL), "/sys/fs/cgroup|");
	assert_null(folder("0::/a\n", mounts, "memory"));
}

/* A container sees a part of the tree, or one that is not its own, and the first mount need not be the right one. */
static void part_of_the_tree(void **state)
{
	static const char mounts[] = "40 1 0:26 /dock/9 /other rw - cgroup2 cgroup2 rw\n"
				     "41 1 0:26 /dock/7 /sys/fs/cgroup ro - cgroup2 cgroup2 rw\n";

	(void)state;
	assert_string_equal(folder("0::/dock/7/a\n", mounts, NULL), "/sys/fs/cgroup|/a");
	assert_string_equal(folder("0::/dock/7\n", mounts, NULL), "/sys/fs/cgroup|");
	assert_null(folder("0::/dock/77\n", mounts, NULL));
	assert_null(folder("0::/dock\n", mounts, NULL));
	assert_null(folder("0::/\n", mounts, NULL));
}

static void not_as_expected(void **state)
{
	struct cgroup_span group;

	(void)state;
	assert_false(cgroup_where_group("", "memory", &group));
	assert_false(cgroup_where_group("\n\n0\n0:\n0::\n0::x\n:\n::", NULL, &group));
	assert_null(folder("0::/\n", "", NULL));
	assert_null(folder("0::/\n", "\n\n30\n30 24 0:26\n30 24 0:26 / /p\n30 24 0:26 / /p rw -",
			   NULL));
	/* The type belongs to its own line. */
	assert_null(folder("0::/\n", "30 24 0:26 / /p rw\n- cgroup2 cgroup2 rw\n", NULL));
	assert_null(
		folder("1:memory:/\n", "30 24 0:26 / /p rw - cgroup\nmemory memory\n", "memory"));
}

/* Longer than a page and than the first buffer, and of a length that just fills one. */
static void whole_files(void **state)
{
	static const size_t sizes[] = {0, 1, 4094, 4095, 4096, 8191, 100000};
	char path[] = "/tmp/lodge-whole.XXXXXX", *text;
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		_autofree char *want = malloc(sizes[i] + 1);

		assert_non_null(want);
		for (size_t n = 0; n < sizes[i]; n++)
			want[n] = (char)('a' + n % 23);
		want[sizes[i]] = '\0';
		assert_int_equal(pwrite(fd, want, sizes[i], 0), sizes[i]);
		text = procfile_whole(path);
		assert_non_null(text);
		assert_string_equal(text, want);
		free(text);
	}
	close(fd);
	unlink(path);
	text = procfile_whole(path);
	assert_string_equal(text, "");
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(version_1),	    cmocka_unit_test(version_2),
		cmocka_unit_test(part_of_the_tree), cmocka_unit_test(not_as_expected),
		cmocka_unit_test(whole_files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

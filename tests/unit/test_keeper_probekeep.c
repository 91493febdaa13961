/* SPDX-License-Identifier: Apache-2.0 */
/* test_keeper_probekeep.c - the kept answer of the probe of KVM: when it holds, when not, and what is never kept. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "keeper/probekeep.h"
#include "util/json.h"

static char base[] = "/tmp/test-probekeep-XXXXXX";
static char device[64], boot_id[64], run[64], file[80];
static struct kvm_probe answer;
static unsigned probes;

static void fake_probe(struct kvm_probe *out)
{
	probes++;
	*out = answer;
}

static const struct probekeep_host host = {.device = device, .boot_id = boot_id, .probe = fake_probe};

static void put(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void answers(enum kvm_probe_result result, bool sysret_works)
{
	answer = (struct kvm_probe){.result = result, .sysret_works = sysret_works};
	snprintf(answer.why, sizeof(answer.why), "answer %d", (int)result);
}

/* As many probes as expected, and the answer is the one of the last. */
static void get(bool probed, enum kvm_probe_result result)
{
	unsigned before = probes;
	struct kvm_probe p;

	memset(&p, 0xff, sizeof(p));
	assert_int_equal(probekeep_get(&host, &p), !probed);
	assert_int_equal(probes - before, probed);
	assert_int_equal(p.result, result);
	assert_string_equal(p.why, answer.why);
}

static bool is_kept(void)
{
	return access(file, F_OK) == 0;
}

static int setup_once(void **state)
{
	(void)state;
	if (!mkdtemp(base))
		return -1;
	snprintf(device, sizeof(device), "%s/kvm", base);
	snprintf(boot_id, sizeof(boot_id), "%s/boot_id", base);
	snprintf(run, sizeof(run), "%s/run", base);
	snprintf(file, sizeof(file), "%s/kvm.json", run);
	return setenv("LODGE_RUN", run, 1);
}

static int setup(void **state)
{
	char cmd[96];

	(void)state;
	snprintf(cmd, sizeof(cmd), "rm -rf %s/*", base);
	if (system(cmd) != 0)
		return -1;
	put(device, "");
	put(boot_id, "1111\n");
	answers(KVM_PROBE_USABLE, true);
	return 0;
}

static int teardown_once(void **state)
{
	char cmd[64];

	(void)state;
	snprintf(cmd, sizeof(cmd), "rm -rf %s", base);
	return system(cmd);
}

static void test_kept(void **state)
{
	struct stat st;

	(void)state;
	get(true, KVM_PROBE_USABLE);
	assert_int_equal(stat(file, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	get(false, KVM_PROBE_USABLE);
	get(false, KVM_PROBE_USABLE);
	probekeep_drop();
	probekeep_drop();
	assert_false(is_kept());
	answers(KVM_PROBE_SLOW, false);
	get(true, KVM_PROBE_SLOW);
	get(false, KVM_PROBE_SLOW);
}

/* Another boot, another device: the answer is asked for again, and that one is kept. */
static void test_stale(void **state)
{
	struct stat st, now;
	char other[80];

	(void)state;
	get(true, KVM_PROBE_USABLE);
	put(boot_id, "2222\n");
	get(true, KVM_PROBE_USABLE);
	get(false, KVM_PROBE_USABLE);
	snprintf(other, sizeof(other), "%s.new", device);
	put(other, "");
	assert_int_equal(rename(other, device), 0);
	get(true, KVM_PROBE_USABLE);
	get(false, KVM_PROBE_USABLE);
	/* The same node with another time of change, which the kernel takes from its last tick. */
	assert_int_equal(stat(device, &st), 0);
	do {
		assert_int_equal(chmod(device, 0600), 0);
		assert_int_equal(stat(device, &now), 0);
	} while (st.st_ctim.tv_sec == now.st_ctim.tv_sec &&
		 st.st_ctim.tv_nsec == now.st_ctim.tv_nsec);
	get(true, KVM_PROBE_USABLE);
	get(false, KVM_PROBE_USABLE);
	/* No boot's number, no device: nothing kept counts. */
	assert_int_equal(unlink(boot_id), 0);
	get(true, KVM_PROBE_USABLE);
	put(boot_id, "2222\n");
	get(false, KVM_PROBE_USABLE);
	assert_int_equal(unlink(device), 0);
	answers(KVM_PROBE_ABSENT, false);
	get(true, KVM_PROBE_ABSENT);
	get(true, KVM_PROBE_ABSENT);
}

/* What a time may have decided, or what another moment may change, is not kept. */
static void test_not_kept(void **state)
{
	static const struct {
		enum kvm_probe_result result;
		bool sysret_works;
	} never[] = {{KVM_PROBE_SLOW, true},
		     {KVM_PROBE_BROKEN, false},
		     {KVM_PROBE_PERMISSION, false},
		     {KVM_PROBE_ABSENT, false}};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(never); i++) {
		struct kvm_probe p;

		answers(KVM_PROBE_USABLE, true);
		probekeep_renew(&host, &p);
		assert_true(is_kept());
		answers(never[i].result, never[i].sysret_works);
		probekeep_renew(&host, &p);
		assert_int_equal(p.result, never[i].result);
		assert_false(is_kept());
		get(true, never[i].result);
		get(true, never[i].result);
		assert_false(is_kept());
	}
}

static void test_renew(void **state)
{
	unsigned before = probes;
	struct kvm_probe p;

	(void)state;
	get(true, KVM_PROBE_USABLE);
	answers(KVM_PROBE_SLOW, false);
	probekeep_renew(&host, &p);
	probekeep_renew(&host, &p);
	assert_int_equal(probes - before, 3);
	assert_int_equal(p.result, KVM_PROBE_SLOW);
	get(false, KVM_PROBE_SLOW);
}

/* Writes what is kept with one member changed. */
static void forge(const char *member, json_t *value)
{
	json_t *j = json_load_file(file, 0, NULL);

	assert_non_null(j);
	assert_int_equal(json_object_set_new(j, member, value), 0);
	assert_int_equal(json_dump_file(j, file, 0), 0);
	json_decref(j);
}

static void test_forged(void **state)
{
	static const char *const texts[] = {"", "{", "[]", "{}", "null", "{\"key\":1}"};
	char wide[sizeof(answer.why) + 1];

	(void)state;
	memset(wide, 'x', sizeof(wide) - 1);
	wide[sizeof(wide) - 1] = '\0';
	for (unsigned i = 0; i < ARRAY_SIZE(texts); i++) {
		get(i == 0, KVM_PROBE_USABLE);
		put(file, texts[i]);
		get(true, KVM_PROBE_USABLE);
	}
	forge("result", json_string("broken"));
	get(true, KVM_PROBE_USABLE);
	forge("result", json_integer(0));
	get(true, KVM_PROBE_USABLE);
	forge("why", json_string(wide));
	get(true, KVM_PROBE_USABLE);
	forge("why", json_null());
	get(true, KVM_PROBE_USABLE);
	forge("key", json_string(""));
	get(true, KVM_PROBE_USABLE);
	/* What is no plain file is neither read nor waited for, and replaced. */
	assert_int_equal(unlink(file), 0);
	assert_int_equal(symlink("/etc/passwd", file), 0);
	get(true, KVM_PROBE_USABLE);
	get(false, KVM_PROBE_USABLE);
	assert_int_equal(unlink(file), 0);
	assert_int_equal(mkfifo(file, 0600), 0);
	get(true, KVM_PROBE_USABLE);
	get(false, KVM_PROBE_USABLE);
	assert_int_equal(unlink(file), 0);
	assert_int_equal(mkdir(file, 0700), 0);
	get(true, KVM_PROBE_USABLE);
	get(true, KVM_PROBE_USABLE);
}

/* A folder that others write to is not trusted; one that is no folder cannot be. */
static void test_folder(void **state)
{
	(void)state;
	get(true, KVM_PROBE_USABLE);
	assert_int_equal(chmod(run, 0777), 0);
	get(true, KVM_PROBE_USABLE);
	get(true, KVM_PROBE_USABLE);
	assert_int_equal(chmod(run, 0700), 0);
	get(false, KVM_PROBE_USABLE);
	assert_int_equal(unlink(file), 0);
	assert_int_equal(rmdir(run), 0);
	put(run, "");
	get(true, KVM_PROBE_USABLE);
	get(true, KVM_PROBE_USABLE);
	probekeep_drop();
}

/* The real one: whatever KVM is here, a kept answer is that of the probe. */
static void test_here(void **state)
{
	struct kvm_probe first, second;

	(void)state;
	probekeep_renew(&probekeep_here, &first);
	assert_int_equal(probekeep_get(&probekeep_here, &second), is_kept());
	assert_int_equal(first.result, second.result);
	if (is_kept())
		assert_string_equal(first.why, second.why);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_kept, setup),
		cmocka_unit_test_setup(test_stale, setup),
		cmocka_unit_test_setup(test_not_kept, setup),
		cmocka_unit_test_setup(test_renew, setup),
		cmocka_unit_test_setup(test_forged, setup),
		cmocka_unit_test_setup(test_folder, setup),
		cmocka_unit_test_setup(test_here, setup),
	};

	return cmocka_run_group_tests(tests, setup_once, teardown_once);
}

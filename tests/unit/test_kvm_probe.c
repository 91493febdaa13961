/* SPDX-License-Identifier: Apache-2.0 */
/* test_kvm_probe.c - whatever KVM is here: the probe answers soon, with a sentence, and leaves nothing behind. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "engine/kvm/absent.h"
#include "engine/kvm/probe.h"
#include "util/clock.h"

static int count_fds(void)
{
	int n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void test_probe(void **state)
{
	struct kvm_probe first, p;
	int before = count_fds(), status;

	(void)state;
	kvm_probe(&first);
	print_message("%s (%.1f ms)\n", first.why, (double)first.took_ns / 1e6);
	for (int i = 0; i < 5; i++) {
		memset(&p, 0xff, sizeof(p));
		kvm_probe(&p);
		assert_int_equal(p.result, first.result);
		assert_true(p.why[0] && strlen(p.why) < sizeof(p.why));
		assert_null(strchr(p.why, '\n'));
		assert_true(strlen(p.has) < sizeof(p.has));
		assert_string_equal(p.has, first.has);
		assert_true(!kvm_probe_usable(&p) || strstr(p.has, "interrupt controllers"));
		assert_true(p.took_ns < 5000 * CLOCK_NS_PER_MS);
		assert_true(!kvm_probe_usable(&p) || (p.sysret_works && p.kernel_insn_ps < 150000));
	}
	assert_int_equal(count_fds(), before);
	/* On a busy machine a child may be left, but a dead one. */
	while (waitpid(-1, &status, 0) > 0)
		assert_true(WIFSIGNALED(status) || WIFEXITED(status));
}

/* Why there is no /dev/kvm. */
static void test_absent(void **state)
{
	static const struct {
		struct kvm_absent host;
		const char *says;
	} known[] = {
		{{"SVM", "kvm_amd", .device = true, .processor = true}, "must be given it"},
		{{"SVM", "kvm_amd", .guest = true}, "does not pass SVM on"},
		{{"VT-x", "kvm_intel", .processor = false}, "shows no VT-x"},
		{{"VT-x", "kvm_intel", .processor = true}, "VT-x is switched off in the firmware"},
		{{"VT-x", "kvm_intel", .processor = true, .loaded = true}, "kvm_intel refuses"},
		{{"SVM", "kvm_amd", .processor = true, .kernel = true}, "modprobe kvm_amd"},
	};
	struct kvm_absent here;
	char text[sizeof(((struct kvm_probe *)0)->why)];

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(known); i++) {
		kvm_absent_say(&known[i].host, text, sizeof(text));
		assert_non_null(strstr(text, known[i].says));
		assert_true(strlen(text) + 1 < sizeof(text));
	}
	kvm_absent_look(&here);
	assert_true(strcmp(here.module, "kvm_amd") == 0 || strcmp(here.module, "kvm_intel") == 0);
	assert_true(!here.kernel || here.processor);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_probe),
					   cmocka_unit_test(test_absent)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* test_kvm_probe.c - whatever KVM is here: the probe answers soon, with a sentence, and leaves nothing behind. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

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

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_probe)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

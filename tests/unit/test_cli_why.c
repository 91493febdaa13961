/* SPDX-License-Identifier: Apache-2.0 */
/* test_cli_why.c - the rules of `lodge why`: facts in, the sentence out. What facts real VMs give is tests/system/why's affair. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cli/why.h"

/* A look at a healthy guest; `more` wins. */
#define LOOK(more, vcpu)                                                                      \
	"{\"state\":\"running\",\"engine\":\"soft\",\"uptime_ms\":5000,\"memory\":134217728," \
	"\"agent\":\"busy\"," more "\"vcpus\":[" vcpu "]}"
#define SLEEPS \
	"{\"doing\":\"sleeps\",\"rip\":\"0x10\",\"interrupts\":true,\"cpl\":0,\"cpu_us\":1000,\"timer_ms\":7}"
#define SPINS(rip, us, on) \
	"{\"doing\":\"runs\",\"rip\":\"" rip "\",\"interrupts\":" on ",\"cpl\":0,\"cpu_us\":" us "}"
#define VM(state) "{\"name\":\"web\",\"keeper\":7,\"vm\":8,\"state\":\"" state "\"}"
#define RUNS "\"vm\":" VM("running")
#define OLD "\"uptime_ms\":60000,"
#define TWO(more) "\"looks\":[" LOOK(more, SLEEPS) "," LOOK(more, SLEEPS) "]"

static void check(const char *facts, const char *wanted)
{
	json_error_t error;
	_autojson json_t *j = json_loads(facts, 0, &error), *findings = NULL;
	_autofree char *sentence = NULL;

	if (!j)
		fail_msg("%s: %s", error.text, facts);
	findings = why_judge(j);
	sentence = why_sentence(j, findings);
	if (!strstr(sentence, wanted))
		fail_msg("\"%s\" is not in \"%s\"", wanted, sentence);
	assert_null(strchr(sentence, '@'));
	assert_null(strchr(sentence, '\n'));
}

static void healthy(void **state)
{
	(void)state;
	check("{" RUNS "," TWO("") "}", "nothing is wrong: web runs since 5 s, its CPU is 0 % busy");
	check("{" RUNS ",\"looks\":[" LOOK("\"agent\":\"closed\",", SLEEPS) "]}",
	      "it has no agent that runs");
	/* Nothing known is nothing wrong. */
	check("{" RUNS "}", "web is running, and its process says no more of it");
	check("{" RUNS ",\"looks\":[{}]}", "web");
}

static void ended(void **state)
{
	static const struct {
		const char *state, *exit, *wanted;
	} cases[] = {
		{"dead", "null",
		 "its keeper (process 7) was killed, and the VM with it: `lodge start web`"},
		{"crashed", "{\"status\":3,\"cause\":\"crashed\",\"text\":\"triple fault\"}",
		 "web crashed: triple fault"},
		{"failed", "{\"status\":1,\"cause\":\"killed\",\"signal\":9,\"oom\":true}",
		 "had no memory left: give the guest less"},
		{"failed",
		 "{\"status\":1,\"cause\":\"killed\",\"signal\":9,\"oom\":true,\"limit\":\"292 MiB\"}",
		 "wanted more memory than their control group may have (292 MiB): start it again"},
		{"failed", "{\"status\":1,\"cause\":\"killed\",\"signal\":9}",
		 "killed from outside by signal 9 (SIGKILL)"},
		{"failed", "{\"status\":1,\"cause\":\"killed\",\"signal\":31}",
		 "ended by its sandbox"},
		{"failed", "{\"status\":1,\"cause\":\"killed\"}", "went without a word"},
		{"failed", "{\"status\":1,\"cause\":\"error\",\"text\":\"vCPU 0 cannot go on\"}",
		 "could not go on: vCPU 0 cannot"},
		{"stopped", "{\"status\":124,\"cause\":\"timeout\"}", "its --timeout was over"},
		{"stopped", "{\"status\":0,\"cause\":\"poweroff\"}",
		 "the guest has powered itself off: `lodge start web`"},
		{"stopped", "{\"status\":0,\"cause\":\"quit\"}", "ended by request"},
		{"stopped", "{\"status\":7,\"cause\":\"guest-exit\"}", "with status 7"},
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		_autofree char *facts = NULL;

		assert_true(
			asprintf(&facts,
				 "{\"vm\":{\"name\":\"web\",\"keeper\":7,\"state\":\"%s\",\"exit\":%s}}",
				 cases[i].state, cases[i].exit) > 0);
		check(facts, cases[i].wanted);
	}
	check("{\"vm\":{\"name\":\"web\",\"state\":\"crashed\",\"exit\":{\"status\":3}},"
	      "\"console\":\"[1.0] Kernel panic - not syncing: Attempted to kill init!\\nmore\"}",
	      "web ended because its kernel panicked: Attempted to kill init!: `lodge logs web`");
}

static void lodged(void **state)
{
	(void)state;
	check("{\"vm\":{\"name\":\"web\",\"state\":\"stopped\",\"exit\":{\"status\":7,\"cause\":\"guest-exit\"}},"
	      "\"lodged\":{\"state\":\"waiting\",\"restart\":\"always\"}}",
	      "ended with status 7 and is about to be started again by lodged (restart: always): `lodge stop web`");
	check("{\"vm\":{\"name\":\"web\",\"state\":\"defined\"},\"lodged\":{\"state\":\"stopped\"},"
	      "\"failed\":{\"verb\":\"start\",\"error\":{\"message\":\"no such kernel\"}}}",
	      "its last start failed: no such kernel");
	check("{\"vm\":{\"name\":\"web\",\"state\":\"defined\"},\"lodged\":{\"state\":\"stopped\"}}",
	      "is defined and has not been started: `lodge start web`");
}

static void processes(void **state)
{
	(void)state;
	check("{\"vm\":" VM("stuck") ",\"process\":{\"state\":\"T\"}}",
	      "(8) was stopped by a signal: `kill -CONT 8`");
	check("{\"vm\":" VM("stuck") ",\"process\":{\"state\":\"D\"}}",
	      "waits in the host's kernel");
	check("{\"vm\":" VM("stuck") ",\"process\":{\"state\":\"S\"}}", "does not answer");
	check("{\"vm\":" VM("starting") "}", "is starting");
	check("{" RUNS ",\"keeper\":{\"state\":\"T\"}," TWO("") "}",
	      "has no console because its keeper (process 7)");
	check("{" RUNS ",\"process\":{\"delay_permille\":400}," TWO(OLD) "}",
	      "waits for the host's processors 40 % of");
	check("{" RUNS ",\"process\":{\"delay_permille\":240}," TWO(OLD) "}", "nothing is wrong");
	/* It comes up. */
	check("{" RUNS ",\"process\":{\"delay_permille\":400}," TWO("") "}",
	      "nothing is wrong: web runs since 5 s");
	check("{" RUNS ",\"throttled\":3,\"process\":{\"delay_permille\":800}," TWO(OLD) "}",
	      "uses up the CPU time that its control group gives it (--cpu-quota): start it with");
	check("{" RUNS ",\"throttled\":0," TWO(OLD) "}", "nothing is wrong");
	check("{" RUNS ",\"process\":{\"swap_bytes\":67108864}," TWO("") "}",
	      "64 MiB of its memory are in the host's swap");
}

static void paused(void **state)
{
	(void)state;
	check("{" RUNS "," TWO("\"state\":\"paused\",\"paused_by\":\"request\",") "}",
	      "somebody asked for it: `lodge resume web`");
	check("{" RUNS "," TWO("\"state\":\"paused\",\"paused_by\":\"save\",") "}",
	      "paused since it was saved");
	check("{" RUNS
	      "," TWO("\"state\":\"paused\",\"paused_by\":\"disk\",\"disks\":[{\"id\":\"disk0\","
		      "\"file\":\"a.raw\",\"full\":true,\"error\":\"ENOSPC\"}],") "}",
	      "no room for its disk disk0 on the host's file system (ENOSPC, \"a.raw\"): make room");
	check("{" RUNS
	      "," TWO("\"state\":\"paused\",\"paused_by\":\"disk\",\"disks\":[{\"id\":\"disk1\","
		      "\"file\":\"b.raw\",\"full\":false,\"error\":\"EIO\"}],") "}",
	      "writing its disk disk1 failed (EIO");
}

static void consoles(void **state)
{
	static const struct {
		const char *said, *wanted;
	} cases[] = {
		{"Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)",
		 "no root file system"},
		{"Kernel panic - not syncing: sysrq triggered crash",
		 "has panicked: sysrq triggered crash"},
		{"Kernel panic - not syncing: \\u001b[31mred", "has panicked: ?[31mred"},
		{"[ 1.5] Waiting for root device /dev/vdz...",
		 "waits for a root device that it does not have: /dev/vdz: give"},
		{"ALERT! x does not exist.\\n(initramfs) ", "at the shell of its initramfs"},
		{"Please enter passphrase for disk x:", "waits for a passphrase"},
		{"[ 9.9] reboot: System halted\\n", "shut down without powering off"},
		{"Out of memory: Killed process 9 (java)", "killed a program: 9 (java)"},
		/* It is not the last line: it went on. */
		{"Waiting for root device /dev/vda...\\nmounted\\n", "nothing is wrong"},
		{"web login: ",
		 "its CPU is 0 % busy; it waits for somebody to log in on its console: `lodge console web`"},
		{"web login: anna\\nPassword: \\nweb$ ", "% busy"},
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		_autofree char *facts = NULL;

		assert_true(asprintf(&facts, "{" RUNS ",\"console\":\"%s\"," TWO("") "}",
				     cases[i].said) > 0);
		check(facts, cases[i].wanted);
	}
}

static void silent(void **state)
{
	(void)state;
	check("{" RUNS ",\"console\":\" \\r\\n\"," TWO(OLD) "}",
	      "has said nothing on its console since it was started: the kernel's console must be");
	/* It has just begun; its agent answers; its console is not known. */
	check("{" RUNS ",\"console\":\"\"," TWO("") "}", "nothing is wrong");
	check("{" RUNS ",\"console\":\"\",\"agent\":{\"answers\":true}," TWO(OLD) "}",
	      "nothing is wrong");
	check("{" RUNS "," TWO(OLD) "}", "nothing is wrong");
}

static void processors(void **state)
{
	static const char dead[] = "{\"doing\":\"dead\",\"cpu_us\":1}",
			  off[] = "{\"doing\":\"off\"}";
	_autofree char *two = NULL;

	(void)state;
	assert_true(asprintf(&two, "{" RUNS ",\"looks\":[" LOOK("", "%s,%s") "]}", dead, off) > 0);
	check(two, "halted for good: its CPU sleeps with interrupts off");
	check("{" RUNS ",\"looks\":[" LOOK("", SPINS("0xffffffff81000010", "0", "false")) "," LOOK(
		      "", SPINS("0xffffffff81000014", "100000",
				"false")) "," LOOK("", SPINS("0xffffffff81000010", "200000",
							     "false")) "]}",
	      "hangs: its CPU 0 spins with interrupts off at 0xffffffff81000010");
	check("{" RUNS ",\"looks\":[" LOOK("", SPINS("0x10", "0", "true")) "," LOOK(
		      "", SPINS("0x14", "100000", "true")) "," LOOK("", SPINS("0x10", "200000",
									      "true")) "]}",
	      "spins in its kernel at 0x10");
	/* Far apart: it works. */
	check("{" RUNS ",\"looks\":[" LOOK(OLD, SPINS("0x10", "0", "true")) "," LOOK(
		      OLD, SPINS("0x9014", "100000", "true")) "," LOOK(OLD, SPINS("0x10", "200000",
										  "true")) "]}",
	      "no processor time to spare: its CPU is busy");
	/* Five times as long: it does not use all of it; and one that comes up may. */
	check("{" RUNS
	      ",\"span_ms\":1000,\"looks\":[" LOOK(OLD, SPINS("0x10", "0", "true")) "," LOOK(
		      OLD, SPINS("0x9014", "100000", "true")) "," LOOK(OLD, SPINS("0x10", "200000",
										  "true")) "]}",
	      "nothing is wrong: web runs since 60 s, its CPU is 20 % busy");
	check("{" RUNS ",\"looks\":[" LOOK("", SPINS("0x10", "0", "true")) "," LOOK(
		      "", SPINS("0x9014", "100000", "true")) "," LOOK("", SPINS("0x10", "200000",
										"true")) "]}",
	      "nothing is wrong: web runs since 5 s, its CPU is 100 % busy");
	check("{" RUNS "," TWO("\"resets\":5,") "}", "starts anew over and over: 5 resets in 5 s");
}

static void devices(void **state)
{
	(void)state;
	check("{" RUNS
	      "," TWO("\"nets\":[{\"id\":\"net0\",\"plugged\":false,\"link\":\"down\"}],") "}",
	      "the cable of its network card net0 is pulled: `lodge ctl web net link net0 up`");
	check("{" RUNS
	      "," TWO("\"nets\":[{\"id\":\"net0\",\"kind\":\"user\",\"plugged\":true,\"link\":\"down\"}],") "}",
	      "nothing is behind its network card net0 any more (user)");
	check("{" RUNS
	      "," TWO("\"nets\":[{\"id\":\"net0\",\"link\":\"up\",\"plugged\":true,\"tx_packets\":50}],") "}",
	      "gets no answer by its network card net0: 50 packets sent");
	check("{" RUNS ",\"looks\":[" LOOK(
		      "\"disks\":[{\"id\":\"disk0\",\"throttled\":4,\"bps\":1000}],",
		      SLEEPS) "," LOOK("\"disks\":[{\"id\":\"disk0\",\"throttled\":9,\"bps\":1000}],",
				       SLEEPS) "]}",
	      "held back by the limits of its disk disk0 (bps 1000");
	check("{" RUNS
	      "," TWO("\"disks\":[{\"id\":\"disk0\",\"file\":\"a.raw\",\"in_flight\":3,\"done\":9}],") "}",
	      "waits for its disk disk0 (\"a.raw\"): 3 requests are under way");
	check("{" RUNS
	      "," TWO("\"devices\":[{\"id\":\"rng\",\"driver\":true,\"broken\":true}],") "}",
	      "cannot use its device rng any more");
	check("{" RUNS ",\"agent\":{\"answers\":false,\"addresses\":[]}," TWO("") "}",
	      "an agent that does not answer");
	check("{" RUNS ",\"agent\":{\"answers\":true,\"addresses\":[]}," TWO(
		      "\"nets\":[{\"id\":\"net0\",\"link\":\"up\"}],") "}",
	      "no network card of it has an address");
	check("{" RUNS "," TWO("\"balloon_bytes\":100663296,") "}",
	      "has given 96 MiB of its 128 MiB of memory to the balloon");
}

/* The worst comes first, and what is as bad in the order of the rules; all of it is kept. */
static void order(void **state)
{
	_autojson json_t *facts = NULL, *findings = NULL;

	(void)state;
	facts = json_loads("{" RUNS ",\"console\":\"Kernel panic - not syncing: x\","
			   "\"process\":{\"delay_permille\":900}," TWO(
				   OLD "\"agent\":\"closed\",\"resets\":9,") "}",
			   0, NULL);
	findings = why_judge(facts);
	assert_int_equal(json_array_size(findings), 4);
	assert_string_equal(why_text(json_array_get(findings, 0), "about"), "console");
	assert_string_equal(why_text(json_array_get(findings, 1), "about"), "host");
	assert_string_equal(why_text(json_array_get(findings, 2), "about"), "reset");
	assert_string_equal(why_text(json_array_get(findings, 3), "level"), "note");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(healthy),    cmocka_unit_test(ended),	 cmocka_unit_test(lodged),
		cmocka_unit_test(processes),  cmocka_unit_test(paused),	 cmocka_unit_test(consoles),
		cmocka_unit_test(processors), cmocka_unit_test(devices), cmocka_unit_test(order),
		cmocka_unit_test(silent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * guest.c - connections to a guest's agent through the VM's control socket; declared in guest.h.
 *
 * Our end of a socket pair, the other end sent to the VM with the command "agent". There is one agent and it talks to one
 * client: who finds it taken tries again, and a client that waits for long (exec) lets go of it between two requests.
 */
#include "keeper/guest.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "keeper/run.h"
#include "proto/vmsock.h"
#include "util/clock.h"

#define RENEW_S 5
#define CONTROL_S 10
#define RETRY_NS (20 * CLOCK_NS_PER_MS)

uint64_t guest_call_deadline(void)
{
	return clock_ns() + GUEST_CALL_S * CLOCK_NS_PER_S;
}

int guest_write_all(int fd, const void *data, size_t len)
{
	const uint8_t *p = data;

	while (len) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0) {
			p += n;
			len -= (size_t)n;
		}
	}
	return 0;
}

/* One attempt; -EAGAIN: there is no agent now. */
static int try_connect(int control, uint64_t deadline_ns, struct agent *a, struct err *e)
{
	int pair[2], r;
	bool open = false;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return err_errno(e, errno, "cannot make a socket pair");
	/* The VM's process answers at once, also when the last attempt is a late one. */
	r = control_call_agent(control, pair[1], deadline_ns + CONTROL_S * CLOCK_NS_PER_S, &open, e);
	close(pair[1]);
	if (r || !open) {
		close(pair[0]);
		return r ? r : -EAGAIN;
	}
	return agent_open(a, pair[0], deadline_ns, e);
}

/* A guest that stands still does not answer, however long one waits. */
static int check_running(int control, const char *vm, struct err *e)
{
	_autojson json_t *result = NULL;
	char shown[96];
	int r = control_call(control, CONTROL_QUERY, clock_ns() + CONTROL_S * CLOCK_NS_PER_S,
			     &result, e);
	const char *state = json_string_value(json_object_get(result, "state"));

	if (r || !state || strcmp(state, "paused") != 0)
		return r;
	return err_set(e, EBUSY, "the VM is paused: `lodge resume %s` lets it go on",
		       err_quote(shown, sizeof(shown), vm));
}

int guest_connect(const char *vm, uint64_t deadline_ns, struct agent *a, struct err *e)
{
	const struct timespec pause = {.tv_nsec = RETRY_NS};
	_autoclose int control = vmsock_connect(vm, e);
	int r;

	if (control < 0)
		return control;
	r = check_running(control, vm, e);
	if (r)
		return r;
	for (;;) {
		struct err why = {0};

		r = try_connect(control, deadline_ns, a, &why);

		if (r != -EAGAIN && r != -EBUSY) {
			if (r && e)
				*e = why;
			return r;
		}
		if (clock_ns() + RETRY_NS >= deadline_ns && r == -EBUSY)
			return err_set(e, ETIMEDOUT, "%s", why.msg);
		if (clock_ns() + RETRY_NS >= deadline_ns) {
			err_set(e, ETIMEDOUT,
				"no agent runs in the guest: it needs the package qemu-guest-agent, or more time for its start");
			err_hint(e, "wait longer by --wait SECONDS");
			return -ETIMEDOUT;
		}
		if (nanosleep(&pause, NULL) < 0)
			return err_errno(e, EINTR, "interrupted");
	}
}

static void renew_time(const char *vm)
{
	uint64_t deadline = clock_ns() + RENEW_S * CLOCK_NS_PER_S;
	struct agent a;

	agent_init(&a);
	if (guest_connect(vm, deadline, &a, NULL) == 0)
		(void)agent_set_time(&a, deadline, NULL);
	agent_fini(&a);
}

void guest_renew_time(const char *vm)
{
	pid_t pid = fork();
	sigset_t none;

	if (pid < 0)
		return;
	if (pid > 0) {
		waitpid(pid, NULL, 0);
		return;
	}
	/* The child's child is nobody's to wait for. */
	if (fork() == 0) {
		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		/* Nobody who reads our output is to wait for this process. */
		close_range(0, ~0u, 0);
		renew_time(vm);
	}
	_exit(0);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plugsock.c - the keeper's socket for adding disks and network cards; plug.h has its messages.
 *
 * A client is served by a process of its own, which nobody waits for: it opens files, may wait for them, and must not hold up the keeper. An
 * alarm ends it when it waits too long: a socket may have a server that accepts nobody, a file be one of a server that is gone. It
 * has nothing of the keeper's but its rights and its control group, so that a lodge-nat that it leaves behind is the VM's like the others. Clients are
 * the user's own processes; a silent one costs a process for SECONDS.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "keeper/launch.h"
#include "keeper/plug.h"
#include "keeper/run.h"
#include "proto/control.h"
#include "proto/vmsock.h"
#include "util/clock.h"

#define SECONDS UINT64_C(8) /* lodged waits for 10 */
#define SECONDS_OPEN 9u

struct plugsock {
	const struct rundir *run;
	int fd;
	struct loop_fd *watch;
};

static int carry_out(const char *name, const json_t *request, uint64_t deadline, json_t **result,
		     struct err *e)
{
	const char *cmd = json_string_value(json_object_get(request, "cmd"));
	const char *word = json_string_value(json_object_get(request, "word"));
	const char *folder = json_string_value(json_object_get(request, "folder"));
	bool disk = cmd && !strcmp(cmd, control_cmd_names[CONTROL_DISK_ADD]);
	_autoclose int control = -1;
	struct rundir run;
	int r;

	if (!word || !folder || (!disk && (!cmd || strcmp(cmd, control_cmd_names[CONTROL_NET_ADD]))))
		return err_set(e, EINVAL, "the request has no command, no word or no folder");
	if (chdir(folder) < 0)
		return err_errno(e, errno, "cannot go to the folder \"%.200s\"", folder);
	r = rundir_open(&run, name, e);
	if (r == 0)
		r = control = vmsock_open(&run, e);
	rundir_close(&run);
	return r < 0 ? r : plug_add(control, disk, word, true, deadline, result, e);
}

static void serve(int client, const char *name)
{
	uint64_t deadline = clock_ns() + SECONDS * CLOCK_NS_PER_S;
	_autojson json_t *reply = NULL;
	json_t *result = NULL;
	struct control_msg m;
	struct err e = {0};
	uint64_t id;

	control_msg_init(&m);
	if (control_recv(client, &m, deadline, NULL) > 0 &&
	    json_get_u64(m.json, "id", true, 1, INT64_MAX, &id, NULL) > 0) {
		reply = carry_out(name, m.json, deadline, &result, &e) < 0 ?
				control_reply_error(id, &e) :
				control_reply_ok(id, result);
		(void)control_send(client, reply, NULL, 0, deadline, NULL);
	}
	control_msg_fini(&m);
}

static void plugsock_ready(void *ctx, int fd, uint32_t events)
{
	struct plugsock *s = ctx;
	int client = accept4(fd, NULL, NULL, SOCK_CLOEXEC), null;
	char name[CONFIG_NAME_MAX + 1];
	sigset_t none;
	pid_t pid;

	(void)events;
	if (client < 0)
		return;
	pid = fork();
	if (pid == 0 && fork() == 0) {
		strcpy(name, s->run->name);
		null = open("/dev/null", O_RDWR);
		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		dup2(null, STDIN_FILENO);
		dup2(null, STDOUT_FILENO);
		launch_close_others(client); /* standard error is the VM's messages */
		signal(SIGALRM, SIG_DFL);
		alarm(SECONDS_OPEN);
		serve(client, name);
	}
	if (pid == 0)
		_exit(0);
	close(client);
	if (pid > 0)
		waitpid(pid, NULL, 0);
}

int plugsock_create(struct plugsock **out, struct loop *l, const struct rundir *run, struct err *e)
{
	struct plugsock *s = calloc(1, sizeof(*s));
	int r;

	*out = NULL;
	if (!s)
		return err_set(e, ENOMEM, "out of memory");
	s->run = run;
	s->fd = r = rundir_listen(run, "plug", SOCK_SEQPACKET, e);
	if (r >= 0)
		r = loop_fd_add(l, s->fd, EPOLLIN, plugsock_ready, s, &s->watch);
	if (r < 0) {
		plugsock_destroy(s);
		return r;
	}
	*out = s;
	return 0;
}

void plugsock_destroy(struct plugsock *s)
{
	if (!s)
		return;
	loop_fd_del(s->watch);
	base_close_fd(&s->fd);
	free(s);
}

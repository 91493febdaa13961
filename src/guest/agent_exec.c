/* SPDX-License-Identifier: Apache-2.0 */
/*
 * agent_exec.c - programs that the host starts in the guest: guest-exec, guest-exec-status.
 *
 * Standard input is what came with the request, through a pipe; output is gathered from two others. With capture-output "stream"
 * (this agent's own word, see proto/agent.h) each status takes out what has come so far, and while KEEP_STREAM bytes
 * wait the program waits too, so nothing is lost however much it says. Without it a status has output only when all is
 * over, as the protocol wants it, and what is beyond KEEP_ALL is dropped and said to be.
 *
 * A program is forgotten when its end was told, or when it is over and its place is needed: not everybody who killed one asks how it
 * ended. A status says "exited" when the program is over and both pipes are at
 * their end, or half a second after the program's end: something it left behind may hold the pipes open for ever. What is in
 * them by then is still told.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest/agent.h"
#include "util/base64.h"
#include "util/buf.h"
#include "util/clock.h"

#define KEEP_STREAM ((size_t)1 << 20)
#define KEEP_ALL ((size_t)16 << 20)
#define PROGRAMS_MAX 64u
#define ARGS_MAX 4096u
#define LINGER_NS (CLOCK_NS_PER_S / 2)
#define READ_MAX ((size_t)1 << 16)
#define PIPE_READS 16u /* of what a pipe can hold without privileges, 1 MiB */

struct program;

struct pipe_end {
	struct watch watch; /* first: the callback gets this */
	struct program *of;
	struct buf data; /* output not yet told, or input not yet given */
	bool cut;	 /* some was dropped */
	bool full;	 /* not read until it was told */
};

struct program {
	pid_t pid;
	bool capture, stream, over;
	int status;
	uint64_t over_ns;
	struct pipe_end in, out, err;
	struct program *next;
};

static struct program *programs;
static unsigned n_programs;

static void end_fini(struct pipe_end *p)
{
	watch_remove(&p->watch);
	buf_fini(&p->data);
}

static void forget(struct program *x)
{
	for (struct program **p = &programs; *p; p = &(*p)->next) {
		if (*p != x)
			continue;
		*p = x->next;
		n_programs--;
		break;
	}
	end_fini(&x->in);
	end_fini(&x->out);
	end_fini(&x->err);
	free(x);
}

static void give_input(struct watch *w, uint32_t events)
{
	struct pipe_end *p = container_of(w, struct pipe_end, watch);
	ssize_t n = write(w->fd, p->data.data + p->data.pos, buf_left(&p->data));

	(void)events;
	if (n > 0)
		p->data.pos += (size_t)n;
	if ((n < 0 && errno != EAGAIN && errno != EINTR) || buf_left(&p->data) == 0)
		end_fini(p);
}

static void take_output(struct watch *w, uint32_t events)
{
	struct pipe_end *p = container_of(w, struct pipe_end, watch);
	static uint8_t bytes[READ_MAX];
	ssize_t n;

	(void)events;
	if (p->of->stream && p->data.len >= KEEP_STREAM) {
		watch_hold(w);
		p->full = true;
		return;
	}
	n = read(w->fd, bytes, sizeof(bytes));
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
		watch_remove(w);
	} else if (n > 0 && (p->of->stream || p->data.len + (size_t)n <= KEEP_ALL)) {
		buf_put(&p->data, bytes, (size_t)n);
	} else if (n > 0) {
		p->cut = true;
	}
}

void agent_reap(void)
{
	for (struct program *x = programs; x; x = x->next) {
		if (x->over || waitpid(x->pid, &x->status, WNOHANG) != x->pid)
			continue;
		x->over = true;
		x->over_ns = clock_ns();
	}
}

/* One is over: the one that began first goes. */
static void make_place(void)
{
	struct program *oldest = NULL;

	for (struct program *x = programs; x; x = x->next)
		if (x->over)
			oldest = x;
	if (oldest)
		forget(oldest);
}

/* ---- start ---- */

/* argv or an environment: malloc'd, of strings that belong to the list. first: NULL or what comes before. */
static char **words(json_t *list, const char *first)
{
	size_t n = json_array_size(list), k = 0;
	char **v = n <= ARGS_MAX ? calloc(n + 2, sizeof(*v)) : NULL;

	if (v && first)
		v[k++] = (char *)(uintptr_t)first;
	for (size_t i = 0; v && i < n; i++) {
		const char *word = json_string_value(json_array_get(list, i));

		if (!word) {
			free(v);
			return NULL;
		}
		v[k++] = (char *)(uintptr_t)word;
	}
	return v;
}

/* The three ends that the program gets in fd[]; ours are in x. -1 with errno. */
static int make_ends(struct program *x, bool input, int fd[3])
{
	struct pipe_end *const end[3] = {&x->in, &x->out, &x->err};

	for (int i = 0; i < 3; i++) {
		int pair[2], ours;

		if (i == 0 ? !input : !x->capture) {
			fd[i] = open("/dev/null", O_RDWR | O_CLOEXEC);
			if (fd[i] < 0)
				return -1;
			continue;
		}
		if (pipe2(pair, O_CLOEXEC) < 0)
			return -1;
		ours = i == 0 ? pair[1] : pair[0];
		fd[i] = i == 0 ? pair[0] : pair[1];
		fcntl(ours, F_SETFL, O_NONBLOCK);
		end[i]->watch.ready = i == 0 ? give_input : take_output;
		if (watch_add(&end[i]->watch, ours, i == 0 ? EPOLLOUT : EPOLLIN) < 0) {
			watch_remove(&end[i]->watch);
			return -1;
		}
	}
	return 0;
}

/* 0 or errno. */
static int spawn(struct program *x, const char *path, char **argv, char **env, const int fd[3])
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t none, all;
	int r;

	sigemptyset(&none);
	sigemptyset(&all);
	sigaddset(&all, SIGPIPE);
	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attr);
	for (int i = 0; i < 3; i++)
		posix_spawn_file_actions_adddup2(&actions, fd[i], i);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &all);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
						POSIX_SPAWN_SETSID);
	r = posix_spawnp(&x->pid, path, &actions, &attr, argv, env);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&actions);
	return r;
}

static bool wants_output(json_t *how, bool *stream)
{
	const char *word = json_string_value(how);

	*stream = word && !strcmp(word, "stream");
	return *stream || json_is_true(how) || (word && !strcmp(word, "separated"));
}

json_t *agent_exec(json_t *args, struct why *why)
{
	const char *path = json_string_value(json_object_get(args, "path"));
	json_t *input = json_object_get(args, "input-data"), *env = json_object_get(args, "env");
	_autofree char **argv = words(json_object_get(args, "arg"), path);
	_autofree char **envp = env ? words(env, NULL) : NULL;
	_autofree uint8_t *bytes = NULL;
	int fd[3] = {-1, -1, -1}, r = 0;
	struct program *x;
	size_t len = 0;

	if (!path || !*path || !argv || (env && !envp))
		return refuse(why, "guest-exec needs a path, and texts as arguments");
	if (input &&
	    (!json_is_string(input) ||
	     base64_decode(json_string_value(input), json_string_length(input), &bytes, &len) < 0))
		return refuse(why, "guest-exec: the input is no base64");
	if (n_programs == PROGRAMS_MAX)
		make_place();
	if (n_programs == PROGRAMS_MAX)
		return refuse(why, "%u programs run already", PROGRAMS_MAX);
	x = calloc(1, sizeof(*x));
	if (!x)
		return refuse(why, "out of memory");
	x->in.of = x->out.of = x->err.of = x;
	x->in.watch.fd = x->out.watch.fd = x->err.watch.fd = -1;
	x->capture = wants_output(json_object_get(args, "capture-output"), &x->stream);
	x->next = programs;
	programs = x;
	n_programs++;
	buf_put(&x->in.data, bytes, len);
	if (make_ends(x, len > 0, fd) < 0 || buf_error(&x->in.data))
		r = errno ? errno : ENOMEM;
	if (!r)
		r = spawn(x, path, argv, envp ? envp : environ, fd);
	for (int i = 0; i < 3; i++)
		if (fd[i] >= 0)
			close(fd[i]);
	if (!r)
		return json_pack("{s:I}", "pid", (json_int_t)x->pid);
	forget(x);
	errno = r;
	return refuse_errno(why, "cannot execute \"%.100s\"", path);
}

/* ---- status ---- */

static void tell(json_t *obj, const char *key, const char *cut_key, struct pipe_end *p)
{
	char *text;

	if (p->cut)
		json_object_set_new(obj, cut_key, json_true());
	if (!buf_left(&p->data))
		return;
	text = base64_encode(p->data.data, p->data.len);
	if (text)
		json_object_set_new(obj, key, json_stringn_nocheck(text, strlen(text)));
	else
		json_object_set_new(obj, cut_key, json_true());
	free(text);
	buf_reset(&p->data);
	if (p->full) {
		p->full = false;
		(void)watch_add(&p->watch, p->watch.fd, EPOLLIN);
	}
}

/* Is it over, and all told or about to be? */
static bool is_over(struct program *x)
{
	struct pipe_end *const end[2] = {&x->out, &x->err};

	if (!x->over || x->out.full || x->err.full)
		return false;
	if (x->out.watch.fd < 0 && x->err.watch.fd < 0)
		return true;
	if (clock_ns() - x->over_ns <= LINGER_NS)
		return false;
	/* What it said at last may still be in the pipes: nobody asked for so long, or we had no turn. */
	for (int i = 0; i < 2; i++)
		for (unsigned n = 0; n < PIPE_READS && end[i]->watch.fd >= 0 && !end[i]->full; n++)
			take_output(&end[i]->watch, EPOLLIN);
	return !x->out.full && !x->err.full;
}

json_t *agent_exec_status(json_t *args, struct why *why)
{
	json_int_t pid = json_integer_value(json_object_get(args, "pid"));
	struct program *x = programs;
	bool exited;
	json_t *j;

	while (x && x->pid != pid)
		x = x->next;
	if (!x)
		return refuse(why, "PID %lld does not exist", (long long)pid);
	exited = is_over(x);
	j = json_pack("{s:b}", "exited", exited);
	if (!j)
		return refuse(why, "out of memory");
	if (exited || x->stream) {
		tell(j, "out-data", "out-truncated", &x->out);
		tell(j, "err-data", "err-truncated", &x->err);
	}
	if (!exited)
		return j;
	if (WIFSIGNALED(x->status))
		json_object_set_new(j, "signal", json_integer(WTERMSIG(x->status)));
	else
		json_object_set_new(j, "exitcode", json_integer(WEXITSTATUS(x->status)));
	forget(x);
	return j;
}

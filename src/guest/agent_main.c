/* SPDX-License-Identifier: Apache-2.0 */
/*
 * agent_main.c - lodge-agent: a guest agent for Lodge's initramfs guests. Speaks the protocol of qemu-guest-agent on the virtio
 * port org.qemu.guest_agent.0, or on a file that is named on the command line ("-": standard input, a socket, for tests).
 *
 * One thread, one epoll instance. The port is watched edge-triggered: while nobody is at the host's end it reports a hang-up all
 * the time, and so once.
 *
 * A request is one line. A client begins with a byte 0xff: half a request before it and answers that were not sent are dropped,
 * they were somebody else's. The port itself does not tell when clients change: bytes of the next one may come before the
 * news that it is there.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "guest/agent.h"
#include "util/buf.h"

#define PORT_NAME "org.qemu.guest_agent.0"
#define REQUEST_MAX ((size_t)32 << 20)
#define SENTINEL 0xff

static int epoll_fd = -1;

int watch_add(struct watch *w, int fd, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.ptr = w};

	w->fd = fd;
	return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &ev);
}

void watch_hold(struct watch *w)
{
	epoll_ctl(epoll_fd, EPOLL_CTL_DEL, w->fd, NULL);
}

void watch_remove(struct watch *w)
{
	if (w->fd < 0)
		return;
	watch_hold(w);
	close(w->fd);
	w->fd = -1;
}

json_t *refuse(struct why *why, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why->text, sizeof(why->text), fmt, ap);
	va_end(ap);
	return NULL;
}

json_t *refuse_errno(struct why *why, const char *fmt, ...)
{
	const char *reason = strerror(errno);
	va_list ap;
	size_t n;

	va_start(ap, fmt);
	vsnprintf(why->text, sizeof(why->text), fmt, ap);
	va_end(ap);
	n = strlen(why->text);
	snprintf(why->text + n, sizeof(why->text) - n, ": %s", reason);
	return NULL;
}

/* ---- commands ---- */

static json_t *ping(json_t *args, struct why *why)
{
	(void)args;
	(void)why;
	return json_object();
}

static json_t *sync_id(json_t *args, struct why *why)
{
	json_t *id = json_object_get(args, "id");

	return json_is_integer(id) ? json_incref(id) : refuse(why, "\"id\" must be a number");
}

static json_t *info(json_t *args, struct why *why);

static const struct command {
	const char *name;
	json_t *(*run)(json_t *args, struct why *why);
} commands[] = {
	{"guest-sync", sync_id},
	{"guest-sync-delimited", sync_id},
	{"guest-ping", ping},
	{"guest-info", info},
	{"guest-exec", agent_exec},
	{"guest-exec-status", agent_exec_status},
	{"guest-file-open", agent_file_open},
	{"guest-file-close", agent_file_close},
	{"guest-file-read", agent_file_read},
	{"guest-file-write", agent_file_write},
	{"guest-file-seek", agent_file_seek},
	{"guest-file-flush", agent_file_flush},
	{"guest-fsfreeze-freeze", agent_freeze},
	{"guest-fsfreeze-thaw", agent_thaw},
	{"guest-fsfreeze-status", agent_freeze_status},
	{"guest-network-get-interfaces", agent_interfaces},
	{"guest-get-time", agent_get_time},
	{"guest-set-time", agent_set_time},
	{"guest-shutdown", agent_shutdown},
};

static json_t *info(json_t *args, struct why *why)
{
	json_t *list = json_array();

	(void)args;
	(void)why;
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		json_array_append_new(list, json_pack("{s:s, s:b, s:b}", "name", commands[i].name,
						      "enabled", true, "success-response",
						      commands[i].run != agent_shutdown));
	return json_pack("{s:s, s:o}", "version", "lodge-agent " LODGE_VERSION,
			 "supported_commands", list);
}

static json_t *error_answer(const char *class, const char *text)
{
	return json_pack("{s:{s:s, s:s}}", "error", "class", class, "desc", text);
}

static json_t *answer_to(json_t *request, bool *delimited)
{
	const char *name = json_string_value(json_object_get(request, "execute"));
	json_t *args = json_object_get(request, "arguments"), *result;
	struct why why = {""};

	if (!name || (args && !json_is_object(args)))
		return error_answer("GenericError", "not a request: \"execute\" is missing");
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		if (strcmp(commands[i].name, name))
			continue;
		result = commands[i].run(args, &why);
		*delimited = result && !strcmp(name, "guest-sync-delimited");
		if (result)
			return json_pack("{s:o}", "return", result);
		return why.text[0] ? error_answer("GenericError", why.text) : NULL;
	}
	return error_answer("CommandNotFound", "The command has not been found");
}

/* ---- the port ---- */

static struct port {
	struct watch watch;
	bool socket;	   /* ends when the other end leaves */
	struct buf in;	   /* half a request */
	struct buf out;	   /* answers; out.pos is what was sent */
	bool gone, broken; /* a socket's other end left; the request is too long */
} port;

static void flush_answers(void)
{
	while (buf_left(&port.out)) {
		ssize_t n = write(port.watch.fd, port.out.data + port.out.pos, buf_left(&port.out));

		if (n <= 0)
			return; /* EAGAIN: the port will say when there is room */
		port.out.pos += (size_t)n;
	}
	buf_reset(&port.out);
}

static void say(json_t *answer, bool delimited)
{
	char *text = json_dumps(answer, JSON_COMPACT);

	if (text) {
		if (delimited)
			buf_put_u8(&port.out, SENTINEL);
		buf_printf(&port.out, "%s\n", text);
	}
	free(text);
	json_decref(answer);
}

static void handle_line(const char *line, size_t len)
{
	bool delimited = false;
	json_error_t error;
	json_t *request, *answer;

	if (strspn(line, " \t\r") >= len)
		return;
	request = json_loadb(line, len, JSON_REJECT_DUPLICATES, &error);
	answer = request ? answer_to(request, &delimited) :
			   error_answer("GenericError", "not a JSON object");
	json_decref(request);
	if (answer)
		say(answer, delimited);
}

static void take_bytes(const uint8_t *bytes, size_t n)
{
	size_t from = 0;

	for (size_t i = 0; i < n; i++) {
		if (bytes[i] == SENTINEL) {
			buf_reset(&port.in);
			buf_reset(&port.out);
			port.broken = false;
			from = i + 1;
		} else if (bytes[i] == '\n') {
			buf_put(&port.in, bytes + from, i - from);
			from = i + 1;
			buf_put_u8(&port.in, 0);
			if (!port.broken && !buf_error(&port.in))
				handle_line((const char *)port.in.data, port.in.len - 1);
			else
				say(error_answer("GenericError", "the request is too long"), false);
			buf_reset(&port.in);
			port.broken = false;
		}
	}
	buf_put(&port.in, bytes + from, n - from);
	if (buf_error(&port.in)) {
		port.broken = true;
		buf_reset(&port.in);
	}
}

static void port_ready(struct watch *w, uint32_t events)
{
	static uint8_t bytes[65536];

	(void)events;
	for (;;) {
		ssize_t n = read(w->fd, bytes, sizeof(bytes));

		if (n > 0) {
			take_bytes(bytes, (size_t)n);
			continue;
		}
		if (n < 0 && errno == EINTR)
			continue;
		if (n == 0 && port.socket)
			port.gone = true;
		break;
	}
	flush_answers();
}

/* The device of the port with our name, by what sysfs says: there may be no udev. */
static int open_port(void)
{
	DIR *dir = opendir("/sys/class/virtio-ports");
	struct dirent *d;
	int fd = -1;

	while (dir && fd < 0 && (d = readdir(dir))) {
		char path[PATH_MAX], name[64] = "";
		FILE *f;

		snprintf(path, sizeof(path), "/sys/class/virtio-ports/%s/name", d->d_name);
		f = d->d_name[0] == '.' ? NULL : fopen(path, "r");
		if (f && fgets(name, sizeof(name), f))
			name[strcspn(name, "\n")] = '\0';
		if (f)
			fclose(f);
		snprintf(path, sizeof(path), "/dev/%s", d->d_name);
		if (!strcmp(name, PORT_NAME))
			fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	}
	if (dir)
		closedir(dir);
	return fd;
}

static void children_ready(struct watch *w, uint32_t events)
{
	struct signalfd_siginfo info_read;

	(void)events;
	while (read(w->fd, &info_read, sizeof(info_read)) > 0)
		;
	agent_reap();
}

int main(int argc, char **argv)
{
	struct watch children = {.ready = children_ready};
	sigset_t set;
	int fd;

	if (argc > 1 && !strcmp(argv[1], "-")) {
		fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
		port.socket = true;
		if (fd >= 0)
			fcntl(fd, F_SETFL, O_NONBLOCK);
	} else {
		fd = argc > 1 ? open(argv[1], O_RDWR | O_NONBLOCK | O_CLOEXEC) : open_port();
	}
	if (fd < 0) {
		fprintf(stderr, "lodge-agent: there is no port %s\n",
			argc > 1 ? argv[1] : PORT_NAME);
		return 1;
	}
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	buf_init(&port.in, REQUEST_MAX);
	buf_init(&port.out, 0);
	port.watch.ready = port_ready;
	if (epoll_fd < 0 || watch_add(&port.watch, fd, EPOLLIN | EPOLLOUT | EPOLLET) < 0 ||
	    watch_add(&children, signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK), EPOLLIN) < 0) {
		perror("lodge-agent");
		return 1;
	}
	while (!port.gone) {
		struct epoll_event ev;
		struct watch *w;

		if (epoll_wait(epoll_fd, &ev, 1, -1) != 1)
			continue;
		w = ev.data.ptr;
		w->ready(w, ev.events);
	}
	return 0;
}

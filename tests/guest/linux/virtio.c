/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio.c - looks at the virtio devices from inside: entropy, an agent's port, sockets to the host and from it.
 *
 * Works together with tests/guest/virtio on the host: an echo on the port and on vsock port ECHO_PORT, a connection to the
 * host's port HOST_PORT that echoes too, and an end when the host says "done" on the port. Then the verdict line.
 */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

#include "guest.h"

#define ECHO_PORT 1024
#define HOST_PORT 5000
#define BYTES (1u << 20)

static bool row(bool ok, const char *what, const char *text)
{
	printf("  %-10s %-58s %s\n", what, text, ok ? "ok" : "FAIL");
	fflush(stdout);
	return ok;
}

static bool read_all(int fd, void *buf, size_t len)
{
	char *p = buf;
	ssize_t n;

	for (; len; p += n, len -= (size_t)n) {
		n = read(fd, p, len);
		if (n <= 0)
			return false;
	}
	return true;
}

static bool write_all(int fd, const void *buf, size_t len)
{
	const char *p = buf;
	ssize_t n;

	for (; len; p += n, len -= (size_t)n) {
		n = write(fd, p, len);
		if (n <= 0)
			return false;
	}
	return true;
}

static bool check_rng(void)
{
	static unsigned char a[4096], b[4096];
	int fd = open("/dev/hwrng", O_RDONLY | O_CLOEXEC);
	unsigned zero = 0;
	bool ok;

	ok = fd >= 0 && read_all(fd, a, sizeof(a)) && read_all(fd, b, sizeof(b));
	for (size_t i = 0; i < sizeof(a); i++)
		zero += a[i] == 0;
	if (fd >= 0)
		close(fd);
	return row(ok && zero < 64 && memcmp(a, b, sizeof(a)) != 0, "rng", "8 KiB of /dev/hwrng");
}

/* The device file of a port by its name. */
static int open_port(const char *wanted)
{
	char name[64], path[64];
	glob_t g;
	int fd = -1;

	if (glob("/sys/class/virtio-ports/*/name", 0, NULL, &g))
		return -1;
	for (size_t i = 0; i < g.gl_pathc && fd < 0; i++) {
		FILE *f = fopen(g.gl_pathv[i], "re");
		const char *port = strstr(g.gl_pathv[i], "vport");

		if (f && fgets(name, sizeof(name), f) && !strncmp(name, wanted, strlen(wanted))) {
			snprintf(path, sizeof(path), "/dev/%.*s", (int)strcspn(port, "/"), port);
			fd = open(path, O_RDWR | O_CLOEXEC);
		}
		if (f)
			fclose(f);
	}
	globfree(&g);
	return fd;
}

static void echo(int fd)
{
	static char buf[65536];
	ssize_t n;

	while ((n = read(fd, buf, sizeof(buf))) > 0 && write_all(fd, buf, (size_t)n))
		;
	close(fd);
}

/* Serves ECHO_PORT for ever, one process a connection. False: not even that. */
static bool serve_vsock(void)
{
	struct sockaddr_vm sa = {.svm_family = AF_VSOCK,
				 .svm_cid = VMADDR_CID_ANY,
				 .svm_port = ECHO_PORT};
	int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0), c;

	if (fd < 0 || bind(fd, (struct sockaddr *)&sa, sizeof(sa)) || listen(fd, 8))
		return row(false, "vsock", strerror(errno));
	if (fork() != 0)
		return true;
	signal(SIGCHLD, SIG_IGN);
	while ((c = accept(fd, NULL, NULL)) >= 0) {
		if (fork() == 0) {
			echo(c);
			_exit(0);
		}
		close(c);
	}
	_exit(1);
}

static bool check_vsock(void)
{
	struct sockaddr_vm sa = {.svm_family = AF_VSOCK,
				 .svm_cid = VMADDR_CID_HOST,
				 .svm_port = HOST_PORT};
	static unsigned char out[BYTES], in[BYTES];
	int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0), status = 1;
	pid_t writer;
	bool ok;

	for (size_t i = 0; i < BYTES; i++)
		out[i] = (unsigned char)(i * 2654435761u >> 13);
	if (fd < 0 || connect(fd, (struct sockaddr *)&sa, sizeof(sa)))
		return row(false, "vsock", strerror(errno));
	writer = fork();
	if (writer == 0) {
		ok = write_all(fd, out, BYTES);
		shutdown(fd, SHUT_WR);
		_exit(!ok);
	}
	ok = read_all(fd, in, BYTES) && !memcmp(in, out, BYTES) && read(fd, in, 1) == 0;
	waitpid(writer, &status, 0);
	close(fd);
	ok = row(ok && status == 0, "vsock", "1 MiB to the host and back");
	sa.svm_port = HOST_PORT + 1;
	fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ok &= row(fd >= 0 && connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0, "vsock",
		  "a port where nobody listens");
	close(fd);
	return ok;
}

/* Echoes lines on the agent's port until the host says "done". */
static bool serve_port(int fd)
{
	char line[256];
	size_t n = 0;

	for (;;) {
		ssize_t r = read(fd, line + n, 1);

		if (r == 0) {
			usleep(20000); /* no client: this read does not wait */
			continue;
		}
		if (r < 0 || ++n == sizeof(line))
			return false;
		if (line[n - 1] != '\n')
			continue;
		if (!write_all(fd, line, n))
			return false;
		if (n == 5 && !memcmp(line, "done\n", 5))
			return true;
		n = 0;
	}
}

int virtio_main(int argc, char **argv)
{
	int port = open_port("org.qemu.guest_agent.0");
	bool ok;

	if (argc != 2) {
		fprintf(stderr, "usage: lodge-guest virtio TOKEN\n");
		return 2;
	}
	ok = check_rng();
	ok &= row(port >= 0, "port", "org.qemu.guest_agent.0");
	ok &= serve_vsock();
	ok &= check_vsock();
	printf("lodge-virtio: ready\n");
	fflush(stdout);
	if (port >= 0)
		ok &= row(serve_port(port), "port", "lines came and went");
	printf("lodge-check: %s %s\n", argv[1], ok ? "pass" : "fail");
	fflush(stdout);
	return !ok;
}

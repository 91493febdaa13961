/* SPDX-License-Identifier: Apache-2.0 */
/*
 * prog.c - tests that run another program: busybox gzip on a file, a loop in busybox sh.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cpubench.h"

/* Runs busybox with the arguments, its input and output being these descriptors. */
static int busybox(char *const argv[], int in, int out)
{
	int status;
	pid_t pid = fork();

	if (pid < 0)
		return bench_fail("fork");
	if (!pid) {
		if (dup2(in, 0) < 0 || dup2(out, 1) < 0)
			_exit(126);
		execv(bench_env.busybox, argv);
		_exit(127);
	}
	if (waitpid(pid, &status, 0) != pid)
		return bench_fail("waitpid");
	if (status) {
		printf("%s %s: wait status %#x\n", bench_env.busybox, argv[1], (unsigned)status);
		return -1;
	}
	return 0;
}

static char applet_gzip[] = "gzip", applet_sh[] = "sh", opt_c[] = "-c", arg0[] = "busybox";

/* A file on tmpfs without a name. */
static int nameless_file(void)
{
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "%s/lodge-cpubench.XXXXXX", bench_env.tmp);
	fd = mkostemp(path, O_CLOEXEC);
	if (fd < 0)
		return bench_fail(path);
	unlink(path);
	return fd;
}

/* --- gzip: a turn is 32 KiB of text-like data, all in one run of the program --- */

#define TEXT_BYTES (2u << 20)
#define TURN_BYTES 32768u

static int gzip_source = -1, gzip_in = -1, gzip_out = -1;

/* Words of 2 to 9 letters out of 512, the first ones far more often, with spaces and line ends. */
static int write_text(int fd)
{
	static char words[512][12];
	char chunk[4096 + 16];
	uint64_t x = 1001;
	size_t n = 0, total = 0;
	unsigned i, k, len;

	for (i = 0; i < 512; i++) {
		len = 2 + (unsigned)(bench_random(&x) >> 20) % 8;
		for (k = 0; k < len; k++)
			words[i][k] = (char)('a' + (bench_random(&x) >> 20) % 26);
	}
	while (total < TEXT_BYTES) {
		uint64_t r = bench_random(&x) >> 16;

		i = (unsigned)(r & 511) >> (r >> 9 & 7);
		len = (unsigned)strlen(words[i]);
		memcpy(chunk + n, words[i], len);
		n += len;
		chunk[n++] = (r >> 12 & 15) ? ' ' : '\n';
		if (n >= 4096) {
			if (write(fd, chunk, 4096) != 4096)
				return bench_fail("write");
			total += 4096;
			n -= 4096;
			memmove(chunk, chunk + 4096, n);
		}
	}
	return 0;
}

int gzip_prepare(void)
{
	gzip_source = nameless_file();
	gzip_in = nameless_file();
	gzip_out = nameless_file();
	if (gzip_source < 0 || gzip_in < 0 || gzip_out < 0)
		return -1;
	return write_text(gzip_source);
}

/* The first run makes the input of as many turns as are asked for, by a copy that is small against the work. */
static int gzip_input(uint64_t turns)
{
	static char chunk[TURN_BYTES];
	struct stat st;
	uint64_t i;

	if (fstat(gzip_in, &st))
		return bench_fail("fstat");
	if ((uint64_t)st.st_size == turns * TURN_BYTES)
		return 0;
	for (i = 0; i < turns; i++) {
		off_t at = (off_t)(i * TURN_BYTES % TEXT_BYTES);

		if (pread(gzip_source, chunk, TURN_BYTES, at) != TURN_BYTES ||
		    pwrite(gzip_in, chunk, TURN_BYTES, (off_t)(i * TURN_BYTES)) != TURN_BYTES)
			return bench_fail("copy");
	}
	return 0;
}

int gzip_run(uint64_t turns, uint64_t *sum)
{
	char *argv[] = {arg0, applet_gzip, opt_c, NULL};

	*sum = turns;
	if (gzip_input(turns))
		return -1;
	if (lseek(gzip_in, 0, SEEK_SET) || lseek(gzip_out, 0, SEEK_SET))
		return bench_fail("lseek");
	return busybox(argv, gzip_in, gzip_out);
}

int gzip_check(uint64_t *sum)
{
	static uint8_t chunk[TURN_BYTES];
	off_t at = 0;
	ssize_t n;

	/* The header (RFC 1952 §2.3) has a time of the input and a system in bytes 4 to 9: not part of the result. */
	while ((n = pread(gzip_out, chunk, sizeof(chunk), at)) > 0) {
		if (!at)
			memset(chunk + 4, 0, 6);
		*sum = bench_mix_bytes(*sum, chunk, (size_t)n);
		at += n;
	}
	return n < 0 || ftruncate(gzip_out, 0) ? bench_fail("compressed file") : 0;
}

/* --- shell: a turn is one pass of a counting loop --- */

int shell_run(uint64_t turns, uint64_t *sum)
{
	char script[128], text[32] = "";
	char *argv[] = {arg0, applet_sh, opt_c, script, NULL};
	int fds[2], r;
	ssize_t n;

	snprintf(script, sizeof(script), "i=0; while [ $i -lt %llu ]; do i=$((i+1)); done; echo $i",
		 (unsigned long long)turns);
	if (pipe2(fds, O_CLOEXEC))
		return bench_fail("pipe");
	r = busybox(argv, 0, fds[1]);
	close(fds[1]);
	n = r ? 0 : read(fds[0], text, sizeof(text) - 1);
	close(fds[0]);
	if (r)
		return -1;
	*sum = bench_mix_bytes(turns, text, n < 0 ? 0 : (size_t)n);
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * os.c - tests that make the kernel work: system calls, page faults, processes, pipes, files, signals.
 *
 * Where two processes take turns both are kept on one CPU: a wake-up of another CPU is an interrupt between
 * processors, whose price on a virtual host says more about that host than about the code.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cpubench.h"

int getppid_run(uint64_t turns, uint64_t *sum)
{
	pid_t parent = getppid();
	uint64_t n = 0;

	while (turns--)
		n += getppid() == parent;
	*sum = bench_mix(0, n);
	return 0;
}

/* --- page-fault: a turn maps 64 pages, touches each, unmaps --- */

#define FAULT_PAGES 64u
#define PAGE 4096u

int page_fault_run(uint64_t turns, uint64_t *sum)
{
	uint64_t s = 0;

	while (turns--) {
		volatile uint8_t *p = mmap(NULL, FAULT_PAGES * PAGE, PROT_READ | PROT_WRITE,
					   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		uint8_t *start = (uint8_t *)(uintptr_t)p;
		unsigned i;

		if (start == MAP_FAILED)
			return bench_fail("mmap");
		for (i = 0; i < FAULT_PAGES; i++) {
			s += p[i * PAGE + 8]; /* 0 */
			p[i * PAGE + 8] = (uint8_t)(i + 1);
		}
		for (i = 0; i < FAULT_PAGES; i += 7)
			s = bench_mix(s, p[i * PAGE + 8]);
		if (munmap(start, FAULT_PAGES * PAGE))
			return bench_fail("munmap");
	}
	*sum = s;
	return 0;
}

/* --- fork-exec: a turn starts this program again with an argument that makes it exit, and waits --- */

int fork_exec_run(uint64_t turns, uint64_t *sum)
{
	int status;
	pid_t pid;

	if (bench_stay())
		return -1;
	*sum = 0;
	while (turns--) {
		pid = fork();
		if (pid < 0)
			return bench_fail("fork");
		if (!pid) {
			execl(bench_env.self, "lodge-cpubench", BENCH_EXIT_ARG, (char *)NULL);
			_exit(127);
		}
		if (waitpid(pid, &status, 0) != pid)
			return bench_fail("waitpid");
		if (!WIFEXITED(status) || WEXITSTATUS(status) != BENCH_EXIT_STATUS) {
			printf("fork-exec: wait status %#x\n", (unsigned)status);
			return -1;
		}
		*sum = bench_mix(*sum, turns);
	}
	return 0;
}

/* --- pipe: a turn is one byte to another process and one back --- */

static void pipe_echo(int in, int out)
{
	uint8_t b;

	while (read(in, &b, 1) == 1) {
		b = (uint8_t)(b * 3 + 1);
		if (write(out, &b, 1) != 1)
			break;
	}
	_exit(0);
}

int pipe_run(uint64_t turns, uint64_t *sum)
{
	int there[2], back[2], status;
	uint64_t s = 0;
	uint8_t b = 1;
	pid_t pid;

	if (bench_stay())
		return -1;
	if (pipe2(there, O_CLOEXEC) || pipe2(back, O_CLOEXEC))
		return bench_fail("pipe");
	pid = fork();
	if (pid < 0)
		return bench_fail("fork");
	if (!pid) {
		close(there[1]);
		close(back[0]);
		pipe_echo(there[0], back[1]);
	}
	close(there[0]);
	close(back[1]);
	while (turns--) {
		if (write(there[1], &b, 1) != 1 || read(back[0], &b, 1) != 1)
			return bench_fail("read or write");
		s = bench_mix(s, b);
	}
	close(there[1]);
	close(back[0]);
	if (waitpid(pid, &status, 0) != pid || status)
		return bench_fail("the other process");
	*sum = s;
	return 0;
}

/* --- tmpfs: a turn creates a file, writes 6000 bytes, looks at it, reads it, removes it --- */

#define FILE_BYTES 6000u

static int tmpfs_one(const char *path, uint64_t seed, uint64_t *sum)
{
	static uint8_t data[FILE_BYTES], back[FILE_BYTES];
	struct stat st;
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0)
		return bench_fail(path);
	memset(data, (int)(seed & 0xff), 64);
	if (write(fd, data, FILE_BYTES) != FILE_BYTES || stat(path, &st) ||
	    pread(fd, back, FILE_BYTES, 0) != FILE_BYTES) {
		bench_fail(path);
		close(fd);
		return -1;
	}
	close(fd);
	*sum = bench_mix(*sum, (uint64_t)st.st_size + back[63] + back[64]);
	return unlink(path) ? bench_fail("unlink") : 0;
}

int tmpfs_run(uint64_t turns, uint64_t *sum)
{
	char path[256];
	int pid = (int)getpid();

	*sum = 0;
	while (turns--) {
		snprintf(path, sizeof(path), "%s/lodge-cpubench.%d.%u", bench_env.tmp, pid,
			 (unsigned)turns & 15);
		if (tmpfs_one(path, turns, sum))
			return -1;
	}
	return 0;
}

/* --- signals: a turn is one raise() with a handler --- */

static volatile uint64_t handled;

static void handler(int sig)
{
	handled = bench_mix(handled, (uint64_t)sig);
}

int signals_prepare(void)
{
	struct sigaction sa = {.sa_handler = handler};

	return sigaction(SIGUSR1, &sa, NULL) ? bench_fail("sigaction") : 0;
}

int signals_run(uint64_t turns, uint64_t *sum)
{
	handled = 0;
	while (turns--)
		raise(SIGUSR1);
	*sum = handled;
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * timeit.c - lodge-timeit: runs a command with a time limit and takes the time of lines that it prints.
 *
 * Theory of operation. The command runs in a process group of its own, with /dev/null as input unless -i
 * is given, its output (and with -e its error output) through a pipe. What comes out is passed on; the first
 * appearance of each marker text is written to the report with the time since the command was started. The
 * command ends by itself, or at the marker of -u, or at the time limit, or when this program is told to end:
 * in the last three cases its whole group gets SIGTERM, and SIGKILL a little later. Nothing but that group is
 * ever signalled. One thread, one poll loop: pipe and signals (signalfd).
 *
 * Exit status: the command's (128 + N for signal N); 0 when -u ended it; 124 at the time limit; 125 for a
 * failure of this program; 127 when the command cannot be started.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_SEC UINT64_C(1000000000)
#define NS_PER_MS UINT64_C(1000000)
#define MARKERS_MAX 16
#define MARKER_LEN_MAX 256u
#define GRACE_NS (2 * NS_PER_SEC) /* between SIGTERM and SIGKILL */

struct marker {
	const char *text;
	bool seen, ends; /* ends: -u */
};

struct run {
	struct marker marker[MARKERS_MAX];
	unsigned n_markers;
	const char *report_path;
	FILE *report;
	uint64_t limit_ns; /* 0: none */
	bool quiet, keep_input, with_stderr;

	pid_t pid; /* group leader; 0 once reaped */
	int pipe;  /* read end, -1 after end of file */
	int signals;
	uint64_t start_ns, term_ns; /* term_ns: when SIGTERM was sent, 0 before */
	int wait_status;
	int verdict;			     /* exit status decided by us, -1: the command's */
	char window[MARKER_LEN_MAX + 65536]; /* tail of what came before, then the newest bytes */
	size_t tail;
};

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_SEC + (uint64_t)ts.tv_nsec;
}

static int usage(void)
{
	fprintf(stderr,
		"usage: lodge-timeit [-t SECONDS] [-m TEXT]... [-u TEXT] [-o REPORT] [-q] [-i] [-e] -- COMMAND...\n"
		"  -t  time limit            -m  take the time of this text in the output\n"
		"  -o  where times go        -u  the same, and end the command there\n"
		"  -q  do not pass output on -i  leave it our standard input\n"
		"  -e  watch the error output too\n");
	return 125;
}

static int parse(struct run *r, int argc, char **argv)
{
	int c;

	while ((c = getopt(argc, argv, "+t:m:u:o:qie")) != -1) {
		switch (c) {
		case 't': {
			char *end;
			double s = strtod(optarg, &end);

			if (*end || end == optarg || !(s > 0 && s < 1e6))
				return usage();
			r->limit_ns = (uint64_t)(s * (double)NS_PER_SEC);
			break;
		}
		case 'm':
		case 'u':
			if (r->n_markers == MARKERS_MAX || !*optarg ||
			    strlen(optarg) > MARKER_LEN_MAX)
				return usage();
			r->marker[r->n_markers++] = (struct marker){.text = optarg,
								    .ends = c == 'u'};
			break;
		case 'o': r->report_path = optarg; break;
		case 'q': r->quiet = true; break;
		case 'i': r->keep_input = true; break;
		case 'e': r->with_stderr = true; break;
		default: return usage();
		}
	}
	return optind < argc ? 0 : usage();
}

static void report(struct run *r, const char *what, uint64_t value)
{
	if (!r->report)
		return;
	fprintf(r->report, "%s\t%llu\n", what, (unsigned long long)value);
	fflush(r->report);
}

static _Noreturn void child(const struct run *r, int out, pid_t parent, char **argv)
{
	sigset_t none;
	int null;

	/* However we were started: what a shell's background job or nohup(1) ignores is not ignored by the command. */
	for (int s = 1; s < NSIG; s++)
		signal(s, SIG_DFL);
	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != parent)
		_exit(125);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (!r->keep_input) {
		null = open("/dev/null", O_RDONLY);
		if (null < 0 || dup2(null, 0) < 0)
			_exit(125);
		if (null > 0)
			close(null);
	}
	if (dup2(out, 1) < 0 || (r->with_stderr && dup2(out, 2) < 0))
		_exit(125);
	execvp(argv[0], argv);
	fprintf(stderr, "lodge-timeit: cannot start \"%s\": %s\n", argv[0], strerror(errno));
	_exit(127);
}

static int start(struct run *r, char **argv)
{
	pid_t parent = getpid();
	sigset_t set;
	int fd[2];

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	r->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (r->signals < 0 || pipe2(fd, O_CLOEXEC))
		return -1;
	r->start_ns = now_ns();
	r->pid = fork();
	if (r->pid < 0)
		return -1;
	if (!r->pid)
		child(r, fd[1], parent, argv);
	setpgid(r->pid, r->pid); /* both sides, so that it is done whoever runs first */
	close(fd[1]);
	r->pipe = fd[0];
	return 0;
}

/* Asks the command to end, with our reason as the exit status. */
static void stop(struct run *r, int verdict)
{
	if (r->verdict < 0)
		r->verdict = verdict;
	if (r->pid && !r->term_ns) {
		r->term_ns = now_ns();
		kill(-r->pid, SIGTERM);
	}
}

static void output(struct run *r)
{
	char *fresh = r->window + r->tail;
	ssize_t n = read(r->pipe, fresh, sizeof(r->window) - r->tail);
	uint64_t t = now_ns() - r->start_ns;
	size_t total, i;

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (n <= 0) {
		close(r->pipe);
		r->pipe = -1;
		return;
	}
	if (!r->quiet) {
		fwrite(fresh, 1, (size_t)n, stdout);
		fflush(stdout);
	}
	total = r->tail + (size_t)n;
	for (i = 0; i < r->n_markers; i++) {
		struct marker *m = &r->marker[i];

		if (m->seen || !memmem(r->window, total, m->text, strlen(m->text)))
			continue;
		m->seen = true;
		report(r, m->text, t);
		if (m->ends)
			stop(r, 0);
	}
	r->tail = total < MARKER_LEN_MAX ? total : MARKER_LEN_MAX;
	memmove(r->window, r->window + total - r->tail, r->tail);
}

static void on_signal(struct run *r)
{
	struct signalfd_siginfo si;

	while (read(r->signals, &si, sizeof(si)) == (ssize_t)sizeof(si)) {
		if (si.ssi_signo != SIGCHLD)
			stop(r, 128 + (int)si.ssi_signo);
		else if (r->pid && waitpid(r->pid, &r->wait_status, WNOHANG) == r->pid) {
			/* What the command left behind in its group ends with it. The group's number cannot have
			 * been given to somebody else while a member lives; without members this is ESRCH. */
			kill(-r->pid, SIGTERM);
			r->pid = 0;
		}
	}
}

static void watch(struct run *r)
{
	uint64_t end_ns =
		0; /* when the command is gone: how long to wait for the rest of its output */

	while (r->pid || r->pipe >= 0) {
		struct pollfd p[2] = {{.fd = r->signals, .events = POLLIN},
				      {.fd = r->pipe, .events = POLLIN}};
		uint64_t now = now_ns(), wake = UINT64_MAX;

		if (!r->pid && !end_ns)
			end_ns = now + GRACE_NS;
		if (end_ns && now >= end_ns)
			break;
		if (end_ns)
			wake = end_ns;
		if (r->pid && r->term_ns) {
			if (now >= r->term_ns + GRACE_NS)
				kill(-r->pid, SIGKILL);
			wake = now < r->term_ns + GRACE_NS ? r->term_ns + GRACE_NS : now + GRACE_NS;
		} else if (r->pid && r->limit_ns) {
			if (now >= r->start_ns + r->limit_ns) {
				stop(r, 124);
				continue;
			}
			wake = r->start_ns + r->limit_ns;
		}
		if (poll(p, 2, wake == UINT64_MAX ? -1 : (int)((wake - now) / NS_PER_MS) + 1) < 0)
			continue;
		if (p[1].revents)
			output(r);
		if (p[0].revents)
			on_signal(r);
	}
}

int main(int argc, char **argv)
{
	static struct run r = {.pipe = -1, .verdict = -1};
	struct rusage use;
	int ret = parse(&r, argc, argv);

	if (ret)
		return ret;
	if (r.report_path && !(r.report = fopen(r.report_path, "we"))) {
		fprintf(stderr, "lodge-timeit: cannot write \"%s\": %s\n", r.report_path,
			strerror(errno));
		return 125;
	}
	if (start(&r, argv + optind)) {
		fprintf(stderr, "lodge-timeit: cannot start a process: %s\n", strerror(errno));
		return 125;
	}
	report(&r, "pid", (uint64_t)r.pid);
	watch(&r);
	ret = r.verdict;
	if (ret < 0)
		ret = WIFSIGNALED(r.wait_status) ? 128 + WTERMSIG(r.wait_status) :
						   WEXITSTATUS(r.wait_status);
	report(&r, "wall", now_ns() - r.start_ns);
	if (!getrusage(RUSAGE_CHILDREN, &use))
		report(&r, "cpu",
		       ((uint64_t)use.ru_utime.tv_sec + (uint64_t)use.ru_stime.tv_sec) * NS_PER_SEC +
			       ((uint64_t)use.ru_utime.tv_usec + (uint64_t)use.ru_stime.tv_usec) *
				       1000);
	report(&r, "exit", (uint64_t)ret);
	return ret;
}

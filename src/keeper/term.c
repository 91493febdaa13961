/* SPDX-License-Identifier: Apache-2.0 */
/*
 * term.c - the operator's terminal.
 *
 * Signals that ask the program to end come through the event loop (attach.c), which restores the
 * terminal in the ordinary way. What is left here are exit() and crashes: tcsetattr is
 * async-signal-safe (POSIX.1-2017 §2.4.3), so a handler restores the terminal and lets the signal
 * have its default effect.
 */
#include "keeper/term.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

static struct {
	struct termios saved;
	volatile sig_atomic_t raw;
	bool hooked;
} term;

bool term_usable(void)
{
	return isatty(STDIN_FILENO) && tcgetpgrp(STDIN_FILENO) == getpgrp();
}

void term_restore(void)
{
	if (!term.raw)
		return;
	term.raw = 0;
	/* TCSADRAIN would wait for a stopped terminal: not on the way out. */
	tcsetattr(STDIN_FILENO, TCSANOW, &term.saved);
}

static void term_crashed(int sig)
{
	term_restore();
	raise(sig); /* SA_RESETHAND: the default action now */
}

static void term_hook(void)
{
	static const int fatal[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
	struct sigaction sa = {.sa_handler = term_crashed, .sa_flags = (int)SA_RESETHAND};

	if (term.hooked)
		return;
	term.hooked = true;
	atexit(term_restore);
	for (unsigned i = 0; i < ARRAY_SIZE(fatal); i++)
		sigaction(fatal[i], &sa, NULL);
}

int term_raw(void)
{
	struct termios t;

	if (term.raw)
		return 0;
	if (tcgetattr(STDIN_FILENO, &term.saved) < 0)
		return -errno;
	term_hook();
	t = term.saved;
	t.c_iflag &= ~(tcflag_t)(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | IXON);
	t.c_lflag &= ~(tcflag_t)(ECHO | ECHONL | ICANON | ISIG | IEXTEN);
	t.c_cflag &= ~(tcflag_t)(CSIZE | PARENB);
	t.c_cflag |= CS8;
	t.c_cc[VMIN] = 1;
	t.c_cc[VTIME] = 0;
	term.raw = 1;
	if (tcsetattr(STDIN_FILENO, TCSANOW, &t) < 0) {
		term.raw = 0;
		return -errno;
	}
	return 0;
}

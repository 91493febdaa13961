/* SPDX-License-Identifier: Apache-2.0 */
/*
 * man.c - manual pages, made when Lodge is built: lodge(1), lodge-run(1) and lodge-vms(1), in the man macros of roff.
 *
 * They are made of the tables that parsing and --help are made of: a page cannot lack an option. Text around the options is shown as the
 * help shows it, line by line.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/vm.h"

static const struct {
	enum status status;
	const char *text;
} statuses[] = {
	{STATUS_OK, "done"},
	{STATUS_RUNTIME, "an error; lodge diff: something would change"},
	{STATUS_USAGE, "the command line, or a file of definitions, is wrong; nothing was done"},
	{STATUS_CRASHED, "lodge run, lodge wait: the guest crashed"},
	{STATUS_NOT_FOUND, "there is no VM, image or operation of this name"},
	{STATUS_CONFLICT,
	 "conflict: it is running, or not running, or exists, or is used by another"},
	{STATUS_PERMISSION, "no permission"},
	{STATUS_TIMEOUT, "the time of --timeout was over"},
	{STATUS_INTERRUPTED, "ended by SIGINT, SIGTERM or SIGHUP"},
};

static const struct {
	const char *name, *text;
} environment[] = {
	{"LODGE_RUN",
	 "the folder with what runs (the folder vms in it) and the socket of lodged; /run/lodge for root, $XDG_RUNTIME_DIR/lodge for others"},
	{"LODGE_IMAGES", "the folder of images; $XDG_DATA_HOME/lodge/images"},
	{"LODGE_DIRECT", "if set, commands do not look for lodged"},
};

/* Text for roff: nothing in it is a request, and a dash can be copied. */
static void put(const char *text, size_t n)
{
	if (n && (*text == '.' || *text == '\''))
		fputs("\\&", stdout);
	for (size_t i = 0; i < n; i++)
		switch (text[i]) {
		case '\\': fputs("\\e", stdout); break;
		case '-': fputs("\\-", stdout); break;
		default: putchar(text[i]);
		}
}

static void line(const char *text)
{
	put(text, strlen(text));
	putchar('\n');
}

/* "-c, --cpus N": what is typed is bold, what stands for something is not. */
static void option_tag(const char *text, size_t n)
{
	fputs(".TP\n", stdout);
	for (size_t i = 0; i < n;) {
		size_t len = 0;

		while (i + len < n && text[i + len] != ' ')
			len++;
		fputs(text[i] == '-' ? "\\fB" : "", stdout);
		put(text + i, len);
		fputs(text[i] == '-' ? "\\fR" : "", stdout);
		i += len;
		if (i < n && text[i++] == ' ' && i < n)
			putchar(' ');
	}
	putchar('\n');
}

static void body(const struct cli_command *c)
{
	_autofree char *text = cli_marked_help(c);
	bool verbatim = false;

	for (char *p = text, *end; p && *p; p = end + 1) {
		const char *mark;

		end = p + strcspn(p, "\n");
		mark = *p == '\x01' ? memchr(p + 1, '\x01', (size_t)(end - p) - 1) : NULL;
		if ((mark != NULL) == verbatim) {
			puts(verbatim ? ".fi" : ".PP\n.nf");
			verbatim = !verbatim;
		}
		if (mark) {
			option_tag(p + 1, (size_t)(mark - p) - 1);
			put(mark + 1, (size_t)(end - mark) - 1);
			putchar('\n');
		} else {
			put(p, (size_t)(end - p));
			putchar('\n');
		}
		if (!*end)
			break;
	}
	if (verbatim)
		puts(".fi");
}

static void head(const char *page, const char *what)
{
	printf(".\\\" Made by `lodge help --man %s`.\n.TH %s 1 \"\" \"lodge\" \"Lodge\"\n.SH NAME\n",
	       page, page);
	put(page, strlen(page));
	fputs(" \\- ", stdout);
	line(what);
}

static void tail(const char *others)
{
	puts(".SH EXIT STATUS");
	for (unsigned i = 0; i < ARRAY_SIZE(statuses); i++) {
		printf(".TP\n.B %d\n", (int)statuses[i].status);
		line(statuses[i].text);
	}
	puts(".PP\nlodge exec has that of the command, lodge wait that of the VM.\n.SH ENVIRONMENT");
	for (unsigned i = 0; i < ARRAY_SIZE(environment); i++) {
		printf(".TP\n.B %s\n", environment[i].name);
		line(environment[i].text);
	}
	printf(".SH SEE ALSO\n%s\n", others);
}

static void usage(const struct cli_command *c)
{
	fputs(".B lodge ", stdout);
	line(c->name);
	line(c->usage);
}

static void page_lodge(void)
{
	head("lodge", "virtual machines on this host");
	puts(".SH SYNOPSIS\n.B lodge\n[\\-\\-json\\-errors] [\\-\\-host URL] COMMAND ...\n.SH DESCRIPTION\n"
	     "Runs virtual machines, each in a process of its own, and looks after them. \\fBlodge run\\fR needs no daemon; with\n"
	     ".BR lodged (8)\nVMs are remembered and started again.\n.SH COMMANDS");
	for (const struct cli_command *c = cli_commands; c->name; c++) {
		puts(".TP");
		usage(c);
		line(c->help);
	}
	tail(".BR lodge\\-run (1),\n.BR lodge\\-vms (1),\n.BR lodged (8)");
}

static void page_run(const struct cli_command *c)
{
	head("lodge-run", c->help);
	puts(".SH SYNOPSIS");
	usage(c);
	puts(".SH OPTIONS");
	body(c);
	tail(".BR lodge (1),\n.BR lodge\\-vms (1)");
}

static void page_vms(const struct cli_command *run)
{
	head("lodge-vms", "commands for virtual machines that run, images, and definitions");
	puts(".SH SYNOPSIS\n.B lodge\nCOMMAND ...\n.SH COMMANDS");
	for (const struct cli_command *c = cli_commands; c->name; c++) {
		if (c == run)
			continue;
		fputs(".SS lodge ", stdout);
		line(c->name);
		usage(c);
		puts(".PP");
		line(c->help);
		body(c);
	}
	tail(".BR lodge (1),\n.BR lodge\\-run (1),\n.BR lodged (8)");
}

int man_print(const char *page, struct err *e)
{
	const struct cli_command *run = cli_find_command("run", e);

	if (!strcmp(page, "lodge"))
		page_lodge();
	else if (!strcmp(page, "lodge-run"))
		page_run(run);
	else if (!strcmp(page, "lodge-vms"))
		page_vms(run);
	else
		return err_set(e, EINVAL, "pages are lodge, lodge-run and lodge-vms");
	return 0;
}

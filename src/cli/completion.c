/* SPDX-License-Identifier: Apache-2.0 */
/*
 * completion.c - `lodge completion SHELL`: prints a script for the shell's own start-up file.
 *
 * The scripts know nothing of commands and options: they ask `lodge completion --words WORD...`, which answers from the tables
 * that everything else is made of. So they need no change when there is a new option.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/daemon.h"
#include "cli/vm.h"

static const char bash_script[] =
	"# lodge: source <(lodge completion bash)\n"
	"_lodge() {\n"
	"	local IFS=$'\\n' cur=${COMP_WORDS[COMP_CWORD]}\n"
	"	COMPREPLY=($(compgen -W \"$(lodge completion --words \"${COMP_WORDS[@]:1:COMP_CWORD-1}\" 2>/dev/null)\" -- \"$cur\"))\n"
	"}\n"
	"complete -o default -F _lodge lodge\n";

static const char zsh_script[] =
	"#compdef lodge\n"
	"# lodge: source <(lodge completion zsh)\n"
	"_lodge() {\n"
	"	local -a all=(${(f)\"$(lodge completion --words ${words[2,CURRENT-1]} 2>/dev/null)\"})\n"
	"	compadd -- $all || _files\n"
	"}\n"
	"if [ \"${funcstack[1]}\" = _lodge ]; then _lodge \"$@\"; else compdef _lodge lodge; fi\n";

static const char fish_script[] =
	"# lodge: lodge completion fish | source\n"
	"complete -c lodge -f -a '(lodge completion --words (commandline -opc)[2..-1] 2>/dev/null)'\n"
	"complete -c lodge -n '__fish_seen_subcommand_from run image create apply diff cp' -F\n";

void cli_completion_options(FILE *f)
{
	fprintf(f, "  bash: source <(lodge completion bash)   in ~/.bashrc\n"
		   "  zsh:  source <(lodge completion zsh)    in ~/.zshrc\n"
		   "  fish: lodge completion fish | source    in ~/.config/fish/config.fish\n");
}

static void print_names(void)
{
	_autojson json_t *names = json_array();
	json_t *name;
	size_t i;

	(void)vm_names(names, NULL);
	json_array_foreach(names, i, name)
	{
		puts(json_string_value(name));
	}
}

/* The options of a command, out of its help. */
static void print_options(const struct cli_command *c)
{
	_autofree char *text = cli_marked_help(c);
	char *save = NULL;

	for (char *line = text ? strtok_r(text, "\n", &save) : NULL; line;
	     line = strtok_r(NULL, "\n", &save)) {
		const char *option = *line == '\x01' ? strstr(line, "--") : NULL;

		if (option && option < strchr(line + 1, '\x01'))
			printf("%.*s\n", (int)strcspn(option, " ="), option);
	}
}

/* Its own commands, which its help lists, two blanks before each. */
static void print_commands(const struct cli_command *c)
{
	_autofree char *text = cli_marked_help(c);
	char *save = NULL;

	for (char *line = text ? strtok_r(text, "\n", &save) : NULL; line;
	     line = strtok_r(NULL, "\n", &save))
		if (!strncmp(line, "  ", 2) && line[2] >= 'a' && line[2] <= 'z')
			printf("%.*s\n", (int)strcspn(line + 2, " "), line + 2);
}

/* What may follow these words. */
static int print_words(int argc, char **argv)
{
	const struct cli_command *c = cli_commands;

	if (argc == 0) {
		for (; c->name; c++)
			puts(c->name);
		return STATUS_OK;
	}
	while (c->name && strcmp(c->name, argv[0]))
		c++;
	if (!c->name)
		return STATUS_OK;
	print_options(c);
	if (!strncmp(c->usage, "VM", 2) && (argc == 1 || !strstr(c->usage, "COMMAND")))
		print_names();
	if (argc == 2 && !strncmp(c->usage, "VM COMMAND", 10))
		print_commands(c);
	if (argc == 1 && (!strncmp(c->usage, "COMMAND", 7) || !strncmp(c->usage, "[info]", 6)))
		print_commands(c);
	if (!strcmp(c->name, "ctl") && argc == 2)
		for (unsigned i = 0; control_cmd_names[i]; i++)
			puts(control_cmd_names[i]);
	if (!strcmp(c->name, "help"))
		print_words(0, NULL);
	if (!strcmp(c->name, "completion"))
		printf("bash\nzsh\nfish\n");
	return STATUS_OK;
}

int cli_completion(int argc, char **argv)
{
	const char *shell = argc == 1 ? argv[0] : "";
	struct err e = {0};

	if (argc >= 1 && !strcmp(argv[0], "--words"))
		return print_words(argc - 1, argv + 1);
	if (!strcmp(shell, "bash"))
		fputs(bash_script, stdout);
	else if (!strcmp(shell, "zsh"))
		fputs(zsh_script, stdout);
	else if (!strcmp(shell, "fish"))
		fputs(fish_script, stdout);
	else if (!strcmp(shell, "--help") || !strcmp(shell, "-h"))
		return cli_own_help(cli_completion);
	else {
		err_set(&e, EINVAL, "for which shell? `lodge completion bash`, zsh or fish");
		err_limit(&e, "bash, zsh, fish");
		err_field(&e, "shell", shell);
		return status_fail(&e, STATUS_USAGE);
	}
	return STATUS_OK;
}

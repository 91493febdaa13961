/* SPDX-License-Identifier: Apache-2.0 */
/*
 * define.h - definitions of lodged's VMs, as the commands make and compare them.
 *
 * A definition is what the API has: {"name","words","folder","restart","autostart"}. Its words are those of `lodge run`, which can be
 * written in many ways; the same as values, {"memory":1073741824,"disk":["a.raw"],"no-reboot":true}, they can be compared.
 */
#ifndef LODGE_CLI_DEFINE_H
#define LODGE_CLI_DEFINE_H

#include "cli/cli.h"

extern const char *const define_restart_names[];

/* Are they words that `lodge run` takes? Nothing of the host is looked at. Not changed. */
int define_check(int argc, char *const *argv, struct err *e);
/* Of a definition: its options with their values, and "restart", "autostart" and "folder". NULL: they are no words, or out of memory. */
json_t *define_values(const json_t *def);

/* ---- define_yaml.c: definitions in a file ---- */

/*
 * Reads a YAML file ("-": standard input) with one definition or a list of them in each document, and checks it all. Keys are the
 * options of `lodge run`, and name, image, restart, autostart, folder. Sentences begin with file, line and column. What it defines is
 * appended to `defs`, each name once.
 */
int define_load(const char *path, json_t *defs, struct err *e);

#endif

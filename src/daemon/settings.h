/* SPDX-License-Identifier: Apache-2.0 */
/*
 * settings.h - lodged's configuration: lines KEY = VALUE in lodged.conf, then in lodged.conf.d/NAME.conf by name; later ones win.
 * In /etc/lodge for root, else in $XDG_CONFIG_HOME/lodge or ~/.config/lodge; $LODGE_CONFIG is another folder. The keys stand in
 * settings.c and in docs/lodged.md.
 */
#ifndef LODGE_DAEMON_SETTINGS_H
#define LODGE_DAEMON_SETTINGS_H

#include <limits.h>

#include "util/base.h"
#include "util/err.h"

struct settings {
	uint64_t memory_percent; /* of the host's, all running VMs together */
	uint64_t cpu_percent;	 /* virtual CPUs to processors of the host */
	uint64_t starts;	 /* operations at the same time */
};

int settings_load(struct settings *s, struct err *e);
/* The folder of the state: $LODGE_STATE, /var/lib/lodge, $XDG_STATE_HOME/lodge, ~/.local/state/lodge. */
int settings_state_folder(char path[PATH_MAX], struct err *e);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * settings.h - lodged's configuration: lines KEY = VALUE in lodged.conf, then in lodged.conf.d/NAME.conf by name; later ones win.
 * In /etc/lodge for root, else in $XDG_CONFIG_HOME/lodge or ~/.config/lodge; $LODGE_CONFIG is another folder. The keys stand in
 * settings.c and in docs/lodged.md.
 */
#ifndef LODGE_DAEMON_SETTINGS_H
#define LODGE_DAEMON_SETTINGS_H

#include <limits.h>
#include <sys/types.h>

#include "util/base.h"
#include "util/err.h"

/* What somebody may do; each may all that those before may. The words of x-lodge-role in docs/api/lodge.json. */
enum role { ROLE_NONE, ROLE_VIEWER, ROLE_OPERATOR, ROLE_ADMIN, ROLES };
extern const char *const settings_role_names[]; /* NULL-terminated */

#define SETTINGS_GRANTS_MAX 256u

struct settings_grant {
	uid_t uid;	      /* if there is no certificate */
	char certificate[72]; /* "sha256:" and hexadecimal digits; "": a user's */
	enum role role;
};

struct settings {
	uint64_t memory_percent; /* of the host's, all running VMs together */
	uint64_t cpu_percent;	 /* virtual CPUs to processors of the host */
	uint64_t starts;	 /* operations at the same time */
	char group[64];		 /* whose members reach the socket; "": nobody else */
	char listen[128];	 /* ADDRESS:PORT for TLS; "": none */
	char certificate[PATH_MAX], key[PATH_MAX], client_ca[PATH_MAX];
	struct settings_grant grant[SETTINGS_GRANTS_MAX];
	unsigned n_grants;
};

enum role settings_user_role(const struct settings *s, uid_t uid);
enum role settings_certificate_role(const struct settings *s, const char *fingerprint);

int settings_load(struct settings *s, struct err *e);
/* The folder of the state: $LODGE_STATE, /var/lib/lodge, $XDG_STATE_HOME/lodge, ~/.local/state/lodge. */
int settings_state_folder(char path[PATH_MAX], struct err *e);

#endif

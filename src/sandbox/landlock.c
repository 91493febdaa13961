/* SPDX-License-Identifier: Apache-2.0 */
/*
 * landlock.c - the process gives up every right to files, ports and sockets by name (Linux 5.13 and up).
 *
 * A ruleset that handles all rights that the kernel knows and has no rules denies all of them. What is open already
 * is not touched. The kernel's version of Landlock says which rights it knows (Documentation/userspace-api/landlock.rst); newer ones are
 * used where they are: the constants stand here because header files may be older than the kernel.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandbox/sandbox.h"

/* struct landlock_ruleset_attr of version 6. */
struct ruleset {
	uint64_t files, ports, scoped;
};

#define FILES_V1 (BIT(13) - 1)
#define FILES_V2 BIT(13)       /* REFER */
#define FILES_V3 BIT(14)       /* TRUNCATE */
#define FILES_V5 BIT(15)       /* IOCTL_DEV */
#define PORTS_V4 (BIT(2) - 1)  /* BIND_TCP, CONNECT_TCP */
#define SCOPED_V6 (BIT(2) - 1) /* abstract unix sockets, signals */

static size_t ruleset_fill(struct ruleset *rs, long version, bool network)
{
	*rs = (struct ruleset){.files = FILES_V1};
	if (version >= 2)
		rs->files |= FILES_V2;
	if (version >= 3)
		rs->files |= FILES_V3;
	if (version >= 5)
		rs->files |= FILES_V5;
	if (version >= 4 && !network)
		rs->ports = PORTS_V4;
	if (version >= 6)
		rs->scoped = SCOPED_V6;
	return version >= 6 ? sizeof(*rs) : version >= 4 ? 2 * sizeof(uint64_t) : sizeof(uint64_t);
}

static bool allow_reading(int ruleset, const char *path)
{
	_autoclose int fd = open(path, O_PATH | O_CLOEXEC);
	struct landlock_path_beneath_attr rule = {.allowed_access = LANDLOCK_ACCESS_FS_READ_FILE,
						  .parent_fd = fd};

	return fd >= 0 &&
	       syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) == 0;
}

void landlock_apply(struct sandbox *s, bool network, const char *keep)
{
	long version = syscall(SYS_landlock_create_ruleset, NULL, 0,
			       LANDLOCK_CREATE_RULESET_VERSION);
	_autoclose int fd = -1;
	struct ruleset rs;
	size_t size;

	if (version <= 0) {
		sandbox_note(s, SANDBOX_LANDLOCK, "%s",
			     errno == EOPNOTSUPP ? "it is switched off on this host" :
						   "the host's kernel does not have it");
		return;
	}
	size = ruleset_fill(&rs, version, network);
	fd = (int)syscall(SYS_landlock_create_ruleset, &rs, size, 0);
	if (fd >= 0 && keep && !allow_reading(fd, keep))
		sandbox_note(s, SANDBOX_LANDLOCK, "without %s: %s", keep, strerrordesc_np(errno));
	s->on[SANDBOX_LANDLOCK] = fd >= 0 && syscall(SYS_landlock_restrict_self, fd, 0) == 0;
	if (!s->on[SANDBOX_LANDLOCK])
		sandbox_note(s, SANDBOX_LANDLOCK, "%s", strerrordesc_np(errno));
	else if (!s->note[SANDBOX_LANDLOCK][0])
		sandbox_note(s, SANDBOX_LANDLOCK, "version %ld", version);
}

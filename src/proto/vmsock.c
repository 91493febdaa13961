/* SPDX-License-Identifier: Apache-2.0 */
/* vmsock.c - the control socket of a VM that is found by its name; declared in vmsock.h. */
#include "proto/vmsock.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/clock.h"

int vmsock_open(const struct rundir *r, struct err *e)
{
	struct err inner = {0};
	int fd = -ECONNREFUSED;

	if (rundir_alive(r))
		fd = rundir_connect(r, "control", SOCK_SEQPACKET, &inner);
	if (fd >= 0)
		return fd;
	if (fd != -ECONNREFUSED && fd != -ENOENT)
		return err_set(e, inner.code, "%s", inner.msg);
	err_set(e, EBUSY, "the VM \"%s\" is not running: `lodge start %s` starts it", r->name,
		r->name);
	return err_field(e, "name", r->name);
}

int vmsock_call(const struct rundir *r, enum control_cmd cmd, json_t **result, struct err *e)
{
	_autoclose int fd = vmsock_open(r, e);

	return fd < 0 ? fd : control_call(fd, cmd, clock_ns() + VMSOCK_ANSWER_NS, result, e);
}

int vmsock_connect(const char *where, struct err *e)
{
	struct rundir r;
	struct stat st;
	int got;

	if (strchr(where, '/') || config_check_name(where, NULL) < 0 ||
	    (stat(where, &st) == 0 && S_ISSOCK(st.st_mode)))
		return control_connect(where, e);
	got = rundir_open(&r, where, e);
	if (got == 0)
		got = vmsock_open(&r, e);
	rundir_close(&r);
	return got;
}

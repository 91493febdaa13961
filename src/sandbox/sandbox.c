/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sandbox.c - the order in which a process locks itself in, and the layers that need only a call or two.
 *
 * The order: limits and ids while there is the right to set them; then namespaces, which give rights inside of them that the
 * empty file system needs; then all rights are dropped; then Landlock, which forbids mounts; the filter last.
 * A process that root started first becomes a user whom nobody else is: SANDBOX_UID_BASE plus its process id, which is unique on
 * the host for as long as it lives, in a range of ids that systems leave alone (systemd's list of ids: 1879048192 and up unused).
 */
#include "sandbox/sandbox.h"

#include <errno.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifndef PR_SET_MDWE /* Linux 6.3 */
#define PR_SET_MDWE 65
#define PR_MDWE_REFUSE_EXEC_GAIN 1UL
#endif

const char *const sandbox_layer_names[] = {"limits",
					   "cgroup",
					   "user-namespace",
					   "own-user",
					   "empty-file-system",
					   "pid-namespace",
					   "no-network",
					   "ipc-namespace",
					   "host-name",
					   "cgroup-namespace",
					   "no-capabilities",
					   "no-privileges",
					   "landlock",
					   "write-xor-execute",
					   "seccomp",
					   NULL};
_Static_assert(ARRAY_SIZE(sandbox_layer_names) == SANDBOX_LAYERS + 1, "a name for each layer");

void sandbox_note(struct sandbox *s, enum sandbox_layer layer, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(s->note[layer], sizeof(s->note[layer]), fmt, ap);
	va_end(ap);
}

/* ---- limits ---- */

static bool set_limit(int what, uint64_t value)
{
	struct rlimit now, want;

	if (getrlimit(what, &now) < 0)
		return false;
	want.rlim_max = MIN((rlim_t)value, now.rlim_max);
	want.rlim_cur = want.rlim_max;
	return setrlimit(what, &want) == 0;
}

static void limits_apply(struct sandbox *s, const struct sandbox_config *c)
{
	bool all = set_limit(RLIMIT_CORE, 0);

	umask(077);
	if (c->max_fds)
		all &= set_limit(RLIMIT_NOFILE, c->max_fds);
	if (c->max_file)
		all &= set_limit(RLIMIT_FSIZE, c->max_file);
	all &= set_limit(RLIMIT_MSGQUEUE, 0);
	s->on[SANDBOX_LIMITS] = all;
	if (!all)
		sandbox_note(s, SANDBOX_LIMITS, "setrlimit: %s", strerrordesc_np(errno));
}

/*
 * The number of threads is counted for each user, in a user namespace of his own since Linux 5.14: so it is limited only where
 * nobody else is counted.
 */
static void limit_threads(struct sandbox *s, const struct sandbox_config *c)
{
	if (c->max_threads && s->on[SANDBOX_USER] && !set_limit(RLIMIT_NPROC, c->max_threads)) {
		s->on[SANDBOX_LIMITS] = false;
		sandbox_note(s, SANDBOX_LIMITS, "RLIMIT_NPROC: %s", strerrordesc_np(errno));
	}
}

/* ---- rights ---- */

static void drop_capabilities(struct sandbox *s)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	const struct __user_cap_data_struct none[2] = {{0}};

	/* All three fail where there is no right to begin with, the first one beyond the last capability too: what counts is what is left. */
	for (int cap = 0; prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) == 0; cap++)
		;
	(void)prctl(PR_SET_SECUREBITS,
		    SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP |
			    SECBIT_NO_SETUID_FIXUP_LOCKED | SECBIT_KEEP_CAPS_LOCKED |
			    SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED,
		    0, 0, 0);
	(void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	s->on[SANDBOX_CAPS] = syscall(SYS_capset, &head, none) == 0;
	if (!s->on[SANDBOX_CAPS])
		sandbox_note(s, SANDBOX_CAPS, "capset: %s", strerrordesc_np(errno));
}

static void set_flag(struct sandbox *s, enum sandbox_layer layer, int option, unsigned long value)
{
	s->on[layer] = prctl(option, value, 0, 0, 0) == 0;
	if (!s->on[layer])
		sandbox_note(s, layer, "%s",
			     errno == EINVAL ? "the host's kernel does not have it" :
					       strerrordesc_np(errno));
}

/* ---- all of it ---- */

/* The C library reads a file the first time that a date is asked of it, also for gmtime(). */
static void read_time_zone(void)
{
	(void)setenv("TZ", "UTC0", 1);
	tzset();
}

void sandbox_group_word(char *word, size_t size, bool on, const char *text)
{
	snprintf(word, size, "%c%s", on ? '+' : '-', text);
}

static void group_tell(struct sandbox *s, const char *word)
{
	s->on[SANDBOX_CGROUP] = word && word[0] == '+';
	sandbox_note(s, SANDBOX_CGROUP, "%s",
		     word && word[0] ? word + 1 : "who started it made none");
}

void sandbox_isolate(struct sandbox *s, const struct sandbox_config *c)
{
	memset(s, 0, sizeof(*s));
	read_time_zone();
	limits_apply(s, c);
	group_tell(s, c->group);
	namespace_user(s);
	limit_threads(s, c);
	namespace_rest(s, c->network, c->keep);
	if (c->prepare)
		c->prepare(c->ctx);
	drop_capabilities(s);
	(void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	set_flag(s, SANDBOX_PRIVS, PR_SET_NO_NEW_PRIVS, 1);
	landlock_apply(s, c->network, c->keep);
	set_flag(s, SANDBOX_WX, PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN);
}

void sandbox_seal(struct sandbox *s, const struct sandbox_config *c)
{
	int r = seccomp_install(c->filter, c->trap);

	s->on[SANDBOX_SECCOMP] = r == 0;
	if (r < 0)
		sandbox_note(s, SANDBOX_SECCOMP, "%s",
			     r == -EINVAL ? "the host's kernel does not have it" :
					    strerrordesc_np(-r));
	else if (!s->on[SANDBOX_WX]) {
		/* Its rules for mmap() and mprotect() say the same. */
		s->on[SANDBOX_WX] = true;
		sandbox_note(s, SANDBOX_WX, "by seccomp; the kernel has no PR_SET_MDWE");
	}
	if (r == 0 && c->trap)
		sandbox_note(s, SANDBOX_SECCOMP, "a refused call is named, by the process itself");
}

void sandbox_none(struct sandbox *s, const char *why)
{
	memset(s, 0, sizeof(*s));
	for (unsigned i = 0; i < SANDBOX_LAYERS; i++)
		sandbox_note(s, (enum sandbox_layer)i, "%s", why);
}

int sandbox_missing(const struct sandbox *s, struct err *e)
{
	char list[300] = "";
	size_t used = 0;
	unsigned n = 0;

	for (unsigned i = 0; i < SANDBOX_LAYERS; i++) {
		if (s->on[i])
			continue;
		used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s (%.60s)",
					 n++ ? ", " : "", sandbox_layer_names[i], s->note[i]);
		used = MIN(used, sizeof(list) - 1);
	}
	if (!n)
		return 0;
	err_set(e, EPERM, "the sandbox lacks %s, and --sandbox strict was asked for", list);
	err_field(e, "sandbox", "strict");
	return err_hint(e, "use --sandbox on, or let the host offer it (docs/security.md)");
}

json_t *sandbox_json(const struct sandbox *s)
{
	json_t *list = json_array();
	int r = 0;

	for (unsigned i = 0; i < SANDBOX_LAYERS; i++)
		r |= json_array_append_new(list, json_pack("{s:s, s:b, s:s}", "layer",
							   sandbox_layer_names[i], "on",
							   (int)s->on[i], "note", s->note[i]));
	if (r) {
		json_decref(list);
		return NULL;
	}
	return list;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * runseed.c - what a guest is told at its first start: --user, --ssh-key, --hostname, --cloud-init.
 *
 * The form is cloud-init's NoCloud: a disk with the label CIDATA and the files user-data and meta-data, here an ISO 9660 file
 * system in memory, which the guest gets as one more disk, read-only. The options become a #cloud-config; --cloud-init FILE is
 * handed on as it is. The instance id comes from the content: the same seed again changes nothing in a guest that
 * remembers it, another one counts as a first start.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "keeper/run.h"
#include "keeper/iso.h"
#include "util/fdio.h"

#define KEYS_MAX (64 * KIB)
#define USER_DATA_MAX (16 * MIB)
#define USER_MAX 32u
#define HOSTNAME_MAX 64u

static bool wanted(const struct run_seed *s)
{
	return s->user || s->ssh_key || s->hostname || s->cloud_init;
}

static int check_user(const char *user, struct err *e)
{
	char shown[64];
	size_t n = strspn(user, "abcdefghijklmnopqrstuvwxyz0123456789_-");

	if (n >= 1 && n <= USER_MAX && !user[n] && !isdigit((unsigned char)user[0]) &&
	    user[0] != '-')
		return 0;
	err_set(e, EINVAL,
		"--user \"%s\" is no name for a user: 1 to %u of a-z, 0-9, _ and -, beginning with a letter or _",
		err_quote(shown, sizeof(shown), user), USER_MAX);
	err_limit(e, "1..%u of a-z 0-9 _ -", USER_MAX);
	return err_field(e, "--user", user);
}

int runseed_hostname(const char *option, const char *name, unsigned max, struct err *e)
{
	char shown[80];
	size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-");

	if (n >= 1 && n <= max && !name[n] && name[0] != '-' && name[0] != '.' &&
	    name[n - 1] != '-' && name[n - 1] != '.' && !strstr(name, ".."))
		return 0;
	err_set(e, EINVAL,
		"%s \"%s\" is no host name: 1 to %u letters, digits, \"-\" and \".\", and none of these two at the ends",
		option, err_quote(shown, sizeof(shown), name), max);
	return err_limit(e, "1..%u letters, digits, - and .", max);
}

int runseed_parse(struct run_seed *s, struct opt_list *disks, bool restored, struct err *e)
{
	int r = 0;

	s->fd = -1;
	if (!wanted(s))
		return 0;
	if (s->cloud_init && (s->user || s->ssh_key)) {
		err_set(e, EINVAL,
			"--cloud-init says all that --user and --ssh-key would say: leave out either");
		return err_field(e, "--cloud-init", s->cloud_init);
	}
	if (s->user && !s->ssh_key) {
		err_set(e, EINVAL, "--user needs --ssh-key: nobody could log in as \"%.32s\"",
			s->user);
		return err_field(e, "--user", s->user);
	}
	if (s->user)
		r = check_user(s->user, e);
	if (!r && s->hostname && runseed_hostname("--hostname", s->hostname, HOSTNAME_MAX, e) < 0)
		r = err_field(e, "--hostname", s->hostname);
	if (r)
		return r;
	if (disks->n == OPT_LIST_MAX)
		return err_set(e, E2BIG, "there are too many disks for the guest's seed");
	s->fd = memfd_create("lodge-seed", MFD_CLOEXEC);
	if (s->fd < 0)
		return err_errno(e, errno, "cannot make a file in memory");
	/* The same words make the same content again, in a file that is new. */
	snprintf(s->disk, sizeof(s->disk), "/proc/self/fd/%d%s", s->fd,
		 restored ? ",changed=on" : ",ro=on,id=seed,serial=cidata");
	disks->word[disks->n++] = s->disk;
	return 0;
}

void runseed_end(struct run_seed *s)
{
	base_close_fd(&s->fd);
}

/* The whole of a file into b. */
static int read_file(const char *path, const char *option, size_t max, struct buf *b, struct err *e)
{
	uint64_t size = 0;
	_autoclose int fd = runfile_open(path, option + 2, option, &size, e);
	char shown[160];
	void *to;

	if (fd < 0)
		return fd;
	err_quote(shown, sizeof(shown), path);
	if (size > max) {
		err_set(e, EFBIG, "%s \"%s\" is too long: at most %zu bytes are possible", option,
			shown, max);
		err_limit(e, "%zu bytes", max);
		return err_field(e, option, path);
	}
	to = buf_extend(b, (size_t)size);
	if (!to)
		return err_set(e, ENOMEM, "out of memory");
	return fdio_read(fd, to, (size_t)size, 0) < 0 ?
		       err_set(e, EIO, "cannot read \"%s\"", shown) :
		       0;
}

/* One public key a line; comments and empty lines pass. Only what needs no quoting in YAML between double quotes. */
static int put_keys(struct buf *out, struct buf *keys, const char *path, const char *indent,
		    struct err *e)
{
	static const char *const kinds[] = {"ssh-", "ecdsa-", "sk-ssh-", "sk-ecdsa-"};
	unsigned n = 0;
	char *save = NULL, *line, shown[160];

	buf_put_u8(keys, 0);
	if (buf_error(keys))
		return err_set(e, ENOMEM, "out of memory");
	err_quote(shown, sizeof(shown), path);
	for (line = strtok_r((char *)keys->data, "\r\n", &save); line;
	     line = strtok_r(NULL, "\r\n", &save)) {
		bool known = false;

		line += strspn(line, " \t");
		if (!*line || *line == '#')
			continue;
		for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++)
			known |= !strncmp(line, kinds[i], strlen(kinds[i]));
		for (const char *p = line; *p; p++)
			known &= (unsigned char)*p >= ' ' && *p != '"' && *p != '\\' && *p != 127;
		if (!known) {
			err_set(e, EINVAL, "--ssh-key \"%s\" holds a line that is no public key%s",
				shown,
				strstr(line, "PRIVATE KEY") ?
					": it is a private one, the other has .pub in its name" :
					"");
			return err_field(e, "--ssh-key", path);
		}
		buf_printf(out, "%s- \"%s\"\n", indent, line);
		n++;
	}
	if (n)
		return 0;
	err_set(e, EINVAL, "--ssh-key \"%s\" holds no public key", shown);
	return err_field(e, "--ssh-key", path);
}

static int make_user_data(const struct run_seed *s, struct buf *out, struct err *e)
{
	struct buf keys;
	int r;

	if (s->cloud_init)
		return read_file(s->cloud_init, "--cloud-init", USER_DATA_MAX, out, e);
	buf_printf(out, "#cloud-config\n");
	if (!s->ssh_key)
		return 0;
	buf_init(&keys, KEYS_MAX + 1);
	r = read_file(s->ssh_key, "--ssh-key", KEYS_MAX, &keys, e);
	if (r) {
		buf_fini(&keys);
		return r;
	}
	if (s->user)
		buf_printf(out,
			   "users:\n"
			   "  - name: \"%s\"\n"
			   "    groups: \"sudo\"\n"
			   "    shell: \"/bin/bash\"\n"
			   "    sudo: \"ALL=(ALL) NOPASSWD:ALL\"\n"
			   "    lock_passwd: true\n"
			   "    ssh_authorized_keys:\n",
			   s->user);
	else
		buf_printf(out, "disable_root: false\nssh_authorized_keys:\n");
	r = put_keys(out, &keys, s->ssh_key, s->user ? "      " : "  ", e);
	buf_fini(&keys);
	return r;
}

/* FNV-1a. */
static uint64_t hash(const void *data, size_t len, uint64_t h)
{
	const uint8_t *p = data;

	while (len--)
		h = (h ^ *p++) * UINT64_C(0x100000001b3);
	return h;
}

static int write_seed(const struct run_seed *s, const char *host, struct buf *user,
		      struct buf *meta, struct buf *iso, struct err *e)
{
	int r = make_user_data(s, user, e);
	uint64_t h = UINT64_C(0xcbf29ce484222325);

	if (!r && buf_error(user))
		r = err_errno(e, -buf_error(user), "cannot make the guest's seed");
	if (r)
		return r;
	h = hash(host, strlen(host) + 1, hash(user->data, user->len, h));
	buf_printf(meta, "instance-id: \"lodge-%016llx\"\nlocal-hostname: \"%s\"\n",
		   (unsigned long long)h, host);
	if (buf_error(meta))
		return err_errno(e, -buf_error(meta), "cannot make the guest's seed");
	r = iso_write(iso, "CIDATA",
		      (const struct iso_file[]){
			      {"meta-data", "META_DAT.;1", meta->data, meta->len},
			      {"user-data", "USER_DAT.;1", user->data, user->len},
		      },
		      2, e);
	if (r)
		return r;
	r = fdio_write(s->fd, iso->data, iso->len, 0);
	return r ? err_errno(e, -r, "cannot write the guest's seed") : 0;
}

int runseed_write(const struct run_seed *s, const char *name, struct err *e)
{
	struct buf user, meta, iso;
	int r;

	if (s->fd < 0)
		return 0;
	buf_init(&user, 0);
	buf_init(&meta, 0);
	buf_init(&iso, 0);
	r = write_seed(s, s->hostname ? s->hostname : name, &user, &meta, &iso, e);
	buf_fini(&user);
	buf_fini(&meta);
	buf_fini(&iso);
	return r;
}

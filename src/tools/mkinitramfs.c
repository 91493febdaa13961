/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mkinitramfs.c - lodge-mkinitramfs: writes an initramfs from a list, needing no privileges.
 *
 * Theory of operation. The list has one entry a line; owner is root and the time 0 for all, so that the
 * same list and files give the same bytes:
 *
 *	dir  PATH MODE                  directory
 *	file PATH MODE SOURCE           regular file with SOURCE's content (rest of the line: may have spaces)
 *	link PATH TARGET                symbolic link
 *	char PATH MODE MAJOR MINOR      character device
 *
 * A `#` starts a comment line. A directory must stand before what is in it, because the kernel unpacks in
 * order and drops in silence what has no parent; here that is an error. The format is cpio "newc" (Linux
 * Documentation/driver-api/early-userspace/buffer-format.rst): for each entry a header of the magic and 13
 * numbers of 8 hex digits, the name with its NUL, the data; name and data each padded to 4 bytes; at the
 * end an entry TRAILER!!!. The output appears under its name only when it is whole.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#define MODE_DIR 0040000u
#define MODE_FILE 0100000u
#define MODE_LINK 0120000u
#define MODE_CHAR 0020000u

struct archive {
	FILE *out;
	const char *list; /* name of the list, for messages */
	unsigned line;	  /* current line in it */
	uint64_t offset;  /* bytes written */
	uint32_t ino;	  /* last inode number given out */
	char **dirs;	  /* directories so far, without leading slash */
	size_t n_dirs;
};

static int complain(const struct archive *a, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

static int complain(const struct archive *a, const char *fmt, ...)
{
	va_list ap;

	if (a->line)
		fprintf(stderr, "lodge-mkinitramfs: %s:%u: ", a->list, a->line);
	else
		fprintf(stderr, "lodge-mkinitramfs: ");
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return -1;
}

static int put(struct archive *a, const void *data, size_t n)
{
	if (n && fwrite(data, 1, n, a->out) != n)
		return complain(a, "cannot write the archive: %s", strerror(errno));
	a->offset += n;
	return 0;
}

static int pad(struct archive *a)
{
	return put(a, "\0\0\0", (4 - a->offset % 4) % 4);
}

static int put_header(struct archive *a, const char *name, uint32_t mode, uint32_t size,
		      unsigned dev_major, unsigned dev_minor)
{
	char head[6 + 13 * 8 + 1];
	size_t name_size = strlen(name) + 1;
	uint32_t ino = mode ? ++a->ino : 0;
	int n;

	n = snprintf(head, sizeof(head),
		     "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08zx%08x", ino, mode, 0u,
		     0u, 1u, 0u, size, 0u, 0u, dev_major, dev_minor, name_size, 0u);
	if (n != (int)sizeof(head) - 1)
		return complain(a, "entry \"%s\": a number does not fit into the format", name);
	if (put(a, head, sizeof(head) - 1) || put(a, name, name_size))
		return -1;
	return pad(a);
}

static int put_file(struct archive *a, const char *name, uint32_t mode, const char *source)
{
	struct stat st;
	FILE *in = fopen(source, "rbe");
	char buf[65536];
	uint64_t left;
	int ret = -1;

	if (!in)
		return complain(a, "cannot open \"%s\": %s", source, strerror(errno));
	if (fstat(fileno(in), &st) || !S_ISREG(st.st_mode)) {
		complain(a, "\"%s\" is not a regular file", source);
		goto out;
	}
	if ((uint64_t)st.st_size > UINT32_MAX) {
		complain(a, "\"%s\" is larger than 4 GiB, more than the format can hold", source);
		goto out;
	}
	if (put_header(a, name, MODE_FILE | mode, (uint32_t)st.st_size, 0, 0))
		goto out;
	for (left = (uint64_t)st.st_size; left;) {
		size_t want = left < sizeof(buf) ? left : sizeof(buf);
		size_t got = fread(buf, 1, want, in);

		if (!got) {
			complain(a, "\"%s\" became shorter while it was read", source);
			goto out;
		}
		if (put(a, buf, got))
			goto out;
		left -= got;
	}
	ret = pad(a);
out:
	fclose(in);
	return ret;
}

/* The path as the archive has it: relative, no empty or dot components. NULL: refused. */
static const char *entry_name(const struct archive *a, const char *path)
{
	const char *name = path + 1, *p = name;

	if (path[0] != '/' || !path[1] || strlen(path) >= PATH_MAX)
		goto bad;
	for (;;) {
		size_t n = strcspn(p, "/");

		if (n == 0 || (n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' && p[1] == '.'))
			goto bad;
		if (!p[n])
			break;
		p += n + 1;
	}
	if (!strcmp(name, "TRAILER!!!"))
		goto bad;
	return name;
bad:
	complain(a, "\"%s\" is not an absolute path in plain form", path);
	return NULL;
}

static int check_parent(const struct archive *a, const char *name)
{
	const char *slash = strrchr(name, '/');
	size_t i, n;

	if (!slash)
		return 0;
	n = (size_t)(slash - name);
	for (i = 0; i < a->n_dirs; i++) {
		if (strlen(a->dirs[i]) == n && !memcmp(a->dirs[i], name, n))
			return 0;
	}
	return complain(a, "no line \"dir /%.*s\" before \"/%s\"", (int)n, name, name);
}

static int remember_dir(struct archive *a, const char *name)
{
	char **dirs = realloc(a->dirs, (a->n_dirs + 1) * sizeof(*dirs));

	if (!dirs)
		return complain(a, "out of memory");
	a->dirs = dirs;
	dirs[a->n_dirs] = strdup(name);
	if (!dirs[a->n_dirs])
		return complain(a, "out of memory");
	a->n_dirs++;
	return 0;
}

/* Takes the next word off *line; "" at the end. */
static char *word(char **line)
{
	char *p = *line + strspn(*line, " \t");
	size_t n = strcspn(p, " \t");

	*line = p + n;
	if (p[n]) {
		p[n] = '\0';
		*line = p + n + 1;
	}
	return p;
}

static int number(const struct archive *a, const char *text, int base, unsigned long max,
		  unsigned *out)
{
	char *end;
	unsigned long v;

	errno = 0;
	v = strtoul(text, &end, base);
	if (end == text || *end || errno || v > max || text[0] == '-')
		return complain(a, "\"%s\" is not a number from 0 to %lu", text, max);
	*out = (unsigned)v;
	return 0;
}

static int entry(struct archive *a, char *line)
{
	char *kind = word(&line), *path = word(&line);
	const char *name;
	unsigned mode = 0, major = 0, minor = 0;

	if (!*kind || *kind == '#')
		return 0;
	name = entry_name(a, path);
	if (!name || check_parent(a, name))
		return -1;
	if (!strcmp(kind, "link")) {
		char *target = word(&line);

		if (!*target)
			return complain(a, "link \"%s\" has no target", path);
		if (put_header(a, name, MODE_LINK | 0777, (uint32_t)strlen(target), 0, 0) ||
		    put(a, target, strlen(target)))
			return -1;
		return pad(a);
	}
	if (number(a, word(&line), 8, 07777, &mode))
		return -1;
	if (!strcmp(kind, "dir")) {
		if (put_header(a, name, MODE_DIR | mode, 0, 0, 0))
			return -1;
		return remember_dir(a, name);
	}
	if (!strcmp(kind, "file"))
		return put_file(a, name, mode, line + strspn(line, " \t"));
	if (!strcmp(kind, "char")) {
		if (number(a, word(&line), 10, 4095, &major) ||
		    number(a, word(&line), 10, 1048575, &minor))
			return -1;
		return put_header(a, name, MODE_CHAR | mode, 0, major, minor);
	}
	return complain(a, "\"%s\" is not one of dir, file, link, char", kind);
}

static int entries(struct archive *a, FILE *list)
{
	char *line = NULL;
	size_t cap = 0;
	ssize_t n;
	int ret = 0;

	while (!ret && (n = getline(&line, &cap, list)) >= 0) {
		a->line++;
		if (n && line[n - 1] == '\n')
			line[n - 1] = '\0';
		ret = entry(a, line);
	}
	free(line);
	if (!ret && ferror(list))
		ret = complain(a, "cannot read the list: %s", strerror(errno));
	a->line = 0;
	return ret;
}

int main(int argc, char **argv)
{
	struct archive a = {.list = argc > 2 ? argv[2] : "standard input"};
	char tmp[PATH_MAX];
	FILE *list = stdin;
	size_t i;
	int fd, ret = 1;

	if (argc < 2 || argc > 3 || argv[1][0] == '-') {
		fprintf(stderr, "usage: lodge-mkinitramfs OUTPUT [LIST]\n"
				"Writes an initramfs (cpio newc) from a list of\n"
				"  dir PATH MODE | file PATH MODE SOURCE | link PATH TARGET | "
				"char PATH MODE MAJOR MINOR\n");
		return 2;
	}
	if (snprintf(tmp, sizeof(tmp), "%s.XXXXXX", argv[1]) >= (int)sizeof(tmp)) {
		complain(&a, "the name of the output is too long");
		return 1;
	}
	if (argc > 2 && !(list = fopen(argv[2], "re"))) {
		complain(&a, "cannot open the list \"%s\": %s", argv[2], strerror(errno));
		return 1;
	}
	fd = mkostemp(tmp, O_CLOEXEC);
	if (fd < 0 || fchmod(fd, 0644) || !(a.out = fdopen(fd, "wb"))) {
		complain(&a, "cannot create \"%s\": %s", tmp, strerror(errno));
		goto out;
	}
	if (entries(&a, list) || put_header(&a, "TRAILER!!!", 0, 0, 0, 0))
		goto out;
	ret = fclose(a.out);
	a.out = NULL;
	if (ret || rename(tmp, argv[1])) {
		complain(&a, "cannot write \"%s\": %s", argv[1], strerror(errno));
		ret = 1;
	}
out:
	if (a.out)
		fclose(a.out);
	if (ret && fd >= 0)
		unlink(tmp);
	if (list != stdin)
		fclose(list);
	for (i = 0; i < a.n_dirs; i++)
		free(a.dirs[i]);
	free(a.dirs);
	return ret;
}

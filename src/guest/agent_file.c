/* SPDX-License-Identifier: Apache-2.0 */
/*
 * agent_file.c - files of the guest that the host reads and writes: guest-file-*.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "guest/agent.h"
#include "util/base64.h"

#define FILES_MAX 32
#define READ_MAX ((json_int_t)4 << 20)
#define READ_DEFAULT 4096

/* fd of handle i + 1; 0: free (descriptor 0 is never one of these). */
static int open_files[FILES_MAX];

static const struct {
	const char *mode;
	int flags;
} modes[] = {
	{"r", O_RDONLY},
	{"rb", O_RDONLY},
	{"r+", O_RDWR},
	{"r+b", O_RDWR},
	{"w", O_WRONLY | O_CREAT | O_TRUNC},
	{"wb", O_WRONLY | O_CREAT | O_TRUNC},
	{"w+", O_RDWR | O_CREAT | O_TRUNC},
	{"w+b", O_RDWR | O_CREAT | O_TRUNC},
	{"a", O_WRONLY | O_CREAT | O_APPEND},
	{"ab", O_WRONLY | O_CREAT | O_APPEND},
	{"a+", O_RDWR | O_CREAT | O_APPEND},
	{"a+b", O_RDWR | O_CREAT | O_APPEND},
};

json_t *agent_file_open(json_t *args, struct why *why)
{
	const char *path = json_string_value(json_object_get(args, "path"));
	const char *mode = json_string_value(json_object_get(args, "mode"));
	size_t m = 0;
	struct stat st;
	int slot = 0, fd;

	while (m < ARRAY_SIZE(modes) && strcmp(modes[m].mode, mode ? mode : "r") != 0)
		m++;
	while (slot < FILES_MAX && open_files[slot])
		slot++;
	if (!path || m == ARRAY_SIZE(modes))
		return refuse(why, "guest-file-open needs a path, and a mode as fopen() has them");
	if (slot == FILES_MAX)
		return refuse(why, "%d files are open", FILES_MAX);
	/* A FIFO without another end does not stop us. */
	fd = open(path, modes[m].flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0666);
	if (fd >= 0 && fstat(fd, &st) == 0 && S_ISDIR(st.st_mode)) {
		close(fd);
		fd = -1;
		errno = EISDIR;
	}
	if (fd < 0)
		return refuse_errno(why, "cannot open \"%.120s\"", path);
	open_files[slot] = fd;
	return json_integer(slot + 1);
}

/* The place of the descriptor, or NULL. */
static int *find(json_t *args, struct why *why)
{
	json_int_t handle = json_integer_value(json_object_get(args, "handle"));

	if (handle >= 1 && handle <= FILES_MAX && open_files[handle - 1])
		return &open_files[handle - 1];
	refuse(why, "handle %lld is not open", (long long)handle);
	return NULL;
}

json_t *agent_file_close(json_t *args, struct why *why)
{
	int *fd = find(args, why), r;

	if (!fd)
		return NULL;
	r = close(*fd);
	*fd = 0;
	return r < 0 ? refuse_errno(why, "cannot close the file") : json_object();
}

json_t *agent_file_read(json_t *args, struct why *why)
{
	json_t *count = json_object_get(args, "count"), *j;
	json_int_t want = count ? json_integer_value(count) : READ_DEFAULT;
	int *fd = find(args, why);
	uint8_t *bytes;
	char *text;
	ssize_t n;

	if (!fd)
		return NULL;
	if (want < 0)
		return refuse(why, "count %lld is not possible", (long long)want);
	want = MIN(want, READ_MAX);
	bytes = malloc((size_t)want + 1);
	if (!bytes)
		return refuse(why, "out of memory");
	do
		n = read(*fd, bytes, (size_t)want);
	while (n < 0 && errno == EINTR);
	if (n < 0) {
		free(bytes);
		return refuse_errno(why, "cannot read the file");
	}
	text = base64_encode(bytes, (size_t)n);
	free(bytes);
	j = json_pack("{s:I, s:s, s:b}", "count", (json_int_t)n, "buf-b64", text ? text : "", "eof",
		      n == 0);
	free(text);
	return j;
}

json_t *agent_file_write(json_t *args, struct why *why)
{
	json_t *text = json_object_get(args, "buf-b64");
	json_t *count = json_object_get(args, "count");
	int *fd = find(args, why);
	uint8_t *bytes;
	size_t len, want;
	ssize_t n;

	if (!fd)
		return NULL;
	if (!json_is_string(text) ||
	    base64_decode(json_string_value(text), json_string_length(text), &bytes, &len) < 0)
		return refuse(why, "guest-file-write needs \"buf-b64\", as base64");
	want = count && json_integer_value(count) >= 0 ?
		       MIN(len, (size_t)json_integer_value(count)) :
		       len;
	do
		n = write(*fd, bytes, want);
	while (n < 0 && errno == EINTR);
	free(bytes);
	if (n < 0)
		return refuse_errno(why, "cannot write the file");
	return json_pack("{s:I, s:b}", "count", (json_int_t)n, "eof", 0);
}

json_t *agent_file_seek(json_t *args, struct why *why)
{
	static const char *const names[] = {"set", "cur", "end"};
	static const int values[] = {SEEK_SET, SEEK_CUR, SEEK_END};
	json_t *whence = json_object_get(args, "whence");
	json_int_t how = json_is_integer(whence) ? json_integer_value(whence) : -1;
	int *fd = find(args, why);
	off_t at;

	for (int i = 0; i < 3 && json_is_string(whence); i++)
		if (!strcmp(names[i], json_string_value(whence)))
			how = i;
	if (!fd)
		return NULL;
	if (how < 0 || how > 2)
		return refuse(why, "\"whence\" must be set, cur or end");
	at = lseek(*fd, (off_t)json_integer_value(json_object_get(args, "offset")), values[how]);
	if (at < 0)
		return refuse_errno(why, "cannot go there in the file");
	return json_pack("{s:I, s:b}", "position", (json_int_t)at, "eof", 0);
}

json_t *agent_file_flush(json_t *args, struct why *why)
{
	/* Nothing is kept back here. */
	return find(args, why) ? json_object() : NULL;
}

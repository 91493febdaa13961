/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_keeper_seed.c - what a guest is told at its first start: options that make sense and those that do not, the cloud-config
 * made of them, and the ISO 9660 image around it, read here by the rules of ECMA-119 and Rock Ridge.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "keeper/run.h"
#include "keeper/iso.h"
#include "util/fdio.h"

#define SECTOR 2048u

static uint32_t be32(const uint8_t *p)
{
	return __builtin_bswap32(buf_le32(p));
}

/* The file of this name (by Rock Ridge) in the root; *len. Every number is looked at in both its forms. */
static const uint8_t *find(const uint8_t *iso, size_t size, const char *name, size_t *len)
{
	const uint8_t *d = iso + 16 * SECTOR, *dir, *p;
	uint32_t root = buf_le32(d + 158), bytes = buf_le32(d + 166);

	assert_true(size % SECTOR == 0 && size >= 21 * SECTOR);
	assert_memory_equal(d,
			    "\x01"
			    "CD001\x01",
			    7);
	assert_memory_equal(d + SECTOR,
			    "\xff"
			    "CD001\x01",
			    7);
	assert_int_equal(buf_le32(d + 80), size / SECTOR);
	assert_int_equal(be32(d + 84), size / SECTOR);
	assert_int_equal(buf_le16(d + 128), SECTOR);
	assert_int_equal(d[156], 34);
	assert_int_equal(be32(d + 162), root);
	assert_int_equal(d[881], 1);
	assert_int_equal(buf_le32(iso + buf_le32(d + 140) * SECTOR + 2), root);
	assert_int_equal(be32(iso + be32(d + 148) * SECTOR + 2), root);
	dir = iso + (size_t)root * SECTOR;
	for (p = dir; p < dir + bytes && p[0]; p += p[0]) {
		const uint8_t *su = p + 33 + p[32] + (p[32] % 2 ? 0 : 1);

		assert_true(p + p[0] <= dir + bytes);
		assert_int_equal(be32(p + 6), buf_le32(p + 2));
		assert_int_equal(be32(p + 14), buf_le32(p + 10));
		if (p == dir)
			assert_memory_equal(su, "SP\x07\x01\xbe\xef\0", 7);
		for (; su + 4 <= p + p[0] && su[2] >= 4; su += su[2]) {
			assert_true(su + su[2] <= p + p[0]);
			if (memcmp(su, "NM", 2) != 0 || su[2] != 5 + strlen(name) ||
			    memcmp(su + 5, name, strlen(name)) != 0)
				continue;
			*len = buf_le32(p + 10);
			assert_true((buf_le32(p + 2) * (size_t)SECTOR) + *len <= size);
			return iso + (size_t)buf_le32(p + 2) * SECTOR;
		}
	}
	return NULL;
}

static void iso_files(void **state)
{
	static uint8_t big[5000];
	const struct iso_file file[] = {{"a-b", "A_B.;1", "x", 1},
					{"none", "NONE.;1", "", 0},
					{"big", "BIG.;1", big, sizeof(big)}};
	const uint8_t *at;
	struct buf b;
	size_t len;

	(void)state;
	for (size_t i = 0; i < sizeof(big); i++)
		big[i] = (uint8_t)(i * 31);
	buf_init(&b, 0);
	assert_int_equal(iso_write(&b, "LABEL_1", file, 3, NULL), 0);
	assert_memory_equal(b.data + 16 * SECTOR + 40, "LABEL_1                         ", 32);
	at = find(b.data, b.len, "a-b", &len);
	assert_true(at && len == 1 && *at == 'x');
	at = find(b.data, b.len, "none", &len);
	assert_true(at && len == 0);
	at = find(b.data, b.len, "big", &len);
	assert_true(at && len == sizeof(big));
	assert_memory_equal(at, big, len);
	assert_null(find(b.data, b.len, "other", &len));
	buf_fini(&b);
}

static char *temporary(const char *text)
{
	static char path[64];
	int fd;

	strcpy(path, "/tmp/lodge-seed-XXXXXX");
	fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(fdio_write(fd, text, strlen(text), 0), 0);
	close(fd);
	return path;
}

/* Parses, writes, and returns what the seed has in a file; NULL: refused, e says why. */
static char *seed(struct run_seed s, const char *file, struct err *e)
{
	struct opt_list disks = {0};
	char *text = NULL;
	struct stat st;
	int r;

	*e = (struct err){0};
	r = runseed_parse(&s, &disks, false, e);
	assert_int_equal(disks.n, r == 0);
	if (r == 0)
		r = runseed_write(&s, "vm-1", e);
	if (r == 0) {
		uint8_t *iso;
		const uint8_t *at;
		size_t len;

		assert_int_equal(fstat(s.fd, &st), 0);
		iso = malloc((size_t)st.st_size);
		assert_int_equal(fdio_read(s.fd, iso, (size_t)st.st_size, 0), 0);
		at = find(iso, (size_t)st.st_size, file, &len);
		assert_non_null(at);
		text = strndup((const char *)at, len);
		free(iso);
	}
	runseed_end(&s);
	runseed_end(&s);
	return text;
}

static void options(void **state)
{
	static const char *const users[] =
		{"Root", "1a", "-a", "", "a b", "a:b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"},
				 *const hosts[] = {"",	  "-a",	 "a-", "a..b",
						   "a_b", "a b", ".a", "a\nb"};
	struct opt_list disks = {0};
	struct run_seed none = {.fd = -1};
	struct err e;

	(void)state;
	assert_int_equal(runseed_parse(&none, &disks, false, NULL), 0);
	assert_int_equal(disks.n, 0);
	assert_int_equal(runseed_write(&none, "x", NULL), 0);
	for (size_t i = 0; i < ARRAY_SIZE(users); i++) {
		assert_null(
			seed((struct run_seed){.user = users[i], .ssh_key = "x"}, "user-data", &e));
		assert_string_equal(e.field, "--user");
	}
	for (size_t i = 0; i < ARRAY_SIZE(hosts); i++) {
		assert_null(seed((struct run_seed){.hostname = hosts[i]}, "user-data", &e));
		assert_string_equal(e.field, "--hostname");
	}
	assert_null(seed((struct run_seed){.user = "a"}, "user-data", &e));
	assert_string_equal(e.field, "--user");
	assert_null(seed((struct run_seed){.cloud_init = "a", .ssh_key = "b"}, "user-data", &e));
	assert_string_equal(e.field, "--cloud-init");
	assert_null(seed((struct run_seed){.ssh_key = "/no/such"}, "user-data", &e));
	assert_string_equal(e.field, "--ssh-key");
}

static void keys(void **state)
{
	static const char *const bad[] = {"-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n",
					  "# nothing\n", "ssh-rsa AA \"x\"\n", "ssh-rsa AA\\\n",
					  "hello\n"};
	char *path, *text, *meta, *other;
	struct err e;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		path = temporary(bad[i]);
		assert_null(seed((struct run_seed){.ssh_key = path}, "user-data", &e));
		assert_string_equal(e.field, "--ssh-key");
		unlink(path);
	}
	path = temporary("# mine\nssh-ed25519 AAAA me@here\r\n\n  ecdsa-sha2-nistp256 BBBB\n");
	text = seed((struct run_seed){.ssh_key = path}, "user-data", &e);
	assert_string_equal(text,
			    "#cloud-config\ndisable_root: false\nssh_authorized_keys:\n"
			    "  - \"ssh-ed25519 AAAA me@here\"\n  - \"ecdsa-sha2-nistp256 BBBB\"\n");
	free(text);
	text = seed((struct run_seed){.ssh_key = path, .user = "anna"}, "user-data", &e);
	assert_non_null(strstr(text, "\nusers:\n  - name: \"anna\"\n"));
	assert_non_null(
		strstr(text, "\n    ssh_authorized_keys:\n      - \"ssh-ed25519 AAAA me@here\"\n"));
	free(text);
	/* The same seed has the same id, another has another. */
	meta = seed((struct run_seed){.ssh_key = path}, "meta-data", &e);
	other = seed((struct run_seed){.ssh_key = path}, "meta-data", &e);
	assert_string_equal(meta, other);
	assert_non_null(strstr(meta, "local-hostname: \"vm-1\"\n"));
	free(other);
	other = seed((struct run_seed){.ssh_key = path, .hostname = "web"}, "meta-data", &e);
	assert_non_null(strstr(other, "local-hostname: \"web\"\n"));
	assert_int_not_equal(memcmp(meta, other, 40), 0);
	free(other);
	free(meta);
	unlink(path);
	path = temporary("#!/bin/sh\necho all of it\n");
	text = seed((struct run_seed){.cloud_init = path}, "user-data", &e);
	assert_string_equal(text, "#!/bin/sh\necho all of it\n");
	free(text);
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(iso_files),
		cmocka_unit_test(options),
		cmocka_unit_test(keys),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* test_virtio_fs.c - shared folders with a file server of the test's own (fs_server.h): requests, read-only, servers that are no good. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#include "fs_server.h"
#include "virtio_fixture.h"

#include "virtio/fs.h"

#define BASE (VIRTIO_F_VERSION_1 | VIRTIO_F_RING_RESET)
#define REQUEST FIX_DATA
#define ARGUMENT (FIX_DATA + 0x1000)
#define ANSWER (FIX_DATA + 0x2000)
#define LOOKUP 1u
#define UNLINK 10u
#define OPEN 14u

static struct fix *f;
static struct fs_server server;
static struct vhost_user *client;

static void free_client(struct fix *x)
{
	(void)x;
	vhost_user_destroy(client);
	fs_server_end(&server);
}

static void begin(bool read_only)
{
	struct virtio_fs_config cfg = {.id = "share0", .tag = "work", .read_only = read_only};
	int theirs;

	f = fix_new();
	assert_true(fs_server_init(&server, FS_FEATURES, &theirs));
	assert_int_equal(vhost_user_create(&client, "share", theirs, NULL), 0);
	cfg.server = client;
	assert_int_equal(virtio_fs_create(&f->d, &f->b->env, &cfg, NULL), 0);
	f->free_backend = free_client;
	fix_add(f, f->d);
}

/* Without its time to stop, which a server that is there has. */
static void finish(void)
{
	fs_server_end(&server);
	fix_free(f);
}

/* A request of 40 bytes and an argument of 16, with room for an answer of 100. */
static void ask(uint32_t opcode, uint64_t unique, uint32_t argument)
{
	uint32_t in[10] = {56, opcode, (uint32_t)unique, (uint32_t)(unique >> 32)},
		 rest[4] = {argument};
	struct drv_seg s[3] = {{REQUEST, 40, false}, {ARGUMENT, 16, false}, {ANSWER, 100, true}};

	assert_int_equal(gmem_write(f->mem, REQUEST, in, sizeof(in)), 0);
	assert_int_equal(gmem_write(f->mem, ARGUMENT, rest, sizeof(rest)), 0);
	assert_true(drv_add(&f->q[1], s, 3, false) >= 0);
	fix_kick(f, 1);
	fix_run(f);
	fs_server_read(&server);
}

/* The guest has got this error for this request. */
static void expect_error(int error, uint64_t unique)
{
	uint32_t out[4], len;

	fix_run(f);
	assert_true(drv_get(&f->q[1], &len) >= 0);
	assert_int_equal(len, 16);
	assert_int_equal(gmem_read(f->mem, ANSWER, out, sizeof(out)), 0);
	assert_int_equal(out[0], 16);
	assert_int_equal((int)out[1], -error);
	assert_int_equal(out[2] | (uint64_t)out[3] << 32, unique);
}

static void test_hello(void **st)
{
	struct err e = {0};
	int theirs;

	(void)st;
	/* Of another time; no server at all; one that talks nonsense. */
	assert_true(fs_server_init(&server, BIT(32), &theirs));
	assert_int_equal(vhost_user_create(&client, "share", theirs, &e), -EPROTO);
	assert_non_null(strstr(e.msg, "of today"));
	fs_server_end(&server);
	assert_true(fs_server_init(&server, FS_FEATURES, &theirs));
	fs_server_end(&server);
	memset(&e, 0, sizeof(e));
	assert_true(vhost_user_create(&client, "share", theirs, &e) < 0);
	assert_true(e.msg[0]);
	assert_true(fs_server_init(&server, FS_FEATURES, &theirs));
	assert_int_equal(recv(theirs, &(char[21]){0}, 21, 0),
			 21); /* the first answer, and a byte of the next */
	memset(&e, 0, sizeof(e));
	assert_int_equal(send(server.fd, "nonsense and more nonsense", 26, 0), 26);
	assert_true(vhost_user_create(&client, "share", theirs, &e) < 0);
	assert_true(e.msg[0]);
	fs_server_end(&server);
}

static void test_requests(void **st)
{
	(void)st;
	for (unsigned packed = 0; packed < 2; packed++) {
		struct fs_desc d[8];
		unsigned head;
		uint32_t len;
		char tag[36];

		begin(false);
		fix_up(f, BASE | (packed ? VIRTIO_F_PACKED : 0), 16);
		for (unsigned i = 0; i < sizeof(tag); i++)
			tag[i] = (char)fix_get(f, B_DEVICE + i, 1);
		assert_string_equal(tag, "work");
		assert_int_equal(fix_get(f, B_DEVICE + 36, 4), 1);
		for (unsigned i = 0; i < 40; i++) { /* more than the ring has places */
			ask(OPEN, i, O_RDWR);
			/* The guest's own buffers, in the order in which they are. */
			assert_int_equal(fs_server_next(&server, 1, d, 8, &head), 3);
			assert_int_equal(d[0].addr, REQUEST);
			assert_int_equal(d[1].addr, ARGUMENT);
			assert_int_equal(d[2].addr, ANSWER);
			assert_int_equal(d[2].flags & 2, 2);
			fs_server_use(&server, 1, head, 24);
			fix_run(f);
			assert_true(drv_get(&f->q[1], &len) >= 0);
			assert_int_equal(len, 24);
			assert_true(fix_irq(f, FIX_VECTOR + 2));
		}
		/* Says that it wrote more than there was room for: it cannot have. */
		ask(OPEN, 1, 0);
		assert_int_equal(fs_server_next(&server, 1, d, 8, &head), 3);
		fs_server_use(&server, 1, head, 5000);
		fix_run(f);
		assert_true(drv_get(&f->q[1], &len) >= 0);
		assert_int_equal(len, 100);
		/* Held over a pause. */
		ask(OPEN, 2, 0);
		assert_int_equal(fs_server_next(&server, 1, d, 8, &head), 3);
		device_pause(&f->d->pci.dev);
		fs_server_use(&server, 1, head, 16);
		fix_run(f);
		assert_int_equal(drv_get(&f->q[1], &len), -1);
		device_resume(&f->d->pci.dev);
		fix_run(f);
		assert_true(drv_get(&f->q[1], &len) >= 0);
		finish();
	}
}

static void test_read_only(void **st)
{
	static const uint32_t flags[] = {O_RDWR, O_WRONLY, O_RDONLY | O_TRUNC, O_RDONLY | O_CREAT};
	uint32_t opcode = UNLINK;
	struct fs_desc d[8];
	unsigned head;

	(void)st;
	begin(true);
	fix_up(f, BASE, 16);
	ask(UNLINK, 77, 0);
	expect_error(EROFS, 77);
	for (unsigned i = 0; i < ARRAY_SIZE(flags); i++) {
		ask(OPEN, i, flags[i]);
		expect_error(EROFS, i);
	}
	assert_int_equal(fs_server_next(&server, 1, d, 8, &head), 0);
	/* What was looked at is what the server gets, whatever the guest does with its memory then. */
	ask(LOOKUP, 5, 0);
	assert_int_equal(gmem_write(f->mem, REQUEST + 4, &opcode, 4), 0);
	assert_int_equal(fs_server_next(&server, 1, d, 8, &head), 3);
	assert_true(d[0].addr >= server.gpa && d[0].addr + 56 <= server.gpa + server.size);
	assert_int_equal(d[0].len + d[1].len, 56);
	memcpy(&opcode, server.memory + (d[0].addr - server.gpa) + 4, 4);
	assert_int_equal(opcode, LOOKUP);
	assert_int_equal(d[2].addr, ANSWER);
	/* Too long for any request that only reads. */
	assert_true(drv_add(&f->q[1],
			    (struct drv_seg[]){{REQUEST, 9000, false}, {ANSWER, 100, true}}, 2,
			    false) >= 0);
	fix_kick(f, 1);
	fix_run(f);
	assert_int_equal(fs_server_next(&server, 1, d, 8, &head), 0);
	finish();
}

/* Servers that end, or that are better ended. */
static void test_bad_server(void **st)
{
	(void)st;
	for (unsigned how = 0; how < 4; how++) {
		struct fs_desc d[8];
		unsigned head;

		begin(false);
		fix_up(f, BASE, 16);
		ask(OPEN, 9, 0);
		assert_int_equal(fs_server_next(&server, 1, d, 8, &head), 3);
		switch (how) {
		case 0: fs_server_end(&server); break;
		case 1: fs_server_use(&server, 1, head + 1, 16); break; /* not a request */
		case 2: fs_server_use(&server, 1, 70000, 16); break;
		case 3: fs_server_send(&server, 11, &(uint64_t){1}, 8); break; /* nobody asked */
		}
		expect_error(ENOTCONN, 9);
		assert_false(vhost_user_alive(client));
		ask(LOOKUP, 10, 0);
		expect_error(ENOTCONN, 10);
		/* The driver can reset the device and begin anew; it stays so. */
		fix_up(f, BASE, 16);
		ask(LOOKUP, 11, 0);
		expect_error(ENOTCONN, 11);
		assert_int_equal(f->d->n_broken, 0);
		finish();
	}
	/* A request that is none is the guest's mistake. */
	begin(false);
	fix_up(f, BASE, 16);
	assert_int_equal(fix_request(f, 1,
				     (struct drv_seg[]){{REQUEST, 20, false}, {ANSWER, 100, true}},
				     2),
			 16);
	assert_true(vhost_user_alive(client));
	finish();
}

static void test_reset(void **st)
{
	struct fs_desc d[8];
	unsigned head;

	(void)st;
	begin(false);
	fix_up(f, BASE, 16);
	ask(OPEN, 9, 0);
	assert_int_equal(fs_server_next(&server, 1, d, 8, &head), 3);
	/* Not before the server has let go. */
	server.mute = true;
	fix_set(f, C_STATUS, 0, 1);
	fix_run(f);
	fs_server_read(&server);
	assert_int_equal(server.n_stops, 2);
	assert_true(fix_get(f, C_STATUS, 1) != 0);
	fs_server_send(&server, 11, &(uint64_t){0}, 8);
	fix_run(f);
	assert_true(fix_get(f, C_STATUS, 1) != 0);
	fs_server_send(&server, 11, &(uint64_t){1}, 8);
	fix_run(f);
	assert_int_equal(fix_get(f, C_STATUS, 1), 0);
	/* And again; this time the server ends instead. */
	server.mute = false;
	fix_up(f, BASE, 16);
	ask(OPEN, 9, 0);
	assert_int_equal(fs_server_next(&server, 1, d, 8, &head), 3);
	fs_server_use(&server, 1, head, 16);
	fix_run(f);
	fix_set(f, C_STATUS, 0, 1);
	fix_run(f);
	fs_server_end(&server);
	fix_run(f);
	assert_int_equal(fix_get(f, C_STATUS, 1), 0);
	finish();
}

/* One queue alone. */
static void test_queue_reset(void **st)
{
	struct fs_desc d[8];
	unsigned head;

	(void)st;
	begin(false);
	fix_up(f, BASE, 16);
	for (unsigned i = 0; i < 3; i++) {
		ask(OPEN, i, 0);
		assert_int_equal(fs_server_next(&server, 1, d, 8, &head), 3);
		fix_set(f, C_Q_SELECT, 1, 2);
		fix_set(f, C_Q_RESET, 1, 2);
		fix_run(f);
		assert_int_equal(fix_get(f, C_Q_RESET, 2), 1);
		fs_server_read(&server);
		fix_run(f);
		assert_int_equal(fix_get(f, C_Q_RESET, 2), 0);
		fix_queue(f, 1, 16, BASE);
		fix_run(f);
	}
	ask(OPEN, 3, 0);
	assert_int_equal(fs_server_next(&server, 1, d, 8, &head), 3);
	finish();
}

static bool waits_for_server(void)
{
	char text[1024];
	struct text t = {text, sizeof(text), 0};

	f->d->class->dump(f->d, &t);
	return strstr(text, "is to stop");
}

/* The time that a server has to stop ends when it has stopped, whatever was stopped. */
static void test_stop_time(void **st)
{
	(void)st;
	for (unsigned all = 0; all < 2; all++) {
		begin(false);
		fix_up(f, BASE, 16);
		ask(OPEN, 1, 0);
		server.mute = true;
		fix_set(f, C_Q_SELECT, 1, 2);
		fix_set(f, C_Q_RESET, 1, 2);
		if (all)
			fix_set(f, C_STATUS, 0, 1);
		fix_run(f);
		assert_true(waits_for_server());
		fs_server_read(&server);
		for (uint64_t i = 0; i <= all; i++) {
			uint64_t ring = i == all; /* that of the queue last */

			assert_true(waits_for_server());
			fs_server_send(&server, 11, &ring, 8);
			fix_run(f);
		}
		assert_false(waits_for_server());
		assert_true(vhost_user_alive(client));
		finish();
	}
}

/* The device goes, and its server lies about what it has stopped, or says nothing, or nothing that makes sense. */
static void test_destroy(void **st)
{
	(void)st;
	for (unsigned how = 0; how < 5; how++) {
		uint64_t first, second;

		begin(false);
		fix_up(f, BASE, 16);
		fix_kick(f, 0);
		fix_run(f);
		fs_server_read(&server);
		ask(OPEN, 1, 0);
		first = how == 2 ? 7 : 0;
		second = how == 1;
		if (how < 4) {
			fs_server_send(&server, how == 3 ? 12 : 11, &first, 8);
			fs_server_send(&server, 11, &second, 8);
		}
		device_destroy(&f->d->pci.dev);
		assert_int_equal(vhost_user_alive(client), how == 1);
		f->d = NULL;
		finish();
	}
}

/* A request of as many pieces as a chain can have. */
static void test_long_chain(void **st)
{
	static struct fs_desc table[1024];
	const gpa_t at = FIX_DATA + 0x100000;
	uint32_t len = sizeof(table);
	struct fs_desc d[8];
	unsigned head;

	(void)st;
	for (unsigned i = 0; i < 1024; i++)
		table[i] = (struct fs_desc){i ? ANSWER + i * 16 : REQUEST, i ? 16 : 40,
					    (i ? 2 : 0) | (i < 1023), (uint16_t)(i + 1)};
	for (unsigned ro = 0; ro < 2; ro++) {
		struct drv_seg s[2] = {{REQUEST, 40, false}, {ANSWER, 16, true}};
		int id;

		begin(ro);
		fix_up(f, BASE | VIRTIO_F_INDIRECT, 16);
		assert_int_equal(gmem_write(f->mem, at, table, sizeof(table)), 0);
		id = drv_add(&f->q[1], s, 2, true);
		assert_true(id >= 0);
		/* The driver's own table is shorter. */
		assert_int_equal(gmem_write(f->mem, f->q[1].set.desc + 16 * (gpa_t)id, &at, 8), 0);
		assert_int_equal(gmem_write(f->mem, f->q[1].set.desc + 16 * (gpa_t)id + 8, &len, 4),
				 0);
		fix_kick(f, 1);
		fix_run(f);
		assert_int_equal(drv_get(&f->q[1], &len), id); /* answered */
		len = sizeof(table);
		ask(OPEN, 5, 0); /* and what comes after it is served */
		assert_int_equal(fs_server_next(&server, 1, d, 8, &head), 3);
		finish();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hello),	   cmocka_unit_test(test_requests),
		cmocka_unit_test(test_read_only),  cmocka_unit_test(test_bad_server),
		cmocka_unit_test(test_reset),	   cmocka_unit_test(test_queue_reset),
		cmocka_unit_test(test_stop_time),  cmocka_unit_test(test_destroy),
		cmocka_unit_test(test_long_chain),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * guest.h - the program lodge-guest: what our Linux guests run in their initramfs beside busybox.
 *
 * One static program with several commands. Each command gets its own arguments (argv[0] is its name) and
 * returns the exit status. guest.c has the table.
 */
#ifndef LODGE_TESTS_GUEST_H
#define LODGE_TESTS_GUEST_H

#include <stdint.h>

/* blk WHAT DEV ...: reads, writes and checks disks; blk.c says how. */
int blk_main(int argc, char **argv);
/* button: waits for the power button, then powers off. */
int button_main(int argc, char **argv);
/* check TOKEN CPUS MIB: looks at the machine from inside, prints a row a check and a verdict with the token. */
int check_main(int argc, char **argv);
/* count CPUS: counts and checks itself until a line comes on standard input. */
int count_main(int argc, char **argv);
/* insn MILLIONS: runs that many million instructions between two marker lines. */
int insn_main(int argc, char **argv);
/* udp WHAT ...: datagrams; udp.c says how. */
int rings_main(int argc, char **argv);
int udp_main(int argc, char **argv);
/* virtio TOKEN: looks at the virtio devices, together with tests/guest/virtio on the host. */
int virtio_main(int argc, char **argv);

/* Writes a file of `bytes` on `dir`, reads it back twice, returns the sum in *sum. 0, or -1 with a message printed. */
int checksum_file(const char *dir, uint64_t bytes, uint64_t *sum);
#define CHECKSUM_BYTES (64u << 20)
#define CHECKSUM_64M \
	UINT64_C(0x5cc45960d17a1d51) /* of CHECKSUM_BYTES bytes, on any x86-64 machine */

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * guest.c - lodge-guest: one static program for the guest side of ./run, ./test and ./bench.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <unistd.h>

#include "guest.h"

/* exit N: tells the test device at port 0xf4 (isa-debug-exit) to end the machine with this value. */
static int exit_main(int argc, char **argv)
{
	int value = argc > 1 ? atoi(argv[1]) : 0;

	if (ioperm(0xf4, 1, 1)) {
		perror("lodge-guest: ioperm");
		return 1;
	}
	outb((unsigned char)value, 0xf4);
	sleep(1); /* a machine without the device comes back here */
	fprintf(stderr, "lodge-guest: nothing at port 0xf4\n");
	return 1;
}

/* checksum DIR: prints the sum of the check's 64 MiB, to be compared with CHECKSUM_64M. */
static int checksum_main(int argc, char **argv)
{
	uint64_t sum;

	if (argc < 2 || checksum_file(argv[1], CHECKSUM_BYTES, &sum))
		return 1;
	printf("%016" PRIx64 "\n", sum);
	return sum == CHECKSUM_64M ? 0 : 1;
}

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
} commands[] = {
	{"blk", blk_main},	     {"button", button_main}, {"check", check_main},
	{"checksum", checksum_main}, {"count", count_main},   {"exit", exit_main},
	{"insn", insn_main},	     {"rings", rings_main},   {"udp", udp_main},
	{"virtio", virtio_main},
};

int main(int argc, char **argv)
{
	size_t i;

	for (i = 0; argc > 1 && i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (!strcmp(argv[1], commands[i].name))
			return commands[i].run(argc - 1, argv + 1);
	}
	fprintf(stderr,
		"usage: lodge-guest blk|button|check|checksum|count|exit|insn|rings|udp|virtio ...\n");
	return 2;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * udp.c - lodge-guest udp: what a test of networks needs and busybox has not.
 *
 *	udp ask ADDRESS PORT WORD	sends the word until it comes back
 *	udp answer PORT WORD		waits for one datagram and answers with the word
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "guest.h"

#define TRIES 100u

static int ask(int fd, const char *address, uint16_t port, const char *word)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
	struct timeval wait = {.tv_usec = 300000};
	char back[256];

	if (inet_pton(AF_INET, address, &to.sin_addr) != 1 ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)))
		return 1;
	for (unsigned i = 0; i < TRIES; i++) {
		ssize_t n;

		if (sendto(fd, word, strlen(word), 0, (struct sockaddr *)&to, sizeof(to)) < 0)
			perror("lodge-guest: udp: sendto");
		n = recv(fd, back, sizeof(back), 0);
		if (n == (ssize_t)strlen(word) && !memcmp(back, word, (size_t)n))
			return 0;
	}
	return 1;
}

static int answer(int fd, uint16_t port, const char *word)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)}, from;
	socklen_t len = sizeof(from);
	char data[256];

	if (bind(fd, (struct sockaddr *)&at, sizeof(at)) ||
	    recvfrom(fd, data, sizeof(data), 0, (struct sockaddr *)&from, &len) < 0 ||
	    sendto(fd, word, strlen(word), 0, (struct sockaddr *)&from, len) < 0) {
		perror("lodge-guest: udp");
		return 1;
	}
	return 0;
}

int udp_main(int argc, char **argv)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd >= 0 && argc == 5 && !strcmp(argv[1], "ask"))
		return ask(fd, argv[2], (uint16_t)atoi(argv[3]), argv[4]);
	if (fd >= 0 && argc == 4 && !strcmp(argv[1], "answer"))
		return answer(fd, (uint16_t)atoi(argv[2]), argv[3]);
	fprintf(stderr, "usage: lodge-guest udp ask ADDRESS PORT WORD, answer PORT WORD\n");
	return 2;
}

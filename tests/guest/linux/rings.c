/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rings.c - lodge-guest rings INTERFACE TIMES: gives a network card rings of another size, so often, whatever passes through it meanwhile.
 * Linux's virtio-net resets the queues for that, one at a time (virtio 1.2 §2.6.1).
 */
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "guest.h"

int rings_main(int argc, char **argv)
{
	struct ethtool_ringparam p = {.cmd = ETHTOOL_GRINGPARAM};
	struct ifreq rq = {.ifr_data = (void *)&p};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || argc != 3 || strlen(argv[1]) >= sizeof(rq.ifr_name)) {
		fprintf(stderr, "usage: lodge-guest rings INTERFACE TIMES\n");
		return 2;
	}
	strcpy(rq.ifr_name, argv[1]);
	for (int i = 0; i < atoi(argv[2]); i++) {
		p.cmd = ETHTOOL_GRINGPARAM;
		if (ioctl(fd, SIOCETHTOOL, &rq))
			break;
		p.cmd = ETHTOOL_SRINGPARAM;
		p.rx_pending = p.rx_max_pending >> (i + 1) % 2;
		p.tx_pending = p.tx_max_pending >> (i + 1) % 3;
		if (ioctl(fd, SIOCETHTOOL, &rq))
			break;
		p.cmd = ETHTOOL_GRINGPARAM;
		if (ioctl(fd, SIOCETHTOOL, &rq))
			break;
		if (p.rx_pending != p.rx_max_pending >> (i + 1) % 2) {
			fprintf(stderr, "lodge-guest: rings: they are as they were\n");
			return 1;
		}
		if (i + 1 == atoi(argv[2]))
			return 0;
	}
	perror("lodge-guest: rings");
	return 1;
}

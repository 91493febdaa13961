/* SPDX-License-Identifier: Apache-2.0 */
/*
 * button.c - `lodge-guest button`: powers the machine off when its power button is pressed.
 *
 * The kernel's ACPI button driver makes an input device of it (module button, read through evdev). On a whole system
 * systemd or acpid does this; our guests have neither.
 */
#include <fcntl.h>
#include <linux/input.h>
#include <poll.h>
#include <stdio.h>
#include <sys/reboot.h>
#include <unistd.h>

#include "guest.h"

#define MAX_DEVICES 8

static int open_devices(struct pollfd *p)
{
	char path[32];
	int n = 0;

	for (int i = 0; i < MAX_DEVICES; i++) {
		snprintf(path, sizeof(path), "/dev/input/event%d", i);
		p[n].fd = open(path, O_RDONLY | O_CLOEXEC);
		p[n].events = POLLIN;
		if (p[n].fd >= 0)
			n++;
	}
	return n;
}

static int is_power(int fd)
{
	struct input_event ev;

	return read(fd, &ev, sizeof(ev)) == (ssize_t)sizeof(ev) && ev.type == EV_KEY &&
	       ev.code == KEY_POWER && ev.value == 1;
}

int button_main(int argc, char **argv)
{
	struct pollfd p[MAX_DEVICES];
	int n = open_devices(p);

	(void)argc;
	(void)argv;
	if (!n) {
		fprintf(stderr, "lodge-guest: no power button\n");
		return 1;
	}
	while (poll(p, (nfds_t)n, -1) > 0) {
		for (int i = 0; i < n; i++) {
			if (!(p[i].revents & POLLIN) || !is_power(p[i].fd))
				continue;
			sync();
			return reboot(RB_POWER_OFF);
		}
	}
	return 1;
}

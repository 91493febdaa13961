/* SPDX-License-Identifier: Apache-2.0 */
/*
 * agent_system.c - the guest as a whole: file systems at rest, network cards, clock, end.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <linux/fs.h>
#include <linux/reboot.h>
#include <mntent.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "guest/agent.h"
#include "util/clock.h"

/* ---- file systems ---- */

static bool frozen;

/* Calls FIFREEZE or FITHAW for each file system on a device; how many did so, or -1 with errno. */
static int each_file_system(unsigned long request)
{
	FILE *f = setmntent("/proc/self/mounts", "r");
	struct mntent *m;
	int n = 0;

	if (!f)
		return -1;
	while ((m = getmntent(f))) {
		int fd, r, error;

		if (m->mnt_fsname[0] != '/')
			continue;
		fd = open(m->mnt_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd < 0)
			continue;
		r = ioctl(fd, request, 0);
		error = errno;
		close(fd);
		if (r == 0) {
			n++;
		} else if (request == FIFREEZE && error != EOPNOTSUPP && error != EBUSY) {
			endmntent(f);
			errno = error;
			return -1;
		}
	}
	endmntent(f);
	return n;
}

json_t *agent_freeze(json_t *args, struct why *why)
{
	int n, error;

	(void)args;
	if (frozen)
		return refuse(why, "the file systems are frozen already");
	n = each_file_system(FIFREEZE);
	if (n >= 0) {
		frozen = true;
		return json_integer(n);
	}
	error = errno;
	(void)each_file_system(FITHAW); /* all or none */
	errno = error;
	return refuse_errno(why, "cannot freeze the file systems");
}

json_t *agent_thaw(json_t *args, struct why *why)
{
	int n = each_file_system(FITHAW);

	(void)args;
	frozen = false;
	return n < 0 ? refuse_errno(why, "cannot thaw the file systems") : json_integer(n);
}

json_t *agent_freeze_status(json_t *args, struct why *why)
{
	(void)args;
	(void)why;
	return json_string(frozen ? "frozen" : "thawed");
}

/* ---- network ---- */

static unsigned prefix_of(const struct sockaddr *mask)
{
	const uint8_t *bytes;
	unsigned n = 0, len;

	if (!mask)
		return 0;
	if (mask->sa_family == AF_INET) {
		bytes = (const uint8_t *)&((const struct sockaddr_in *)(const void *)mask)->sin_addr;
		len = 4;
	} else {
		bytes = (const uint8_t *)&((const struct sockaddr_in6 *)(const void *)mask)->sin6_addr;
		len = 16;
	}
	for (unsigned i = 0; i < len; i++)
		n += (unsigned)__builtin_popcount(bytes[i]);
	return n;
}

static json_t *card_of(json_t *list, const char *name)
{
	char path[64], mac[32] = "";
	json_t *card;
	size_t i;
	FILE *f;

	json_array_foreach(list, i,
			   card) if (!strcmp(json_string_value(json_object_get(card, "name")),
					     name)) return card;
	card = json_pack("{s:s, s:[]}", "name", name, "ip-addresses");
	snprintf(path, sizeof(path), "/sys/class/net/%.30s/address", name);
	f = fopen(path, "r");
	if (f && fgets(mac, sizeof(mac), f)) {
		mac[strcspn(mac, "\n")] = '\0';
		json_object_set_new(card, "hardware-address", json_string(mac));
	}
	if (f)
		fclose(f);
	json_array_append_new(list, card);
	return card;
}

json_t *agent_interfaces(json_t *args, struct why *why)
{
	json_t *list = json_array();
	struct ifaddrs *all;

	(void)args;
	if (getifaddrs(&all) < 0) {
		json_decref(list);
		return refuse_errno(why, "cannot list the network cards");
	}
	for (struct ifaddrs *a = all; a; a = a->ifa_next) {
		json_t *card = card_of(list, a->ifa_name);
		int family = a->ifa_addr ? a->ifa_addr->sa_family : AF_UNSPEC;
		char text[INET6_ADDRSTRLEN];
		const void *bytes;

		if (family != AF_INET && family != AF_INET6)
			continue;
		bytes = family == AF_INET ?
				(const void *)&((struct sockaddr_in *)(void *)a->ifa_addr)->sin_addr :
				(const void *)&((struct sockaddr_in6 *)(void *)a->ifa_addr)->sin6_addr;
		if (inet_ntop(family, bytes, text, sizeof(text)))
			json_array_append_new(json_object_get(card, "ip-addresses"),
					      json_pack("{s:s, s:s, s:i}", "ip-address", text,
							"ip-address-type",
							family == AF_INET ? "ipv4" : "ipv6",
							"prefix", (int)prefix_of(a->ifa_netmask)));
	}
	freeifaddrs(all);
	return list;
}

/* ---- clock ---- */

json_t *agent_get_time(json_t *args, struct why *why)
{
	(void)args;
	(void)why;
	return json_integer((json_int_t)clock_realtime_ns());
}

/* The machine's real-time clock is the host's already. */
json_t *agent_set_time(json_t *args, struct why *why)
{
	json_t *when = json_object_get(args, "time");
	json_int_t ns = json_integer_value(when);
	struct timespec t = {.tv_sec = (time_t)(ns / (json_int_t)CLOCK_NS_PER_S),
			     .tv_nsec = (long)(ns % (json_int_t)CLOCK_NS_PER_S)};

	if (!json_is_integer(when) || ns < 0)
		return refuse(why, "\"time\" must be nanoseconds since 1970");
	if (clock_settime(CLOCK_REALTIME, &t) < 0)
		return refuse_errno(why, "cannot set the clock");
	return json_object();
}

/* ---- end ---- */

/* An initramfs has no init that could be asked. Does not come back, and so does not answer. */
json_t *agent_shutdown(json_t *args, struct why *why)
{
	const char *mode = json_string_value(json_object_get(args, "mode"));
	int how = !mode || !strcmp(mode, "powerdown") ? LINUX_REBOOT_CMD_POWER_OFF :
		  !strcmp(mode, "halt")		      ? LINUX_REBOOT_CMD_HALT :
		  !strcmp(mode, "reboot")	      ? LINUX_REBOOT_CMD_RESTART :
							0;

	if (!how)
		return refuse(why, "\"mode\" must be powerdown, halt or reboot");
	sync();
	if (reboot(how) < 0)
		return refuse_errno(why, "cannot end the machine");
	return NULL;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* rtc.h - MC146818 real time clock with 256 bytes of CMOS memory, ports 0x70-0x73. VM lock held. */
#ifndef LODGE_BOARD_RTC_H
#define LODGE_BOARD_RTC_H

#include "board/device.h"

/* What the battery keeps while there is no power, and through a reset. */
struct rtc_battery {
	uint8_t cmos[256]; /* registers A and B too */
	int64_t offset_ns, frozen_sub_ns;
};

struct rtc_config {
	uint64_t low_ram_bytes;	 /* RAM below 4 GiB, for the memory size bytes */
	uint64_t high_ram_bytes; /* RAM from 4 GiB up */
	unsigned n_cpus;
	int64_t offset_ns;		   /* guest's wall clock less the host's; 0: UTC */
	const struct rtc_battery *battery; /* of the clock before; NULL: a new one. Overrides offset_ns */
};

int rtc_create(struct device **out, const struct dev_env *env, const struct rtc_config *cfg,
	       struct err *e);
void rtc_get_battery(const struct device *d, struct rtc_battery *out);
/* A byte of CMOS memory, for firmware settings. Index 0x0e..0xff. */
void rtc_cmos_set(struct device *d, uint8_t index, uint8_t value);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pm.h - ACPI power management registers in the ICH9 layout (ICH9 §13.8.3, ACPI 6.5 §4.8). VM lock held.
 *
 * At PMBASE: PM1a_STS +0 (2), PM1a_EN +2 (2), PM1a_CNT +4 (4), PM_TMR +8 (4), GPE0_STS +0x20 (8), GPE0_EN +0x28 (8),
 * SMI_EN +0x30, SMI_STS +0x34 (kept, no SMI ever). SCI is GSI 9, level. There is no SMI_CMD: SCI_EN is always set.
 */
#ifndef LODGE_BOARD_PM_H
#define LODGE_BOARD_PM_H

#include "board/device.h"

#define PM_SIZE 0x80u
/* The upper bytes of PM1a control and status: laid out as the sleep control and status registers of hardware-reduced ACPI
 * (§4.8.3.7) are. */
#define PM_SLEEP_CONTROL 5u
#define PM_SLEEP_STATUS 1u
#define PM_PM1_EVENTS 0u /* status, and enable 16 bits higher */
#define PM_PM1_PWRBTN 0x100u
#define PM_TIMER_HZ 3579545u
#define PM_GPE0_OFFSET 0x20u
#define PM_GPE0_LEN 16u /* bytes of GPE0_BLK: 8 of status, 8 of enable */
#define PM_GPES 64u
/* SLP_TYP for \_S5. Firmware for this chipset on virtual machines writes 0 for "off"; 7 (the chip's own value) works too. */
#define PM_SLP_TYP_S5 0u

#define PM1_TMR_STS 0x0001u
#define PM1_GBL_STS 0x0020u
#define PM1_PWRBTN_STS 0x0100u
#define PM1_RTC_STS 0x0400u
#define PM1_WAK_STS 0x8000u
#define PM1_CNT_SCI_EN 0x0001u
#define PM1_CNT_SLP_EN 0x2000u

struct pm_config {
	bool timer_32bit; /* FADT TMR_VAL_EXT; else the timer has 24 bits */
};

int pm_create(struct device **out, const struct dev_env *env, const struct pm_config *cfg,
	      struct err *e);
/* Where the registers are: set by the PMBASE of the LPC bridge, if there is one. Created at LAYOUT_PORT_PM. */
void pm_map(struct device *d, uint16_t base, bool enabled);
/* The power button was pressed: PWRBTN_STS, and SCI if enabled. True: the guest had it enabled. */
bool pm_power_button(struct device *d);
/* Event n (0..63) happened: sets its status bit. */
void pm_gpe(struct device *d, unsigned n);

#endif

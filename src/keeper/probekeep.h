/* SPDX-License-Identifier: Apache-2.0 */
/* probekeep.h - what the probe of KVM found (engine/kvm/probe.h), kept from one start to the next. */
#ifndef LODGE_KEEPER_PROBEKEEP_H
#define LODGE_KEEPER_PROBEKEEP_H

#include "engine/kvm/probe.h"

/* The host that is asked; tests have others. */
struct probekeep_host {
	const char *device;  /* /dev/kvm */
	const char *boot_id; /* the file of the kernel's */
	void (*probe)(struct kvm_probe *out);
};

extern const struct probekeep_host probekeep_here;

/*
 * The kept answer if there is one that holds, else the probe's, which is kept. Of a kept answer only `result` and `why` are
 * known. True: it was a kept one.
 */
bool probekeep_get(const struct probekeep_host *h, struct kvm_probe *out);
/* Probes in any case, and keeps that. */
void probekeep_renew(const struct probekeep_host *h, struct kvm_probe *out);
/* Nothing is kept any more. */
void probekeep_drop(void);

#endif

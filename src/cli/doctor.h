/* SPDX-License-Identifier: Apache-2.0 */
/*
 * doctor.h - `lodge doctor`: what is known of this host, one fact or check a line.
 *
 * A line is {"what","level","text","do"}. Level: "fact"; "ok"; "warn": VMs run, but worse than they could, or not all of them;
 * "fail": none can run.
 */
#ifndef LODGE_CLI_DOCTOR_H
#define LODGE_CLI_DOCTOR_H

#include "cli/vm.h"
#include "engine/kvm/probe.h"

enum doctor_level { DOCTOR_FACT, DOCTOR_OK, DOCTOR_WARN, DOCTOR_FAIL };

/* `to_do` may be NULL. */
void doctor_say(json_t *lines, const char *what, enum doctor_level level, const char *to_do,
		const char *text, ...) PRINTF_FORMAT(5, 6);

/* doctor_host.c: checks of what VMs need of the host. */
void doctor_host(json_t *lines, const struct kvm_probe *probe);
/* doctor_lodge.c: checks of what is Lodge's here: programs, VMs, folders, lodged. */
void doctor_lodge(json_t *lines);

#endif

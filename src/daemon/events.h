/* SPDX-License-Identifier: Apache-2.0 */
/*
 * events.h - what happens, for those who listen (WebSockets). Loop thread only.
 *
 * Each event is a text message {"id":N,"time_ms":..,"type":..,"vm":NAME,...}; ids have no gaps but those that a filter makes:
 *   type "vm"         "state": running, stopped, busy, waiting, removed; also when only the definition has changed
 *   type "operation"  "operation": its record, when it begins, goes on and ends
 *   type "guest"      "event": what the VM process says (proto/control.h): paused, reset, disk-error, ...
 *   type "lost"       "count": so many of the guest's were left out, because there were too many
 */
#ifndef LODGE_DAEMON_EVENTS_H
#define LODGE_DAEMON_EVENTS_H

#include "daemon/http.h"
#include "daemon/vms.h"

struct events;

int events_create(struct events **out, struct loop *l, struct vms *v, struct err *e);
/* After the connections. Accepts NULL. */
void events_destroy(struct events *ev);

/* A request becomes a listener; vm NULL: to all VMs. */
void events_listen(struct events *ev, struct http_conn *c, const char *vm);
/* Does anybody listen? */
bool events_heard(const struct events *ev);
/* The state of a VM, when it changes: state NULL, it is gone. */
void events_vm(struct events *ev, const char *name, const char *state);
/* `record` is consumed, and may be NULL. */
void events_operation(struct events *ev, json_t *record);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * api.h - the API of lodged, /1.0: from a request to what it does. Described in docs/api/lodge.json, which routes, checks and
 * rights are made of (genroutes.py).
 */
#ifndef LODGE_DAEMON_API_H
#define LODGE_DAEMON_API_H

#include "daemon/http.h"
#include "daemon/vms.h"

struct api;

int api_create(struct api **out, struct loop *l, int listen_fd, struct err *e);
/* Before requests come, and once only: they are made of each other's calls. */
void api_serve(struct api *a, struct vms *v, struct store *s);
/* An operation has ended: who waits for it is answered. */
void api_operation_ended(void *api, uint64_t id);
void api_destroy(struct api *a); /* accepts NULL */

#endif

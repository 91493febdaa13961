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

/* listen_fd: the unix socket. tcp_fd: -1, or TCP's, with its TLS. All stay the caller's. */
int api_create(struct api **out, struct loop *l, const struct settings *set, int listen_fd,
	       int tcp_fd, struct tls *tls, struct err *e);
/* As http_listen_again(), of the unix socket. */
int api_listen_again(struct api *a, int listen_fd);
/* Before requests come, and once only: they are made of each other's calls. */
int api_serve(struct api *a, struct vms *v, struct store *s, struct err *e);
/* For struct vms_calls. An operation has begun, goes on, or has ended: who waits for its end is answered. */
void api_operation_changed(void *api, uint64_t id);
void api_operation_ended(void *api, uint64_t id);
void api_vm_changed(void *api, const char *name, const char *state);
void api_vm_ended(void *api, const char *name, const json_t *end);
void api_destroy(struct api *a); /* accepts NULL */

#endif

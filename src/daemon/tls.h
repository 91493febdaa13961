/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tls.h - the server's side of mutual TLS 1.3 on sockets that do not wait. Loop thread only.
 *
 * A client proves who it is by a certificate that the client authority signed; what it may do is decided elsewhere, by the
 * certificate's fingerprint. No older version, no session is resumed (each connection is checked anew), no early data.
 */
#ifndef LODGE_DAEMON_TLS_H
#define LODGE_DAEMON_TLS_H

#include <sys/types.h>

#include "util/base.h"
#include "util/err.h"

struct tls;
struct tls_conn;

/* Reads the three PEM files. -EACCES: one cannot be read; -EINVAL: it is not what it should be; -EKEYEXPIRED: the certificate's time is
 * over, or not yet come. Each with a sentence. */
int tls_create(struct tls **out, const char *certificate, const char *key, const char *client_ca,
	       struct err *e);
void tls_destroy(struct tls *t); /* accepts NULL */

/* fd stays the caller's. NULL: out of memory. */
struct tls_conn *tls_conn_create(struct tls *t, int fd);
void tls_conn_destroy(struct tls_conn *c); /* accepts NULL */
/* Tells the other end that nothing more comes, if that goes without waiting. */
void tls_conn_bye(struct tls_conn *c);
/* 0: done; -EAGAIN: call again when the socket is ready; -EPROTO, with a sentence. */
int tls_conn_handshake(struct tls_conn *c, struct err *e);
/* As recv(2) and send(2), but -errno. 0 of recv: the end. */
ssize_t tls_conn_recv(struct tls_conn *c, void *data, size_t len);
ssize_t tls_conn_send(struct tls_conn *c, const void *data, size_t len);
/* After -EAGAIN: it wants to write, whatever was asked of it. */
bool tls_conn_wants_write(const struct tls_conn *c);
/* Are there bytes that the socket does not tell of? */
bool tls_conn_pending(const struct tls_conn *c);
/* Of the client's certificate: "sha256:" and 64 hexadecimal digits. */
int tls_conn_fingerprint(const struct tls_conn *c, char *text, size_t size);

#endif

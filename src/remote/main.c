/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c - lodge-tls HOST PORT CERTIFICATE KEY AUTHORITY: the way of `lodge --host` to lodged on another host. Bytes of descriptor 3, a stream
 * socket, go to HOST by TLS 1.3 and back; why that does not go is written to descriptor 4, as one sentence.
 *
 * A program of its own, so that `lodge` does not load a TLS library for what it mostly does, which needs none. It lives as long as
 * both ends: when one closes, what is still on its way is delivered, and it ends.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "util/base.h"

#define LOCAL 3
#define WHY 4
#define PATIENCE_S 15

struct way {
	const char *host, *port, *certificate, *key, *authority;
	int fd;
	SSL_CTX *ctx;
	SSL *ssl;
};

PRINTF_FORMAT(1, 2) static int fail(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vdprintf(WHY, fmt, ap);
	va_end(ap);
	return 1;
}

static const char *openssl_says(void)
{
	const char *text = ERR_reason_error_string(ERR_peek_error());

	return text ? text : "the connection was cut";
}

/* What the other end said of our certificate, or what else went wrong. */
static int fail_tls(const struct way *w)
{
	static const struct {
		int reason;
		const char *why;
	} alerts[] = {
		{SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED, "it has expired"},
		{SSL_R_TLSV1_ALERT_UNKNOWN_CA, "its client authority has not signed it"},
		{SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE, "it is not made for a client"},
		{SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED, "it is revoked"},
		{SSL_R_SSLV3_ALERT_BAD_CERTIFICATE, "it is damaged"},
	};
	int reason = ERR_GET_REASON(ERR_peek_error());

	for (unsigned i = 0; i < ARRAY_SIZE(alerts); i++)
		if (reason == alerts[i].reason)
			return fail("lodged on %s refuses the certificate \"%s\": %s", w->host,
				    w->certificate, alerts[i].why);
	return fail("no TLS with lodged on %s, port %s: %s", w->host, w->port, openssl_says());
}

static int dial(struct way *w)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *all = NULL;
	struct timeval patience = {.tv_sec = PATIENCE_S};
	int r = getaddrinfo(w->host, w->port, &hints, &all), on = 1, error = 0;

	if (r)
		return fail("cannot find the host %s: %s", w->host, gai_strerror(r));
	for (const struct addrinfo *a = all; a && w->fd < 0; a = a->ai_next) {
		w->fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (w->fd < 0)
			continue;
		/* Also the time that connect() may take. */
		(void)setsockopt(w->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
		(void)setsockopt(w->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
		if (connect(w->fd, a->ai_addr, a->ai_addrlen) < 0) {
			error = errno == EINPROGRESS ? ETIMEDOUT : errno;
			close(w->fd);
			w->fd = -1;
		}
	}
	freeaddrinfo(all);
	if (w->fd < 0)
		return fail("cannot connect to %s, port %s: %s", w->host, w->port, strerror(error));
	(void)setsockopt(w->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	return 0;
}

static int load(struct way *w)
{
	const char *files[] = {w->certificate, w->key, w->authority};

	for (unsigned i = 0; i < ARRAY_SIZE(files); i++)
		if (access(files[i], R_OK) < 0)
			return fail("cannot read \"%s\", which a client over TLS needs: %s",
				    files[i], strerror(errno));
	w->ctx = SSL_CTX_new(TLS_client_method());
	if (!w->ctx)
		return fail("out of memory");
	SSL_CTX_set_min_proto_version(w->ctx, TLS1_3_VERSION);
	SSL_CTX_set_verify(w->ctx, SSL_VERIFY_PEER, NULL);
	if (SSL_CTX_use_certificate_chain_file(w->ctx, w->certificate) != 1)
		return fail("\"%s\" is not a certificate in PEM", w->certificate);
	if (SSL_CTX_use_PrivateKey_file(w->ctx, w->key, SSL_FILETYPE_PEM) != 1)
		return fail("\"%s\" is not the key of \"%s\"", w->key, w->certificate);
	if (SSL_CTX_load_verify_file(w->ctx, w->authority) != 1)
		return fail("\"%s\" is not a certificate in PEM", w->authority);
	return 0;
}

static bool is_address(const char *host)
{
	struct in6_addr any;

	return inet_pton(AF_INET, host, &any) == 1 || inet_pton(AF_INET6, host, &any) == 1;
}

static int greet(struct way *w)
{
	X509_VERIFY_PARAM *param;
	long verdict;
	int r;

	w->ssl = SSL_new(w->ctx);
	if (!w->ssl || SSL_set_fd(w->ssl, w->fd) != 1)
		return fail("out of memory");
	param = SSL_get0_param(w->ssl);
	if (is_address(w->host)) {
		r = X509_VERIFY_PARAM_set1_ip_asc(param, w->host);
	} else {
		r = X509_VERIFY_PARAM_set1_host(param, w->host, 0) &&
		    SSL_set_tlsext_host_name(w->ssl, w->host);
	}
	if (r != 1)
		return fail("\"%s\" is not the name of a host", w->host);
	ERR_clear_error();
	if (SSL_connect(w->ssl) == 1)
		return 0;
	verdict = SSL_get_verify_result(w->ssl);
	if (verdict == X509_V_ERR_CERT_HAS_EXPIRED)
		return fail("the certificate of %s has expired", w->host);
	if (verdict != X509_V_OK)
		return fail("the certificate of %s is not accepted: %s", w->host,
			    X509_verify_cert_error_string(verdict));
	return fail_tls(w);
}

/* ---- to and fro: the sockets do not wait from here on ---- */

struct pipe_end {
	char data[16384];
	size_t at, len; /* what waits is [at, len) */
	bool open;	/* more may come */
};

/* > 0, 0: the end, -EAGAIN, -EPROTO */
static ssize_t tls_result(const struct way *w, int r, size_t n)
{
	int error = SSL_get_error(w->ssl, r);

	if (r == 1)
		return (ssize_t)n;
	if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE)
		return -EAGAIN;
	return error == SSL_ERROR_ZERO_RETURN ? 0 : -EPROTO;
}

static ssize_t from(const struct way *w, bool remote, void *data, size_t len)
{
	size_t n = 0;
	ssize_t r;

	if (!remote) {
		r = recv(LOCAL, data, len, MSG_DONTWAIT);
		return r < 0 ? -errno : r;
	}
	ERR_clear_error();
	r = SSL_read_ex(w->ssl, data, len, &n);
	return tls_result(w, (int)r, n);
}

static ssize_t to(const struct way *w, bool remote, const void *data, size_t len)
{
	size_t n = 0;
	ssize_t r;

	if (!remote) {
		r = send(LOCAL, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
		return r < 0 ? -errno : r;
	}
	ERR_clear_error();
	r = SSL_write_ex(w->ssl, data, len, &n);
	return tls_result(w, (int)r, n);
}

/* Moves what goes. false: an end is broken. */
static bool move(const struct way *w, bool up, struct pipe_end *p, bool *moved)
{
	ssize_t n;

	if (p->at == p->len && p->open) {
		n = from(w, !up, p->data, sizeof(p->data));
		if (n == 0 || (n < 0 && n != -EAGAIN && n != -EINTR))
			p->open = false;
		if (n < 0 && p->open)
			return true;
		if (n < 0)
			return false;
		p->at = 0;
		p->len = (size_t)n;
		*moved = true;
	}
	if (p->at < p->len) {
		n = to(w, up, p->data + p->at, p->len - p->at);
		if (n == -EAGAIN || n == -EINTR)
			return true;
		if (n <= 0)
			return false;
		p->at += (size_t)n;
		*moved = true;
	}
	return true;
}

static int pump(struct way *w)
{
	static struct pipe_end up = {.open = true}, down = {.open = true};

	while (up.open && down.open) {
		struct pollfd p[2] = {{.fd = LOCAL}, {.fd = w->fd, .events = POLLIN}};
		bool moved = false;

		if (!move(w, true, &up, &moved) || !move(w, false, &down, &moved))
			return ERR_peek_error() ? fail_tls(w) : 0;
		if (moved)
			continue;
		p[0].events = (short)((up.at == up.len ? POLLIN : 0) |
				      (down.at < down.len ? POLLOUT : 0));
		/* With a full pipe below, the other end has to wait. */
		p[1].events = (short)((down.at == down.len ? POLLIN : 0) |
				      (up.at < up.len ? POLLOUT : 0));
		if (poll(p, 2, -1) < 0 && errno != EINTR)
			return 1;
	}
	(void)SSL_shutdown(w->ssl);
	return 0;
}

int main(int argc, char **argv)
{
	struct way w = {.fd = -1};
	int r;

	if (argc != 6) {
		fputs("lodge-tls is started by `lodge --host`\n", stderr);
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	w.host = argv[1];
	w.port = argv[2];
	w.certificate = argv[3];
	w.key = argv[4];
	w.authority = argv[5];
	r = load(&w);
	if (r == 0)
		r = dial(&w);
	if (r == 0)
		r = greet(&w);
	if (r == 0) {
		(void)fcntl(w.fd, F_SETFL, O_RDWR | O_NONBLOCK);
		SSL_set_mode(w.ssl,
			     SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
		r = pump(&w);
	}
	SSL_free(w.ssl);
	SSL_CTX_free(w.ctx);
	return r;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* tls.c - OpenSSL's libssl, as little of it as that takes. Its error queue is emptied before each call that fills it. */
#include "daemon/tls.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

struct tls {
	SSL_CTX *ctx;
};

struct tls_conn {
	SSL *ssl;
	bool wants_write, broken;
};

/* What OpenSSL has to say of the last error. */
static const char *why(void)
{
	const char *text = ERR_reason_error_string(ERR_peek_error());

	return text ? text : "unknown reason";
}

/* Can it be read, and is it for our eyes only, if it should be? */
static int check_file(const char *what, const char *path, bool secret, struct err *e)
{
	FILE *f = fopen(path, "re");
	struct stat st;
	int r = 0;

	if (!f)
		return err_set(e, errno == ENOENT ? ENOENT : EACCES,
			       "cannot read the %s \"%s\": %s", what, path, strerror(errno));
	if (fstat(fileno(f), &st) < 0 || !S_ISREG(st.st_mode))
		r = err_set(e, EINVAL, "the %s \"%s\" is not a file", what, path);
	else if (secret && (st.st_mode & 077))
		r = err_set(e, EACCES, "the %s \"%s\" can be read by others: chmod 600 %s", what,
			    path, path);
	fclose(f);
	return r;
}

/* A key with a password: nobody is there to type it. */
static int no_password(char *buf, int size, int rwflag, void *ctx)
{
	(void)buf;
	(void)size;
	(void)rwflag;
	(void)ctx;
	return 0;
}

static int check_time(SSL_CTX *ctx, const char *path, struct err *e)
{
	const X509 *cert = SSL_CTX_get0_certificate(ctx);
	const ASN1_TIME *until = X509_get0_notAfter(cert), *from = X509_get0_notBefore(cert);
	bool over = X509_cmp_current_time(until)<0, early = X509_cmp_current_time(from)> 0;
	const ASN1_TIME *when = over ? until : from;
	struct tm tm;
	char text[40] = "?";

	if (!over && !early)
		return 0;
	if (ASN1_TIME_to_tm(when, &tm) == 1)
		strftime(text, sizeof(text), "%Y-%m-%d %H:%M UTC", &tm);
	return err_set(
		e, EKEYEXPIRED,
		over ? "the certificate \"%s\" has expired (%s): a new one is needed" :
		       "the certificate \"%s\" is not valid yet (from %s on): is the clock right?",
		path, text);
}

static int load(SSL_CTX *ctx, const char *certificate, const char *key, const char *client_ca,
		struct err *e)
{
	STACK_OF(X509_NAME) * names;

	ERR_clear_error();
	if (SSL_CTX_use_certificate_chain_file(ctx, certificate) != 1)
		return err_set(e, EINVAL, "\"%s\" is not a certificate in PEM (%s)", certificate,
			       why());
	ERR_clear_error();
	if (SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1)
		return err_set(
			e, EINVAL,
			"\"%s\" is not the key of the certificate, in PEM and without password (%s)",
			key, why());
	ERR_clear_error();
	if (SSL_CTX_load_verify_file(ctx, client_ca) != 1)
		return err_set(e, EINVAL, "\"%s\" is not a certificate in PEM (%s)", client_ca,
			       why());
	names = SSL_load_client_CA_file(client_ca); /* so that a client can choose which to show */
	if (names)
		SSL_CTX_set_client_CA_list(ctx, names);
	return check_time(ctx, certificate, e);
}

int tls_create(struct tls **out, const char *certificate, const char *key, const char *client_ca,
	       struct err *e)
{
	struct tls *t = calloc(1, sizeof(*t));
	int r;

	*out = NULL;
	if (t)
		t->ctx = SSL_CTX_new(TLS_server_method());
	if (!t || !t->ctx) {
		tls_destroy(t);
		return err_set(e, ENOMEM, "out of memory");
	}
	SSL_CTX_set_min_proto_version(t->ctx, TLS1_3_VERSION);
	SSL_CTX_set_verify(t->ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	SSL_CTX_set_session_cache_mode(t->ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_num_tickets(t->ctx, 0);
	SSL_CTX_set_default_passwd_cb(t->ctx, no_password);
	SSL_CTX_set_mode(t->ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
					 SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	r = check_file("certificate", certificate, false, e);
	if (r == 0)
		r = check_file("key", key, true, e);
	if (r == 0)
		r = check_file("client authority", client_ca, false, e);
	if (r == 0)
		r = load(t->ctx, certificate, key, client_ca, e);
	ERR_clear_error();
	if (r < 0) {
		tls_destroy(t);
		return r;
	}
	*out = t;
	return 0;
}

void tls_destroy(struct tls *t)
{
	if (!t)
		return;
	SSL_CTX_free(t->ctx);
	free(t);
}

struct tls_conn *tls_conn_create(struct tls *t, int fd)
{
	struct tls_conn *c = calloc(1, sizeof(*c));

	if (c)
		c->ssl = SSL_new(t->ctx);
	if (!c || !c->ssl || SSL_set_fd(c->ssl, fd) != 1) {
		tls_conn_destroy(c);
		return NULL;
	}
	SSL_set_accept_state(c->ssl);
	return c;
}

void tls_conn_bye(struct tls_conn *c)
{
	if (c->broken || !SSL_is_init_finished(c->ssl))
		return;
	ERR_clear_error();
	(void)SSL_shutdown(c->ssl);
	c->broken = true; /* nothing is to be said any more */
}

void tls_conn_destroy(struct tls_conn *c)
{
	if (!c)
		return;
	if (c->ssl)
		tls_conn_bye(c);
	SSL_free(c->ssl);
	free(c);
}

/* What a call that returned `r` <= 0 means. 0: the end. */
static int result(struct tls_conn *c, int r)
{
	int error = SSL_get_error(c->ssl, r);

	c->wants_write = error == SSL_ERROR_WANT_WRITE;
	if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE)
		return -EAGAIN;
	if (error == SSL_ERROR_ZERO_RETURN)
		return 0;
	c->broken = true;
	return -EPROTO;
}

int tls_conn_handshake(struct tls_conn *c, struct err *e)
{
	long verdict;
	int r;

	ERR_clear_error();
	r = SSL_do_handshake(c->ssl);
	if (r == 1) {
		c->wants_write = false;
		return 0;
	}
	r = result(c, r);
	if (r == -EAGAIN)
		return r;
	verdict = SSL_get_verify_result(c->ssl);
	if (verdict != X509_V_OK)
		return err_set(e, EPROTO, "its certificate is not accepted: %s",
			       X509_verify_cert_error_string(verdict));
	return err_set(e, EPROTO, "no TLS comes about: %s",
		       ERR_peek_error() ? why() : "the connection was cut");
}

ssize_t tls_conn_recv(struct tls_conn *c, void *data, size_t len)
{
	size_t n;
	int r;

	ERR_clear_error();
	r = SSL_read_ex(c->ssl, data, len, &n);
	if (r != 1)
		return result(c, r);
	c->wants_write = false;
	return (ssize_t)n;
}

ssize_t tls_conn_send(struct tls_conn *c, const void *data, size_t len)
{
	size_t n;
	int r;

	ERR_clear_error();
	r = SSL_write_ex(c->ssl, data, len, &n);
	if (r == 1) {
		c->wants_write = false;
		return (ssize_t)n;
	}
	r = result(c, r);
	return r ? r : -EPIPE;
}

bool tls_conn_wants_write(const struct tls_conn *c)
{
	return c->wants_write;
}

bool tls_conn_pending(const struct tls_conn *c)
{
	return SSL_has_pending(c->ssl);
}

int tls_conn_fingerprint(const struct tls_conn *c, char *text, size_t size)
{
	const X509 *cert = SSL_get0_peer_certificate(c->ssl);
	uint8_t digest[EVP_MAX_MD_SIZE];
	unsigned len = 0;
	size_t at;

	if (!cert || X509_digest(cert, EVP_sha256(), digest, &len) != 1 ||
	    size < 2 * (size_t)len + sizeof("sha256:"))
		return -EPROTO;
	at = (size_t)snprintf(text, size, "sha256:");
	for (unsigned i = 0; i < len; i++)
		at += (size_t)snprintf(text + at, size - at, "%02x", digest[i]);
	return 0;
}

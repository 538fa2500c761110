/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Refused handshakes: a certificate of another CA, an expired one, or none. The C core does not
 * report them. But it calls SSL_do_handshake(3) and shutdown(2) by name, the second for the
 * connection whose handshake has just failed, on the same thread, with nothing between them. So
 * both are defined in the program (as in hooks.c): they do what the libraries' functions do, and
 * observe.
 */
#include "rpc/handshake.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <string.h>

#include "base/clock.h"
#include "rpc/descriptors.h"
#include "rpc/guard.h"
#include "rpc/log.h"

typedef int (*handshake_fn)(SSL *);

static _Atomic(void *) next_handshake;

/* A failed handshake of this thread whose connection has not been ended yet. */
static _Thread_local struct {
	bool failed, of_certificate, own;
	char subject[160], reason[128];
} last;

static struct stow_log_peers logged = STOW_LOG_PEERS(1, 10 * STOW_SECOND);

void rpc_handshake_forget(void)
{
	last.failed = false;
}

/* --- what was wrong ------------------------------------------------------- */

/* Return whether the certificate is the program's own: it probes its own port with a certificate
 * that is valid for servers. */
static bool is_own(const X509_STORE_CTX *ctx, const X509 *certificate)
{
	int ssl_of = SSL_get_ex_data_X509_STORE_CTX_idx();
	SSL *ssl = X509_STORE_CTX_get_ex_data(ctx, ssl_of);
	const X509 *own = ssl ? SSL_get_certificate(ssl) : NULL;

	return own && X509_STORE_CTX_get_error(ctx) == X509_V_ERR_INVALID_PURPOSE &&
	       X509_cmp(own, certificate) == 0;
}

/* Record the verdict without changing it. */
static int look_at_verdict(int good, X509_STORE_CTX *ctx)
{
	X509 *certificate = X509_STORE_CTX_get0_cert(ctx);

	if (!good && certificate) {
		last.own = is_own(ctx, certificate);
		last.of_certificate = true;
		X509_NAME_oneline(X509_get_subject_name(certificate), last.subject,
				  sizeof(last.subject));
		snprintf(last.reason, sizeof(last.reason), "%s",
			 X509_verify_cert_error_string(X509_STORE_CTX_get_error(ctx)));
	}
	return good;
}

__attribute__((visibility("default"))) int SSL_do_handshake(SSL *ssl)
{
	const char *reason;
	int r;

	memset(&last, 0, sizeof(last));
	if (SSL_is_server(ssl) && !SSL_get_verify_callback(ssl))
		SSL_set_verify(ssl, SSL_get_verify_mode(ssl), look_at_verdict);
	r = ((handshake_fn)rpc_descriptors_next(&next_handshake, "SSL_do_handshake"))(ssl);
	if (r > 0 || !SSL_is_server(ssl) || SSL_get_error(ssl, r) != SSL_ERROR_SSL)
		return r;
	last.failed = !last.own;
	reason = ERR_reason_error_string(ERR_peek_last_error());
	if (!last.of_certificate)
		snprintf(last.reason, sizeof(last.reason), "%s", reason ? reason : "not TLS");
	return r;
}

/* --- logging -------------------------------------------------------------- */

static void log_refused(int fd)
{
	struct rpc_identity who;
	char address[64];
	uint64_t times;

	if (!rpc_guard_refused(fd, RPC_REFUSED_HANDSHAKE, &who, address, sizeof(address)))
		return;
	times = stow_log_may_peer(&logged, &who, sizeof(who));
	if (!times)
		return;
	stow_log(STOW_LOG_WARNING, last.of_certificate ? "certificate refused" : "handshake failed",
		 stow_text("address", address), stow_text("certificate", last.subject),
		 stow_text("reason", last.reason), stow_number("times", times));
}

__attribute__((visibility("default"))) int shutdown(int fd, int how)
{
	if (last.failed) {
		last.failed = false;
		log_refused(fd);
	}
	return rpc_descriptors_shutdown(fd, how);
}

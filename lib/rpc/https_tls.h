/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The certificate of an HTTPS server, and the CA of its clients, from PEM files that may change. */

#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "rpc/rpc.h"

struct rpc_https_tls;

/* Read the files. `tls->ca` may be NULL. Texts are copied. */
int rpc_https_tls_new(const struct stow_rpc_tls *tls, struct rpc_https_tls **ret,
		      struct stow_err *err);
void rpc_https_tls_free(struct rpc_https_tls *tls);

/* Return the CA certificates as PEM, as they were at first; NULL: none. */
const char *rpc_https_tls_ca(const struct rpc_https_tls *tls);
/* Give the current certificate and key for a handshake, as gnutls_certificate_retrieve_function3
 * does. Return 0 or -1. Any thread. */
int rpc_https_tls_retrieve(struct rpc_https_tls *tls, gnutls_pcert_st **ret_certs,
			   unsigned int *ret_n, gnutls_privkey_t *ret_key, unsigned int *ret_flags);
/* Return whether the peer of a session has a valid certificate of the current CA, and a digest of
 * its certificate. Any thread. */
bool rpc_https_tls_verify(struct rpc_https_tls *tls, gnutls_session_t session,
			  uint8_t ret_digest[static 16]);
/* Return when the certificate expires: seconds since the epoch. */
int64_t rpc_https_tls_expires(struct rpc_https_tls *tls);

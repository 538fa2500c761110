/* SPDX-License-Identifier: Apache-2.0 */
/* The peer of a call, from its certificate or from the kernel. */

#include <errno.h>
#include <grpc/grpc_security.h>
#include <grpc/support/alloc.h>
#include <limits.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/parse.h"
#include "rpc/server_internal.h"

#define NAMES_MAX 128 /* of one kind, in one certificate */

static char *copy(struct stow_rpc_call *call, const grpc_auth_property *property)
{
	/* A name with a NUL in it would be read as a shorter one. */
	if (strnlen(property->value, property->value_length) != property->value_length)
		return NULL;
	return stow_rpc_printf(call, "%.*s", (int)property->value_length, property->value);
}

/* Read the names of one kind. */
static const char *const *read_names(struct stow_rpc_call *call, const grpc_auth_context *context,
				     const char *kind)
{
	const char **names = stow_rpc_alloc(call, (NAMES_MAX + 1) * sizeof(*names));
	grpc_auth_property_iterator it = grpc_auth_context_find_properties_by_name(context, kind);
	const grpc_auth_property *property;
	size_t n = 0;

	while (names && n < NAMES_MAX && (property = grpc_auth_property_iterator_next(&it))) {
		names[n] = copy(call, property);
		if (names[n])
			n++;
	}
	return names;
}

static void read_certificate(struct stow_rpc_call *call)
{
	grpc_auth_context *context = grpc_call_auth_context(call->call);
	grpc_auth_property_iterator it;
	const grpc_auth_property *property;

	if (context && grpc_auth_context_peer_is_authenticated(context)) {
		it = grpc_auth_context_find_properties_by_name(context, GRPC_X509_CN_PROPERTY_NAME);
		property = grpc_auth_property_iterator_next(&it);
		call->peer.tls = true;
		if (property && property->value_length < sizeof(call->peer.name) &&
		    strnlen(property->value, property->value_length) == property->value_length)
			memcpy(call->peer.name, property->value, property->value_length);
		call->peer.dns = read_names(call, context, GRPC_PEER_DNS_PROPERTY_NAME);
		call->peer.uris = read_names(call, context, GRPC_PEER_URI_PROPERTY_NAME);
	}
	grpc_auth_context_release(context);
}

static bool is_local(const struct stow_rpc_call *call, uint64_t *ret_fd)
{
	/* A connection that unix.c has accepted. */
	return strncmp(call->peer.address, "fd:", 3) == 0 && call->server->listener &&
	       stow_parse_u64(call->peer.address + 3, INT_MAX, ret_fd, NULL) == 0;
}

bool rpc_peer_find(struct stow_rpc_call *call)
{
	char *address = grpc_call_get_peer(call->call);
	struct stow_rpc_server *server = call->server;
	uint64_t fd;

	rpc_plain_addresses(address ? address : "", call->peer.address, sizeof(call->peer.address));
	if (is_local(call, &fd))
		call->connection = rpc_guard_by_fd(server->guard, (int)fd);
	else
		call->connection = rpc_guard_by_peer(server->guard, address ? address : "");
	gpr_free(address);
	return !call->connection || !rpc_connection_is_over(call->connection);
}

void rpc_peer_read(struct stow_rpc_call *call)
{
	uint64_t fd;

	if (strncmp(call->peer.address, "fd:", 3) != 0) {
		read_certificate(call);
		return;
	}
	if (is_local(call, &fd) &&
	    rpc_listener_peer(call->server->listener, (int)fd, &call->peer)) {
		snprintf(call->peer.address, sizeof(call->peer.address), "unix:");
		return;
	}
	rpc_connection_unref(call->connection);
	call->connection = NULL;
}

/* Return when the certificate expires; one that cannot be parsed counts as expired. */
static int64_t good_until(const grpc_auth_property *pem)
{
	BIO *bio = BIO_new_mem_buf(pem->value, (int)pem->value_length);
	X509 *cert = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
	int64_t until = 1;

	if (cert)
		(void)rpc_tls_time(X509_get0_notAfter(cert), &until);
	X509_free(cert);
	BIO_free(bio);
	return until;
}

/* Compute the identity by which a certificate's connections are counted; false: there is no
 * certificate. */
static bool identify(struct stow_rpc_call *call, struct rpc_identity *ret)
{
	grpc_auth_context *context = grpc_call_auth_context(call->call);
	const grpc_auth_property *pem = NULL;
	grpc_auth_property_iterator it;
	uint8_t digest[EVP_MAX_MD_SIZE];
	bool found = false;

	memset(ret, 0, sizeof(*ret));
	ret->kind = RPC_BY_CERTIFICATE;
	if (context && grpc_auth_context_peer_is_authenticated(context)) {
		it = grpc_auth_context_find_properties_by_name(context,
							       GRPC_X509_PEM_CERT_PROPERTY_NAME);
		pem = grpc_auth_property_iterator_next(&it);
	}
	if (pem)
		rpc_connection_good_until(call->connection, good_until(pem));
	if (pem && EVP_Digest(pem->value, pem->value_length, digest, NULL, EVP_sha256(), NULL)) {
		memcpy(ret->bytes, digest, sizeof(ret->bytes));
		found = true;
	}
	grpc_auth_context_release(context);
	return found;
}

int rpc_peer_admit(struct stow_rpc_call *call, struct stow_err *err)
{
	struct rpc_identity identity;
	int r = 0;

	if (!call->connection)
		return stow_err_set(err, ENOTCONN, "the connection has ended");
	if (rpc_connection_since(call->connection) < rpc_keeper_renewed(call->server->keeper))
		return stow_err_set(err, ENOTCONN, "%s", STOW_RPC_RENEWED);
	if (rpc_connection_is_anonymous(call->connection))
		r = rpc_connection_known(call->connection,
					 identify(call, &identity) ? &identity : NULL,
					 rpc_server_trusts(call->server, &call->peer));
	if (r < 0)
		return stow_err_set(err, -r, "too many connections of this peer");
	r = rpc_connection_begin(call->connection, call->watches);
	if (r < 0)
		return stow_err_set(err, ENOBUFS, "too many %s of this peer at a time",
				    r == -EUSERS ? "watches" : "calls");
	call->counted = true;
	return 0;
}

static bool is_among(const char *const *names, const char *name)
{
	for (size_t i = 0; names && names[i]; i++)
		if (strcmp(names[i], name) == 0)
			return true;
	return false;
}

bool stow_rpc_peer_has_uri(const struct stow_rpc_peer *peer, const char *uri)
{
	return peer->tls && is_among(peer->uris, uri);
}

bool stow_rpc_peer_is_named(const struct stow_rpc_peer *peer, const char *name)
{
	return peer->tls && (strcmp(peer->name, name) == 0 || is_among(peer->dns, name));
}

void stow_rpc_peer_key(const struct stow_rpc_peer *peer, char *ret, size_t size)
{
	const char *colon = strrchr(peer->address, ':');

	if (peer->tls)
		snprintf(ret, size, "%s %s", peer->name,
			 peer->uris && peer->uris[0] ? peer->uris[0]
			 : peer->dns && peer->dns[0] ? peer->dns[0]
						     : "");
	else if (peer->local)
		snprintf(ret, size, "%lu", (unsigned long)peer->uid);
	else
		snprintf(ret, size, "%.*s", colon ? (int)(colon - peer->address) : 0,
			 peer->address);
}

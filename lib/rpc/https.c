/* SPDX-License-Identifier: Apache-2.0 */
#include "rpc/https.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/parse.h"
#include "rpc/address.h"
#include "rpc/guard.h"
#include "rpc/https_tls.h"
#include "rpc/log.h"
#include "rpc/metrics.h"

#define CONNECTIONS 256
#define BODIES_PEER ((size_t)12 << 20) /* bytes of one certificate's unfinished bodies */
#define BODIES	    ((size_t)32 << 20) /* ... and of all peers' */
#define THREADS	    2
#define SILENT	    5	/* seconds until a connection that has sent no request is closed */
#define IDLE	    120 /* ... between two requests: longer than clients keep a connection */
#define WITHIN	    (10 * STOW_SECOND) /* for a request to arrive */
#define BUFFER	    (16 << 10)	       /* bytes of a request's head */
#define STACK	    (512 << 10)
#define FIRST	    4096 /* bytes of a body's first buffer */
#define CODES	    600

/* What all daemons must agree on: TLS 1.2 with GnuTLS' own choice of ciphers, or 1.3. */
#define PRIORITIES "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"

struct stow_https {
	struct MHD_Daemon *daemon;
	struct rpc_https_tls *tls;
	const struct stow_https_route *routes;
	char *authorization; /* "Bearer TOKEN" */
	struct rpc_guard *guard;
	atomic_ulong answers[CODES / 100]; /* by the first digit of the HTTP status */
};

/* A connection; libmicrohttpd's "socket context". */
struct peer {
	struct stow_https *https;
	struct rpc_connection *counted; /* NULL: no guard counts it */
};

/* A request; libmicrohttpd's "connection context". */
struct request {
	const struct stow_https_route *route; /* NULL: there is none, or it is refused */
	struct rpc_connection *counted;	      /* as a call of this connection; NULL: not */
	uint64_t until;			      /* boot time */
	char *body;
	size_t len, size;
};

/* --- answers -------------------------------------------------------------- */

static enum MHD_Result answer(struct stow_https *https, struct MHD_Connection *connection,
			      const struct stow_https_route *route,
			      const struct stow_https_answer *with)
{
	struct MHD_Response *response;
	enum MHD_Result r;

	response = MHD_create_response_from_buffer(with->len, with->text, MHD_RESPMEM_MUST_FREE);
	if (!response) {
		free(with->text);
		return MHD_NO;
	}
	(void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, with->type);
	if (with->status == MHD_HTTP_METHOD_NOT_ALLOWED)
		(void)MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW,
					      route && route->post ? "POST" : "GET, HEAD");
	r = MHD_queue_response(connection, with->status, response);
	MHD_destroy_response(response);
	if (with->status < CODES)
		atomic_fetch_add(&https->answers[with->status / 100], 1);
	return r;
}

static enum MHD_Result refuse(struct stow_https *https, struct MHD_Connection *connection,
			      const struct stow_https_route *route, unsigned int status,
			      const char *line)
{
	struct stow_https_answer with = { .status = status, .type = "text/plain" };
	int n = asprintf(&with.text, "%s\n", line);

	if (n < 0)
		return MHD_NO;
	with.len = (size_t)n;
	return answer(https, connection, route, &with);
}

/* --- who asks ------------------------------------------------------------- */

/* Compare in a time that tells nothing about the secret. */
static bool is_secret(const char *secret, const char *given)
{
	size_t n = strlen(secret);
	unsigned char differ = 0;

	if (!given || strlen(given) != n)
		return false;
	for (size_t i = 0; i < n; i++)
		differ |= (unsigned char)(secret[i] ^ given[i]);
	return differ == 0;
}

/* Return whether a peer may use a route, and who it is. */
static bool may(struct stow_https *https, struct MHD_Connection *connection,
		const struct stow_https_route *route, struct rpc_identity *ret_who, bool *ret_known)
{
	const union MHD_ConnectionInfo *info;
	const char *given;

	*ret_who = (struct rpc_identity){ .kind = RPC_BY_CERTIFICATE };
	*ret_known = false;
	given = MHD_lookup_connection_value(connection, MHD_HEADER_KIND,
					    MHD_HTTP_HEADER_AUTHORIZATION);
	/* Whoever has the secret is one client, whose identity is all zeros. */
	if (https->authorization && is_secret(https->authorization, given))
		return *ret_known = true;
	if (!rpc_https_tls_ca(https->tls))
		return true;
	info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_GNUTLS_SESSION);
	*ret_known = info && rpc_https_tls_verify(https->tls, info->tls_session, ret_who->bytes);
	return *ret_known || route->open;
}

/* --- requests ------------------------------------------------------------- */

static const struct stow_https_route *find(const struct stow_https *https, const char *path)
{
	for (size_t i = 0; https->routes[i].path; i++)
		if (strcmp(https->routes[i].path, path) == 0)
			return &https->routes[i];
	return NULL;
}

static struct peer *peer_of(struct MHD_Connection *connection)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

	return info ? info->socket_context : NULL;
}

static bool has_method(const struct stow_https_route *route, const char *method)
{
	if (route->post)
		return strcmp(method, MHD_HTTP_METHOD_POST) == 0;
	return strcmp(method, MHD_HTTP_METHOD_GET) == 0 ||
	       strcmp(method, MHD_HTTP_METHOD_HEAD) == 0;
}

static bool is_too_long(struct MHD_Connection *connection)
{
	const char *text = MHD_lookup_connection_value(connection, MHD_HEADER_KIND,
						       MHD_HTTP_HEADER_CONTENT_LENGTH);
	uint64_t len;

	return text && stow_parse_u64(text, STOW_HTTPS_BODY_MAX, &len, NULL) < 0;
}

/* Count the request as a call of its peer. False: the peer has too many. */
static bool admit(struct peer *peer, struct request *request, const struct rpc_identity *who,
		  bool known)
{
	if (!peer || !peer->counted)
		return true;
	if (rpc_connection_known(peer->counted, known ? who : NULL, known) < 0 ||
	    rpc_connection_begin(peer->counted, false) < 0)
		return false;
	request->counted = peer->counted;
	return true;
}

/* Handle a request's head. A refusal here closes the connection if a body follows. */
static enum MHD_Result begin(struct stow_https *https, struct MHD_Connection *connection,
			     const char *path, const char *method, struct request *request)
{
	const struct stow_https_route *route = find(https, path);
	struct rpc_identity who;
	bool known;

	if (!route)
		return refuse(https, connection, NULL, MHD_HTTP_NOT_FOUND, "there is no such path");
	if (!has_method(route, method))
		return refuse(https, connection, route, MHD_HTTP_METHOD_NOT_ALLOWED,
			      route->post ? "only POST" : "only GET");
	if (!may(https, connection, route, &who, &known))
		return refuse(https, connection, route, MHD_HTTP_FORBIDDEN,
			      "a client certificate of the configured CA is needed");
	if (is_too_long(connection))
		return refuse(https, connection, route, MHD_HTTP_CONTENT_TOO_LARGE,
			      "the body is longer than 3 MiB");
	if (!admit(peer_of(connection), request, &who, known))
		return refuse(https, connection, route, MHD_HTTP_SERVICE_UNAVAILABLE,
			      "too many requests at a time");
	request->route = route;
	request->until = stow_clock_boot() + WITHIN;
	(void)MHD_set_connection_option(connection, MHD_CONNECTION_OPTION_TIMEOUT,
					(unsigned int)SILENT);
	return MHD_YES;
}

/* Keep a part of the body. False: the connection is to be closed, for libmicrohttpd accepts no
 * answer before the end of a body. */
static bool keep(struct request *request, const char *bytes, size_t n)
{
	size_t size = STOW_MAX(request->size, (size_t)FIRST);
	char *grown;

	if (stow_clock_boot() > request->until || n > STOW_HTTPS_BODY_MAX - request->len)
		return false;
	while (size < request->len + n + 1)
		size *= 2;
	if (size > request->size) {
		if (request->counted &&
		    rpc_connection_queue(request->counted, size - request->size) < 0)
			return false;
		grown = realloc(request->body, size);
		if (!grown) {
			if (request->counted)
				rpc_connection_unqueue(request->counted, size - request->size);
			return false;
		}
		request->body = grown;
		request->size = size;
	}
	memcpy(request->body + request->len, bytes, n);
	request->len += n;
	request->body[request->len] = '\0';
	return true;
}

static enum MHD_Result finish(struct stow_https *https, struct MHD_Connection *connection,
			      struct request *request)
{
	struct stow_https_answer with = { .status = MHD_HTTP_OK, .type = "application/json" };
	const struct stow_https_route *route = request->route;

	route->handle(route->ctx, request->body ? request->body : "", request->len, &with);
	(void)MHD_set_connection_option(connection, MHD_CONNECTION_OPTION_TIMEOUT,
					(unsigned int)IDLE);
	if (!with.text)
		return refuse(https, connection, route, MHD_HTTP_INTERNAL_SERVER_ERROR,
			      "out of memory");
	return answer(https, connection, route, &with);
}

static enum MHD_Result handle(void *cls, struct MHD_Connection *connection, const char *path,
			      const char *method, const char *version, const char *upload,
			      size_t *upload_size, void **context)
{
	struct stow_https *https = cls;
	struct request *request = *context;

	if (!request) {
		request = *context = calloc(1, sizeof(*request));
		return request ? begin(https, connection, path, method, request) : MHD_NO;
	}
	if (*upload_size) {
		size_t n = *upload_size;

		*upload_size = 0;
		return request->route && !keep(request, upload, n) ? MHD_NO : MHD_YES;
	}
	/* Without a route it is refused already. */
	return request->route ? finish(https, connection, request) : MHD_YES;
}

static void on_completed(void *cls, struct MHD_Connection *connection, void **context,
			 enum MHD_RequestTerminationCode why)
{
	struct request *request = *context;

	if (!request)
		return;
	if (request->counted) {
		rpc_connection_unqueue(request->counted, request->size);
		rpc_connection_end(request->counted, false);
	}
	free(request->body);
	free(request);
	*context = NULL;
}

/* --- connections ---------------------------------------------------------- */

static void open_peer(struct stow_https *https, struct MHD_Connection *connection, void **context)
{
	const union MHD_ConnectionInfo *fd =
		MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
	const union MHD_ConnectionInfo *tls =
		MHD_get_connection_info(connection, MHD_CONNECTION_INFO_GNUTLS_SESSION);
	struct peer *peer = calloc(1, sizeof(*peer));

	if (!peer)
		return; /* without it, the handshake fails */
	peer->https = https;
	peer->counted = fd ? rpc_guard_by_fd(https->guard, fd->connect_fd) : NULL;
	*context = peer;
	if (!tls || !tls->tls_session)
		return;
	gnutls_session_set_ptr(tls->tls_session, peer);
	/* The names of CAs would be those at the start, and clients choose a certificate by
	 * them. */
	gnutls_certificate_send_x509_rdn_sequence(tls->tls_session, 1);
}

static void on_connection(void *cls, struct MHD_Connection *connection, void **context,
			  enum MHD_ConnectionNotificationCode what)
{
	struct peer *peer = *context;

	if (what == MHD_CONNECTION_NOTIFY_STARTED) {
		open_peer(cls, connection, context);
	} else if (peer) {
		rpc_connection_unref(peer->counted);
		free(peer);
		*context = NULL;
	}
}

static int on_handshake(gnutls_session_t session, const struct gnutls_cert_retr_st *info,
			gnutls_pcert_st **certs, unsigned int *n, gnutls_ocsp_data_st **ocsp,
			unsigned int *n_ocsp, gnutls_privkey_t *key, unsigned int *flags)
{
	struct peer *peer = gnutls_session_get_ptr(session);

	*n_ocsp = 0;
	return peer ? rpc_https_tls_retrieve(peer->https->tls, certs, n, key, flags) : -1;
}

/* --- starting and stopping ------------------------------------------------ */

static int start_daemon(struct stow_https *https, const struct sockaddr_storage *where,
			const char *address, struct stow_err *err)
{
	unsigned int flags =
		MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_ITC | MHD_USE_EPOLL | MHD_USE_TLS;
	const char *ca = rpc_https_tls_ca(https->tls);
	struct MHD_OptionItem more[] = { { MHD_OPTION_HTTPS_MEM_TRUST, 0, (void *)(uintptr_t)ca },
					 { MHD_OPTION_END, 0, NULL } };

	if (where->ss_family == AF_INET6)
		flags |= MHD_USE_IPv6;
	errno = 0;
	https->daemon = MHD_start_daemon(
		flags, (uint16_t)stow_address_port(where), NULL, NULL, handle, https,
		MHD_OPTION_SOCK_ADDR, (const struct sockaddr *)where, MHD_OPTION_CONNECTION_LIMIT,
		2U * THREADS * CONNECTIONS, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned int)SILENT,
		MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)BUFFER, MHD_OPTION_THREAD_STACK_SIZE,
		(size_t)STACK, MHD_OPTION_THREAD_POOL_SIZE, (unsigned int)THREADS,
		MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL, MHD_OPTION_NOTIFY_CONNECTION,
		on_connection, https, MHD_OPTION_HTTPS_PRIORITIES, PRIORITIES,
		MHD_OPTION_HTTPS_CERT_CALLBACK2, on_handshake, MHD_OPTION_ARRAY,
		ca ? more : more + 1, MHD_OPTION_END);
	if (https->daemon)
		return 0;
	return stow_err_sys(err, errno ? errno : EADDRINUSE, "cannot serve HTTPS on %s", address);
}

static int make_authorization(struct stow_https *https, const char *token, struct stow_err *err)
{
	if (!token || asprintf(&https->authorization, "Bearer %s", token) >= 0)
		return 0;
	https->authorization = NULL;
	return stow_err_set(err, ENOMEM, "out of memory");
}

int stow_https_start(const struct stow_https_options *options, struct stow_https **ret,
		     int *ret_port, struct stow_err *err)
{
	struct stow_https *https = calloc(1, sizeof(*https));
	const union MHD_DaemonInfo *info;
	struct stow_rpc_limits limits;
	struct sockaddr_storage where;
	socklen_t len;
	int r, port;

	if (!https)
		return stow_err_set(err, ENOMEM, "out of memory");
	https->routes = options->routes;
	stow_rpc_limits_defaults(&limits, CONNECTIONS);
	limits.max_queued = BODIES_PEER;
	limits.max_queued_total = BODIES;
	https->guard = rpc_guard_new(&limits, false);
	r = https->guard ? make_authorization(https, options->token, err)
			 : stow_err_set(err, ENOMEM, "out of memory");
	if (r == 0)
		r = stow_address_parse(options->address, &where, &len, err);
	if (r == 0)
		r = rpc_https_tls_new(&options->tls, &https->tls, err);
	if (r == 0)
		r = start_daemon(https, &where, options->address, err);
	if (r < 0) {
		stow_https_stop(https);
		return r;
	}
	info = MHD_get_daemon_info(https->daemon, MHD_DAEMON_INFO_BIND_PORT);
	port = info && info->port ? info->port : stow_address_port(&where);
	rpc_guard_open(https->guard, port, false);
	if (ret_port)
		*ret_port = port;
	*ret = https;
	return 0;
}

void stow_https_put_line(struct stow_https_answer *answer, unsigned int status, const char *line)
{
	int n = asprintf(&answer->text, "%s\n", line);

	answer->status = status;
	answer->type = "text/plain";
	if (n < 0)
		answer->text = NULL;
	answer->len = answer->text ? (size_t)n : 0;
}

void stow_https_stop(struct stow_https *https)
{
	if (!https)
		return;
	if (https->daemon) {
		rpc_guard_close(https->guard);
		MHD_stop_daemon(https->daemon);
	}
	rpc_https_tls_free(https->tls);
	free(https->authorization);
	free(https);
}

int stow_https_check(const struct stow_rpc_tls *tls, struct stow_err *err)
{
	struct rpc_https_tls *files = NULL;
	int r = rpc_https_tls_new(tls, &files, err);

	rpc_https_tls_free(files);
	return r;
}

int64_t stow_https_expires(struct stow_https *https)
{
	return rpc_https_tls_expires(https->tls);
}

void stow_https_render(struct stow_https *https, FILE *out, const char *prefix)
{
	uint64_t connections = 0, refused = 0;
	unsigned long answers[CODES / 100] = { 0 };
	char name[128], code[4];

	for (size_t c = 0; https && c < CODES / 100; c++)
		answers[c] = atomic_load(&https->answers[c]);
	if (https)
		rpc_guard_totals(https->guard, &connections, &refused);
	snprintf(name, sizeof(name), "%s_answers_total", prefix);
	stow_metric_head(out, name, "counter", "Answers to HTTPS requests, by HTTP status.");
	for (unsigned int c = 2; c < CODES / 100; c++) {
		snprintf(code, sizeof(code), "%uxx", c);
		stow_metric(out, name, (double)answers[c], "code", code, NULL);
	}
	snprintf(name, sizeof(name), "%s_connections", prefix);
	stow_metric_head(out, name, "gauge", "Open HTTPS connections.");
	stow_metric(out, name, (double)connections, NULL);
	snprintf(name, sizeof(name), "%s_refused_total", prefix);
	stow_metric_head(out, name, "counter",
			 "HTTPS connections and requests refused or ended by a limit.");
	stow_metric(out, name, (double)refused, NULL);
}

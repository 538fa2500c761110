/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A server for small JSON requests over HTTPS (HTTP/1.1), served by libmicrohttpd: what Kubernetes
 * calls. Paths have handlers; a handler must not wait, for it runs on one of the server's few
 * threads.
 *
 * The certificate is read again when its files have changed; if the new files do not fit together,
 * the old ones stay. With a CA, requests need a client certificate of that CA (`open` routes do
 * not).
 *
 * A guard (rpc/guard.h) divides connections and unfinished bodies among the peers. A body has at
 * most STOW_HTTPS_BODY_MAX bytes and arrives within some seconds; a silent connection is closed.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"
#include "rpc/rpc.h"

#define STOW_HTTPS_BODY_MAX ((size_t)3 << 20) /* as the API server's own limit */

struct stow_https;

struct stow_https_answer {
	unsigned int status; /* HTTP status; 200 at first */
	const char *type;    /* constant; "application/json" at first */
	char *text;	     /* malloc'ed; the server frees it. NULL: out of memory */
	size_t len;
};

/* Answer with one line of plain text. */
void stow_https_put_line(struct stow_https_answer *answer, unsigned int status, const char *line);

struct stow_https_route {
	const char *path; /* "/mutate" */
	bool post;	  /* otherwise GET and HEAD */
	bool open;	  /* without a client certificate */
	/* Answer a request. `body` has a NUL behind its `len` bytes. Several threads at once. */
	void (*handle)(void *ctx, const char *body, size_t len, struct stow_https_answer *answer);
	void *ctx;
};

struct stow_https_options {
	const char *address;	 /* numeric, "0.0.0.0:8443" */
	struct stow_rpc_tls tls; /* `ca` may be NULL */
	/* Ends with a NULL path; must outlive the server. */
	const struct stow_https_route *routes;
	/* A secret of this process: with "Authorization: Bearer TOKEN", no client certificate is
	 * needed, as for a self-test. NULL: none. */
	const char *token;
};

/* Begin to serve; *ret_port (may be NULL) is the port in use. Texts are copied. Block signals
 * before: the threads inherit the mask. */
int stow_https_start(const struct stow_https_options *options, struct stow_https **ret,
		     int *ret_port, struct stow_err *err);
/* Stop serving; return when no handler is running. */
void stow_https_stop(struct stow_https *https);

/* Check that the files can be read and fit together. */
int stow_https_check(const struct stow_rpc_tls *tls, struct stow_err *err);

/* Return when the certificate that is served expires: seconds since the epoch. */
int64_t stow_https_expires(struct stow_https *https);
/* Write PREFIX_answers_total{code=}, PREFIX_connections and PREFIX_refused_total; zeros for NULL. */
void stow_https_render(struct stow_https *https, FILE *out, const char *prefix);

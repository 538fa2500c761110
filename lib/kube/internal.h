/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Shared by the files of the client: its state, and one request on the wire. */

#include <curl/curl.h>
#include <stdatomic.h>

#include "kube/config.h"
#include "kube/kube.h"

/* One request on the wire. */
struct stow_kube_transfer {
	struct stow_kube *kube;
	CURL *curl;
	struct curl_slist *headers;
	char *url, *body;
	char text[CURL_ERROR_SIZE];
	bool added; /* to the client's multi handle */
	bool done;
	bool too_large;
	CURLcode code; /* once it is done */
	/* The received part of the body, with a NUL at its end. */
	char *answer;
	size_t len, max;
	/* Called with each received part of a body with status 200, instead of adding it to
	 * `answer`; NULL: not. False ends the transfer. */
	bool (*take)(void *ctx, const char *bytes, size_t len);
	void *ctx;
};

struct stow_kube {
	/* The options, copied. */
	char *kubeconfig, *context, *folder, *host, *port, *program;
	bool exec;
	uint64_t timeout, patience;
	size_t answer_max;

	struct stow_kube_config *config;
	uint64_t stamp; /* of the configuration's files, as the client was made */
	bool stale;	/* read the configuration again before the next request */
	CURLM *multi;
	struct stow_kube_watch *watches;
	bool event; /* a watch had an event, or has ended */
	atomic_bool woken, stopped;
};

/* Read the configuration, and run its plugin if there is one (source.c). */
int stow_kube_read_config(const struct stow_kube *kube, struct stow_kube_config **ret,
			  struct stow_err *err);

/* Fill in a zeroed transfer; the caller calls stow_kube_transfer_done() in any case.
 * `path` begins with a slash; `body` may be NULL. */
int stow_kube_transfer_init(struct stow_kube *kube, struct stow_kube_transfer *transfer,
			    const char *method, const char *path, const char *body,
			    uint64_t timeout, struct stow_err *err);
/* Begin the transfer. */
int stow_kube_transfer_start(struct stow_kube_transfer *transfer, struct stow_err *err);
/* Return 0 for an answer of status 2xx, or else the error. */
int stow_kube_transfer_result(struct stow_kube_transfer *transfer, struct stow_err *err);
/* Return the HTTP status; 0: none was received. */
long stow_kube_transfer_status(const struct stow_kube_transfer *transfer);
void stow_kube_transfer_done(struct stow_kube_transfer *transfer);

/* Let all transfers progress, and wait for at most `ns` for one of them. */
int stow_kube_turn(struct stow_kube *kube, uint64_t ns, struct stow_err *err);

void stow_kube_watches_free(struct stow_kube *kube);
/* Call `ended` of the watches whose transfer is done. */
void stow_kube_watches_end(struct stow_kube *kube);

/* Handle received bytes of a watch (`ctx`) and the events in them. Return false when one of them
 * ends the watch. */
bool stow_kube_watch_take(void *ctx, const char *bytes, size_t len);

/* Append a query parameter to a path: "?KEY=VALUE", escaped. `*path` is replaced. */
int stow_kube_add_query(char **path, const char *key, const char *value, struct stow_err *err);

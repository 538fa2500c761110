/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A client of the Kubernetes API, over libcurl.
 *
 * A client belongs to one thread, which makes its calls and waits in stow_kube_wait(); watches
 * progress during both. Any thread may wake or stop it.
 *
 * HTTPS only, but on loopback; no redirects, no proxies, HTTP/1.1. An answer has at most
 * `answer_max` bytes and STOW_KUBE_DEPTH levels, and takes at most `timeout`. The token's file is
 * read for each request; after a 401 or a failed connection the kubeconfig is read again, too.
 *
 * A call that fails with 429, 5xx or without an answer is repeated until `patience` has passed:
 * after 200 ms, doubled each time up to 10 s, times a random factor between one half and one, but
 * not before the server's Retry-After. So when a create returns -EEXIST, an earlier attempt of the
 * same call may have made the object. Other failures are returned at once. The codes of refusals
 * are in kube/json.h. Without an answer: -ETIMEDOUT, -EHOSTUNREACH, -EPROTO (TLS), -E2BIG or
 * -EBADMSG (the answer); -ECANCELED after stow_kube_stop(). Errors are one line, with method and
 * path.
 */

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct stow_kube;
struct stow_kube_watch;

struct stow_kube_options {
	/* One or several files, a context of them (NULL: the current one), and whether exec plugins
	 * are allowed: struct stow_kube_source. NULL: the pod's service account. */
	const char *kubeconfig, *context;
	bool exec;
	/* In a pod: the service account's folder (STOW_KUBE_ACCOUNT), and the environment's
	 * KUBERNETES_SERVICE_HOST and _PORT. */
	const char *folder, *host, *port;
	const char *program; /* for the User-Agent: "numastow-agent" */
	uint64_t timeout;    /* ns for an answer; 0: 30 s */
	uint64_t patience;   /* ns; 0: a call is made once */
	size_t answer_max;   /* bytes; 0: 4 MiB */
};

/* Make a client; nothing is sent yet. `options` are copied. Errors are those of kube/config.h. */
int stow_kube_new(const struct stow_kube_options *options, struct stow_kube **ret,
		  struct stow_err *err);
/* Free the client and its watches. */
void stow_kube_free(struct stow_kube *kube);

/* Return the namespace of the kubeconfig's context; NULL: it has none. */
const char *stow_kube_namespace(const struct stow_kube *kube);

/* Return whether the files of the client's configuration (kubeconfig, CA, certificate, key) are
 * those that it was made with. The token's file is read for each request in any case. */
bool stow_kube_is_current(const struct stow_kube *kube);
/* Replace `timeout` and `patience` of the options. */
void stow_kube_set_times(struct stow_kube *kube, uint64_t timeout, uint64_t patience);

/* End the running call or wait with -ECANCELED, and all later ones. Any thread. */
void stow_kube_stop(struct stow_kube *kube);
/* End the running or the next stow_kube_wait(). Any thread. */
void stow_kube_wake(struct stow_kube *kube);
/* Wait until woken (1), until a watch had an event or ended (1), or until the time in ns has passed
 * (0). -ECANCELED: stopped. */
int stow_kube_wait(struct stow_kube *kube, uint64_t ns);

/* Return how long to wait before the next attempt, after `n` failures in a row (from 1): doubled
 * from `first` up to `most`, times a random factor between one half and one. */
uint64_t stow_kube_backoff(unsigned int n, uint64_t first, uint64_t most);

/* --- calls ---------------------------------------------------------------- */

/* `collection` is a path like "/apis/resource.k8s.io/v1/resourceslices" or
 * "/api/v1/namespaces/x/pods". Objects that are returned belong to the caller
 * (json_object_put()); `ret` may be NULL. */

int stow_kube_get(struct stow_kube *kube, const char *collection, const char *name,
		  struct json_object **ret, struct stow_err *err);
/* Get an object as the server has sent it: *ret, which the caller frees, ends with a NUL. It is
 * valid JSON, as stow_kube_parse() accepts it. */
int stow_kube_get_text(struct stow_kube *kube, const char *collection, const char *name, char **ret,
		       size_t *ret_len, struct stow_err *err);
int stow_kube_create(struct stow_kube *kube, const char *collection, struct json_object *object,
		     struct json_object **ret, struct stow_err *err);
/* Replace an object (PUT). With metadata.resourceVersion in it: -EBUSY when it has changed since. */
int stow_kube_replace(struct stow_kube *kube, const char *collection, const char *name,
		      struct json_object *object, struct json_object **ret, struct stow_err *err);
/* Create or change an object by server-side apply: of its fields those in `object`, which belong to
 * `manager` from then on. -EUSERS: another manager owns one of them, with another value; nothing
 * was changed, and the error names the manager. */
int stow_kube_apply(struct stow_kube *kube, const char *collection, const char *name,
		    const char *manager, struct json_object *object, struct json_object **ret,
		    struct stow_err *err);
/* Replace an object's status only (its subresource). */
int stow_kube_replace_status(struct stow_kube *kube, const char *collection, const char *name,
			     struct json_object *object, struct stow_err *err);
/* Delete an object. With a `uid`, only the object that has it: -EBUSY otherwise. */
int stow_kube_delete(struct stow_kube *kube, const char *collection, const char *name,
		     const char *uid, struct stow_err *err);

struct stow_kube_select {
	const char *fields; /* a field selector; NULL: none */
	const char *labels; /* a label selector; NULL: none */
	unsigned int page;  /* objects in one answer to a list, at most; 0: STOW_KUBE_PAGE */
};

#define STOW_KUBE_PAGE	    20	 /* objects in one answer to a list */
#define STOW_KUBE_PAGES_MAX 5000 /* of one list */

/* List objects, page by page; a page has fewer objects where they would not fit into an answer.
 * `visit` is called for each; a negative number ends the list and is
 * returned. The object is valid until `visit` returns (json_object_get() keeps it). `visit` must
 * not use the client. *ret_version, which the caller frees, is for stow_kube_watch(). -ESTALE: the
 * list took too long; begin anew. */
int stow_kube_list(struct stow_kube *kube, const char *collection,
		   const struct stow_kube_select *select,
		   int (*visit)(void *ctx, struct json_object *object), void *ctx,
		   char **ret_version, struct stow_err *err);

/* --- watches -------------------------------------------------------------- */

enum stow_kube_event { STOW_KUBE_ADDED, STOW_KUBE_MODIFIED, STOW_KUBE_DELETED };

/* These functions must not use the client. */
struct stow_kube_watch_ops {
	/* An object has changed. */
	void (*event)(void *ctx, enum stow_kube_event event, struct json_object *object);
	/* The watch has ended. `r`: 0 when the server ended it, as it does after some minutes;
	 * -ESTALE: list anew; or another error. */
	void (*ended)(void *ctx, int r, const struct stow_err *why);
};

/* Begin to watch from a version on, for some minutes. Bookmarks move the version that
 * stow_kube_watch_version() returns. `ops` must outlive the watch. */
int stow_kube_watch(struct stow_kube *kube, const char *collection,
		    const struct stow_kube_select *select, const char *version,
		    const struct stow_kube_watch_ops *ops, void *ctx, struct stow_kube_watch **ret,
		    struct stow_err *err);
/* Return the version of the last event or bookmark; it is valid until the next one. */
const char *stow_kube_watch_version(const struct stow_kube_watch *watch);
/* End a watch, without a call of `ended`, and free it. */
void stow_kube_watch_free(struct stow_kube_watch *watch);

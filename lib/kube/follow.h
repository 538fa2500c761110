/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Follow a collection: a list, then a watch; a list again when the watch has lost the thread, and
 * every ten minutes. Nothing is kept of the objects. */

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "kube/kube.h"

struct stow_kube_follow {
	/* Set by the owner. The functions must not use the client. */
	struct stow_kube *kube;
	const char *collection;
	struct stow_kube_select select;
	void (*seen)(void *ctx, struct json_object *object, bool gone);
	void (*begin)(void *ctx);  /* a list begins; may be NULL */
	void (*listed)(void *ctx); /* ... and all its objects were seen; may be NULL */
	void *ctx;

	/* Its own. */
	struct stow_kube_watch *watch;
	char version[256]; /* from which to watch; "": list first */
	int code;	   /* with which the watch has ended */
	struct stow_err why;
	uint64_t listed_at, not_before; /* boot time */
	uint64_t began;			/* the watch; boot time */
	unsigned int failures;
	bool ended, again;
};

/* Do what is due. Return the ns until something else is; or -errno, which is no reason to stop: it
 * is tried again. */
int64_t stow_kube_follow_look(struct stow_kube_follow *follow, struct stow_err *err);
/* List again soon. Also from the owner's functions. */
void stow_kube_follow_again(struct stow_kube_follow *follow);
/* End the watch; the next look begins with a list. */
void stow_kube_follow_stop(struct stow_kube_follow *follow);

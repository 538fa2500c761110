/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Follow a collection: list it, then watch it; list it again when the watch cannot continue, and
 * every ten minutes. No object is kept. */

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

	/* For the functions below only. */
	struct stow_kube_watch *watch;
	char version[256]; /* from which to watch; "": list first */
	int code;	   /* with which the watch has ended */
	struct stow_err why;
	uint64_t listed_at, not_before; /* boot time */
	uint64_t began;			/* the watch; boot time */
	unsigned int failures;
	bool ended, again;
};

/* Do what is due. Return the ns until something is due again; or -errno: an attempt has failed, and
 * is repeated by later calls. */
int64_t stow_kube_follow_look(struct stow_kube_follow *follow, struct stow_err *err);
/* List again soon. May be called from the owner's functions. */
void stow_kube_follow_again(struct stow_kube_follow *follow);
/* End the watch; the next look begins with a list. */
void stow_kube_follow_stop(struct stow_kube_follow *follow);

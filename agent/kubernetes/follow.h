/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * This machine's objects of one kind at the API server: what publish.c and zones_publish.c have in
 * common. They are listed, then watched from there on; when a watch ends, they are stale and are
 * listed anew.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "kube/kube.h"

struct agent_follow {
	struct stow_kube *kube;
	const char *collection;
	char *node, *uid; /* Kubernetes' node; `uid` is NULL until it was read */
	char *fields;	  /* selects the objects */
	bool stale;	  /* list them anew */
	struct stow_kube_watch *watch;
	uint64_t watched; /* boot time when the watch began */
	int code;	  /* an error that has ended the watch */
	struct stow_err why;
};

/* List the objects, and end the watch. *ret_version: where a new watch begins. */
int agent_follow_list(struct agent_follow *follow, int (*visit)(void *, struct json_object *),
		      void *ctx, char **ret_version, struct stow_err *err);
/* Watch them from there on, then read the Node's UID: if the Node is replaced later, its objects
 * are deleted, and the watch reports that. They are no longer stale. */
int agent_follow_watch(struct agent_follow *follow, const char *version,
		       const struct stow_kube_watch_ops *ops, void *ctx, struct stow_err *err);
/* Handle the `ended` of the watch. */
void agent_follow_ended(struct agent_follow *follow, int r, const struct stow_err *why);
/* Return the error that has ended the watch, once; 0: none. */
int agent_follow_error(struct agent_follow *follow, struct stow_err *err);
void agent_follow_done(struct agent_follow *follow);

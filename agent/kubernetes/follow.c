/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/kubernetes/follow.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "kube/json.h"

#define NODES "/api/v1/nodes"
#define SHORT (5 * STOW_SECOND) /* a watch that ends sooner counts as failed */

int agent_follow_list(struct agent_follow *f, int (*visit)(void *, struct json_object *), void *ctx,
		      char **ret_version, struct stow_err *err)
{
	struct stow_kube_select select = { .fields = f->fields };

	stow_kube_watch_free(f->watch);
	f->watch = NULL;
	return stow_kube_list(f->kube, f->collection, &select, visit, ctx, ret_version, err);
}

static int read_node(struct agent_follow *f, struct stow_err *err)
{
	struct json_object *node = NULL;
	const char *uid;
	int r = stow_kube_get(f->kube, NODES, f->node, &node, err);

	if (r < 0)
		return r;
	uid = stow_kube_text(node, "metadata.uid");
	if (strcmp(stow_kube_text(node, "metadata.name"), f->node) != 0 || !uid[0]) {
		r = stow_err_set(err, EBADMSG,
				 "GET " NODES "/%.64s: the API server answered with something else",
				 f->node);
	} else {
		free(f->uid);
		f->uid = strdup(uid);
		r = f->uid ? 0 : stow_err_set(err, ENOMEM, "out of memory");
	}
	json_object_put(node);
	return r;
}

int agent_follow_watch(struct agent_follow *f, const char *version,
		       const struct stow_kube_watch_ops *ops, void *ctx, struct stow_err *err)
{
	struct stow_kube_select select = { .fields = f->fields };
	int r;

	f->stale = false;
	r = stow_kube_watch(f->kube, f->collection, &select, version, ops, ctx, &f->watch, err);
	f->watched = stow_clock_boot();
	return r == 0 ? read_node(f, err) : r;
}

void agent_follow_ended(struct agent_follow *f, int r, const struct stow_err *why)
{
	bool is_short = stow_clock_elapsed(f->watched, stow_clock_boot()) < SHORT;

	f->stale = true;
	/* The server ends watches after a while, and cuts them when it restarts. That is no error:
	 * if there is one, the next list finds it. */
	if (r == -ESTALE || (!is_short && (r == 0 || r == -EHOSTUNREACH)))
		return;
	f->code = r < 0 ? stow_err_move(&f->why, r, why)
			: stow_err_set(&f->why, EREMOTEIO, "the API server ends watches at once");
}

int agent_follow_error(struct agent_follow *f, struct stow_err *err)
{
	int r = f->code;

	f->code = 0;
	return r < 0 ? stow_err_move(err, r, &f->why) : 0;
}

void agent_follow_done(struct agent_follow *f)
{
	stow_kube_watch_free(f->watch);
	free(f->fields);
	free(f->uid);
	free(f->node);
}

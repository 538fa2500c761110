// SPDX-License-Identifier: Apache-2.0
/* Containers that cannot stay: they are moved to other NUMA nodes, or evicted. */
#include <errno.h>
#include <signal.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "cgroup/freezer.h"
#include "drain/internal.h"
#include "grant/repin.h"

#define GRACE	   (10 * STOW_SECOND) /* from SIGTERM to SIGKILL, and from there to the failure */
#define MOVE_PAUSE STOW_MILLISECOND   /* between two batches of a repin's pages */

static int on_repin(void *ctx, const struct stow_repin_progress *progress)
{
	return stow_drain_stop(ctx) ? -ECANCELED : 0;
}

/* Save on which nodes the container is, before its repin: undoing the drain moves it back there. */
static int save_origin(struct stow_draining *d, const char *id, const struct stow_idset *nodes,
		       struct stow_err *err)
{
	/* Keep the first entry of a container that is moved again, after the drain was continued. */
	for (size_t i = 0; i < d->row.n_moved; i++)
		if (strcmp(d->row.moved[i].id, id) == 0)
			return 0;
	if (stow_drain_row_add_move(&d->row, id, nodes) < 0)
		return stow_err_set(err, ENOMEM, "out of memory");
	return stow_drain_save_row(d, err);
}

static int move_one(struct stow_draining *d, const struct stow_drain_affected *affected,
		    struct stow_err *err)
{
	_cleanup_(stow_record_free_ptr) struct stow_record *record = NULL;
	struct stow_repin_options options = {
		.nodes = affected->nodes, .pause = MOVE_PAUSE, .progress = on_repin, .ctx = d
	};
	struct stow_err why = { 0 };
	int r;

	r = stow_ledger_record(d->context->ledger, affected->key, &record, &why);
	if (r == -ENOENT)
		return 0; /* it has ended */
	if (r == 0)
		r = save_origin(d, affected->id, &record->nodes, &why);
	if (r == 0)
		r = stow_repin(d->context, affected->id, &options, &why);
	if (r == 0)
		d->bytes_moved += affected->bytes;
	if (r == 0 || r == -ESRCH || r == -ENOENT)
		return 0;
	return stow_err_set(err, -r, "container \"%.64s\" cannot be moved away: %s", affected->id,
			    why.msg);
}

/* End a container's first process, and with it all processes of its PID namespace. */
static int end_process(struct stow_draining *d, const struct stow_record *record,
		       struct stow_err *err)
{
	struct stow_root *root = d->context->root;
	uint64_t began = stow_clock_monotonic();
	struct stow_err frozen = { 0 };
	bool killed = false;

	if (stow_pidref_alive(root, &record->init))
		(void)stow_pidref_signal(root, &record->init, SIGTERM);
	while (stow_pidref_alive(root, &record->init)) {
		if (stow_drain_stop(d))
			return stow_drain_cancelled(err);
		if (stow_clock_monotonic() > began + GRACE && !killed) {
			(void)stow_pidref_signal(root, &record->init, SIGKILL);
			(void)stow_freezer_thaw(root, &record->cgroup, &record->init, &frozen);
			killed = true;
		} else if (stow_clock_monotonic() > began + 2 * GRACE) {
			return stow_err_set(err, EBUSY, "container %.64s does not end%s%s",
					    record->id, frozen.code == EBUSY ? ": " : "",
					    frozen.code == EBUSY ? frozen.msg : "");
		}
		stow_clock_sleep(50 * STOW_MILLISECOND);
	}
	return 0;
}

/* Evict a container that has drain=evict. */
static int evict_one(struct stow_draining *d, const struct stow_drain_affected *affected,
		     struct stow_err *err)
{
	_cleanup_(stow_record_free_ptr) struct stow_record *record = NULL;
	int r;

	r = stow_ledger_record(d->context->ledger, affected->key, &record, err);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	if (!d->context->root->live)
		return stow_err_set(err, ENOTSUP,
				    "containers are evicted on the live machine only");
	r = stow_ledger_event(d->context->ledger, "evicted", affected->id, record,
			      "its memory is being removed, and it has drain=evict", err);
	if (r == 0)
		r = end_process(d, record, err);
	if (r == 0)
		(void)stow_grant_release(d->context, affected->id, NULL);
	return r;
}

int stow_drain_move_all(struct stow_draining *d, struct stow_err *err)
{
	struct stow_err message; /* stow_err_set() replaces control characters in names */
	/* Pods first: the cluster decides whether they are evicted, and may refuse it. */
	int r = stow_drain_evict_claims(d, err);

	for (size_t i = 0; i < d->plan->n_affected && r == 0; i++) {
		const struct stow_drain_affected *affected = &d->plan->affected[i];

		if (affected->action == STOW_DRAIN_ACTION_RETURN || affected->uid ||
		    affected->holds)
			continue;
		stow_err_set(&message, 0, "container %.64s %s",
			     *affected->name ? affected->name : affected->id,
			     affected->action == STOW_DRAIN_ACTION_MOVE
				     ? "moves to other NUMA nodes"
				     : "is evicted");
		r = stow_drain_notify(d, STOW_DRAIN_STEP_MOVING, message.msg, err);
		if (r == 0)
			r = affected->action == STOW_DRAIN_ACTION_MOVE
				    ? move_one(d, affected, err)
				    : evict_one(d, affected, err);
	}
	return r;
}

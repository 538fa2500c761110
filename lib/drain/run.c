// SPDX-License-Identifier: Apache-2.0
/* Starting a drain, and recovering one whose worker has died. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/idlist.h"
#include "base/random.h"
#include "drain/internal.h"
#include "grant/gc.h"
#include "grant/pool.h"
#include "node/hotplug.h"
#include "place/changes.h"

void stow_drain_new_id(char ret[STOW_DRAIN_ID_LEN + 1])
{
	snprintf(ret, STOW_DRAIN_ID_LEN + 1, "%016" PRIx64, stow_random());
}

static void set_defaults(struct stow_drain_spec *spec)
{
	if (!spec->block_timeout)
		spec->block_timeout = STOW_DRAIN_BLOCK_TIMEOUT;
	if (!spec->timeout)
		spec->timeout = STOW_DRAIN_TIMEOUT;
	if (!spec->removal_timeout)
		spec->removal_timeout = STOW_DRAIN_REMOVAL_TIMEOUT;
}

/* End a drain that has changed nothing: it is not in the ledger. */
static int refuse(struct stow_draining *d, int r, enum stow_drain_step *ret_step,
		  struct stow_err *err)
{
	*ret_step = r == -ECANCELED ? STOW_DRAIN_STEP_CANCELLED : STOW_DRAIN_STEP_FAILED;
	d->row.code = -r;
	d->final = true;
	(void)stow_drain_notify(d, *ret_step, err->msg, NULL);
	return r;
}

static enum stow_memblock_zone zone_of(const char *zone)
{
	return strcmp(zone, "Movable") == 0 ? STOW_ZONE_MOVABLE
	       : *zone			    ? STOW_ZONE_KERNEL
					    : STOW_ZONE_DEFAULT;
}

static int take_blocks(struct stow_draining *d, struct stow_err *err)
{
	d->row.blocks = calloc(d->plan->n_blocks + 1, sizeof(*d->row.blocks));
	d->row.device = strdup(d->plan->device ? d->plan->device->name : "");
	if (!d->row.blocks || !d->row.device)
		return stow_err_set(err, ENOMEM, "out of memory");
	for (size_t i = 0; i < d->plan->n_blocks; i++)
		d->row.blocks[d->row.n_blocks++] =
			(struct stow_drain_row_block){ .id = d->plan->blocks[i].id,
						       .zone = zone_of(d->plan->blocks[i].zone) };
	d->row.node = d->plan->node;
	d->row.bytes = d->plan->bytes;
	d->row.bytes_staying = d->plan->staying;
	d->block_size = d->plan->all.block_size;
	d->page_size = d->plan->page_size;
	stow_drain_spec_put(&d->spec, &d->row);
	return 0;
}

static int enter(struct stow_draining *d, struct stow_err *err)
{
	d->row.step = STOW_DRAIN_STEP_FENCED;
	d->row.worker = d->context->self;
	return stow_drain_row_begin(d->context->ledger, &d->row, err);
}

/* Nothing new is placed behind the fence: plan again for the same blocks. This plan stays valid. */
static int plan_again(struct stow_draining *d, struct stow_err *err)
{
	_cleanup_free_ char *blocks = stow_drain_row_blocks(&d->row, false);
	struct stow_drain_spec spec = d->spec;
	struct stow_drain_plan *plan = NULL;
	int r;

	if (!blocks)
		return stow_err_set(err, ENOMEM, "out of memory");
	r = stow_drain_await_pending(d, err);
	if (r < 0)
		return r;
	spec.node = -1;
	spec.device = NULL;
	spec.blocks = blocks;
	spec.size = 0;
	r = stow_drain_plan(d->context, &spec, &plan, err);
	if (r < 0) {
		stow_drain_plan_free(plan);
		return r;
	}
	stow_drain_plan_free(d->plan);
	d->plan = plan;
	return 0;
}

/* Only starting a drain needs the right; a drain whose worker has died is undone in any case. */
static int check_right(const struct stow_grant_context *context, struct stow_err *err)
{
	if (context->root->live && geteuid() != 0)
		return stow_err_set(err, EPERM, "only root can drain memory");
	return stow_may_change(context->root,
			       context->config ? context->config->mode : STOW_MODE_ENFORCE, err);
}

/* Recovering another drain makes no progress of this one, but can be stopped like it. */
static const struct stow_drain_watch *watch_stop(const struct stow_drain_watch *watch,
						 struct stow_drain_watch *ret)
{
	*ret = (struct stow_drain_watch){ .stop = watch ? watch->stop : NULL,
					  .ctx = watch ? watch->ctx : NULL };
	return ret;
}

int stow_drain_run(const struct stow_grant_context *context, const char *id, bool ordered,
		   const struct stow_drain_spec *spec, const struct stow_drain_watch *watch,
		   enum stow_drain_step *ret_step, struct stow_err *err)
{
	_cleanup_(stow_draining_done) struct stow_draining d = {
		.context = context, .spec = *spec, .watch = watch, .started = stow_clock_monotonic()
	};
	struct stow_drain_watch only_stop;
	struct stow_err why = { 0 };
	int r;

	snprintf(d.row.id, sizeof(d.row.id), "%s", id);
	d.row.ordered = ordered;
	for (size_t i = 0; i < STOW_POOLS_MAX; i++)
		d.pools.locks[i] = -EBADF;
	set_defaults(&d.spec);
	d.spec.evicts = watch && watch->evict;
	r = check_right(context, &why);
	if (r == 0 && stow_drain_orphans(context) &&
	    stow_drain_recover(context, watch_stop(watch, &only_stop), &why) < 0 &&
	    stow_drain_orphans(context))
		r = -why.code;
	/* Account for the pool write of a killed program first. */
	if (r == 0)
		(void)stow_pool_settle_all(context->root, context->ledger, NULL);
	if (r == 0)
		r = stow_drain_plan(context, &d.spec, &d.plan, &why);
	if (r == 0)
		r = take_blocks(&d, &why);
	if (r == 0)
		r = stow_drain_pools_init(context->root, d.plan->node, &d.row, &d.pools, &why);
	if (r == 0)
		r = stow_drain_notify(&d, STOW_DRAIN_STEP_PLANNED, "", &why);
	if (r == 0)
		r = enter(&d, &why);
	if (r < 0) {
		r = refuse(&d, r, ret_step, &why);
		return stow_err_move(err, r, &why);
	}
	d.entered = true;
	r = stow_drain_notify(&d, STOW_DRAIN_STEP_FENCED, "", &why);
	if (r == 0)
		r = plan_again(&d, &why);
	if (r < 0) {
		r = stow_drain_finish(&d, r, false, ret_step, &why);
		return stow_err_move(err, r, &why);
	}
	return stow_drain_work(&d, ret_step, err);
}

/* --- recovery ------------------------------------------------------------- */

/* Return whether the row's worker is dead. A row of this program never is: its worker may be
 * another thread. */
static bool is_orphan(const struct stow_grant_context *context, const struct stow_drain_row *row)
{
	if (stow_drain_step_is_end(row->step))
		return false;
	if (row->worker.pid == context->self.pid && row->worker.start == context->self.start)
		return false;
	return !stow_pidref_alive(context->root, &row->worker);
}

bool stow_drain_orphans(const struct stow_grant_context *context)
{
	struct stow_drain_row *rows;
	bool found = false;
	size_t n;

	if (!context->ledger || stow_drain_rows(context->ledger, &rows, &n, NULL) < 0)
		return false;
	for (size_t i = 0; i < n; i++)
		found |= is_orphan(context, &rows[i]);
	stow_drain_rows_free(rows, n);
	return found;
}

/* Of the blocks that were begun, keep those that are offline: the block at which the worker was
 * killed is tried again. */
static void keep_gone(struct stow_draining *d)
{
	for (size_t i = 0; i < d->row.n_blocks; i++) {
		const struct stow_memblock *block =
			stow_memblocks_find(&d->plan->all, d->row.blocks[i].id);

		if (block && block->state != STOW_MEMBLOCK_OFFLINE)
			stow_drain_set_gone(d, i, false);
	}
}

/* List the row's blocks that still exist, to plan the rest. NULL: none. */
static char *blocks_left(struct stow_root *root, const struct stow_draining *d)
{
	_cleanup_free_ uint64_t *left = calloc(d->row.n_blocks + 1, sizeof(*left));
	size_t n = 0;

	for (size_t i = 0; left && i < d->row.n_blocks; i++)
		if (stow_drain_block_exists(root, d->row.blocks[i].id))
			left[n++] = d->row.blocks[i].id;
	return n ? stow_idlist_format(left, n) : NULL;
}

static int go_on(struct stow_draining *d, enum stow_drain_step *ret_step, struct stow_err *err)
{
	_cleanup_free_ char *left = blocks_left(d->context->root, d);
	struct stow_err why = { 0 };
	int r = 0;

	/* Before anything else changes. */
	(void)stow_drain_count_left(d, NULL);
	d->spec.blocks = left;
	if (left)
		r = stow_drain_plan(d->context, &d->spec, &d->plan, &why);
	/* All blocks are offline already: the plan has none, and the remaining steps are done all
	 * the same. */
	if (r == -EALREADY)
		r = 0;
	if (!left) {
		d->plan = calloc(1, sizeof(*d->plan));
		r = d->plan ? 0 : stow_err_set(&why, ENOMEM, "out of memory");
	}
	d->spec.blocks = NULL;
	if (r < 0) {
		r = stow_drain_finish(d, r, false, ret_step, &why);
		return stow_err_move(err, r, &why);
	}
	keep_gone(d);
	if (!d->plan->device && *d->row.device)
		d->plan->device = stow_memdev_find(&d->plan->all, d->row.device);
	return stow_drain_work(d, ret_step, err);
}

static int take_back(struct stow_draining *d, enum stow_drain_step *ret_step, struct stow_err *err)
{
	struct stow_err why = { 0 };
	bool there = false;
	int r;

	for (size_t i = 0; i < d->row.n_blocks; i++)
		there |= stow_drain_block_exists(d->context->root, d->row.blocks[i].id);
	if (!there) { /* all steps were done; only the end was not recorded */
		d->final = true;
		(void)stow_drain_count_left(d, NULL);
		(void)stow_drain_settle(d, NULL);
		return stow_drain_finish(d, 0, false, ret_step, &why);
	}
	r = d->row.code && *d->row.message ? stow_err_set(&why, d->row.code, "%s", d->row.message)
	    : d->row.cancel
		    ? stow_drain_cancelled(&why)
		    : stow_err_set(
			      &why, EOWNERDEAD,
			      "the program that ran the drain was killed; the drain was undone");
	r = stow_drain_finish(d, r, false, ret_step, &why);
	/* To have undone the drain is a success here. */
	return d->stuck ? stow_err_move(err, r, &why) : 0;
}

/* Restore the state of a drain from its row. */
static int read_orphan(struct stow_draining *d, struct stow_err *err)
{
	_cleanup_(stow_memblocks_done) struct stow_memblocks all = { 0 };
	struct stow_root *root = d->context->root;
	int r;

	for (size_t i = 0; i < STOW_POOLS_MAX; i++)
		d->pools.locks[i] = -EBADF;
	stow_drain_spec_get(&d->row, &d->spec);
	set_defaults(&d->spec);
	for (size_t i = 0; i < d->row.n_blocks; i++)
		d->n_gone += d->row.blocks[i].gone;
	d->page_size = (uint64_t)sysconf(_SC_PAGESIZE);
	r = stow_memblocks_read(root, 0, &all, err);
	d->block_size = all.block_size;
	return r < 0 ? r : stow_drain_pools_init(root, d->row.node, &d->row, &d->pools, err);
}

/* *ret_late: another program was faster. */
static int recover_one(const struct stow_grant_context *context, struct stow_drain_row *row,
		       const struct stow_drain_watch *watch, bool *ret_late, struct stow_err *err)
{
	_cleanup_(stow_draining_done) struct stow_draining d = {
		.context = context, .watch = watch, .started = stow_clock_monotonic()
	};
	enum stow_drain_step step;
	int r;

	d.entered = true;
	d.row = *row;
	*row = (struct stow_drain_row){ 0 };
	*ret_late = false;
	r = read_orphan(&d, err);
	d.spec.evicts = watch && watch->evict;
	/* Take it over last: a drain whose worker is alive and idle would never be recovered. */
	if (r == 0) {
		r = stow_drain_row_adopt(context->ledger, &d.row, &context->self, err);
		*ret_late = r == -EBUSY;
	}
	if (r < 0)
		return r;
	return d.row.resume && !d.row.cancel && d.row.step != STOW_DRAIN_STEP_UNDOING
		       ? go_on(&d, &step, err)
		       : take_back(&d, &step, err);
}

int stow_drain_recover(const struct stow_grant_context *context,
		       const struct stow_drain_watch *watch, struct stow_err *err)
{
	struct stow_first first = { .err = err };
	struct stow_gc_result collected;
	struct stow_drain_row *rows;
	int done = 0, r;
	size_t n;

	r = stow_drain_rows(context->ledger, &rows, &n, err);
	if (r < 0)
		return r;
	/* A repin that died with its drain would prevent the next one. */
	if (n) {
		(void)stow_gc(context, &collected, NULL);
		stow_gc_result_done(&collected);
	}
	for (size_t i = 0; i < n; i++) {
		bool late;

		if (!is_orphan(context, &rows[i]))
			continue;
		r = recover_one(context, &rows[i], watch, &late, first.err);
		if (late)
			continue;
		done++;
		stow_first_note(&first, r);
	}
	stow_drain_rows_free(rows, n);
	return first.code ? first.code : done;
}

// SPDX-License-Identifier: Apache-2.0
#include "grant/repin.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/math.h"
#include "cgroup/limits.h"
#include "cgroup/procs.h"
#include "grant/apply.h"
#include "grant/cpuview.h"
#include "grant/grant.h"
#include "grant/pool.h"
#include "grant/repin_end.h"
#include "pages/move.h"
#include "pages/numa_maps.h"

struct repin {
	const struct stow_grant_context *context;
	const struct stow_repin_options *options;
	struct stow_record *record; /* has `move` once the target is reserved */
	struct stow_cgroup *cgroup;
	struct stow_repin_progress progress;
};

static int notify(struct repin *rp, enum stow_repin_step step, struct stow_err *err)
{
	int r = 0;

	rp->progress.step = step;
	if (rp->options->progress)
		r = rp->options->progress(rp->options->ctx, &rp->progress);
	return r < 0 ? stow_err_set(err, -r, "the repin of %s was cancelled", rp->record->id) : 0;
}

/* --- plan ----------------------------------------------------------------- */

static int find_record(struct repin *rp, const char *id, struct stow_err *err)
{
	struct stow_record **records;
	size_t n;
	int r;

	r = stow_ledger_records(rp->context->ledger, id, &records, &n, err);
	if (r < 0)
		return r;
	/* The newest: a container that was started again may have an older record that is not
	 * collected yet. */
	for (size_t i = 0; i < n; i++)
		if (id[0] && records[i]->state == STOW_STATE_ACTIVE) {
			stow_record_free(rp->record);
			rp->record = STOW_TAKE_PTR(records[i]);
		}
	stow_records_free(records, n);
	if (!rp->record)
		return stow_err_set(err, ENOENT, "no container %s has a grant here", id);
	if (rp->record->n_held)
		return stow_err_set(err, EOPNOTSUPP,
				    "container %s is on the NUMA nodes of its claim %s/%s, and is "
				    "not moved; delete its pod to have it placed anew",
				    id, rp->record->held[0].ns, rp->record->held[0].name);
	r = stow_cgroup_open(rp->context->root, &rp->record->cgroup, &rp->cgroup, err);
	return r == -ESRCH ? stow_err_set(err, ESRCH, "container %s has ended", id) : r;
}

/* Build a request from what the container has. */
static void request_of(const struct stow_record *record, struct stow_request *ret)
{
	*ret = (struct stow_request){ .policy = record->n_shares > 1 ? STOW_POLICY_BEST_EFFORT
								     : STOW_POLICY_SINGLE_NUMA_NODE,
				      .cpu_mode = record->isolated    ? STOW_CPU_ISOLATED
						  : record->exclusive ? STOW_CPU_EXCLUSIVE
								      : STOW_CPU_SHARED,
				      .drain = record->drain };
	for (size_t i = 0; i < record->n_shares; i++) {
		ret->cpus += record->shares[i].cpus;
		ret->memory += record->shares[i].memory;
	}
	memcpy(ret->pages, record->pages, sizeof(ret->pages));
	ret->n_pages = record->n_pages;
}

static int choose_nodes(const struct repin *rp, struct stow_request *request, struct stow_err *err)
{
	_cleanup_(stow_topology_free_ptr) struct stow_topology *topology = NULL;
	char text[256];
	int r;

	request->nodes = rp->options->nodes;
	if (!stow_idset_empty(&request->nodes)) {
		if (stow_idset_equal(&request->nodes, &rp->record->nodes))
			return stow_err_set(err, EALREADY, "container %s is on nodes %s already",
					    rp->record->id,
					    stow_idset_format(&rp->record->nodes, text,
							      sizeof(text)));
		return 0;
	}
	r = stow_topology_read(rp->context->root, 0, &topology, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < topology->n_nodes; i++)
		stow_idset_add(&request->nodes, topology->nodes[i].id);
	stow_idset_minus(&request->nodes, &rp->record->nodes);
	if (stow_idset_empty(&request->nodes))
		return stow_err_set(err, ENOSPC, "container %s is on every node there is",
				    rp->record->id);
	return 0;
}

/* Compute the CPUs that the container will have, to show them. */
static void show_target(struct repin *rp)
{
	_cleanup_(stow_cpu_view_done) struct stow_cpu_view view = { 0 };

	rp->progress.to = rp->record->move->nodes;
	rp->progress.message = rp->record->move->reason;
	rp->progress.cpus = rp->record->move->cpus;
	if (rp->record->exclusive ||
	    stow_cpu_view_read(rp->context->root, rp->context->config, rp->context->ledger, &view,
			       NULL) < 0 ||
	    stow_cpu_view_base(&view, rp->record, true, &rp->progress.cpus, NULL) < 0)
		return;
	stow_idset_minus(&rp->progress.cpus, &view.exclusive);
	stow_idset_and(&rp->progress.cpus, &view.online);
}

/* Reserve the room, as the target of the container's record. */
static int plan(struct repin *rp, struct stow_err *err)
{
	_cleanup_(stow_refusal_free_ptr) struct stow_refusal *refusal = NULL;
	_cleanup_(stow_plan_free_ptr) struct stow_plan *plan = NULL;
	struct stow_request request;
	int r;

	request_of(rp->record, &request);
	r = choose_nodes(rp, &request, err);
	if (r < 0)
		return r;
	if (rp->options->dry_run) {
		r = stow_grant_plan_move(rp->context, rp->record, rp->cgroup, &request, &plan,
					 &refusal, err);
		if (r < 0)
			return r;
		rp->progress.to = plan->nodes;
		rp->progress.cpus = plan->cpus;
		return 0;
	}
	r = stow_grant_reserve_move(rp->context, rp->record, rp->cgroup, &request, &refusal, err);
	if (r == 0)
		show_target(rp);
	return r;
}

/* --- widen, move, narrow -------------------------------------------------- */

/* Write the step of the repin into the ledger; the caller applies it. */
static int set_step(const struct stow_grant_context *context, struct stow_record *record,
		    enum stow_move_step step, struct stow_err *err)
{
	int r = stow_ledger_move_step(context->ledger, record->key, step, err);

	if (r == 0 && record->move)
		record->move->step = step;
	return r;
}

static int widen(struct repin *rp, struct stow_err *err)
{
	int r;

	r = stow_pool_settle_shares(rp->context->root, rp->context->ledger, rp->record,
				    rp->record->move->shares, rp->record->move->n_shares, err);
	if (r == 0)
		r = set_step(rp->context, rp->record, STOW_MOVE_WIDENED, err);
	if (r == 0)
		r = stow_apply_mems(rp->context, rp->record->key, err);
	if (r == 0)
		r = stow_repin_apply_cpus(rp->context, rp->record, err);
	return r;
}

static int narrow(struct repin *rp, struct stow_err *err)
{
	int r;

	r = set_step(rp->context, rp->record, STOW_MOVE_NARROWED, err);
	return r < 0 ? r : stow_apply_mems(rp->context, rp->record->key, err);
}

static int on_batch(void *ctx, const struct stow_page_move *move)
{
	struct repin *rp = ctx;

	rp->progress.moved = move->moved;
	rp->progress.failed = move->failed;
	rp->progress.longest = move->longest;
	rp->progress.step = STOW_REPIN_MOVING;
	return rp->options->progress ? rp->options->progress(rp->options->ctx, &rp->progress) : 0;
}

/* Sum the bytes that the container is charged for on `nodes`. */
static uint64_t charged(struct repin *rp, const struct stow_idset *nodes)
{
	uint64_t sum = 0, bytes;

	STOW_IDSET_FOR(id, nodes)
		if (stow_memory_used(rp->cgroup, id, &bytes, NULL) == 0)
			sum += bytes;
	return sum;
}

/* Sum the bytes that the container's processes map on `nodes`; where they cannot be listed, all
 * bytes there. */
static uint64_t mapped(struct repin *rp, const struct stow_idset *nodes)
{
	_cleanup_free_ pid_t *pids = NULL;
	uint64_t sum = 0, bytes;
	size_t n = 0;

	if (stow_cgroup_pids(rp->cgroup, &pids, &n, NULL) < 0)
		return charged(rp, nodes);
	for (size_t i = 0; i < n; i++)
		if (stow_pages_mapped(rp->context->root, pids[i], nodes, &bytes, NULL) == 0)
			sum += bytes;
	return sum;
}

/* Move what is mapped on nodes of `from` only to `to`. With `told`, call progress(), which may stop
 * the move. */
static int move_pages_of(struct repin *rp, const struct stow_idset *from,
			 const struct stow_idset *to, bool told, struct stow_err *err)
{
	struct stow_page_move move = { .from = *from,
				       .to = *to,
				       .batch = rp->options->batch,
				       .pause = rp->options->pause,
				       .progress = told ? on_batch : NULL,
				       .ctx = rp };
	struct stow_err why = { 0 };
	int r;

	stow_idset_minus(&move.from, to);
	if (stow_idset_empty(&move.from) || !rp->context->root->live)
		return 0; /* no page needs to move, or none can */
	r = stow_pages_move_all(rp->context->root, rp->cgroup, &move, &why);
	if (told) {
		rp->progress.moved = move.moved;
		rp->progress.failed = move.failed;
		rp->progress.longest = move.longest;
	}
	/* The container has too many cgroups, or too deep ones, to list its processes: the kernel
	 * moves their pages when its memory nodes are written. */
	if (r == -E2BIG || r == -ENAMETOOLONG)
		return 0;
	return r < 0 ? stow_err_move(err, r, &why) : 0;
}

static void verify(struct repin *rp)
{
	struct stow_idset elsewhere = rp->record->nodes;
	uint64_t all;

	stow_idset_minus(&elsewhere, &rp->record->move->nodes);
	rp->progress.left_mapped = mapped(rp, &elsewhere);
	/* The kernel's NUMA balancing may have moved pages already. */
	if (rp->progress.total > rp->progress.left_mapped + rp->progress.moved)
		rp->progress.moved = rp->progress.total - rp->progress.left_mapped;
	all = charged(rp, &elsewhere);
	rp->progress.left_unmapped = stow_saturating_sub(all, rp->progress.left_mapped);
}

/* --- the end, done or moved back ------------------------------------------ */

/* Move the container back: first the CPUs, because the kernel's NUMA balancing brings pages to the
 * CPUs that use them; then the pages in batches, so that the container does not stall. */
static void take_back(struct repin *rp, const char *why)
{
	bool widened = rp->record->move->step != STOW_MOVE_PLANNED;

	if (widened) {
		(void)set_step(rp->context, rp->record, STOW_MOVE_PLANNED, NULL);
		(void)stow_repin_apply_cpus(rp->context, rp->record, NULL);
		(void)move_pages_of(rp, &rp->record->move->nodes, &rp->record->nodes, false, NULL);
		(void)stow_apply_mems(rp->context, rp->record->key, NULL);
	}
	(void)stow_repin_end(rp->context, rp->record, false, why, NULL);
	(void)stow_repin_settle(rp->context, rp->record->n_pages > 0, NULL);
}

static void repin_done(struct repin *rp)
{
	stow_record_free(rp->record);
	stow_cgroup_free_ptr(&rp->cgroup);
}

/* Run all steps after the reservation. */
static int move(struct repin *rp, struct stow_err *err)
{
	int r;

	r = widen(rp, err);
	if (r == 0)
		r = notify(rp, STOW_REPIN_WIDENED, err);
	if (r == 0)
		r = move_pages_of(rp, &rp->record->nodes, &rp->record->move->nodes, true, err);
	if (r == 0)
		r = narrow(rp, err);
	if (r == 0)
		r = notify(rp, STOW_REPIN_NARROWED, err);
	if (r == 0) {
		verify(rp);
		r = stow_repin_end(rp->context, rp->record, true, NULL, err);
	}
	return r;
}

/* Find the container's record, and move the container back first when an earlier repin was
 * killed. */
static int find_unmoved(struct repin *rp, const char *id, struct stow_err *err)
{
	int r = find_record(rp, id, err);

	if (r < 0 || !rp->record->move)
		return r;
	if (stow_pidref_alive(rp->context->root, &rp->record->move->worker))
		return stow_err_set(err, EBUSY, "container %s is being repinned already", id);
	if (rp->options->dry_run)
		return stow_err_set(err, EBUSY,
				    "the last repin of container %s was killed; the next one, or "
				    "\"numastow gc\", puts it back first",
				    id);
	r = stow_repin_recover(rp->context, rp->record, err);
	if (r < 0)
		return r;
	repin_done(rp);
	rp->record = NULL;
	rp->cgroup = NULL;
	r = find_record(rp, id, err);
	return r == 0 && rp->record->move
		       ? stow_err_set(err, EBUSY, "container %s is being repinned already", id)
		       : r;
}

int stow_repin(const struct stow_grant_context *context, const char *id,
	       const struct stow_repin_options *options, struct stow_err *err)
{
	_cleanup_(repin_done) struct repin rp = { .context = context, .options = options };
	struct stow_err why = { 0 };
	struct stow_idset leave;
	int r;

	r = find_unmoved(&rp, id, err);
	if (r < 0)
		return r;
	rp.progress.from = rp.record->nodes;
	rp.progress.message = "";
	r = plan(&rp, &why);
	if (r == 0) {
		leave = rp.record->nodes;
		stow_idset_minus(&leave, &rp.progress.to);
		rp.progress.total = mapped(&rp, &leave);
		r = notify(&rp, STOW_REPIN_PLANNED, &why);
	}
	if (options->dry_run)
		return r < 0 ? stow_err_move(err, r, &why) : 0;
	if (r == 0)
		r = move(&rp, &why);
	if (r < 0) {
		if (rp.record->move)
			take_back(&rp, why.msg);
		return stow_err_move(err, r, &why);
	}
	r = stow_repin_settle(context, rp.record->n_pages > 0, &why);
	if (r == 0)
		(void)notify(&rp, STOW_REPIN_VERIFIED, NULL);
	return r < 0 ? stow_err_set(err, -r, "moved, but: %s", why.msg) : 0;
}

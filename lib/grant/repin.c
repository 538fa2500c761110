// SPDX-License-Identifier: Apache-2.0
#include "grant/repin.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "grant/enforce.h"
#include "grant/pool.h"
#include "grant/saved.h"
#include "grant/shared.h"
#include "node/pages.h"

#define PREFIX "repin:"

struct repin {
	const struct stow_grant_context *context;
	const struct stow_repin_options *options;
	struct stow_record *old, *new;
	struct stow_cgroup *cgroup;
	bool own_cpus, own_mems; /* the container had sets of its own before numastow */
	struct stow_repin_progress progress;
};

bool stow_repin_is(const struct stow_record *record)
{
	return strncmp(record->id, PREFIX, strlen(PREFIX)) == 0;
}

static int tell(struct repin *rp, enum stow_repin_step step, struct stow_err *err)
{
	int r = 0;

	rp->progress.step = step;
	if (rp->options->progress)
		r = rp->options->progress(rp->options->ctx, &rp->progress);
	return r < 0 ? stow_err_set(err, -r, "the repin of %s was cancelled", rp->old->id) : 0;
}

/* --- plan --------------------------------------------------------------------------------------- */

static int find_old(struct repin *rp, const char *id, struct stow_err *err)
{
	struct stow_record **records;
	size_t n;
	int r;

	r = stow_ledger_records(rp->context->ledger, id, &records, &n, err);
	if (r < 0)
		return r;
	/* The newest: one that was started again may have an older life that is not collected. */
	for (size_t i = 0; i < n; i++)
		if (records[i]->state == STOW_STATE_ACTIVE) {
			stow_record_free(rp->old);
			rp->old = records[i];
			records[i] = NULL;
		}
	stow_records_free(records, n);
	if (!rp->old)
		return stow_err_set(err, ENOENT, "no container %s has a grant here", id);
	r = stow_cgroup_of_pid(rp->context->root, rp->old->init.pid, &rp->cgroup, err);
	if (r < 0)
		return r;
	if (rp->cgroup->inode != rp->old->inode)
		return stow_err_set(err, ESRCH, "container %s has ended", id);
	return 0;
}

/* What the container has, as a request. */
static void request_of(const struct stow_record *record, struct stow_request *ret)
{
	*ret = (struct stow_request){ .policy = record->n_shares > 1 ? STOW_POLICY_BEST_EFFORT
								     : STOW_POLICY_SINGLE_NUMA_NODE,
				      .cpu_mode = record->exclusive ? STOW_CPU_EXCLUSIVE
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
		if (stow_idset_equal(&request->nodes, &rp->old->nodes))
			return stow_err_set(err, EALREADY, "container %s is on nodes %s already",
					    rp->old->id,
					    stow_idset_format(&rp->old->nodes, text, sizeof(text)));
		return 0;
	}
	r = stow_topology_read(rp->context->root, 0, &topology, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < topology->n_nodes; i++)
		stow_idset_add(&request->nodes, topology->nodes[i].id);
	stow_idset_minus(&request->nodes, &rp->old->nodes);
	if (stow_idset_empty(&request->nodes))
		return stow_err_set(err, ENOSPC, "container %s is on every node there is",
				    rp->old->id);
	return 0;
}

/* Promises the room: the second record, whose worker we are. */
static int plan(struct repin *rp, struct stow_err *err)
{
	_cleanup_(stow_refusal_free_ptr) struct stow_refusal *refusal = NULL;
	struct stow_subject subject = { .ns = rp->old->ns,
					.name = rp->old->name,
					.pod_id = rp->old->pod };
	struct stow_request request;
	char id[512];
	int r;

	snprintf(id, sizeof(id), PREFIX "%s", rp->old->id);
	subject.id = id;
	subject.expires = UINT32_MAX; /* it ends with us */
	request_of(rp->old, &request);
	r = choose_nodes(rp, &request, err);
	if (r < 0)
		return r;
	if (rp->options->dry_run) {
		_cleanup_(stow_plan_free_ptr) struct stow_plan *plan = NULL;

		r = stow_grant_plan(rp->context, &subject, &request, &plan, &refusal, err);
		if (r < 0)
			return r;
		rp->progress.to = plan->nodes;
		rp->progress.cpus = plan->cpus;
		return 0;
	}
	{
		struct stow_record **records;
		size_t n;

		r = stow_ledger_records(rp->context->ledger, id, &records, &n, err);
		if (r < 0)
			return r;
		stow_records_free(records, n);
		if (n > 0)
			return stow_err_set(err, EBUSY, "container %s is being moved already",
					    rp->old->id);
	}
	r = stow_grant_reserve(rp->context, &subject, &request, NULL, 0, &rp->new, &refusal, err);
	if (r < 0)
		return r;
	rp->new->state = STOW_STATE_PENDING;
	rp->new->hook = rp->context->self;
	r = stow_ledger_begin(rp->context->ledger, err);
	if (r == 0)
		r = stow_ledger_end(rp->context->ledger,
				    stow_ledger_update(rp->context->ledger, rp->new, err), err);
	rp->progress.to = rp->new->nodes;
	rp->progress.cpus = rp->new->cpus;
	rp->progress.message = rp->new->reason;
	return r;
}

/* --- widen, move, narrow ------------------------------------------------------------------------ */

static int settle_pools(struct repin *rp, const struct stow_record *record, struct stow_err *err)
{
	for (size_t i = 0; i < record->n_shares; i++)
		for (size_t p = 0; p < record->n_pages; p++) {
			int r;

			if (!record->shares[i].pages[p])
				continue;
			r = stow_pool_settle(rp->context->root, rp->context->ledger,
					     record->shares[i].node, record->pages[p].size,
					     record->key, NULL, err);
			if (r < 0)
				return r;
		}
	return 0;
}

static int set_cpus(struct repin *rp, const struct stow_record *record, struct stow_err *err)
{
	_cleanup_close_ int lock = -EBADF;
	struct stow_idset cpus = record->cpus, exclusive;
	int r;

	if (record->exclusive) {
		/* The others leave first: the second record has these CPUs since it was made. */
		r = stow_shared_sync(rp->context->root, rp->context->ledger, err);
		return r < 0 ? r : stow_enforce_cpus(rp->cgroup, &cpus, rp->own_cpus, err);
	}
	lock = stow_shared_lock(rp->context->root, err);
	if (lock < 0)
		return lock;
	r = stow_ledger_exclusive(rp->context->ledger, &exclusive, err);
	if (r < 0)
		return r;
	cpus = record->base;
	stow_idset_minus(&cpus, &exclusive);
	return stow_enforce_cpus(rp->cgroup, &cpus, rp->own_cpus, err);
}

static int widen(struct repin *rp, struct stow_err *err)
{
	struct stow_idset both = rp->old->nodes;
	int r;

	r = settle_pools(rp, rp->new, err);
	stow_idset_or(&both, &rp->new->nodes);
	if (r == 0)
		r = stow_enforce_mems(rp->cgroup, &both, rp->own_mems, err);
	if (r == 0)
		r = set_cpus(rp, rp->new, err);
	return r;
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

/* The bytes that the container's processes map on `nodes`. */
static uint64_t mapped(struct repin *rp, const struct stow_idset *nodes)
{
	_cleanup_free_ pid_t *pids = NULL;
	uint64_t sum = 0, bytes;
	size_t n = 0;

	if (stow_cgroup_pids(rp->cgroup, &pids, &n, NULL) < 0)
		return 0;
	for (size_t i = 0; i < n; i++)
		if (stow_pages_mapped(rp->context->root, pids[i], nodes, &bytes, NULL) == 0)
			sum += bytes;
	return sum;
}

/* Moves what is mapped on nodes of `from` only to `to`. With `told`, progress is asked and may
 * stop. */
static int move_pages_of(struct repin *rp, const struct stow_record *from,
			 const struct stow_record *to, bool told, struct stow_err *err)
{
	struct stow_page_move move = { .from = from->nodes,
				       .to = to->nodes,
				       .batch = rp->options->batch,
				       .pause = rp->options->pause,
				       .progress = told ? on_batch : NULL,
				       .ctx = rp };
	int r;

	stow_idset_minus(&move.from, &to->nodes);
	if (stow_idset_empty(&move.from))
		return 0; /* nothing to leave */
	r = stow_pages_move_all(rp->context->root, rp->cgroup, &move, err);
	if (told) {
		rp->progress.moved = move.moved;
		rp->progress.failed = move.failed;
		rp->progress.longest = move.longest;
	}
	return r;
}

static void verify(struct repin *rp, const struct stow_record *now, const struct stow_record *was)
{
	struct stow_idset elsewhere = was->nodes;
	uint64_t charged = 0, bytes;

	stow_idset_minus(&elsewhere, &now->nodes);
	rp->progress.left_mapped = mapped(rp, &elsewhere);
	/* The kernel's balancing may have moved pages before us. */
	if (rp->progress.total > rp->progress.left_mapped + rp->progress.moved)
		rp->progress.moved = rp->progress.total - rp->progress.left_mapped;
	STOW_IDSET_FOR(id, &elsewhere)
		if (stow_memory_used(rp->cgroup, id, &bytes, NULL) == 0)
			charged += bytes;
	rp->progress.left_unmapped =
		charged > rp->progress.left_mapped ? charged - rp->progress.left_mapped : 0;
}

/* --- the end, either way ------------------------------------------------------------------------ */

/* The container's grant is the new one from here on. */
static int make_one(struct repin *rp, struct stow_err *err)
{
	struct stow_record *old = rp->old, *new = rp->new;
	struct stow_ledger *ledger = rp->context->ledger;
	int64_t second = new->key;
	int r;

	r = stow_ledger_begin(ledger, err);
	if (r < 0)
		return r;
	r = stow_ledger_delete(ledger, second, err);
	if (r >= 0)
		r = stow_ledger_delete(ledger, old->key, err);
	if (r == 0) /* released meanwhile */
		r = stow_err_set(err, ESRCH, "container %s has ended", old->id);
	if (r > 0) {
		old->cpus = new->cpus;
		old->base = new->base;
		old->nodes = new->nodes;
		free(old->shares);
		old->shares = STOW_TAKE_PTR(new->shares);
		old->n_shares = new->n_shares;
		new->n_shares = 0;
		memcpy(old->pages, new->pages, sizeof(old->pages));
		free(old->reason);
		old->reason = STOW_TAKE_PTR(new->reason);
		r = stow_ledger_insert(ledger, old, err);
	}
	if (r == 0)
		r = stow_ledger_event(ledger, "repinned", old->id, old, old->reason, err);
	return stow_ledger_end(ledger, r, err);
}

static int drop_second(const struct stow_grant_context *context, const struct stow_record *second,
		       const char *why, struct stow_err *err)
{
	int r;

	r = stow_ledger_begin(context->ledger, err);
	if (r < 0)
		return r;
	r = stow_ledger_delete(context->ledger, second->key, err);
	if (r > 0)
		r = stow_ledger_event(context->ledger, "undone", second->id, second, why, err);
	return stow_ledger_end(context->ledger, r, err);
}

/* What both records had of pools and CPUs, and only one has now. */
static int settle_rest(const struct stow_grant_context *context, bool pages, struct stow_err *err)
{
	int64_t taken = pages ? stow_pool_settle_all(context->root, context->ledger, err) : 0;
	int r = stow_shared_sync(context->root, context->ledger, taken < 0 ? NULL : err);

	return taken < 0 ? (int)taken : r;
}

/* Back to where it was: the pages in batches, so that this is no stall either. */
static void take_back(struct repin *rp, bool widened, const char *why)
{
	if (widened) {
		/* The CPUs first: the kernel's own balancing brings pages to where a program runs. */
		(void)set_cpus(rp, rp->old, NULL);
		(void)move_pages_of(rp, rp->new, rp->old, false, NULL);
		(void)stow_enforce_mems(rp->cgroup, &rp->old->nodes, rp->own_mems, NULL);
	}
	if (rp->new)
		(void)drop_second(rp->context, rp->new, why, NULL);
	(void)settle_rest(rp->context, rp->old->n_pages > 0, NULL);
}

static void repin_done(struct repin *rp)
{
	stow_record_free(rp->old);
	stow_record_free(rp->new);
	stow_cgroup_free_ptr(&rp->cgroup);
}

int stow_repin(const struct stow_grant_context *context, const char *id,
	       const struct stow_repin_options *options, struct stow_err *err)
{
	_cleanup_(repin_done) struct repin rp = { .context = context, .options = options };
	struct stow_idset own, leave;
	bool widened = false;
	struct stow_err why = { 0 };
	int r;

	r = find_old(&rp, id, err);
	if (r < 0)
		return r;
	stow_saved_idset(rp.old->saved, "cpuset.cpus", &own);
	rp.own_cpus = !stow_idset_empty(&own);
	stow_saved_idset(rp.old->saved, "cpuset.mems", &own);
	rp.own_mems = !stow_idset_empty(&own);
	rp.progress.from = rp.old->nodes;
	rp.progress.message = "";
	r = plan(&rp, &why);
	if (r == 0) {
		leave = rp.old->nodes;
		stow_idset_minus(&leave, &rp.progress.to);
		rp.progress.total = mapped(&rp, &leave);
		r = tell(&rp, STOW_REPIN_PLANNED, &why);
	}
	if (options->dry_run)
		return r < 0 ? stow_err_set(err, -r, "%s", why.msg) : 0;
	if (r == 0) {
		widened = true;
		r = widen(&rp, &why);
	}
	if (r == 0)
		r = tell(&rp, STOW_REPIN_WIDENED, &why);
	if (r == 0)
		r = move_pages_of(&rp, rp.old, rp.new, true, &why);
	if (r == 0)
		r = stow_enforce_mems(rp.cgroup, &rp.new->nodes, rp.own_mems, &why);
	if (r == 0)
		r = tell(&rp, STOW_REPIN_NARROWED, &why);
	if (r == 0) {
		verify(&rp, rp.new, rp.old);
		r = make_one(&rp, &why);
	}
	if (r < 0) {
		take_back(&rp, widened, why.msg);
		return stow_err_set(err, -r, "%s", why.msg);
	}
	r = settle_rest(context, rp.old->n_pages > 0, &why);
	if (r == 0)
		(void)tell(&rp, STOW_REPIN_VERIFIED, NULL);
	return r < 0 ? stow_err_set(err, -r, "moved, but: %s", why.msg) : 0;
}

int stow_repin_recover(const struct stow_grant_context *context, const struct stow_record *second,
		       struct stow_err *err)
{
	static const struct stow_repin_options plain = { 0 };
	_cleanup_(repin_done) struct repin rp = { .context = context, .options = &plain };
	struct stow_idset own;
	int r;

	r = find_old(&rp, second->id + strlen(PREFIX), err);
	if (r == 0) {
		stow_saved_idset(rp.old->saved, "cpuset.cpus", &own);
		rp.own_cpus = !stow_idset_empty(&own);
		stow_saved_idset(rp.old->saved, "cpuset.mems", &own);
		rp.own_mems = !stow_idset_empty(&own);
		/* The kernel moves back what is elsewhere, at once: nobody waits for this. */
		r = stow_enforce_mems(rp.cgroup, &rp.old->nodes, rp.own_mems, err);
		if (r == 0)
			r = set_cpus(&rp, rp.old, err);
	} else if (r == -ENOENT || r == -ESRCH) {
		r = 0; /* it has ended */
	}
	if (r == 0)
		r = drop_second(context, second, "the mover was killed at work", err);
	if (r == 0)
		r = settle_rest(context, second->n_pages > 0, err);
	return r;
}

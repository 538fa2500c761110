// SPDX-License-Identifier: Apache-2.0
#include "grant/apply_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "cgroup/allowed.h"
#include "cgroup/hierarchy.h"
#include "grant/partition.h"

static void run_done(struct apply_run *run)
{
	stow_cpu_view_done(&run->view);
	stow_unit_sets_done(&run->units);
	stow_peek_done(&run->peek);
	for (size_t i = 0; i < STOW_ARRAY_SIZE(run->above); i++)
		free(run->above[i].path);
}

void stow_apply_result_done(struct stow_apply_result *result)
{
	free(result->problems);
	*result = (struct stow_apply_result){ 0 };
}

/* --- all of them ---------------------------------------------------------- */

struct round {
	struct apply_run *run;
	struct stow_record **records;
	size_t n;
};

/* Return whether the entry may be the scope of the container with this cgroup: the scope was
 * discovered while the container was being made, and the hook then found its cgroup one level
 * below. */
static bool is_above(const struct stow_unmanaged *entry, const struct stow_cgroup_id *cgroup)
{
	const char *above = stow_cgroup_id_path(&entry->cgroup);

	return !entry->init.pid && above[0] &&
	       stow_cgroup_is_below(stow_cgroup_id_path(cgroup), above);
}

static bool has_record(const struct round *round, const struct stow_unmanaged *entry)
{
	for (size_t i = 0; i < round->n; i++)
		if (stow_cgroup_id_equal(&round->records[i]->cgroup, &entry->cgroup) ||
		    is_above(entry, &round->records[i]->cgroup))
			return true;
	return false;
}

static int apply_entry(struct stow_root *root, struct stow_unmanaged *entry, void *ctx,
		       struct stow_err *err)
{
	struct round *round = ctx;
	struct apply_container c = { .id = entry->id, .cgroup_id = &entry->cgroup, .entry = entry };

	if (!has_record(round, entry))
		(void)apply_one(round->run, &c, NULL);
	return 0;
}

/* Mark the caller's own container, which starts, is moved, or is moved back. */
static void set_focus(struct apply_container *c, bool focus)
{
	c->starts = focus;
	c->refused = focus && (c->record->state == STOW_STATE_PENDING || apply_is_moved(c->record));
}

/* Apply all records with or all without exclusive CPUs. Return the failure of the record in
 * focus. */
static int apply_records(struct round *round, bool exclusive, struct stow_err *err)
{
	int result = 0;

	for (size_t i = 0; i < round->n; i++) {
		struct stow_record *record = round->records[i];
		struct apply_container c = { .id = record->id,
					     .cgroup_id = &record->cgroup,
					     .record = record };
		bool focus = record->key == round->run->options->focus;
		int r;

		if (record->state == STOW_STATE_LEASE || record->exclusive != exclusive)
			continue;
		set_focus(&c, focus);
		r = apply_one(round->run, &c, focus ? err : NULL);
		if (focus)
			result = r;
	}
	return result;
}

static int publish(struct stow_root *root, const struct stow_idset *exclusive, struct stow_err *err)
{
	_cleanup_free_ char *list = NULL;

	if (stow_idset_empty(exclusive))
		return stow_root_unlink(root, err, "%s", STOW_EXCLUSIVE_PATH);
	list = stow_idset_to_list(exclusive);
	if (!list)
		return stow_err_sys(err, ENOMEM, "%s", STOW_EXCLUSIVE_PATH);
	return stow_root_replace(root, STOW_EXCLUSIVE_PATH, list, 0600, err);
}

static void add_partition_problem(void *ctx, const char *id, const char *text)
{
	const struct apply_container c = { .id = id };
	struct apply_run *run = ctx;
	size_t before = run->result->n_problems;

	apply_add_problem(run, &c, text);
	if (run->result->n_problems > before)
		run->result->problems[before].partition = true;
}

/* Set the systemd properties of containers other than the caller's. */
static void set_units(struct apply_run *run)
{
	const struct apply_container units = { .id = "(units)" };
	struct stow_err why;

	if (stow_unit_sets_set(&run->units, true, &why) < 0)
		apply_add_problem(run, &units, why.msg);
}

static int run_begin(struct apply_run *run, const struct stow_grant_context *context,
		     struct stow_err *err)
{
	int r;

	run->root = context->root;
	r = stow_applied_read(context->root, &run->before, err);
	if (r < 0)
		return r;
	r = stow_cpu_view_read(context->root, context->config, context->ledger, &run->view, err);
	/* A CPU that was offline in between is one that returned, too. */
	if (r == 0 && run->view.came > run->before.came) {
		struct stow_idset came;

		stow_cpus_came(run->root, run->before.came, &came);
		stow_idset_minus(&run->before.online, &came);
	}
	if (r == 0 && run->before.known) {
		run->returned = run->view.online;
		stow_idset_minus(&run->returned, &run->before.online);
	}
	if (r == 0 && context->topology)
		run->view.topology = *context->topology;
	return r;
}

/* Apply the containers that must leave exclusive CPUs before these get another owner. */
static void apply_others(struct round *round, struct apply_pods *pods, struct stow_first *first)
{
	const struct apply_container unmanaged = { .id = "(unmanaged containers)" };
	struct apply_run *run = round->run;
	struct stow_err why;

	stow_first_note(first, apply_records(round, false, first->err));
	if (stow_unmanaged_each(run->root, apply_entry, round, &why) < 0)
		apply_add_problem(run, &unmanaged, why.msg);
	apply_pods_leaves(pods);
}

/* Apply all containers. The caller holds the lock. */
static int apply_all(struct apply_run *run, const struct stow_grant_context *context,
		     struct stow_err *err)
{
	struct round round = { .run = run };
	_cleanup_(apply_pods_done) struct apply_pods pods = { .run = run };
	struct stow_partitions partitions;
	struct stow_first first = { .err = err };
	int r;

	/* First record the run, then publish the exclusive CPUs: a container that starts meanwhile
	 * is kept off what is published, and if this run is killed, the next one must know why. */
	r = stow_applied_begin(run->root, &run->before, &run->view, err);
	if (r == 0)
		r = publish(run->root, &run->view.exclusive, err);
	if (r == 0)
		r = stow_ledger_records(context->ledger, NULL, &round.records, &round.n, err);
	if (r < 0)
		return r;
	partitions = (struct stow_partitions){ .context = context,
					       .records = round.records,
					       .n = round.n,
					       .focus = run->options->focus,
					       .warn = add_partition_problem,
					       .ctx = run };
	stow_partitions_leave(&partitions, run->options->thorough);
	pods.records = round.records;
	pods.n = round.n;
	apply_pods_find(&pods);
	/* First shrink the sets of other containers, then set those with exclusive CPUs. */
	apply_others(&round, &pods, &first);
	apply_pods_parents(&pods);
	stow_first_note(&first, apply_records(&round, true, first.err));
	set_units(run);
	if (run->result->n_problems) { /* some sets may still be older ones */
		stow_idset_or(&run->narrow, &run->before.explained);
		stow_idset_or(&run->narrow, &run->returned);
	}
	/* CPUs that the next run must again treat as returned. */
	stow_idset_minus(&run->view.online, &run->withheld);
	stow_first_note(&first, stow_applied_end(run->root, &run->before, &run->view, &run->narrow,
						 first.err));
	/* A failed partition is not a failed run: the CPU sets are as they must be. */
	stow_partitions_make(&partitions);
	stow_partitions_done(&partitions);
	stow_records_free(round.records, round.n);
	return first.code;
}

int stow_apply_lock(struct stow_root *root, struct stow_err *err)
{
	return stow_root_lock(root, err, "%s", STOW_RUN_DIR "/cpus.lock");
}

bool stow_apply_is_current(const struct stow_grant_context *context)
{
	struct stow_cpu_view view = { .came = stow_cpus_came(context->root, 0, NULL) };
	struct stow_applied applied;

	stow_config_reserved_digest(context->config, view.reserved);
	return stow_applied_read(context->root, &applied, NULL) == 0 &&
	       stow_ledger_exclusive(context->ledger, &view.exclusive, NULL) == 0 &&
	       stow_cpus_in_sets(context->root, &view.online, NULL) == 0 &&
	       stow_applied_is(&applied, &view);
}

void stow_apply_expected(struct stow_cpu_view *view, const struct stow_record *record,
			 struct stow_cgroup *cgroup, struct stow_idset *ret)
{
	static const struct stow_apply_options options = { 0 };
	struct apply_run run = { .root = view->root, .options = &options, .view = *view };
	struct apply_container c = { .id = record->id, .record = record, .cgroup = cgroup };

	*ret = (struct stow_idset){ 0 };
	if (apply_read_above(&run, &c, &c.above, NULL) == 0 &&
	    apply_compute_wanted(&run, &c, NULL) == 0) {
		*ret = c.wanted;
		stow_idset_and(ret, &run.view.online);
	}
	*view = run.view; /* its nodes may have been read */
	run.view = (struct stow_cpu_view){ 0 };
	run_done(&run);
}

/* What to apply when the last run was for the same CPUs. */
enum apply_what {
	APPLY_ALL,
	APPLY_START, /* the record in focus */
	APPLY_PODS,  /* kubelet's cgroups */
};

static int apply_record(struct apply_run *run, const struct stow_record *record,
			struct stow_err *err)
{
	struct apply_container c = {
		.id = record->id, .cgroup_id = &record->cgroup, .record = record, .starts = true
	};

	set_focus(&c, true);
	return apply_one(run, &c, err);
}

/* Apply kubelet's cgroups alone: the exclusive CPUs are those of the last run. The caller holds the
 * lock. */
static int apply_pods(struct apply_run *run, const struct stow_grant_context *context,
		      struct stow_err *err)
{
	_cleanup_(apply_pods_done) struct apply_pods pods = { .run = run };
	int r = stow_ledger_records(context->ledger, NULL, &pods.records, &pods.n, err);

	if (r < 0)
		return r;
	apply_pods_find(&pods);
	apply_pods_leaves(&pods);
	apply_pods_parents(&pods);
	stow_records_free(pods.records, pods.n);
	set_units(run);
	return 0;
}

/* Apply one record, or with none kubelet's cgroups, which must be right for a record whose CPUs
 * come from there. The caller holds the lock. */
static int apply_part(struct apply_run *run, const struct stow_grant_context *context,
		      enum apply_what what, const struct stow_record *record, struct stow_err *err)
{
	_cleanup_(stow_record_free_ptr) struct stow_record *read = NULL;
	int r = 0;

	if (what == APPLY_START && !record) {
		r = stow_ledger_record(context->ledger, run->options->focus, &read, err);
		if (r < 0)
			return r;
		record = read;
	}
	if (what == APPLY_PODS || apply_pods_concern(run->root, record))
		r = apply_pods(run, context, err);
	return r < 0 || what == APPLY_PODS ? r : apply_record(run, record, err);
}

/* Apply all containers; or a part of it when the last run was for the same CPUs. */
static int apply_locked(const struct stow_grant_context *context,
			const struct stow_apply_options *options, enum apply_what what,
			const struct stow_record *record, struct stow_apply_result *ret,
			struct stow_err *err)
{
	struct stow_apply_result result = { 0 };
	_cleanup_(run_done) struct apply_run run = { .options = options, .result = &result };
	_cleanup_unlock_ int lock = stow_apply_lock(context->root, err);
	int r;

	if (lock < 0)
		return lock;
	r = run_begin(&run, context, err);
	run.same = r == 0 && stow_applied_is(&run.before, &run.view);
	if (r == 0 && what != APPLY_ALL && run.same)
		r = apply_part(&run, context, what, record, err);
	else if (r == 0)
		r = apply_all(&run, context, err);
	if (ret)
		*ret = result;
	else
		stow_apply_result_done(&result);
	return r;
}

int stow_apply(const struct stow_grant_context *context, const struct stow_apply_options *options,
	       struct stow_apply_result *ret, struct stow_err *err)
{
	return apply_locked(context, options, APPLY_ALL, NULL, ret, err);
}

int stow_apply_start(const struct stow_grant_context *context, int64_t key, struct stow_err *err)
{
	const struct stow_apply_options options = { .focus = key };

	return apply_locked(context, &options, APPLY_START, NULL, NULL, err);
}

int stow_apply_pending(const struct stow_grant_context *context, const struct stow_record *record,
		       const struct stow_cgroup *cgroup, struct stow_apply_result *ret,
		       struct stow_err *err)
{
	const struct stow_apply_options options = {
		.focus = record->key,
		.cgroup = cgroup,
		.unit_cpus = context->made ? &context->made->cpus : NULL,
	};

	return apply_locked(context, &options, APPLY_START, record, ret, err);
}

int stow_apply_pods(const struct stow_grant_context *context, struct stow_apply_result *ret,
		    struct stow_err *err)
{
	static const struct stow_apply_options options = { 0 };

	return apply_locked(context, &options, APPLY_PODS, NULL, ret, err);
}

int stow_apply_check(const struct stow_apply_result *result, const struct stow_idset *cpus,
		     struct stow_err *err)
{
	for (size_t i = 0; i < result->n_problems; i++) {
		const struct stow_apply_problem *problem = &result->problems[i];
		struct stow_idset both = problem->taken;
		char list[160];

		stow_idset_and(&both, cpus);
		if (!stow_idset_empty(&both))
			return stow_err_set(
				err, EBUSY,
				"CPUs %s are not available: container %s may run on them, and "
				"could not be moved away: %s",
				stow_idset_format(&both, list, sizeof(list)), problem->id,
				problem->text);
	}
	return 0;
}

/* --- an unmanaged container that starts ----------------------------------- */

/* Return whether the entry is that of another container that runs: its runtime gave the same id. */
static bool is_others(struct stow_root *root, const struct stow_unmanaged *known,
		      const struct stow_unmanaged *entry)
{
	return !stow_cgroup_id_equal(&known->cgroup, &entry->cgroup) &&
	       !is_above(known, &entry->cgroup) && !stow_unmanaged_ended(root, known);
}

/* Enter the container, unless an earlier call of its hook has: what was recorded since stays. */
static int enter(struct stow_root *root, struct stow_unmanaged *entry, struct stow_unmanaged *ret,
		 struct stow_err *err)
{
	int r = stow_unmanaged_enter(root, entry, err);

	if (r == 0 && stow_unmanaged_read(root, entry->id, ret, NULL) == 0 &&
	    is_others(root, ret, entry)) {
		stow_unmanaged_set_beside(entry);
		r = stow_unmanaged_enter(root, entry, err);
	}
	if (r != 0)
		return r < 0 ? r : 0;
	stow_unmanaged_done(ret);
	if (stow_unmanaged_read(root, entry->id, ret, NULL) == 0 &&
	    ret->init.pid == entry->init.pid && ret->init.start == entry->init.start &&
	    stow_cgroup_id_equal(&ret->cgroup, &entry->cgroup)) {
		*entry = *ret;
		return 0;
	}
	return stow_unmanaged_write(root, entry, err);
}

/* Keep the container off exclusive CPUs. */
static int apply_unmanaged(struct apply_run *run, struct stow_unmanaged *entry,
			   struct stow_err *err)
{
	struct apply_container c = { .id = entry->id,
				     .cgroup_id = &entry->cgroup,
				     .entry = entry,
				     .starts = true,
				     .refused = true };
	_cleanup_unlock_ int lock = stow_apply_lock(run->root, err);
	int r;

	if (lock < 0)
		return lock;
	r = stow_cpu_view_read(run->root, NULL, NULL, &run->view, err);
	if (r == 0)
		r = stow_applied_exclusive(run->root, &run->view.exclusive, err);
	if (r < 0 || stow_idset_empty(&run->view.exclusive))
		return r;
	r = apply_one(run, &c, err);
	return r < 0 ? r : stow_apply_check(run->result, &run->view.exclusive, err);
}

int stow_apply_unmanaged(struct stow_root *root, const struct stow_unmanaged *container,
			 struct stow_err *err)
{
	static const struct stow_apply_options options = { 0 };
	_cleanup_(stow_apply_result_done) struct stow_apply_result result = { 0 };
	_cleanup_(run_done) struct apply_run run = { .root = root,
						     .options = &options,
						     .result = &result };
	_cleanup_(stow_unmanaged_done) struct stow_unmanaged known = { 0 };
	struct stow_unmanaged entry =
		*container; /* its pointers belong to the caller, or to `known` */
	struct stow_first first = { .err = err };

	/* v1: the runtime copied the set of the cgroup above, and no run has checked how small that
	 * was. */
	entry.reset =
		entry.cgroup.at[STOW_CGROUP_CPUSET].version == 1 && stow_idset_empty(&entry.given);
	/* Without an entry (/run is full) it can be kept off the CPUs that are exclusive now. */
	stow_first_note(&first, enter(root, &entry, &known, first.err));
	if (stow_root_exists(root, "%s", STOW_EXCLUSIVE_PATH) != 0)
		stow_first_note(&first, apply_unmanaged(&run, &entry, first.err));
	return first.code;
}

/* Read the CPUs that a container may run on, which starts: those of its cgroup, or where these
 * cannot be read, those of its first process. */
static int read_cpus(struct stow_root *root, pid_t pid, struct stow_idset *ret)
{
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cgroup = NULL;
	struct stow_allowed allowed;
	int r;

	if (stow_cgroup_of_pid(root, pid, &cgroup, NULL) == 0 &&
	    stow_cpuset_read_cpus(cgroup, true, ret, NULL) == 0)
		return 0;
	r = stow_allowed_read(root, pid, &allowed, NULL);
	if (r == 0)
		*ret = allowed.cpus;
	return r;
}

int stow_apply_check_process(struct stow_root *root, pid_t pid, const char *why,
			     struct stow_err *err)
{
	struct stow_idset cpus, exclusive;
	char list[160];
	struct stat st;
	int r;

	r = stow_applied_exclusive(root, &exclusive, NULL);
	if (r == 0 && stow_idset_empty(&exclusive))
		return 0;
	if (r < 0) {
		/* Needs no descriptor: there may be none left. */
		int there = stow_root_stat(root, &st, NULL, "%s", STOW_EXCLUSIVE_PATH);

		if (there == -ENOENT || there == -ENOTDIR)
			return 0;
	} else {
		r = read_cpus(root, pid, &cpus);
	}
	if (r == -ESRCH || r == -ENOENT) /* it has ended */
		return 0;
	if (r < 0)
		return stow_err_set(err, EBUSY,
				    "some CPUs belong to other containers, and it cannot be found "
				    "out whether it may run on them: %s",
				    why);
	stow_idset_and(&exclusive, &cpus);
	if (stow_idset_empty(&exclusive))
		return 0;
	return stow_err_set(err, EBUSY,
			    "CPUs %s belong to other containers, and it cannot be kept off them: "
			    "%s",
			    stow_idset_format(&exclusive, list, sizeof(list)), why);
}

// SPDX-License-Identifier: Apache-2.0
#include "grant/apply.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "grant/applied.h"
#include "grant/cpuview.h"
#include "grant/enforce.h"
#include "grant/lease.h"
#include "grant/partition.h"
#include "node/cpuset.h"
#include "node/kubelet.h"

/* One run. */
struct run {
	struct stow_root *root;
	const struct stow_apply_options *options;
	struct stow_apply_result *result;
	struct stow_cpu_view view;
	struct stow_applied before; /* what the last run was for */
	struct stow_idset returned; /* CPUs that are online, and were not then */
	struct stow_idset
		narrow; /* CPUs that some set may lack: the cgroup above has not got them */
	struct stow_unit_sets units;
	/* What the cgroup above has, of the last few cgroups above: most containers share one. */
	struct above {
		char *path;
		struct stow_idset cpus;
	} above[8];
	size_t n_above;
};

static void run_done(struct run *run)
{
	stow_cpu_view_done(&run->view);
	stow_unit_sets_done(&run->units);
	for (size_t i = 0; i < STOW_ARRAY_SIZE(run->above); i++)
		free(run->above[i].path);
}

/* A container: one of `record` and `entry` is set. */
struct container {
	const char *id;
	const struct stow_cgroup_id *cgroup_id;
	const struct stow_record *record;
	struct stow_unmanaged *entry;
	struct stow_cgroup *cgroup;
	bool lent;		     /* the cgroup is the caller's, who has it open */
	struct stow_idset above;     /* CPUs that the cgroup above has */
	struct stow_idset base;	     /* what it may use when nothing is exclusive */
	struct stow_idset wanted;    /* what it must have; offline ones too */
	struct stow_idset effective; /* what it has */
	struct stow_idset now;	     /* what its file says */
	bool now_known;
	bool fallback; /* none of its own CPUs is to be had */
	bool starts;   /* the caller's own: whatever its set says now, it is to be written */
	bool refused;  /* when all its CPUs are other containers': it starts, or moves there */
};

void stow_apply_result_done(struct stow_apply_result *result)
{
	free(result->problems);
	*result = (struct stow_apply_result){ 0 };
}

static bool is_v1(const struct container *c)
{
	return c->cgroup->at[STOW_CGROUP_CPUSET].version == 1;
}

/* CPUs that belong to the container alone. A repin's target does from the moment that it is
 * promised. */
static void own_cpus(const struct container *c, struct stow_idset *ret)
{
	*ret = (struct stow_idset){ 0 };
	if (!c->record || !c->record->exclusive)
		return;
	*ret = c->record->cpus;
	if (c->record->move)
		stow_idset_or(ret, &c->record->move->cpus);
}

/* CPUs of other containers that the container may run on. */
static void taken_cpus(const struct run *run, const struct container *c, struct stow_idset *ret)
{
	struct stow_idset own;

	own_cpus(c, &own);
	*ret = c->effective;
	stow_idset_and(ret, &run->view.exclusive);
	stow_idset_minus(ret, &own);
}

/* Adds a problem; without memory for one, it is not reported. */
static void add_problem(struct run *run, const struct container *c, const char *text)
{
	struct stow_apply_result *result = run->result;
	struct stow_apply_problem *grown;

	grown = reallocarray(result->problems, result->n_problems + 1, sizeof(*grown));
	if (!grown)
		return;
	result->problems = grown;
	grown += result->n_problems++;
	snprintf(grown->id, sizeof(grown->id), "%s", c->id);
	snprintf(grown->text, sizeof(grown->text), "%s", text);
	taken_cpus(run, c, &grown->taken);
}

/* --- what a container must have ------------------------------------------------------------- */

/* crun keeps a container one level below its scope, and the scope's set is systemd's, which is told
 * what the container gets: what counts is what is above the scope. */
static size_t length_above(const char *path)
{
	size_t len = strlen(path);
	static const char below[] = "/container";

	if (len > sizeof(below) && strcmp(path + len - strlen(below), below) == 0) {
		len -= strlen(below);
		if (len < 6 || strncmp(path + len - 6, ".scope", 6) != 0)
			return len;
	}
	while (len > 0 && path[len - 1] != '/')
		len--;
	return len ? len - 1 : 0;
}

static void forget_above(struct run *run)
{
	for (size_t i = 0; i < STOW_ARRAY_SIZE(run->above); i++) {
		free(run->above[i].path);
		run->above[i].path = NULL;
	}
}

static int read_above(struct run *run, const struct container *c, struct stow_idset *ret,
		      struct stow_err *err)
{
	const char *path = c->cgroup->at[STOW_CGROUP_CPUSET].below;
	size_t len = length_above(path);
	struct above *slot;
	int r;

	for (size_t i = 0; i < STOW_ARRAY_SIZE(run->above); i++)
		if (run->above[i].path && strlen(run->above[i].path) == len &&
		    strncmp(run->above[i].path, path, len) == 0) {
			*ret = run->above[i].cpus;
			return 0;
		}
	if (strcmp(path, "/") == 0 || !path[0])
		return stow_cpuset_read_above(c->cgroup, true, ret, err);
	r = stow_cpuset_read_at(c->cgroup, path, len, true, ret, err);
	if (r < 0)
		return r;
	slot = &run->above[run->n_above++ % STOW_ARRAY_SIZE(run->above)];
	free(slot->path);
	slot->path = strndup(path, len);
	slot->cpus = *ret;
	return 0;
}

/* None of its own CPUs is to be had (all are offline, say): the kernel would give it what the cgroup
 * above has, with other containers' CPUs. It gets the common ones, until one of its own is back. */
static int fall_back(struct run *run, struct container *c, struct stow_err *err)
{
	int r = stow_cpu_view_common(&run->view, &c->wanted, err);

	stow_idset_and(&c->wanted, &c->above);
	c->fallback = true;
	return r;
}

static void wanted_effective(const struct run *run, const struct container *c,
			     struct stow_idset *ret)
{
	*ret = c->wanted;
	stow_idset_and(ret, &run->view.online);
	stow_idset_and(ret, &c->above);
}

/* Whether the record's container is to have its repin's target already. */
static bool is_moved(const struct stow_record *record)
{
	return record->move && record->move->step >= STOW_MOVE_WIDENED;
}

static int compute_base(struct run *run, struct container *c, struct stow_err *err)
{
	bool moved = c->record && is_moved(c->record);

	if (!c->record) {
		c->base = c->entry->given;
		if (stow_idset_empty(&c->base)) {
			c->base = run->view.online;
			stow_idset_or(&c->base, &run->view.offline);
		}
		return 0;
	}
	if (c->record->exclusive) {
		c->base = moved ? c->record->move->cpus : c->record->cpus;
		return 0;
	}
	return stow_cpu_view_base(&run->view, c->record, moved, &c->base, err);
}

/* What the cgroup above has not is written as well where the kernel takes it (v2): then the
 * container follows by itself when that set grows. */
static int compute_wanted(struct run *run, struct container *c, struct stow_err *err)
{
	struct stow_idset possible, usable;
	bool shared = !c->record || !c->record->exclusive;
	int r;

	if (c->record && c->record->isolated)
		stow_partition_add_held(c->cgroup, &c->above);
	r = compute_base(run, c, err);
	if (r < 0)
		return r;
	c->fallback = false;
	c->wanted = c->base;
	if (shared)
		stow_idset_minus(&c->wanted, &run->view.exclusive);
	if (is_v1(c)) {
		possible = c->above;
		stow_idset_or(&possible, &run->view.offline);
		stow_idset_and(&c->wanted, &possible);
	}
	wanted_effective(run, c, &usable);
	if (!stow_idset_empty(&usable))
		return 0;
	usable = c->base;
	stow_idset_and(&usable, &run->view.online);
	if (!c->refused || !shared || !stow_idset_intersects(&usable, &c->above))
		return fall_back(run, c, err);
	c->wanted = (struct stow_idset){ 0 }; /* all are others' */
	return 0;
}

/* --- whose change it is --------------------------------------------------------------------- */

/* Whether a configured set is one that a run may have left: all that it lacks of what the container
 * may use is explained by CPUs that are or were exclusive, were offline, or were not to be had. */
static bool is_ours(const struct run *run, const struct container *c, const struct stow_idset *now)
{
	struct stow_idset lacking = c->base, usable = c->base;

	if (stow_idset_empty(now))
		return true;
	/* The administrator has reserved other CPUs since. */
	if (c->record && run->before.known && strcmp(run->before.reserved, run->view.reserved) != 0)
		return true;
	stow_idset_and(&usable, &run->before.online);
	stow_idset_and(&usable, &c->above);
	if (c->record && run->before.known &&
	    stow_idset_empty(&usable)) /* then it was a fallback */
		return true;
	if (c->entry && c->entry->fallback && !stow_idset_intersects(now, &c->base))
		return true;
	if (c->record && stow_idset_equal(now, &c->record->given_cpus))
		return true;
	if (!stow_idset_subset(now, &c->base))
		return false;
	stow_idset_minus(&lacking, now);
	stow_idset_minus(&lacking, &run->view.exclusive);
	stow_idset_minus(&lacking, &run->before.explained);
	stow_idset_and(&lacking, &c->above);
	if (run->before.known)
		stow_idset_and(&lacking, &run->before.online);
	return stow_idset_empty(&lacking);
}

/* Another tool has changed the set of an unmanaged container on purpose: that is what it was given
 * from now on. */
static int adopt_change(struct run *run, struct container *c, const struct stow_idset *now,
			struct stow_err *err)
{
	int r;

	c->entry->given = *now;
	r = stow_unmanaged_write(run->root, c->entry, err);
	return r < 0 ? r : compute_wanted(run, c, err);
}

static int read_now(struct container *c, struct stow_err *err)
{
	int r = c->now_known ? 0 : stow_cpuset_read_cpus(c->cgroup, false, &c->now, err);

	c->now_known = r == 0;
	return r;
}

/* Whether the set is to be left alone: 1, 0, or a failure. */
static int judge_change(struct run *run, struct container *c, struct stow_err *err)
{
	struct stow_idset taken;
	int r;

	if (stow_kubelet_owns(run->root, c->cgroup->path))
		return 1;
	if (c->starts || (c->entry && c->entry->reset) || (c->record && c->record->move))
		return 0;
	r = read_now(c, err);
	if (r < 0 || is_ours(run, c, &c->now))
		return r;
	if (c->entry)
		return adopt_change(run, c, &c->now, err);
	/* An agent decides about it within a second (lib/grant/reconcile.h). */
	if (!stow_agent_lives(run->root))
		return 0;
	taken_cpus(run, c, &taken);
	if (!stow_idset_empty(&taken))
		return 0;
	run->result->left++;
	return 1;
}

/* --- one container -------------------------------------------------------------------------- */

/* v1: processes that the kernel has put into the cgroup above. */
static int take_back(struct run *run, struct container *c, bool emptied, struct stow_err *err)
{
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *whole = NULL;
	int r = 0;

	if (!is_v1(c) || !(emptied || run->options->thorough || run->before.busy))
		return 0;
	/* The other hierarchies say which processes are the container's. */
	if (!c->lent)
		r = stow_cgroup_open(run->root, c->cgroup_id, &whole, err);
	if (r == 0)
		r = stow_cpuset_take_back(c->lent ? c->cgroup : whole, err);
	return r == -ESRCH && !emptied ? 0 : r < 0 ? r : 0;
}

static int write_cpus(struct run *run, struct container *c, struct stow_err *err)
{
	struct stow_idset wanted = c->wanted;
	bool emptied;
	int r;

	if (stow_idset_empty(&wanted))
		return stow_err_set(err, EBUSY,
				    "all CPUs that container %s may use belong to other containers",
				    c->id);
	r = read_now(c, err);
	if (r < 0)
		return r;
	emptied = stow_idset_empty(&c->now);
	if (is_v1(c))
		stow_idset_and(&wanted, &run->view.online);
	r = stow_cpuset_change_cpus(c->cgroup, &c->now, &wanted, err);
	if (r > 0)
		run->result->changed++;
	if (r >= 0)
		r = take_back(run, c, emptied, err);
	if (r < 0)
		return r;
	/* The others' units are asked for at once, when all have been written. */
	if (!c->starts)
		return stow_unit_sets_add(&run->units, c->cgroup, &wanted, err);
	r = stow_enforce_unit(c->cgroup, true, &wanted, err);
	return r < 0 ? r : 0;
}

/* Looks at what has taken effect; the run's problems are by this alone. */
static void check(struct run *run, struct container *c, int r, const char *why)
{
	struct stow_idset expected, taken;
	char text[512], a[160], b[160];

	taken_cpus(run, c, &taken);
	wanted_effective(run, c, &expected);
	if (r < 0)
		snprintf(text, sizeof(text), "container %s: %s", c->id, why);
	else if (c->fallback)
		snprintf(
			text, sizeof(text),
			"container %s: CPUs %s are all offline, another container's, or not in the "
			"cgroup above; until one is back it runs on shared CPUs %s",
			c->id, stow_idset_format(&c->base, a, sizeof(a)),
			stow_idset_format(&c->effective, b, sizeof(b)));
	else if (!stow_idset_empty(&taken))
		snprintf(text, sizeof(text),
			 "container %s may still run on CPUs %s, which belong to another container",
			 c->id, stow_idset_format(&taken, a, sizeof(a)));
	else if (!stow_idset_equal(&expected, &c->effective) && c->record && c->record->exclusive)
		snprintf(text, sizeof(text), "container %s has CPUs %s, and the kernel gave it %s",
			 c->id, stow_idset_format(&expected, a, sizeof(a)),
			 stow_idset_format(&c->effective, b, sizeof(b)));
	else
		return;
	add_problem(run, c, text);
}

/* What it may run on. Of a partition it may give CPUs to partitions of its own, and has them then. */
static int read_effective(const struct run *run, struct container *c, struct stow_err *err)
{
	struct stow_idset held = { 0 };
	int r = stow_cpuset_read_cpus(c->cgroup, true, &c->effective, err);

	if (r == 0 && c->record && c->record->isolated) {
		stow_partition_add_held(c->cgroup, &held);
		stow_idset_and(&held, &run->view.online);
		stow_idset_or(&c->effective, &held);
	}
	return r;
}

/* The container's cgroup, or -ESRCH when it has ended. */
static int look(struct run *run, struct container *c, struct stow_err *err)
{
	struct stow_idset lacking, own;
	int r;

	if (c->starts && run->options->cgroup) {
		c->cgroup = (struct stow_cgroup *)run->options->cgroup;
		c->lent = true;
		r = 0;
	} else {
		r = stow_cpuset_open(run->root, c->cgroup_id, &c->cgroup, err);
	}
	if (r == 0)
		r = read_effective(run, c, err);
	if (r == 0 && is_v1(c)) {
		/* What the kernel has taken from the cgroups above, for they are nobody's else to
		 * mend; what they have afterwards is looked at next. */
		own_cpus(c, &own);
		stow_idset_and(&own, &run->view.online);
		if (stow_cpuset_give_back_above(c->cgroup, &run->returned, &own, NULL) > 0)
			forget_above(run);
	}
	if (r == 0)
		r = read_above(run, c, &c->above, err);
	if (r == 0) {
		lacking = run->view.online;
		/* v2: sets have these, and offline ones, but for those that were exclusive at their
		 * last write. */
		if (!is_v1(c)) {
			stow_idset_or(&lacking, &run->view.offline);
			stow_idset_and(&lacking, &run->before.explained);
		}
		stow_idset_minus(&lacking, &c->above);
		stow_idset_or(&run->narrow, &lacking);
	}
	return r == -ENOENT || r == -ENODEV ? -ESRCH : r;
}

/* What is written instead of an unmanaged container's own CPUs is no other tool's change. */
static int note_fallback(struct run *run, struct container *c, struct stow_err *err)
{
	if (!c->entry || c->entry->fallback == c->fallback)
		return 0;
	c->entry->fallback = c->fallback;
	return stow_unmanaged_write(run->root, c->entry, err);
}

/* The same of one that has what it must have already. What is in effect may come from the cgroup
 * above, while its own file still has what was written instead. */
static int note_settled(struct run *run, struct container *c, struct stow_err *err)
{
	int r;

	if (!c->entry || c->entry->fallback == c->fallback)
		return 0;
	r = read_now(c, err);
	if (r < 0 || (!c->fallback && !stow_idset_intersects(&c->now, &c->base)))
		return r;
	return note_fallback(run, c, err);
}

/* Whether it has what it must have. When a grant begins or has ended, its file must say so, too:
 * what takes effect may be the same by the set of the cgroup above. */
static bool is_settled(const struct run *run, const struct container *c)
{
	struct stow_idset expected;

	if (c->record ? c->starts : c->entry->reset)
		return false;
	wanted_effective(run, c, &expected);
	return !stow_idset_empty(&expected) && stow_idset_equal(&expected, &c->effective);
}

static int settle(struct run *run, struct container *c, struct stow_err *err)
{
	int r;

	r = compute_wanted(run, c, err);
	if (r < 0)
		return r;
	if (is_settled(run, c)) {
		r = note_settled(run, c, err);
		return r < 0 ? r : take_back(run, c, false, err);
	}
	r = judge_change(run, c, err);
	if (r != 0)
		return r < 0 ? r : 0;
	if (is_settled(run, c)) /* with what it was given now */
		return note_settled(run, c, err);
	/* Noted before it is done, and forgotten after it is undone. */
	if (c->fallback)
		r = note_fallback(run, c, err);
	if (r == 0)
		r = write_cpus(run, c, err);
	if (r == 0 && !c->fallback)
		r = note_fallback(run, c, err);
	(void)read_effective(run, c, NULL);
	return r;
}

/* Returns the container's own failure, which is in the result already. */
static int apply_one(struct run *run, struct container *c, struct stow_err *err)
{
	struct stow_err why = { 0 };
	int r;

	run->result->looked++;
	r = look(run, c, &why);
	if (r == 0)
		r = settle(run, c, &why);
	if (r == -ESRCH && !(c->cgroup && is_v1(c)))
		r = 0; /* it has ended */
	else if (c->cgroup)
		check(run, c, r, why.msg);
	else if (r < 0)
		add_problem(run, c, why.msg);
	if (r == 0 && c->entry && c->entry->reset && !c->starts) {
		c->entry->reset = false;
		r = stow_unmanaged_write(run->root, c->entry, &why);
	}
	if (!c->lent)
		stow_cgroup_free_ptr(&c->cgroup);
	c->cgroup = NULL;
	return r < 0 ? stow_err_set(err, -r, "%s", why.msg) : 0;
}

/* --- all of them ---------------------------------------------------------------------------- */

struct round {
	struct run *run;
	struct stow_record **records;
	size_t n;
};

/* One that was found while it was being made may be the scope of a container that the hook then
 * found a level below. */
static bool is_above(const struct stow_unmanaged *entry, const struct stow_record *record)
{
	const char *above = stow_cgroup_id_path(&entry->cgroup);
	const char *path = stow_cgroup_id_path(&record->cgroup);
	size_t len = strlen(above);

	return !entry->init.pid && len && strncmp(path, above, len) == 0 && path[len] == '/';
}

static bool has_record(const struct round *round, const struct stow_unmanaged *entry)
{
	for (size_t i = 0; i < round->n; i++)
		if (stow_cgroup_id_equal(&round->records[i]->cgroup, &entry->cgroup) ||
		    is_above(entry, round->records[i]))
			return true;
	return false;
}

static int apply_entry(struct stow_root *root, struct stow_unmanaged *entry, void *ctx,
		       struct stow_err *err)
{
	struct round *round = ctx;
	struct container c = { .id = entry->id, .cgroup_id = &entry->cgroup, .entry = entry };

	if (!has_record(round, entry))
		(void)apply_one(round->run, &c, NULL);
	return 0;
}

/* The caller's own container, which starts, is moved, or is put back. */
static void set_focus(struct container *c, bool focus)
{
	c->starts = focus;
	c->refused = focus && (c->record->state == STOW_STATE_PENDING || is_moved(c->record));
}

/* All records with or without CPUs of their own. Returns the failure of the one in focus. */
static int apply_records(struct round *round, bool exclusive, struct stow_err *err)
{
	int result = 0;

	for (size_t i = 0; i < round->n; i++) {
		struct stow_record *record = round->records[i];
		struct container c = { .id = record->id,
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
	const struct container c = { .id = id };
	struct run *run = ctx;
	size_t before = run->result->n_problems;

	add_problem(run, &c, text);
	if (run->result->n_problems > before)
		run->result->problems[before].partition = true;
}

/* systemd's half for containers other than the caller's. */
static void set_units(struct run *run)
{
	const struct container units = { .id = "(units)" };
	struct stow_err why;

	if (stow_unit_sets_set(&run->units, true, &why) < 0)
		add_problem(run, &units, why.msg);
}

static int run_begin(struct run *run, const struct stow_grant_context *context,
		     struct stow_err *err)
{
	int r;

	run->root = context->root;
	r = stow_applied_read(context->root, &run->before, err);
	if (r < 0)
		return r;
	r = stow_cpu_view_read(context->root, context->config, context->ledger, &run->view, err);
	if (r == 0 && run->before.known) {
		run->returned = run->view.online;
		stow_idset_minus(&run->returned, &run->before.online);
	}
	if (r == 0 && context->topology)
		run->view.topology = *context->topology;
	return r;
}

/* With the lock held: everybody. */
static int apply_all(struct run *run, const struct stow_grant_context *context,
		     struct stow_err *err)
{
	const struct container unmanaged = { .id = "(unmanaged containers)" };
	struct round round = { .run = run };
	struct stow_partitions partitions;
	struct stow_err why;
	int r, focus;

	/* First noted, then published: who starts meanwhile is kept off what is published, and the
	 * next run, after we were killed, must know why. */
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
					       .say = add_partition_problem,
					       .ctx = run };
	stow_partitions_leave(&partitions, run->options->thorough);
	/* First the others leave, then those come that get CPUs of their own. */
	focus = apply_records(&round, false, err);
	if (stow_unmanaged_each(run->root, apply_entry, &round, &why) < 0)
		add_problem(run, &unmanaged, why.msg);
	r = apply_records(&round, true, focus < 0 ? NULL : err);
	focus = focus < 0 ? focus : r;
	set_units(run);
	if (run->result->n_problems) { /* some sets may still be older ones */
		stow_idset_or(&run->narrow, &run->before.explained);
		stow_idset_or(&run->narrow, &run->returned);
	}
	r = stow_applied_end(run->root, &run->before, &run->view, &run->narrow,
			     focus < 0 ? NULL : err);
	/* The CPUs are as they must be, with partitions or without. */
	stow_partitions_make(&partitions);
	stow_partitions_done(&partitions);
	stow_records_free(round.records, round.n);
	return focus < 0 ? focus : r;
}

int stow_apply_lock(struct stow_root *root, struct stow_err *err)
{
	return stow_root_lock(root, err, "%s", STOW_RUN_DIR "/cpus.lock");
}

int stow_apply(const struct stow_grant_context *context, const struct stow_apply_options *options,
	       struct stow_apply_result *ret, struct stow_err *err)
{
	struct stow_apply_result result = { 0 };
	_cleanup_(run_done) struct run run = { .options = options, .result = &result };
	_cleanup_close_ int lock = stow_apply_lock(context->root, err);
	int r;

	if (lock < 0)
		return lock;
	r = run_begin(&run, context, err);
	if (r == 0)
		r = apply_all(&run, context, err);
	if (ret)
		*ret = result;
	else
		stow_apply_result_done(&result);
	return r;
}

bool stow_apply_is_current(const struct stow_grant_context *context)
{
	struct stow_cpu_view view = { 0 };
	struct stow_applied applied;

	stow_config_reserved_digest(context->config, view.reserved);
	return stow_applied_read(context->root, &applied, NULL) == 0 &&
	       stow_ledger_exclusive(context->ledger, &view.exclusive, NULL) == 0 &&
	       stow_online_cpus(context->root, &view.online, NULL) == 0 &&
	       stow_applied_is(&applied, &view);
}

void stow_apply_expected(struct stow_cpu_view *view, const struct stow_record *record,
			 struct stow_cgroup *cgroup, struct stow_idset *ret)
{
	static const struct stow_apply_options options = { 0 };
	struct run run = { .root = view->root, .options = &options, .view = *view };
	struct container c = { .id = record->id, .record = record, .cgroup = cgroup };

	*ret = (struct stow_idset){ 0 };
	if (read_above(&run, &c, &c.above, NULL) == 0 && compute_wanted(&run, &c, NULL) == 0) {
		*ret = c.wanted;
		stow_idset_and(ret, &run.view.online);
	}
	*view = run.view; /* its nodes may have been read */
	run.view = (struct stow_cpu_view){ 0 };
	run_done(&run);
}

/* With the lock held: one record alone; NULL: the one in focus, out of the ledger. */
static int apply_record(struct run *run, const struct stow_grant_context *context,
			const struct stow_record *record, struct stow_err *err)
{
	_cleanup_(stow_record_free_ptr) struct stow_record *read = NULL;
	struct container c = { .starts = true };
	int r;

	if (!record) {
		r = stow_ledger_record(context->ledger, run->options->focus, &read, err);
		if (r < 0)
			return r;
		record = read;
	}
	c.id = record->id;
	c.cgroup_id = &record->cgroup;
	c.record = record;
	set_focus(&c, true);
	return apply_one(run, &c, err);
}

static int apply_start(const struct stow_grant_context *context,
		       const struct stow_apply_options *options, const struct stow_record *record,
		       struct stow_apply_result *ret, struct stow_err *err)
{
	struct stow_apply_result result = { 0 };
	_cleanup_(run_done) struct run run = { .options = options, .result = &result };
	_cleanup_close_ int lock = stow_apply_lock(context->root, err);
	int r;

	if (lock < 0)
		return lock;
	r = run_begin(&run, context, err);
	if (r == 0 && stow_applied_is(&run.before, &run.view))
		r = apply_record(&run, context, record, err);
	else if (r == 0)
		r = apply_all(&run, context, err);
	if (ret)
		*ret = result;
	else
		stow_apply_result_done(&result);
	return r;
}

int stow_apply_start(const struct stow_grant_context *context, int64_t key,
		     struct stow_apply_result *ret, struct stow_err *err)
{
	const struct stow_apply_options options = { .focus = key };

	return apply_start(context, &options, NULL, ret, err);
}

int stow_apply_pending(const struct stow_grant_context *context, const struct stow_record *record,
		       const struct stow_cgroup *cgroup, struct stow_apply_result *ret,
		       struct stow_err *err)
{
	const struct stow_apply_options options = { .focus = record->key, .cgroup = cgroup };

	return apply_start(context, &options, record, ret, err);
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
				"CPUs %s cannot be had: container %s may run on them, and "
				"could not be moved away: %s",
				stow_idset_format(&both, list, sizeof(list)), problem->id,
				problem->text);
	}
	return 0;
}

/* --- an unmanaged container that starts ----------------------------------------------------- */

/* Enters it, unless an earlier call of its hook has: what is known of it since stays true. */
static int enter(struct stow_root *root, struct stow_unmanaged *entry, struct stow_unmanaged *ret,
		 struct stow_err *err)
{
	int r = stow_unmanaged_enter(root, entry, err);

	if (r != 0)
		return r < 0 ? r : 0;
	if (stow_unmanaged_read(root, entry->id, ret, NULL) == 0 &&
	    ret->init.pid == entry->init.pid && ret->init.start == entry->init.start &&
	    stow_cgroup_id_equal(&ret->cgroup, &entry->cgroup)) {
		*entry = *ret;
		return 0;
	}
	return stow_unmanaged_write(root, entry, err);
}

int stow_apply_unmanaged(struct stow_root *root, const struct stow_unmanaged *container,
			 struct stow_err *err)
{
	static const struct stow_apply_options options = { 0 };
	struct stow_apply_result result = { 0 };
	_cleanup_(
		run_done) struct run run = { .root = root, .options = &options, .result = &result };
	_cleanup_(stow_unmanaged_done) struct stow_unmanaged known = { 0 };
	struct stow_unmanaged entry =
		*container; /* what it points to is the caller's, or known's */
	struct container c = { .id = entry.id,
			       .cgroup_id = &entry.cgroup,
			       .entry = &entry,
			       .starts = true,
			       .refused = true };
	_cleanup_close_ int lock = -EBADF;
	int r;

	/* v1: the runtime gave it what the cgroup above had. No run has seen how little that was. */
	entry.reset =
		entry.cgroup.at[STOW_CGROUP_CPUSET].version == 1 && stow_idset_empty(&entry.given);
	r = enter(root, &entry, &known, err);
	if (r < 0 || stow_root_exists(root, "%s", STOW_EXCLUSIVE_PATH) == 0)
		return r;
	lock = stow_apply_lock(root, err);
	if (lock < 0)
		return lock;
	r = stow_cpu_view_read(root, NULL, NULL, &run.view, err);
	if (r == 0)
		r = stow_root_read_idset(root, &run.view.exclusive, err, "%s", STOW_EXCLUSIVE_PATH);
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return r;
	r = apply_one(&run, &c, err);
	if (r == 0)
		r = stow_apply_check(&result, &run.view.exclusive, err);
	stow_apply_result_done(&result);
	return r;
}

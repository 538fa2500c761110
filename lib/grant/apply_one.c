// SPDX-License-Identifier: Apache-2.0
/* Applying one container: which program changed its set, what to write, and what has taken
 * effect. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "cgroup/allowed.h"
#include "cgroup/kubelet.h"
#include "cgroup/procs.h"
#include "grant/agent.h"
#include "grant/apply_internal.h"
#include "grant/partition.h"

/* Compute the CPUs that belong to this container alone, or to those below a cgroup of kubelet. A
 * repin's target does from the moment that it is reserved. */
static void own_cpus(const struct apply_container *c, struct stow_idset *ret)
{
	*ret = c->below;
	if (!c->record || !c->record->exclusive)
		return;
	*ret = c->record->cpus;
	if (c->record->move)
		stow_idset_or(ret, &c->record->move->cpus);
}

/* Compute the exclusive CPUs of all other containers. */
static void others_cpus(const struct apply_run *run, const struct apply_container *c,
			struct stow_idset *ret)
{
	struct stow_idset own;

	own_cpus(c, &own);
	*ret = run->view.exclusive;
	stow_idset_minus(ret, &own);
}

/* Compute the CPUs of other containers that this container may run on. */
static void taken_cpus(const struct apply_run *run, const struct apply_container *c,
		       struct stow_idset *ret)
{
	others_cpus(run, c, ret);
	stow_idset_and(ret, &c->effective);
}

void stow_apply_result_add(struct stow_apply_result *result, const char *id,
			   const struct stow_idset *taken, const char *fmt, ...)
{
	struct stow_apply_problem *added = STOW_APPEND(result->problems, result->n_problems);
	va_list ap;

	if (!added)
		return;
	snprintf(added->id, sizeof(added->id), "%s", id);
	added->taken = *taken;
	va_start(ap, fmt);
	vsnprintf(added->text, sizeof(added->text), fmt, ap);
	va_end(ap);
}

void apply_add_problem(struct apply_run *run, const struct apply_container *c, const char *text)
{
	struct stow_idset taken;

	taken_cpus(run, c, &taken);
	stow_apply_result_add(run->result, c->id, &taken, "%s", text);
}

/* --- which program changed it --------------------------------------------- */

/* Return whether an earlier run may have written the configured set: all CPUs that it lacks were
 * exclusive, offline, or not available then. */
static bool is_ours(const struct apply_run *run, const struct apply_container *c,
		    const struct stow_idset *now)
{
	struct stow_idset lacking = c->base, usable = c->base;

	if (stow_idset_empty(now))
		return true;
	/* The administrator has changed the reserved CPUs since. */
	if (c->record && run->before.known && strcmp(run->before.reserved, run->view.reserved) != 0)
		return true;
	stow_idset_and(&usable, &run->before.online);
	stow_idset_and(&usable, &c->above);
	if (c->record && run->before.known && stow_idset_empty(&usable)) /* it was a fallback */
		return true;
	if (c->entry && c->entry->fallback && !stow_idset_intersects(now, &c->base))
		return true;
	if (c->record && stow_idset_equal(now, stow_record_given_cpus(c->record)))
		return true;
	if (!stow_idset_subset(now, &c->base))
		return false;
	stow_idset_minus(&lacking, now);
	stow_idset_minus(&lacking, &run->view.exclusive);
	stow_idset_minus(&lacking, &run->before.explained);
	stow_idset_and(&lacking, &c->above);
	if (apply_is_v1(c))
		stow_idset_minus(&lacking, &run->view.offline);
	if (run->before.known)
		stow_idset_and(&lacking, &run->before.online);
	return stow_idset_empty(&lacking);
}

/* Another tool has changed the set of an unmanaged container on purpose: take it as the set that
 * the container was given. */
static int adopt_change(struct apply_run *run, struct apply_container *c,
			const struct stow_idset *now, struct stow_err *err)
{
	int r;

	c->entry->given = *now;
	r = stow_unmanaged_write(run->root, c->entry, err);
	return r < 0 ? r : apply_compute_wanted(run, c, err);
}

static int read_now(struct apply_container *c, struct stow_err *err)
{
	int r = c->now_known ? 0 : stow_cpuset_read_cpus(c->cgroup, false, &c->now, err);

	c->now_known = r == 0;
	return r;
}

/* v1: return whether CPUs went offline while this run was under way, and compute anew what the
 * container must have without them. A later run gives them back. */
static bool has_lost_gone(struct apply_run *run, struct apply_container *c)
{
	if (!apply_is_v1(c) || !stow_cpu_view_drop_gone(&run->view))
		return false;
	apply_forget_above(run);
	c->now_known = false;
	return apply_read_above(run, c, &c->above, NULL) == 0 &&
	       apply_compute_wanted(run, c, NULL) == 0;
}

/* Return 1 when the set must be left alone, 0 when not, or a failure. */
static int decide_change(struct apply_run *run, struct apply_container *c, struct stow_err *err)
{
	struct stow_idset taken;
	int r;

	if (stow_kubelet_owns(run->root, c->cgroup->path))
		return 1;
	if (c->starts || (c->entry && c->entry->reset) || (c->record && c->record->move))
		return 0;
	r = read_now(c, err);
	if (r < 0 || is_ours(run, c, &c->now) ||
	    (has_lost_gone(run, c) && is_ours(run, c, &c->now)))
		return r;
	if (c->entry)
		return adopt_change(run, c, &c->now, err);
	/* The agent decides within a second (lib/grant/reconcile.h). */
	if (!stow_agent_lives(run->root))
		return 0;
	taken_cpus(run, c, &taken);
	if (!stow_idset_empty(&taken))
		return 0;
	run->result->left++;
	return 1;
}

/* --- one container -------------------------------------------------------- */

/* v1: take back the processes that the kernel has moved into the cgroup above. */
static int take_back(struct apply_run *run, struct apply_container *c, bool emptied,
		     struct stow_err *err)
{
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *whole = NULL;
	int r = 0;

	if (!apply_is_v1(c) || !(emptied || run->options->thorough || run->before.busy) ||
	    (c->entry && c->entry->pods)) /* its processes are those of the containers below */
		return 0;
	/* Which processes belong to the container is read from its cgroups in the other
	 * hierarchies. */
	if (!c->lent)
		r = stow_cgroup_open(run->root, c->cgroup_id, &whole, err);
	if (r == 0)
		r = stow_cpuset_take_back(c->lent ? c->cgroup : whole, err);
	return r == -ESRCH && !emptied ? 0 : r < 0 ? r : 0;
}

static int write_cpus(struct apply_run *run, struct apply_container *c, struct stow_err *err)
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
	if (apply_is_v1(c))
		stow_idset_and(&wanted, &run->view.online);
	r = c->apart ? stow_cpuset_widen_cpus(c->cgroup, &c->now, &wanted, err) : 0;
	if (r >= 0)
		r = stow_cpuset_change_cpus(c->cgroup, &c->now, &wanted, err);
	if (r > 0)
		run->result->changed++;
	if (r >= 0)
		r = take_back(run, c, emptied, err);
	if (r < 0)
		return r;
	/* The units of other containers are set together, after all cgroups were written. */
	if (!c->starts)
		return stow_unit_sets_add(&run->units, c->cgroup, &wanted, err);
	if (run->options->unit_cpus && stow_idset_equal(run->options->unit_cpus, &wanted))
		return 0;
	r = stow_enforce_unit(c->cgroup, true, &wanted, err);
	return r < 0 ? r : 0;
}

/* Compare what has taken effect with what must be. Only this adds problems to the result. */
static void check(struct apply_run *run, struct apply_container *c, int r, const char *why)
{
	struct stow_idset expected, taken;
	char text[512], a[160], b[160];

	if (c->grows)
		return;
	taken_cpus(run, c, &taken);
	apply_wanted_effective(run, c, &expected);
	if (r < 0)
		snprintf(text, sizeof(text), "container %s: %s", c->id, why);
	else if (c->fallback)
		snprintf(text, sizeof(text),
			 "container %s: CPUs %s are all offline, belong to another container, or "
			 "are not in the cgroup above; until one is back it runs on shared CPUs %s",
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
	apply_add_problem(run, c, text);
}

/* Read the CPUs that the container may run on. A partition includes CPUs that it gave to partitions
 * below it. */
static int read_effective(const struct apply_run *run, struct apply_container *c,
			  struct stow_err *err)
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

/* Note the CPUs that this set, or another of the same kind, may lack because the cgroup above lacks
 * them. */
static void note_narrow(struct apply_run *run, const struct apply_container *c)
{
	struct stow_idset lacking = run->view.online;

	/* v2: sets have these and offline CPUs, except what was exclusive when they were
	 * written. */
	if (!apply_is_v1(c)) {
		stow_idset_or(&lacking, &run->view.offline);
		stow_idset_and(&lacking, &run->before.explained);
	}
	stow_idset_minus(&lacking, &c->above);
	stow_idset_or(&run->narrow, &lacking);
}

/* Open the container's cgroup. -ESRCH: the container has ended. */
static int look(struct apply_run *run, struct apply_container *c, struct stow_err *err)
{
	struct stow_idset own;
	struct stow_err why;
	int r, given;

	if (c->starts && run->options->cgroup) {
		c->cgroup = (struct stow_cgroup *)run->options->cgroup;
		c->lent = true;
		r = 0;
	} else {
		r = stow_cpuset_open(run->root, c->cgroup_id, &c->cgroup, err);
	}
	if (r == 0)
		r = read_effective(run, c, err);
	if (r == 0 && apply_is_v1(c)) {
		/* v1: give the cgroups above their CPUs back first, which the kernel removed and no
		 * other program restores; their sets are read next. */
		own_cpus(c, &own);
		stow_idset_and(&own, &run->view.online);
		given = stow_cpuset_give_back_above(c->cgroup, &run->view.online, &run->returned,
						    &own, &why);
		if (given > 0)
			apply_forget_above(run);
		if (given < 0 && given != -ENOENT && given != -ENODEV) {
			apply_add_problem(run, c, why.msg);
			stow_idset_or(&run->withheld, &run->returned);
		}
	}
	if (r == 0)
		r = apply_read_above(run, c, &c->above, err);
	if (r == 0)
		note_narrow(run, c);
	return r == -ENOENT || r == -ENODEV ? -ESRCH : r;
}

/* Note whether an unmanaged container has a fallback set, so that a later run does not take it for
 * another tool's change. */
static int note_fallback(struct apply_run *run, struct apply_container *c, struct stow_err *err)
{
	if (!c->entry || c->entry->fallback == c->fallback)
		return 0;
	c->entry->fallback = c->fallback;
	return stow_unmanaged_write(run->root, c->entry, err);
}

/* Note the same of a container that needs no write. The effective set may come from the cgroup
 * above, while the container's own file still has the fallback. */
static int note_settled(struct apply_run *run, struct apply_container *c, struct stow_err *err)
{
	int r;

	if (!c->entry || c->entry->fallback == c->fallback)
		return 0;
	r = read_now(c, err);
	if (r < 0 || (!c->fallback && !stow_idset_intersects(&c->now, &c->base)))
		return r;
	return note_fallback(run, c, err);
}

/* Compute CPUs of other containers that are not in effect here whatever the file has: they are
 * offline, or the cgroup above lacks them. On v1 such CPUs are in no set. */
static void hidden_cpus(const struct apply_run *run, const struct apply_container *c,
			struct stow_idset *ret)
{
	struct stow_idset there = run->view.online;

	*ret = (struct stow_idset){ 0 };
	if (apply_is_v1(c))
		return;
	stow_idset_and(&there, &c->above);
	others_cpus(run, c, ret);
	stow_idset_minus(ret, &there);
}

/* Return whether the file has such CPUs: the kernel would give them to the container when they come
 * online, before any run. */
static bool has_hidden(const struct apply_run *run, struct apply_container *c)
{
	struct stow_idset hidden;

	hidden_cpus(run, c, &hidden);
	if (stow_idset_empty(&hidden) || read_now(c, NULL) < 0)
		return false;
	/* An empty set stands for that of the cgroup above. */
	return stow_idset_empty(&c->now) || stow_idset_intersects(&c->now, &hidden);
}

/* Return whether the effective set is as it must be. When a grant begins or has ended, the file
 * must be right, too: the effective set may be right only because of the cgroup above. */
static bool is_settled(const struct apply_run *run, const struct apply_container *c)
{
	struct stow_idset expected;

	if (c->record ? c->starts : c->entry->reset)
		return false;
	apply_wanted_effective(run, c, &expected);
	return !stow_idset_empty(&expected) && stow_idset_equal(&expected, &c->effective);
}

static bool needs_no_write(const struct apply_run *run, struct apply_container *c)
{
	return is_settled(run, c) && !has_hidden(run, c);
}

/* Note a fallback before it is written; drop the note after it was undone. */
static int write_noted(struct apply_run *run, struct apply_container *c, struct stow_err *err)
{
	int r = c->fallback ? note_fallback(run, c, err) : 0;

	if (r == 0)
		r = write_cpus(run, c, err);
	if (r == 0 && !c->fallback)
		r = note_fallback(run, c, err);
	return r;
}

static int settle(struct apply_run *run, struct apply_container *c, struct stow_err *err)
{
	int r;

	r = apply_compute_wanted(run, c, err);
	if (r < 0)
		return r;
	if (needs_no_write(run, c)) {
		r = note_settled(run, c, err);
		return r < 0 ? r : take_back(run, c, false, err);
	}
	r = decide_change(run, c, err);
	if (r != 0)
		return r < 0 ? r : 0;
	/* `wanted` includes what adopt_change() took over. */
	if (needs_no_write(run, c))
		return note_settled(run, c, err);
	if (c->grows) {
		r = read_now(c, err);
		if (r < 0)
			return r;
		stow_idset_or(&c->wanted, &c->now);
	}
	do
		r = write_noted(run, c, err);
	while (r < 0 && has_lost_gone(run, c));
	(void)read_effective(run, c, NULL);
	return r;
}

/* Return whether the effective set alone cannot show that the container is as it must be. */
static bool needs_more(const struct apply_run *run, const struct apply_container *c)
{
	bool v1 = c->cgroup_id->at[STOW_CGROUP_CPUSET].version == 1;

	if (!run->same || c->starts)
		return true;
	/* v1: the kernel may have removed CPUs from its set, or from a set above. */
	if (v1 && (run->options->thorough || !stow_idset_empty(&run->returned)))
		return true;
	if (c->record)
		return c->record->isolated || (v1 && c->record->exclusive);
	return c->entry->reset || c->entry->fallback;
}

/* Return whether the container is as it must be, by a cheap check. */
static bool is_quiet(struct apply_run *run, struct apply_container *c)
{
	struct stow_cgroup closed;
	struct stow_idset taken, hidden;
	bool quiet;

	if (needs_more(run, c) ||
	    !stow_peek_cpus(&run->peek, run->root, c->cgroup_id, &closed, &c->effective))
		return false;
	c->cgroup = &closed;
	quiet = apply_read_above(run, c, &c->above, NULL) == 0 &&
		apply_compute_wanted(run, c, NULL) == 0 && !c->fallback && is_settled(run, c);
	if (quiet) {
		taken_cpus(run, c, &taken);
		hidden_cpus(run, c, &hidden);
		quiet = stow_idset_empty(&taken) && stow_idset_empty(&hidden);
	}
	if (quiet)
		note_narrow(run, c);
	c->cgroup = NULL;
	return quiet;
}

/* Find a process of a container whose set cannot be read. 0: there is none. */
static pid_t any_process(const struct apply_run *run, const struct apply_container *c)
{
	const struct stow_pidref *init = c->record ? &c->record->init : &c->entry->init;
	_cleanup_free_ pid_t *pids = NULL;
	size_t n = 0;

	if (stow_pidref_alive(run->root, init))
		return init->pid;
	if (c->cgroup && stow_cgroup_pids(c->cgroup, &pids, &n, NULL) == 0 && n)
		return pids[0];
	return 0;
}

/* Find out by its processes where a container may run whose set cannot be read: its cgroup has lost
 * the cpuset controller, or something is mounted over it. Return whether it may run on CPUs of
 * others; then it has not ended, whatever its cgroup says. */
static bool overlaps_unseen(const struct apply_run *run, struct apply_container *c)
{
	struct stow_allowed allowed;
	struct stow_idset taken;
	pid_t pid;

	if (!stow_idset_empty(&c->effective) || (c->entry && c->entry->pods))
		return false;
	pid = any_process(run, c);
	if (!pid || stow_allowed_read(run->root, pid, &allowed, NULL) < 0)
		return false;
	c->effective = allowed.cpus;
	taken_cpus(run, c, &taken);
	return !stow_idset_empty(&taken);
}

int apply_one(struct apply_run *run, struct apply_container *c, struct stow_err *err)
{
	struct stow_err why = { 0 };
	int r;

	run->result->looked++;
	if (is_quiet(run, c))
		return 0;
	r = look(run, c, &why);
	if (r == 0)
		r = settle(run, c, &why);
	if (r < 0 && overlaps_unseen(run, c))
		check(run, c, r, why.msg);
	else if (r == -ESRCH && !(c->cgroup && apply_is_v1(c)))
		r = 0; /* it has ended */
	else if (c->cgroup)
		check(run, c, r, why.msg);
	else if (r < 0)
		apply_add_problem(run, c, why.msg);
	if (r == 0 && c->entry && c->entry->reset && !c->starts) {
		c->entry->reset = false;
		r = stow_unmanaged_write(run->root, c->entry, &why);
	}
	if (!c->lent)
		stow_cgroup_free_ptr(&c->cgroup);
	c->cgroup = NULL;
	return r < 0 ? stow_err_move(err, r, &why) : 0;
}

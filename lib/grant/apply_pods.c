// SPDX-License-Identifier: Apache-2.0
/* kubelet's cgroups in one run of the applier. lib/grant/pods.h describes what they get. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "cgroup/hierarchy.h"
#include "cgroup/hierarchy_entry.h"
#include "cgroup/kubepods.h"
#include "grant/apply_internal.h"
#include "grant/pods.h"

#define LOOKS 8 /* for cgroups that are made while the run is under way */

struct apply_unit {
	struct stow_unmanaged entry;
	struct stow_idset below; /* exclusive CPUs of containers below it */
	bool met;		 /* in this walk */
	bool lost;		 /* has no cpuset controller any more */
};

static const char *path_of(const struct apply_unit *unit)
{
	return stow_cgroup_id_path(&unit->entry.cgroup);
}

static void add_problem(const struct apply_pods *pods, const char *path, const char *text)
{
	struct apply_container c = { 0 };
	char id[STOW_ID_MAX + 1];

	snprintf(id, sizeof(id), "%s", path);
	c.id = id;
	apply_add_problem(pods->run, &c, text);
}

/* --- what is below -------------------------------------------------------- */

static void add_below(const struct apply_pods *pods, const char *path, struct stow_idset *ret)
{
	*ret = (struct stow_idset){ 0 };
	for (size_t i = 0; i < pods->n; i++) {
		const struct stow_record *record = pods->records[i];

		if (record->state == STOW_STATE_LEASE || !record->exclusive ||
		    !stow_cgroup_is_below(stow_cgroup_id_path(&record->cgroup), path))
			continue;
		stow_idset_or(ret, &record->cpus);
		if (record->move)
			stow_idset_or(ret, &record->move->cpus);
	}
}

/* Return whether a container with a grant has this cgroup: the applier knows it already. */
static bool is_container(const struct apply_pods *pods, const char *path, uint64_t inode)
{
	for (size_t i = 0; i < pods->n; i++) {
		const struct stow_cgroup_id *id = &pods->records[i]->cgroup;

		if (pods->records[i]->state != STOW_STATE_LEASE &&
		    id->at[STOW_CGROUP_CPUSET].inode == inode &&
		    strcmp(stow_cgroup_id_path(id), path) == 0)
			return true;
	}
	return false;
}

/* --- cgroups that have a file --------------------------------------------- */

static void unit_done(struct apply_unit *unit)
{
	stow_unmanaged_done(&unit->entry);
}

static int load_one(struct stow_root *root, struct stow_unmanaged *entry, void *ctx,
		    struct stow_err *err)
{
	struct apply_pods *pods = ctx;
	struct apply_unit *unit = STOW_APPEND(pods->units, pods->n_units);

	if (!unit)
		return stow_err_sys(err, ENOMEM, "%s", entry->id);
	unit->entry = *entry;
	entry->cgroup = (struct stow_cgroup_id){ 0 };
	return 0;
}

static struct apply_unit *find_unit(const struct apply_pods *pods, const char *path, uint64_t inode)
{
	for (size_t i = 0; i < pods->n_units; i++)
		if (pods->units[i].entry.cgroup.at[STOW_CGROUP_CPUSET].inode == inode &&
		    strcmp(path_of(&pods->units[i]), path) == 0)
			return &pods->units[i];
	return NULL;
}

/* --- new ones ------------------------------------------------------------- */

/* Read the set that the cgroup was given. Empty: that of the cgroup above. An earlier run may have
 * written it, and been forgotten: then it lacks nothing but CPUs that were exclusive. */
static int read_given(const struct apply_run *run, const struct stow_cgroup *cgroup,
		      struct stow_idset *ret, struct stow_err *err)
{
	bool v1 = cgroup->at[STOW_CGROUP_CPUSET].version == 1;
	struct stow_idset now, above, lacking = run->view.online;
	int r;

	*ret = (struct stow_idset){ 0 };
	r = stow_cpuset_read_cpus(cgroup, false, &now, err);
	if (r == 0)
		r = stow_cpuset_read_above(cgroup, true, &above, err);
	if (r < 0 || stow_idset_empty(&now))
		return r;
	stow_idset_or(&lacking, &run->view.offline);
	if (v1)
		stow_idset_and(&lacking, &above);
	stow_idset_minus(&lacking, &now);
	stow_idset_minus(&lacking, &run->view.exclusive);
	stow_idset_minus(&lacking, &run->before.explained);
	if (!stow_idset_empty(&lacking))
		*ret = now;
	return 0;
}

/* Record a cgroup, before its set is written. Return 1, or 0 when it is gone. */
static int enter(struct apply_pods *pods, const char *path, struct apply_unit **ret,
		 struct stow_err *err)
{
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cgroup = NULL;
	struct stow_unmanaged entry = { .pods = true };
	struct apply_unit *unit;
	int r = stow_cgroup_of_path(pods->run->root, path, &cgroup, err);

	if (r < 0)
		return r == -ESRCH || r == -ENOENT || r == -ENODEV ? 0 : r;
	if (!cgroup->at[STOW_CGROUP_CPUSET].version)
		return stow_err_set(err, ENOTSUP,
				    "cgroup %s has no cpuset controller, so its pods may run on "
				    "exclusive CPUs",
				    path);
	r = read_given(pods->run, cgroup, &entry.given, err);
	if (r < 0)
		return r == -ENOENT || r == -ENODEV ? 0 : r;
	snprintf(entry.id, sizeof(entry.id), "%" PRIu64, cgroup->inode);
	entry.cgroup = cgroup->id;
	r = stow_unmanaged_write(pods->run->root, &entry, err);
	unit = r == 0 ? STOW_APPEND(pods->units, pods->n_units) : NULL;
	if (!unit)
		return r < 0 ? r : stow_err_sys(err, ENOMEM, "%s", path);
	unit->entry = entry;
	cgroup->id = (struct stow_cgroup_id){ 0 };
	*ret = unit;
	return 1;
}

/* --- walking -------------------------------------------------------------- */

struct walk {
	struct apply_pods *pods;
	const char *point;
	int version;
};

/* Return the inode of a cgroup's directory; 0: it is gone. */
static uint64_t inode_of(const struct walk *walk, const char *path)
{
	struct stat st;

	return stow_root_stat(walk->pods->run->root, &st, NULL, "%s%s", walk->point, path) < 0
		       ? 0
		       : st.st_ino;
}

static void walk_into(struct walk *walk, const char *path);

static void look_at(struct walk *walk, const char *path)
{
	uint64_t inode = inode_of(walk, path);
	struct apply_pods *pods = walk->pods;
	struct apply_unit *unit;
	struct stow_idset below;
	struct stow_err why;
	int r = 1;

	if (!inode || is_container(pods, path, inode))
		return;
	unit = find_unit(pods, path, inode);
	if (!unit)
		r = enter(pods, path, &unit, &why);
	if (r < 0)
		add_problem(pods, path, why.msg);
	if (r <= 0)
		return;
	add_below(pods, path, &below);
	unit->met = true;
	unit->below = below;
	/* v1: a set that shrinks takes its CPUs from those below, which must be known before. */
	if (!stow_idset_empty(&below) || (walk->version == 1 && !strchr(path + 1, '/')))
		walk_into(walk, path);
}

/* Only cgroups above a container with a grant are read: their number is that of pods, and of a
 * pod's containers. */
static void walk_into(struct walk *walk, const char *path)
{
	struct stow_err why;
	_cleanup_closedir_ DIR *d =
		stow_root_opendir(walk->pods->run->root, &why, "%s%s", walk->point, path);
	const struct dirent *e;

	if (!d && errno != ENOENT && errno != ENODEV)
		add_problem(walk->pods, path, why.msg);
	while (d && (e = readdir(d))) {
		char below[4096];

		if (stow_entry_is_cgroup(e) && !strchr(e->d_name, '\n') &&
		    snprintf(below, sizeof(below), "%s/%s", path, e->d_name) < (int)sizeof(below))
			look_at(walk, below);
	}
}

static void walk_all(struct apply_pods *pods)
{
	struct walk walk = { .pods = pods };
	const char *tops[STOW_KUBEPODS_MAX];
	struct stow_hierarchy cpuset;
	struct stow_err why;
	size_t n;

	if (!pods->active)
		return;
	if (stow_cgroup_hierarchy(pods->run->root, STOW_CGROUP_CPUSET, &cpuset, &why) < 0) {
		add_problem(pods, "(pods)", why.msg);
		return;
	}
	walk.point = cpuset.point;
	walk.version = cpuset.version;
	n = stow_kubepods_find(pods->run->root, tops);
	for (size_t i = 0; i < n; i++)
		look_at(&walk, tops[i]);
}

static int by_depth(const void *a, const void *b)
{
	size_t x = strlen(path_of(a)), y = strlen(path_of(b));

	return x < y ? -1 : x > y;
}

/* Return whether the cgroup needs no entry. A cgroup beside a container with exclusive CPUs was
 * recorded when it was made, and then the hook has given it a grant: its set is the container's.
 * Where systemd has disabled the cpuset controller, the kernel has dropped the set. */
static bool is_stale(const struct apply_pods *pods, const struct apply_unit *unit)
{
	const struct stow_cgroup_id *id = &unit->entry.cgroup;

	return unit->lost || is_container(pods, path_of(unit), id->at[STOW_CGROUP_CPUSET].inode);
}

static void drop_stale(struct apply_pods *pods)
{
	size_t kept = 0;

	for (size_t i = 0; i < pods->n_units; i++) {
		struct apply_unit *unit = &pods->units[i];
		struct stow_err why;

		if (!is_stale(pods, unit)) {
			pods->units[kept++] = *unit;
			continue;
		}
		if (stow_unmanaged_remove_pods(pods->run->root, unit->entry.id, &why) < 0)
			add_problem(pods, path_of(unit), why.msg);
		unit_done(unit);
	}
	pods->n_units = kept;
}

static bool has_lost_cpuset(const struct apply_pods *pods, const struct apply_unit *unit)
{
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cgroup = NULL;

	return stow_cpuset_open(pods->run->root, &unit->entry.cgroup, &cgroup, NULL) == 0 &&
	       !cgroup->at[STOW_CGROUP_CPUSET].version;
}

/* Give back CPUs that are no longer exclusive, from the top down and before containers, which can
 * only have what the cgroups above have. Failures show later in the run. */
static void grow(struct apply_pods *pods)
{
	for (size_t i = 0; i < pods->n_units; i++) {
		struct apply_unit *unit = &pods->units[i];
		struct apply_container c = { .id = unit->entry.id,
					     .cgroup_id = &unit->entry.cgroup,
					     .entry = &unit->entry,
					     .grows = true };

		if (!pods->on)
			c.below = pods->run->view.exclusive;
		unit->lost =
			apply_one(pods->run, &c, NULL) == -ENOTSUP && has_lost_cpuset(pods, unit);
		apply_forget_above(pods->run);
	}
	drop_stale(pods);
}

void apply_pods_find(struct apply_pods *pods)
{
	struct stow_err why;

	pods->on = stow_pods_are_on(pods->run->root);
	pods->active = pods->on && !stow_idset_empty(&pods->run->view.exclusive);
	if (stow_unmanaged_each_pods(pods->run->root, load_one, pods, &why) < 0)
		add_problem(pods, "(pods)", why.msg);
	drop_stale(pods);
	walk_all(pods);
	for (size_t i = 0; i < pods->n_units; i++) {
		struct apply_unit *unit = &pods->units[i];

		if (!pods->on) /* nothing is taken from it */
			unit->below = pods->run->view.exclusive;
		else if (!unit->met)
			add_below(pods, path_of(unit), &unit->below);
	}
	if (pods->n_units)
		qsort(pods->units, pods->n_units, sizeof(*pods->units), by_depth);
	grow(pods);
}

/* --- applying ------------------------------------------------------------- */

static bool is_gone(const struct apply_pods *pods, const struct apply_unit *unit)
{
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cgroup = NULL;

	return stow_cpuset_open(pods->run->root, &unit->entry.cgroup, &cgroup, NULL) == -ESRCH;
}

/* Nothing is taken from the cgroup any more: give it back to kubelet as it was. */
static void forget(const struct apply_pods *pods, const struct apply_unit *unit)
{
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cgroup = NULL;
	struct stow_err why;

	if (stow_cpuset_open(pods->run->root, &unit->entry.cgroup, &cgroup, NULL) == 0 &&
	    cgroup->at[STOW_CGROUP_CPUSET].version == 2 && stow_idset_empty(&unit->entry.given))
		(void)stow_cpuset_clear_cpus(cgroup, NULL); /* with processes it has all CPUs */
	if (stow_unmanaged_remove_pods(pods->run->root, unit->entry.id, &why) < 0)
		add_problem(pods, path_of(unit), why.msg);
}

static void apply_unit(struct apply_pods *pods, struct apply_unit *unit)
{
	struct apply_container c = { .cgroup_id = &unit->entry.cgroup,
				     .entry = &unit->entry,
				     .below = unit->below,
				     .apart = pods->active && !stow_idset_empty(&unit->below) };
	char id[STOW_ID_MAX + 1];
	int r;

	snprintf(id, sizeof(id), "%s", path_of(unit));
	c.id = id;
	r = apply_one(pods->run, &c, NULL);
	if (r == 0 ? !pods->active || (!unit->met && is_gone(pods, unit))
		   : r == -ENOTSUP && has_lost_cpuset(pods, unit))
		forget(pods, unit);
}

/* From the leaves up: a cgroup is given back to kubelet, and loses its set, after those below it. */
void apply_pods_leaves(struct apply_pods *pods)
{
	for (size_t i = pods->n_units; i-- > 0;)
		if (!pods->active || stow_idset_empty(&pods->units[i].below))
			apply_unit(pods, &pods->units[i]);
}

void apply_pods_parents(struct apply_pods *pods)
{
	size_t seen;

	if (!pods->active || !pods->n_units)
		return;
	for (size_t i = 0; i < pods->n_units; i++) {
		if (stow_idset_empty(&pods->units[i].below))
			continue;
		apply_unit(pods, &pods->units[i]);
		apply_forget_above(pods->run); /* those below see the new set */
	}
	for (int i = 0; i < LOOKS; i++) {
		seen = pods->n_units;
		walk_all(pods);
		for (size_t u = seen; u < pods->n_units; u++)
			apply_unit(pods, &pods->units[u]);
		if (seen == pods->n_units)
			break;
	}
}

void apply_pods_done(struct apply_pods *pods)
{
	for (size_t i = 0; i < pods->n_units; i++)
		unit_done(&pods->units[i]);
	free(pods->units);
	pods->units = NULL;
	pods->n_units = 0;
}

bool apply_pods_concern(struct stow_root *root, const struct stow_record *record)
{
	return record->exclusive && stow_kubepods_has(stow_cgroup_id_path(&record->cgroup)) &&
	       stow_pods_are_on(root);
}

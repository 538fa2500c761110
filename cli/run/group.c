// SPDX-License-Identifier: Apache-2.0
/*
 * A group in each hierarchy that has cpuset, memory or hugetlb, by libcgroup: on cgroup v1, and on
 * v2 without systemd. Never beside systemd on v2: there libcgroup would enable controllers in its
 * slices.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <libcgroup.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "cgroup/hierarchy.h"
#include "cli/run/run.h"
#include "grant/program_group.h"

/* Return libcgroup's error as -errno. */
static int group_error(int code, const char *what, struct stow_err *err)
{
	if (code == ECGOTHER)
		return stow_err_sys(err, cgroup_get_last_errno() ? cgroup_get_last_errno() : EIO,
				    "libcgroup: %s", what);
	return stow_err_set(err, EIO, "libcgroup: %s: %s", what, cgroup_strerror(code));
}

/* Return whether there is a hierarchy with the controller. */
static bool has_controller(struct run *run, enum stow_controller c)
{
	struct stow_hierarchy at;
	char list[1024];

	if (stow_cgroup_hierarchy(run->root, c, &at, NULL) < 0)
		return false;
	if (at.version == 1)
		return true;
	return stow_root_read_buf(run->root, list, sizeof(list), NULL, "%s/cgroup.controllers",
				  at.point) >= 0 &&
	       stow_text_has_word(list, stow_controller_names[c]);
}

/* v1: a new cpuset is empty, and nothing can run in it. */
static int set_cpuset(struct cgroup_controller *cpuset, const struct stow_idset *cpus,
		      const struct stow_idset *mems)
{
	_cleanup_free_ char *cpu_list = stow_idset_to_list(cpus);
	_cleanup_free_ char *mem_list = stow_idset_to_list(mems);
	int r = cpu_list && mem_list ? 0 : ECGOTHER;

	if (r == 0)
		r = cgroup_add_value_string(cpuset, "cpuset.cpus", cpu_list);
	return r ? r : cgroup_add_value_string(cpuset, "cpuset.mems", mem_list);
}

/* Make the group `name`, with these sets on v1. */
static int make(struct run *run, const char *name, const struct stow_idset *cpus,
		const struct stow_idset *mems, struct cgroup **ret, struct stow_err *err)
{
	_cleanup_(cgroup_free) struct cgroup *group = cgroup_new_cgroup(name);
	int r = group ? 0 : ECGOTHER;

	for (int c = 0; c < STOW_CGROUP_CONTROLLERS && r == 0; c++) {
		struct cgroup_controller *added;

		if (!has_controller(run, c))
			continue;
		added = cgroup_add_controller(group, stow_controller_names[c]);
		r = added ? 0 : ECGOTHER;
		if (r == 0 && c == STOW_CGROUP_CPUSET && cpus)
			r = set_cpuset(added, cpus, mems);
	}
	if (r == 0)
		r = cgroup_create_cgroup(group, 1);
	if (r)
		return group_error(r, name, err);
	*ret = STOW_TAKE_PTR(group);
	return 0;
}

/* v1: read what the topmost cpuset has. */
static int read_top(struct run *run, const char *point, struct stow_idset *cpus,
		    struct stow_idset *mems, struct stow_err *err)
{
	int r = stow_root_read_idset(run->root, cpus, err, "%s/cpuset.cpus", point);

	if (r == -ENOENT)
		return stow_err_set(err, ENOTSUP,
				    "%s is mounted with noprefix, which libcgroup does not know",
				    point);
	return r < 0 ? r : stow_root_read_idset(run->root, mems, err, "%s/cpuset.mems", point);
}

/* Return whether the group above all programs is in every hierarchy, on v1 with these sets: then it
 * need not be made. */
static bool is_parent_made(struct run *run, bool v1, const struct stow_idset *cpus,
			   const struct stow_idset *mems)
{
	for (int c = 0; c < STOW_CGROUP_CONTROLLERS; c++) {
		struct stow_idset now_cpus, now_mems;
		struct stow_hierarchy at;

		if (!has_controller(run, c))
			continue;
		if (stow_cgroup_hierarchy(run->root, c, &at, NULL) < 0)
			return false;
		if (at.version == 2 || c != STOW_CGROUP_CPUSET || !v1) {
			if (stow_root_exists(run->root, "%s" STOW_PROGRAMS_GROUP, at.point) != 1)
				return false;
			continue;
		}
		if (stow_root_read_idset(run->root, &now_cpus, NULL,
					 "%s" STOW_PROGRAMS_GROUP "/cpuset.cpus", at.point) < 0 ||
		    stow_root_read_idset(run->root, &now_mems, NULL,
					 "%s" STOW_PROGRAMS_GROUP "/cpuset.mems", at.point) < 0 ||
		    !stow_idset_equal(&now_cpus, cpus) || !stow_idset_equal(&now_mems, mems))
			return false;
	}
	return true;
}

static int make_and_attach(struct run *run, const char *path, struct stow_err *err)
{
	_cleanup_(cgroup_free) struct cgroup *above = NULL, *group = NULL;
	struct stow_idset cpus = { 0 }, mems = { 0 };
	struct stow_hierarchy at;
	bool v1;
	int r;

	r = stow_cgroup_hierarchy(run->root, STOW_CGROUP_CPUSET, &at, err);
	if (r < 0)
		return r;
	v1 = at.version == 1;
	if (at.above[0])
		return stow_err_set(err, ENOTSUP,
				    "only %s of the cpuset hierarchy is mounted: programs need "
				    "the whole",
				    at.above);
	if (v1)
		r = read_top(run, at.point, &cpus, &mems, err);
	if (r == 0 && !is_parent_made(run, v1, &cpus, &mems))
		r = make(run, STOW_PROGRAMS_GROUP + 1, v1 ? &cpus : NULL, &mems, &above, err);
	if (r == 0)
		r = make(run, path, v1 ? &cpus : NULL, &mems, &group, err);
	if (r < 0)
		return r;
	r = cgroup_attach_task(group);
	return r ? group_error(r, path, err) : 0;
}

int run_join_group(struct run *run, struct stow_err *err)
{
	char path[sizeof(STOW_PROGRAMS_GROUP) + STOW_PROGRAM_NAME_MAX + 1];
	_cleanup_unlock_ int lock = stow_programs_lock(run->root, err);
	int r;

	if (lock < 0)
		return lock;
	/* libcgroup takes an existing group for its own: remove what an ended program left. */
	r = stow_program_remove(run->root, run->name, err);
	if (r == -EBUSY)
		return stow_err_set(err, EEXIST,
				    "--name: cgroup " STOW_PROGRAMS_GROUP
				    "/%s has processes; choose another name",
				    run->name);
	if (r < 0)
		return r;
	r = cgroup_init();
	if (r)
		return group_error(r, "cgroup_init", err);
	snprintf(path, sizeof(path), "%s/%s", STOW_PROGRAMS_GROUP + 1, run->name);
	r = make_and_attach(run, path, err);
	if (r < 0)
		(void)stow_program_remove(run->root, run->name, NULL);
	return r;
}

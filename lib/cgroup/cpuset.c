// SPDX-License-Identifier: Apache-2.0
#include "cgroup/cpuset.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "cgroup/hierarchy_entry.h"
#include "cgroup/procs.h"

#define FOLLOW_TRIES 50 /* while the container's own programs write sets below its cgroup */

/* --- reading -------------------------------------------------------------- */

const char *stow_cpuset_file(const struct stow_cgroup *cgroup, bool cpus, bool effective)
{
	const char *name;

	if (cgroup->at[STOW_CGROUP_CPUSET].version == 2)
		return !effective ? cpus ? "cpuset.cpus" : "cpuset.mems"
		       : cpus	  ? "cpuset.cpus.effective"
				  : "cpuset.mems.effective";
	name = !effective ? cpus ? "cpuset.cpus" : "cpuset.mems"
	       : cpus	  ? "cpuset.effective_cpus"
			  : "cpuset.effective_mems";
	return cgroup->at[STOW_CGROUP_CPUSET].noprefix ? name + strlen("cpuset.") : name;
}

static int no_cpuset(const struct stow_cgroup *cgroup, struct stow_err *err)
{
	if (!cgroup->path[0])
		return stow_err_set(err, ENOTSUP,
				    "the kernel has no cpuset controller for the container: mount "
				    "it (cgroup v1), or use cgroup v2");
	return stow_err_set(err, ENOTSUP,
			    "the container's cgroup %s has no cpuset controller: enable it in "
			    "cgroup.subtree_control of the cgroups above",
			    cgroup->path);
}

static int read_set(const struct stow_cgroup *cgroup, bool cpus, bool effective,
		    struct stow_idset *ret, struct stow_err *err)
{
	if (!cgroup->at[STOW_CGROUP_CPUSET].version)
		return no_cpuset(cgroup, err);
	return stow_root_read_idset(cgroup->at[STOW_CGROUP_CPUSET].dir, ret, err, "%s",
				    stow_cpuset_file(cgroup, cpus, effective));
}

int stow_cpuset_read_cpus(const struct stow_cgroup *cgroup, bool effective, struct stow_idset *ret,
			  struct stow_err *err)
{
	return read_set(cgroup, true, effective, ret, err);
}

int stow_cpuset_read_mems(const struct stow_cgroup *cgroup, bool effective, struct stow_idset *ret,
			  struct stow_err *err)
{
	return read_set(cgroup, false, effective, ret, err);
}

int stow_cpuset_read(const struct stow_cgroup *cgroup, struct stow_cpuset *ret,
		     struct stow_err *err)
{
	struct stow_cpuset now;
	int r;

	r = read_set(cgroup, true, false, &now.cpus, err);
	if (r == 0)
		r = read_set(cgroup, false, false, &now.mems, err);
	if (r == 0)
		r = read_set(cgroup, true, true, &now.cpus_effective, err);
	if (r == 0)
		r = read_set(cgroup, false, true, &now.mems_effective, err);
	if (r == 0)
		*ret = now;
	return r;
}

int stow_cpuset_read_above(const struct stow_cgroup *cgroup, bool cpus, struct stow_idset *ret,
			   struct stow_err *err)
{
	const char *below = cgroup->at[STOW_CGROUP_CPUSET].below, *slash;

	if (!cgroup->at[STOW_CGROUP_CPUSET].version)
		return no_cpuset(cgroup, err);
	slash = strrchr(below, '/');
	if (!slash || !slash[1])
		return read_set(cgroup, cpus, true, ret, err);
	return stow_cpuset_read_at(cgroup, below, (size_t)(slash - below), cpus, ret, err);
}

int stow_cpuset_read_allowed(const struct stow_cgroup *cgroup, const struct stow_idset *given_cpus,
			     const struct stow_idset *given_mems, struct stow_cpuset *ret,
			     struct stow_err *err)
{
	int r = stow_cpuset_read_above(cgroup, true, &ret->cpus_effective, err);

	if (r == 0)
		r = stow_cpuset_read_above(cgroup, false, &ret->mems_effective, err);
	if (r == 0 && !stow_idset_empty(given_cpus))
		stow_idset_and(&ret->cpus_effective, given_cpus);
	if (r == 0 && !stow_idset_empty(given_mems))
		stow_idset_and(&ret->mems_effective, given_mems);
	return r;
}

int stow_cpuset_read_at(const struct stow_cgroup *cgroup, const char *below, size_t len, bool cpus,
			struct stow_idset *ret, struct stow_err *err)
{
	return stow_root_read_idset(cgroup->root, ret, err, "%s%.*s/%s",
				    cgroup->at[STOW_CGROUP_CPUSET].point, (int)len, below,
				    stow_cpuset_file(cgroup, cpus, true));
}

int stow_cpuset_read_given(const struct stow_cgroup *cgroup, bool cpus, struct stow_idset *ret,
			   struct stow_err *err)
{
	struct stow_idset given, above;
	int r;

	r = read_set(cgroup, cpus, false, &given, err);
	if (r == 0 && cgroup->at[STOW_CGROUP_CPUSET].version == 1) {
		r = stow_cpuset_read_above(cgroup, cpus, &above, err);
		if (r == 0 && stow_idset_equal(&given, &above))
			given = (struct stow_idset){ 0 };
	}
	if (r == 0)
		*ret = given;
	return r;
}

/* --- writing -------------------------------------------------------------- */

static int write_file(struct stow_root *dir, const char *below, const char *name,
		      const struct stow_idset *set, struct stow_err *err)
{
	_cleanup_free_ char *list = stow_idset_to_list(set);

	if (!list)
		return stow_err_sys(err, ENOMEM, "%s", name);
	return stow_root_write(dir, list, err, "%s%s%s", below, below[0] ? "/" : "", name);
}

/* A v1 cpuset and the cgroups below that follow it. */
struct follow {
	struct stow_root *dir; /* the container's */
	const char *name;
	const struct stow_idset *was, *is; /* the parent's set: now, and in the end */
	bool grow; /* write the union of both; or else shrink to the new set */
	int depth;
};

/* Compute the new set of a cgroup below: the whole new set if it had the whole old one, or if
 * nothing of its own part is left; otherwise its part. */
static void follow_set(const struct follow *f, struct stow_idset *set)
{
	bool whole = stow_idset_equal(set, f->was);

	if (!whole)
		stow_idset_and(set, f->is);
	if (whole || stow_idset_empty(set))
		*set = *f->is;
}

static int follow_below(const struct follow *f, const char *below, struct stow_err *err);

/* Update one cgroup below: its own children first when sets shrink, last when they grow. */
static int follow_one(const struct follow *f, const char *path, struct stow_err *err)
{
	struct stow_idset was, is, set;
	struct follow below = *f;
	int r;

	r = stow_root_read_idset(f->dir, &was, err, "%s/%s", path, f->name);
	if (r < 0 || stow_idset_empty(&was)) /* a cgroup without a set has no processes */
		return r == -ENOENT || r == -ENODEV ? 0 : r;
	is = was;
	follow_set(f, &is);
	set = is;
	if (f->grow)
		stow_idset_or(&set, &was);
	below.was = &was;
	below.is = &is;
	below.depth++;
	if (!f->grow)
		r = follow_below(&below, path, err);
	if (r == 0 && !stow_idset_equal(&set, &was))
		r = write_file(f->dir, path, f->name, &set, err);
	if (r == 0 && f->grow)
		r = follow_below(&below, path, err);
	return r == -ENOENT || r == -ENODEV ? 0 : r;
}

/* Return whether there are cgroups below: the kernel counts them as links of the directory. Copied
 * trees may be on file systems that do not. */
static bool has_below(const struct stow_root *dir)
{
	struct stat st;

	return !dir->live || fstat(dir->fd, &st) < 0 || st.st_nlink > 2;
}

static int follow_below(const struct follow *f, const char *below, struct stow_err *err)
{
	_cleanup_closedir_ DIR *d = NULL;
	const struct dirent *e;

	if (f->depth == STOW_CGROUP_DEPTH_MAX || (!below[0] && !has_below(f->dir)))
		return 0;
	d = stow_root_opendir(f->dir, NULL, "%s/", below);
	if (!d)
		return errno == ENODEV || errno == ENOENT ? 0
							  : stow_err_sys(err, errno, "%s", below);
	while ((e = readdir(d))) {
		char path[PATH_MAX];
		int r;

		if (!stow_entry_is_cgroup(e) ||
		    snprintf(path, sizeof(path), "%s%s%s", below, below[0] ? "/" : "", e->d_name) >=
			    (int)sizeof(path))
			continue;
		r = follow_one(f, path, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* v1: first grow to the union of both sets, from the top down, then shrink to the new set, from the
 * bottom up: at no moment does a cgroup have what its parent lacks. Each cgroup's new set is
 * computed from its present set and its parent's. It comes out the same from the grown sets, so
 * that another program can finish after the first was killed. */
static int write_v1(const struct stow_cgroup *cgroup, const char *name,
		    const struct stow_idset *was, const struct stow_idset *set,
		    struct stow_err *err)
{
	struct stow_root *dir = cgroup->at[STOW_CGROUP_CPUSET].dir;
	struct stow_idset both = *was;
	struct follow grow = { .dir = dir, .name = name, .was = was, .is = set, .grow = true };
	struct follow shrink = { .dir = dir, .name = name, .was = &both, .is = set };
	int r = 0;

	stow_idset_or(&both, set);
	if (!stow_idset_equal(&both, was))
		r = write_file(dir, "", name, &both, err);
	for (int i = 0; r == 0 && i < FOLLOW_TRIES; i++) {
		r = follow_below(&grow, "", err);
		if (r == 0)
			r = follow_below(&shrink, "", err);
		if (r == 0 && !stow_idset_equal(&both, set))
			r = write_file(dir, "", name, set, err);
		if (r != -EBUSY && r != -EACCES)
			break;
		r = i + 1 < FOLLOW_TRIES ? 0 : r;
	}
	return r;
}

/* Restrict `set` to what can be written: v1 accepts nothing that the cgroup above lacks. */
static int within_above(const struct stow_cgroup *cgroup, bool cpus, struct stow_idset *set,
			struct stow_err *err)
{
	struct stow_idset above;
	char a[256], b[256];
	int r;

	r = stow_cpuset_read_above(cgroup, cpus, &above, err);
	if (r < 0)
		return r;
	if (!stow_idset_intersects(set, &above))
		return stow_err_set(err, EBUSY,
				    "cgroup %s: the cgroup above has none of the %s %s; it has %s",
				    cgroup->path, cpus ? "CPUs" : "memory nodes",
				    stow_idset_format(set, a, sizeof(a)),
				    stow_idset_format(&above, b, sizeof(b)));
	stow_idset_and(set, &above);
	return 0;
}

/* `now`: the file's content. */
static int write_set(const struct stow_cgroup *cgroup, bool cpus, const struct stow_idset *now,
		     const struct stow_idset *set, struct stow_err *err)
{
	struct stow_root *dir = cgroup->at[STOW_CGROUP_CPUSET].dir;
	int version = cgroup->at[STOW_CGROUP_CPUSET].version;
	const char *name = stow_cpuset_file(cgroup, cpus, false);
	struct stow_idset wanted = *set;
	int r = 0;

	if (version == 1)
		r = within_above(cgroup, cpus, &wanted, err);
	if (r < 0)
		return r;
	if (stow_idset_equal(now, &wanted))
		return 0;
	if (version == 1)
		r = write_v1(cgroup, name, now, &wanted, err);
	else
		r = write_file(dir, "", name, &wanted, err);
	return r < 0 ? r : 1;
}

int stow_cpuset_change_cpus(const struct stow_cgroup *cgroup, const struct stow_idset *now,
			    const struct stow_idset *set, struct stow_err *err)
{
	return write_set(cgroup, true, now, set, err);
}

int stow_cpuset_widen_cpus(const struct stow_cgroup *cgroup, struct stow_idset *now,
			   const struct stow_idset *set, struct stow_err *err)
{
	struct stow_idset wanted = *set;
	int r;

	if (cgroup->at[STOW_CGROUP_CPUSET].version != 1)
		return 0;
	r = within_above(cgroup, true, &wanted, err);
	if (r < 0)
		return r;
	stow_idset_or(&wanted, now);
	if (stow_idset_equal(&wanted, now))
		return 0;
	r = write_file(cgroup->at[STOW_CGROUP_CPUSET].dir, "",
		       stow_cpuset_file(cgroup, true, false), &wanted, err);
	if (r == 0)
		*now = wanted;
	return r;
}

int stow_cpuset_clear_cpus(const struct stow_cgroup *cgroup, struct stow_err *err)
{
	return stow_root_write(cgroup->at[STOW_CGROUP_CPUSET].dir, "\n", err, "cpuset.cpus");
}

int stow_cpuset_write_mems(const struct stow_cgroup *cgroup, const struct stow_idset *set,
			   struct stow_err *err)
{
	struct stow_idset now;
	int r = 0;

	if (cgroup->at[STOW_CGROUP_CPUSET].version == 1)
		r = stow_root_write(cgroup->at[STOW_CGROUP_CPUSET].dir, "1", err,
				    cgroup->at[STOW_CGROUP_CPUSET].noprefix
					    ? "memory_migrate"
					    : "cpuset.memory_migrate");
	if (r == 0)
		r = read_set(cgroup, false, false, &now, err);
	return r < 0 ? r : write_set(cgroup, false, &now, set, err);
}

/* --- v1: CPUs that the kernel has removed --------------------------------- */

/* Give CPUs back to one of the cgroups above, named by the first `len` bytes of the path. `back`:
 * the CPUs that it may have lost, the container's own among them. `has`: its parent's set, replaced
 * by its own new set. */
static int give_back_one(const struct stow_cgroup *cgroup, size_t len,
			 const struct stow_idset *back, const struct stow_idset *own,
			 struct stow_idset *has, struct stow_err *err)
{
	const char *point = cgroup->at[STOW_CGROUP_CPUSET].point;
	const char *below = cgroup->at[STOW_CGROUP_CPUSET].below;
	const char *name = stow_cpuset_file(cgroup, true, false);
	_cleanup_free_ char *list = NULL;
	struct stow_idset cpus, lacking = *has;
	int r;

	r = stow_root_read_idset(cgroup->root, &cpus, err, "%s%.*s/%s", point, (int)len, below,
				 name);
	if (r < 0)
		return r;
	stow_idset_minus(&lacking, &cpus);
	if (!stow_idset_subset(&lacking, back))
		stow_idset_and(&lacking, own);
	*has = cpus;
	if (stow_idset_empty(&lacking))
		return 0;
	stow_idset_or(has, &lacking);
	list = stow_idset_to_list(has);
	if (!list)
		return stow_err_sys(err, ENOMEM, "%s", name);
	r = stow_root_write(cgroup->root, list, err, "%s%.*s/%s", point, (int)len, below, name);
	return r < 0 ? r : 1;
}

int stow_cpuset_give_back_above(const struct stow_cgroup *cgroup, const struct stow_idset *online,
				const struct stow_idset *returned, const struct stow_idset *own,
				struct stow_err *err)
{
	const char *below = cgroup->at[STOW_CGROUP_CPUSET].below;
	struct stow_idset has, back = *returned;
	int r, written = 0;

	stow_idset_or(&back, own);
	if (cgroup->at[STOW_CGROUP_CPUSET].version != 1 || stow_idset_empty(&back))
		return 0;
	r = stow_cpuset_read_at(cgroup, below, 0, true, &has, err);
	if (r < 0)
		return r;
	stow_idset_and(&has, online);
	for (size_t len = 1; r >= 0 && below[0] && below[len]; len++) {
		if (below[len] != '/')
			continue;
		r = give_back_one(cgroup, len, &back, own, &has, err);
		written |= r > 0;
	}
	return r < 0 ? r : written;
}

/* --- partitions ----------------------------------------------------------- */

int stow_cpuset_read_exclusive(struct stow_root *dir, struct stow_idset *ret, struct stow_err *err)
{
	return stow_root_read_idset(dir, ret, err, "cpuset.cpus.exclusive");
}

int stow_cpuset_write_exclusive(struct stow_root *dir, const struct stow_idset *set,
				struct stow_err *err)
{
	struct stow_idset now;
	int r;

	r = stow_cpuset_read_exclusive(dir, &now, err);
	if (r < 0 || stow_idset_equal(&now, set))
		return r;
	if (stow_idset_empty(set)) /* a write of length 0 does nothing */
		return stow_root_write(dir, "\n", err, "cpuset.cpus.exclusive");
	return write_file(dir, "", "cpuset.cpus.exclusive", set, err);
}

int stow_cpuset_read_held(struct stow_root *dir, struct stow_idset *ret, struct stow_err *err)
{
	return stow_root_read_idset(dir, ret, err, "cpuset.cpus.exclusive.effective");
}

int stow_cpuset_read_partition(struct stow_root *dir, char buf[static STOW_PARTITION_TEXT],
			       struct stow_err *err)
{
	int r = stow_root_read_buf(dir, buf, STOW_PARTITION_TEXT, err, "cpuset.cpus.partition");

	return r < 0 ? r : 0;
}

int stow_cpuset_write_partition(struct stow_root *dir, bool isolated, struct stow_err *err)
{
	return stow_root_write(dir, isolated ? "isolated" : "member", err, "cpuset.cpus.partition");
}

int stow_cpuset_read_isolated(const struct stow_cgroup *cgroup, struct stow_idset *ret,
			      struct stow_err *err)
{
	return stow_root_read_idset(cgroup->root, ret, err, "%s/cpuset.cpus.isolated",
				    cgroup->at[STOW_CGROUP_CPUSET].point);
}

/* --- v1: processes that the kernel has moved away ------------------------- */

int stow_cpuset_take_back(const struct stow_cgroup *cgroup, struct stow_err *err)
{
	struct stow_root *dir = cgroup->at[STOW_CGROUP_CPUSET].dir;
	_cleanup_free_ pid_t *here = NULL, *all = NULL;
	size_t n_here = 0, n = 0;
	int moved = 0, r;

	if (cgroup->at[STOW_CGROUP_CPUSET].version != 1)
		return 0;
	r = stow_cgroup_pids(cgroup, &here, &n_here, err);
	if (r < 0)
		return r;
	for (int c = STOW_CGROUP_CPUSET + 1; c < STOW_CGROUP_CONTROLLERS && !n; c++)
		if (cgroup->at[c].version == 1 && cgroup->at[c].dir)
			r = stow_cgroup_pids_below(cgroup->at[c].dir, "", NULL, &all, &n, err);
	if (r < 0)
		return r;
	if (!n && !n_here)
		return stow_err_set(err, ESRCH,
				    "cgroup %s is empty, and no other hierarchy has its processes",
				    cgroup->path);
	for (size_t i = 0; i < n; i++) {
		bool is_here = false;

		for (size_t j = 0; j < n_here && !is_here; j++)
			is_here = here[j] == all[i];
		if (is_here)
			continue;
		r = stow_root_write_u64(dir, (uint64_t)all[i], err, "cgroup.procs");
		if (r < 0 && r != -ESRCH) /* the process has ended */
			return r;
		moved += r == 0;
	}
	return moved;
}

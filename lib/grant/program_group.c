// SPDX-License-Identifier: Apache-2.0
#include "grant/program_group.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cgroup/hierarchy.h"
#include "cgroup/hierarchy_entry.h"
#include "ledger/paths.h"

#define LOCK_PATH STOW_RUN_DIR "/programs.lock"
#define DEPTH_MAX 16

int stow_programs_lock(struct stow_root *root, struct stow_err *err)
{
	int fd = stow_root_lock(root, err, "%s", LOCK_PATH);

	if (fd != -ENOENT)
		return fd;
	/* The first program since boot. */
	fd = stow_root_mkdir(root, STOW_RUN_DIR, err);
	return fd < 0 ? fd : stow_root_lock(root, err, "%s", LOCK_PATH);
}

/* Remove a group and the groups below it, the lowest first. The kernel refuses those that have
 * processes. */
static int remove_below(struct stow_root *root, const char *path, int depth, struct stow_err *err)
{
	_cleanup_closedir_ DIR *d = stow_root_opendir(root, NULL, "%s", path);
	const struct dirent *e;
	int r;

	while (d && depth < DEPTH_MAX && (e = readdir(d))) {
		char below[PATH_MAX];

		if (!stow_entry_is_cgroup(e) ||
		    snprintf(below, sizeof(below), "%s/%s", path, e->d_name) >= (int)sizeof(below))
			continue;
		r = remove_below(root, below, depth + 1, err);
		if (r < 0)
			return r;
	}
	return stow_root_rmdir(root, err, "%s", path);
}

/* Call `visit` with the folder of the groups in each hierarchy: one of them on v2, where all
 * controllers have the same. Return the first failure. */
static int each_hierarchy(struct stow_root *root,
			  int (*visit)(struct stow_root *root, const char *path, void *ctx,
				       struct stow_err *err),
			  void *ctx, struct stow_err *err)
{
	const char *seen[STOW_CGROUP_CONTROLLERS] = { NULL };
	struct stow_first first = { .err = err };
	size_t n = 0;

	for (int c = 0; c < STOW_CGROUP_CONTROLLERS; c++) {
		struct stow_hierarchy at;
		char path[PATH_MAX];
		bool known = false;

		if (stow_cgroup_hierarchy(root, c, &at, NULL) < 0 || at.above[0])
			continue;
		for (size_t i = 0; i < n; i++)
			known |= strcmp(seen[i], at.point) == 0;
		if (known)
			continue;
		seen[n++] = at.point;
		snprintf(path, sizeof(path), "%s" STOW_PROGRAMS_GROUP, at.point);
		stow_first_note(&first, visit(root, path, ctx, first.err));
	}
	return first.code;
}

static int remove_one(struct stow_root *root, const char *path, void *ctx, struct stow_err *err)
{
	char group[PATH_MAX];

	if (snprintf(group, sizeof(group), "%s/%s", path, (const char *)ctx) >= (int)sizeof(group))
		return stow_err_set(err, ENAMETOOLONG, "%s: the path is too long", path);
	return remove_below(root, group, 0, err);
}

int stow_program_remove(struct stow_root *root, const char *name, struct stow_err *err)
{
	return each_hierarchy(root, remove_one, (void *)name, err);
}

/* Remove the empty groups of one hierarchy. On v1 a program's processes are in all of them, so
 * that each hierarchy tells by itself which groups are empty. */
static int sweep(struct stow_root *root, const char *path, void *ctx, struct stow_err *err)
{
	_cleanup_closedir_ DIR *d = stow_root_opendir(root, NULL, "%s", path);
	const struct dirent *e;
	size_t *removed = ctx;

	while (d && (e = readdir(d))) {
		char group[PATH_MAX];

		if (!stow_entry_is_cgroup(e) ||
		    snprintf(group, sizeof(group), "%s/%s", path, e->d_name) >= (int)sizeof(group))
			continue;
		*removed += remove_below(root, group, 0, NULL) == 0;
	}
	return 0;
}

int stow_programs_sweep(struct stow_root *root, struct stow_err *err)
{
	_cleanup_unlock_ int lock = -EBADF;
	size_t removed = 0;

	/* No program has run since boot. */
	if (stow_root_exists(root, "%s", LOCK_PATH) != 1)
		return 0;
	lock = stow_programs_lock(root, err);
	if (lock < 0)
		return lock;
	(void)each_hierarchy(root, sweep, &removed, NULL);
	return (int)removed;
}

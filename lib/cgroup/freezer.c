// SPDX-License-Identifier: Apache-2.0
#include "cgroup/freezer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "cgroup/hierarchy.h"
#include "cgroup/hierarchy_internal.h"

/* Find the process's cgroup in the freezer's hierarchy. */
static int read_path(struct stow_root *root, const struct stow_pidref *process, char *buf,
		     size_t size, const char **ret_path, struct stow_err *err)
{
	char *save = NULL;
	int r = stow_root_read_buf(root, buf, size, err, "/proc/%d/cgroup", (int)process->pid);

	if (r < 0)
		return r == -ENOENT ? -ESRCH : r;
	for (char *line = strtok_r(buf, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		const char *controllers = stow_membership_split(line, ret_path);

		if (controllers && stow_controller_is_in(STOW_CGROUP_FREEZER, controllers))
			return 0;
	}
	return stow_err_set(err, ESRCH, "process %d is in no cgroup of the freezer",
			    (int)process->pid);
}

static bool reads(struct stow_root *root, const char *dir, const char *file, const char *word)
{
	char buf[32];

	return stow_root_read_buf(root, buf, sizeof(buf), NULL, "%s/%s", dir, file) > 0 &&
	       strcmp(buf, word) == 0;
}

/* Thaw from the process's own cgroup up to the container's: any of them can be frozen. */
static int thaw_up(struct stow_root *root, char *dir, size_t top, struct stow_err *err)
{
	for (;;) {
		char *slash;
		int r = 0;

		if (reads(root, dir, "freezer.self_freezing", "1"))
			r = stow_root_write(root, "THAWED", err, "%s/freezer.state", dir);
		if (r < 0)
			return r;
		slash = strrchr(dir, '/');
		if (strlen(dir) <= top || !slash)
			return 0;
		*slash = '\0';
	}
}

/* Name the cgroup above that keeps `dir` frozen. */
static int check_above(struct stow_root *root, char *dir, size_t point, struct stow_err *err)
{
	char *slash;

	if (!reads(root, dir, "freezer.parent_freezing", "1"))
		return 0;
	while ((slash = strrchr(dir, '/')) && (size_t)(slash - dir) > point) {
		*slash = '\0';
		if (reads(root, dir, "freezer.self_freezing", "1"))
			break;
	}
	return stow_err_set(err, EBUSY, "it is frozen by the cgroup above, %.256s", dir);
}

int stow_freezer_thaw(struct stow_root *root, const struct stow_cgroup_id *id,
		      const struct stow_pidref *process, struct stow_err *err)
{
	const char *top = stow_cgroup_id_path(id), *path = NULL;
	struct stow_hierarchy hierarchy;
	_cleanup_free_ char *dir = NULL;
	char buf[16384];
	size_t point, len;
	int r;

	if (stow_cgroup_hierarchy(root, STOW_CGROUP_FREEZER, &hierarchy, NULL) < 0 ||
	    hierarchy.version != 1)
		return 0;
	r = read_path(root, process, buf, sizeof(buf), &path, err);
	if (r < 0)
		return r;
	len = strlen(hierarchy.above);
	if (!stow_pidref_alive(root, process) || !stow_cgroup_path_is_sane(path) ||
	    strlen(top) < 2 || (strcmp(path, top) != 0 && !stow_cgroup_is_below(path, top)) ||
	    strncmp(top, hierarchy.above, len) != 0)
		return stow_err_set(err, ESRCH, "its first process is in another cgroup: %.256s",
				    path);
	if (asprintf(&dir, "%s%s", hierarchy.point, path + len) < 0)
		return stow_err_sys(err, ENOMEM, "%s", path);
	point = strlen(hierarchy.point);
	r = thaw_up(root, dir, point + strlen(top) - len, err);
	return r < 0 ? r : check_above(root, dir, point, err);
}

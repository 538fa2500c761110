// SPDX-License-Identifier: Apache-2.0
#include "cgroup/cgroup.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "cgroup/hierarchy_entry.h"
#include "cgroup/hierarchy_internal.h"

/* --- opening -------------------------------------------------------------- */

/* Return whether the directory that was opened below a mount really belongs to it (something else
 * may be mounted over it) and has the expected inode (0: any). */
static bool is_expected(const struct stow_root *dir, const struct hierarchy_mount *mount,
			uint64_t inode, uint64_t *ret_inode)
{
	struct stat st;

	if (fstat(dir->fd, &st) < 0 || (dir->live && mount->dev && st.st_dev != mount->dev))
		return false;
	*ret_inode = st.st_ino;
	return !inode || st.st_ino == inode;
}

/* The result of open_at(). */
struct opened {
	struct stow_root *dir;
	const char *point; /* of the mount */
	size_t hidden;	   /* bytes of the path above the mount's root */
	uint64_t inode;
	bool noprefix;
};

/* Open the cgroup `path` below any mount of its hierarchy that shows it. -ESRCH: it is gone, or has
 * another inode. -EXDEV: no mount shows it. */
static int open_at(struct stow_root *root, const struct hierarchy *h, const char *path,
		   uint64_t inode, struct opened *ret, struct stow_err *err)
{
	bool shown = false;

	for (size_t i = 0; i < h->n && stow_cgroup_path_is_sane(path); i++) {
		_cleanup_(stow_root_free_ptr) struct stow_root *dir = NULL;
		const char *below = stow_below_mount(&h->mounts[i], path);
		int r;

		if (!below)
			continue;
		shown = true;
		r = stow_root_sub(root, &dir, err, "%s%s", h->mounts[i].point, below);
		if (r < 0 && r != -ENOENT && r != -ENODEV && r != -ENOTDIR)
			return r;
		if (r < 0 || !is_expected(dir, &h->mounts[i], inode, &ret->inode))
			continue;
		ret->dir = STOW_TAKE_PTR(dir);
		ret->point = h->mounts[i].point;
		ret->hidden = strlen(h->mounts[i].root);
		ret->noprefix = h->mounts[i].noprefix;
		return 0;
	}
	if (shown)
		return stow_err_set(err, ESRCH, "cgroup \"%.128s\" is gone", path);
	return stow_err_set(err, EXDEV,
			    "cgroup \"%.128s\" is outside of the hierarchy mounted at %s", path,
			    h->n ? h->mounts[0].point : "(nothing)");
}

static int set_id(struct stow_cgroup *cgroup, int c, int version, const char *path, uint64_t inode,
		  struct stow_err *err)
{
	cgroup->id.at[c].path = strdup(path);
	if (!cgroup->id.at[c].path)
		return stow_err_sys(err, ENOMEM, "%s", path);
	cgroup->id.at[c].version = version;
	cgroup->id.at[c].inode = inode;
	if (c == STOW_CGROUP_CPUSET) {
		cgroup->path = cgroup->id.at[c].path;
		cgroup->inode = inode;
	}
	return 0;
}

/* Use the directory that another controller of the unified hierarchy has opened already. */
static bool borrow(struct stow_cgroup *cgroup, int c)
{
	for (int lender = 0; lender < c; lender++)
		if (cgroup->at[lender].dir && cgroup->at[lender].on_v2) {
			cgroup->at[c] = cgroup->at[lender];
			cgroup->at[c].shared = true;
			cgroup->at[c].version = 0;
			cgroup->id.at[c].inode = cgroup->id.at[lender].inode;
			return true;
		}
	return false;
}

/* Set controller `c` to the cgroup at `path`, unless the v2 cgroup does not have it enabled.
 * `inode`: 0 for any. */
static int take_controller(struct stow_root *root, const struct hierarchy *h, int version, int c,
			   const char *path, uint64_t inode, struct stow_cgroup *cgroup,
			   struct stow_err *err)
{
	static const char *const probe[STOW_CGROUP_CONTROLLERS] = {
		[STOW_CGROUP_CPUSET] = "cpuset.cpus",
		[STOW_CGROUP_HUGETLB] = "hugetlb.2MB.max",
		[STOW_CGROUP_MEMORY] = "memory.max",
	};
	struct opened opened = { 0 };
	int r;

	cgroup->root = root;
	if (version != 2 || !borrow(cgroup, c)) {
		r = open_at(root, h, path, inode, &opened, err);
		if (r < 0)
			return r;
		cgroup->at[c].dir = opened.dir;
		cgroup->at[c].noprefix = opened.noprefix;
		cgroup->at[c].point = opened.point;
		cgroup->at[c].hidden = opened.hidden;
		cgroup->id.at[c].inode = opened.inode;
	}
	cgroup->at[c].on_v2 = version == 2;
	r = set_id(cgroup, c, version, path, cgroup->id.at[c].inode, err);
	if (r < 0)
		return r;
	cgroup->at[c].below = cgroup->id.at[c].path + cgroup->at[c].hidden;
	/* The names of hugetlb files depend on the machine's page sizes, so hugetlb is not probed
	 * here; its files are looked for when they are written. */
	r = version == 2 && c != STOW_CGROUP_HUGETLB
		    ? stow_root_exists(cgroup->at[c].dir, "%s", probe[c])
		    : 1;
	if (r < 0)
		return stow_err_sys(err, -r, "%s of cgroup %s", probe[c], path);
	cgroup->at[c].version = r ? version : 0;
	return 0;
}

/* Read one line of /proc/PID/cgroup. */
static int read_membership(struct stow_root *root, const struct hierarchies *h, char *line,
			   struct stow_cgroup *cgroup, struct stow_err *err)
{
	const char *path, *controllers = stow_membership_split(line, &path);
	int r = 0;

	if (!controllers)
		return 0;
	for (int c = 0; c < STOW_CGROUP_CONTROLLERS && r == 0; c++) {
		if (cgroup->id.at[c].path) /* the first line with the controller counts */
			continue;
		if (!*controllers && !h->v1[c].n && h->v2.n)
			r = take_controller(root, &h->v2, 2, c, path, 0, cgroup, err);
		else if (*controllers && stow_controller_is_in(c, controllers) && h->v1[c].n)
			r = take_controller(root, &h->v1[c], 1, c, path, 0, cgroup, err);
	}
	return r;
}

int stow_cgroup_of_pid(struct stow_root *root, pid_t pid, struct stow_cgroup **ret_cgroup,
		       struct stow_err *err)
{
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cgroup = NULL;
	const struct hierarchies *h = NULL;
	char buf[16384], *save = NULL;
	int r;

	cgroup = calloc(1, sizeof(*cgroup));
	if (!cgroup)
		return stow_err_sys(err, ENOMEM, "cgroup of %d", (int)pid);
	cgroup->path = "";
	r = stow_root_read_buf(root, buf, sizeof(buf), err, "/proc/%d/cgroup", (int)pid);
	if (r == -ENOENT || r == -ESRCH)
		return stow_err_set(err, ESRCH, "there is no process %d", (int)pid);
	if (r < 0)
		return r;
	cgroup->membership = strdup(buf);
	if (!cgroup->membership)
		return stow_err_sys(err, ENOMEM, "cgroup of %d", (int)pid);
	r = stow_hierarchies(root, &h, err);
	for (char *line = strtok_r(buf, "\n", &save); line && r == 0;
	     line = strtok_r(NULL, "\n", &save))
		r = read_membership(root, h, line, cgroup, err);
	if (r < 0)
		return r;
	*ret_cgroup = STOW_TAKE_PTR(cgroup);
	return 0;
}

int stow_cgroup_of_path(struct stow_root *root, const char *path, struct stow_cgroup **ret_cgroup,
			struct stow_err *err)
{
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cgroup = calloc(1, sizeof(*cgroup));
	const struct hierarchies *h = NULL;
	int r;

	if (!cgroup)
		return stow_err_sys(err, ENOMEM, "cgroup");
	cgroup->path = "";
	r = stow_hierarchies(root, &h, err);
	if (r < 0)
		return r;
	for (int c = 0; c < STOW_CGROUP_CONTROLLERS; c++) {
		int version;
		const struct hierarchy *at = stow_hierarchy_of(h, c, &version);

		r = version ? take_controller(root, at, version, c, path, 0, cgroup, err) : -ESRCH;
		if (r < 0 && (c == STOW_CGROUP_CPUSET || (r != -ESRCH && r != -EXDEV)))
			return version ? r : stow_err_set(err, ESRCH, "no cpuset is mounted");
	}
	*ret_cgroup = STOW_TAKE_PTR(cgroup);
	return 0;
}

/* Open the first `controllers` of the enum, by the path and inode in `id`. */
static int open_by_id(struct stow_root *root, const struct stow_cgroup_id *id, int controllers,
		      struct stow_cgroup **ret_cgroup, struct stow_err *err)
{
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cgroup = calloc(1, sizeof(*cgroup));
	const struct hierarchies *h = NULL;
	int r;

	if (!cgroup)
		return stow_err_sys(err, ENOMEM, "cgroup");
	cgroup->path = "";
	if (!id->at[STOW_CGROUP_CPUSET].version)
		return stow_err_set(err, ESRCH, "the container has no cpuset cgroup");
	r = stow_hierarchies(root, &h, err);
	if (r < 0)
		return r;
	for (int c = 0; c < controllers; c++) {
		int version = id->at[c].version;

		if (!version)
			continue;
		r = take_controller(root, version == 1 ? &h->v1[c] : &h->v2, version, c,
				    id->at[c].path, id->at[c].inode, cgroup, err);
		if (r == -ESRCH && c != STOW_CGROUP_CPUSET)
			r = 0;
		if (r < 0)
			return r;
	}
	*ret_cgroup = STOW_TAKE_PTR(cgroup);
	return 0;
}

int stow_cgroup_open(struct stow_root *root, const struct stow_cgroup_id *id,
		     struct stow_cgroup **ret_cgroup, struct stow_err *err)
{
	return open_by_id(root, id, STOW_CGROUP_CONTROLLERS, ret_cgroup, err);
}

int stow_cpuset_open(struct stow_root *root, const struct stow_cgroup_id *id,
		     struct stow_cgroup **ret_cgroup, struct stow_err *err)
{
	return open_by_id(root, id, STOW_CGROUP_CPUSET + 1, ret_cgroup, err);
}

void stow_cgroup_free(struct stow_cgroup *cgroup)
{
	if (!cgroup)
		return;
	for (int c = 0; c < STOW_CGROUP_CONTROLLERS; c++) {
		if (!cgroup->at[c].shared)
			stow_root_free(cgroup->at[c].dir);
	}
	stow_cgroup_id_done(&cgroup->id);
	free(cgroup->membership);
	free(cgroup);
}

/* --- identity ------------------------------------------------------------- */

void stow_cgroup_id_done(struct stow_cgroup_id *id)
{
	for (int c = 0; c < STOW_CGROUP_CONTROLLERS; c++)
		free(id->at[c].path);
	*id = (struct stow_cgroup_id){ 0 };
}

int stow_cgroup_id_copy(const struct stow_cgroup_id *from, struct stow_cgroup_id *ret,
			struct stow_err *err)
{
	struct stow_cgroup_id id = *from;
	bool failed = false;

	for (int c = 0; c < STOW_CGROUP_CONTROLLERS; c++) {
		id.at[c].path = from->at[c].path ? strdup(from->at[c].path) : NULL;
		failed |= from->at[c].path && !id.at[c].path;
	}
	if (failed) {
		stow_cgroup_id_done(&id);
		return stow_err_sys(err, ENOMEM, "cgroup");
	}
	*ret = id;
	return 0;
}

const char *stow_cgroup_id_path(const struct stow_cgroup_id *id)
{
	const char *path = id->at[STOW_CGROUP_CPUSET].path;

	return path ? path : "";
}

bool stow_cgroup_id_equal(const struct stow_cgroup_id *a, const struct stow_cgroup_id *b)
{
	return a->at[STOW_CGROUP_CPUSET].inode == b->at[STOW_CGROUP_CPUSET].inode &&
	       strcmp(stow_cgroup_id_path(a), stow_cgroup_id_path(b)) == 0;
}

/* v1 has no "populated": find out whether the cgroup, or one below it, has processes. */
static int has_processes(struct stow_root *dir, const char *below, int depth, struct stow_err *err)
{
	_cleanup_closedir_ DIR *d = NULL;
	const struct dirent *e;
	char buf[64];
	int r;

	r = stow_root_read_buf(dir, buf, sizeof(buf), err, "%s/cgroup.procs", below);
	if (r == -E2BIG || r > 0)
		return 1;
	if (r < 0)
		return r == -ENODEV || r == -ENOENT ? 0 : r;
	d = stow_root_opendir(dir, NULL, "%s/", below);
	if (!d)
		return errno == ENODEV || errno == ENOENT ? 0
							  : stow_err_sys(err, errno, "%s", below);
	while ((e = readdir(d))) {
		char path[PATH_MAX];

		if (!stow_entry_is_cgroup(e))
			continue;
		/* Count what is nested too deeply to look at as processes: a container that is
		 * taken for one that has ended loses its CPUs. */
		if (depth == STOW_CGROUP_DEPTH_MAX ||
		    snprintf(path, sizeof(path), "%s/%s", below, e->d_name) >= (int)sizeof(path))
			return 1;
		r = has_processes(dir, path, depth + 1, err);
		if (r != 0)
			return r;
	}
	return 0;
}

int stow_cgroup_has_processes(const struct stow_cgroup *cgroup, struct stow_err *err)
{
	struct stow_root *dir = cgroup->at[STOW_CGROUP_CPUSET].dir;
	char buf[4096];
	int r;

	if (!dir)
		return 0;
	if (!cgroup->at[STOW_CGROUP_CPUSET].on_v2)
		return has_processes(dir, "", 0, err);
	r = stow_root_read_buf(dir, buf, sizeof(buf), err, "cgroup.events");
	if (r == -ENODEV)
		return 0;
	return r < 0 ? r : strstr(buf, "populated 1") != NULL;
}

int stow_cgroup_populated(struct stow_root *root, const struct stow_cgroup_id *id,
			  struct stow_err *err)
{
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cgroup = NULL;
	int r;

	if (!id->at[STOW_CGROUP_CPUSET].version)
		return 0;
	r = stow_cpuset_open(root, id, &cgroup, err);
	if (r < 0)
		return r == -ESRCH ? 0 : r;
	return stow_cgroup_has_processes(cgroup, err);
}

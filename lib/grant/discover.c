// SPDX-License-Identifier: Apache-2.0
#include "grant/discover.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/math.h"
#include "cgroup/cpuset.h"
#include "cgroup/hierarchy.h"
#include "cgroup/hierarchy_entry.h"
#include "cgroup/pidref.h"
#include "cgroup/procs.h"

#define INNER "/container" /* crun's, below the scope that systemd made */

void stow_discovery_done(struct stow_discovery *discovery)
{
	for (size_t i = 0; i < discovery->n; i++)
		free(discovery->list[i].path);
	free(discovery->list);
	*discovery = (struct stow_discovery){ 0 };
}

/* --- names ---------------------------------------------------------------- */

static bool is_id(const char *text, const char **ret_end)
{
	*ret_end = text + STOW_DISCOVER_ID;
	return strspn(text, "0123456789abcdef") == STOW_DISCOVER_ID;
}

const char *stow_discover_id(const char *name, const char *above)
{
	static const char *const prefixes[] = {
		"libpod-payload-", "libpod-", "docker-", "nerdctl-", "cri-containerd-", "crio-",
	};
	const char *end;

	/* Below libpod_parent, a plain ID is a pod; its containers have Podman's names. */
	if (is_id(name, &end) && !*end)
		return strcmp(above, "libpod_parent") == 0 ? NULL : name;
	for (size_t i = 0; i < STOW_ARRAY_SIZE(prefixes); i++) {
		size_t len = strlen(prefixes[i]);

		/* "libpod-conmon-ID" is the monitor: there is no ID right behind the prefix. */
		if (strncmp(name, prefixes[i], len) == 0 && is_id(name + len, &end) &&
		    (!*end || strcmp(end, ".scope") == 0))
			return name + len;
	}
	return NULL;
}

bool stow_discover_in(const char *path, char ret_id[static STOW_DISCOVER_ID + 1])
{
	char name[NAME_MAX + 1], above[NAME_MAX + 1] = "";

	if (strncmp(path, "/user.slice/", 12) == 0)
		return false;
	while (*path) {
		size_t len = strcspn(++path, "/");
		const char *id;

		snprintf(name, sizeof(name), "%.*s", (int)STOW_MIN(len, (size_t)NAME_MAX), path);
		id = stow_discover_id(name, above);
		if (id) {
			snprintf(ret_id, STOW_DISCOVER_ID + 1, "%.*s", STOW_DISCOVER_ID, id);
			return true;
		}
		memcpy(above, name, sizeof(above));
		path += len;
	}
	return false;
}

/* --- walking -------------------------------------------------------------- */

struct walk {
	struct stow_root *root;
	const char *point; /* where the hierarchy is mounted */
	const char *above; /* what lies above the mount in its paths */
	bool (*is_none)(void *ctx, const char *path);
	void *ctx;
	struct stow_discovery *result;
	/* Cgroups to visit, below the mount; level by level, so that a deep or wide tree does not
	 * hide the containers elsewhere. */
	char **queue;
	size_t n, next, level_end;
};

static void walk_done(struct walk *walk)
{
	for (size_t i = walk->next; i < walk->n; i++)
		free(walk->queue[i]);
	free(walk->queue);
}

static int add_container(struct walk *walk, const char *id, const char *path, uint64_t inode,
			 struct stow_err *err)
{
	struct stow_discovery *d = walk->result;
	struct stow_discovered *added;
	char *copy = strdup(path);

	added = copy ? STOW_APPEND(d->list, d->n) : NULL;
	if (!added) {
		free(copy);
		return stow_err_sys(err, ENOMEM, "%s", path);
	}
	*added = (struct stow_discovered){ .path = copy, .inode = inode };
	snprintf(added->id, sizeof(added->id), "%.*s", STOW_DISCOVER_ID, id);
	return 0;
}

static int add_folder(struct walk *walk, const char *path, struct stow_err *err)
{
	char **added;

	if (walk->n == STOW_DISCOVER_CGROUPS) {
		walk->result->cut = true;
		return 0;
	}
	added = STOW_APPEND(walk->queue, walk->n);
	if (added)
		*added = strdup(path);
	return added && *added ? 0 : stow_err_sys(err, ENOMEM, "%s", path);
}

/* Return the inode of a cgroup's directory; 0: it is gone. */
static uint64_t inode_of(struct walk *walk, const char *path)
{
	_cleanup_close_ int fd = stow_root_openat(walk->root, O_PATH | O_DIRECTORY | O_NOFOLLOW, 0,
						  NULL, "%s%s", walk->point, path);
	struct stat st;

	return fd < 0 || fstat(fd, &st) < 0 ? 0 : st.st_ino;
}

/* Look at one cgroup: record it as a container, or queue it. `path` is below the mount. */
static int look_at(struct walk *walk, const char *path, const char *name, const char *above,
		   struct stow_err *err)
{
	const char *id = stow_discover_id(name, above);
	char whole[STOW_DISCOVER_PATH];
	uint64_t inode;

	/* A cgroup's name may not contain a newline on a real kernel; an entry consists of
	 * lines. */
	if (strchr(name, '\n') ||
	    snprintf(whole, sizeof(whole), "%s%s", walk->above, path) >= (int)sizeof(whole))
		return 0;
	if (!id || (walk->is_none && walk->is_none(walk->ctx, whole)))
		return strcmp(whole, "/user.slice") == 0 ? 0 : add_folder(walk, path, err);
	inode = inode_of(walk, path);
	return inode ? add_container(walk, id, whole, inode, err) : 0;
}

static int look_into(struct walk *walk, const char *path, struct stow_err *err)
{
	_cleanup_closedir_ DIR *d = NULL;
	const char *above = strrchr(path, '/');
	const struct dirent *e;
	int r;

	d = stow_root_opendir(walk->root, NULL, "%s%s", walk->point, path[0] ? path : "/");
	/* A cgroup that has gone meanwhile has no containers. */
	if (!d && path[0] && (errno == ENOENT || errno == ENODEV))
		return 0;
	if (!d)
		return stow_err_sys(err, errno, "%s%s", walk->point, path);
	while ((e = readdir(d))) {
		char below[STOW_DISCOVER_PATH];

		if (!stow_entry_is_cgroup(e) ||
		    snprintf(below, sizeof(below), "%s/%s", path, e->d_name) >= (int)sizeof(below))
			continue;
		r = look_at(walk, below, e->d_name, above ? above + 1 : "", err);
		if (r < 0)
			return r;
	}
	return 0;
}

int stow_discover(struct stow_root *root, bool (*is_none)(void *ctx, const char *path), void *ctx,
		  struct stow_discovery *ret, struct stow_err *err)
{
	struct stow_discovery result = { 0 };
	_cleanup_(walk_done) struct walk walk = {
		.root = root, .is_none = is_none, .ctx = ctx, .result = &result
	};
	struct stow_hierarchy hierarchy;
	int r;

	r = stow_cgroup_hierarchy(root, STOW_CGROUP_CPUSET, &hierarchy, err);
	if (r < 0)
		return r;
	walk.point = hierarchy.point;
	walk.above = hierarchy.above;
	r = look_into(&walk, "", err);
	for (int depth = 1; r == 0 && walk.next < walk.n && depth < STOW_DISCOVER_DEPTH; depth++) {
		walk.level_end = walk.n;
		while (r == 0 && walk.next < walk.level_end) {
			_cleanup_free_ char *path = walk.queue[walk.next++];

			r = look_into(&walk, path, err);
		}
	}
	if (r < 0) {
		stow_discovery_done(&result);
		return r;
	}
	*ret = result;
	return 0;
}

/* --- one container -------------------------------------------------------- */

bool stow_discover_is_inner(const struct stow_discovered *container, const char *path)
{
	size_t len = strlen(container->path);

	return strncmp(path, container->path, len) == 0 && strcmp(path + len, INNER) == 0;
}

static bool is_scope(const char *path)
{
	const char *dot = strrchr(path, '.');

	return dot && strcmp(dot, ".scope") == 0;
}

/* Return whether the scope is as crun leaves it. A program inside cannot make it look so: a program
 * of a container of crun's sees "container" as its topmost cgroup, and cannot write in the scope. */
static bool has_inner(struct stow_root *scope)
{
	_cleanup_closedir_ DIR *d = NULL;
	const struct dirent *e;
	bool inner = false;
	char procs[16];

	if (stow_root_read_buf(scope, procs, sizeof(procs), NULL, "/cgroup.procs") != 0)
		return false;
	d = stow_root_opendir(scope, NULL, "/");
	while (d && (e = readdir(d))) {
		if (!stow_entry_is_cgroup(e))
			continue;
		if (strcmp(e->d_name, &INNER[1]) != 0)
			return false;
		inner = true;
	}
	return inner;
}

bool stow_discover_has_inner(struct stow_root *root, const struct stow_discovered *container)
{
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cgroup = NULL;

	return is_scope(container->path) &&
	       stow_cgroup_of_path(root, container->path, &cgroup, NULL) == 0 &&
	       cgroup->inode == container->inode && has_inner(cgroup->at[STOW_CGROUP_CPUSET].dir);
}

/* Open the container's cgroup. -ESRCH: it is gone. */
static int open_cgroup(struct stow_root *root, const struct stow_discovered *container,
		       struct stow_cgroup **ret, struct stow_err *err)
{
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *outer = NULL;
	char path[STOW_DISCOVER_PATH + sizeof(INNER)];
	int r;

	r = stow_cgroup_of_path(root, container->path, &outer, err);
	if (r < 0)
		return r;
	if (outer->inode != container->inode)
		return stow_err_set(err, ESRCH, "cgroup %.128s is gone", container->path);
	if (!is_scope(container->path) || !has_inner(outer->at[STOW_CGROUP_CPUSET].dir)) {
		*ret = STOW_TAKE_PTR(outer);
		return 0;
	}
	snprintf(path, sizeof(path), "%s" INNER, container->path);
	return stow_cgroup_of_path(root, path, ret, err);
}

/* Return whether its runtime still creates the container: its hooks may not have run. A process
 * that has ended meanwhile does not count. */
static bool is_created(struct stow_root *root, const struct stow_cgroup *cgroup)
{
	_cleanup_free_ pid_t *pids = NULL;
	bool created = false;
	size_t n = 0;

	if (stow_cgroup_pids(cgroup, &pids, &n, NULL) < 0)
		return false;
	for (size_t i = 0; i < n; i++) {
		if (stow_process_is_created(root, pids[i]))
			created = true;
		else if (stow_root_exists(root, "/proc/%d", (int)pids[i]) != 0)
			return false;
	}
	return created;
}

int stow_discover_read(struct stow_root *root, const struct stow_discovered *container,
		       struct stow_unmanaged *ret, struct stow_err *err)
{
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cgroup = NULL;
	struct stow_unmanaged found = { 0 };
	int r;

	r = open_cgroup(root, container, &cgroup, err);
	if (r == 0)
		r = stow_cgroup_has_processes(cgroup, err);
	if (r <= 0 || is_created(root, cgroup))
		return r == -ESRCH || r > 0 ? 0 : r;
	snprintf(found.id, sizeof(found.id), "%s", container->id);
	if (cgroup->at[STOW_CGROUP_CPUSET].version)
		r = stow_cpuset_read_given(cgroup, true, &found.given, err);
	if (r < 0)
		return r == -ENOENT || r == -ENODEV ? 0 : r;
	found.cgroup = cgroup->id;
	found.cgroup.at[STOW_CGROUP_CPUSET].version = cgroup->at[STOW_CGROUP_CPUSET].version;
	cgroup->id = (struct stow_cgroup_id){ 0 };
	*ret = found;
	return 1;
}

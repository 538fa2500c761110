// SPDX-License-Identifier: Apache-2.0
#include "cgroup/procs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/parse.h"
#include "cgroup/hierarchy_entry.h"

#define CGROUPS_MAX 16384 /* limit for one container, which may make any number */
#define PATH_MOST   4096  /* PATH_MAX: what one openat2(2) takes */

struct pids {
	const char *file; /* of each cgroup, which lists them */
	pid_t *list;
	size_t n;
};

/* Cgroups still to be read. */
struct folders {
	char **list;
	size_t n, seen;
};

static void pids_done(struct pids *pids)
{
	free(pids->list);
}

static void folders_done(struct folders *folders)
{
	while (folders->n)
		free(folders->list[--folders->n]);
	free(folders->list);
}

static int add_pid(struct pids *pids, pid_t pid, struct stow_err *err)
{
	pid_t *added = STOW_APPEND(pids->list, pids->n);

	if (!added)
		return stow_err_set(err, ENOMEM, "out of memory");
	*added = pid;
	return 0;
}

static int add_file(struct stow_root *dir, const char *path, const char *file, struct pids *pids,
		    struct stow_err *err)
{
	_cleanup_free_ char *text = NULL;
	char *save = NULL;
	int r;

	r = stow_root_read(dir, STOW_ROOT_READ_MAX, &text, NULL, err, "%s/%s", path, file);
	for (char *line = r < 0 ? NULL : strtok_r(text, "\n", &save); line && r >= 0;
	     line = strtok_r(NULL, "\n", &save)) {
		uint64_t pid;

		/* 0: a process of another pid namespace. */
		if (stow_parse_u64(line, INT32_MAX, &pid, NULL) == 0 && pid != 0)
			r = add_pid(pids, (pid_t)pid, err);
	}
	return r < 0 ? r : 0;
}

static int add_folder(struct folders *folders, const char *path, struct stow_err *err)
{
	char **added;

	if (++folders->seen > CGROUPS_MAX)
		return stow_err_set(err, E2BIG, "more than %d cgroups below one container's",
				    CGROUPS_MAX);
	added = STOW_APPEND(folders->list, folders->n);
	if (added)
		*added = strdup(path);
	return added && *added ? 0 : stow_err_set(err, ENOMEM, "out of memory");
}

/* Add the cgroups in one. It may be gone by now. */
static int add_children(struct stow_root *dir, const char *path, const char *border,
			struct folders *folders, struct stow_err *err)
{
	_cleanup_closedir_ DIR *folder = stow_root_opendir(dir, NULL, "%s/", path);
	const struct dirent *entry;
	int r = 0;

	if (!folder)
		return errno == ENODEV || errno == ENOENT ? 0
							  : stow_err_sys(err, errno, "%s", path);
	while (r == 0 && (entry = readdir(folder))) {
		char below[PATH_MOST];

		if (!stow_entry_is_cgroup(entry))
			continue;
		if (snprintf(below, sizeof(below), "%s/%s", path, entry->d_name) >=
		    (int)sizeof(below))
			return stow_err_set(err, ENAMETOOLONG,
					    "a cgroup below the container's is nested too deeply: "
					    "its path has more than %d bytes",
					    PATH_MOST - 1);
		if (!border || stow_root_exists(dir, "%s/%s", below, border) != 1)
			r = add_folder(folders, below, err);
	}
	return r;
}

/* Add the processes or threads of one cgroup. A threaded cgroup does not list processes; its
 * nearest ancestor that is not threaded lists them. If the start itself is threaded, use its
 * threads instead. */
static int add_cgroup(struct stow_root *dir, const char *path, bool top, struct pids *pids,
		      struct stow_err *err)
{
	struct stow_err why = { 0 };
	int r = add_file(dir, path, pids->file, pids, &why);

	if (r == -EOPNOTSUPP && top) {
		r = add_file(dir, path, "cgroup.threads", pids, &why);
		if (r == -EOPNOTSUPP || r == -ENOENT)
			r = 0; /* "domain invalid": it has no processes */
	}
	if (!top && (r == -EOPNOTSUPP || r == -ENOENT || r == -ENODEV))
		return 0; /* threaded, or gone meanwhile */
	return r < 0 ? stow_err_move(err, r, &why) : 0;
}

static int by_number(const void *a, const void *b)
{
	pid_t x = *(const pid_t *)a, y = *(const pid_t *)b;

	return (x > y) - (x < y);
}

/* On v1 a process whose threads are in several cgroups is listed in each. */
static void make_unique(struct pids *pids)
{
	size_t n = 0;

	if (pids->n)
		qsort(pids->list, pids->n, sizeof(*pids->list), by_number);
	for (size_t i = 0; i < pids->n; i++)
		if (n == 0 || pids->list[n - 1] != pids->list[i])
			pids->list[n++] = pids->list[i];
	pids->n = n;
}

/* List what `file` of the cgroup `path` and of those below it lists. */
static int list_below(struct stow_root *dir, const char *path, const char *file, const char *border,
		      pid_t **ret_pids, size_t *ret_n, struct stow_err *err)
{
	_cleanup_(folders_done) struct folders folders = { 0 };
	_cleanup_(pids_done) struct pids pids = { .file = file };
	int r;

	r = add_cgroup(dir, path, true, &pids, err);
	if (r == 0)
		r = add_children(dir, path, border, &folders, err);
	while (r == 0 && folders.n) {
		_cleanup_free_ char *next = folders.list[--folders.n];

		r = add_cgroup(dir, next, false, &pids, err);
		if (r == 0)
			r = add_children(dir, next, border, &folders, err);
	}
	if (r < 0)
		return r;
	make_unique(&pids);
	*ret_pids = STOW_TAKE_PTR(pids.list);
	*ret_n = pids.n;
	return 0;
}

int stow_cgroup_pids_below(struct stow_root *dir, const char *path, const char *border,
			   pid_t **ret_pids, size_t *ret_n, struct stow_err *err)
{
	return list_below(dir, path, "cgroup.procs", border, ret_pids, ret_n, err);
}

int stow_cgroup_pids(const struct stow_cgroup *cgroup, pid_t **ret_pids, size_t *ret_n,
		     struct stow_err *err)
{
	return stow_cgroup_pids_below(cgroup->at[STOW_CGROUP_CPUSET].dir, "", NULL, ret_pids, ret_n,
				      err);
}

int stow_cgroup_threads(const struct stow_cgroup *cgroup, pid_t **ret_tids, size_t *ret_n,
			struct stow_err *err)
{
	bool v1 = cgroup->at[STOW_CGROUP_CPUSET].version == 1;

	return list_below(cgroup->at[STOW_CGROUP_CPUSET].dir, "", v1 ? "tasks" : "cgroup.threads",
			  NULL, ret_tids, ret_n, err);
}

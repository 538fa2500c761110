// SPDX-License-Identifier: Apache-2.0
#include "grant/pods.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "cgroup/hierarchy.h"
#include "cgroup/kubepods.h"
#include "grant/cpuview.h"
#include "ledger/ledger.h"

bool stow_pods_are_on(struct stow_root *root)
{
	return stow_root_exists(root, "%s", STOW_PODS_ON_PATH) != 0;
}

int stow_pods_set(struct stow_root *root, bool on, struct stow_err *err)
{
	if (!on)
		return stow_root_unlink(root, err, "%s", STOW_PODS_ON_PATH);
	if (stow_pods_are_on(root))
		return 0;
	return stow_root_replace(root, STOW_PODS_ON_PATH, "", 0600, err);
}

/* Read the online CPUs that kubelet's topmost cgroup may use: all, unless it has a set of its own.
 * If the applier has written that set, it lacks no CPUs but exclusive ones. */
static void read_top(struct stow_root *root, const char *path, const struct stow_idset *online,
		     struct stow_idset *ret)
{
	const char *point;

	if (stow_cgroup_mount(root, STOW_CGROUP_CPUSET, &point, NULL) < 0 ||
	    (stow_root_read_idset(root, ret, NULL, "%s%s/cpuset.cpus", point, path) < 0 &&
	     stow_root_read_idset(root, ret, NULL, "%s%s/cpus", point, path) < 0) ||
	    stow_idset_empty(ret))
		*ret = *online;
	stow_idset_and(ret, online);
}

int stow_pods_check_rest(const struct stow_grant_context *context, const struct stow_idset *cpus,
			 struct stow_err *err)
{
	_cleanup_(stow_cpu_view_done) struct stow_cpu_view view = { 0 };
	const char *tops[STOW_KUBEPODS_MAX];
	char list[160];
	size_t n;
	int r;

	if (stow_idset_empty(cpus) || !stow_pods_are_on(context->root))
		return 0;
	r = stow_cpu_view_read(context->root, context->config, context->ledger, &view, err);
	if (r < 0)
		return r;
	n = stow_kubepods_find(context->root, tops);
	for (size_t i = 0; i < n; i++) {
		struct stow_idset rest;

		read_top(context->root, tops[i], &view.online, &rest);
		stow_idset_minus(&rest, &view.isolated);
		stow_idset_minus(&rest, &view.exclusive);
		stow_idset_minus(&rest, cpus);
		if (stow_idset_empty(&rest))
			return stow_err_set(err, ENOSPC,
					    "exclusive CPUs %s would leave none to pods without "
					    "exclusive CPUs; at least one stays for them",
					    stow_idset_format(cpus, list, sizeof(list)));
	}
	return 0;
}

int stow_pods_check_class(struct stow_root *root, const char *path, struct stow_err *err)
{
	enum stow_pod_class class;

	if (!stow_pods_are_on(root))
		return 0;
	class = stow_kubepods_class(path);
	if (class == STOW_POD_GUARANTEED)
		return 1;
	if (class == STOW_POD_NONE)
		return 0;
	return stow_err_set(err, EPERM,
			    "exclusive CPUs need a pod of class Guaranteed, whose containers have "
			    "equal requests and limits of CPU and memory; this one is %s",
			    class == STOW_POD_BURSTABLE ? "Burstable" : "BestEffort");
}

/* --- what to watch -------------------------------------------------------- */

struct paths {
	char **list;
	size_t n;
};

static void paths_done(struct paths *paths)
{
	for (size_t i = 0; i < paths->n; i++)
		free(paths->list[i]);
	free(paths->list);
	*paths = (struct paths){ 0 };
}

static int add_path(struct paths *paths, const char *path, size_t len, struct stow_err *err)
{
	char *copy, **added;

	for (size_t i = 0; i < paths->n; i++)
		if (strlen(paths->list[i]) == len && strncmp(paths->list[i], path, len) == 0)
			return 0;
	copy = strndup(path, len);
	added = copy ? STOW_APPEND(paths->list, paths->n) : NULL;
	if (!added) {
		free(copy);
		return stow_err_sys(err, ENOMEM, "%s", path);
	}
	*added = copy;
	return 0;
}

static int add_tops(struct stow_root *root, struct paths *paths, struct stow_err *err)
{
	static const char *const below[] = { "", "/kubepods-burstable.slice",
					     "/kubepods-besteffort.slice", "/burstable",
					     "/besteffort" };
	const char *tops[STOW_KUBEPODS_MAX], *point;
	size_t n = stow_kubepods_find(root, tops);
	int r = stow_cgroup_mount(root, STOW_CGROUP_CPUSET, &point, err);

	for (size_t i = 0; i < n && r == 0; i++)
		for (size_t b = 0; b < STOW_ARRAY_SIZE(below) && r == 0; b++) {
			char path[128];

			snprintf(path, sizeof(path), "%s%s", tops[i], below[b]);
			if (stow_root_exists(root, "%s%s", point, path) == 1)
				r = add_path(paths, path, strlen(path), err);
		}
	return r == -ENOENT ? 0 : r;
}

/* Add the cgroups above a container with exclusive CPUs. */
static int add_above(const char *path, struct paths *paths, struct stow_err *err)
{
	int r = 0;

	if (!stow_kubepods_has(path))
		return 0;
	for (const char *p = strchr(path + 1, '/'); p && r == 0; p = strchr(p + 1, '/'))
		r = add_path(paths, path, (size_t)(p - path), err);
	return r;
}

int stow_pods_watched(const struct stow_grant_context *context, char ***ret, size_t *ret_n,
		      struct stow_err *err)
{
	struct stow_record **records = NULL;
	struct paths paths = { 0 };
	size_t n = 0;
	int r = add_tops(context->root, &paths, err);

	if (r == 0)
		r = stow_ledger_records(context->ledger, NULL, &records, &n, err);
	for (size_t i = 0; i < n && r == 0; i++)
		if (records[i]->exclusive && records[i]->state != STOW_STATE_LEASE)
			r = add_above(stow_cgroup_id_path(&records[i]->cgroup), &paths, err);
	stow_records_free(records, n);
	if (r < 0) {
		paths_done(&paths);
		return r;
	}
	*ret = paths.list;
	*ret_n = paths.n;
	return 0;
}

// SPDX-License-Identifier: Apache-2.0
#include "cgroup/kubepods.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "cgroup/hierarchy.h"

#define UID_MAX 64

static const char *const tops[STOW_KUBEPODS_MAX] = { "/kubepods.slice", "/kubepods" };

static int find_hierarchy(struct stow_root *root, struct stow_hierarchy *ret, struct stow_err *err)
{
	int r = stow_cgroup_hierarchy(root, STOW_CGROUP_CPUSET, ret, err);

	if (r == 0 && ret->above[0])
		r = stow_err_set(err, ENOENT, "only the cgroups below %s are mounted", ret->above);
	return r;
}

size_t stow_kubepods_find(struct stow_root *root, const char *ret[STOW_KUBEPODS_MAX])
{
	struct stow_hierarchy hierarchy;
	size_t n = 0;

	if (find_hierarchy(root, &hierarchy, NULL) < 0)
		return 0;
	for (size_t i = 0; i < STOW_KUBEPODS_MAX; i++) {
		if (stow_root_exists(root, "%s%s", hierarchy.point, tops[i]) != 1)
			continue;
		if (ret)
			ret[n] = tops[i];
		n++;
	}
	return n;
}

/* Return what follows a topmost cgroup in the path, or NULL. */
static const char *below_top(const char *path, size_t *ret_top)
{
	for (size_t i = 0; i < STOW_KUBEPODS_MAX; i++) {
		if (stow_cgroup_is_below(path, tops[i])) {
			*ret_top = i;
			return path + strlen(tops[i]) + 1;
		}
	}
	return NULL;
}

bool stow_kubepods_has(const char *path)
{
	size_t top;

	return below_top(path, &top) != NULL;
}

/* Return whether the first component of a path begins with `prefix`, and is longer. */
static bool begins(const char *text, const char *prefix)
{
	size_t len = strlen(prefix);

	return strncmp(text, prefix, len) == 0 && text[len] && text[len] != '/';
}

enum stow_pod_class stow_kubepods_class(const char *path)
{
	static const char *const names[STOW_KUBEPODS_MAX][3] = {
		{ "kubepods-burstable.slice", "kubepods-besteffort.slice", "kubepods-pod" },
		{ "burstable", "besteffort", "pod" },
	};
	size_t top;
	const char *below = below_top(path, &top);

	if (!below)
		return STOW_POD_NONE;
	if (stow_cgroup_is_below(below, names[top][0]))
		return STOW_POD_BURSTABLE;
	if (stow_cgroup_is_below(below, names[top][1]))
		return STOW_POD_BEST_EFFORT;
	return begins(below, names[top][2]) ? STOW_POD_GUARANTEED : STOW_POD_NONE;
}

/* Check a UID, which becomes part of a path, and write it as systemd's names have it. */
static bool escape(const char *uid, char ret[UID_MAX])
{
	size_t len = strlen(uid);

	if (len == 0 || len >= UID_MAX ||
	    strspn(uid, "abcdefghijklmnopqrstuvwxyz0123456789-") != len)
		return false;
	memcpy(ret, uid, len + 1);
	for (char *c = ret; (c = strchr(c, '-')); c++)
		*c = '_';
	return true;
}

enum stow_pod_class stow_kubepods_class_of_pod(struct stow_root *root, const char *uid)
{
	static const struct {
		enum stow_pod_class class;
		const char *systemd, *cgroupfs;
	} places[] = {
		{ STOW_POD_GUARANTEED, "kubepods-pod", "pod" },
		{ STOW_POD_BURSTABLE, "kubepods-burstable.slice/kubepods-burstable-pod",
		  "burstable/pod" },
		{ STOW_POD_BEST_EFFORT, "kubepods-besteffort.slice/kubepods-besteffort-pod",
		  "besteffort/pod" },
	};
	struct stow_hierarchy hierarchy;
	char escaped[UID_MAX];

	if (find_hierarchy(root, &hierarchy, NULL) < 0 || !escape(uid, escaped))
		return STOW_POD_NONE;
	for (size_t i = 0; i < STOW_ARRAY_SIZE(places); i++)
		if (stow_root_exists(root, "%s/kubepods.slice/%s%s.slice", hierarchy.point,
				     places[i].systemd, escaped) == 1 ||
		    stow_root_exists(root, "%s/kubepods/%s%s", hierarchy.point, places[i].cgroupfs,
				     uid) == 1)
			return places[i].class;
	return STOW_POD_NONE;
}

int stow_kubepods_check(struct stow_root *root, struct stow_err *err)
{
	const char *found[STOW_KUBEPODS_MAX];
	struct stow_hierarchy hierarchy;
	struct stow_err why;
	char list[512];
	size_t n;

	if (find_hierarchy(root, &hierarchy, &why) < 0)
		return stow_err_set(err, ENOTSUP, "cpusets: %s", why.msg);
	n = stow_kubepods_find(root, found);
	if (n == 0)
		return stow_err_set(err, ENOTSUP,
				    "there is neither /kubepods.slice nor /kubepods: kubelet runs "
				    "with cgroupsPerQOS: true and without cgroupRoot, or has not "
				    "started yet");
	for (size_t i = 0; i < n && hierarchy.version == 2; i++) {
		if (stow_root_exists(root, "%s%s/cpuset.cpus", hierarchy.point, found[i]) != 1)
			return stow_err_set(err, ENOTSUP,
					    "cgroup %s has no cpuset controller: enable it in "
					    "cgroup.subtree_control of the topmost cgroup",
					    found[i]);
		if (stow_root_read_buf(root, list, sizeof(list), err, "%s%s/cgroup.subtree_control",
				       hierarchy.point, found[i]) < 0 ||
		    !stow_text_has_word(list, "cpuset"))
			return stow_err_set(err, ENOTSUP,
					    "cgroup %s gives its pods no cpuset controller: "
					    "cgroup.subtree_control lacks it",
					    found[i]);
	}
	return 0;
}

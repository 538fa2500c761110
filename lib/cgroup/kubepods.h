/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * kubelet's cgroups. With the systemd driver they are
 *
 *	/kubepods.slice
 *		kubepods-podUID_.slice			a Guaranteed pod
 *		kubepods-burstable.slice/kubepods-burstable-podUID_.slice
 *		kubepods-besteffort.slice/kubepods-besteffort-podUID_.slice
 *
 * and with the cgroupfs driver /kubepods, podUID, burstable/podUID and besteffort/podUID. kubelet
 * makes a pod's cgroup before it asks drivers to prepare the pod's claims, and before it makes the
 * pod's sandbox (syncPod() in 1.36). It enables the cpuset controller for the children of
 * /kubepods and of both classes, and writes no CPU set there unless its CPU manager is static.
 */

#include <stdbool.h>

#include "base/err.h"
#include "base/root.h"

#define STOW_KUBEPODS_MAX 2 /* a machine whose driver was changed may have both */

enum stow_pod_class {
	STOW_POD_NONE, /* not a pod's cgroup, or there is none */
	STOW_POD_GUARANTEED,
	STOW_POD_BURSTABLE,
	STOW_POD_BEST_EFFORT,
};

/* Return kubelet's topmost cgroups that exist in the cpuset hierarchy: constant paths. `ret` may be
 * NULL. 0: there is none, or the machine's whole hierarchy is not mounted. */
size_t stow_kubepods_find(struct stow_root *root, const char *ret[STOW_KUBEPODS_MAX]);

/* Return whether the path is below one of these cgroups, whether it exists or not. */
bool stow_kubepods_has(const char *path);

/* Return the class of the pod that a cgroup belongs to, by its path. */
enum stow_pod_class stow_kubepods_class(const char *path);

/* Return the class of a pod, by where its cgroup is now. `uid` is not trusted. */
enum stow_pod_class stow_kubepods_class_of_pod(struct stow_root *root, const char *uid);

/* Check that CPU sets can be written for kubelet's cgroups and for those of pods. -ENOTSUP has the
 * reason. */
int stow_kubepods_check(struct stow_root *root, struct stow_err *err);

/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * kubelet's cgroups (lib/cgroup/kubepods.h) as unmanaged parents: they keep pods without a claim
 * off exclusive CPUs from the moment that their first process starts, because the hook does not run
 * in containers without a claim.
 *
 * While this is on and CPUs are exclusive, the applier walks down from kubelet's topmost cgroup. A
 * cgroup gets all CPUs that it was given, less the exclusive ones, except those of containers below
 * it. Where there are such containers below, the same holds for each child, down to the containers;
 * elsewhere one set covers all that is and will be below.
 *
 *	kubepods			less those that no container below has
 *		besteffort		less all exclusive ones
 *		burstable		likewise
 *		podA			Guaranteed, without exclusive CPUs: likewise
 *		podB			less those of others
 *			ID		its container with exclusive CPUs: its own
 *			ID		its other containers: less all exclusive ones
 *
 * Children are written before a cgroup above them gets exclusive CPUs. A child that is made later
 * has the CPUs of the cgroup above until it is written: the agent does this when inotify reports
 * it. Each cgroup that is written has a file in STOW_PODS_DIR, with the set that it had before.
 */

#include <stdbool.h>

#include "base/err.h"
#include "base/idset.h"
#include "base/root.h"
#include "grant/context.h"

#define STOW_PODS_ON_PATH STOW_RUN_DIR "/pods-on"

/* Return whether this is on: an agent that publishes to Kubernetes has turned it on, and no agent
 * was started without `kubernetes: true` since. */
bool stow_pods_are_on(struct stow_root *root);
/* Turn it on or off. The next run of the applier does the rest. */
int stow_pods_set(struct stow_root *root, bool on, struct stow_err *err);

/* Check that `cpus`, added to the exclusive CPUs, leave one CPU to other pods; within the
 * transaction. -ENOSPC: they do not. Always 0 while this is off. */
int stow_pods_check_rest(const struct stow_grant_context *context, const struct stow_idset *cpus,
			 struct stow_err *err);

/* Check whether a container, by the path of its cgroup, may have exclusive CPUs. Return 1 when it
 * is in a Guaranteed pod, whose cgroups get its CPUs with it; 0 when it is in no pod, or this is
 * off. -EPERM: it is in a pod of another class. */
int stow_pods_check_class(struct stow_root *root, const char *path, struct stow_err *err);

/* Return the cgroups below which new ones must be noticed, as paths within the cpuset hierarchy:
 * kubelet's topmost ones, the two classes', and those of pods with exclusive CPUs. Free each and
 * the list. */
int stow_pods_watched(const struct stow_grant_context *context, char ***ret, size_t *ret_n,
		      struct stow_err *err);

/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Write this machine's ResourceSlices to the API server. Level-triggered: the stored slices are
 * listed, watched and compared with the wanted ones, and only differences are written. All calls
 * are for the thread of the client (`kube`).
 */

#include "agent/kubernetes/slice.h"
#include "base/root.h"
#include "kube/kube.h"

struct agent_publish;

/* The result of agent_publish_run(). */
struct agent_publish_done {
	bool changed;	    /* something was written */
	size_t slices;	    /* in the pool */
	size_t devices;	    /* in them */
	int64_t generation; /* of the pool */
	bool taints;	    /* false: the API server drops taints */
	bool lists;	    /* false: not wanted, or the API server refuses them */
	bool binding;	    /* false: not wanted, or the API server drops binding conditions */
};

/* `kube`, and `root` with the state file, must outlive it; `node` is copied. */
int agent_publish_new(struct stow_kube *kube, struct stow_root *root, const char *node, bool lists,
		      struct agent_publish **ret, struct stow_err *err);
void agent_publish_free(struct agent_publish *publish);
/* Set whether devices have binding conditions (slice.h), from the next run on. Not so at first. */
void agent_publish_set_binding(struct agent_publish *publish, bool binding);

/*
 * Update the stored slices; with no devices, delete them. Call it again when the devices
 * have changed, after each stow_kube_wait() that returned 1, and, some time later, after a failure.
 * Sets the devices' `since`. -EOPNOTSUPP: the API server drops what makes devices shareable; the
 * error names the feature gate, and the slices were deleted.
 */
int agent_publish_run(struct agent_publish *publish, struct agent_slice_device *devices, size_t n,
		      struct agent_publish_done *ret, struct stow_err *err);

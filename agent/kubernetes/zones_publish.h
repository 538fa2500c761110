/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Write this machine's NodeResourceTopology to the API server. Level-triggered: the stored object
 * is listed, watched and compared with the wanted one, and only a difference is written. It is
 * written by server-side apply without force: where another program writes the same object, this
 * one leaves it alone. All calls are for the thread of the client (`kube`).
 */

#include "agent/kubernetes/slice.h"
#include "agent/kubernetes/zones.h"
#include "kube/kube.h"

#define AGENT_ZONES_MANAGER "numastow-agent"

struct agent_zones_publish;

/* `kube` must outlive it; `node` is copied. */
int agent_zones_publish_new(struct stow_kube *kube, const char *node,
			    struct agent_zones_publish **ret, struct stow_err *err);
void agent_zones_publish_free(struct agent_zones_publish *publish);

/*
 * Update the stored object; with no devices, delete it if it is this program's. Call it again when
 * the devices have changed, after each stow_kube_wait() that returned 1, and, some time later,
 * after a failure. *ret_changed: something was written. -ENXIO: the API server knows no
 * NodeResourceTopology; -EUSERS: another program writes the object, whose name is in the error.
 */
int agent_zones_publish_run(struct agent_zones_publish *publish,
			    const struct agent_slice_device *devices, size_t n,
			    enum stow_policy policy, bool *ret_changed, struct stow_err *err);

/* Return whether the object was deleted since the last run: then no other program's values are
 * overwritten. */
bool agent_zones_publish_is_gone(const struct agent_zones_publish *publish);

/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Leadership by a Lease (coordination.k8s.io/v1), as client-go's leader election has it: the holder
 * renews it; the others take it when it has not changed for its duration, by their own clocks. A
 * thread with a client of its own does this.
 *
 * The holder leads for less than the lease's duration, counted on its boot-time clock from before
 * it asked: a process that was stopped, or whose machine was suspended, finds that it does not lead
 * any more.
 */

#include <stdbool.h>

#include "base/clock.h"
#include "base/err.h"
#include "kube/kube.h"

#define SCHEDULER_LEASE_LASTS (15 * STOW_SECOND)
#define SCHEDULER_LEASE_LEADS (10 * STOW_SECOND) /* without a renewal */
#define SCHEDULER_LEASE_EVERY (2 * STOW_SECOND)

struct scheduler_lease;

/* Begin to compete for the Lease `name`. Takes the client over, also when it fails. */
int scheduler_lease_new(struct stow_kube *kube, const char *ns, const char *name,
			struct scheduler_lease **ret, struct stow_err *err);
/* Stop, and release the lease if it is held. The caller no longer acts as the leader. */
void scheduler_lease_free(struct scheduler_lease *lease);
/* Return whether this process leads now. Any thread. */
bool scheduler_lease_is_held(struct scheduler_lease *lease);

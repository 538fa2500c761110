/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The health of NUMA nodes, as a report shows it. Pure functions.
 *
 * A message is constant for as long as its cause lasts: kubelet updates the status of all pods with
 * the device whenever its message changes.
 */

#include <stdbool.h>
#include <stddef.h>

#include "base/idset.h"
#include "kubelet/health_v1.pb-c.h"
#include "numastow/v1/node.pb-c.h"

#define AGENT_HEALTH_MESSAGE_MAX 128 /* bytes; kubelet cuts a message to 1,024 */

struct agent_health_device {
	int node;
	DraHealthHealthStatus status;
	char message[AGENT_HEALTH_MESSAGE_MAX]; /* "" when healthy */
};

/* What is known of earlier reports. Begins with zeros. */
struct agent_health {
	struct stow_idset seen;	 /* NUMA nodes that a report had, or on which a claim is */
	struct stow_idset tight; /* NUMA nodes that are under their watermarks */
	struct agent_health_device *devices; /* by ascending NUMA node */
	size_t n;
};

/*
 * Update the devices from a report, and return 1 when anything changed, 0 when not; -ENOMEM.
 * `error`: why the machine could not be looked at, so that all devices are Unknown; NULL: it was.
 *
 * Unhealthy is a NUMA node that is fenced, whose memory is being drained, that has been removed,
 * all of whose memory is offline, or that is under its watermarks. That is so from the moment when
 * nothing can be allocated without pushing it below them (memory_available is 0), until 1/64 of its
 * memory can be.
 */
int agent_health_update(struct agent_health *health, const PbNodeReport *report, const char *error);
void agent_health_done(struct agent_health *health);

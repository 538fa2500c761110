/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What a machine's report lacks for a device: sockets, memory tiers, PCIe roots, the
 * administrator's reserve, and whether exclusive CPUs can be offered. */

#include "agent/kubernetes/slice.h"
#include "base/idset.h"
#include "base/root.h"
#include "place/config.h"

struct agent_facts {
	struct agent_slice_facts *list; /* one for each NUMA node */
	size_t n;
};

/* Read the facts of a set of NUMA nodes. What the kernel does not report stays unknown. Free them
 * with agent_facts_done(). */
int agent_facts_read(struct stow_root *root, const struct stow_config *config,
		     const struct stow_idset *nodes, struct agent_facts *ret, struct stow_err *err);
void agent_facts_done(struct agent_facts *facts);

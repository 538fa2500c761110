/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the NUMA nodes have, read from the current report and from the kernel: the only source of
 * amounts for everything that is published. */

#include "agent/kubernetes/slice.h"
#include "agent/policy.h"
#include "agent/publisher.h"
#include "base/root.h"

struct agent_amounts;

/* The others must outlive it. It is for one thread. */
int agent_amounts_new(struct stow_root *root, struct agent_policy *policy,
		      struct agent_publisher *publisher, struct agent_amounts **ret,
		      struct stow_err *err);
void agent_amounts_free(struct agent_amounts *amounts);

/* Make the devices of the current report; the caller frees *ret with free(). -ENODATA: there is no
 * report yet. */
int agent_amounts_read(struct agent_amounts *amounts, struct agent_slice_device **ret,
		       size_t *ret_n, struct stow_err *err);

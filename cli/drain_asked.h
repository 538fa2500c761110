/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The arguments of `numastow drain`, for this machine and for the fleet. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "numastow/v1/drain.pb-c.h"

struct drain_asked {
	char *node, *blocks, *device;			  /* NULL: not given */
	uint64_t size;					  /* bytes; 0: all */
	uint64_t block_timeout, timeout, removal_timeout; /* ns; 0: the machine's setting */
	bool dry_run, eject, wait, keep, resume, hugepages_elsewhere, force_taint, revoke, detach;
	int numa_node; /* set by drain_asked_check(); -1: not by node */
};

/* Check the arguments. -EINVAL, with one line in `err`. `machine`: the name of a machine of the
 * fleet; NULL for this one. */
int drain_asked_check(struct drain_asked *asked, const char *machine, struct stow_err *err);
/* Fill in the request for an agent, a scheduler or the local engine; after drain_asked_check().
 * Strings are borrowed from `asked`. */
void drain_asked_spec(const struct drain_asked *asked, PbDrainSpec *spec);
/* Format what is drained: "NUMA node 1", "blocks 48-55" or "dimm0". */
const char *drain_asked_what(int numa_node, const char *blocks, const char *device, char *buf,
			     size_t size);

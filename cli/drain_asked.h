/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the arguments of `numastow drain` say, for the machine itself and for the fleet. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "numastow/v1/drain.pb-c.h"

struct drain_asked {
	char *node, *blocks, *device;			  /* NULL: not given */
	uint64_t size;					  /* bytes; 0: all */
	uint64_t block_timeout, timeout, removal_timeout; /* ns; 0: the machine's setting */
	bool dry_run, eject, wait, keep, resume, hugepages_elsewhere, revoke, detach;
	int numa_node; /* by drain_asked_check(); -1: not by node */
};

/* One clear line for what does not go together or is none: -EINVAL. `machine`: of the fleet, by its
 * name; NULL for this one. */
int drain_asked_check(struct drain_asked *asked, const char *machine, struct stow_err *err);
/* Fills in what is asked of an engine, whichever it is; after drain_asked_check(). Strings stay
 * `asked`'s. */
void drain_asked_spec(const struct drain_asked *asked, PbDrainSpec *spec);
/* "NUMA node 1", "blocks 48-55", "dimm0" */
const char *drain_asked_what(int numa_node, const char *blocks, const char *device, char *buf,
			     size_t size);

/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/root.h"
#include "cgroup/pidref.h"
#include "ledger/ledger.h"
#include "node/topology.h"
#include "place/config.h"

/* The environment of the functions of lib/grant. */
/* The sets that a cgroup was made with. */
struct stow_made_sets {
	struct stow_idset cpus, mems;
};

struct stow_grant_context {
	struct stow_root *root;
	struct stow_ledger *ledger;
	const struct stow_config *config; /* NULL only where nothing is planned */
	struct stow_pidref self;	  /* the calling program, as the worker on the record */
	/* Plan on fenced nodes, too: when a drain is undone, a container returns to nodes that are
	 * still fenced, by the drain or by a scheduler for it. */
	bool past_fences;
	/* Where stow_grant_reserve() leaves its topology for stow_grant_enact(), for the caller to
	 * free; or NULL. With `made`, stow_grant_reserve() takes the topology that is there: the
	 * caller has planned the same request with it. */
	struct stow_topology **topology;
	/* The caller has made the cgroup that it asks for, and the unit of systemd if it has one,
	 * with these sets, before the record: a plan may use what the cgroup above has, and the
	 * unit need not be told what it has already. NULL: another program made the cgroup. */
	const struct stow_made_sets *made;
};

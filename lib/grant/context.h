/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/root.h"
#include "cgroup/pidref.h"
#include "ledger/ledger.h"
#include "node/topology.h"
#include "place/config.h"

/* The environment of the functions of lib/grant. */
struct stow_grant_context {
	struct stow_root *root;
	struct stow_ledger *ledger;
	const struct stow_config *config; /* NULL only where nothing is planned */
	struct stow_pidref self;	  /* the calling program, as the worker on the record */
	/* Plan on fenced nodes, too: when a drain is undone, a container returns to nodes that are
	 * still fenced, by the drain or by a scheduler for it. */
	bool past_fences;
	/* Where stow_grant_reserve() leaves its topology for stow_grant_enact(), for the caller to
	 * free; or NULL. */
	struct stow_topology **topology;
};

/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Reservations: leases in the ledger that a scheduler asked for. Each waits for the container that
 * names it. The container gets the NUMA nodes and the amounts of the lease, and its grant keeps the
 * reservation's id.
 */

#include "base/err.h"
#include "grant/grant.h"

struct stow_lease {
	const char *id; /* STOW_RESERVATION_ID_LEN hexadecimal digits */
	struct stow_idset nodes;
	enum stow_policy policy;
	bool exclusive;
	uint32_t cpus;					/* over all nodes */
	uint64_t memory;				/* bytes */
	struct stow_page_request pages[STOW_POOLS_MAX]; /* by ascending size */
	size_t n_pages;
	uint64_t lifetime; /* ns from now on; 0: the configuration's lease_seconds */
	const char *ns,
		*name; /* Kubernetes namespace and pod, for caps and for people; may be NULL */
};

/* Reserve the lease. Return 0 without a change when the id has a lease or a container's grant
 * already. -ENOSPC: it does not fit (any more), with the planner's reason. */
int stow_lease_take(const struct stow_grant_context *context, const struct stow_lease *lease,
		    struct stow_err *err);

/* Drop the lease. Return 1, or 0 when there is none or a container has it. */
int stow_lease_drop(const struct stow_grant_context *context, const char *id, struct stow_err *err);

/* Drop the lease of every reservation that is not among `ids`. Return how many. */
int stow_lease_keep_only(const struct stow_grant_context *context, const char *const *ids, size_t n,
			 struct stow_err *err);

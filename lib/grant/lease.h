/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Reservations: leases in the ledger that a scheduler asked for. Each waits for the container that
 * names it. The container gets the NUMA nodes and the amounts of the lease, and its grant keeps the
 * reservation's id.
 */

#include "base/err.h"
#include "grant/grant.h"
#include "place/reservation.h"

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

/*
 * Wait until the reservation's lease is in the ledger: a container may start before the scheduler's
 * message about its reservation arrives. Wait at most 2 s, and only where an agent runs that can
 * receive the message. The caller checks whether the lease has come.
 */
void stow_lease_await(const struct stow_grant_context *context,
		      const struct stow_reservation_name *name);

/* Says why a container that names a reservation cannot have it: it belongs to another machine, is
 * used already, has run out, or was never made. Returns the error that it sets; `err` is never
 * NULL. */
int stow_lease_missing(const struct stow_grant_context *context,
		       const struct stow_reservation_name *name, const struct stow_record *holder,
		       struct stow_err *err);

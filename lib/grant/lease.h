/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What a scheduler has reserved on this machine (later also a claim of Kubernetes): a lease in the
 * ledger that waits for the container which names it. The container gets the NUMA
 * nodes and the amounts of the lease, and its grant keeps the reservation's id.
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

/* Sets it aside. When the id has a lease or a container's grant already, nothing is done, with
 * success. -ENOSPC: it does not fit (any more), with the planner's reason. */
int stow_lease_take(const struct stow_grant_context *context, const struct stow_lease *lease,
		    struct stow_err *err);

/* Drops the lease. Returns 1, or 0 when there is none or a container has it. */
int stow_lease_drop(const struct stow_grant_context *context, const char *id, struct stow_err *err);

/* Drops every reservation's lease whose id is not among `ids`. Returns how many. */
int stow_lease_keep_only(const struct stow_grant_context *context, const char *const *ids, size_t n,
			 struct stow_err *err);

/*
 * Waits until the reservation's lease is in the ledger: a container may be faster than the message
 * that announces it. Waits 2 s at most, and only where an agent is alive to receive the message.
 * The caller looks whether the lease has come.
 */
void stow_lease_await(const struct stow_grant_context *context,
		      const struct stow_reservation_name *name);

/* Held by the agent as long as it lives; the text in it is "PID NODE", the machine's name as the
 * agent tells it to schedulers. */
#define STOW_AGENT_LOCK_PATH STOW_RUN_DIR "/agent.lock"

/* Says whether an agent holds it. Always false without root, which alone may open the file. */
bool stow_agent_lives(struct stow_root *root);

/* Says why a container that names a reservation cannot have it: it belongs to another machine, is
 * used already, has run out, or was never made. Returns the error that it sets; `err` is never
 * NULL. */
int stow_lease_missing(const struct stow_grant_context *context,
		       const struct stow_reservation_name *name, const struct stow_record *holder,
		       struct stow_err *err);

/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Claims of Kubernetes (ResourceClaim) on this machine's NUMA nodes.
 *
 * A claim is allocated as one or more *shares*, each of one NUMA node: an allocated device. A share
 * is a lease in the ledger that does not expire. It has its CPUs and hugepages from the moment
 * that it is taken, whether a container runs or not, and until it is dropped. Containers *hold*
 * shares (lib/grant/claim_hold.h): several can hold the same one, one can hold several. Nothing
 * is released when a container ends, so that a restarted container has the same CPUs.
 *
 * The caller decides which pod may have a claim; the ledger decides whether it is available. Pools
 * of hugepages do not grow for claims: their sizes are the administrator's, published as capacity.
 */

#include "base/err.h"
#include "grant/context.h"

#define STOW_CLAIM_SHARES_MAX 32   /* allocated devices of a claim, as in Kubernetes */
#define STOW_CLAIM_NS_MAX     1024 /* shares of one namespace: they may ask for nothing */
#define STOW_CLAIM_PART_MAX   127  /* "REQUEST", or "REQUEST/SUBREQUEST" */

struct stow_claim_share {
	const char *id;	  /* the allocation's shareID */
	const char *part; /* the name of the claim's request */
	int node;	  /* NUMA node */
	uint32_t cpus;
	enum stow_cpu_mode cpu_mode; /* without CPUs it has no effect */
	enum stow_drain drain;
	uint64_t memory;				/* bytes */
	struct stow_page_request pages[STOW_POOLS_MAX]; /* by ascending size, no zero counts */
	size_t n_pages;
};

struct stow_claim {
	const char *uid, *ns, *name;
	const struct stow_claim_share *shares;
	size_t n;
};

/* Check a Kubernetes UID: 36 characters, as in "0f4c2c1e-8a5b-4b57-9d0a-6c1d2e3f4a5b". -EINVAL
 * names `what`. */
int stow_claim_check_uid(const char *uid, const char *what, struct stow_err *err);

/*
 * Take all shares of a claim, or none. Return 1, or 0 without a change when the ledger has exactly
 * these already. Every failure is one line that names the claim:
 *
 *   -EINVAL  a name, UID or amount is not valid, or the machine has no such NUMA node or page size
 *   -EEXIST  the ledger has the claim with another content
 *   -EAGAIN  a NUMA node is fenced
 *   -ENOSPC  there is no room: the planner's reason, and which containers still use the NUMA node
 *   -EPERM   the administrator's configuration forbids it, or the namespace has too many shares
 */
int stow_claim_take(const struct stow_grant_context *context, const struct stow_claim *claim,
		    struct stow_err *err);

/* Drop all shares of a claim, with the records of its containers that have ended. Return how many,
 * 0 for an unknown claim. -EBUSY: a container that holds one is running; the message names it,
 * and nothing has changed. */
int stow_claim_drop(const struct stow_grant_context *context, const char *uid,
		    struct stow_err *err);

/* A share, and the containers that hold it. */
struct stow_claim_listed {
	const struct stow_record *share; /* `claim` has its ids; `ns` and `name` are the claim's */
	const struct stow_record **holders; /* by ascending key */
	size_t n_holders;
};

struct stow_claim_list {
	struct stow_claim_listed *list; /* by ascending key of the shares */
	size_t n;
	struct stow_record **records; /* private: all records */
	size_t n_records;
};

/* List the shares of all claims, or of one when `uid` is not NULL. */
int stow_claim_list(const struct stow_grant_context *context, const char *uid,
		    struct stow_claim_list *ret, struct stow_err *err);
void stow_claim_list_done(struct stow_claim_list *list);

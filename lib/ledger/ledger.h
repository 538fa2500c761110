/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The ledger: what this machine has given to which container.
 *
 * One SQLite database, /run/numastow/ledger.db, on a tmpfs: a reboot takes both the containers and
 * the ledger. It is written by many short-lived hooks at once, any of which may be killed at any
 * instant. So:
 *
 *  - a writer first takes a file lock, in the order of arrival, which dies with its holder;
 *  - everything that must be true together is one transaction (SQLite's rollback journal);
 *  - what no program may get wrong is a constraint of the schema: a CPU that belongs to one
 *    container alone is a row of table `cpu`, whose key is the CPU;
 *  - what has to be undone later is written down before it is done.
 *
 * Locks are taken in this order: a pool's lock or the shared sets' lock, then the ledger.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/idset.h"
#include "base/root.h"
#include "node/life.h"
#include "node/usage.h"
#include "place/config.h"
#include "place/plan.h"

#define STOW_RUN_DIR	 "/run/numastow"
#define STOW_LEDGER_PATH STOW_RUN_DIR "/ledger.db"

struct stow_ledger;

enum stow_state {
	STOW_STATE_LEASE,   /* set aside, no process yet; runs out at `expires` */
	STOW_STATE_PENDING, /* a hook is at work; `hook` says which */
	STOW_STATE_ACTIVE,  /* the kernel obeys */
};

const char *stow_state_name(enum stow_state state);

/* One container's grant. Strings are never NULL once read from the ledger. */
struct stow_record {
	int64_t key; /* assigned when it is inserted; grows, never used again */
	enum stow_state state;
	char *id;	       /* the runtime's container id */
	char *pod, *ns, *name; /* Kubernetes names, "" outside of it */
	struct stow_life init; /* the container's first process; pid 0 for a lease */
	struct stow_life hook; /* who works on it while it is pending */
	char *cgroup;	       /* path in the cpuset hierarchy */
	uint64_t inode;	       /* of that directory */
	uint64_t created;      /* ns since the epoch */
	uint64_t expires;      /* s since the epoch; 0: never */
	bool exclusive;
	struct stow_idset cpus; /* what cpuset.cpus was last set to */
	struct stow_idset base; /* shared: the CPUs it may have when nobody is exclusive */
	struct stow_idset nodes;
	char *saved;	   /* what to write back, see lib/grant/saved.h */
	char *request;	   /* one line, for people */
	char *reason;	   /* why it was placed there */
	char *reservation; /* the id of the scheduler's reservation that it is or was made from; "" */
	enum stow_drain drain;
	struct stow_page_request pages[STOW_POOLS_MAX]; /* sizes that the shares' pages refer to */
	size_t n_pages;
	struct stow_share *shares;
	size_t n_shares;
};

void stow_record_free(struct stow_record *record);
void stow_records_free(struct stow_record **records, size_t n);

/* With `create` the folder and the database are made when missing; without, a missing ledger is
 * -ENOENT. -EUCLEAN: damaged; the message says what to do. */
int stow_ledger_open(struct stow_root *root, bool create, struct stow_ledger **ret_ledger,
		     struct stow_err *err);
void stow_ledger_close(struct stow_ledger *ledger);

/* A write transaction: between begin and commit nobody else writes. Closing rolls back. */
int stow_ledger_begin(struct stow_ledger *ledger, struct stow_err *err);
int stow_ledger_commit(struct stow_ledger *ledger, struct stow_err *err);
void stow_ledger_rollback(struct stow_ledger *ledger);
/* Ends the transaction by how the work within it went: commits with r >= 0, else rolls back and
 * returns r. `err` is only for the commit's own failure. */
int stow_ledger_end(struct stow_ledger *ledger, int r, struct stow_err *err);

/* Puts a record in and sets its key. -EEXIST: one of its exclusive CPUs is taken. */
int stow_ledger_insert(struct stow_ledger *ledger, struct stow_record *record,
		       struct stow_err *err);
/* Rewrites what changes in a record's life: state, lives, cgroup, cpus, nodes, saved, expires. */
int stow_ledger_update(struct stow_ledger *ledger, const struct stow_record *record,
		       struct stow_err *err);
/* Deletes a record with its CPUs, shares and pages. Returns 1, or 0 when it was gone already. */
int stow_ledger_delete(struct stow_ledger *ledger, int64_t key, struct stow_err *err);

/* Records by ascending key: of one id, or all when `id` is NULL. */
int stow_ledger_records(struct stow_ledger *ledger, const char *id, struct stow_record ***ret,
			size_t *ret_n, struct stow_err *err);
/* Those with pages promised on one pool, leases too. */
int stow_ledger_pool_records(struct stow_ledger *ledger, int node, uint64_t size,
			     struct stow_record ***ret, size_t *ret_n, struct stow_err *err);
int stow_ledger_record(struct stow_ledger *ledger, int64_t key, struct stow_record **ret,
		       struct stow_err *err); /* -ENOENT */
/* The record of a reservation, lease or grant; NULL when there is none. */
int stow_ledger_reservation(struct stow_ledger *ledger, const char *reservation,
			    struct stow_record **ret, struct stow_err *err);

/* What is given away, in the planner's terms. Free with stow_usage_free(). */
int stow_ledger_usage(struct stow_ledger *ledger, struct stow_usage **ret_usage,
		      struct stow_err *err);
void stow_usage_free(struct stow_usage *usage);
int stow_ledger_exclusive(struct stow_ledger *ledger, struct stow_idset *ret, struct stow_err *err);
/* What a Kubernetes namespace has of everything, for the administrator's caps. */
int stow_ledger_namespace(struct stow_ledger *ledger, const char *ns, struct stow_caps *ret,
			  struct stow_err *err);

/*
 * Fences: nodes that get nothing new. Each owner ("scheduler", "drain:ID") has a set of its own,
 * written as a whole; what is fenced is what any of them fences, and stow_ledger_usage() has it.
 */
int stow_ledger_fence_set(struct stow_ledger *ledger, const char *owner,
			  const struct stow_idset *nodes, struct stow_err *err);
/* The owner's set, or with NULL everybody's. */
int stow_ledger_fenced(struct stow_ledger *ledger, const char *owner, struct stow_idset *ret,
		       struct stow_err *err);

/* A hugepage pool that numastow has changed. `before` and `target` are set while a write to
 * nr_hugepages is under way, so that whoever comes after a killed writer knows what to count. */
struct stow_ledger_pool {
	int node;
	uint64_t size;	/* bytes a page */
	uint64_t added; /* pages that numastow has put in and not yet taken out */
	bool writing;
	uint64_t before, target; /* persistent pages */
};

int stow_ledger_pools(struct stow_ledger *ledger, struct stow_ledger_pool **ret, size_t *ret_n,
		      struct stow_err *err);
/* A pool that is not in the ledger is all zeros. */
int stow_ledger_pool_get(struct stow_ledger *ledger, int node, uint64_t size,
			 struct stow_ledger_pool *ret, struct stow_err *err);
/* A pool with nothing added and no write under way is removed. */
int stow_ledger_pool_put(struct stow_ledger *ledger, const struct stow_ledger_pool *pool,
			 struct stow_err *err);
/* Pages promised on the pool to records that are pending or active. */
int stow_ledger_pool_promised(struct stow_ledger *ledger, int node, uint64_t size,
			      uint64_t *ret_pages, struct stow_err *err);

/* The history: what `numastow why` prints and the audit can be checked against. The last
 * STOW_EVENTS_KEPT events are kept. */
#define STOW_EVENTS_KEPT 10000

struct stow_event {
	int64_t seq;
	uint64_t at; /* ns since the epoch */
	char *id, *kind, *cpus, *nodes, *text;
	bool exclusive;
};

/* `kind`: leased, placed, refused, ignored, observed, undone, released, reclaimed, expired,
 * restored, shared, debt, paid, adopted, kept, left, repinned, drained, undrained, evicted. */
int stow_ledger_event(struct stow_ledger *ledger, const char *kind, const char *id,
		      const struct stow_record *record, const char *text, struct stow_err *err);
/* The newest `limit` events, oldest of them first; of one id, or all when `id` is NULL. */
int stow_ledger_events(struct stow_ledger *ledger, const char *id, size_t limit,
		       struct stow_event **ret, size_t *ret_n, struct stow_err *err);
void stow_events_free(struct stow_event *events, size_t n);

/* A number that changes with every commit, by whomever: one read, without a lock. */
uint32_t stow_ledger_changes(struct stow_ledger *ledger);

/* Puts a damaged ledger aside as ledger.db.damaged-TIME; the next open makes a new one. */
int stow_ledger_set_aside(struct stow_root *root, char *ret_name, size_t size,
			  struct stow_err *err);

static inline void stow_ledger_close_ptr(struct stow_ledger **l)
{
	if (*l)
		stow_ledger_close(*l);
}

static inline void stow_usage_free_ptr(struct stow_usage **u)
{
	if (*u)
		stow_usage_free(*u);
}

static inline void stow_record_free_ptr(struct stow_record **r)
{
	if (*r)
		stow_record_free(*r);
}

/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The ledger: what this machine has given to which container.
 *
 * One SQLite database, /run/numastow/ledger.db, on a tmpfs: a reboot takes both the containers and
 * the ledger. Many short-lived hooks write it at once, and each of them may be killed at any
 * instant. So:
 *
 *  - a program first takes a file lock, in the order of arrival, which dies with its holder;
 *  - everything that must be true together is one transaction (SQLite's rollback journal);
 *  - what no program may get wrong is a constraint of the schema: a CPU that belongs to one
 *    container alone is a row of table `cpu`, whose key is the CPU;
 *  - what has to be undone later is written down before it is done.
 *
 * Locks are taken in this order: a pool's lock, the lock of the CPU sets, or a record's lock for
 * memory nodes; then the ledger's.
 *
 * SQLite runs without file locks of its own ("unix-none"), because every access is under ours; that
 * saves a third of its system calls. A program that opens the file without our lock (the sqlite3
 * shell) may take a journal that is in use for one that was left behind, play it back and delete
 * it, which damages the ledger: look at a copy.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/idset.h"
#include "base/root.h"
#include "cgroup/cgroup.h"
#include "cgroup/pidref.h"
#include "model/amounts.h"
#include "model/choices.h"
#include "model/usage.h"

#define STOW_RUN_DIR	 "/run/numastow"
#define STOW_LEDGER_PATH STOW_RUN_DIR "/ledger.db"

struct stow_ledger;

enum stow_state {
	STOW_STATE_LEASE,   /* set aside, no process yet; runs out at `expires` */
	STOW_STATE_PENDING, /* a hook is at work; `worker` says which */
	STOW_STATE_ACTIVE,  /* the kernel obeys */
};

const char *stow_state_name(enum stow_state state);

/* What a lease waits for. It stays in the record when a container adopts the lease. */
enum stow_lease_kind {
	STOW_LEASE_CONTAINER,	/* the container `id` (Podman's precreate) */
	STOW_LEASE_MEMBER,	/* the container `name` of the pod `pod`; `id` is empty */
	STOW_LEASE_RESERVATION, /* the container that names `reservation`; `id` is empty */
};

/* The value that an attribute of a container's cgroup had before numastow changed it. cpuset.cpus
 * and cpuset.mems are not among them: they were what config.json gave (given_cpus, given_mems),
 * else what the cgroup above has. */
struct stow_saved {
	enum stow_controller controller;
	char *attribute, *value;
};

/* How far a repin is: what the container may use while it is under way. */
enum stow_move_step {
	STOW_MOVE_PLANNED,  /* the target is promised; the container is where it was */
	STOW_MOVE_WIDENED,  /* CPUs of the target; memory of both */
	STOW_MOVE_NARROWED, /* CPUs and memory of the target */
};

/* A repin under way: the target, which is promised beside what the container has. */
struct stow_move {
	struct stow_pidref worker;
	enum stow_move_step step;
	struct stow_idset cpus, nodes;
	char *reason;
	struct stow_share *shares; /* pages by the index of the record's `pages` */
	size_t n_shares;
};

/* One container's grant. Strings are never NULL once read from the ledger. */
struct stow_record {
	int64_t key; /* assigned when it is inserted; grows, never used again */
	enum stow_state state;
	enum stow_lease_kind kind;
	char *id;		      /* the runtime's container id; "" for some leases */
	char *pod, *ns, *name;	      /* Kubernetes names, "" outside of it */
	struct stow_pidref init;      /* the container's first process; pid 0 for a lease */
	struct stow_pidref worker;    /* the hook that works on it while it is pending */
	struct stow_cgroup_id cgroup; /* where it is, as its createRuntime hook found it */
	uint64_t created;	      /* ns since the epoch */
	uint64_t expires;	      /* a lease's, ns of CLOCK_BOOTTIME; 0: never */
	bool exclusive;		      /* has CPUs of its own */
	bool isolated;		      /* ... out of isolcpus */
	struct stow_idset cpus;	 /* exclusive: its CPUs. Shared: a set that another tool gave it
				  * and that was adopted; empty: all shared CPUs of its nodes */
	struct stow_idset nodes; /* for cpuset.mems; empty: as given */
	struct stow_idset given_cpus; /* by its config.json; empty: whatever is above */
	struct stow_idset given_mems;
	char *request;	   /* one line, for people */
	char *digest;	   /* of the request's exact numbers, stow_request_digest() */
	char *reason;	   /* why it was placed there */
	char *reservation; /* the id of the scheduler's reservation that it is or was made from; "" */
	enum stow_drain drain;
	struct stow_page_request pages[STOW_POOLS_MAX]; /* sizes that the shares' pages refer to */
	size_t n_pages;
	struct stow_share *shares;
	size_t n_shares;
	struct stow_saved *saved; /* in the order in which they were captured */
	size_t n_saved;
	struct stow_move *move; /* NULL: no repin is under way */
};

/* What a record is called in lists and messages: the container's id, else what the lease waits for
 * ("reservation:ID", "pod:UID/NAME"). `buf` holds what is not the record's own. */
#define STOW_RECORD_LABEL_MAX 640
const char *stow_record_label(const struct stow_record *record,
			      char buf[static STOW_RECORD_LABEL_MAX]);
void stow_move_done(struct stow_move *move);
void stow_record_free(struct stow_record *record);
void stow_records_free(struct stow_record **records, size_t n);

/* With `create` the folder and the database are made when missing; without, a missing ledger is
 * -ENOENT. -EACCES: the caller is not root. -EUCLEAN: damaged; -EPROTO: of another version of
 * numastow; the messages say what to do.
 * A ledger that has been set aside (stow_ledger_set_aside()) since it was opened is -ESTALE with
 * every access, and has to be opened once more. */
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

/* Inserts a record and sets its key; its `move` is ignored. -EEXIST: one of its exclusive
 * CPUs is taken. */
int stow_ledger_insert(struct stow_ledger *ledger, struct stow_record *record,
		       struct stow_err *err);
/* Rewrites what changes in a record's life: state, id, lives, cgroup, sets, shares, pages, saved
 * values, digest, expiry. The key stays. -EEXIST as above; -ENOENT: it is gone. */
int stow_ledger_update(struct stow_ledger *ledger, const struct stow_record *record,
		       struct stow_err *err);
/* Changes the state alone: pending becomes active. */
int stow_ledger_activate(struct stow_ledger *ledger, int64_t key, struct stow_err *err);
/* Deletes a record with its CPUs, shares, pages, saved values and repin. Returns 1, or 0 when it
 * was gone already. */
int stow_ledger_delete(struct stow_ledger *ledger, int64_t key, struct stow_err *err);

/*
 * A repin is a state of a record. From the transaction that begins it, its target counts in
 * stow_ledger_usage(), _exclusive() and the pools, but not in _namespace(). All of these functions
 * run within a transaction of the caller's.
 * -EBUSY: one is under way already. -ENOENT: the record is gone. -EEXIST: an exclusive CPU is taken.
 */
int stow_ledger_move_begin(struct stow_ledger *ledger, int64_t key, const struct stow_move *move,
			   struct stow_err *err);
int stow_ledger_move_step(struct stow_ledger *ledger, int64_t key, enum stow_move_step step,
			  struct stow_err *err);
/* Takes a repin over from a worker that has died. */
int stow_ledger_move_adopt(struct stow_ledger *ledger, int64_t key,
			   const struct stow_pidref *worker, struct stow_err *err);
/* Ends it. With `arrived` the target is what the container has from now on (CPUs, nodes, shares,
 * pages, reason), without it is dropped. Returns 1, or 0 when there was none. */
int stow_ledger_move_end(struct stow_ledger *ledger, int64_t key, bool arrived,
			 struct stow_err *err);

/* Reads records by ascending key: those of one id, or all when `id` is NULL. Reads each table once,
 * however many records there are. Free with stow_records_free(). */
int stow_ledger_records(struct stow_ledger *ledger, const char *id, struct stow_record ***ret,
			size_t *ret_n, struct stow_err *err);
/* Reads the records with pages promised on one pool, leases too. */
int stow_ledger_pool_records(struct stow_ledger *ledger, int node, uint64_t size,
			     struct stow_record ***ret, size_t *ret_n, struct stow_err *err);
int stow_ledger_record(struct stow_ledger *ledger, int64_t key, struct stow_record **ret,
		       struct stow_err *err); /* -ENOENT */
/* Reads the newest active records, the newest first; at most `max`. */
struct stow_newest {
	int64_t key;
	struct stow_pidref init;
};
int stow_ledger_newest(struct stow_ledger *ledger, struct stow_newest *ret, size_t max,
		       size_t *ret_n, struct stow_err *err);
/* Deletes the leases that wait for members of a pod none of whose containers has a record any more.
 * Returns how many. Within a transaction. */
int stow_ledger_drop_members(struct stow_ledger *ledger, const char *pod, struct stow_err *err);
/* Reads the lease that waits for the container `name` of the pod `pod`; NULL when there is none. */
int stow_ledger_member(struct stow_ledger *ledger, const char *pod, const char *name,
		       struct stow_record **ret, struct stow_err *err);
/* Reads the record of a reservation, lease or grant; NULL when there is none. */
int stow_ledger_reservation(struct stow_ledger *ledger, const char *reservation,
			    struct stow_record **ret, struct stow_err *err);

/* Reads what is given away, in the planner's terms. Free with stow_usage_free(). */
int stow_ledger_usage(struct stow_ledger *ledger, struct stow_usage **ret_usage,
		      struct stow_err *err);
void stow_usage_free(struct stow_usage *usage);
/* Reads all CPUs that belong to one container alone, also those that a repin is to take. */
int stow_ledger_exclusive(struct stow_ledger *ledger, struct stow_idset *ret, struct stow_err *err);
/* Collects the CPUs that must not become exclusive, because a shared container has a set of its own
 * (adopted, or given by its config.json) that has them. A set that contains all of `online` is no
 * set of its own. */
int stow_ledger_pinned(struct stow_ledger *ledger, const struct stow_idset *online,
		       struct stow_idset *ret, struct stow_err *err);
/* Sums up what the containers of a Kubernetes namespace have, for the administrator's caps. */
int stow_ledger_namespace(struct stow_ledger *ledger, const char *ns, struct stow_caps *ret,
			  struct stow_err *err);

/*
 * Fences: nodes that get nothing new. Each owner ("scheduler", "drain:ID") has a set of its own,
 * written as a whole. A node is fenced when any owner fences it; stow_ledger_usage() has the sum.
 */
int stow_ledger_fence_set(struct stow_ledger *ledger, const char *owner,
			  const struct stow_idset *nodes, struct stow_err *err);
/* Reads the owner's set, or with NULL the sum of all. */
int stow_ledger_fenced(struct stow_ledger *ledger, const char *owner, struct stow_idset *ret,
		       struct stow_err *err);

/* A hugepage pool that numastow has changed. `before` and `target` are set while a write to
 * nr_hugepages is under way, so that the next program knows what a killed writer may have done. */
struct stow_ledger_pool {
	int node;
	uint64_t size;	/* bytes a page */
	uint64_t added; /* pages that numastow has put in and not yet taken out */
	bool writing;
	uint64_t before, target; /* persistent pages */
};

int stow_ledger_pools(struct stow_ledger *ledger, struct stow_ledger_pool **ret, size_t *ret_n,
		      struct stow_err *err);
/* Reads a pool; one that is not in the ledger is all zeros. */
int stow_ledger_pool_get(struct stow_ledger *ledger, int node, uint64_t size,
			 struct stow_ledger_pool *ret, struct stow_err *err);
/* Writes a pool; one with nothing added and no write under way is removed. */
int stow_ledger_pool_put(struct stow_ledger *ledger, const struct stow_ledger_pool *pool,
			 struct stow_err *err);
/* Counts the pages promised on the pool to records that are pending or active. */
int stow_ledger_pool_promised(struct stow_ledger *ledger, int node, uint64_t size,
			      uint64_t *ret_pages, struct stow_err *err);

/* A cgroup whose cpuset.cpus.exclusive is numastow's: a container's that is to be a partition (a
 * leaf), or one above it. What another tool has set is not here. */
struct stow_ledger_partition {
	char *path;	/* below the mount */
	uint64_t inode; /* of the directory */
	bool leaf;
	uint64_t again; /* a leaf's: when a failed attempt may be repeated, ns of CLOCK_BOOTTIME */
};

/* Lists them, the longest paths first: a cgroup comes before those above it. */
int stow_ledger_partitions(struct stow_ledger *ledger, struct stow_ledger_partition **ret,
			   size_t *ret_n, struct stow_err *err);
/* Frees such a list. */
void stow_ledger_partitions_free(struct stow_ledger_partition *rows, size_t n);
/* Enters a cgroup, or replaces what is known about its path. */
int stow_ledger_partition_put(struct stow_ledger *ledger, const struct stow_ledger_partition *row,
			      struct stow_err *err);
/* Forgets one. */
int stow_ledger_partition_drop(struct stow_ledger *ledger, const char *path, struct stow_err *err);

/* The history: what `numastow why` prints and the audit can be checked against. The last
 * STOW_EVENTS_KEPT events are kept. */
#define STOW_EVENTS_KEPT 10000

struct stow_event {
	int64_t seq;
	uint64_t at; /* ns since the epoch */
	char *id, *kind, *cpus, *nodes, *text;
	bool exclusive;
};

/* Adds an event; with `record` its CPUs and nodes are noted. `kind`: leased, placed, refused,
 * ignored, observed, undone, released, reclaimed, expired, restored, debt, paid, adopted, kept,
 * left, repinned, drained, undrained, evicted, overlap, partition. */
int stow_ledger_event(struct stow_ledger *ledger, const char *kind, const char *id,
		      const struct stow_record *record, const char *text, struct stow_err *err);
/* Reads the newest `limit` events, the oldest of them first; those of one id, or of all containers
 * when `id` is NULL. */
int stow_ledger_events(struct stow_ledger *ledger, const char *id, size_t limit,
		       struct stow_event **ret, size_t *ret_n, struct stow_err *err);
void stow_events_free(struct stow_event *events, size_t n);

/* Returns a number that changes with every commit of any program: one read, without a lock. */
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

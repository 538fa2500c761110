/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The ledger: what each container on this machine has.
 *
 * One SQLite database, /run/numastow/ledger.db, on a tmpfs: a reboot takes both the containers and
 * the ledger. Many short-lived hooks write it at once, and each of them may be killed at any
 * instant. So:
 *
 *  - a program first takes a file lock, which is granted in the order of arrival and released when
 *    its holder dies;
 *  - everything that must be true together is one transaction (SQLite's rollback journal);
 *  - what no program may get wrong is a constraint of the schema: an exclusive CPU is a row of
 *    table `cpu`, whose key is the CPU;
 *  - what may have to be undone is written before it is done.
 *
 * Locks are taken in this order: a pool's lock, the lock of the CPU sets, or a record's lock for
 * memory nodes; then the ledger's.
 *
 * SQLite runs without file locks of its own ("unix-none"), because every access is under numastow's
 * lock; that saves a third of its system calls. A program that opens the file without this lock
 * (the sqlite3 shell) may mistake a journal in use for a left-over one, roll it back and delete it,
 * which damages the ledger: open a copy instead.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/idset.h"
#include "base/root.h"
#include "cgroup/cgroup.h"
#include "cgroup/pidref.h"
#include "ledger/paths.h"
#include "model/amounts.h"
#include "model/choices.h"
#include "model/usage.h"

struct stow_ledger;

enum stow_state {
	STOW_STATE_LEASE,   /* reserved, without a process; expires at `expires` */
	STOW_STATE_PENDING, /* a hook (`worker`) works on it */
	STOW_STATE_ACTIVE,  /* it is in effect in the kernel */
};

const char *stow_state_name(enum stow_state state);

/* What a lease waits for. Kept in the record when a container adopts the lease. */
enum stow_lease_kind {
	STOW_LEASE_CONTAINER,	/* the container `id` (Podman's precreate) */
	STOW_LEASE_MEMBER,	/* the container `name` of the pod `pod`; `id` is empty */
	STOW_LEASE_RESERVATION, /* the container that names `reservation`; `id` is empty */
	STOW_LEASE_CLAIM,	/* containers of a Kubernetes claim. The lease stays a lease, and is
				   one of the claim's shares; each container has a record of this
				   kind, which holds one or more of them */
};

/* The identity of a claim's share. */
struct stow_claim_key {
	char *uid, *share; /* Kubernetes UIDs: of the claim, and of one allocated device */
	char *part;	   /* the name of the claim's request */
};

/* A claim's share in the record of a container that holds it: what the share has when the
 * record is read. */
struct stow_held {
	int64_t key; /* of the share's record */
	char *uid, *share;
	char *ns, *name, *part; /* the claim's namespace and name; the request's name */
	bool exclusive, isolated;
	struct stow_idset cpus;	 /* exclusive ones */
	struct stow_idset nodes; /* for cpuset.mems */
	struct stow_idset at;	 /* the nodes of its shares */
	uint32_t n_cpus;	 /* promised, exclusive or shared */
	uint64_t memory;	 /* bytes, on all nodes */
	enum stow_drain drain;
	struct stow_page_request pages[STOW_POOLS_MAX]; /* by ascending size */
	size_t n_pages;
};

/* The sets that a container's config.json gave it; empty: the set of the cgroup above. */
struct stow_given {
	struct stow_idset cpus, mems;
};

/* The value of an attribute of a container's cgroup before numastow changed it. cpuset.cpus and
 * cpuset.mems are not saved: they had the sets of config.json (struct stow_given), or else
 * those of the cgroup above. */
struct stow_saved {
	enum stow_controller controller;
	char *attribute, *value;
};

/* The step of a repin, which decides what the container may use meanwhile. */
enum stow_move_step {
	STOW_MOVE_PLANNED,  /* the target is reserved; the container is at its old place */
	STOW_MOVE_WIDENED,  /* CPUs of the target; memory of both */
	STOW_MOVE_NARROWED, /* CPUs and memory of the target */
};

/* A repin in progress: its target, which is reserved in addition to the container's share. */
struct stow_move {
	struct stow_pidref worker;
	enum stow_move_step step;
	struct stow_idset cpus, nodes;
	char *reason;
	struct stow_share *shares; /* their pages index the record's `pages` */
	size_t n_shares;
};

/*
 * One container's grant, or a lease. Strings are never NULL once read from the ledger.
 *
 * A container of a claim has no CPUs, shares and pages of its own: what it may use is its claims',
 * which several containers can hold at once, and which is counted once. `exclusive`, `isolated`,
 * `cpus`, `nodes` and `drain` are computed from `held` when the record is read, and not written.
 */
struct stow_record {
	int64_t key; /* assigned on insertion; ascending, never reused */
	enum stow_state state;
	enum stow_lease_kind kind;
	char *id;		      /* the runtime's container id; "" for some leases */
	char *pod, *ns, *name;	      /* Kubernetes names, "" elsewhere */
	struct stow_pidref init;      /* the container's first process; pid 0 for a lease */
	struct stow_pidref worker;    /* the program that works on it while it is pending */
	struct stow_cgroup_id cgroup; /* as its createRuntime hook found it */
	uint64_t created;	      /* ns since the epoch */
	uint64_t expires;	      /* of a lease: ns of CLOCK_BOOTTIME; 0: never */
	bool exclusive;		      /* has exclusive CPUs */
	bool isolated;		      /* ... which are isolated (isolcpus) */
	struct stow_idset cpus;	 /* exclusive: its CPUs. Shared: a set that was adopted from another
				    tool; empty: all shared CPUs of its nodes */
	struct stow_idset nodes; /* for cpuset.mems; empty: as given */
	struct stow_given *given; /* NULL: none */
	char *request;		  /* one line, for users */
	char *digest;		  /* of the request's exact numbers, stow_request_digest() */
	char *reason;		  /* why this place was chosen */
	char *reservation;	  /* the reservation that it is or was made from; "" */
	enum stow_drain drain;
	struct stow_page_request pages[STOW_POOLS_MAX]; /* page sizes that the shares' pages index */
	size_t n_pages;
	struct stow_share *shares;
	size_t n_shares;
	struct stow_saved *saved; /* in the order of saving */
	size_t n_saved;
	struct stow_move *move;	      /* NULL: no repin is in progress */
	struct stow_claim_key *claim; /* of a claim's share; else NULL */
	struct stow_held *held;	      /* of a claim's container: what it holds, by ascending key */
	size_t n_held;
};

/* Return whether the record is a share of a claim, or the container of one. */
static inline bool stow_record_is_share(const struct stow_record *record)
{
	return record->kind == STOW_LEASE_CLAIM && record->state == STOW_STATE_LEASE;
}

static inline bool stow_record_is_holder(const struct stow_record *record)
{
	return record->kind == STOW_LEASE_CLAIM && record->state != STOW_STATE_LEASE;
}

/* Return whether a container's record holds a share. */
bool stow_record_holds(const struct stow_record *record, int64_t share);
/* Return how much of what a container has used on `node` counts as use of one of the shares that it
 * holds: by what each of them has there. Bytes of memory with `page_size` 0, else pages. */
uint64_t stow_held_used(const struct stow_record *record, int64_t share, int node,
			uint64_t page_size, uint64_t used);
/* Collect the nodes on which a record's promises are: its own, or those of its claims. */
void stow_record_at(const struct stow_record *record, struct stow_idset *ret);
/* Sum the hugepages that a record's container may use: its own, or those of its claims. By
 * ascending size, at most STOW_POOLS_MAX. Return how many sizes. */
size_t stow_record_pages(const struct stow_record *record,
			 struct stow_page_request ret[static STOW_POOLS_MAX]);

/* Return a record's name for lists and messages: the container's id, or else what the lease waits
 * for ("reservation:ID", "pod:UID/NAME", "claim:NAMESPACE/NAME:SHARE"). The text may be in `buf`. */
#define STOW_RECORD_LABEL_MAX 640
const char *stow_record_label(const struct stow_record *record,
			      char buf[static STOW_RECORD_LABEL_MAX]);
void stow_move_done(struct stow_move *move);
void stow_record_free(struct stow_record *record);
/* Set what its config.json gave a container. -ENOMEM. */
int stow_record_give(struct stow_record *record, const struct stow_idset *cpus,
		     const struct stow_idset *mems);
/* Return what its config.json gave a container, or an empty set. It belongs to the record. */
const struct stow_idset *stow_record_given_cpus(const struct stow_record *record);
const struct stow_idset *stow_record_given_mems(const struct stow_record *record);
void stow_records_free(struct stow_record **records, size_t n);

/* Open the ledger. With `create`, make the folder and the database when they are missing; without,
 * a missing ledger is -ENOENT. A missing or empty one counts as damaged once containers were placed
 * (STOW_APPLIED_PATH is there). -EACCES: the caller is not root. -EUCLEAN: damaged; -EPROTO: made
 * by another version of numastow; the messages say what to do. After stow_ledger_set_aside(), every
 * access to a ledger that was opened before fails with -ESTALE: open it again. */
int stow_ledger_open(struct stow_root *root, bool create, struct stow_ledger **ret_ledger,
		     struct stow_err *err);
void stow_ledger_close(struct stow_ledger *ledger);

/* A write transaction: between begin and commit no other program writes. Closing the ledger rolls
 * back. */
int stow_ledger_begin(struct stow_ledger *ledger, struct stow_err *err);
int stow_ledger_commit(struct stow_ledger *ledger, struct stow_err *err);
void stow_ledger_rollback(struct stow_ledger *ledger);
/* End the transaction by the result of its work: commit when r >= 0, otherwise roll back and return
 * r. `err` is only for a failure of the commit. */
int stow_ledger_end(struct stow_ledger *ledger, int r, struct stow_err *err);

/* Insert a record and set its key; its `move` and `held` are ignored. -EEXIST: one of its exclusive
 * CPUs is taken. */
int stow_ledger_insert(struct stow_ledger *ledger, struct stow_record *record,
		       struct stow_err *err);
/* Write what may change in a record: state, id, processes, cgroup, sets, shares, pages, saved
 * values, digest, expiry. The key stays. -EEXIST as above; -ENOENT: the record is gone. */
int stow_ledger_update(struct stow_ledger *ledger, const struct stow_record *record,
		       struct stow_err *err);
/* Change only the state: pending becomes active. */
int stow_ledger_activate(struct stow_ledger *ledger, int64_t key, struct stow_err *err);
/* Delete a record with its CPUs, shares, pages, saved values and repin. Return 1, or 0 when it was
 * gone already. A claim's share that a record holds stays: -EBUSY. */
int stow_ledger_delete(struct stow_ledger *ledger, int64_t key, struct stow_err *err);

/*
 * A repin is a state of a record. From the transaction that begins it, its target counts in
 * stow_ledger_usage(), _exclusive() and the pools, but not in _namespace(). The caller has begun a
 * transaction for each of these functions. -EBUSY: a repin is in progress already. -ENOENT: the
 * record is gone. -EEXIST: an exclusive CPU is taken.
 */
int stow_ledger_move_begin(struct stow_ledger *ledger, int64_t key, const struct stow_move *move,
			   struct stow_err *err);
int stow_ledger_move_step(struct stow_ledger *ledger, int64_t key, enum stow_move_step step,
			  struct stow_err *err);
/* Take over a repin whose worker has died. */
int stow_ledger_move_adopt(struct stow_ledger *ledger, int64_t key,
			   const struct stow_pidref *worker, struct stow_err *err);
/* End a repin. With `arrived`, the target becomes the container's grant (CPUs, nodes, shares,
 * pages, reason); without, it is dropped. Return 1, or 0 when there was none. */
int stow_ledger_move_end(struct stow_ledger *ledger, int64_t key, bool arrived,
			 struct stow_err *err);

/* Read records by ascending key: those of one id, or all when `id` is NULL. Read each table once,
 * however many records there are. Free with stow_records_free(). */
int stow_ledger_records(struct stow_ledger *ledger, const char *id, struct stow_record ***ret,
			size_t *ret_n, struct stow_err *err);
/* Read the records with pages promised on one pool, including leases. */
int stow_ledger_pool_records(struct stow_ledger *ledger, int node, uint64_t size,
			     struct stow_record ***ret, size_t *ret_n, struct stow_err *err);
int stow_ledger_record(struct stow_ledger *ledger, int64_t key, struct stow_record **ret,
		       struct stow_err *err); /* -ENOENT */
/* Read the newest active records, the newest first; at most `max`. */
struct stow_newest {
	int64_t key;
	struct stow_pidref init;
};
int stow_ledger_newest(struct stow_ledger *ledger, struct stow_newest *ret, size_t max,
		       size_t *ret_n, struct stow_err *err);
/* Delete the leases for members of a pod that has no container with a record any more. Return how
 * many. Within a transaction. */
int stow_ledger_drop_members(struct stow_ledger *ledger, const char *pod, struct stow_err *err);
/* Read the lease that waits for the container `name` of the pod `pod`; NULL when there is none. */
int stow_ledger_member(struct stow_ledger *ledger, const char *pod, const char *name,
		       struct stow_record **ret, struct stow_err *err);
/* Read the record of a reservation, lease or grant; NULL when there is none. */
int stow_ledger_reservation(struct stow_ledger *ledger, const char *reservation,
			    struct stow_record **ret, struct stow_err *err);

/* Make a container's record hold a claim's share. Return 1, or 0 when it does already. The caller
 * reads the record again to see what it has now. -ENOENT: one of them is gone. */
int stow_ledger_hold(struct stow_ledger *ledger, int64_t key, int64_t share, struct stow_err *err);
/* Read the shares of a claim; with `uid` NULL, those of all claims. */
int stow_ledger_claim(struct stow_ledger *ledger, const char *uid, struct stow_record ***ret,
		      size_t *ret_n, struct stow_err *err);
/* Count the shares of all claims of a Kubernetes namespace. */
int stow_ledger_claimed(struct stow_ledger *ledger, const char *ns, int64_t *ret,
			struct stow_err *err);
/* Read the records of the containers that hold shares of a claim, or with `uid` NULL of any. */
int stow_ledger_holders(struct stow_ledger *ledger, const char *uid, struct stow_record ***ret,
			size_t *ret_n, struct stow_err *err);
/* Read both in one transaction: a claim's shares, and the containers that hold them. */
int stow_ledger_claim_whole(struct stow_ledger *ledger, const char *uid, struct stow_record ***ret,
			    size_t *ret_n, struct stow_err *err);

/* Check that this program is in the machine's initial namespaces, if a program that was has used
 * the ledger. -EXDEV: it is not, and would take running containers for ended ones. Programs that
 * change grants call this; the hook as well, for it may be that of a container runtime within a
 * container. */
int stow_ledger_check_namespaces(struct stow_ledger *ledger, struct stow_err *err);

/* Read what all records have, in the planner's form. Free with stow_usage_free(). */
int stow_ledger_usage(struct stow_ledger *ledger, struct stow_usage **ret_usage,
		      struct stow_err *err);
void stow_usage_free(struct stow_usage *usage);
/* Read all exclusive CPUs, including those of repins' targets. */
int stow_ledger_exclusive(struct stow_ledger *ledger, struct stow_idset *ret, struct stow_err *err);
/* Collect the CPUs that must not become exclusive, because a shared container has a set of its own
 * (adopted, or from its config.json) that has them. A set that contains all of `online` does not
 * count. */
int stow_ledger_pinned(struct stow_ledger *ledger, const struct stow_idset *online,
		       struct stow_idset *ret, struct stow_err *err);
/* Sum what the containers of a Kubernetes namespace have, for the administrator's caps. */
int stow_ledger_namespace(struct stow_ledger *ledger, const char *ns, struct stow_caps *ret,
			  struct stow_err *err);

/*
 * Fences: nodes on which nothing new is placed. Each owner ("scheduler", "drain:ID", and
 * "no-execute:ID" of a drain with force_taint) has a set of its own, written as a whole. A node is
 * fenced when it is in any owner's set; stow_ledger_usage() has the union.
 */
int stow_ledger_fence_set(struct stow_ledger *ledger, const char *owner,
			  const struct stow_idset *nodes, struct stow_err *err);
/* Read the owner's set, or with NULL the union of all. */
int stow_ledger_fenced(struct stow_ledger *ledger, const char *owner, struct stow_idset *ret,
		       struct stow_err *err);

/* A hugepage pool that numastow has changed. `before` and `target` are set while a write to
 * nr_hugepages is in progress, so that the next program knows what a killed writer may have
 * done. */
struct stow_ledger_pool {
	int node;
	uint64_t size;	/* bytes a page */
	uint64_t added; /* pages that numastow has added and not removed yet */
	bool writing;
	uint64_t before, target; /* persistent pages */
};

int stow_ledger_pools(struct stow_ledger *ledger, struct stow_ledger_pool **ret, size_t *ret_n,
		      struct stow_err *err);
/* Read a pool; all zeros when it is not in the ledger. */
int stow_ledger_pool_get(struct stow_ledger *ledger, int node, uint64_t size,
			 struct stow_ledger_pool *ret, struct stow_err *err);
/* Write a pool; delete it when nothing is added and no write is in progress. */
int stow_ledger_pool_put(struct stow_ledger *ledger, const struct stow_ledger_pool *pool,
			 struct stow_err *err);
/* Count the pages of the pool that are promised to pending and active records, and to claims. */
int stow_ledger_pool_promised(struct stow_ledger *ledger, int node, uint64_t size,
			      uint64_t *ret_pages, struct stow_err *err);

/* A cgroup whose cpuset.cpus.exclusive numastow has written: a container's, for its partition (a
 * leaf), or one above it. Values of other tools are not listed. */
struct stow_ledger_partition {
	char *path;	/* below the mount */
	uint64_t inode; /* of the directory */
	bool leaf;
	uint64_t again; /* of a leaf: earliest next attempt after a failure, ns of CLOCK_BOOTTIME */
};

/* List them, the longest paths first, so that each cgroup comes before its ancestors. */
int stow_ledger_partitions(struct stow_ledger *ledger, struct stow_ledger_partition **ret,
			   size_t *ret_n, struct stow_err *err);
/* Free such a list. */
void stow_ledger_partitions_free(struct stow_ledger_partition *rows, size_t n);
/* Insert a cgroup, or replace the row of its path. */
int stow_ledger_partition_put(struct stow_ledger *ledger, const struct stow_ledger_partition *row,
			      struct stow_err *err);
/* Delete the row of a path. */
int stow_ledger_partition_drop(struct stow_ledger *ledger, const char *path, struct stow_err *err);

/* The history: `numastow why` prints it, and the audit log can be checked against it. The last
 * STOW_EVENTS_KEPT events are kept. */
#define STOW_EVENTS_KEPT 10000

struct stow_event {
	int64_t seq;
	uint64_t at; /* ns since the epoch */
	char *id, *kind, *cpus, *nodes, *text;
	bool exclusive;
};

/* Add an event, in the caller's transaction if there is one; with `record`, include its CPUs and
 * nodes. `kind`: leased, placed, refused,
 * ignored, observed, undone, released, reclaimed, expired, restored, debt, paid, gone, adopted,
 * kept, left, repinned, drained, undrained, evicted, overlap, partition. */
int stow_ledger_event(struct stow_ledger *ledger, const char *kind, const char *id,
		      const struct stow_record *record, const char *text, struct stow_err *err);
/* Read the newest `limit` events, the oldest of them first; those of one id, or of all containers
 * when `id` is NULL. */
int stow_ledger_events(struct stow_ledger *ledger, const char *id, size_t limit,
		       struct stow_event **ret, size_t *ret_n, struct stow_err *err);
void stow_events_free(struct stow_event *events, size_t n);

/* Return a number that changes with every commit of any program: one read, without a lock. */
uint32_t stow_ledger_changes(struct stow_ledger *ledger);

/* Rename a damaged ledger to ledger.db.damaged-TIME (*ret_name; empty: it was missing), and make a
 * new one. */
int stow_ledger_set_aside(struct stow_root *root, char *ret_name, size_t size,
			  struct stow_err *err);

STOW_DEFINE_CLEANUP(stow_ledger_close, struct stow_ledger);
STOW_DEFINE_CLEANUP(stow_usage_free, struct stow_usage);
STOW_DEFINE_CLEANUP(stow_record_free, struct stow_record);

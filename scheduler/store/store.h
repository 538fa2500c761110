/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The store: state that must survive a crash. This is reservations, fences, answers by request id,
 * drains, and pending webhook events. There are two engines: SQLite in a directory, for schedulers
 * on one machine; etcd, for schedulers on several. docs/store.md describes their guarantees.
 *
 * One thread writes. Callers queue lists of writes, each with a callback. The thread takes all
 * queued lists, has the engine write them, and calls the callbacks (group commit). A list is
 * written completely or not at all, and the failure of one list does not affect others.
 */

#include "scheduler/store/types.h"
#include "scheduler/store/writes.h"

struct stow_store;

/* Check the options, and that the files for etcd can be read. Does not open or connect anything. */
int stow_store_check(const struct stow_store_options *options, struct stow_err *err);

/* Create a store, without reading it. The options are copied. */
int stow_store_new(const struct stow_store_options *options, struct stow_store **ret_store,
		   struct stow_err *err);

/* Try to become the leader, the only scheduler that writes. 1: success; 0: another scheduler is
 * the leader, try again soon; -ENOTCONN, -ETIMEDOUT: the engine cannot be reached at present;
 * other errors are permanent. May take seconds. */
int stow_store_lead(struct stow_store *store, struct stow_err *err);
/* Return whether the lead is a lease, which lasts for a while after its scheduler was killed. */
bool stow_store_has_lease(const struct stow_store *store);

/* Return whether the last stow_store_lead() could ask the engine; also before the first. Otherwise
 * `why` has its error. Any thread. */
bool stow_store_follows(struct stow_store *store, struct stow_err *why);

/* Return whether this scheduler certainly is the leader. If not, it must not grant anything.
 * While an engine cannot be reached this is false, and may become true again. `why` may be NULL.
 * Any thread. */
bool stow_store_leads(struct stow_store *store, struct stow_err *why);
/* Return whether the lead is lost for good: another scheduler is, or may be, the leader, and
 * this store will not write again. */
bool stow_store_lost(struct stow_store *store, struct stow_err *why);

/* Return the epoch, which directives carry. It grows each time that a scheduler takes over, even
 * with a new store (unless the clock was set back). 0 before stow_store_load(). */
uint64_t stow_store_epoch(const struct stow_store *store);

/* Return the wall time that the store had when it was loaded, plus what has passed since by the
 * boot clock: setting the wall clock does not change it. */
uint64_t stow_store_time(const struct stow_store *store);

/* Read all rows, and start the thread. Only for the leader. */
int stow_store_load(struct stow_store *store, const struct stow_store_load *load,
		    struct stow_err *err);

/* Wait, for at most five seconds, until all queued lists are written. Later lists fail. */
void stow_store_stop(struct stow_store *store);
/* Stop the store, release the lead, and free it. NULL is allowed. */
void stow_store_close(struct stow_store *store);

/* Queue a list of writes. `done` (may be NULL) is called once on the store's thread: with NULL
 * when the list is durable, otherwise with the error. Without `done`, failed deletions are
 * retried until they succeed. */
void stow_store_commit(struct stow_store *store, struct stow_writes *writes,
		       void (*done)(void *ctx, const struct stow_err *err), void *ctx);

/* Return the number of transactions, and of writes in them, so far. */
void stow_store_count(struct stow_store *store, uint64_t *ret_commits, uint64_t *ret_writes);

struct stow_store_state {
	uint64_t failed;  /* lists that were not written */
	uint64_t retries; /* deletions that are being retried */
	bool healthy;	  /* the last write, or probe, succeeded, and none hangs */
	struct stow_err why;
};

/* Ask the engine for the standbys, at most every few seconds. For one thread, which may have to
 * wait for a second. */
void stow_store_look(struct stow_store *store);
/* Return the standbys that were found last. Any thread. */
void stow_store_standbys(struct stow_store *store, struct stow_store_standbys *ret);
/* Return by how many ns this standby is behind the leader's writes; 0 also when the engine does
 * not know. */
uint64_t stow_store_lag(struct stow_store *store);

/* Return the store's state, without waiting for the engine. When no writes are queued, a probe
 * is written every few seconds. */
void stow_store_state(struct stow_store *store, struct stow_store_state *ret);

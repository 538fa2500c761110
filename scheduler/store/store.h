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

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/idset.h"

struct stow_store;

struct stow_store_options {
	const char *where; /* "sqlite:DIR", "etcd:URL,..."; NULL: SQLite in `dir` */
	const char *dir;
	bool power_loss; /* SQLite: commits wait for the disk, as etcd's always do */

	/* For etcd. */
	const char *ca, *certificate, *key; /* PEM files, for https:// */
	const char *prefix;		    /* of all keys: "/numastow/" */
	uint64_t lease;			    /* ns */
	const char *name;		    /* of this scheduler, for display; NULL: its host */
};

/* Check the options, and that the files for etcd can be read. Does not open or connect anything. */
int stow_store_check(const struct stow_store_options *options, struct stow_err *err);

/* Create a store, without reading it. The options are copied. */
int stow_store_new(const struct stow_store_options *options, struct stow_store **ret_store,
		   struct stow_err *err);

/* Try to become the leader, the only scheduler that writes. 1: success; 0: another scheduler is
 * the leader, try again soon; -ENOTCONN, -ETIMEDOUT: the engine cannot be reached at present;
 * other errors are permanent. May take seconds. */
int stow_store_lead(struct stow_store *store, struct stow_err *err);

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

/* A pending webhook event. */
struct stow_store_webhook {
	uint64_t seq; /* ascending */
	uint64_t drain;
	const char *event, *url;
	const void *body;
	size_t len;
	uint64_t created, next; /* wall time */
	uint64_t attempts;
};

/* Callbacks for each row at the start. Drains come before their webhooks, which come by
 * ascending number. Arguments are valid only during the call. */
struct stow_store_load {
	int (*reservation)(void *ctx, uint64_t id, const void *message, size_t len,
			   const char *request_id, struct stow_err *err);
	int (*fence)(void *ctx, const char *machine, const struct stow_idset *numa,
		     struct stow_err *err);
	int (*answer)(void *ctx, const char *request_id, uint64_t digest, uint64_t expires,
		      const void *response, size_t len, struct stow_err *err);
	int (*drain)(void *ctx, uint64_t id, uint64_t flags, const void *message, size_t len,
		     const char *request_id, struct stow_err *err);
	int (*webhook)(void *ctx, const struct stow_store_webhook *webhook, struct stow_err *err);
	void *ctx;
};

/* Read all rows, and start the thread. Only for the leader. */
int stow_store_load(struct stow_store *store, const struct stow_store_load *load,
		    struct stow_err *err);

/* Wait, for at most five seconds, until all queued lists are written. Later lists fail. */
void stow_store_stop(struct stow_store *store);
/* Stop the store, release the lead, and free it. NULL is allowed. */
void stow_store_close(struct stow_store *store);

/* A list of writes, all of which are written or none. The caller creates and fills it, and
 * passes it to stow_store_commit(), which takes ownership. stow_writes_new() returns NULL when
 * out of memory; adding to NULL returns -ENOMEM. */
struct stow_writes;

struct stow_writes *stow_writes_new(void);
void stow_writes_free(struct stow_writes *writes);
int stow_writes_reservation(struct stow_writes *writes, uint64_t id, const void *message,
			    size_t len, const char *request_id);
int stow_writes_no_reservation(struct stow_writes *writes, uint64_t id);
int stow_writes_fence(struct stow_writes *writes, const char *machine,
		      const struct stow_idset *numa);
int stow_writes_answer(struct stow_writes *writes, const char *request_id, uint64_t digest,
		       uint64_t expires, const void *response, size_t len);
int stow_writes_no_answer(struct stow_writes *writes, const char *request_id);
int stow_writes_drain(struct stow_writes *writes, uint64_t id, uint64_t flags, const void *message,
		      size_t len, const char *request_id);
int stow_writes_no_drain(struct stow_writes *writes, uint64_t id);
/* Ignores `next` and `attempts`: the event is due, and was not tried yet. */
int stow_writes_webhook(struct stow_writes *writes, const struct stow_store_webhook *webhook);
int stow_writes_webhook_later(struct stow_writes *writes, uint64_t seq, uint64_t next,
			      uint64_t attempts);
int stow_writes_no_webhook(struct stow_writes *writes, uint64_t seq);
/* Delete the deliveries of an event to all URLs. */
int stow_writes_no_webhook_of(struct stow_writes *writes, uint64_t drain, const char *event);

/* Queue a list of writes. `done` (may be NULL) is called once on the store's thread: with NULL
 * when the list is durable, otherwise with the error. Without `done`, failed deletions are
 * retried until they succeed. */
void stow_store_commit(struct stow_store *store, struct stow_writes *writes,
		       void (*done)(void *ctx, const struct stow_err *err), void *ctx);

/* Return the number of transactions, and of writes in them, so far. */
void stow_store_count(struct stow_store *store, uint64_t *ret_commits, uint64_t *ret_writes);

struct stow_store_state {
	uint64_t failed; /* lists that were not written */
	uint64_t owed;	 /* deletions that are being retried */
	bool healthy;	 /* the last write, or probe, succeeded, and none hangs */
	struct stow_err why;
};

/* Standbys that the engine knows of. */
#define STOW_STANDBYS_MAX 16
struct stow_store_standbys {
	size_t n;
	struct stow_store_standby {
		char name[256];
		uint64_t lag; /* ns by which it is behind */
	} list[STOW_STANDBYS_MAX];
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

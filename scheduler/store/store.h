/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What must survive a crash: reservations, fences, answers by request id, drains, and what webhooks
 * are to be told of them. Two engines keep it: SQLite in a directory, for one machine; etcd, for
 * schedulers on several. docs/store.md says what each promises.
 *
 * One thread writes. Whoever wants something written queues it with what is to be done afterwards;
 * the thread takes all that is queued, has the engine write it, and then calls everybody back
 * (group commit). What one caller wants is written as a whole or not at all, and what the engine
 * refuses of one caller is no other caller's failure.
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
	bool power_loss; /* SQLite: a transaction waits for the disk; etcd's always do */

	/* etcd's */
	const char *ca, *certificate, *key; /* PEM files, for https:// */
	const char *prefix;		    /* of all keys: "/numastow/" */
	uint64_t lease;			    /* ns */
	const char *name;		    /* of this scheduler, for people; NULL: its host */
};

/* Whether the options make sense, and etcd's files can be read. Nothing is opened or connected. */
int stow_store_check(const struct stow_store_options *options, struct stow_err *err);

/* A store that nobody has read yet. The options are copied. */
int stow_store_new(const struct stow_store_options *options, struct stow_store **ret_store,
		   struct stow_err *err);

/* Tries to become the one scheduler that writes. 1: it is; 0: another one is, try again soon;
 * -ENOTCONN, -ETIMEDOUT: the engine cannot be reached just now; other errors will stay. An engine
 * may take seconds to say so. */
int stow_store_lead(struct stow_store *store, struct stow_err *err);

/* Whether it surely still is: else nothing may be granted. Any thread. An engine that cannot be
 * reached does not know, and may know again. `why` may be NULL. */
bool stow_store_leads(struct stow_store *store, struct stow_err *why);
/* Whether it is known that another one leads, or may: this store will not write any more. */
bool stow_store_lost(struct stow_store *store, struct stow_err *why);

/* Grows with each scheduler that took over, also over stores that were made anew (unless the clock
 * went back): directives carry it. 0 before stow_store_load(). */
uint64_t stow_store_epoch(const struct stow_store *store);

/* What a webhook is to be told, until it has taken it. */
struct stow_store_webhook {
	uint64_t seq; /* ascending */
	uint64_t drain;
	const char *event, *url;
	const void *body;
	size_t len;
	uint64_t created, next; /* wall time */
	uint64_t attempts;
};

/* What is there at the start; drains come before their webhooks, those by ascending number. What is
 * passed is the caller's no longer than the call. */
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

/* Reads it all and starts the thread; whoever leads may. */
int stow_store_load(struct stow_store *store, const struct stow_store_load *load,
		    struct stow_err *err);

/* Opens (or makes) DIR/scheduler.db and reads it, without asking whether another one has it open:
 * for tests. */
int stow_store_open(const char *dir, bool power_loss, const struct stow_store_load *load,
		    struct stow_store **ret_store, struct stow_err *err);

/* Waits until everything that is queued has been written, five seconds at most; what comes later
 * fails. */
void stow_store_stop(struct stow_store *store);
/* Stops it, gives the lead back, and frees it. NULL is fine. */
void stow_store_close(struct stow_store *store);

/* A list of writes that are one: all of them happen or none. Made, filled, and given to
 * stow_store_commit(), which owns it then. NULL: no memory; adding to NULL is -ENOMEM. */
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
/* `next` and `attempts` are not asked: it is due, and has not been tried. */
int stow_writes_webhook(struct stow_writes *writes, const struct stow_store_webhook *webhook);
int stow_writes_webhook_later(struct stow_writes *writes, uint64_t seq, uint64_t next,
			      uint64_t attempts);
int stow_writes_no_webhook(struct stow_writes *writes, uint64_t seq);
/* Of all URLs. */
int stow_writes_no_webhook_of(struct stow_writes *writes, uint64_t drain, const char *event);

/* `done` (may be NULL) is called on the store's thread, once: with NULL when it is durable, else
 * with why it is not. Without `done`, what was to be deleted is tried again until it is. */
void stow_store_commit(struct stow_store *store, struct stow_writes *writes,
		       void (*done)(void *ctx, const struct stow_err *err), void *ctx);

/* Transactions, and writes in them, so far. */
void stow_store_count(struct stow_store *store, uint64_t *ret_commits, uint64_t *ret_writes);

struct stow_store_state {
	uint64_t failed; /* callers' lists that were not written */
	uint64_t owed;	 /* deletions that are tried again */
	bool healthy;	 /* the last write, or probe, went through, and none hangs */
	struct stow_err why;
};

/* Others that would take over, as far as the engine knows of them. */
#define STOW_STANDBYS_MAX 16
struct stow_store_standbys {
	size_t n;
	struct stow_store_standby {
		char name[256];
		uint64_t lag; /* ns that it is behind */
	} list[STOW_STANDBYS_MAX];
};

/* Asks the engine for them, at most every few seconds; by one thread, which may wait for a second. */
void stow_store_look(struct stow_store *store);
/* What was found last. Any thread. */
void stow_store_standbys(struct stow_store *store, struct stow_store_standbys *ret);
/* Of a standby: ns that it is behind the leader's writes; 0 also when the engine does not know. */
uint64_t stow_store_lag(struct stow_store *store);

/* Without waiting for the engine. A write is tried every few seconds when nobody wants one. */
void stow_store_state(struct stow_store *store, struct stow_store_state *ret);

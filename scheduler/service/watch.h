/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The watchers, calls of WatchNodes. A watcher is a position in the order of the fleet's changes,
 * and nothing is queued for it. Its next messages are collected when the former ones were written
 * to its connection; until then it is in no list, so that a change costs nothing for a watcher that
 * does not read. Watchers at the same position share the packed messages (watch_events.c).
 */

#include <sys/queue.h>

#include "scheduler/service/service.h"

enum watcher_state {
	WATCHER_BUSY,	/* its last messages are not written yet */
	WATCHER_READY,	/* in `ready`: to be served */
	WATCHER_SERVED, /* being served, by the thread that notifies watchers */
	WATCHER_IDLE,	/* in `idle`: it had everything when it was served */
	WATCHER_STATES
};

struct scheduler_watcher {
	TAILQ_ENTRY(scheduler_watcher) of_list;
	struct stow_rpc_call *call; /* until `closed` */
	enum watcher_state state;
	bool ended; /* `closed` came while it was served */
	/* Constant. */
	bool containers;
	char *text, **names; /* sorted; point into the text */
	size_t n_names;
	/* Its position; of the thread that notifies watchers. */
	uint64_t seen; /* the fleet's clock */
	size_t seen_gone;
	const struct stow_machine *last; /* the last one sent; valid while `last_gone` is */
	size_t last_gone;
	unsigned int quota; /* messages at a time: doubled whenever they were written */
	bool synced;	    /* `synced` was sent: it has all that there was when it began */
};

#define WATCH_AT_ONCE 16  /* watchers served at a time */
#define WATCH_ITEMS   128 /* messages for them */
#define WATCH_LOOKS   256 /* machines looked at for them */

/* What one watcher is sent now. */
struct watch_served {
	struct scheduler_watcher *watcher;
	struct stow_rpc_call *call; /* a reference */
	size_t first, n;	    /* of the batch's items */
	bool behind;		    /* there is more for it */
	struct stow_err err;	    /* ends the stream; code 0: none */
};

/* What several watchers are sent, collected while the fleet's lock is held once. */
struct watch_batch {
	struct watch_served served[WATCH_AT_ONCE];
	size_t n;
	struct stow_rpc_packed *items[WATCH_ITEMS]; /* references */
	size_t n_items, packed; /* packed: bytes that were not found in `events` */
	unsigned int looked;
};

#define WATCH_EVENTS 1024 /* packed messages that are kept */

/* Packed messages, found by the machine's time of change. */
struct watch_events {
	struct {
		uint64_t changed; /* 0: none */
		struct stow_rpc_packed *packed;
	} of[2][WATCH_EVENTS]; /* without containers, and with */
	size_t bytes;
	struct stow_rpc_packed *synced;
};

TAILQ_HEAD(watch_list, scheduler_watcher);

struct scheduler_watch {
	/* With the scheduler's news_lock. */
	struct watch_list ready, idle;
	size_t n[WATCHER_STATES];
	/* The thread's. */
	uint64_t next_round; /* when idle watchers are looked at again: monotonic */
	struct watch_batch batch;
	struct watch_events events;
	atomic_ulong looked, packed, sent; /* watchers; messages */
};

/* Collect what a watcher of the batch has not seen, within the bounds of the batch. With the
 * fleet's lock. */
void scheduler_watch_collect(struct scheduler *s, struct watch_batch *batch,
			     struct watch_served *served);
/* Drop all packed messages. */
void scheduler_watch_events_done(struct watch_events *events);

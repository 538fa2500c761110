/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The queue: what webhooks are still to be told of drains. A row is written to the store with the
 * change that it tells of, sent until it is taken (2xx), and then deleted: at least once, over
 * crashes of both sides. What belongs to one drain comes in its order; one URL never waits for
 * another, each has a thread of its own.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "scheduler/config.h"
#include "scheduler/drain/event.h"
#include "scheduler/store/store.h"

#define SCHEDULER_WEBHOOKS_MAX 16

struct scheduler_delivery_queue;
/* Rows that are being written. */
struct scheduler_delivery;

/* Uses the URLs, files and times of `config`, which must stay. -EINVAL: a file cannot be used. */
int scheduler_delivery_queue_new(const struct scheduler_config *config,
				 struct scheduler_delivery_queue **ret_queue, struct stow_err *err);
/* Ends the threads; what is not delivered is in the store, which must still be open. */
void scheduler_delivery_queue_stop(struct scheduler_delivery_queue *queue);
void scheduler_delivery_queue_free(struct scheduler_delivery_queue *queue);

/* A row of the store, before the start. One for a URL that is no longer set is deleted then. */
int scheduler_delivery_queue_load(struct scheduler_delivery_queue *queue,
				  const struct stow_store_webhook *webhook, struct stow_err *err);
/* Begins to send. Nothing is sent without URLs. */
int scheduler_delivery_queue_start(struct scheduler_delivery_queue *queue, struct stow_store *store,
				   struct stow_err *err);

/* Adds the rows of an event, one for each URL, to `writes`, and to *deliveries for the time when
 * they are durable. -ENOMEM: what was added must not be committed. */
int scheduler_delivery_queue_write(struct scheduler_delivery_queue *queue,
				   struct stow_writes *writes, uint64_t drain,
				   enum scheduler_event event, const char *body, uint64_t wall,
				   struct scheduler_delivery **deliveries);
/* They are durable; they were not written after all. Any thread; the fleet's lock may be held. */
void scheduler_delivery_queue_post(struct scheduler_delivery_queue *queue,
				   struct scheduler_delivery *deliveries);
void scheduler_delivery_queue_drop(struct scheduler_delivery *deliveries);

/* What is not delivered of an event is no longer so, and need not be told: takes the rows away with
 * `writes`, and lets no try begin from now on. -ENOMEM: as above. */
int scheduler_delivery_queue_withdraw(struct scheduler_delivery_queue *queue,
				      struct stow_writes *writes, uint64_t drain,
				      enum scheduler_event event);
/* Whether it is still so is not known: it waits, and what comes after it, until it is released. */
void scheduler_delivery_queue_hold(struct scheduler_delivery_queue *queue, uint64_t drain,
				   enum scheduler_event event, bool hold);
/* Withdraws those that are about to be posted. */
void scheduler_deliveries_withdraw(struct scheduler_delivery *deliveries,
				   enum scheduler_event event);

struct scheduler_delivery_queue_count {
	uint64_t delivered, failed, given_up; /* so far; failed: tries */
	uint64_t pending;		      /* now */
};

void scheduler_delivery_queue_count(struct scheduler_delivery_queue *queue,
				    struct scheduler_delivery_queue_count *ret);

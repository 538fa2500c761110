/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The delivery queue: webhook events of drains that are not delivered yet. A delivery is a row of
 * the store, written together with the change that it announces, and deleted after an answer of
 * 2xx. So each event is delivered at least once, despite crashes on both sides. The events of one
 * drain are sent in order. Each URL has a thread of its own, and never waits for another URL.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "scheduler/config.h"
#include "scheduler/drain/event.h"
#include "scheduler/store/store.h"

struct scheduler_delivery_queue;
/* Deliveries whose rows are being written. */
struct scheduler_delivery;

/* Create a queue for the URLs, files and times of `config`, which must outlive the queue.
 * -EINVAL: a file cannot be used. */
int scheduler_delivery_queue_new(const struct scheduler_config *config,
				 struct scheduler_delivery_queue **ret_queue, struct stow_err *err);
/* Stop the threads. Pending deliveries stay in the store, which must still be open. */
void scheduler_delivery_queue_stop(struct scheduler_delivery_queue *queue);
void scheduler_delivery_queue_free(struct scheduler_delivery_queue *queue);

/* Load a row of the store; before the start. The start deletes rows of URLs that are no longer
 * configured. */
int scheduler_delivery_queue_load(struct scheduler_delivery_queue *queue,
				  const struct stow_store_webhook *webhook, struct stow_err *err);
/* Start sending. Does nothing when there are no URLs. */
int scheduler_delivery_queue_start(struct scheduler_delivery_queue *queue, struct stow_store *store,
				   struct stow_err *err);

/* Add the rows of an event, one for each URL, to `writes`, and the deliveries to *deliveries,
 * for scheduler_delivery_queue_post(). -ENOMEM: the caller must not commit `writes`. */
int scheduler_delivery_queue_write(struct scheduler_delivery_queue *queue,
				   struct stow_writes *writes, uint64_t drain,
				   enum scheduler_event event, const char *body, uint64_t wall,
				   struct scheduler_delivery **deliveries);
/* Queue deliveries whose rows are durable; drop deliveries whose rows were not written. Any
 * thread; the fleet's lock may be held. */
void scheduler_delivery_queue_post(struct scheduler_delivery_queue *queue,
				   struct scheduler_delivery *deliveries);
void scheduler_delivery_queue_drop(struct scheduler_delivery *deliveries);

/* Withdraw the pending deliveries of an event that no longer holds: delete the rows with
 * `writes`, and start no further try. -ENOMEM: as above. */
int scheduler_delivery_queue_withdraw(struct scheduler_delivery_queue *queue,
				      struct stow_writes *writes, uint64_t drain,
				      enum scheduler_event event);
/* Hold an event, and later events of the drain, while it is not known whether the event still
 * holds; or release it. */
void scheduler_delivery_queue_hold(struct scheduler_delivery_queue *queue, uint64_t drain,
				   enum scheduler_event event, bool hold);
/* Withdraw deliveries that are about to be posted. */
void scheduler_deliveries_withdraw(struct scheduler_delivery *deliveries,
				   enum scheduler_event event);

struct scheduler_delivery_queue_count {
	uint64_t delivered, failed, given_up; /* since the start; `failed` counts tries */
	uint64_t pending;		      /* now */
};

void scheduler_delivery_queue_count(struct scheduler_delivery_queue *queue,
				    struct scheduler_delivery_queue_count *ret);

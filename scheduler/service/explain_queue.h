/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The order in which calls of Explain are worked on, and how many may wait. */

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "numastow/v1/scheduler.pb-c.h"
#include "rpc/rpc.h"

#define EXPLAIN_CALLER_BYTES (8U << 20)	 /* of one caller that wait; its next one is refused */
#define EXPLAIN_ALL_BYTES    (64U << 20) /* of all callers: then each has one, and no second */

struct explain_waiting {
	struct explain_waiting *next;
	struct stow_rpc_call *call; /* until it is answered */
	PbExplainRequest *request;
	PbExplainResponse *response;
	uint64_t round;
	size_t size; /* bytes of the request */
	char caller[512];
};

struct scheduler_explain_queue {
	pthread_mutex_t lock; /* over all that follows */
	pthread_cond_t changed;
	pthread_t thread;
	bool runs;
	struct explain_waiting *first; /* by round, then first come */
	uint64_t round;		       /* of the one that was taken last */
	size_t bytes;		       /* of all that wait, and of the one that is worked on */
};

/* Inserts a call a round after the last one of the same caller, or into the present round: so the
 * callers take turns. Returns false when too much of its caller waits. With the lock held. */
bool scheduler_explain_queue_insert(struct scheduler_explain_queue *queue,
				    struct explain_waiting *w);
/* Takes out the next one; NULL when none waits. Its bytes count until the caller of this function
 * takes them off. With the lock held. */
struct explain_waiting *scheduler_explain_queue_take(struct scheduler_explain_queue *queue);

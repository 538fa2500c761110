/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The queue of Explain calls: their order, and how many may wait. */

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "numastow/v1/scheduler.pb-c.h"
#include "rpc/rpc.h"

#define EXPLAIN_CALLER_BYTES (8U << 20)	 /* waiting requests of one caller; more are refused */
#define EXPLAIN_ALL_BYTES    (64U << 20) /* of all callers; beyond it one call per caller */

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
	pthread_mutex_t lock; /* for all fields below */
	pthread_cond_t changed;
	pthread_t thread;
	bool runs;
	struct explain_waiting *first; /* by round, then by arrival */
	uint64_t round;		       /* of the call that was taken last */
	size_t bytes;		       /* of the waiting calls and the present one */
};

/* Insert a call one round after the last call of the same caller, or into the present round, so
 * that callers take turns (round-robin). Return false when too much of its caller waits. With
 * the lock held. */
bool scheduler_explain_queue_insert(struct scheduler_explain_queue *queue,
				    struct explain_waiting *w);
/* Remove and return the next call; NULL when none waits. The caller subtracts its size from
 * `bytes` when the call is answered. With the lock held. */
struct explain_waiting *scheduler_explain_queue_take(struct scheduler_explain_queue *queue);

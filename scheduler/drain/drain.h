/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Drains: taking memory off a machine, from the request to the outcome.
 *
 *	WAITING    for a slot; then the agent plans (still WAITING)
 *	PLANNED    fenced; waits until reservations on the NUMA node are used or have run out
 *	FENCED     the agent was ordered to drain
 *	MOVING .. UNDOING	as the agent reports
 *	DONE, PARTIAL, FAILED, CANCELLED
 *
 * Each step is stored, together with its webhook events, before the next action. So a restarted
 * scheduler, or another one, continues from there. Drains are under the fleet's lock.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "numastow/v1/drain.pb-c.h"
#include "scheduler/control/control.h"

#define SCHEDULER_ENDS 4 /* DONE to CANCELLED */

/* The gRPC methods. They take the lock themselves. */
extern const struct stow_rpc_stream_ops scheduler_drain_ops; /* DrainMemory */
int scheduler_list_drains(struct stow_rpc_call *call, void *ctx, const void *request,
			  void *response, struct stow_err *err);
int scheduler_cancel_drain(struct stow_rpc_call *call, void *ctx, const void *request,
			   void *response, struct stow_err *err);

/* Create the table of drains, s->drains. -ENOMEM. */
int scheduler_drains_new(struct scheduler_drains **ret, struct stow_err *err);
void scheduler_drains_free(struct scheduler *s);

/* All functions below require the lock. */

/* Add a drain from the store (stow_store_load()); then, once, finish loading. */
int scheduler_drain_load(void *ctx, uint64_t id, uint64_t flags, const void *message, size_t len,
			 const char *request_id, struct stow_err *err);
void scheduler_drains_loaded(struct scheduler *s);

/* Advance all drains that can continue; called periodically. */
void scheduler_drains_tick(struct scheduler *s, struct stow_now now);
/* Look for waiting drains that can get a slot, at the next tick. */
void scheduler_drains_look(struct scheduler *s);
/* Forget drains that ended long ago. */
void scheduler_drains_forget(struct scheduler *s, struct stow_now now);
/* Close all calls of DrainMemory. */
void scheduler_drains_stop(struct scheduler *s);

/* Handle progress from a machine's agent. Takes ownership of `progress`. Ignores drains of other
 * machines. */
void scheduler_drain_progress(struct scheduler *s, struct stow_machine *machine,
			      PbDrainProgress *progress);
void scheduler_drain_result(struct scheduler *s, struct stow_machine *machine, uint64_t id,
			    enum scheduler_order what, const PbDirectiveResult *result);
/* Handle the drains, ascending, that the first report of a stream lists; after its Welcome. */
void scheduler_drains_reported(struct scheduler *s, struct stow_machine *machine,
			       const uint64_t *ids, size_t n);

/* Check whether the machine's fences may be changed. -EBUSY: a drain needs one of them; `err`
 * names it. */
int scheduler_drains_in_the_way(const struct scheduler *s, const struct stow_machine *machine,
				struct stow_err *err);
/* Return the ids of a machine's running drains. The caller frees the list, not the ids. 0 when
 * out of memory. */
size_t scheduler_drains_of(const struct scheduler *s, const struct stow_machine *machine,
			   char ***ret_ids);
size_t scheduler_drains_under_way(const struct scheduler *s);
/* Count the running drains by step, and the drains that ended since the start by outcome. */
void scheduler_drains_count(const struct scheduler *s, uint64_t under_way[PB_DRAIN_STEP_DONE],
			    uint64_t ended[SCHEDULER_ENDS]);

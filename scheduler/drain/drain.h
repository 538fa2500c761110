/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Drains: memory that leaves a machine, from the request to the end.
 *
 *	WAITING    for its turn; then the machine plans (still WAITING)
 *	PLANNED    fenced, and waiting for reservations on the NUMA node to be used or to run out
 *	FENCED     the machine is told to do it
 *	MOVING .. UNDOING	as the machine says
 *	DONE, PARTIAL, FAILED, CANCELLED
 *
 * Each step is stored before what follows from it is done, together with what webhooks are to be
 * told of it: whoever is started again goes on from there. All of this is under the fleet's lock.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "numastow/v1/drain.pb-c.h"
#include "scheduler/control/control.h"

#define SCHEDULER_ENDS 4 /* DONE to CANCELLED */

/* The methods; they take the lock themselves. */
extern const struct stow_rpc_stream_ops scheduler_drain_ops; /* DrainMemory */
int scheduler_list_drains(struct stow_rpc_call *call, void *ctx, const void *request,
			  void *response, struct stow_err *err);
int scheduler_cancel_drain(struct stow_rpc_call *call, void *ctx, const void *request,
			   void *response, struct stow_err *err);

/* The table of drains, s->drains. -ENOMEM. */
int scheduler_drains_new(struct scheduler_drains **ret, struct stow_err *err);
void scheduler_drains_free(struct scheduler *s);

/* What follows wants the lock held. */

/* What the store has (stow_store_load); after the last one. */
int scheduler_drain_load(void *ctx, uint64_t id, uint64_t flags, const void *message, size_t len,
			 const char *request_id, struct stow_err *err);
void scheduler_drains_loaded(struct scheduler *s);

/* What can be done now; again and again. */
void scheduler_drains_tick(struct scheduler *s, struct stow_now now);
/* Somebody may have a turn now. */
void scheduler_drains_look(struct scheduler *s);
/* Forgets those that ended long ago. */
void scheduler_drains_forget(struct scheduler *s, struct stow_now now);
/* Closes all calls that follow. */
void scheduler_drains_stop(struct scheduler *s);

/* What the machine says: takes `progress` over; ids of others are passed over. */
void scheduler_drain_progress(struct scheduler *s, struct stow_machine *machine,
			      PbDrainProgress *progress);
void scheduler_drain_result(struct scheduler *s, struct stow_machine *machine, uint64_t id,
			    enum scheduler_order what, const PbDirectiveResult *result);
/* The first report of a stream, after its Welcome: what the machine has, ascending. */
void scheduler_drains_reported(struct scheduler *s, struct stow_machine *machine,
			       const uint64_t *ids, size_t n);

/* -EBUSY: which one keeps the fences of this machine. */
int scheduler_drains_in_the_way(const struct scheduler *s, const struct stow_machine *machine,
				struct stow_err *err);
/* The ids of a machine's drains under way, which stay the drains'; the list is to be freed. 0
 * without memory. */
size_t scheduler_drains_of(const struct scheduler *s, const struct stow_machine *machine,
			   char ***ret_ids);
size_t scheduler_drains_under_way(const struct scheduler *s);
/* By step, and by how they ended since the start. */
void scheduler_drains_count(const struct scheduler *s, uint64_t under_way[PB_DRAIN_STEP_DONE],
			    uint64_t ended[SCHEDULER_ENDS]);

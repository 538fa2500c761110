/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The gRPC service that agents and clients call; one or two methods per file. */

#include "scheduler/control/control.h"

/* The service with all methods (service.c). Its context is the scheduler. */
extern const struct stow_rpc_service scheduler_service;
/* Methods that change state, for the audit log; ends with NULL. */
extern const char *const scheduler_service_changing[];
/* Return whether a peer is an agent: agents are accepted even when other peers use up the
 * connection limits. `ctx`: the scheduler. */
bool scheduler_service_trusted(const struct stow_rpc_peer *peer, void *ctx);

/* --- the methods ---------------------------------------------------------- */

int scheduler_place(struct stow_rpc_call *call, void *ctx, const void *request, void *response,
		    struct stow_err *err);
int scheduler_release(struct stow_rpc_call *call, void *ctx, const void *request, void *response,
		      struct stow_err *err);
int scheduler_explain(struct stow_rpc_call *call, void *ctx, const void *request, void *response,
		      struct stow_err *err);
int scheduler_list_nodes(struct stow_rpc_call *call, void *ctx, const void *request, void *response,
			 struct stow_err *err); /* nodes.c */
int scheduler_list_reservations(struct stow_rpc_call *call, void *ctx, const void *request,
				void *response, struct stow_err *err); /* reservations.c */
int scheduler_fence(struct stow_rpc_call *call, void *ctx, const void *request, void *response,
		    struct stow_err *err);
int scheduler_unfence(struct stow_rpc_call *call, void *ctx, const void *request, void *response,
		      struct stow_err *err);
/* Check an Explain request; answer it (explain.c). scheduler_explain_now() requires a checked
 * request. */
int scheduler_explain_check(const PbExplainRequest *in, struct stow_err *err);
int scheduler_explain_now(struct scheduler *s, struct stow_rpc_call *call,
			  const PbExplainRequest *in, PbExplainResponse *out, struct stow_err *err);
/* The queue of Explain calls (explain_queue.c). Without its thread each call is answered at
 * once. */
int scheduler_explain_queue_new(struct scheduler *s, struct stow_err *err);
int scheduler_explain_queue_start(struct scheduler *s);
/* Answer the waiting calls with an error. A second call does nothing. */
void scheduler_explain_queue_stop(struct scheduler *s);
void scheduler_explain_queue_free(struct scheduler *s);
extern const struct stow_rpc_stream_ops scheduler_report_ops;
extern const struct stow_rpc_stream_ops scheduler_watch_ops;

/* The watchers (watch.c). All watchers must have ended before they are freed. */
int scheduler_watch_new(struct scheduler *s, struct stow_err *err);
void scheduler_watch_free(struct scheduler *s);
/* Send some watchers their pending changes, up to a bound. Return false when there was none to look
 * at. By one thread at a time. */
bool scheduler_watch_notify(struct scheduler *s);
/* The thread that notifies watchers. `arg` is the scheduler. Ends when the scheduler is
 * stopping. */
void *scheduler_watch_run(void *arg);
/* Write the watchers' metrics. */
void scheduler_watch_render(struct scheduler *s, FILE *out);

/* --- with the fleet's lock held ------------------------------------------- */

/* Handle the result of a directive about a reservation. */
void scheduler_place_result(struct scheduler *s, struct stow_machine *machine, uint64_t reservation,
			    const PbDirectiveResult *result);
/* Answer calls of Place that have waited too long for agents; calls of Fence that are done. */
void scheduler_place_tick(struct scheduler *s, struct stow_now now);
void scheduler_fence_tick(struct scheduler *s);
/* Answer all waiting calls, because the scheduler stops. */
void scheduler_place_stop(struct scheduler *s);
void scheduler_fence_stop(struct scheduler *s);

/* Return a machine as a packed NodeEvent (nodes.c); the caller frees it. NULL: out of memory. */
uint8_t *scheduler_nodes_event(const struct stow_machine *machine, bool containers,
			       size_t *ret_len);
/* Return a machine as a message (nodes.c). Freed with stow_rpc_message_free(). */
PbNode *scheduler_nodes_show(const struct stow_machine *machine, bool containers);

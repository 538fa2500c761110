/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The service that machines and clients call, a file for each method or two. */

#include "scheduler/control/control.h"

/* The service with all its methods (service.c). Its context is the scheduler. */
extern const struct stow_rpc_service scheduler_service;
/* Methods that change something, for the audit; ends with NULL. */
extern const char *const scheduler_service_changing[];
/* Whether a peer is an agent: these find a place whoever else there is. `ctx`: the scheduler. */
bool scheduler_service_trusted(const struct stow_rpc_peer *peer, void *ctx);

/* --- the methods -------------------------------------------------------------------------------- */

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
/* What it does with its turn (explain.c); the request was checked. */
int scheduler_explain_check(const PbExplainRequest *in, struct stow_err *err);
int scheduler_explain_now(struct scheduler *s, struct stow_rpc_call *call,
			  const PbExplainRequest *in, PbExplainResponse *out, struct stow_err *err);
/* The calls of Explain that wait (explain_queue.c). Without their thread each call is worked on at
 * once. */
int scheduler_explain_queue_new(struct scheduler *s, struct stow_err *err);
int scheduler_explain_queue_start(struct scheduler *s);
/* Answers those who wait. Once more does nothing. */
void scheduler_explain_queue_stop(struct scheduler *s);
void scheduler_explain_queue_free(struct scheduler *s);
extern const struct stow_rpc_stream_ops scheduler_report_ops;
extern const struct stow_rpc_stream_ops scheduler_watch_ops;

/* Sends each watcher what is new to it, up to a bound; false: nothing is new to any. With the
 * fleet's lock held, which is given up between two watchers. */
bool scheduler_watch_notify(struct scheduler *s);
/* The thread that tells watchers (watch.c); its argument is the scheduler. Ends when that is
 * stopping. */
void *scheduler_watch_run(void *arg);

/* --- with the fleet's lock held ----------------------------------------------------------------- */

/* What became of a directive about a reservation. */
void scheduler_place_result(struct scheduler *s, struct stow_machine *machine, uint64_t reservation,
			    const PbDirectiveResult *result);
/* Callers who waited too long for agents' words; those who wait for a fence. */
void scheduler_place_tick(struct scheduler *s, struct stow_now now);
void scheduler_fence_tick(struct scheduler *s, struct stow_now now);
/* Ends all waiting calls: at the end. */
void scheduler_place_stop(struct scheduler *s);
void scheduler_fence_stop(struct scheduler *s);

/* A machine as it is shown (nodes.c); to be freed with stow_rpc_message_free(). */
PbNode *scheduler_nodes_show(const struct stow_machine *machine, bool containers);

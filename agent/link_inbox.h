/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The messages of the scheduler's streams, on their way from gRPC's threads to the main thread. No
 * more is read from a stream while too many wait.
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>

#include "agent/loop.h"
#include "base/err.h"
#include "rpc/rpc.h"

/* A message, or the end of a stream. */
struct agent_link_event {
	struct agent_link_event *next;
	struct stow_rpc_call *call; /* a reference: events of an older stream are dropped */
	uint8_t *packed;	    /* a directive, which takes least in this form; NULL: the end */
	size_t size;
	struct stow_err err; /* of a stream that has ended */
};

struct agent_link_inbox {
	struct agent_loop_handle *loop;
	/* Handle an event, or a part of it, until that time (monotonic, ns). Return whether more of
	 * it is left: then it is called again with the same event. */
	bool (*handle)(void *ctx, const struct agent_link_event *event, uint64_t until);
	void *ctx;
	struct stow_rpc_call *call; /* the present stream; NULL: none */

	struct agent_link_event *first, **last; /* to be handled, in this order */
	bool posted;				/* a task will continue with them */

	/* For any thread. */
	atomic_size_t waiting, waiting_bytes;
	atomic_bool paused; /* it was logged, for the present stream */
	_Atomic uint64_t received, pauses;
};

/* Initialize the inbox; `ctx` is the argument of `handle`, which the main thread calls. */
void agent_link_inbox_init(struct agent_link_inbox *inbox, struct agent_loop_handle *loop,
			   bool (*handle)(void *ctx, const struct agent_link_event *event,
					  uint64_t until),
			   void *ctx);
/* Drop all events. No posted task may be pending. */
void agent_link_inbox_done(struct agent_link_inbox *inbox);
/* Set the present stream, which is borrowed; NULL: there is none. */
void agent_link_inbox_follow(struct agent_link_inbox *inbox, struct stow_rpc_call *call);

/* What a stream to a scheduler calls, on gRPC's threads; its context is the inbox. */
extern const struct stow_rpc_stream_ops agent_link_inbox_ops;

/* Write the metrics of the directives. Any thread. */
void agent_link_inbox_render(const struct agent_link_inbox *inbox, FILE *out);

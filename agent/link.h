/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The stream to the scheduler: dialled for ever, with growing and jittered pauses, at one address
 * after the other until one answers. All of it belongs to the main thread; what gRPC's thread
 * brings is posted to it.
 */

#include "agent/config.h"
#include "agent/directive.h"
#include "agent/loop.h"
#include "agent/publisher.h"
#include "numastow/v1/scheduler.pb-c.h"
#include "rpc/rpc.h"

struct agent_link;

struct agent_link_parts {	/* all outlive the link */
	struct stow_root *root; /* for the epoch (epoch.h) */
	struct stow_rpc_loop *rpc;
	struct agent_publisher *publisher;
	const struct agent_config *config; /* may change, with agent_link_redial() */
	const struct agent_directive_parts *directives;
};

/* The loop does the rest. Without schedulers in the settings it waits until there are some. */
int agent_link_new(struct agent_loop *loop, const struct agent_link_parts *parts,
		   struct agent_link **ret, struct stow_err *err);
/* Ends the stream and the connection for good; what was posted before is run later, and is nothing
 * to it any more. NULL is fine. */
void agent_link_stop(struct agent_link *link);
/* When nothing that it has posted is still to be run. */
void agent_link_free(struct agent_link *link);

/* Says how a drain goes that the scheduler has ordered; nothing before its welcome, which says it
 * all. */
void agent_link_notify(struct agent_link *link, const PbDrainProgress *progress);
/* Hangs up: the next round of the loop dials, with the settings and certificates of that time. */
void agent_link_redial(struct agent_link *link);

/* The pause before the dial after `failures` failed ones in a row; `random` is any number. */
uint64_t agent_link_pause(unsigned int failures, uint64_t random);
/* The same with `n` schedulers, each of which is tried before the pause; `welcomed`: the stream
 * that failed had been accepted. */
uint64_t agent_link_wait(unsigned int failures, size_t n, bool welcomed, uint64_t random);

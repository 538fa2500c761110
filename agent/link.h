/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The stream to the scheduler. The link connects to one address after the other until a scheduler
 * accepts the stream, with growing, random pauses between rounds, without giving up. It belongs to
 * the main thread; gRPC's thread posts messages to it.
 */

#include <stdio.h>

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
	const struct agent_config *config; /* after changes call agent_link_redial() */
	const struct agent_directive_parts *directives;
};

/* Create the link; the loop runs it. Without schedulers in the settings it waits until a reload
 * adds some. */
int agent_link_new(struct agent_loop *loop, const struct agent_link_parts *parts,
		   struct agent_link **ret, struct stow_err *err);
/* Close the stream and the connection for good. Tasks that were posted before are ignored. NULL
 * is allowed. */
void agent_link_stop(struct agent_link *link);
/* Free the link. No posted task may be pending. */
void agent_link_free(struct agent_link *link);

/* Send progress of a drain that the scheduler has ordered. Does nothing before the Welcome,
 * after which all progress is sent. */
void agent_link_notify(struct agent_link *link, const PbDrainProgress *progress);
/* Disconnect; the next round of the loop connects again, with the present settings and
 * certificates. */
void agent_link_redial(struct agent_link *link);

/* Write the metrics of the directives. Any thread. */
void agent_link_render(const struct agent_link *link, FILE *out);

/* Return the pause after `failures` consecutive failures to connect; `random` is any number. */
uint64_t agent_link_pause(unsigned int failures, uint64_t random);
/* The same with `n` schedulers, each of which is tried before the pause; `welcomed`: the failed
 * stream had got a Welcome. */
uint64_t agent_link_wait(unsigned int failures, size_t n, bool welcomed, uint64_t random);

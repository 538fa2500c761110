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
#include "base/clock.h"
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

/* --- pauses (link_pause.c) ------------------------------------------------ */

/* A stream that lasts so long after its Welcome was no failure. */
#define AGENT_LINK_PROVEN (10 * STOW_SECOND)

/* The attempts to connect until now. Zero at first. */
struct agent_link_tries {
	unsigned int failures; /* consecutive; a Welcome ends them */
	unsigned int brief;    /* consecutive streams that ended soon after their Welcome */
	uint64_t welcomed;     /* when the present stream got its Welcome; 0: not yet */
};

/* Note the Welcome of the present stream. `now` is monotonic, in ns, here and below. */
void agent_link_welcomed(struct agent_link_tries *tries, uint64_t now);
/* Count the end of a stream, or an attempt that failed. Return the pause until the next one, in
 * ns; `random` is any number. With `n` schedulers each is tried before a pause. A scheduler that
 * ends streams soon after their Welcome, again and again, causes pauses that grow, too. */
uint64_t agent_link_ended(struct agent_link_tries *tries, size_t n, uint64_t now, uint64_t random);

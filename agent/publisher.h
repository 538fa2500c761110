/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The agent's published state: the current report, its subscribers, counters, and the error of the
 * last attempt to read the machine's state, if it failed. The publisher has a lock of its own;
 * every function may be called from any thread.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "numastow/v1/node.pb-c.h"
#include "place/changes.h"
#include "rpc/rpc.h"

struct agent_publisher;

/* --- identity ------------------------------------------------------------- */

struct agent_publisher_identity { /* copied */
	const char *node;
	const char *boot_id;
	const char *failure_domain; /* "" for none */
};

/* Create a publisher without a report. Free it with agent_publisher_free(). -ENOMEM. */
int agent_publisher_new(const struct agent_publisher_identity *identity,
			struct agent_publisher **ret, struct stow_err *err);
/* Free the publisher, and drop all subscribers. */
void agent_publisher_free(struct agent_publisher *publisher);

/* Set the failure domain after a reload. It is sent with the next full report. */
int agent_publisher_set_failure_domain(struct agent_publisher *publisher, const char *name,
				       struct stow_err *err);

/* --- subscribers ---------------------------------------------------------- */

/* Send the full report now, then every change, until agent_publisher_unsubscribe(). `scheduler`:
 * wrap messages as ReportRequest; `private`: omit containers. A local subscriber (not a scheduler)
 * gets nothing while its last message is not written; agent_publisher_written() then sends a full
 * report if it has missed a change. The publisher sets the call's data
 * (stow_rpc_call_set_data()). */
int agent_publisher_subscribe(struct agent_publisher *publisher, struct stow_rpc_call *call,
			      bool scheduler, bool private);
/* The call's last message is written: send what its subscriber has missed. */
void agent_publisher_written(struct agent_publisher *publisher, struct stow_rpc_call *call);
/* Send nothing more to the call. */
void agent_publisher_unsubscribe(struct agent_publisher *publisher,
				 const struct stow_rpc_call *call);
/* Send the full report again, now. */
void agent_publisher_repeat(struct agent_publisher *publisher, const struct stow_rpc_call *call);

/* --- publishing ----------------------------------------------------------- */

/* Publish a report without the publisher's own fields: name, sequence, time, version, mode,
 * counters. Takes ownership. Sends the changes to all subscribers, frees the previous report,
 * and clears the error. */
void agent_publisher_publish(struct agent_publisher *publisher, PbNodeReport *report);
/* Publish that reading the machine's state failed. Return whether it had succeeded the time
 * before. */
bool agent_publisher_fail(struct agent_publisher *publisher, const struct stow_err *why);
/* Set the mode. If it has changed, all subscribers get a full report, because changes of reports
 * do not include the mode. */
void agent_publisher_set_mode(struct agent_publisher *publisher, enum stow_changes mode);
/* Set whether a scheduler is connected. */
void agent_publisher_set_connected(struct agent_publisher *publisher, bool connected);

enum agent_publisher_counter {
	AGENT_COUNT_ADOPTED,
	AGENT_COUNT_RESTORED,
	AGENT_COUNT_REFUSED,
	AGENT_COUNT_PROBLEMS,
	AGENT_COUNT_RECLAIMED,
	AGENT_COUNT_RECLAIMED_HUGEPAGES,
	AGENT_COUNT_REPINS,
	AGENT_COUNT_DRAINS,
	AGENT_COUNT_RECONNECTS,
};

/* Add `n` to a counter. */
void agent_publisher_count(struct agent_publisher *publisher, enum agent_publisher_counter counter,
			   uint64_t n);
/* Set the number of containers that kubelet manages. */
void agent_publisher_set_kubelet_managed(struct agent_publisher *publisher, uint64_t n);
/* Count an event of the ledger. */
void agent_publisher_count_event(struct agent_publisher *publisher, const char *kind);

/* Call `changed` from now on whenever a report or a mode is published, with the publisher's lock
 * held: it must not wait, nor call the publisher. At most eight modules may follow. */
void agent_publisher_follow(struct agent_publisher *publisher, void (*changed)(void *ctx),
			    void *ctx);
/* End the calls with this `ctx`; once this returns, none runs. */
void agent_publisher_unfollow(struct agent_publisher *publisher, const void *ctx);

/* --- reading -------------------------------------------------------------- */

struct agent_publisher_event {
	char kind[32];
	uint64_t n; /* since the start */
};

struct agent_published {
	const PbNodeReport *report; /* without the publisher's own fields; NULL before the first */
	const PbAgentCounters *counters;
	const struct agent_publisher_event *events; /* of the ledger */
	size_t n_events;
	enum stow_changes mode;
	bool connected;
	const char *error; /* of the last reading of the machine's state; NULL: none */
	uint64_t looked;   /* when it was last read without an error: wall time, ns */
};

/* Take the lock, and borrow the published state until agent_publisher_return(). */
void agent_publisher_borrow(struct agent_publisher *publisher, struct agent_published *ret);
/* Release the lock. The borrowed state must not be used any more. */
void agent_publisher_return(struct agent_publisher *publisher);
/* While the state is borrowed: fill `ret` with a full report, as it is sent, with the publisher's
 * own fields. What it points to is the publisher's. */
void agent_publisher_whole(const struct agent_publisher *publisher, PbNodeReport *ret);

/* Return how many of the report's first containers fit into one message. */
size_t agent_publisher_fit(const PbNodeReport *report);

/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What the agent says of the machine: the current report, who gets it and its changes, counters,
 * and whether the last look went well. It has a lock of its own, and every function may be called
 * from any thread.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "numastow/v1/node.pb-c.h"
#include "place/changes.h"
#include "rpc/rpc.h"

struct agent_publisher;

/* --- who it speaks for -------------------------------------------------------------------------- */

struct agent_publisher_identity { /* copied */
	const char *node;
	const char *boot_id;
	const char *failure_domain; /* "" for none */
};

int agent_publisher_new(const struct agent_publisher_identity *identity,
			struct agent_publisher **ret, struct stow_err *err);
/* Lets go of all subscribers. */
void agent_publisher_free(struct agent_publisher *publisher);

/* After a reload; it is said with the next full report. */
int agent_publisher_set_failure_domain(struct agent_publisher *publisher, const char *name,
				       struct stow_err *err);

/* --- subscribers -------------------------------------------------------------------------------- */

/* Sends the full report now, then every change, until agent_publisher_unsubscribe(). `scheduler`:
 * messages go wrapped, as ReportRequest; `private`: without containers. */
int agent_publisher_subscribe(struct agent_publisher *publisher, struct stow_rpc_call *call,
			      bool scheduler, bool private);
void agent_publisher_unsubscribe(struct agent_publisher *publisher,
				 const struct stow_rpc_call *call);
/* Sends it the full report once more, now. */
void agent_publisher_repeat(struct agent_publisher *publisher, const struct stow_rpc_call *call);

/* --- what is published -------------------------------------------------------------------------- */

/* Takes a report without what is the publisher's: name, sequence, time, version, mode, counters.
 * Tells everybody what differs from the one before, which is freed. Clears the error. */
void agent_publisher_publish(struct agent_publisher *publisher, PbNodeReport *report);
/* The machine could not be looked at. Returns whether that is news. */
bool agent_publisher_fail(struct agent_publisher *publisher, const struct stow_err *why);
/* The mode is no part of what is compared between reports: when it differs, everybody gets a full
 * one. */
void agent_publisher_set_mode(struct agent_publisher *publisher, enum stow_changes mode);
/* Whether a scheduler listens. */
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

void agent_publisher_count(struct agent_publisher *publisher, enum agent_publisher_counter counter,
			   uint64_t n);
/* Containers that are left to kubelet, now. */
void agent_publisher_set_foreign(struct agent_publisher *publisher, uint64_t n);
/* One more of the ledger's events of that kind. */
void agent_publisher_count_event(struct agent_publisher *publisher, const char *kind);

/* --- reading ------------------------------------------------------------------------------------ */

struct agent_publisher_event {
	char kind[32];
	uint64_t n; /* since the start */
};

struct agent_published {
	const PbNodeReport *report; /* without what is the publisher's; NULL before the first */
	const PbAgentCounters *counters;
	const struct agent_publisher_event *events; /* of the ledger */
	size_t n_events;
	enum stow_changes mode;
	bool connected;
	const char *error; /* of the last look; NULL: all is well */
	uint64_t looked;   /* when it went well last: wall time, ns */
};

/* Takes the lock, and lends what there is until agent_publisher_return(). */
void agent_publisher_borrow(struct agent_publisher *publisher, struct agent_published *ret);
void agent_publisher_return(struct agent_publisher *publisher);
/* While it is borrowed: fills in a full report as it is sent, which is borrowed, too. */
void agent_publisher_whole(const struct agent_publisher *publisher, PbNodeReport *ret);

/* How many of its containers fit into one message, the first ones. */
size_t agent_publisher_fit(const PbNodeReport *report);

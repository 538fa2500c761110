/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The agent: one main thread that looks, decides and changes; gRPC's threads that carry messages.
 *
 * What the other threads want done they post to the main thread, which alone owns the ledger, the
 * source of reports and the link to a scheduler. What they may read is under `lock`: the current
 * report and who is subscribed to it.
 */

#include <pthread.h>
#include <stdatomic.h>

#include "agent/config.h"
#include "agent/source.h"
#include "agent/watch.h"
#include "grant/adopt.h"
#include "grant/grant.h"
#include "numastow/v1/agent.pb-c.h"
#include "numastow/v1/scheduler.pb-c.h"
#include "place/changes.h"
#include "rpc/audit.h"
#include "rpc/rpc.h"

struct agent;

/* Somebody who gets the report and then its changes. */
struct agent_subscriber {
	struct agent_subscriber *next;
	struct stow_rpc_call *call; /* a reference */
	uint64_t sequence;
	bool scheduler; /* messages go wrapped, as ReportRequest */
	bool private;	/* without containers */
};

struct agent_task {
	struct agent_task *next;
	void (*run)(struct agent *agent, void *arg);
	void *arg;
};

#define AGENT_EVENT_KINDS 32

struct agent_link;
struct agent_probe;
struct agent_local;
struct agent_drains;
struct stow_reconcile;

struct agent {
	struct agent_config config;
	struct stow_root *root;
	struct stow_config *policy;   /* /etc/numastow/config.yaml */
	struct stow_config **retired; /* those before: a repin or an Explain may still read them */
	size_t n_retired;
	struct stow_ledger *ledger;
	struct stow_grant_context context;
	struct agent_source *source;
	struct agent_watch watch;
	struct stow_reconcile *reconcile;
	struct stow_rpc_loop *loop;
	struct agent_link *link; /* NULL without schedulers */
	struct agent_local *local;
	struct agent_probe *probe;
	struct agent_drains *drains;
	char boot_id[64];
	int lock_file;		/* STOW_AGENT_LOCK_PATH, held */
	int wake;		/* eventfd: there are tasks */
	enum stow_changes told; /* what everybody was told of agent_changes() */
	bool stopping;
	bool left;		  /* a drain is at work yet: _exit(2), see agent_drains_stop() */
	bool undelegated;	  /* it was said that cgroup2 has no nsdelegate */
	atomic_bool config_error; /* broken, or not taken over by a reload */
	atomic_bool connected;	  /* to a scheduler */

	/* What to look at, and when (monotonic, ns; 0: not due). */
	unsigned int look;
	size_t new_leases; /* since the ledger was last looked at */
	uint64_t due, next_poll, next_usage, next_reconcile, next_gc, next_delegation;
	struct stow_adoption found; /* containers that never met the hook, at the last collection */

	struct stow_audit audit;
	int64_t event; /* the ledger's last that was counted */

	pthread_mutex_t lock;
	PbNodeReport *current;
	struct agent_subscriber *subscribers;
	PbAgentCounters counters;
	char *last_error; /* of looking; NULL: all is well */
	uint64_t looked;  /* when it went well last: wall time, ns */
	struct {
		char kind[32];
		uint64_t n;
	} events[AGENT_EVENT_KINDS]; /* of the ledger, since the start */
	size_t n_events;

	pthread_mutex_t tasks_lock;
	struct agent_task *tasks, **tasks_end;
};

/* Starts everything; on failure agent_stop() takes back what was started. */
int agent_start(struct agent *agent, const char *sysroot, struct stow_err *err);
/* Runs until SIGTERM or SIGINT; `reload` is called on SIGHUP. */
void agent_run(struct agent *agent, int signals, void (*reload)(struct agent *agent));
/* Frees all, unless it sets `left`. */
void agent_stop(struct agent *agent);

/* Takes a new policy over; the one before stays until agent_stop(). Main thread. */
void agent_set_policy(struct agent *agent, struct stow_config *policy);
/* The context for another thread, which brings a ledger of its own. */
struct stow_grant_context agent_context(struct agent *agent);

/* Whether anything may be changed here, by the machine's configuration and by the agent's, at this
 * moment. With the lock held, or on the main thread. */
enum stow_changes agent_changes(const struct agent *agent);
/* The same for any thread: 0, or -EACCES and why not. Takes the lock. */
int agent_check_changes(struct agent *agent, struct stow_err *err);

/* Has something done on the main thread, soon. `run` owns `arg`. */
void agent_post(struct agent *agent, void (*run)(struct agent *agent, void *arg), void *arg);

/* Looks again, within the time in which changes are gathered. Main thread. */
void agent_look(struct agent *agent, unsigned int look);

/* The full report now, then every change, until agent_unsubscribe(). Any thread. */
int agent_subscribe(struct agent *agent, struct stow_rpc_call *call, bool scheduler, bool private);
void agent_unsubscribe(struct agent *agent, const struct stow_rpc_call *call);
/* Everybody's next report is a full one, now. */
void agent_report_again(struct agent *agent, const struct stow_rpc_call *call);

/* How many of its containers fit into one message, the first ones. */
size_t agent_report_fit(const PbNodeReport *report);
/* Puts the sender's fields into a report. With the lock held. */
void agent_sign(const struct agent *agent, PbNodeReport *report);

/* /metrics and /healthz. */
void agent_render_metrics(FILE *out, void *ctx);
bool agent_is_healthy(void *ctx, char *why, size_t size);

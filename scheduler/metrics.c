// SPDX-License-Identifier: Apache-2.0
/* Metrics and health of the scheduler. */
#include <stdio.h>

#include "scheduler/probe.h"
#include "scheduler/scheduler.h"

/* Write a metric that has a single value. */
static void one(FILE *out, const char *name, const char *type, const char *help, double value)
{
	stow_metric_head(out, name, type, help);
	stow_metric(out, name, value, NULL);
}

static void render_drains(FILE *out, struct scheduler *s)
{
	uint64_t under_way[PB_DRAIN_STEP_DONE], ended[SCHEDULER_ENDS];

	stow_lock_take(&s->fleet->lock);
	scheduler_drains_count(s, under_way, ended);
	stow_lock_give(&s->fleet->lock);
	stow_metric_head(out, "numastow_scheduler_drains", "gauge", "Running drains, by step.");
	for (int step = PB_DRAIN_STEP_WAITING; step < PB_DRAIN_STEP_DONE; step++)
		stow_metric(out, "numastow_scheduler_drains", (double)under_way[step], "step",
			    scheduler_step_name((PbDrainStep)step), NULL);
	stow_metric_head(out, "numastow_scheduler_drains_ended_total", "counter",
			 "Ended drains, by outcome.");
	for (int i = 0; i < SCHEDULER_ENDS; i++)
		stow_metric(out, "numastow_scheduler_drains_ended_total", (double)ended[i], "end",
			    scheduler_step_name((PbDrainStep)(PB_DRAIN_STEP_DONE + i)), NULL);
}

static void render_webhooks(FILE *out, struct scheduler *s)
{
	struct scheduler_delivery_queue_count count;

	scheduler_delivery_queue_count(s->delivery_queue, &count);
	one(out, "numastow_scheduler_webhooks_delivered_total", "counter",
	    "Events that webhooks have accepted.", (double)count.delivered);
	one(out, "numastow_scheduler_webhooks_failed_total", "counter",
	    "Attempts that webhooks did not accept.", (double)count.failed);
	one(out, "numastow_scheduler_webhooks_given_up_total", "counter",
	    "Events that were given up.", (double)count.given_up);
	one(out, "numastow_scheduler_webhooks_pending", "gauge",
	    "Events that are not delivered yet.", (double)count.pending);
}

static void render_nodes(FILE *out, struct scheduler *s)
{
	static const char *const states[] = { "ready", "not-enforcing", "stale", "unknown" };
	uint32_t counts[4] = { 0 };

	stow_lock_take(&s->fleet->lock);
	for (uint32_t i = 0; i < s->fleet->n_machines; i++) {
		const struct stow_machine *m = s->fleet->machines[i];

		counts[m->n_numa == 0 ? 3 : m->stale ? 2 : !m->enforces]++;
	}
	stow_lock_give(&s->fleet->lock);
	stow_metric_head(out, "numastow_scheduler_nodes", "gauge", "Nodes, by state.");
	for (int i = 0; i < 4; i++)
		stow_metric(out, "numastow_scheduler_nodes", counts[i], "state", states[i], NULL);
}

void scheduler_render_metrics(FILE *out, void *ctx)
{
	struct scheduler *s = ctx;
	struct stow_store_state store = { 0 };
	uint64_t commits = 0, writes = 0;
	size_t reservations;

	stow_lock_take(&s->fleet->lock);
	reservations = s->fleet->reservations.n;
	stow_lock_give(&s->fleet->lock);
	if (atomic_load(&s->active)) {
		stow_store_count(s->store, &commits, &writes);
		stow_store_state(s->store, &store);
	} else {
		store.healthy = stow_store_follows(s->store, &store.why);
	}
	stow_metrics_program(out, "numastow_scheduler_build_info");
	stow_audit_render(out, "numastow_scheduler_rpcs_total", &s->audit);
	one(out, "numastow_scheduler_probe_last_seconds", "gauge",
	    "Time of the last successful self-test of lock, store and port; seconds since the "
	    "epoch.",
	    s->probe ? (double)scheduler_probe_last(s->probe) / 1e9 : 0);
	one(out, "numastow_scheduler_certificate_expires_seconds", "gauge",
	    "When the certificate expires; seconds since the epoch, 0: without TLS, or its file "
	    "cannot be read.",
	    s->probe ? (double)scheduler_probe_certificate_expires(s->probe) : 0);
	one(out, "numastow_scheduler_active", "gauge", "1 when active, 0 as a standby.",
	    atomic_load(&s->active));
	one(out, "numastow_scheduler_standby_lag_seconds", "gauge",
	    "How far a standby is behind the leader's writes; 0 for a directory, and when active.",
	    atomic_load(&s->active) ? 0 : (double)stow_store_lag(s->store) / 1e9);
	render_nodes(out, s);
	one(out, "numastow_scheduler_reservations", "gauge", "Valid reservations.",
	    (double)reservations);
	one(out, "numastow_scheduler_placed_pods_total", "counter", "Pods placed.",
	    (double)atomic_load(&s->placed));
	one(out, "numastow_scheduler_placements_refused_total", "counter", "Placements refused.",
	    (double)atomic_load(&s->refused));
	one(out, "numastow_scheduler_reservations_expired_total", "counter",
	    "Reservations that expired.", (double)atomic_load(&s->expired));
	one(out, "numastow_scheduler_reservations_revoked_total", "counter",
	    "Reservations revoked or refused by a node.", (double)atomic_load(&s->revoked));
	one(out, "numastow_scheduler_reports_total", "counter", "Reports received.",
	    (double)atomic_load(&s->reports));
	one(out, "numastow_scheduler_reports_held_total", "counter",
	    "How often a node's reports were delayed, because there were too many.",
	    (double)atomic_load(&s->held));
	one(out, "numastow_scheduler_directives_total", "counter", "Directives sent.",
	    (double)atomic_load(&s->directives));
	one(out, "numastow_scheduler_store_commits_total", "counter", "Transactions of the store.",
	    (double)commits);
	one(out, "numastow_scheduler_store_writes_total", "counter", "Rows written in them.",
	    (double)writes);
	one(out, "numastow_scheduler_store_failed_total", "counter", "Writes that failed.",
	    (double)store.failed);
	one(out, "numastow_scheduler_store_healthy", "gauge",
	    "1 when the last write succeeded; on a standby, when the store could be read.",
	    store.healthy);
	render_drains(out, s);
	render_webhooks(out, s);
	scheduler_kubernetes_render(out, s);
	stow_rpc_server_render(s->server, out, "numastow_scheduler");
	scheduler_watch_render(s, out);
	stow_histogram_render(out, "numastow_scheduler_lock_held_seconds",
			      "How long the fleet's lock was held.", &s->fleet->lock.held);
	one(out, "numastow_scheduler_lock_held_longest_seconds", "gauge",
	    "The longest time that the fleet's lock was held, since the start.",
	    (double)atomic_load(&s->fleet->lock.longest) / 1e9);
	stow_histogram_render(out, "numastow_scheduler_place_seconds",
			      "Time from a successful Place to its answer.", &s->place_times);
}

bool scheduler_is_alive(void *ctx, char *why, size_t size)
{
	struct scheduler *s = ctx;

	return (!s->probe || scheduler_probe_alive(s->probe, why, size)) &&
	       scheduler_kubernetes_alive(s, why, size);
}

bool scheduler_is_healthy(void *ctx, char *why, size_t size)
{
	struct stow_store_state store = { 0 };
	struct scheduler *s = ctx;
	char warning[512] = "";
	bool active = atomic_load(&s->active);

	if (active)
		stow_store_state(s->store, &store);
	else
		store.healthy = stow_store_follows(s->store, &store.why);
	if (atomic_load(&s->loading)) {
		snprintf(why, size, "reads the store");
		return true;
	}
	/* The store knows more of its failure than the probe, which waits for it. */
	if (!store.healthy) {
		snprintf(why, size, "%s", store.why.msg);
		return false;
	}
	if (s->probe && !scheduler_probe_well(s->probe, warning, sizeof(warning))) {
		snprintf(why, size, "%s", warning);
		return false;
	}
	if (!scheduler_kubernetes_well(s, why, size))
		return false;
	snprintf(why, size, "%s%s%s", active ? "active" : "standby", warning[0] ? "; " : "",
		 warning);
	return true;
}

// SPDX-License-Identifier: Apache-2.0
/* Starting as a standby, becoming active, the clock, metrics, stopping. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "rpc/say.h"
#include "rpc/texts.h"
#include "scheduler/fleet/answer.h"
#include "scheduler/fleet/reservation.h"
#include "scheduler/roles.h"
#include "scheduler/scheduler.h"
#include "scheduler/service/watch.h"

#define TICK_NS	    50000000L
#define FORGET_TIME (60 * STOW_SECOND) /* between looks for drains to forget */
#define FORGET_MOST 64		       /* machines a tick: watchers read of no more than they can */
#define EXPIRE_MOST 512		       /* reservations a tick, which is ten thousand a second */

/* --- reading the store -------------------------------------------------------------------------- */

static int check_name(const char *name, struct stow_err *err)
{
	if (stow_machine_name_check(name, err) < 0)
		return stow_err_set(err, EUCLEAN, "the store: \"%.64s\" is no name of a node",
				    name);
	return 0;
}

static int load_reservation(void *ctx, uint64_t id, const void *message, size_t len,
			    const char *request_id, struct stow_err *err)
{
	PbReservation *reservation = pb_reservation__unpack(NULL, len, message);
	struct scheduler *s = ctx;
	struct stow_machine *machine;
	struct stow_reservation *made;
	int r;

	if (!reservation || id == 0) {
		stow_rpc_message_free(reservation);
		return stow_err_set(err, EUCLEAN, "the store: reservation %" PRIx64 " is damaged",
				    id);
	}
	r = check_name(reservation->node, err);
	if (r == 0)
		r = stow_fleet_get(s->fleet, reservation->node, &machine, err);
	/* What is bound stays until the machine says that it has ended. */
	if (r == 0)
		r = stow_reservation_add(s->fleet, machine, id, reservation, &made, err);
	if (r < 0)
		pb_reservation__free_unpacked(reservation, NULL);
	return r;
}

static int load_fence(void *ctx, const char *name, const struct stow_idset *numa,
		      struct stow_err *err)
{
	struct scheduler *s = ctx;
	struct stow_machine *machine = NULL;
	int r;

	r = check_name(name, err);
	if (r == 0)
		r = stow_fleet_get(s->fleet, name, &machine, err);
	return r < 0 ? r : stow_fleet_fence(s->fleet, machine, numa, err);
}

static int load_answer(void *ctx, const char *request_id, uint64_t digest, uint64_t expires,
		       const void *response, size_t len, struct stow_err *err)
{
	struct scheduler *s = ctx;
	struct stow_answer *answer;
	int r;

	if (expires < stow_now().wall)
		return 0;
	r = stow_answer_add(s->fleet, request_id, digest, &answer, err);
	if (r < 0)
		return r;
	answer->expires = expires;
	return stow_answer_set(s->fleet, answer, response, len) < 0
		       ? stow_err_set(err, ENOMEM, "out of memory")
		       : 0;
}

static int load_webhook(void *ctx, const struct stow_store_webhook *webhook, struct stow_err *err)
{
	struct scheduler *s = ctx;

	return s->outbox ? scheduler_outbox_load(s->outbox, webhook, err) : 0;
}

/* --- the clock ---------------------------------------------------------------------------------- */

static void expire(struct scheduler *s, struct stow_now now)
{
	struct stow_fleet *fleet = s->fleet;

	struct stow_reservation *over[EXPIRE_MOST];
	size_t n = 0;

	while (n < EXPIRE_MOST && fleet->n_expiring &&
	       fleet->expiring[1]->message->expires <= now.wall) {
		struct stow_reservation *r = fleet->expiring[1];

		if (r->waiting)
			break; /* its caller is told first */
		stow_say(STOW_LOG_DEBUG, "a reservation has run out",
			 stow_text("node", r->machine->name),
			 stow_text("reservation", r->message->id));
		stow_reservation_expires_no_more(fleet, r);
		over[n++] = r;
	}
	atomic_fetch_add(&s->expired, n);
	scheduler_end_all(s, over, n, now);
}

static void find_silent(struct scheduler *s, struct stow_now now)
{
	struct stow_fleet *fleet = s->fleet;

	for (uint32_t m = 0; m < fleet->n_machines; m++) {
		struct stow_machine *machine = fleet->machines[m];

		if (machine->stale ||
		    stow_elapsed(machine->heard, now.mono) < s->config.stale_after)
			continue;
		stow_say(STOW_LOG_WARNING, "node not ready: it is silent and gets nothing new",
			 stow_text("node", machine->name));
		stow_fleet_stale(fleet, machine);
		scheduler_news(s);
	}
}

static bool is_gone(const struct scheduler *s, const struct stow_machine *m, struct stow_now now)
{
	if (!m->stale || m->streams || m->reservations || m->fenced || m->n_drains)
		return false;
	/* Of one that has never reported there was only what has ended by now. */
	return m->n_numa == 0 || (s->config.forget_after &&
				  stow_elapsed(m->heard, now.mono) >= s->config.forget_after);
}

/* From the last one on, for the last one takes the place of one that goes. */
static void forget_gone(struct scheduler *s, struct stow_now now)
{
	struct stow_fleet *fleet = s->fleet;
	int n = 0;

	if (fleet->readers)
		return;
	for (uint32_t m = fleet->n_machines; m-- > 0 && n < FORGET_MOST;) {
		struct stow_machine *machine = fleet->machines[m];

		if (!is_gone(s, machine, now))
			continue;
		stow_say(STOW_LOG_NOTICE, "node removed: it has been silent for long",
			 stow_text("node", machine->name));
		stow_fleet_forget(fleet, machine);
		scheduler_news(s);
		n++;
	}
}

static void forget(struct scheduler *s, struct stow_now now)
{
	stow_reservation_forget_ended(s->fleet, now);
	stow_answer_forget(s->fleet, now);
}

static void *run_clock(void *arg)
{
	struct scheduler *s = arg;
	uint64_t forgot = stow_now().mono;

	while (!atomic_load(&s->stopping)) {
		struct stow_now now;

		stow_lock_take(&s->fleet->lock);
		now = stow_now(); /* not before: others may be long */
		expire(s, now);
		find_silent(s, now);
		forget_gone(s, now);
		scheduler_place_tick(s, now);
		scheduler_fence_tick(s, now);
		scheduler_drains_tick(s, now);
		if (stow_elapsed(forgot, now.mono) > FORGET_TIME) {
			forgot = now.mono;
			scheduler_drains_forget(s, now);
		}
		forget(s, now);
		stow_lock_give(&s->fleet->lock);
		nanosleep(&(struct timespec){ .tv_nsec = TICK_NS }, NULL);
	}
	return NULL;
}

/* --- the service -------------------------------------------------------------------------------- */

static int may(const struct stow_rpc_peer *peer, const char *method, void *ctx,
	       struct stow_err *err)
{
	struct scheduler *s = ctx;

	if (!atomic_load(&s->active))
		return stow_err_set(err, ENOTCONN, "this scheduler is a standby");
	if (!stow_store_leads(s->store, err))
		return -err->code;
	return scheduler_may(peer, method, s->config.roles, err);
}

/* The door. What a machine says is made fit: one odd name must not hide it. */
static int check(const char *method, void *message, void *ctx, struct stow_err *err)
{
	const PbReportRequest *in = message;

	if (strcmp(method, "Report") != 0)
		return stow_texts_check(message, err);
	/* A drain's progress goes its own way, for its lists are longer. */
	if (in->kind_case != PB_REPORT_REQUEST__KIND_DRAIN)
		stow_texts_clean(message, STOW_TEXT_LIST);
	return 0;
}

static const char *const changing[] = { "Place",       "Release",     "Fence", "Unfence",
					"DrainMemory", "CancelDrain", NULL };

static void ended(const struct stow_rpc_ended *ended, void *ctx)
{
	struct scheduler *s = ctx;

	stow_audit_ended(&s->audit, ended);
}

/* Agents find a place whoever else there is. */
static bool trusted(const struct stow_rpc_peer *peer, void *ctx)
{
	const struct scheduler *s = ctx;

	return scheduler_is_agent(peer, s->config.roles);
}

static const struct stow_rpc_method methods[] = {
	{ "Report", .stream = &scheduler_report_ops },
	{ "Place", .unary = scheduler_place },
	{ "Release", .unary = scheduler_release },
	{ "Explain", .unary = scheduler_explain },
	{ "ListNodes", .unary = scheduler_list_nodes },
	{ "WatchNodes", .stream = &scheduler_watch_ops },
	{ "ListReservations", .unary = scheduler_list_reservations },
	{ "Fence", .unary = scheduler_fence },
	{ "Unfence", .unary = scheduler_unfence },
	{ "DrainMemory", .stream = &scheduler_drain_ops },
	{ "ListDrains", .unary = scheduler_list_drains },
	{ "CancelDrain", .unary = scheduler_cancel_drain },
};

static const struct stow_rpc_service service = {
	.descriptor = &pb_scheduler__descriptor,
	.methods = methods,
	.n_methods = sizeof(methods) / sizeof(*methods),
	.may = may,
	.check = check,
	.ended = ended,
};

int scheduler_start(struct scheduler *s, struct stow_err *err)
{
	const struct scheduler_config *config = &s->config;
	struct stow_rpc_tls tls = { config->certificate, config->key, config->ca };
	struct stow_rpc_server_options options = { .tls = config->ca ? &tls : NULL,
						   .limits = &config->limits,
						   .trusted = trusted,
						   .ctx = s };
	struct stow_store_options store = scheduler_config_store(config);
	int r;

	pthread_cond_init(&s->changed, NULL);
	s->audit.service = &service;
	s->audit.changing = changing;
	r = stow_store_new(&store, &s->store, err);
	if (r == 0)
		r = stow_fleet_new(&s->fleet, err);
	if (r == 0)
		r = scheduler_outbox_new(config, &s->outbox, err);
	if (r == 0)
		r = stow_rpc_loop_new((unsigned int)config->threads, &s->loop, err);
	if (r == 0)
		r = stow_rpc_server_new(s->loop, &options, &s->server, err);
	if (r < 0)
		return r;
	stow_rpc_server_set_serving(s->server, false);
	r = stow_rpc_server_add(s->server, &service, s, err);
	if (r == 0)
		r = stow_rpc_server_listen(s->server, config->listen, &s->port, err);
	if (r == 0)
		r = stow_rpc_server_start(s->server, err);
	if (r == 0) {
		char host[256] = "?";

		(void)gethostname(host, sizeof(host) - 1);
		snprintf(s->name, sizeof(s->name), "%s:%d", host, s->port);
	}
	if (r == 0)
		r = scheduler_probe_new(s, &s->probe, err);
	if (r == 0)
		stow_say(STOW_LOG_INFO, "listening", stow_text("address", config->listen),
			 stow_number("port", (uint64_t)s->port),
			 stow_text("tls", config->ca ? "yes" : "no"));
	return r;
}

int scheduler_load(struct scheduler *s, struct stow_err *err)
{
	struct stow_store_load load = { .reservation = load_reservation,
					.fence = load_fence,
					.answer = load_answer,
					.drain = scheduler_drain_load,
					.webhook = load_webhook,
					.ctx = s };
	struct stow_store_options options = scheduler_config_store(&s->config);
	int r;

	stow_lock_take(&s->fleet->lock);
	r = s->store ? 0 : stow_store_new(&options, &s->store, err);
	if (r == 0)
		r = stow_store_load(s->store, &load, err);
	scheduler_drains_loaded(s);
	stow_lock_give(&s->fleet->lock);
	return r;
}

int scheduler_activate(struct scheduler *s, struct stow_err *err)
{
	int r;

	atomic_store(&s->loading, true);
	r = scheduler_load(s, err);
	atomic_store(&s->loading, false);
	if (r == 0)
		r = scheduler_outbox_start(s->outbox, s->store, err);
	if (r < 0)
		return r;
	r = -pthread_create(&s->clock, NULL, run_clock, s);
	s->clock_runs = r == 0;
	if (r == 0) {
		r = -pthread_create(&s->teller, NULL, scheduler_teller, s);
		s->teller_runs = r == 0;
	}
	if (r < 0)
		return stow_err_sys(err, -r, "cannot start a thread");
	s->since = stow_now().wall;
	atomic_store(&s->active, true);
	stow_rpc_server_set_serving(s->server, true);
	stow_say(STOW_LOG_NOTICE, "numastow-scheduler is active",
		 stow_number("reservations", s->fleet->reservations.n),
		 stow_number("drains", s->drains.n_under_way));
	return 0;
}

void scheduler_stop(struct scheduler *s)
{
	atomic_store(&s->stopping, true);
	if (s->fleet) {
		stow_lock_take(&s->fleet->lock);
		pthread_cond_broadcast(&s->changed);
		stow_lock_give(&s->fleet->lock);
	}
	if (s->clock_runs)
		pthread_join(s->clock, NULL);
	if (s->teller_runs)
		pthread_join(s->teller, NULL);
	scheduler_probe_free(s->probe);
	s->probe = NULL;
	/* What is queued is answered; nothing new comes. */
	atomic_store(&s->active, false);
	if (s->fleet) {
		stow_lock_take(&s->fleet->lock);
		scheduler_place_stop(s);
		stow_lock_give(&s->fleet->lock);
	}
	scheduler_outbox_stop(s->outbox);
	stow_store_stop(s->store);
	if (s->fleet) {
		stow_lock_take(&s->fleet->lock);
		scheduler_place_stop(s);
		scheduler_fence_stop(s);
		scheduler_drains_stop(s);
		stow_lock_give(&s->fleet->lock);
	}
	if (s->server)
		stow_rpc_server_stop(s->server, STOW_SECOND / 5);
	stow_rpc_server_free(s->server);
	stow_rpc_loop_free(s->loop);
	stow_store_close(s->store); /* methods may have used it until now */
	s->store = NULL;
	scheduler_drains_free(s);
	scheduler_outbox_free(s->outbox);
	stow_fleet_free(s->fleet);
	pthread_cond_destroy(&s->changed);
}

/* --- metrics ------------------------------------------------------------------------------------ */

static void one(FILE *out, const char *name, const char *type, const char *help, double value)
{
	stow_metric_head(out, name, type, help);
	stow_metric(out, name, value, NULL);
}

static void render_drains(FILE *out, struct scheduler *s)
{
	uint64_t under_way[PB_DRAIN_STEP_DONE] = { 0 }, ended[SCHEDULER_ENDS];

	stow_lock_take(&s->fleet->lock);
	for (size_t i = 0; i < s->drains.n_under_way; i++)
		if (!s->drains.under_way[i]->dry)
			under_way[s->drains.under_way[i]->message->progress->step]++;
	memcpy(ended, s->drains.counts, sizeof(ended));
	stow_lock_give(&s->fleet->lock);
	stow_metric_head(out, "numastow_scheduler_drains", "gauge", "Drains under way, by step.");
	for (int step = PB_DRAIN_STEP_WAITING; step < PB_DRAIN_STEP_DONE; step++)
		stow_metric(out, "numastow_scheduler_drains", (double)under_way[step], "step",
			    scheduler_step_name((PbDrainStep)step), NULL);
	stow_metric_head(out, "numastow_scheduler_drains_ended_total", "counter",
			 "Drains, by how they ended.");
	for (int i = 0; i < SCHEDULER_ENDS; i++)
		stow_metric(out, "numastow_scheduler_drains_ended_total", (double)ended[i], "end",
			    scheduler_step_name((PbDrainStep)(PB_DRAIN_STEP_DONE + i)), NULL);
}

static void render_webhooks(FILE *out, struct scheduler *s)
{
	struct scheduler_outbox_count count;

	scheduler_outbox_count(s->outbox, &count);
	one(out, "numastow_scheduler_webhooks_delivered_total", "counter",
	    "Events that webhooks have taken.", (double)count.delivered);
	one(out, "numastow_scheduler_webhooks_failed_total", "counter",
	    "Tries that webhooks did not take.", (double)count.failed);
	one(out, "numastow_scheduler_webhooks_given_up_total", "counter",
	    "Events that are not tried any more.", (double)count.given_up);
	one(out, "numastow_scheduler_webhooks_pending", "gauge",
	    "Events that webhooks are still to be told.", (double)count.pending);
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
	}
	stow_metrics_program(out, "numastow_scheduler_build_info");
	stow_audit_render(out, "numastow_scheduler_rpcs_total", &s->audit);
	one(out, "numastow_scheduler_probe_last_seconds", "gauge",
	    "When a round through lock, store and port was good last; seconds since the epoch.",
	    s->probe ? (double)scheduler_probe_last(s->probe) / 1e9 : 0);
	one(out, "numastow_scheduler_active", "gauge", "1 when active, 0 as a standby.",
	    atomic_load(&s->active));
	render_nodes(out, s);
	one(out, "numastow_scheduler_reservations", "gauge", "Reservations in force.",
	    (double)reservations);
	one(out, "numastow_scheduler_placed_pods_total", "counter", "Pods placed.",
	    (double)atomic_load(&s->placed));
	one(out, "numastow_scheduler_placements_refused_total", "counter", "Placements refused.",
	    (double)atomic_load(&s->refused));
	one(out, "numastow_scheduler_reservations_expired_total", "counter",
	    "Reservations that ran out.", (double)atomic_load(&s->expired));
	one(out, "numastow_scheduler_reservations_revoked_total", "counter",
	    "Reservations revoked or refused by a node.", (double)atomic_load(&s->revoked));
	one(out, "numastow_scheduler_reports_total", "counter", "Reports received.",
	    (double)atomic_load(&s->reports));
	one(out, "numastow_scheduler_directives_total", "counter", "Directives sent.",
	    (double)atomic_load(&s->directives));
	one(out, "numastow_scheduler_store_commits_total", "counter", "Transactions of the store.",
	    (double)commits);
	one(out, "numastow_scheduler_store_writes_total", "counter", "Rows written in them.",
	    (double)writes);
	one(out, "numastow_scheduler_store_failed_total", "counter",
	    "What callers wanted stored and was not.", (double)store.failed);
	one(out, "numastow_scheduler_store_healthy", "gauge", "1 when the last write went through.",
	    store.healthy);
	render_drains(out, s);
	render_webhooks(out, s);
	stow_rpc_server_render(s->server, out, "numastow_scheduler");
	stow_histogram_render(out, "numastow_scheduler_lock_held_seconds",
			      "How long the fleet's lock was held.", &s->fleet->lock.held);
	one(out, "numastow_scheduler_lock_held_longest_seconds", "gauge",
	    "The longest time that the fleet's lock was held, since the start.",
	    (double)atomic_load(&s->fleet->lock.longest) / 1e9);
	stow_histogram_render(out, "numastow_scheduler_place_seconds",
			      "From a Place that fits to its answer.", &s->place_times);
}

bool scheduler_is_healthy(void *ctx, char *why, size_t size)
{
	struct stow_store_state store = { .healthy = true };
	struct scheduler *s = ctx;
	bool active = atomic_load(&s->active);

	if (active)
		stow_store_state(s->store, &store);
	if (atomic_load(&s->loading)) {
		snprintf(why, size, "reads the store");
		return true;
	}
	if (s->probe && !scheduler_probe_well(s->probe, why, size))
		return false;
	snprintf(why, size, "%s", !store.healthy ? store.why.msg : active ? "active" : "standby");
	return store.healthy;
}

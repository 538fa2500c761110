// SPDX-License-Identifier: Apache-2.0
/*
 * A scheduler through its life: what agents and clients send, step by step, and the store's and the
 * clock's turns between them. After each step the table must agree with itself.
 */
#include "fuzz.h"

#include <curl/curl.h>

#include "base/cleanup.h"
#include "program.h"
#include "rpc/log.h"
#include "scheduler/drain/drain_internal.h"
#include "scheduler/drain/progress.h"
#include "scheduler/fleet/message.h"
#include "scheduler/fleet/reservation.h"
#include "scheduler/scheduler.h"

#define STREAMS	 2
#define WATCHERS 2
#define CALLS	 64

enum {
	REPORT,
	REPORT_2,
	PLACE,
	RELEASE,
	EXPLAIN,
	NODES,
	RESERVATIONS,
	FENCE,
	UNFENCE,
	STORE,
	LIST_DRAINS,
	CANCEL_DRAIN,
	DRAIN,
	WATCH,
	KINDS
};

static const struct {
	const char *method;
	stow_rpc_unary_fn fn;
} unary[KINDS] = {
	[PLACE] = { "Place", scheduler_place },
	[RELEASE] = { "Release", scheduler_release },
	[EXPLAIN] = { "Explain", scheduler_explain },
	[NODES] = { "ListNodes", scheduler_list_nodes },
	[RESERVATIONS] = { "ListReservations", scheduler_list_reservations },
	[FENCE] = { "Fence", scheduler_fence },
	[UNFENCE] = { "Unfence", scheduler_unfence },
	[LIST_DRAINS] = { "ListDrains", scheduler_list_drains },
	[CANCEL_DRAIN] = { "CancelDrain", scheduler_cancel_drain },
};

struct run {
	struct scheduler s;
	struct stow_rpc_call *streams[STREAMS], *watchers[WATCHERS], *calls[CALLS];
	bool is_drain[CALLS]; /* a stream that follows a drain */
	size_t n_calls;
};

/* --- what must hold ----------------------------------------------------------------------------- */

static void check_machine(const struct stow_fleet *fleet, const struct stow_machine *m)
{
	const struct stow_machine_columns *c = &fleet->of_machine;
	uint64_t cpus = 0, memory = 0;
	size_t n = 0, len;
	PbNodeReport *report;
	uint8_t *bytes;

	FUZZ_CHECK(fleet->machines[m->index] == m && stow_fleet_find(fleet, m->name) == m);
	FUZZ_CHECK(c->n[m->index] == m->n_numa);
	for (const struct stow_reservation *r = m->reservations; r; r = r->next, n++)
		FUZZ_CHECK(r->machine == m && stow_reservation_find(fleet, r->id) == r);
	FUZZ_CHECK(n == m->n_reservations);
	for (uint32_t i = 0; i < m->n_numa; i++) {
		uint32_t at = c->first[m->index] + i;

		FUZZ_CHECK(at < fleet->n_numa);
		FUZZ_CHECK(fleet->of_numa.cpus[at] <= m->numa[i].free);
		FUZZ_CHECK(fleet->of_numa.takeable[at] <= fleet->of_numa.cpus[at]);
		FUZZ_CHECK(fleet->of_numa.memory[at] <= m->numa[i].memory_total);
		cpus += fleet->of_numa.cpus[at];
		memory += fleet->of_numa.memory[at];
	}
	FUZZ_CHECK(c->cpus[m->index] == cpus && c->memory[m->index] == memory);
	/* What others are shown is what was reported. */
	bytes = stow_machine_report(m, SIZE_MAX, &len);
	report = pb_node_report__unpack(NULL, len, bytes);
	free(bytes);
	FUZZ_CHECK(report && report->n_numa_nodes == m->n_numa);
	FUZZ_CHECK(report->n_containers == m->n_containers);
	FUZZ_CHECK(m->n_numa == 0 || strcmp(report->name, m->name) == 0);
	pb_node_report__free_unpacked(report, NULL);
}

static void check_drain(const struct scheduler *s, const struct scheduler_drain *d, bool under_way)
{
	const PbDrainProgress *p = d->message->progress;
	size_t n = 0;

	FUZZ_CHECK(scheduler_drain_find(s, d->id) == d);
	FUZZ_CHECK(p && d->message->spec && strlen(d->message->id) == 16);
	FUZZ_CHECK(strcmp(p->id, d->message->id) == 0 && !p->plan);
	FUZZ_CHECK(p->step >= PB_DRAIN_STEP_WAITING && p->step <= PB_DRAIN_STEP_CANCELLED);
	FUZZ_CHECK(under_way == !scheduler_drain_ended(d) && under_way == (d->machine != NULL));
	FUZZ_CHECK(!strchr(p->message, '\n') && strlen(p->message) <= SCHEDULER_TEXT_MAX);
	FUZZ_CHECK(p->n_culprits <= SCHEDULER_CULPRITS_MAX);
	FUZZ_CHECK(!d->message->plan || d->message->plan->n_blocks <= SCHEDULER_BLOCKS_MAX);
	FUZZ_CHECK(p->step == PB_DRAIN_STEP_WAITING || !under_way || (d->slot && d->message->plan));
	for (const struct scheduler_follower *f = d->followers; f; f = f->next, n++)
		FUZZ_CHECK(f->drain == d && f->call);
	FUZZ_CHECK(n == d->n_followers && n <= SCHEDULER_FOLLOWERS_MAX);
}

/* A fence is an operator's, or a drain's that is under way; one at a time on a machine. */
static void check_drains(const struct scheduler *s)
{
	for (size_t i = 0; i < s->drains->n_under_way; i++)
		check_drain(s, s->drains->under_way[i], true);
	for (size_t i = 0; i < s->drains->n_ended; i++)
		check_drain(s, s->drains->ended[i], false);
	for (uint32_t m = 0; m < s->fleet->n_machines; m++) {
		const struct stow_machine *machine = s->fleet->machines[m];
		struct stow_idset all = { 0 }, drains = { 0 };
		uint32_t n = 0, turns = 0;

		for (size_t i = 0; i < s->drains->n_under_way; i++) {
			const struct scheduler_drain *d = s->drains->under_way[i];

			n += d->machine == machine;
			turns += d->machine == machine && d->slot && !d->dry;
			if (d->machine == machine && d->flags & SCHEDULER_DRAIN_FENCE)
				stow_idset_add(&drains, d->message->plan->numa_node);
		}
		FUZZ_CHECK(n == machine->n_drains && turns <= 1);
		FUZZ_CHECK(machine->draining ? stow_idset_equal(machine->draining, &drains)
					     : stow_idset_empty(&drains));
		all = drains;
		if (machine->fences)
			stow_idset_or(&all, machine->fences);
		FUZZ_CHECK(machine->fenced ? stow_idset_equal(machine->fenced, &all)
					   : stow_idset_empty(&all));
	}
}

static void check_fleet(const struct stow_fleet *fleet)
{
	size_t n = 0, linked = 0;

	for (uint32_t m = 0; m < fleet->n_machines; m++) {
		check_machine(fleet, fleet->machines[m]);
		n += fleet->machines[m]->n_reservations;
	}
	for (const struct stow_machine *m = fleet->oldest; m; m = m->newer)
		linked++;
	FUZZ_CHECK(linked == fleet->n_machines && n == fleet->reservations.n);
	for (size_t i = 1; i <= fleet->n_expiring; i++) {
		FUZZ_CHECK(fleet->expiring[i]->heap == i);
		FUZZ_CHECK(i == 1 || fleet->expiring[i / 2]->until <= fleet->expiring[i]->until);
	}
}

/* --- ids ---------------------------------------------------------------------------------------- */

/* Ids are random: one character stands for a drain that is there. */
static void real_id(const struct scheduler *s, char **id)
{
	size_t n = s->drains->n_under_way + s->drains->n_ended, at;

	if (strlen(*id) != 1 || !n)
		return;
	at = (unsigned char)(*id)[0] % n;
	stow_message_set_text(id,
			      at < s->drains->n_under_way
				      ? s->drains->under_way[at]->message->id
				      : s->drains->ended[at - s->drains->n_under_way]->message->id);
}

static void real_ids(const struct scheduler *s, PbReportRequest *in)
{
	if (in->kind_case == PB_REPORT_REQUEST__KIND_DRAIN)
		real_id(s, &in->drain->id);
	if (in->kind_case == PB_REPORT_REQUEST__KIND_REPORT)
		for (size_t i = 0; i < in->report->n_drains; i++)
			real_id(s, &in->report->drains[i]);
}

/* --- steps -------------------------------------------------------------------------------------- */

static void hang_up(struct run *run, size_t i)
{
	if (!run->streams[i])
		return;
	scheduler_report_ops.closed(run->streams[i], &run->s, NULL);
	fuzz_call_free(run->streams[i]);
	run->streams[i] = NULL;
}

static void report(struct run *run, size_t i, const struct fuzz_step *step)
{
	PbReportRequest *in = fuzz_unpack(step, &pb_report_request__descriptor);
	struct stow_err err = { 0 };
	int r;

	if (!in)
		return;
	if (!run->streams[i]) {
		run->streams[i] = fuzz_call_new(&pb_scheduler__descriptor, "Report");
		FUZZ_CHECK(scheduler_report_ops.open(run->streams[i], &run->s, NULL, &err) == 0);
	}
	real_ids(&run->s, in);
	r = scheduler_report_ops.message(run->streams[i], &run->s, in, &err);
	FUZZ_CHECK_ERR(r, &err);
	/* The streams are in turn: one that was taken over has been closed. */
	if (r < 0)
		hang_up(run, i);
	for (size_t other = 0; other < STREAMS; other++)
		if (run->streams[other] && fuzz_call_answers(run->streams[other]))
			hang_up(run, other);
	pb_report_request__free_unpacked(in, NULL);
}

static void call(struct run *run, const struct fuzz_step *step)
{
	const char *name = unary[step->kind].method;
	const ProtobufCMethodDescriptor *method =
		protobuf_c_service_descriptor_get_method_by_name(&pb_scheduler__descriptor, name);
	ProtobufCMessage *in = fuzz_unpack(step, method->input);
	size_t i = run->n_calls;

	if (!in || i == CALLS) {
		stow_rpc_message_free(in);
		return;
	}
	if (step->kind == CANCEL_DRAIN)
		real_id(&run->s, &((PbCancelDrainRequest *)(void *)in)->id);
	run->calls[i] = fuzz_call_new(&pb_scheduler__descriptor, name);
	run->n_calls++;
	(void)fuzz_unary(run->calls[i], unary[step->kind].fn, method->output, &run->s, in);
	protobuf_c_message_free_unpacked(in, NULL);
}

static void drain_closed(struct run *run, size_t i)
{
	scheduler_drain_ops.closed(run->calls[i], &run->s, NULL);
	fuzz_call_free(run->calls[i]);
	run->calls[i] = NULL;
}

/* DrainMemory; one without a message ends the first that is still followed. */
static void drain(struct run *run, const struct fuzz_step *step)
{
	struct stow_err err = { 0 };
	size_t i = run->n_calls;
	PbDrainMemoryRequest *in;
	int r;

	for (size_t at = 0; step->len == 0 && at < run->n_calls; at++)
		if (run->is_drain[at] && run->calls[at]) {
			drain_closed(run, at);
			return;
		}
	in = fuzz_unpack(step, &pb_drain_memory_request__descriptor);
	if (in && i < CALLS) {
		run->calls[i] = fuzz_call_new(&pb_scheduler__descriptor, "DrainMemory");
		run->is_drain[i] = true;
		run->n_calls++;
		r = scheduler_drain_ops.open(run->calls[i], &run->s, in, &err);
		FUZZ_CHECK_ERR(r, &err);
		if (r < 0) {
			fuzz_call_free(run->calls[i]);
			run->calls[i] = NULL;
		}
	}
	stow_rpc_message_free(in);
}

static void stop_watching(struct run *run, size_t i)
{
	if (!run->watchers[i])
		return;
	scheduler_watch_ops.closed(run->watchers[i], &run->s, NULL);
	fuzz_call_free(run->watchers[i]);
	run->watchers[i] = NULL;
}

/* WatchNodes; one without a message ends them all. */
static void watch(struct run *run, const struct fuzz_step *step)
{
	PbWatchNodesRequest *in;
	struct stow_err err = { 0 };
	size_t i = 0;
	int r;

	for (size_t at = 0; step->len == 0 && at < WATCHERS; at++)
		stop_watching(run, at);
	while (i < WATCHERS && run->watchers[i])
		i++;
	in = step->len ? fuzz_unpack(step, &pb_watch_nodes_request__descriptor) : NULL;
	if (in && i < WATCHERS) {
		run->watchers[i] = fuzz_call_new(&pb_scheduler__descriptor, "WatchNodes");
		r = scheduler_watch_ops.open(run->watchers[i], &run->s, in, &err);
		FUZZ_CHECK_ERR(r, &err);
		if (r < 0) {
			fuzz_call_free(run->watchers[i]);
			run->watchers[i] = NULL;
		} else {
			scheduler_watch_ops.written(run->watchers[i], &run->s);
		}
	}
	stow_rpc_message_free(in);
}

/* After this no watcher lacks anything: each round must bring it nearer. */
static void tell_watchers(struct run *run)
{
	int rounds = 0;

	while (scheduler_watch_notify(&run->s))
		FUZZ_CHECK(++rounds < 1000);
}

/* The store's and the clock's turn; a second has passed, or more than callers wait. */
static void turn(struct run *run, const struct fuzz_step *step)
{
	struct stow_now now = stow_now();

	fuzz_store_run(step->len > 0 && step->data[0] & 1);
	now.mono += step->len > 0 && step->data[0] & 2 ? 120 * STOW_SECOND : STOW_SECOND;
	stow_lock_take(&run->s.fleet->lock);
	scheduler_place_tick(&run->s, now);
	scheduler_fence_tick(&run->s);
	scheduler_drains_tick(&run->s, now);
	if (step->len > 0 && step->data[0] & 4) {
		now.wall += 48 * 3600 * STOW_SECOND;
		scheduler_drains_forget(&run->s, now);
	}
	stow_lock_give(&run->s.fleet->lock);
	tell_watchers(run);
}

static void end(struct run *run)
{
	for (size_t i = 0; i < STREAMS; i++)
		hang_up(run, i);
	fuzz_store_run(false);
	stow_lock_take(&run->s.fleet->lock);
	scheduler_place_stop(&run->s);
	scheduler_fence_stop(&run->s);
	scheduler_drains_stop(&run->s);
	check_fleet(run->s.fleet);
	check_drains(&run->s);
	stow_lock_give(&run->s.fleet->lock);
	tell_watchers(run);
	for (size_t i = 0; i < WATCHERS; i++)
		stop_watching(run, i);
	fuzz_store_run(false);
	for (size_t i = 0; i < run->n_calls; i++) {
		if (!run->calls[i])
			continue;
		FUZZ_CHECK(fuzz_call_answers(run->calls[i]) == 1);
		if (run->is_drain[i])
			drain_closed(run, i);
		else
			fuzz_call_free(run->calls[i]);
	}
	fuzz_store_run(false);
	scheduler_drains_free(&run->s);
	scheduler_delivery_queue_free(run->s.delivery_queue);
	stow_fleet_free(run->s.fleet);
	scheduler_watch_free(&run->s);
	pthread_cond_destroy(&run->s.news_changed);
	scheduler_config_done(&run->s.config);
}

/* libcurl counts who uses it, and starting it takes long. */
static void once(void)
{
	static bool done;

	if (!done && curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		abort();
	done = true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct run *run = calloc(1, sizeof(*run));
	struct fuzz_step step;

	once();
	if (!run || stow_fleet_new(&run->s.fleet, NULL) < 0 ||
	    scheduler_watch_new(&run->s, NULL) < 0)
		abort();
	stow_log_configure(STOW_LOG_ERR, STOW_LOG_TEXT);
	pthread_mutex_init(&run->s.news_lock, NULL);
	pthread_cond_init(&run->s.news_changed, NULL);
	scheduler_config_defaults(&run->s.config);
	run->s.config.webhooks = calloc(2, sizeof(char *));
	run->s.config.webhooks[0] = strdup("https://hooks.example/");
	/* It is never started: rows are made, and not sent. */
	if (scheduler_drains_new(&run->s.drains, NULL) < 0 ||
	    scheduler_delivery_queue_new(&run->s.config, &run->s.delivery_queue, NULL) < 0)
		abort();
	while (fuzz_step(&data, &size, &step)) {
		step.kind %= KINDS;
		if (step.kind == REPORT || step.kind == REPORT_2)
			report(run, step.kind, &step);
		else if (step.kind == STORE)
			turn(run, &step);
		else if (step.kind == DRAIN)
			drain(run, &step);
		else if (step.kind == WATCH)
			watch(run, &step);
		else
			call(run, &step);
		check_fleet(run->s.fleet);
		check_drains(&run->s);
	}
	end(run);
	free(run);
	return 0;
}

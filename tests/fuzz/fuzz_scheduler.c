// SPDX-License-Identifier: Apache-2.0
/*
 * A scheduler through its life: what agents and clients send, step by step, and the store's and the
 * clock's turns between them. After each step the table must agree with itself.
 */
#include "fuzz.h"

#include "base/cleanup.h"
#include "program.h"
#include "rpc/say.h"
#include "scheduler/scheduler.h"

#define STREAMS 2
#define CALLS	64

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
};

struct run {
	struct scheduler s;
	struct stow_rpc_call *streams[STREAMS], *calls[CALLS];
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
	bytes = stow_machine_report(m, true, &len);
	report = pb_node_report__unpack(NULL, len, bytes);
	free(bytes);
	FUZZ_CHECK(report && report->n_numa_nodes == m->n_numa);
	FUZZ_CHECK(report->n_containers == m->n_containers);
	FUZZ_CHECK(m->n_numa == 0 || strcmp(report->name, m->name) == 0);
	pb_node_report__free_unpacked(report, NULL);
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
		FUZZ_CHECK(i == 1 || fleet->expiring[i / 2]->message->expires <=
					     fleet->expiring[i]->message->expires);
	}
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
	run->calls[i] = fuzz_call_new(&pb_scheduler__descriptor, name);
	run->n_calls++;
	(void)fuzz_unary(run->calls[i], unary[step->kind].fn, method->output, &run->s, in);
	protobuf_c_message_free_unpacked(in, NULL);
}

/* The store's and the clock's turn; a second has passed, or more than callers wait. */
static void turn(struct run *run, const struct fuzz_step *step)
{
	struct stow_now now = stow_now();

	fuzz_store_run(step->len > 0 && step->data[0] & 1);
	now.mono += step->len > 0 && step->data[0] & 2 ? 120 * STOW_SECOND : STOW_SECOND;
	pthread_mutex_lock(&run->s.fleet->lock);
	scheduler_place_tick(&run->s, now);
	scheduler_fence_tick(&run->s, now);
	pthread_mutex_unlock(&run->s.fleet->lock);
}

static void end(struct run *run)
{
	for (size_t i = 0; i < STREAMS; i++)
		hang_up(run, i);
	fuzz_store_run(false);
	pthread_mutex_lock(&run->s.fleet->lock);
	scheduler_place_stop(&run->s);
	scheduler_fence_stop(&run->s);
	check_fleet(run->s.fleet);
	pthread_mutex_unlock(&run->s.fleet->lock);
	fuzz_store_run(false);
	for (size_t i = 0; i < run->n_calls; i++) {
		FUZZ_CHECK(fuzz_call_answers(run->calls[i]) == 1);
		fuzz_call_free(run->calls[i]);
	}
	stow_fleet_free(run->s.fleet);
	pthread_cond_destroy(&run->s.changed);
	scheduler_config_done(&run->s.config);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct run *run = calloc(1, sizeof(*run));
	struct fuzz_step step;

	if (!run || stow_fleet_new(&run->s.fleet, NULL) < 0)
		abort();
	stow_say_configure(STOW_LOG_ERR, STOW_SAY_TEXT);
	pthread_cond_init(&run->s.changed, NULL);
	scheduler_config_defaults(&run->s.config);
	while (fuzz_step(&data, &size, &step)) {
		step.kind %= KINDS;
		if (step.kind == REPORT || step.kind == REPORT_2)
			report(run, step.kind, &step);
		else if (step.kind == STORE)
			turn(run, &step);
		else
			call(run, &step);
		check_fleet(run->s.fleet);
	}
	end(run);
	free(run);
	return 0;
}

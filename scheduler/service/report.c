// SPDX-License-Identifier: Apache-2.0
/* Report: the stream of a machine's agent. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "rpc/log.h"
#include "scheduler/drain/drain.h"
#include "scheduler/drain/progress.h"
#include "scheduler/fleet/reservation.h"
#include "scheduler/service/roles.h"
#include "scheduler/service/service.h"

#define PACE_BURST 5	       /* seconds */
#define PACE_BYTES (16U << 10) /* of one report */

/* The data of a stream. `machine` is NULL before the first report. A machine is not removed
 * before all its streams are closed. */
struct stream {
	struct stow_machine *machine;
	uint64_t due; /* when the reports so far would have arrived at the allowed rate */
	bool logged;  /* that it is delayed */
};

/* Handle a result. Return whether it belongs to a directive of this stream. */
static bool on_result(struct scheduler *s, struct stow_machine *machine,
		      const PbDirectiveResult *result)
{
	_cleanup_free_ struct stow_directive *found =
		scheduler_directive_take(machine, result->directive);

	if (!found)
		return false;
	if (found->reservation)
		scheduler_place_result(s, machine, found->reservation, result);
	else if (found->drain)
		scheduler_drain_result(s, machine, found->drain, found->order, result);
	else if (result->code)
		stow_log(STOW_LOG_NOTICE, "a node did not carry out a directive",
			 stow_text("node", machine->name), stow_text("error", result->message));
	return true;
}

/* --- welcome -------------------------------------------------------------- */

static void welcome(struct scheduler *s, struct stow_machine *machine)
{
	PbDirective directive = PB_DIRECTIVE__INIT;
	PbWelcome out = PB_WELCOME__INIT;
	_cleanup_free_ PbReservation **list =
		calloc(machine->n_reservations + 1, sizeof(PbReservation *));
	_cleanup_free_ char **drains = NULL;
	struct stow_now now = stow_now();
	char fenced[STOW_IDSET_MAX];

	for (struct stow_reservation *r = machine->reservations; list && r; r = r->next) {
		r->message->lifetime = stow_reservation_left(r, now);
		list[out.n_reservations++] = r->message;
	}
	out.reservations = list;
	out.n_drains = scheduler_drains_of(s, machine, &drains);
	out.drains = drains;
	out.version = (char *)(uintptr_t)STOW_VERSION;
	out.heartbeat_interval = s->config.stale_after;
	if (machine->fenced)
		out.fenced = (char *)(uintptr_t)stow_idset_format(machine->fenced, fenced,
								  sizeof(fenced));
	directive.kind_case = PB_DIRECTIVE__KIND_WELCOME;
	directive.welcome = &out;
	scheduler_directive_send(s, machine, &directive, 0);
}

/* --- reports -------------------------------------------------------------- */

static void reconcile(struct scheduler *s, struct stow_machine *machine,
		      const struct stow_report *report, struct stow_now now)
{
	struct stow_reconciled found;
	struct stow_err err;

	if (stow_fleet_reconcile(s->fleet, machine, report->reservations, report->n_reservations,
				 now, &found, &err) < 0) {
		stow_log(STOW_LOG_ERR, "reservations not compared",
			 stow_text("node", machine->name), stow_why(&err));
		return;
	}
	scheduler_reservations_save(s, found.changed, found.n_changed);
	scheduler_reservations_end(s, found.over, found.n_over, now);
	if (found.n_left && !machine->over_limit)
		stow_log(STOW_LOG_WARNING,
			 "a node lists more reservations than the scheduler handles",
			 stow_text("node", machine->name), stow_number("left", found.n_left));
	machine->over_limit = found.n_left;
	for (size_t i = 0; i < found.n_cancel; i++) {
		PbDirective directive = PB_DIRECTIVE__INIT;
		PbCancelReservation cancel = PB_CANCEL_RESERVATION__INIT;
		char id[17];

		cancel.id = (char *)(uintptr_t)stow_id_format(found.cancel[i], id);
		directive.kind_case = PB_DIRECTIVE__KIND_CANCEL;
		directive.cancel = &cancel;
		scheduler_directive_send(s, machine, &directive, 0);
	}
	stow_reconciled_done(&found);
}

/* Refuse a second agent of a node. It tries again and again, so one line has to do for as long as
 * the first one's stream lasts. */
static int refuse_rival(struct stow_rpc_call *call, struct stow_machine *machine,
			struct stow_err *err)
{
	const char *first = stow_rpc_peer(machine->stream)->address;

	if (!machine->rival)
		stow_log(STOW_LOG_WARNING,
			 "another agent reports for a node that has one: it is refused",
			 stow_text("node", machine->name), stow_text("has", first),
			 stow_text("refused", stow_rpc_peer(call)->address));
	machine->rival = true;
	return stow_err_set(err, EEXIST, "another agent reports for node %s, from %s",
			    machine->name, first);
}

/* Handle the first report of a stream: find the machine, and check whether the agent may report
 * for it. */
static int introduce(struct scheduler *s, struct stow_rpc_call *call, struct stream *stream,
		     const struct stow_report *report, struct stow_now now, struct stow_err *err)
{
	struct stow_machine *machine;
	int r;

	if (!report->full)
		return stow_err_set(err, EINVAL, "the first report of a stream must be full");
	if (report->sequence != 1)
		return stow_err_set(err, EINVAL, "sequence: %" PRIu64 "; a stream begins with 1",
				    report->sequence);
	r = scheduler_may_report(stow_rpc_peer(call), report->name, s->config.roles, err);
	if (r == 0)
		r = stow_fleet_get(s->fleet, report->name, &machine, err);
	if (r < 0)
		return r;
	if (machine->stream &&
	    stow_clock_elapsed(machine->seen, now.mono) < s->config.stale_after / 2)
		return refuse_rival(call, machine, err);
	if (machine->stream) {
		struct stow_err over;

		stow_err_set(&over, ESTALE, "another stream has taken over");
		stow_rpc_close(machine->stream, &over);
		stow_rpc_unref(machine->stream);
	}
	scheduler_directives_drop(machine);
	machine->stream = stow_rpc_ref(call);
	machine->rival = false;
	machine->directive = 0;
	machine->sequence = 0;
	machine->streams++;
	stream->machine = machine;
	stow_log(STOW_LOG_INFO, "node connected", stow_text("node", machine->name),
		 stow_text("from", stow_rpc_peer(call)->address),
		 stow_number("numa_nodes", report->n_numa));
	return 0;
}

static int on_report(struct scheduler *s, struct stow_rpc_call *call, struct stream *stream,
		     struct stow_report *report, struct stow_err *err)
{
	struct stow_now now = stow_now();
	bool first = !stream->machine;
	struct stow_machine *machine;
	int r = 0;

	if (first)
		r = introduce(s, call, stream, report, now, err);
	if (r < 0)
		return r;
	machine = stream->machine;
	if (machine->stream != call)
		return stow_err_set(err, ESTALE, "another stream has taken over");
	if (strcmp(report->name, machine->name) != 0)
		return stow_err_set(err, EINVAL, "name: \"%.64s\"; this stream is node %s's",
				    report->name, machine->name);
	if (report->sequence != machine->sequence + 1)
		return stow_err_set(err, ESTALE,
				    "sequence: %" PRIu64 " after %" PRIu64 "; connect again",
				    report->sequence, machine->sequence);
	r = stow_fleet_apply(s->fleet, machine, report, err);
	if (r < 0)
		return r;
	stow_fleet_seen(s->fleet, machine, now);
	reconcile(s, machine, report, now);
	if (first) {
		welcome(s, machine);
		scheduler_drains_reported(s, machine, report->drains, report->n_drains);
	}
	scheduler_news(s);
	return 0;
}

/* --- the stream ----------------------------------------------------------- */

static int opened(struct stow_rpc_call *call, void *ctx, const void *request, struct stow_err *err)
{
	struct stream *stream = calloc(1, sizeof(*stream));

	if (!stream)
		return stow_err_set(err, ENOMEM, "out of memory");
	stow_rpc_set_data(call, stream);
	return 0;
}

/* Limit the rate of a stream: max-reports per second, of 16 KiB each, with a burst of five
 * seconds. Reports beyond it wait in the transport, and do not delay other machines. */
static void pace(struct scheduler *s, struct stow_rpc_call *call, struct stream *stream)
{
	uint64_t now = stow_now().mono, burst = PACE_BURST * STOW_SECOND;

	if (stream->due + burst < now)
		stream->due = now - burst;
	stream->due += STOW_SECOND / s->config.max_reports * (1 + stow_rpc_size(call) / PACE_BYTES);
	if (stream->due <= now)
		return;
	atomic_fetch_add(&s->held, 1);
	if (!stream->logged)
		stow_log(STOW_LOG_WARNING, "node reports too often: its reports wait",
			 stow_text("node", stream->machine->name),
			 stow_number("max_reports", s->config.max_reports));
	stream->logged = true;
	stow_rpc_hold(call, stream->due - now);
}

static int message(struct stow_rpc_call *call, void *ctx, const void *message, struct stow_err *err)
{
	bool is_answer = false; /* answers to directives are not limited: there are at most as many
			      as directives */
	_cleanup_(stow_report_free_ptr) struct stow_report *report = NULL;
	const PbReportRequest *in = message;
	struct stream *stream = stow_rpc_data(call);
	PbDrainProgress *progress = NULL;
	struct scheduler *s = ctx;
	int r = 0;

	if (in->kind_case == PB_REPORT_REQUEST__KIND_REPORT) {
		atomic_fetch_add(&s->reports, 1);
		r = stow_report_decode(in->report, &report, err); /* without the lock */
	} else if (!stream->machine) {
		r = stow_err_set(err, EINVAL, "the first message of a stream must be a report");
	}
	if (r == 0 && in->kind_case == PB_REPORT_REQUEST__KIND_DRAIN) {
		progress = scheduler_progress_copy(in->drain);
		if (!progress)
			r = stow_err_set(err, ENOMEM, "out of memory");
	}
	if (r < 0)
		return r;
	stow_lock_take(&s->fleet->lock);
	switch (atomic_load(&s->stopping) ? PB_REPORT_REQUEST__KIND__NOT_SET : in->kind_case) {
	case PB_REPORT_REQUEST__KIND_REPORT:
		r = on_report(s, call, stream, report, err);
		break;
	case PB_REPORT_REQUEST__KIND_HEARTBEAT:
		if (stream->machine->stream == call)
			stow_fleet_seen(s->fleet, stream->machine, stow_now());
		break;
	case PB_REPORT_REQUEST__KIND_RESULT:
		if (stream->machine->stream == call)
			is_answer = on_result(s, stream->machine, in->result);
		break;
	case PB_REPORT_REQUEST__KIND_DRAIN:
		if (stream->machine->stream == call)
			scheduler_drain_progress(s, stream->machine, STOW_TAKE_PTR(progress));
		break;
	default:
		break; /* of a newer agent */
	}
	if (r == 0 && !is_answer)
		pace(s, call, stream);
	stow_lock_give(&s->fleet->lock);
	stow_rpc_message_free(progress);
	return r;
}

static void closed(struct stow_rpc_call *call, void *ctx, const struct stow_err *err)
{
	struct stream *stream = stow_rpc_data(call);
	struct scheduler *s = ctx;

	stow_lock_take(&s->fleet->lock);
	if (stream->machine && stream->machine->stream == call) {
		stow_log(STOW_LOG_INFO, "node disconnected",
			 stow_text("node", stream->machine->name),
			 stow_text("error", err ? err->msg : ""));
		stream->machine->stream = NULL;
		scheduler_directives_drop(stream->machine);
		stow_rpc_unref(call);
	}
	if (stream->machine)
		stream->machine->streams--;
	stow_lock_give(&s->fleet->lock);
	free(stream);
}

const struct stow_rpc_stream_ops scheduler_report_ops = {
	.open = opened,
	.message = message,
	.closed = closed,
};

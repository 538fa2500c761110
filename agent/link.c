/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/link.h"

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "agent/epoch.h"
#include "agent/link_inbox.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/random.h"
#include "place/reservation.h"
#include "rpc/address.h"
#include "rpc/log.h"
#include "rpc/metrics.h"
#include "rpc/texts.h"

#define MS	       STOW_MILLISECOND
#define S	       STOW_SECOND
#define HEARTBEAT      (5 * S) /* until the Welcome has the scheduler's interval */
#define WELCOME_WITHIN (10 * S)

#define DRAINS_MAX 10000 /* of a Welcome: as many as a scheduler runs */

struct agent_link {
	struct agent_link_inbox inbox;
	struct agent_link_parts parts;
	bool stopped;
	struct stow_rpc_client *client;
	struct stow_rpc_call *call; /* NULL: not connected */
	size_t at;		    /* index of the present scheduler */
	struct agent_link_tries tries;
	bool welcome;
	uint64_t next;			     /* when to connect, or to send a heartbeat */
	uint64_t opened;		     /* when the stream was opened */
	uint64_t heartbeat;		     /* ns between two */
	uint64_t epoch;			     /* the highest that was seen */
	_Atomic int64_t certificate_expires; /* seconds since the epoch; any thread */

	PbDirective *directive; /* of the first event, if it is under way */
	struct agent_directive_state state;
};

/* --- disconnecting -------------------------------------------------------- */

static void hang_up(struct agent_link *link)
{
	if (link->call) {
		agent_publisher_unsubscribe(link->parts.publisher, link->call);
		agent_link_inbox_follow(&link->inbox, NULL);
		stow_rpc_unref(link->call);
		link->call = NULL;
	}
	link->welcome = false;
	stow_rpc_client_free(STOW_TAKE_PTR(link->client));
	agent_publisher_set_connected(link->parts.publisher, false);
}

static const char *target(const struct agent_link *link)
{
	return link->parts.config->schedulers[link->at];
}

static struct stow_rpc_tls tls_of(const struct agent_link *link)
{
	const struct agent_config *config = link->parts.config;

	return (struct stow_rpc_tls){ config->certificate, config->key, config->ca };
}

/* Check the own files. A scheduler that rejects the certificate closes the connection without the
 * reason. */
static int check_files(struct agent_link *link, struct stow_err *err)
{
	struct stow_rpc_tls tls = tls_of(link);
	int64_t expires = 0;
	int r = tls.ca ? stow_rpc_tls_check_valid(&tls, &expires, err) : 0;

	atomic_store(&link->certificate_expires, expires);
	return r;
}

static void failed(struct agent_link *link, const struct stow_err *err)
{
	struct stow_err own;
	uint64_t now = stow_clock_monotonic(), pause;
	size_t n = 0;

	if (err && err->code == ENOTCONN && !link->welcome && check_files(link, &own) < 0)
		err = &own;
	while (link->parts.config->schedulers[n])
		n++;
	pause = agent_link_ended(&link->tries, n, now, stow_random_soon());
	stow_log(link->tries.failures == 1 ? STOW_LOG_WARNING : STOW_LOG_INFO, "no scheduler",
		 stow_text("address", target(link)), stow_text("error", err ? err->msg : "ended"),
		 stow_number("next_try_ms", pause / MS));
	hang_up(link);
	link->at = (link->at + 1) % n;
	link->next = now + pause;
}

/* No error: the scheduler wants to verify the certificate again, or has another CA. */
static void renew(struct agent_link *link)
{
	uint64_t now = stow_clock_monotonic(),
		 pause = agent_link_ended(&link->tries, 1, now, stow_random_soon());

	stow_log(STOW_LOG_INFO, "the connection is renewed", stow_text("address", target(link)),
		 stow_number("next_try_ms", pause / MS));
	hang_up(link);
	link->tries.failures = 0;
	link->next = now + pause;
}

static void ended(struct agent_link *link, const struct stow_err *err)
{
	if (link->welcome && stow_rpc_is_renewal(err))
		renew(link);
	else
		failed(link, err->code ? err : NULL);
}

/* --- directives ----------------------------------------------------------- */

static void answer(struct agent_link *link, const PbDirective *directive, int r,
		   const struct stow_err *err)
{
	PbReportRequest out = PB_REPORT_REQUEST__INIT;
	PbDirectiveResult result = PB_DIRECTIVE_RESULT__INIT;

	result.directive = directive->id;
	if (r < 0) {
		result.code = stow_status_of_errno(-r);
		result.message = (char *)(uintptr_t)err->msg;
	}
	out.kind_case = PB_REPORT_REQUEST__KIND_RESULT;
	out.result = &result;
	stow_rpc_send(link->call, &out);
}

void agent_link_notify(struct agent_link *link, const PbDrainProgress *progress)
{
	PbReportRequest out = PB_REPORT_REQUEST__INIT;

	if (!link->call || !link->welcome)
		return;
	out.kind_case = PB_REPORT_REQUEST__KIND_DRAIN;
	out.drain = (PbDrainProgress *)(uintptr_t)progress;
	stow_rpc_send(link->call, &out);
}

/* Store a higher epoch, before its first directive is carried out. */
static void raise_epoch(struct agent_link *link, uint64_t epoch)
{
	struct stow_err err = { 0 };

	link->epoch = epoch;
	if (agent_epoch_write(link->parts.root, epoch, &err) < 0)
		stow_log(STOW_LOG_WARNING, "the scheduler's epoch cannot be stored",
			 stow_why(&err));
}

/* Return whether the directive is from an old leader, for example a scheduler that was paused
 * and does not know that another one has taken over. */
static bool is_old(struct agent_link *link, const PbDirective *directive, struct stow_err *err)
{
	if (directive->epoch > link->epoch)
		raise_epoch(link, directive->epoch);
	else if (directive->epoch && directive->epoch < link->epoch)
		return stow_err_set(err, ESTALE,
				    "directive of an old epoch, %" PRIu64
				    ": a scheduler of epoch %" PRIu64 " has taken over",
				    directive->epoch, link->epoch) < 0;
	return false;
}

static void on_welcome(struct agent_link *link, const PbWelcome *welcome)
{
	uint64_t now = stow_clock_monotonic();

	link->welcome = true;
	agent_link_welcomed(&link->tries, now);
	agent_publisher_set_connected(link->parts.publisher, true);
	if (welcome->heartbeat_interval)
		link->heartbeat = welcome->heartbeat_interval / 3;
	if (link->heartbeat < 100 * MS)
		link->heartbeat = 100 * MS;
	link->next = now + link->heartbeat;
}

/* A correct scheduler sends one Welcome, with no more than one machine can have. */
static int check_welcome(const struct agent_link *link, const PbWelcome *welcome,
			 struct stow_err *err)
{
	if (link->welcome)
		return stow_err_set(err, EPROTO, "a second Welcome on one stream");
	if (welcome->n_reservations > STOW_RESERVATIONS_MAX)
		return stow_err_set(err, E2BIG, "a Welcome with %zu reservations; at most %d",
				    welcome->n_reservations, STOW_RESERVATIONS_MAX);
	if (welcome->n_drains > DRAINS_MAX)
		return stow_err_set(err, E2BIG, "a Welcome with %zu drains; at most %d",
				    welcome->n_drains, DRAINS_MAX);
	return 0;
}

/* Look at a directive of the present stream. Return whether to carry it out. */
static bool may_obey(struct agent_link *link, const PbDirective *directive)
{
	struct stow_err err = { 0 };
	bool welcome = directive->kind_case == PB_DIRECTIVE__KIND_WELCOME;

	if (is_old(link, directive, &err) ||
	    (welcome && check_welcome(link, directive->welcome, &err) < 0)) {
		failed(link, &err);
		return false;
	}
	if (welcome)
		on_welcome(link, directive->welcome);
	return true;
}

/* Carry out a directive, or a part of it. Return whether more of it is left. */
static bool obey(struct agent_link *link, const PbDirective *directive, uint64_t until)
{
	struct stow_err err = { 0 };
	int r = agent_directive_handle(link->parts.directives, &link->state, directive, until,
				       &err);

	if (r > 0)
		return true;
	if (directive->kind_case == PB_DIRECTIVE__KIND_REPORT)
		agent_publisher_repeat(link->parts.publisher, link->call);
	answer(link, directive, r, &err);
	return false;
}

/* Unpack the directive of the first event. NULL: there is nothing to carry out. */
static PbDirective *unpack(struct agent_link *link, const struct agent_link_event *event)
{
	PbDirective *directive = pb_directive__unpack(NULL, event->size, event->packed);

	if (!directive) {
		struct stow_err err;

		stow_err_set(&err, ENOMEM, "out of memory");
		failed(link, &err);
		return NULL;
	}
	/* Clean the texts: they go into the ledger, and from there into the next report. */
	stow_texts_clean(&directive->base, STOW_TEXT_LIST);
	if (may_obey(link, directive))
		return directive;
	stow_rpc_message_free(directive);
	return NULL;
}

/* Handle an event, or a part of it (link_inbox.h). */
static bool handle(void *ctx, const struct agent_link_event *event, uint64_t until)
{
	struct agent_link *link = ctx;

	if (event->call == link->call && !event->packed) {
		ended(link, &event->err);
	} else if (event->call == link->call) {
		if (!link->directive)
			link->directive = unpack(link, event);
		if (link->directive && obey(link, link->directive, until))
			return true;
	}
	stow_rpc_message_free(link->directive);
	link->directive = NULL;
	agent_directive_forget(&link->state);
	return false;
}

/* --- dialling ------------------------------------------------------------- */

static int dial(struct agent_link *link, struct stow_err *err)
{
	const struct agent_config *config = link->parts.config;
	struct stow_rpc_tls tls = tls_of(link);
	char where[300];
	struct stow_rpc_client_options options = { .target = where,
						   .tls = config->ca ? &tls : NULL,
						   .server_name = config->server_name };
	int r;

	r = stow_target_complete(target(link), AGENT_SCHEDULER_PORT, where, sizeof(where), err);
	if (r == 0)
		r = stow_rpc_client_new(link->parts.rpc, &options, &link->client, err);
	if (r == 0)
		r = stow_rpc_client_open(link->client, &pb_scheduler__descriptor, "Report",
					 &agent_link_inbox_ops, &link->inbox, NULL,
					 STOW_RPC_NO_DEADLINE, &link->call, err);
	if (r == 0)
		r = agent_publisher_subscribe(link->parts.publisher, link->call, true, false);
	if (r < 0)
		return r;
	link->welcome = false;
	(void)check_files(link, NULL); /* for the metric; the scheduler decides */
	agent_link_inbox_follow(&link->inbox, link->call);
	link->heartbeat = HEARTBEAT;
	link->opened = stow_clock_monotonic();
	link->next = link->opened + HEARTBEAT;
	agent_publisher_count(link->parts.publisher, AGENT_COUNT_RECONNECTS, 1);
	return 0;
}

static void beat(struct agent_link *link)
{
	PbReportRequest out = PB_REPORT_REQUEST__INIT;
	PbHeartbeat heartbeat = PB_HEARTBEAT__INIT;
	heartbeat.time = stow_clock_wall();
	out.kind_case = PB_REPORT_REQUEST__KIND_HEARTBEAT;
	out.heartbeat = &heartbeat;
	stow_rpc_send(link->call, &out);
}

static uint64_t tick(void *ctx, uint64_t now)
{
	struct agent_link *link = ctx;
	char *const *schedulers = link->parts.config->schedulers;
	struct stow_err err = { 0 };

	if (link->stopped || !schedulers || !schedulers[0])
		return 0;
	if (now < link->next)
		return link->next;
	if (!link->call) {
		if (dial(link, &err) < 0)
			failed(link, &err);
	} else if (!link->welcome && now >= link->opened + WELCOME_WITHIN) {
		stow_err_set(&err, ETIMEDOUT, "connected, but no answer within 10 s");
		failed(link, &err);
	} else {
		beat(link);
		link->next = now + link->heartbeat;
	}
	return link->next;
}

/* --- metrics -------------------------------------------------------------- */

void agent_link_render(const struct agent_link *link, FILE *out)
{
	static const char name[] = "numastow_agent_certificate_expires_seconds";

	stow_metric_head(out, name, "gauge",
			 "When the certificate expires that was read for the present connection; "
			 "seconds since the epoch, 0: without TLS, or its file cannot be read.");
	stow_metric(out, name, (double)atomic_load(&link->certificate_expires), NULL);
	agent_link_inbox_render(&link->inbox, out);
}

/* --- start and end -------------------------------------------------------- */

void agent_link_redial(struct agent_link *link)
{
	hang_up(link);
	link->at = 0;
	link->tries = (struct agent_link_tries){ 0 };
	link->next = 0;
}

int agent_link_new(struct agent_loop *loop, const struct agent_link_parts *parts,
		   struct agent_link **ret, struct stow_err *err)
{
	struct agent_link *link = calloc(1, sizeof(*link));
	struct stow_err why = { 0 };
	int r;

	if (!link)
		return stow_err_set(err, ENOMEM, "out of memory");
	agent_link_inbox_init(&link->inbox, agent_loop_handle(loop), handle, link);
	link->parts = *parts;
	/* An unreadable epoch must not prevent the start. */
	if (agent_epoch_read(parts->root, &link->epoch, &why) < 0)
		stow_log(STOW_LOG_WARNING, "the scheduler's epoch cannot be read", stow_why(&why));
	r = agent_loop_tick(loop, tick, link, err);
	if (r < 0)
		agent_link_free(link);
	else
		*ret = link;
	return r;
}

void agent_link_stop(struct agent_link *link)
{
	if (!link)
		return;
	link->stopped = true;
	hang_up(link);
}

void agent_link_free(struct agent_link *link)
{
	if (!link)
		return;
	agent_link_stop(link);
	agent_link_inbox_done(&link->inbox);
	stow_rpc_message_free(link->directive);
	free(link);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The progress of one drain, sending it, and forgetting the drain. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/drain_internal.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "rpc/copy.h"

#define NOTIFY_EACH (100 * STOW_MILLISECOND) /* ns between two messages of the same step */

static bool is_end(PbDrainStep step)
{
	return step >= PB_DRAIN_STEP_DONE;
}

/* --- one drain ------------------------------------------------------------ */

struct agent_drain *agent_drain_find(struct agent_drain_table *table, const char *id)
{
	for (struct agent_drain *drain = table->list; drain; drain = drain->next)
		if (strcmp(drain->id, id) == 0)
			return drain;
	return NULL;
}

void agent_drain_drop(struct agent_drain *drain)
{
	if (!drain)
		return;
	stow_rpc_unref(drain->call);
	stow_rpc_message_free(drain->spec);
	stow_rpc_message_free(drain->plan);
	stow_rpc_message_free(drain->last);
	free(drain);
}

struct agent_drain *agent_drain_alloc(struct agent_drain_table *table, const char *id, bool ordered,
				      const PbDrainSpec *spec)
{
	struct agent_drain *drain = calloc(1, sizeof(*drain));

	if (!drain)
		return NULL;
	drain->table = table;
	drain->ordered = ordered;
	memcpy(drain->id, id, strnlen(id, STOW_DRAIN_ID_LEN));
	drain->created = drain->updated = stow_clock_wall();
	drain->spec = spec ? stow_rpc_message_copy(spec) : NULL;
	if (spec && !drain->spec) {
		agent_drain_drop(drain);
		return NULL;
	}
	return drain;
}

/* --- progress ------------------------------------------------------------- */

static void on_notify(void *ctx, void *arg)
{
	PbDrainProgress *message = arg;
	struct agent_drains *drains = ctx;

	drains->notify(drains->ctx, message);
	/* The report lists the drain, too. */
	if (is_end(message->step) || message->step == PB_DRAIN_STEP_FENCED)
		agent_machine_look(drains->machine, AGENT_LOOK_LEDGER);
	stow_rpc_message_free(message);
}

void agent_drain_post(struct agent_drain_table *table, PbDrainProgress *message)
{
	if (message)
		agent_loop_post(table->loop, on_notify, table->drains, message);
}

PbDrainProgress *agent_drain_last(const struct agent_drain *drain)
{
	PbDrainProgress *out = drain->last ? stow_rpc_message_copy(drain->last) : NULL;

	if (out && drain->plan)
		out->plan = stow_rpc_message_copy(drain->plan);
	return out;
}

static void send_progress(struct agent_drain *drain, const PbDrainProgress *message)
{
	drain->unsent = false;
	drain->notified = stow_clock_monotonic();
	if (drain->call)
		stow_rpc_send(drain->call, message);
	if (drain->ordered)
		agent_drain_post(drain->table, stow_rpc_message_copy(message));
}

/* Return whether a message may be held back: counts of bytes and blocks may, but not steps,
 * outcomes and texts. */
static bool may_wait(const struct agent_drain *drain, const PbDrainProgress *message)
{
	return drain->last && drain->last->step == message->step && !is_end(message->step) &&
	       !message->plan && stow_clock_monotonic() < drain->notified + NOTIFY_EACH &&
	       (!*message->message || strcmp(message->message, drain->last->message) == 0);
}

static void count_end(struct agent_drain *drain, const PbDrainProgress *message)
{
	struct agent_drain_table *table = drain->table;

	drain->ended = true;
	if (drain->dry_run)
		return;
	table->ends[message->step <= PB_DRAIN_STEP_CANCELLED ? message->step : 0]++;
	if (message->step != PB_DRAIN_STEP_DONE && message->step != PB_DRAIN_STEP_PARTIAL)
		return;
	table->bytes += message->bytes_offline;
	agent_publisher_count(table->publisher, AGENT_COUNT_DRAINS, 1);
}

void agent_drain_note(struct agent_drain *drain, PbDrainProgress *message)
{
	if (drain->ended) { /* the outcome is the last message */
		stow_rpc_message_free(message);
		return;
	}
	drain->unsent = may_wait(drain, message);
	if (!drain->unsent)
		send_progress(drain, message);
	drain->updated = stow_clock_wall();
	if (is_end(message->step))
		count_end(drain, message);
	if (message->plan) {
		stow_rpc_message_free(drain->plan);
		drain->plan = STOW_TAKE_PTR(message->plan);
	}
	stow_rpc_message_free(drain->last);
	drain->last = message;
}

void agent_drain_note_held(struct agent_drain *drain)
{
	if (drain->unsent && stow_clock_monotonic() >= drain->notified + NOTIFY_EACH)
		send_progress(drain, drain->last);
}

void agent_drain_note_end(struct agent_drain *drain, enum stow_drain_step step,
			  const struct stow_err *why)
{
	PbDrainProgress *message;

	if (drain->ended)
		return;
	message = stow_drain_end_message(drain->id, step, why);
	if (!message)
		abort(); /* losing an outcome would be worse */
	if (drain->last) {
		message->bytes_total = drain->last->bytes_total;
		message->blocks_total = drain->last->blocks_total;
	}
	agent_drain_note(drain, message);
}

PbDrainProgress *agent_drain_bounded(const PbDrainProgress *progress)
{
	PbDrainProgress *message = stow_rpc_message_copy(progress);

	if (message && stow_drain_bound(message) < 0)
		stow_rpc_message_free(STOW_TAKE_PTR(message));
	return message;
}

/* --- an outcome that the scheduler has ------------------------------------ */

bool agent_drain_take_out(struct agent_drain **at, struct agent_drain **gone)
{
	struct agent_drain *drain = *at;

	drain->acknowledged = true;
	if (drain->running)
		return false;
	*at = drain->next;
	drain->next = *gone;
	*gone = drain;
	return true;
}

void agent_drain_forget(struct agent_drains *drains, struct agent_drain *gone)
{
	for (struct agent_drain *next; gone; gone = next) {
		next = gone->next;
		(void)stow_drain_forget(agent_machine_context(drains->machine)->ledger, gone->id,
					NULL);
		agent_drain_drop(gone);
		agent_machine_look(drains->machine, AGENT_LOOK_LEDGER);
	}
}

static void on_acknowledged(void *ctx, void *arg)
{
	(void)agent_drain_cancel_order(ctx, arg, NULL);
	free(arg);
}

void agent_drain_post_acknowledged(struct agent_drain *drain)
{
	char *id = strdup(drain->id);

	if (id)
		agent_loop_post(drain->table->loop, on_acknowledged, drain->table->drains, id);
}

int agent_drain_cancel_order(struct agent_drains *drains, const char *id, struct stow_err *err)
{
	struct agent_drain_table *table = &drains->table;
	struct agent_drain *gone = NULL;
	bool found = false;

	pthread_mutex_lock(&table->lock);
	for (struct agent_drain **at = &table->list; *at; at = &(*at)->next) {
		if (!(*at)->ordered || strcmp((*at)->id, id) != 0)
			continue;
		found = true;
		if ((*at)->ended)
			(void)agent_drain_take_out(at, &gone);
		else
			(*at)->cancelled = true;
		break;
	}
	pthread_mutex_unlock(&table->lock);
	agent_drain_forget(drains, gone);
	return found ? 0 : stow_err_set(err, ENOENT, "there is no drain %.64s on this machine", id);
}

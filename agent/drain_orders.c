/* SPDX-License-Identifier: Apache-2.0 */
/* A scheduler's orders, and start and stop of the drains; on the main thread. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/drain_internal.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "rpc/log.h"

#define STOP_WITHIN (60 * STOW_SECOND) /* to put blocks back online */

/* --- a scheduler's orders ------------------------------------------------- */

static int check_id(const char *id, struct stow_err *err)
{
	if (strlen(id) == STOW_DRAIN_ID_LEN && strspn(id, "0123456789abcdef") == STOW_DRAIN_ID_LEN)
		return 0;
	return stow_err_set(err, EINVAL, "drain \"%.64s\": expected %d hex digits", id,
			    STOW_DRAIN_ID_LEN);
}

static bool answer_again(struct agent_drain_table *table, const char *id)
{
	struct agent_drain *drain;

	pthread_mutex_lock(&table->lock);
	drain = agent_drain_find(table, id);
	if (drain)
		agent_drain_post(table, agent_drain_last(drain));
	pthread_mutex_unlock(&table->lock);
	return drain;
}

static void log_order(struct agent_drains *drains, const PbOrderDrain *order, int r,
		      const struct stow_err *err)
{
	uint64_t times = stow_log_may(r < 0 ? &drains->refused : &drains->ordered);

	if (times)
		stow_log(r < 0 ? STOW_LOG_WARNING : STOW_LOG_NOTICE,
			 r < 0	       ? "a drain that the scheduler ordered was refused"
			 : order->plan ? "the scheduler ordered a plan of a drain"
				       : "the scheduler ordered a drain",
			 stow_text("drain", order->id), stow_text("error", r < 0 ? err->msg : ""),
			 stow_number("times", times));
}

int agent_drain_order(struct agent_drains *drains, const PbOrderDrain *order, struct stow_err *err)
{
	struct agent_drain *drain;
	int r;

	r = check_id(order->id, err);
	if (r < 0)
		return r;
	if (answer_again(&drains->table, order->id))
		return 0;
	r = agent_drain_prepare(&drains->table, order->id, true, order->plan, order->spec, &drain,
				err);
	if (r == 0)
		r = agent_drain_begin(drain, err);
	log_order(drains, order, r, err);
	if (r == 0)
		agent_machine_look(drains->machine, AGENT_LOOK_LEDGER); /* for the report */
	return r;
}

static bool is_among(char *const *ids, size_t n, const char *id)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(ids[i], id) == 0)
			return true;
	return false;
}

void agent_drain_welcome(struct agent_drains *drains, char *const *ids, size_t n)
{
	struct agent_drain_table *table = &drains->table;
	struct agent_drain *gone = NULL;

	pthread_mutex_lock(&table->lock);
	for (struct agent_drain **at = &table->list; *at;) {
		struct agent_drain *drain = *at;

		if (!drain->ordered) {
			at = &drain->next;
		} else if (is_among(ids, n, drain->id)) {
			agent_drain_post(table, agent_drain_last(drain));
			at = &drain->next;
		} else if (drain->ended) {
			if (!agent_drain_take_out(at, &gone))
				at = &drain->next;
		} else {
			if (!drain->cancelled)
				stow_log(STOW_LOG_NOTICE, "the scheduler no longer knows a drain",
					 stow_text("drain", drain->id));
			drain->cancelled = true;
			at = &drain->next;
		}
	}
	pthread_mutex_unlock(&table->lock);
	agent_drain_forget(drains, gone);
}

int agent_drain_report(struct agent_drains *drains, PbNodeReport *report)
{
	struct agent_drain_table *table = &drains->table;
	size_t n = 0;
	int r = 0;

	pthread_mutex_lock(&table->lock);
	for (const struct agent_drain *drain = table->list; drain; drain = drain->next)
		n += drain->ordered;
	report->drains = calloc(n + 1, sizeof(*report->drains));
	for (const struct agent_drain *drain = table->list; report->drains && drain;
	     drain = drain->next) {
		char *id = drain->ordered ? strdup(drain->id) : NULL;

		if (id)
			report->drains[report->n_drains++] = id;
		else if (drain->ordered)
			r = -ENOMEM;
	}
	pthread_mutex_unlock(&table->lock);
	return report->drains ? r : -ENOMEM;
}

/* --- start and stop ------------------------------------------------------- */

/* Add a scheduler's drain that an earlier agent ran, or whose outcome that agent never sent. */
static int take_over(struct agent_drain_table *table, const struct stow_drain_row *row,
		     struct stow_err *err)
{
	PbDrain *message = stow_drain_row_message(row);
	struct agent_drain *drain =
		message ? agent_drain_alloc(table, row->id, true, message->spec) : NULL;

	if (drain) {
		drain->last = STOW_TAKE_PTR(message->progress);
		drain->ended = stow_drain_step_is_end(row->step);
		drain->created = row->created;
		drain->updated = row->updated;
		drain->next = table->list;
		table->list = drain;
	}
	stow_rpc_message_free(message);
	return drain ? 0 : stow_err_set(err, ENOMEM, "out of memory");
}

static int read_ledger(struct agent_drains *drains, struct stow_err *err)
{
	struct stow_drain_row *rows = NULL;
	size_t n = 0;
	int r;

	r = stow_drain_rows(agent_machine_context(drains->machine)->ledger, &rows, &n, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n && r >= 0; i++)
		if (rows[i].ordered)
			r = take_over(&drains->table, &rows[i], err);
	stow_drain_rows_free(rows, n);
	return r < 0 ? r : 0;
}

int agent_drain_new(const struct agent_drain_parts *parts, struct agent_drains **ret,
		    struct stow_err *err)
{
	struct agent_drains *drains = calloc(1, sizeof(*drains));
	int r;

	if (!drains)
		return stow_err_set(err, ENOMEM, "out of memory");
	drains->machine = parts->machine;
	drains->notify = parts->notify;
	drains->ctx = parts->ctx;
	drains->table.policy = parts->policy;
	drains->table.publisher = parts->publisher;
	drains->table.loop = parts->loop;
	drains->table.evicts = parts->evicts;
	drains->table.drains = drains;
	pthread_mutex_init(&drains->table.lock, NULL);
	stow_clock_cond_init(&drains->table.changed);
	r = read_ledger(drains, err);
	if (r < 0)
		agent_drain_free(drains);
	else
		*ret = drains;
	return r;
}

struct agent_drain_table *agent_drain_table(struct agent_drains *drains)
{
	return &drains->table;
}

bool agent_drain_stop(struct agent_drains *drains)
{
	struct agent_drain_table *table;
	struct timespec until;
	bool left = false;

	if (!drains)
		return false;
	table = &drains->table;
	until = stow_clock_in(STOP_WITHIN);
	pthread_mutex_lock(&table->lock);
	table->stopping = true;
	pthread_cond_broadcast(&table->changed);
	left = (table->worker && table->worker->what.resume) ||
	       (table->recovering && !table->undoing);
	while (!left && table->threads > 0)
		left = pthread_cond_timedwait(&table->changed, &table->lock, &until) != 0;
	if (left)
		stow_log(STOW_LOG_NOTICE, "a drain is left to the next agent",
			 stow_text("drain", table->worker ? table->worker->id : ""));
	pthread_mutex_unlock(&table->lock);
	return left;
}

void agent_drain_free(struct agent_drains *drains)
{
	struct agent_drain *drain;

	if (!drains)
		return;
	while ((drain = drains->table.list)) {
		drains->table.list = drain->next;
		agent_drain_drop(drain);
	}
	free(drains->table.evictions);
	pthread_cond_destroy(&drains->table.changed);
	pthread_mutex_destroy(&drains->table.lock);
	free(drains);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Drains whose program was killed. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/drain_internal.h"
#include "base/cleanup.h"
#include "rpc/log.h"

static int on_recovered(void *ctx, const PbDrainProgress *p)
{
	struct agent_drain_table *table = ctx;
	PbDrainProgress *message = agent_drain_bounded(p);
	struct agent_drain *drain;

	if (!message)
		return 0;
	pthread_mutex_lock(&table->lock);
	table->undoing = p->step == PB_DRAIN_STEP_UNDOING;
	drain = agent_drain_find(table, p->id);
	if (!drain) { /* started by the command: there is no caller to notify */
		drain = agent_drain_alloc(table, p->id, false, NULL);
		if (drain) {
			drain->next = table->list;
			table->list = drain;
		}
	}
	if (drain)
		agent_drain_note(drain, message);
	else
		stow_rpc_message_free(message);
	pthread_mutex_unlock(&table->lock);
	return 0;
}

static bool on_recover_stop(void *ctx)
{
	struct agent_drain_table *table = ctx;
	bool stop = false;

	/* When this agent stops, the next one continues. */
	pthread_mutex_lock(&table->lock);
	for (const struct agent_drain *drain = table->list; drain; drain = drain->next)
		stop |= drain->cancelled && !drain->running && !drain->ended;
	pthread_mutex_unlock(&table->lock);
	return stop;
}

static void on_evict(void *ctx, const struct stow_drain_claim *claims, size_t n)
{
	agent_drain_evict(ctx, claims, n);
}

/* End drains that the ledger no longer has, or has as ended, and that have no outcome yet. With
 * the lock held. */
static void settle(struct agent_drain_table *table, const struct stow_drain_row *rows, size_t n)
{
	struct stow_err killed, why;

	stow_err_set(&killed, ECANCELED,
		     "the program that ran it was killed; the drain was undone");
	for (struct agent_drain *drain = table->list; drain; drain = drain->next) {
		const struct stow_drain_row *row = NULL;

		if (drain->running || drain->ended)
			continue;
		for (size_t i = 0; i < n; i++)
			if (strcmp(rows[i].id, drain->id) == 0)
				row = &rows[i];
		if (!row)
			agent_drain_note_end(drain, STOW_DRAIN_STEP_FAILED, &killed);
		else if (stow_drain_step_is_end(row->step)) {
			stow_err_set(&why, abs(row->code), "%s", row->message);
			agent_drain_note_end(drain, row->step, row->code ? &why : NULL);
		}
	}
}

/* Recover drains, then read the rows again. *ret_read: whether reading succeeded. */
static int do_recover(struct agent_drain_table *table, struct stow_drain_row **rows, size_t *n,
		      bool *ret_read, struct stow_err *err)
{
	_cleanup_(stow_ledger_close_ptr) struct stow_ledger *ledger = NULL;
	struct stow_drain_watch watch = { .progress = on_recovered,
					  .stop = on_recover_stop,
					  .evict = table->evicts ? on_evict : NULL,
					  .ctx = table };
	struct stow_grant_context context = agent_policy_context(table->policy);
	int r;

	*ret_read = false;
	r = stow_ledger_open(context.root, true, &ledger, err);
	if (r < 0)
		return r;
	context.ledger = ledger;
	r = stow_drain_recover(&context, &watch, err);
	*ret_read = stow_drain_rows(ledger, rows, n, NULL) >= 0;
	return r;
}

static void *recover(void *arg)
{
	struct agent_drain_table *table = arg;
	struct stow_drain_row *rows = NULL;
	struct stow_err err = { 0 };
	size_t n = 0;
	bool read;
	int r = do_recover(table, &rows, &n, &read, &err);

	stow_log(r < 0 ? STOW_LOG_WARNING : STOW_LOG_NOTICE,
		 r < 0 ? "cannot undo a drain whose program was killed"
		       : "recovered drains whose program was killed",
		 stow_number("drains", r > 0 ? (uint64_t)r : 0),
		 stow_text("error", r < 0 ? err.msg : ""));
	pthread_mutex_lock(&table->lock);
	if (r >= 0 && read)
		settle(table, rows, n);
	if (read)
		stow_drain_rows_free(rows, n);
	table->recovering = table->undoing = false;
	agent_drain_thread_ends(table); /* after this the drains may be freed */
	pthread_mutex_unlock(&table->lock);
	return NULL;
}

/* End drains that another program has recovered: `numastow gc`, or another drain. */
static void settle_others(struct agent_drains *drains)
{
	struct agent_drain_table *table = &drains->table;
	struct stow_drain_row *rows = NULL;
	bool open = false;
	size_t n = 0;

	pthread_mutex_lock(&table->lock);
	for (const struct agent_drain *drain = table->list; drain; drain = drain->next)
		open |= !drain->running && !drain->ended && !table->recovering;
	pthread_mutex_unlock(&table->lock);
	/* Without the lock, because it may wait for the ledger. Only this thread starts
	 * recoveries, so no other one can take them up meanwhile. */
	if (!open ||
	    stow_drain_rows(agent_machine_context(drains->machine)->ledger, &rows, &n, NULL) < 0)
		return;
	pthread_mutex_lock(&table->lock);
	settle(table, rows, n);
	pthread_mutex_unlock(&table->lock);
	stow_drain_rows_free(rows, n);
}

void agent_drain_recover(struct agent_drains *drains)
{
	struct agent_drain_table *table = &drains->table;
	struct stow_err err = { 0 };
	int r = 0;

	if (!stow_drain_orphans(agent_machine_context(drains->machine))) {
		settle_others(drains);
		return;
	}
	pthread_mutex_lock(&table->lock);
	if (!table->worker && !table->recovering && !table->stopping) {
		r = agent_drain_thread(table, recover, table, &err);
		table->recovering = r == 0;
	}
	pthread_mutex_unlock(&table->lock);
	if (r < 0)
		stow_log(STOW_LOG_ERR, "cannot undo a drain", stow_why(&err));
}

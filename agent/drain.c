/* SPDX-License-Identifier: Apache-2.0 */
/* Starting, listing and cancelling drains, from any thread. */
#include "agent/drain.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/drain_internal.h"
#include "base/cleanup.h"
#include "rpc/copy.h"
#include "rpc/metrics.h"

/* --- limits --------------------------------------------------------------- */

static void cap(uint64_t *value, uint64_t most, bool enforced)
{
	if (*value == 0 || (enforced && *value > most))
		*value = most;
}

/* Return the machine's memory, including what drains have taken offline. */
static uint64_t machine_memory(struct agent_publisher *publisher)
{
	struct agent_published published;
	uint64_t sum = 0;

	agent_publisher_borrow(publisher, &published);
	for (size_t i = 0; i < published.report->n_numa_nodes; i++) {
		const PbNumaNode *node = published.report->numa_nodes[i];

		sum += node->blocks ? node->blocks->present * node->blocks->block_size
				    : node->memory_total;
	}
	agent_publisher_return(publisher);
	return sum;
}

/* Apply the machine's limits to a request. */
static int limit(struct agent_drain *drain, struct stow_err *err)
{
	struct agent_policy_limits limits = agent_policy_limits(drain->table->policy);
	struct stow_drain_spec *what = &drain->what;
	uint64_t percent = limits.max_drain, memory;

	cap(&what->block_timeout, limits.drain_block_timeout, drain->ordered);
	cap(&what->timeout, limits.drain_timeout, drain->ordered);
	cap(&what->removal_timeout, limits.removal_timeout, drain->ordered);
	what->rate = limits.drain_rate;
	what->evicts = drain->table->evicts;
	if (!drain->ordered)
		return 0;
	memory = machine_memory(drain->table->publisher);
	what->most = memory / 100 * percent + memory % 100 * percent / 100;
	if (what->most == 0)
		return stow_err_set(
			err, EACCES,
			"node %s does not allow schedulers to drain memory (max-drain: %llu)",
			agent_policy_node(drain->table->policy), (unsigned long long)percent);
	return 0;
}

int agent_drain_prepare(struct agent_drain_table *table, const char *id, bool ordered, bool dry_run,
			const PbDrainSpec *spec, struct agent_drain **ret, struct stow_err *err)
{
	struct stow_drain_spec checked;
	struct agent_drain *drain;
	int r;

	/* A plan changes nothing, so it is allowed in every mode. */
	r = dry_run ? 0 : agent_policy_check_changes(table->policy, err);
	if (r == 0)
		r = stow_drain_spec_read(spec, &checked, err);
	if (r < 0)
		return r;
	drain = agent_drain_alloc(table, id, ordered, spec);
	if (!drain)
		return stow_err_set(err, ENOMEM, "out of memory");
	drain->dry_run = dry_run;
	r = stow_drain_spec_read(drain->spec, &drain->what, err);
	if (r == 0)
		r = limit(drain, err);
	if (r < 0) {
		agent_drain_drop(drain);
		return r;
	}
	*ret = drain;
	return 0;
}

/* Drop the drains that ended longest ago, those of a scheduler last. With the lock held. */
static void trim(struct agent_drain_table *table)
{
	struct agent_drain **oldest, **ordered;
	size_t n;

	do {
		oldest = ordered = NULL;
		n = 0;
		for (struct agent_drain **at = &table->list; *at; at = &(*at)->next) {
			if ((*at)->running || !(*at)->ended)
				continue;
			n++;
			*((*at)->ordered ? &ordered : &oldest) = at;
		}
		if (n > AGENT_DRAINS_KEPT) {
			struct agent_drain **at = oldest ? oldest : ordered, *gone = *at;

			*at = gone->next;
			agent_drain_drop(gone);
		}
	} while (n > AGENT_DRAINS_KEPT + 1);
}

int agent_drain_begin(struct agent_drain *drain, struct stow_err *err)
{
	struct agent_drain_table *table = drain->table;
	int r;

	pthread_mutex_lock(&table->lock);
	trim(table);
	r = drain->dry_run ? agent_drain_plan(drain, err) : agent_drain_work(drain, err);
	pthread_mutex_unlock(&table->lock);
	if (r < 0)
		agent_drain_drop(drain);
	return r;
}

/* --- on the local socket -------------------------------------------------- */

int agent_drain_start(struct agent_drain_table *table, struct stow_rpc_call *call,
		      const PbAgentDrainRequest *request, struct stow_err *err)
{
	char id[STOW_DRAIN_ID_LEN + 1];
	struct agent_drain *drain;
	int r;

	stow_drain_new_id(id);
	r = agent_drain_prepare(table, id, false, request->dry_run, request->spec, &drain, err);
	if (r < 0)
		return r;
	drain->detached = request->detach;
	drain->call = stow_rpc_ref(call);
	return agent_drain_begin(drain, err);
}

static PbDrain *listed(const struct agent_drain *drain)
{
	PbDrain *out = malloc(sizeof(*out));

	if (!out)
		return NULL;
	pb_drain__init(out);
	out->id = strdup(drain->id);
	out->created = drain->created;
	out->updated = drain->updated;
	out->spec = drain->spec ? stow_rpc_message_copy(drain->spec) : NULL;
	out->progress = drain->last ? stow_rpc_message_copy(drain->last) : NULL;
	out->plan = drain->plan ? stow_rpc_message_copy(drain->plan) : NULL;
	return out;
}

static int by_age(const void *a, const void *b)
{
	const PbDrain *const *x = a, *const *y = b;

	return (*x)->created < (*y)->created ? -1 : (*x)->created > (*y)->created;
}

/* Collect the drains of the table, and those that only the ledger has. */
static int gather(struct agent_drain_table *table, const struct stow_drain_row *rows, size_t n_rows,
		  PbAgentListDrainsResponse *out)
{
	size_t n = n_rows;

	for (const struct agent_drain *drain = table->list; drain; drain = drain->next)
		n++;
	out->drains = calloc(n + 1, sizeof(*out->drains));
	for (struct agent_drain *drain = table->list; out->drains && drain; drain = drain->next) {
		out->drains[out->n_drains] = listed(drain);
		if (!out->drains[out->n_drains])
			return -ENOMEM;
		out->n_drains++;
	}
	for (size_t i = 0; out->drains && i < n_rows; i++) {
		if (agent_drain_find(table, rows[i].id))
			continue;
		out->drains[out->n_drains] = stow_drain_row_message(&rows[i]);
		if (!out->drains[out->n_drains])
			return -ENOMEM;
		out->n_drains++;
	}
	return out->drains ? 0 : -ENOMEM;
}

int agent_drain_list(struct agent_drain_table *table, struct stow_rpc_call *call,
		     struct stow_err *err)
{
	_cleanup_(stow_ledger_close_ptr) struct stow_ledger *ledger = NULL;
	struct stow_grant_context context = agent_policy_context(table->policy);
	PbAgentListDrainsResponse *out = malloc(sizeof(*out));
	struct stow_drain_row *rows = NULL;
	size_t n = 0;
	int r;

	if (!out)
		return stow_err_set(err, ENOMEM, "out of memory");
	pb_agent_list_drains_response__init(out);
	r = stow_ledger_open(context.root, true, &ledger, err);
	if (r == 0)
		r = stow_drain_rows(ledger, &rows, &n, err);
	if (r >= 0) {
		pthread_mutex_lock(&table->lock);
		r = gather(table, rows, n, out);
		pthread_mutex_unlock(&table->lock);
		stow_drain_rows_free(rows, n);
		if (r < 0)
			stow_err_set(err, ENOMEM, "out of memory");
	}
	if (r >= 0) {
		qsort(out->drains, out->n_drains, sizeof(PbDrain *), by_age);
		for (size_t i = 0; i < out->n_drains; i++)
			out->drains[i]->node = strdup(agent_policy_node(table->policy));
		stow_rpc_reply(call, out, NULL);
	}
	stow_rpc_message_free(out);
	return r < 0 ? r : STOW_RPC_LATER;
}

/* Cancel a drain of this agent. */
static int cancel_own(struct agent_drain_table *table, const char *id,
		      char ret_id[STOW_DRAIN_ID_LEN + 1], struct stow_err *err)
{
	struct agent_drain *found = NULL;
	size_t n = 0;

	pthread_mutex_lock(&table->lock);
	for (struct agent_drain *drain = table->list; drain; drain = drain->next)
		if (!drain->ended && strncmp(drain->id, id, strlen(id)) == 0) {
			found = drain;
			n++;
		}
	if (n == 1) {
		found->cancelled = true;
		memcpy(ret_id, found->id, sizeof(found->id));
	}
	pthread_mutex_unlock(&table->lock);
	if (n > 1)
		return stow_err_set(err, EINVAL, "id: \"%.64s\" is a prefix of %zu drains", id, n);
	return n == 1;
}

int agent_drain_cancel(struct agent_drain_table *table, const char *id,
		       char ret_id[STOW_DRAIN_ID_LEN + 1], struct stow_err *err)
{
	_cleanup_(stow_ledger_close_ptr) struct stow_ledger *ledger = NULL;
	struct stow_grant_context context = agent_policy_context(table->policy);
	int r;

	r = cancel_own(table, id, ret_id, err);
	if (r != 0)
		return r < 0 ? r : 0;
	r = stow_ledger_open(context.root, true, &ledger, err);
	if (r == 0)
		r = stow_drain_cancel(ledger, id, ret_id, err);
	return r < 0 ? r : 0;
}

/* --- metrics -------------------------------------------------------------- */

void agent_drain_render(struct agent_drain_table *table, FILE *out)
{
	const char *bytes = "numastow_agent_drained_bytes_total";

	pthread_mutex_lock(&table->lock);
	stow_metric_head(out, "numastow_agent_drains_ended_total", "counter",
			 "Ended drains, by outcome.");
	for (int step = STOW_DRAIN_STEP_DONE; step <= STOW_DRAIN_STEP_CANCELLED; step++)
		stow_metric(out, "numastow_agent_drains_ended_total", (double)table->ends[step],
			    "end", stow_drain_step_name((enum stow_drain_step)step), NULL);
	stow_metric_head(out, bytes, "counter", "Memory that drains have taken offline.");
	stow_metric(out, bytes, (double)table->bytes, NULL);
	stow_metric_head(out, "numastow_agent_draining", "gauge", "1 while a drain is running.");
	stow_metric(out, "numastow_agent_draining", table->worker || table->recovering ? 1 : 0,
		    NULL);
	pthread_mutex_unlock(&table->lock);
}

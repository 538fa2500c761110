/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/drain.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/drain_internal.h"
#include "agent/link.h"
#include "base/cleanup.h"
#include "rpc/metrics.h"
#include "rpc/say.h"

#define STOP_WITHIN 60 /* s, to put blocks back online */

static void tell(struct agent *agent, const PbDrainProgress *progress)
{
	if (agent->link)
		agent_link_drain(agent->link, progress);
}

const struct agent_drain_ops agent_drain_ops = {
	.plan = stow_drain_preview,
	.run = stow_drain_run,
	.orphans = stow_drain_orphans,
	.recover = stow_drain_recover,
	.rows = stow_drain_rows,
	.rows_free = stow_drain_rows_free,
	.cancel = stow_drain_cancel,
	.forget = stow_drain_forget,
	.tell = tell,
};

/* --- limits ------------------------------------------------------------------------------------- */

static void cap(uint64_t *value, uint64_t most, bool enforced)
{
	if (*value == 0 || (enforced && *value > most))
		*value = most;
}

/* What is off the machine already counts as the machine's. With the lock held. */
static uint64_t machine_memory(const struct agent *agent)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < agent->current->n_numa_nodes; i++) {
		const PbNumaNode *node = agent->current->numa_nodes[i];

		sum += node->blocks ? node->blocks->present * node->blocks->block_size
				    : node->memory_total;
	}
	return sum;
}

/* What this machine allows, whatever is asked for. */
static int limit(struct agent *agent, struct agent_drain *drain, struct stow_err *err)
{
	struct stow_drain_spec *what = &drain->what;
	uint64_t percent, memory;

	pthread_mutex_lock(&agent->lock);
	percent = agent->config.max_drain;
	memory = machine_memory(agent);
	cap(&what->block_timeout, agent->config.drain_block_timeout, drain->ordered);
	cap(&what->timeout, agent->config.drain_timeout, drain->ordered);
	cap(&what->removal_timeout, agent->config.removal_timeout, drain->ordered);
	what->rate = agent->config.drain_rate;
	pthread_mutex_unlock(&agent->lock);
	if (!drain->ordered)
		return 0;
	what->most = memory / 100 * percent + memory % 100 * percent / 100;
	if (what->most == 0)
		return stow_err_set(err, EACCES,
				    "node %s lets no scheduler drain memory (max-drain: %llu)",
				    agent->config.node, (unsigned long long)percent);
	return 0;
}

static int check_id(const char *id, struct stow_err *err)
{
	if (strlen(id) == STOW_DRAIN_ID_LEN && strspn(id, "0123456789abcdef") == STOW_DRAIN_ID_LEN)
		return 0;
	return stow_err_set(err, EINVAL, "drain \"%.64s\": want %d hex digits", id,
			    STOW_DRAIN_ID_LEN);
}

/* Half of what starting one takes: what is asked for, and what of it is allowed. */
static int prepare(struct agent *agent, const char *id, bool ordered, bool dry_run,
		   const PbDrainSpec *spec, struct agent_drain **ret, struct stow_err *err)
{
	struct stow_drain_spec checked;
	struct agent_drain *drain;
	int r;

	/* Planning changes nothing, and is allowed in every mode. */
	r = dry_run ? 0 : agent_check_changes(agent, err);
	if (r == 0)
		r = stow_drain_spec_read(spec, &checked, err);
	if (r < 0)
		return r;
	drain = drain_new(agent, id, ordered, spec);
	if (!drain)
		return stow_err_set(err, ENOMEM, "out of memory");
	drain->dry_run = dry_run;
	r = stow_drain_spec_read(drain->spec, &drain->what, err);
	if (r == 0)
		r = limit(agent, drain, err);
	if (r < 0) {
		drain_free(drain);
		return r;
	}
	*ret = drain;
	return 0;
}

/* Those that have ended longest ago go; a scheduler's last. With the lock held. */
static void trim(struct agent_drains *drains)
{
	struct agent_drain **oldest, **ordered;
	size_t n;

	do {
		oldest = ordered = NULL;
		n = 0;
		for (struct agent_drain **at = &drains->list; *at; at = &(*at)->next) {
			if ((*at)->running || !(*at)->ended)
				continue;
			n++;
			*((*at)->ordered ? &ordered : &oldest) = at;
		}
		if (n > AGENT_DRAINS_KEPT) {
			struct agent_drain **at = oldest ? oldest : ordered, *gone = *at;

			*at = gone->next;
			drain_free(gone);
		}
	} while (n > AGENT_DRAINS_KEPT + 1);
}

/* Hands it to its thread, or frees it. */
static int begin(struct agent *agent, struct agent_drain *drain, struct stow_err *err)
{
	struct agent_drains *drains = agent->drains;
	int r;

	pthread_mutex_lock(&drains->lock);
	trim(drains);
	r = drain->dry_run ? drain_plan(drain, err) : drain_work(drain, err);
	pthread_mutex_unlock(&drains->lock);
	if (r < 0)
		drain_free(drain);
	return r;
}

/* --- on the local socket ------------------------------------------------------------------------ */

int agent_drain_start(struct agent *agent, struct stow_rpc_call *call,
		      const PbAgentDrainRequest *request, struct stow_err *err)
{
	char id[STOW_DRAIN_ID_LEN + 1];
	struct agent_drain *drain;
	int r;

	stow_drain_new_id(id);
	r = prepare(agent, id, false, request->dry_run, request->spec, &drain, err);
	if (r < 0)
		return r;
	drain->detached = request->detach;
	drain->call = stow_rpc_ref(call);
	return begin(agent, drain, err);
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
	out->spec = drain->spec ? stow_drain_copy(drain->spec) : NULL;
	out->progress = drain->last ? stow_drain_copy(drain->last) : NULL;
	out->plan = drain->plan ? stow_drain_copy(drain->plan) : NULL;
	return out;
}

static int by_age(const void *a, const void *b)
{
	const PbDrain *const *x = a, *const *y = b;

	return (*x)->created < (*y)->created ? -1 : (*x)->created > (*y)->created;
}

/* What is in hand, and what only the ledger knows. */
static int gather(struct agent_drains *drains, const struct stow_drain_row *rows, size_t n_rows,
		  PbAgentListDrainsResponse *out)
{
	size_t n = n_rows;

	for (const struct agent_drain *drain = drains->list; drain; drain = drain->next)
		n++;
	out->drains = calloc(n + 1, sizeof(*out->drains));
	for (struct agent_drain *drain = drains->list; out->drains && drain; drain = drain->next) {
		out->drains[out->n_drains] = listed(drain);
		if (!out->drains[out->n_drains])
			return -ENOMEM;
		out->n_drains++;
	}
	for (size_t i = 0; out->drains && i < n_rows; i++) {
		if (drain_find(drains, rows[i].id))
			continue;
		out->drains[out->n_drains] = stow_drain_row_message(&rows[i]);
		if (!out->drains[out->n_drains])
			return -ENOMEM;
		out->n_drains++;
	}
	return out->drains ? 0 : -ENOMEM;
}

int agent_drain_list(struct agent *agent, struct stow_rpc_call *call, struct stow_err *err)
{
	_cleanup_(stow_ledger_close_ptr) struct stow_ledger *ledger = NULL;
	struct agent_drains *drains = agent->drains;
	struct stow_grant_context context = agent_context(agent);
	PbAgentListDrainsResponse *out = malloc(sizeof(*out));
	struct stow_drain_row *rows = NULL;
	size_t n = 0;
	int r;

	if (!out)
		return stow_err_set(err, ENOMEM, "out of memory");
	pb_agent_list_drains_response__init(out);
	r = stow_ledger_open(context.root, true, &ledger, err);
	if (r == 0)
		r = drains->ops->rows(ledger, &rows, &n, err);
	if (r >= 0) {
		pthread_mutex_lock(&drains->lock);
		r = gather(drains, rows, n, out);
		pthread_mutex_unlock(&drains->lock);
		drains->ops->rows_free(rows, n);
		if (r < 0)
			stow_err_set(err, ENOMEM, "out of memory");
	}
	if (r >= 0) {
		qsort(out->drains, out->n_drains, sizeof(PbDrain *), by_age);
		for (size_t i = 0; i < out->n_drains; i++)
			out->drains[i]->node = strdup(agent->config.node);
		stow_rpc_reply(call, out, NULL);
	}
	stow_rpc_message_free(out);
	return r < 0 ? r : STOW_RPC_LATER;
}

/* One of our own, that can hear it at once. */
static int cancel_own(struct agent_drains *drains, const char *id,
		      char ret_id[STOW_DRAIN_ID_LEN + 1], struct stow_err *err)
{
	struct agent_drain *found = NULL;
	size_t n = 0;

	pthread_mutex_lock(&drains->lock);
	for (struct agent_drain *drain = drains->list; drain; drain = drain->next)
		if (!drain->ended && strncmp(drain->id, id, strlen(id)) == 0) {
			found = drain;
			n++;
		}
	if (n == 1) {
		found->cancelled = true;
		memcpy(ret_id, found->id, sizeof(found->id));
	}
	pthread_mutex_unlock(&drains->lock);
	if (n > 1)
		return stow_err_set(err, EINVAL, "id: \"%.64s\" is the beginning of %zu drains", id,
				    n);
	return n == 1;
}

int agent_drain_cancel(struct agent *agent, const char *id, char ret_id[STOW_DRAIN_ID_LEN + 1],
		       struct stow_err *err)
{
	_cleanup_(stow_ledger_close_ptr) struct stow_ledger *ledger = NULL;
	struct stow_grant_context context = agent_context(agent);
	int r;

	r = cancel_own(agent->drains, id, ret_id, err);
	if (r != 0)
		return r < 0 ? r : 0;
	r = stow_ledger_open(context.root, true, &ledger, err);
	if (r == 0)
		r = agent->drains->ops->cancel(ledger, id, ret_id, err);
	return r < 0 ? r : 0;
}

/* --- a scheduler's ------------------------------------------------------------------------------ */

static bool answer_again(struct agent *agent, const char *id)
{
	struct agent_drains *drains = agent->drains;
	struct agent_drain *drain;

	pthread_mutex_lock(&drains->lock);
	drain = drain_find(drains, id);
	if (drain)
		drain_tell(agent, drain_last(drain));
	pthread_mutex_unlock(&drains->lock);
	return drain;
}

int agent_drain_order(struct agent *agent, const PbOrderDrain *order, struct stow_err *err)
{
	struct agent_drain *drain;
	int r;

	r = check_id(order->id, err);
	if (r < 0)
		return r;
	if (answer_again(agent, order->id))
		return 0;
	r = prepare(agent, order->id, true, order->plan, order->spec, &drain, err);
	if (r == 0)
		r = begin(agent, drain, err);
	stow_say(r < 0 ? STOW_LOG_WARNING : STOW_LOG_NOTICE,
		 r < 0	       ? "a drain that the scheduler ordered was refused"
		 : order->plan ? "the scheduler asks for a plan of a drain"
			       : "the scheduler orders a drain",
		 stow_text("drain", order->id), stow_text("error", r < 0 ? err->msg : ""));
	if (r == 0)
		agent_look(agent, AGENT_LOOK_LEDGER); /* the report lists it */
	return r;
}

/* The scheduler has heard of its end. False: its thread has said that, and is not done yet; it
 * comes again. With the lock held; on the main thread. */
static bool forget(struct agent *agent, struct agent_drain **at)
{
	struct agent_drain *gone = *at;

	gone->heard = true;
	if (gone->running)
		return false;
	(void)agent->drains->ops->forget(agent->ledger, gone->id, NULL);
	*at = gone->next;
	drain_free(gone);
	agent_look(agent, AGENT_LOOK_LEDGER);
	return true;
}

static void on_heard(struct agent *agent, void *arg)
{
	(void)agent_drain_cancel_order(agent, arg, NULL);
	free(arg);
}

void drain_post_heard(struct agent_drain *drain)
{
	char *id = strdup(drain->id);

	if (id)
		agent_post(drain->agent, on_heard, id);
}

int agent_drain_cancel_order(struct agent *agent, const char *id, struct stow_err *err)
{
	struct agent_drains *drains = agent->drains;
	bool found = false;

	pthread_mutex_lock(&drains->lock);
	for (struct agent_drain **at = &drains->list; *at; at = &(*at)->next) {
		if (!(*at)->ordered || strcmp((*at)->id, id) != 0)
			continue;
		found = true;
		if ((*at)->ended)
			(void)forget(agent, at);
		else
			(*at)->cancelled = true;
		break;
	}
	pthread_mutex_unlock(&drains->lock);
	return found ? 0 : stow_err_set(err, ENOENT, "there is no drain %.64s here", id);
}

static bool is_among(char *const *ids, size_t n, const char *id)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(ids[i], id) == 0)
			return true;
	return false;
}

void agent_drains_welcome(struct agent *agent, char *const *ids, size_t n)
{
	struct agent_drains *drains = agent->drains;

	pthread_mutex_lock(&drains->lock);
	for (struct agent_drain **at = &drains->list; *at;) {
		struct agent_drain *drain = *at;

		if (!drain->ordered) {
			at = &drain->next;
		} else if (is_among(ids, n, drain->id)) {
			drain_tell(agent, drain_last(drain));
			at = &drain->next;
		} else if (drain->ended) {
			if (!forget(agent, at))
				at = &drain->next;
		} else {
			if (!drain->cancelled)
				stow_say(STOW_LOG_NOTICE, "the scheduler knows a drain no more",
					 stow_text("drain", drain->id));
			drain->cancelled = true;
			at = &drain->next;
		}
	}
	pthread_mutex_unlock(&drains->lock);
}

int agent_drains_report(struct agent *agent, PbNodeReport *report)
{
	struct agent_drains *drains = agent->drains;
	size_t n = 0;
	int r = 0;

	pthread_mutex_lock(&drains->lock);
	for (const struct agent_drain *drain = drains->list; drain; drain = drain->next)
		n += drain->ordered;
	report->drains = calloc(n + 1, sizeof(*report->drains));
	for (const struct agent_drain *drain = drains->list; report->drains && drain;
	     drain = drain->next) {
		char *id = drain->ordered ? strdup(drain->id) : NULL;

		if (id)
			report->drains[report->n_drains++] = id;
		else if (drain->ordered)
			r = -ENOMEM;
	}
	pthread_mutex_unlock(&drains->lock);
	return report->drains ? r : -ENOMEM;
}

/* --- metrics ------------------------------------------------------------------------------------ */

void agent_drains_metrics(struct agent *agent, FILE *out)
{
	struct agent_drains *drains = agent->drains;
	const char *bytes = "numastow_agent_drained_bytes_total";

	pthread_mutex_lock(&drains->lock);
	stow_metric_head(out, "numastow_agent_drains_ended_total", "counter",
			 "Drains, by how they ended.");
	for (int step = STOW_DRAIN_DONE; step <= STOW_DRAIN_CANCELLED; step++)
		stow_metric(out, "numastow_agent_drains_ended_total", (double)drains->ends[step],
			    "end", stow_drain_step_name((enum stow_drain_step)step), NULL);
	stow_metric_head(out, bytes, "counter", "Memory that drains took off the machine.");
	stow_metric(out, bytes, (double)drains->bytes, NULL);
	stow_metric_head(out, "numastow_agent_draining", "gauge", "1 while a drain is at work.");
	stow_metric(out, "numastow_agent_draining", drains->worker || drains->recovering ? 1 : 0,
		    NULL);
	pthread_mutex_unlock(&drains->lock);
}

/* --- start and stop ----------------------------------------------------------------------------- */

/* A scheduler's drain that an agent before this one had in hand, or whose end it never told. */
static int take_over(struct agent *agent, const struct stow_drain_row *row, struct stow_err *err)
{
	struct agent_drains *drains = agent->drains;
	PbDrain *message = stow_drain_row_message(row);
	struct agent_drain *drain = message ? drain_new(agent, row->id, true, message->spec) : NULL;

	if (drain) {
		drain->last = STOW_TAKE_PTR(message->progress);
		drain->ended = stow_drain_step_is_end(row->step);
		drain->created = row->created;
		drain->updated = row->updated;
		drain->next = drains->list;
		drains->list = drain;
	}
	stow_rpc_message_free(message);
	return drain ? 0 : stow_err_set(err, ENOMEM, "out of memory");
}

int agent_drains_new(struct agent *agent, const struct agent_drain_ops *ops, struct stow_err *err)
{
	struct agent_drains *drains = calloc(1, sizeof(*drains));
	struct stow_drain_row *rows = NULL;
	size_t n = 0;
	int r;

	if (!drains)
		return stow_err_set(err, ENOMEM, "out of memory");
	drains->ops = ops;
	pthread_mutex_init(&drains->lock, NULL);
	pthread_cond_init(&drains->changed, NULL);
	agent->drains = drains;
	r = ops->rows(agent->ledger, &rows, &n, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n && r >= 0; i++)
		if (rows[i].ordered)
			r = take_over(agent, &rows[i], err);
	ops->rows_free(rows, n);
	return r < 0 ? r : 0;
}

bool agent_drains_stop(struct agent *agent)
{
	struct agent_drains *drains = agent->drains;
	struct timespec until;
	bool left = false;

	if (!drains)
		return false;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += STOP_WITHIN;
	pthread_mutex_lock(&drains->lock);
	drains->stopping = true;
	pthread_cond_broadcast(&drains->changed);
	left = (drains->worker && drains->worker->what.resume) ||
	       (drains->recovering && !drains->undoing);
	while (!left && drains->threads > 0)
		left = pthread_cond_timedwait(&drains->changed, &drains->lock, &until) != 0;
	if (left)
		stow_say(STOW_LOG_NOTICE, "a drain is left to the next agent",
			 stow_text("drain", drains->worker ? drains->worker->id : ""));
	pthread_mutex_unlock(&drains->lock);
	return left;
}

void agent_drains_free(struct agent_drains *drains)
{
	struct agent_drain *drain;

	if (!drains)
		return;
	while ((drain = drains->list)) {
		drains->list = drain->next;
		drain_free(drain);
	}
	pthread_cond_destroy(&drains->changed);
	pthread_mutex_destroy(&drains->lock);
	free(drains);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/machine.h"

#include <errno.h>
#include <stdlib.h>

#include "agent/machine_internal.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "rpc/log.h"
#include "rpc/texts.h"

#define DELEGATION_INTERVAL (60 * STOW_SECOND)
#define CONTAINERS_MAX	    8192 /* that a scheduler accepts per machine */

/* --- reporting ------------------------------------------------------------ */

/* Clean texts, which come from annotations, runtimes and a scheduler, and bound the number of
 * containers. */
static void make_fit(PbNodeReport *report)
{
	stow_texts_clean(&report->base, STOW_TEXT_LIST);
	if (report->n_containers <= CONTAINERS_MAX)
		return;
	stow_log(STOW_LOG_WARNING, "more containers than a report may have; some are not reported",
		 stow_number("containers", report->n_containers));
	while (report->n_containers > CONTAINERS_MAX)
		stow_rpc_message_free(report->containers[--report->n_containers]);
}

static int make_report(struct agent_machine *machine, unsigned int look, PbNodeReport **ret,
		       struct stow_err *err)
{
	PbNodeReport *report;
	int r;

	r = agent_source_report(machine->source, look, machine->report,
				machine->config->memory_step, &report, err);
	if (r < 0)
		return r;
	make_fit(report);
	if (machine->ops->report(machine->ctx, report) < 0) {
		stow_rpc_message_free(report);
		return stow_err_set(err, ENOMEM, "out of memory");
	}
	*ret = report;
	return 0;
}

static void give_out(struct agent_machine *machine, PbNodeReport *report)
{
	agent_publisher_publish(machine->publisher, report);
	machine->report = report;
}

static int failed(struct agent_machine *machine, int r, const struct stow_err *err)
{
	if (agent_publisher_fail(machine->publisher, err))
		stow_log(STOW_LOG_ERR, "cannot read the machine's state", stow_why(err));
	return r;
}

int agent_machine_publish(struct agent_machine *machine)
{
	unsigned int look = machine->look;
	struct stow_err err = { 0 };
	PbNodeReport *report;
	int r;

	machine->look = 0;
	machine->due = 0;
	r = make_report(machine, look, &report, &err);
	if (r == -ESTALE)
		return agent_machine_reopen(machine, &err) < 0 ? failed(machine, r, &err) : 0;
	if (r < 0)
		return failed(machine, r, &err);
	if (look & AGENT_LOOK_LEDGER) {
		machine->new_leases = 0;
		agent_machine_count_events(machine);
	}
	give_out(machine, report);
	return 0;
}

/* --- timers --------------------------------------------------------------- */

static void earlier(uint64_t *when, uint64_t other)
{
	if (other && (!*when || other < *when))
		*when = other;
}

/* Reconcile and collect, when due. */
static void keep(struct agent_machine *machine, uint64_t now)
{
	if (now >= machine->next_reconcile) {
		machine->next_reconcile = now + machine->config->reconcile_interval;
		agent_machine_reconcile(machine);
	}
	if (now >= machine->next_gc) {
		machine->next_gc = now + machine->config->gc_interval;
		agent_machine_collect(machine);
		if (agent_policy_changes(machine->policy) == STOW_CHANGES_MADE)
			machine->ops->collected(machine->ctx);
	}
	if (now >= machine->next_delegation) {
		machine->next_delegation = now + DELEGATION_INTERVAL;
		agent_machine_check_delegation(machine);
	}
}

static uint64_t tick(void *ctx, uint64_t now)
{
	struct agent_machine *machine = ctx;
	uint64_t next = 0;

	if (agent_policy_follow(machine->policy)) {
		agent_machine_reloaded(machine);
		machine->next_gc = 0; /* containers may have to leave CPUs that are reserved now */
	}
	agent_publisher_set_mode(machine->publisher, agent_policy_changes(machine->policy));
	keep(machine, now);
	if (now >= machine->next_usage) {
		machine->next_usage = now + machine->config->usage_interval;
		machine->look |= AGENT_LOOK_USAGE | AGENT_LOOK_LEDGER;
		earlier(&machine->due, now);
	}
	if (now >= machine->next_poll) {
		machine->next_poll = now + machine->config->poll_interval;
		machine->look |= AGENT_LOOK_MEMORY;
		earlier(&machine->due, now);
	}
	if (machine->due && now >= machine->due)
		(void)agent_machine_publish(machine);
	earlier(&next, machine->due);
	earlier(&next, machine->next_poll);
	earlier(&next, machine->next_usage);
	earlier(&next, machine->next_reconcile);
	earlier(&next, machine->next_gc);
	earlier(&next, machine->next_delegation);
	return next;
}

/* --- notifications -------------------------------------------------------- */

static void on_ledger(void *ctx)
{
	struct agent_machine *machine = ctx;

	if (agent_watch_ledger(&machine->watch))
		agent_machine_look(machine, AGENT_LOOK_LEDGER);
}

static void on_uevent(void *ctx)
{
	struct agent_machine *machine = ctx;

	if (!agent_watch_uevent(&machine->watch))
		return;
	agent_machine_look(machine, AGENT_LOOK_TOPOLOGY | AGENT_LOOK_LEDGER);
	/* Reconcile at once: a container whose CPUs are all offline may run on other containers'
	 * CPUs. */
	machine->next_reconcile = 0;
}

/* --- for other modules ---------------------------------------------------- */

void agent_machine_reloaded(struct agent_machine *machine)
{
	machine->context.config = agent_policy_context(machine->policy).config;
	agent_machine_look(machine, AGENT_LOOK_ALL);
}

const struct stow_grant_context *agent_machine_context(const struct agent_machine *machine)
{
	return &machine->context;
}

const PbNodeReport *agent_machine_report(const struct agent_machine *machine)
{
	return machine->report;
}

size_t agent_machine_leases(const struct agent_machine *machine)
{
	const PbNodeReport *report = machine->report;
	size_t n = machine->new_leases;

	for (size_t i = 0; report && i < report->n_containers; i++)
		if (report->containers[i]->state == PB_CONTAINER_STATE_LEASE &&
		    report->containers[i]->reservation[0])
			n++;
	return n;
}

void agent_machine_took_lease(struct agent_machine *machine)
{
	machine->new_leases++;
}

/* --- start and end -------------------------------------------------------- */

int agent_machine_new(struct agent_policy *policy, struct agent_publisher *publisher,
		      const struct agent_config *config, struct agent_machine **ret,
		      struct stow_err *err)
{
	struct agent_machine *machine = calloc(1, sizeof(*machine));
	int r;

	if (!machine)
		return stow_err_set(err, ENOMEM, "out of memory");
	machine->policy = policy;
	machine->publisher = publisher;
	machine->config = config;
	machine->context = agent_policy_context(policy);
	machine->watch = (struct agent_watch){ -1, -1 };
	r = agent_watch_open(machine->context.root, &machine->watch, err);
	if (r == 0)
		r = stow_ledger_open(machine->context.root, true, &machine->context.ledger, err);
	if (r == 0)
		r = stow_ledger_check_namespaces(machine->context.ledger, err);
	if (r == 0)
		r = stow_reconcile_new(&machine->reconcile, err);
	if (r == 0)
		r = agent_source_new(&machine->context, &machine->source, err);
	if (r < 0) {
		agent_machine_free(machine);
		return r;
	}
	agent_source_follow(machine->source, machine->reconcile);
	*ret = machine;
	return 0;
}

int agent_machine_start(struct agent_machine *machine, struct agent_loop *loop,
			const struct agent_machine_ops *ops, void *ctx, struct stow_err *err)
{
	PbNodeReport *report;
	int r;

	machine->ops = ops;
	machine->ctx = ctx;
	r = make_report(machine, AGENT_LOOK_ALL, &report, err);
	if (r < 0)
		return r;
	agent_publisher_set_mode(machine->publisher, agent_policy_changes(machine->policy));
	give_out(machine, report);
	r = agent_loop_watch(loop, machine->watch.ledger, on_ledger, machine, err);
	if (r == 0 && machine->watch.uevent >= 0)
		r = agent_loop_watch(loop, machine->watch.uevent, on_uevent, machine, err);
	return r == 0 ? agent_loop_tick(loop, tick, machine, err) : r;
}

void agent_machine_free(struct agent_machine *machine)
{
	if (!machine)
		return;
	agent_source_free(machine->source);
	stow_reconcile_free(machine->reconcile);
	stow_adoption_done(&machine->found);
	stow_ledger_close_ptr(&machine->context.ledger);
	agent_watch_close(&machine->watch);
	free(machine);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/directive.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "grant/lease.h"
#include "place/reservation.h"
#include "rpc/log.h"

static int add_part(struct stow_lease *lease, const PbContainerPart *part, struct stow_err *err)
{
	if (part->numa_node >= STOW_IDSET_MAX)
		return stow_err_set(err, EINVAL, "NUMA node %u is out of range", part->numa_node);
	if (part->cpus > STOW_CPUS_MAX - lease->cpus ||
	    part->memory_promised > INT64_MAX - lease->memory)
		return stow_err_set(err, EINVAL,
				    "NUMA node %u: more CPUs or memory than there can be",
				    part->numa_node);
	stow_idset_add(&lease->nodes, (int)part->numa_node);
	lease->cpus += part->cpus;
	lease->memory += part->memory_promised;
	for (size_t i = 0; i < part->n_hugepages; i++) {
		size_t p = 0;

		if (!part->hugepages[i]->pages)
			continue;
		while (p < lease->n_pages && lease->pages[p].size != part->hugepages[i]->page_size)
			p++;
		if (p == STOW_POOLS_MAX)
			return stow_err_set(err, EINVAL, "more than %d page sizes", STOW_POOLS_MAX);
		if (p == lease->n_pages)
			lease->pages[lease->n_pages++].size = part->hugepages[i]->page_size;
		if (part->hugepages[i]->pages > INT64_MAX - lease->pages[p].count)
			return stow_err_set(err, EINVAL, "NUMA node %u: too many hugepages",
					    part->numa_node);
		lease->pages[p].count += part->hugepages[i]->pages;
	}
	return 0;
}

static int by_size(const void *a, const void *b)
{
	const struct stow_page_request *x = a, *y = b;

	return x->size < y->size ? -1 : x->size > y->size;
}

static int lease_from(const PbReservation *in, struct stow_lease *lease, struct stow_err *err)
{
	*lease = (struct stow_lease){ .id = in->id, .policy = STOW_POLICY_BEST_EFFORT };
	if (strlen(in->id) != STOW_RESERVATION_ID_LEN ||
	    strspn(in->id, "0123456789abcdef") != STOW_RESERVATION_ID_LEN)
		return stow_err_set(err, EINVAL, "reservation \"%.64s\": expected %d hex digits",
				    in->id, STOW_RESERVATION_ID_LEN);
	for (size_t i = 0; i < in->n_parts; i++) {
		int r = add_part(lease, in->parts[i], err);

		if (r < 0)
			return r;
	}
	if (in->n_parts == 0)
		return stow_err_set(err, EINVAL, "reservation %s has no parts", in->id);
	qsort(lease->pages, lease->n_pages, sizeof(*lease->pages), by_size);
	/* An older scheduler gives only the time by its own clock, which may differ from this
	 * machine's. */
	lease->lifetime = in->lifetime;
	if (!lease->lifetime)
		lease->lifetime =
			STOW_MAX(stow_clock_elapsed(stow_clock_wall(), in->expires), UINT64_C(1));
	if (in->n_parts == 1)
		lease->policy = STOW_POLICY_SINGLE_NUMA_NODE;
	if (in->pod) {
		lease->exclusive = in->pod->cpu_mode == PB_CPU_MODE_EXCLUSIVE;
		lease->ns = in->pod->namespace_;
		lease->name = in->pod->name;
		if (in->pod->policy == PB_POLICY_SPREAD)
			lease->policy = STOW_POLICY_SPREAD;
	}
	return 0;
}

static int hold(const struct agent_directive_parts *parts, const PbReservation *in,
		struct stow_err *err)
{
	_cleanup_(stow_record_free_ptr) struct stow_record *known = NULL;
	const struct stow_grant_context *context = agent_machine_context(parts->machine);
	size_t held = agent_machine_leases(parts->machine);
	struct stow_lease lease;
	int r;

	r = agent_policy_check_changes(parts->policy, err);
	if (r == 0)
		r = lease_from(in, &lease, err);
	if (r == 0)
		r = stow_ledger_reservation(context->ledger, in->id, &known, err);
	if (r == 0 && known)
		return 0;
	if (r == 0 && held >= parts->config->max_reservations)
		r = stow_err_set(err, EACCES, "node %s holds %zu reservations; its limit is %llu",
				 agent_policy_node(parts->policy), held,
				 (unsigned long long)parts->config->max_reservations);
	if (r == 0)
		r = stow_lease_take(context, &lease, err);
	if (r == 0)
		agent_machine_took_lease(parts->machine);
	if (r == 0)
		stow_log(STOW_LOG_DEBUG, "a reservation is held", stow_text("reservation", in->id));
	return r;
}

static int reserve(const struct agent_directive_parts *parts, struct agent_directive_state *state,
		   const PbReservation *in, struct stow_err *err)
{
	int r = hold(parts, in, err);
	uint64_t times = r < 0 ? stow_log_may(&state->reserve_log) : 0;

	if (times)
		stow_log(STOW_LOG_WARNING, "a reservation was refused",
			 stow_text("reservation", in->id), stow_why(err),
			 stow_number("times", times));
	return r;
}

static int fence(const struct agent_directive_parts *parts, struct agent_directive_state *state,
		 const char *nodes, struct stow_err *err)
{
	struct stow_ledger *ledger = agent_machine_context(parts->machine)->ledger;
	const PbNodeReport *report = agent_machine_report(parts->machine);
	struct stow_idset set, before = { 0 };
	size_t all = report ? report->n_numa_nodes : 0;
	uint64_t times;
	int r;

	r = agent_policy_check_changes(parts->policy, err);
	if (r < 0)
		return r;
	r = stow_idset_parse(nodes, &set, err);
	if (r < 0)
		return stow_err_wrap(err, r, "numa_nodes");
	if ((uint64_t)stow_idset_count(&set) * 100 > all * parts->config->max_fenced)
		return stow_err_set(err, EACCES,
				    "fencing %d of %zu NUMA nodes of node %s exceeds its limit of "
				    "%llu %%",
				    (int)stow_idset_count(&set), all,
				    agent_policy_node(parts->policy),
				    (unsigned long long)parts->config->max_fenced);
	(void)stow_ledger_fenced(ledger, "scheduler", &before, NULL);
	r = stow_ledger_fence_set(ledger, "scheduler", &set, err);
	if (r < 0 || stow_idset_equal(&set, &before))
		return r;
	times = stow_log_may(&state->fence_log);
	if (times)
		stow_log(STOW_LOG_NOTICE, "the scheduler fences", stow_text("numa_nodes", nodes),
			 stow_number("times", times));
	return 0;
}

/* Do what a Welcome asks for besides new leases. */
static int begin_welcome(const struct agent_directive_parts *parts,
			 struct agent_directive_state *state, const PbWelcome *in,
			 struct stow_err *err)
{
	_cleanup_free_ const char **ids = calloc(in->n_reservations + 1, sizeof(*ids));
	int r;

	if (!ids)
		return stow_err_set(err, ENOMEM, "out of memory");
	for (size_t i = 0; i < in->n_reservations; i++)
		ids[i] = in->reservations[i]->id;
	r = stow_lease_keep_only(agent_machine_context(parts->machine), ids, in->n_reservations,
				 err);
	return r < 0 ? r : fence(parts, state, in->fenced, err);
}

/* Add missing leases until that time, but at least one. Return whether there are more. A failure
 * needs no answer, because the report will not list the reservation. */
static bool add_leases(const struct agent_directive_parts *parts,
		       struct agent_directive_state *state, const PbWelcome *in, uint64_t until)
{
	while (state->next < in->n_reservations) {
		const PbReservation *reservation = in->reservations[state->next++];
		struct stow_err err;

		if (reservation->state != PB_RESERVATION_STATE_BOUND &&
		    hold(parts, reservation, &err) < 0 && state->refused++ == 0)
			state->first = err;
		if (stow_clock_monotonic() >= until)
			break;
	}
	return state->next < in->n_reservations;
}

/* Make the leases match the scheduler's list: drop leases that it does not list, add missing
 * ones. */
static int welcome(const struct agent_directive_parts *parts, struct agent_directive_state *state,
		   const PbWelcome *in, uint64_t until, struct stow_err *err)
{
	if (state->next == 0) {
		int r;

		stow_log(STOW_LOG_INFO, "welcomed by the scheduler",
			 stow_text("version", in->version),
			 stow_number("reservations", in->n_reservations));
		agent_drain_welcome(parts->drains, in->drains, in->n_drains);
		/* Where nothing may be changed, the report shows the scheduler what is held. */
		if (agent_policy_check_changes(parts->policy, err) < 0)
			return 0;
		r = begin_welcome(parts, state, in, err);
		if (r < 0)
			return r;
	}
	if (add_leases(parts, state, in, until))
		return 1;
	if (state->refused)
		stow_log(STOW_LOG_WARNING, "reservations of the scheduler's list were refused",
			 stow_number("refused", state->refused), stow_why(&state->first));
	agent_directive_forget(state);
	return 0;
}

void agent_directive_forget(struct agent_directive_state *state)
{
	state->next = state->refused = 0;
}

int agent_directive_handle(const struct agent_directive_parts *parts,
			   struct agent_directive_state *state, const PbDirective *directive,
			   uint64_t until, struct stow_err *err)
{
	int r;

	switch (directive->kind_case) {
	case PB_DIRECTIVE__KIND_WELCOME:
		return welcome(parts, state, directive->welcome, until, err);
	case PB_DIRECTIVE__KIND_RESERVE:
		r = reserve(parts, state, directive->reserve, err);
		break;
	case PB_DIRECTIVE__KIND_CANCEL:
		r = stow_lease_drop(agent_machine_context(parts->machine), directive->cancel->id,
				    err);
		break;
	case PB_DIRECTIVE__KIND_FENCE:
		r = fence(parts, state, directive->fence->numa_nodes, err);
		break;
	case PB_DIRECTIVE__KIND_DRAIN:
		r = agent_drain_order(parts->drains, directive->drain, err);
		break;
	case PB_DIRECTIVE__KIND_CANCEL_DRAIN:
		r = agent_drain_cancel_order(parts->drains, directive->cancel_drain->id, err);
		break;
	case PB_DIRECTIVE__KIND_REPORT:
		return 0; /* the link handles it */
	default:
		return stow_err_set(err, ENOSYS, "this agent (%s) does not know that directive",
				    STOW_VERSION);
	}
	return r < 0 ? r : 0;
}

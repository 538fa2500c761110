// SPDX-License-Identifier: Apache-2.0
/* Explain: what Place would answer, with a reason for each machine. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "rpc/copy.h"
#include "scheduler/fleet/reservation.h"
#include "scheduler/search/search.h"
#include "scheduler/service/service.h"

#define LIMIT_DEFAULT 100
#define LIMIT_MOST    10000
#define PODS_MAX      64   /* tried in one hold of the lock, because no other call may see them */
#define AT_ONCE	      16   /* machines checked per hold of the lock */
#define LACKS_AT_ONCE 1024 /* the same, if only numbers are compared */

struct verdict {
	const struct stow_machine *machine;
	uint64_t shortfall;
};

static int nearest(const void *a, const void *b)
{
	const struct verdict *x = a, *y = b;

	if (x->shortfall != y->shortfall)
		return x->shortfall < y->shortfall ? -1 : 1;
	return strcmp(x->machine->name, y->machine->name);
}

static char *nodes_of(struct stow_rpc_call *call, const struct stow_found *found)
{
	struct stow_idset set = { 0 };
	char text[1024];

	for (size_t i = 0; i < found->n_shares; i++)
		stow_idset_add(&set, found->shares[i].node);
	return stow_rpc_printf(call, "%s", stow_idset_format(&set, text, sizeof(text)));
}

/* List the machines for one pod, the closest to fitting first. Machines may change between two
 * holds of the lock. */
static int verdicts(struct scheduler *s, struct stow_rpc_call *call, const struct stow_want *want,
		    size_t limit, PbExplainResponse *out, struct stow_err *err)
{
	struct stow_fleet *fleet = s->fleet;
	uint32_t n = fleet->n_machines;
	_cleanup_free_ struct verdict *all = malloc((n + 1) * sizeof(*all));

	out->nodes = stow_rpc_alloc(call, (limit + 1) * sizeof(*out->nodes));
	if (!all || !out->nodes)
		return stow_err_set(err, ENOMEM, "out of memory");
	/* Machines stay valid, but the fleet's list may be reallocated. */
	for (uint32_t m = 0; m < n; m++)
		all[m].machine = fleet->machines[m];
	for (uint32_t m = 0; m < n; m++) {
		if (m % LACKS_AT_ONCE == LACKS_AT_ONCE - 1)
			stow_lock_yield(&fleet->lock);
		all[m].shortfall = stow_search_shortfall(fleet, all[m].machine, want);
	}
	stow_lock_give(&fleet->lock);
	qsort(all, n, sizeof(*all), nearest);
	stow_lock_take(&fleet->lock);
	out->considered = n;
	for (uint32_t m = 0; m < n; m++) {
		struct stow_found found = { 0 };
		struct stow_err why = { 0 };
		PbNodeVerdict *verdict;
		bool fits;

		if (all[m].shortfall && out->n_nodes == limit)
			break; /* the following ones lack even more */
		if (m % AT_ONCE == AT_ONCE - 1)
			stow_lock_yield(&fleet->lock);
		fits = stow_search_machine(all[m].machine, want, &found, &why) == 0;
		out->fitting += fits;
		if (out->n_nodes < limit) {
			verdict = stow_rpc_alloc(call, sizeof(*verdict));
			if (!verdict) {
				free(found.shares);
				return stow_err_set(err, ENOMEM, "out of memory");
			}
			pb_node_verdict__init(verdict);
			verdict->node = stow_rpc_printf(call, "%s", all[m].machine->name);
			verdict->fits = fits;
			verdict->numa_nodes = fits ? nodes_of(call, &found) : verdict->numa_nodes;
			verdict->reason =
				stow_rpc_printf(call, "%s", fits ? found.reason : why.msg);
			out->nodes[out->n_nodes++] = verdict;
		}
		free(found.shares);
	}
	return 0;
}

static void add_pages(struct stow_rpc_call *call, const struct stow_request *req,
		      const struct stow_share *share, PbContainerPart *part)
{
	part->hugepages = stow_rpc_alloc(call, (req->n_pages + 1) * sizeof(*part->hugepages));
	for (size_t p = 0; part->hugepages && p < req->n_pages; p++) {
		PbHugepages *pages = stow_rpc_alloc(call, sizeof(*pages));

		if (!pages || !share->pages[p])
			continue;
		pb_hugepages__init(pages);
		pages->page_size = req->pages[p].size;
		pages->pages = share->pages[p];
		part->hugepages[part->n_hugepages++] = pages;
	}
}

/* Try all pods as Place would, with reservations that are removed again at once. */
static int try_all(struct scheduler *s, struct stow_rpc_call *call, const PbExplainRequest *in,
		   PbExplainResponse *out, size_t *ret_bad, struct stow_err *err)
{
	_cleanup_free_ struct stow_reservation **made = calloc(in->n_pods + 1, sizeof(*made));
	struct stow_machine *machine = NULL;
	size_t n = 0;
	int r = 0;

	out->reservations = stow_rpc_alloc(call, (in->n_pods + 1) * sizeof(*out->reservations));
	if (!made || !out->reservations)
		return stow_err_set(err, ENOMEM, "out of memory");
	for (; n < in->n_pods && r == 0; n++) {
		PbReservation *shown = stow_rpc_alloc(call, sizeof(*shown)), *copy;
		struct stow_found found;
		struct stow_want want;

		r = shown ? stow_want_parse(in->pods[n], in->strategy, &want, err)
			  : stow_err_set(err, ENOMEM, "out of memory");
		if (r == 0)
			r = stow_search_fleet(s->fleet, &want, &found, err);
		if (r < 0)
			break;
		pb_reservation__init(shown);
		shown->node = stow_rpc_printf(call, "%s", found.machine->name);
		shown->numa_nodes = nodes_of(call, &found);
		shown->reason = stow_rpc_printf(call, "%s", found.reason);
		shown->pod = in->pods[n];
		shown->parts = stow_rpc_alloc(call, (found.n_shares + 1) * sizeof(*shown->parts));
		for (size_t i = 0; shown->parts && i < found.n_shares; i++) {
			PbContainerPart *part = stow_rpc_alloc(call, sizeof(*part));

			if (!part)
				break;
			pb_container_part__init(part);
			part->numa_node = (uint32_t)found.shares[i].node;
			part->cpus = found.shares[i].cpus;
			part->memory_promised = found.shares[i].memory;
			add_pages(call, &want.request, &found.shares[i], part);
			shown->parts[shown->n_parts++] = part;
		}
		free(found.shares);
		out->reservations[out->n_reservations++] = shown;
		/* The reservation stays until all pods were tried, so that the next pod finds
		 * less room. */
		copy = stow_rpc_message_copy(shown);
		r = copy ? stow_reservation_add(s->fleet, found.machine,
						stow_reservation_new_id(s->fleet), copy, &made[n],
						err)
			 : stow_err_set(err, ENOMEM, "out of memory");
		if (r < 0)
			stow_rpc_message_free(copy);
	}
	*ret_bad = n;
	for (size_t i = 0; i < in->n_pods; i++)
		if (made[i]) {
			machine = made[i]->machine;
			stow_reservation_take_out(s->fleet, made[i], false, stow_now());
			stow_fleet_refresh(s->fleet, machine);
		}
	return r;
}

static size_t limit_of(const PbExplainRequest *in)
{
	return in->limit ? in->limit : LIMIT_DEFAULT;
}

int scheduler_explain_check(const PbExplainRequest *in, struct stow_err *err)
{
	if (in->n_pods == 0 || in->n_pods > PODS_MAX)
		return stow_err_set(err, EINVAL, "pods: %zu; expected 1 to %d", in->n_pods,
				    PODS_MAX);
	if (limit_of(in) > LIMIT_MOST)
		return stow_err_set(err, EINVAL, "limit: %zu; at most %d", limit_of(in),
				    LIMIT_MOST);
	return 0;
}

int scheduler_explain_now(struct scheduler *s, struct stow_rpc_call *call,
			  const PbExplainRequest *in, PbExplainResponse *out, struct stow_err *err)
{
	struct stow_err why = { 0 };
	struct stow_want want;
	size_t bad = 0;
	int r;

	stow_lock_take(&s->fleet->lock);
	r = try_all(s, call, in, out, &bad, &why);
	out->fits = r == 0;
	out->reason = stow_rpc_printf(call, "%s",
				      r < 0			 ? why.msg
				      : out->n_reservations == 1 ? out->reservations[0]->reason
								 : "all pods fit together");
	if (r < 0)
		out->n_reservations = 0;
	if (r == 0 || r == -ENOSPC) {
		r = stow_want_parse(in->pods[out->fits ? 0 : bad], in->strategy, &want, err);
		s->fleet->readers++; /* the lock is released in between */
		if (r == 0)
			r = verdicts(s, call, &want, limit_of(in), out, err);
		s->fleet->readers--;
	} else {
		r = stow_err_move(err, r, &why);
	}
	stow_lock_give(&s->fleet->lock);
	return r;
}

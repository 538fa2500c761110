// SPDX-License-Identifier: Apache-2.0
/* The NUMA nodes that are fenced by drains. */
#include <errno.h>

#include "scheduler/drain/drain_internal.h"

int scheduler_drain_fences(struct scheduler *s, struct stow_machine *machine, struct stow_err *err)
{
	struct stow_idset numa = { 0 };
	int r;

	for (size_t i = 0; i < s->drains->n_under_way; i++) {
		const struct scheduler_drain *d = s->drains->under_way[i];

		if (d->machine == machine && d->flags & SCHEDULER_DRAIN_FENCE)
			stow_idset_add(&numa, d->message->plan->numa_node);
	}
	r = stow_fleet_drain(s->fleet, machine, &numa, err);
	if (r == 0)
		scheduler_fences_notify(s, machine);
	return r;
}

int scheduler_drains_in_the_way(const struct scheduler *s, const struct stow_machine *machine,
				struct stow_err *err)
{
	for (size_t i = 0; i < s->drains->n_under_way; i++) {
		const struct scheduler_drain *d = s->drains->under_way[i];

		if (d->machine == machine && d->flags & SCHEDULER_DRAIN_FENCE)
			return stow_err_set(
				err, EBUSY,
				"drain %s fences NUMA node %d of node %s; cancel that drain",
				d->message->id, d->message->plan->numa_node, machine->name);
	}
	return 0;
}

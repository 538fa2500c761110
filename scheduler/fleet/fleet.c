// SPDX-License-Identifier: Apache-2.0
#include "scheduler/fleet/fleet.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "scheduler/fleet/answer.h"
#include "scheduler/fleet/fleet_internal.h"
#include "scheduler/fleet/reservation.h"

int stow_fleet_new(struct stow_fleet **ret_fleet, struct stow_err *err)
{
	struct stow_fleet *fleet = calloc(1, sizeof(*fleet));

	if (!fleet)
		return stow_err_set(err, ENOMEM, "out of memory");
	stow_lock_init(&fleet->lock);
	stow_index_init(&fleet->index);
	*ret_fleet = fleet;
	return 0;
}

/* --- machines ------------------------------------------------------------- */

struct stow_machine *stow_fleet_find(const struct stow_fleet *fleet, const char *name)
{
	for (struct stow_link *link = stow_hash_find(&fleet->names, stow_hash_string(name)); link;
	     link = stow_hash_next(link)) {
		struct stow_machine *m = stow_container_of(link, struct stow_machine, link);

		if (strcmp(m->name, name) == 0)
			return m;
	}
	return NULL;
}

int stow_fleet_get(struct stow_fleet *fleet, const char *name, struct stow_machine **ret_machine,
		   struct stow_err *err)
{
	struct stow_machine *m = stow_fleet_find(fleet, name);

	if (m) {
		*ret_machine = m;
		return 0;
	}
	m = calloc(1, sizeof(*m));
	if (m)
		m->name = strdup(name);
	if (!m || !m->name || (fleet->n_machines == fleet->room && stow_columns_grow(fleet) < 0) ||
	    stow_hash_add(&fleet->names, &m->link, stow_hash_string(name)) < 0) {
		if (m)
			free(m->name);
		free(m);
		return stow_err_set(err, ENOMEM, "out of memory");
	}
	m->stale = true;
	m->near = UINT8_MAX;
	m->adoptions = STOW_LEARN_MAX;
	m->index = fleet->n_machines++;
	fleet->machines[m->index] = m;
	fleet->of_machine.first[m->index] = 0;
	fleet->of_machine.n[m->index] = 0;
	stow_fleet_refresh(fleet, m);
	*ret_machine = m;
	return 0;
}

static void drop_report(struct stow_machine *m)
{
	for (uint32_t i = 0; i < m->n_numa; i++)
		stow_numa_done(&m->numa[i]);
	for (size_t i = 0; i < m->n_containers; i++)
		stow_container_done(&m->containers[i]);
	free(m->numa);
	free(m->containers);
	free(m->has);
	free(m->distance);
	stow_wire_done(&m->constant);
	stow_wire_done(&m->variable);
	m->numa = NULL;
	m->containers = NULL;
	m->distance = NULL;
	m->has = NULL;
	m->n_numa = 0;
	m->n_containers = m->n_has = 0;
}

static void free_machine(struct stow_machine *m)
{
	drop_report(m);
	free(m->fences);
	free(m->draining);
	free(m->fenced);
	free(m->domain);
	free(m->name);
	free(m);
}

void stow_fleet_forget(struct stow_fleet *fleet, struct stow_machine *machine)
{
	struct stow_machine_columns *c = &fleet->of_machine;
	struct stow_gone *gone = &fleet->gone[fleet->n_gone++ % STOW_GONE_KEPT];
	uint32_t at = machine->index, last = --fleet->n_machines;

	fleet->numa_dead += c->n[at];
	stow_index_drop(&fleet->index, at);
	stow_index_drop(&fleet->index, last);
	fleet->machines[at] = fleet->machines[last];
	fleet->machines[at]->index = at;
	c->first[at] = c->first[last];
	c->n[at] = c->n[last];
	stow_hash_remove(&fleet->names, &machine->link);
	stow_fleet_touch(fleet, machine);
	stow_fleet_set_recent(fleet, machine->changed, NULL);
	fleet->newest = machine->older;
	if (machine->older)
		machine->older->newer = NULL;
	else
		fleet->oldest = NULL;
	free(gone->name);
	gone->at = fleet->clock;
	gone->name = STOW_TAKE_PTR(machine->name);
	free_machine(machine);
	if (at != last)
		stow_columns_compute(fleet, fleet->machines[at]); /* watchers need no notice */
}

void stow_fleet_free(struct stow_fleet *fleet)
{
	if (!fleet)
		return;
	STOW_HASH_FOR(link, &fleet->reservations)
	{
		struct stow_reservation *r = stow_container_of(link, struct stow_reservation, link);

		stow_reservation_end(fleet, r, (struct stow_now){ 0 });
	}
	STOW_HASH_FOR(link, &fleet->answers)
	stow_answer_remove(fleet, stow_container_of(link, struct stow_answer, link));
	while (fleet->first_ended)
		stow_reservation_forget_ended(fleet, (struct stow_now){ UINT64_MAX, UINT64_MAX });
	for (uint32_t i = 0; i < fleet->n_machines; i++)
		free_machine(fleet->machines[i]);
	for (size_t i = 0; i < STOW_GONE_KEPT; i++)
		free(fleet->gone[i].name);
	stow_hash_done(&fleet->names);
	stow_hash_done(&fleet->reservations);
	stow_hash_done(&fleet->answers);
	stow_hash_done(&fleet->ended);
	free(fleet->expiring);
	free(fleet->machines);
	free(fleet->recent);
	free(fleet->recent_bits);
	stow_columns_done(fleet);
	stow_index_done(&fleet->index);
	stow_lock_done(&fleet->lock);
	free(fleet);
}

void stow_fleet_seen(struct stow_fleet *fleet, struct stow_machine *machine, struct stow_now now)
{
	machine->seen = now.mono;
	machine->last_seen = now.wall;
	if (!machine->stale)
		return;
	machine->stale = false;
	stow_fleet_refresh(fleet, machine);
}

void stow_fleet_stale(struct stow_fleet *fleet, struct stow_machine *machine)
{
	if (machine->stale)
		return;
	machine->stale = true;
	stow_fleet_refresh(fleet, machine);
}

/* NULL is the empty set. */
static int set_idset(struct stow_idset **to, const struct stow_idset *from)
{
	if (stow_idset_empty(from)) {
		free(*to);
		*to = NULL;
		return 0;
	}
	if (!*to)
		*to = malloc(sizeof(**to));
	if (!*to)
		return -ENOMEM;
	**to = *from;
	return 0;
}

static int set_fences(struct stow_fleet *fleet, struct stow_machine *m, struct stow_idset **which,
		      const struct stow_idset *numa, struct stow_err *err)
{
	const struct stow_idset *other = which == &m->fences ? m->draining : m->fences;
	struct stow_idset all = *numa;

	if (other)
		stow_idset_or(&all, other);
	if (set_idset(which, numa) < 0 || set_idset(&m->fenced, &all) < 0)
		return stow_err_set(err, ENOMEM, "out of memory");
	stow_fleet_refresh(fleet, m);
	return 0;
}

int stow_fleet_fence(struct stow_fleet *fleet, struct stow_machine *machine,
		     const struct stow_idset *numa, struct stow_err *err)
{
	return set_fences(fleet, machine, &machine->fences, numa, err);
}

int stow_fleet_drain(struct stow_fleet *fleet, struct stow_machine *machine,
		     const struct stow_idset *numa, struct stow_err *err)
{
	return set_fences(fleet, machine, &machine->draining, numa, err);
}

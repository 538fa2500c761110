// SPDX-License-Identifier: Apache-2.0
/* The columns: allocation, and computing a machine's part. */
#include <errno.h>
#include <stdlib.h>

#include "scheduler/fleet/fleet_internal.h"

/* --- room in the columns -------------------------------------------------- */

static int widen(void *column, size_t size, size_t n)
{
	void **p = column, *more = reallocarray(*p, n, size);

	if (!more)
		return -ENOMEM;
	*p = more;
	return 0;
}

#define WIDEN(column, n) widen(&(column), sizeof(*(column)), n)

void stow_fleet_set_recent(struct stow_fleet *fleet, uint64_t changed, struct stow_machine *m)
{
	size_t at = changed % fleet->n_recent;
	uint64_t bit = UINT64_C(1) << at % 64;

	fleet->recent[at] = m;
	fleet->recent_bits[at / 64] &= ~bit;
	fleet->recent_bits[at / 64] |= m ? bit : 0;
}

/* Make the ring of changes larger: for four changes of each of `n` machines. */
static int grow_recent(struct stow_fleet *fleet, uint32_t n)
{
	size_t size = fleet->n_recent ? fleet->n_recent : STOW_RECENT_MIN;
	struct stow_machine **recent;
	uint64_t *bits;

	while (size < (size_t)n * 4)
		size *= 2;
	if (size == fleet->n_recent)
		return 0;
	recent = calloc(size, sizeof(struct stow_machine *));
	bits = calloc(size / 64, sizeof(*bits));
	if (!recent || !bits) {
		free(recent);
		free(bits);
		return -ENOMEM;
	}
	free(fleet->recent);
	free(fleet->recent_bits);
	fleet->recent = recent;
	fleet->recent_bits = bits;
	fleet->n_recent = size;
	/* Enter each machine's latest change, as far back as the new ring reaches: earlier changes
	 * of a machine are of no interest. */
	for (struct stow_machine *m = fleet->newest; m && fleet->clock - m->changed < size;
	     m = m->older)
		stow_fleet_set_recent(fleet, m->changed, m);
	return 0;
}

int stow_columns_grow(struct stow_fleet *fleet)
{
	struct stow_machine_columns *c = &fleet->of_machine;
	uint32_t n = fleet->room ? fleet->room * 2 : 64;

	if (WIDEN(fleet->machines, n) || WIDEN(c->first, n) || WIDEN(c->n, n) ||
	    WIDEN(c->open, n) || WIDEN(c->most_cpus, n) || WIDEN(c->most_takeable, n) ||
	    WIDEN(c->most_memory, n) || WIDEN(c->cpus, n) || WIDEN(c->takeable, n) ||
	    WIDEN(c->memory, n) || WIDEN(c->nonexclusive, n) || WIDEN(c->rank, n) ||
	    WIDEN(c->near, n) || stow_index_reserve(&fleet->index, n) < 0 ||
	    grow_recent(fleet, n) < 0)
		return -ENOMEM;
	fleet->room = n;
	return 0;
}

void stow_columns_close_gaps(struct stow_fleet *fleet)
{
	uint32_t at = 0;

	for (uint32_t m = 0; m < fleet->n_machines; m++) {
		fleet->of_machine.first[m] = at;
		at += fleet->of_machine.n[m];
	}
	fleet->n_numa = at;
	fleet->numa_dead = 0;
	/* Every machine's columns have moved, so all are computed again. */
	for (uint32_t m = 0; m < fleet->n_machines; m++)
		stow_columns_compute(fleet, fleet->machines[m]);
}

static int grow_numa(struct stow_fleet *fleet, uint32_t n)
{
	struct stow_numa_columns *c = &fleet->of_numa;
	uint32_t room = fleet->numa_room ? fleet->numa_room : 512;

	while (room < fleet->n_numa + n)
		room *= 2;
	if (room == fleet->numa_room)
		return 0;
	if (WIDEN(c->cpus, room) || WIDEN(c->takeable, room) || WIDEN(c->memory, room) ||
	    WIDEN(c->flags, room))
		return -ENOMEM;
	fleet->numa_room = room;
	return 0;
}

/* Allocated for the largest machine, so that computing cannot fail. */
static int grow_rooms(struct stow_fleet *fleet, uint32_t n)
{
	if (n <= fleet->rooms_room)
		return 0;
	if (WIDEN(fleet->rooms, n) < 0)
		return -ENOMEM;
	fleet->rooms_room = n;
	return 0;
}

int stow_columns_move(struct stow_fleet *fleet, struct stow_machine *m, uint32_t n,
		      struct stow_err *err)
{
	struct stow_machine_columns *c = &fleet->of_machine;

	if (c->n[m->index] == n)
		return 0;
	if (grow_numa(fleet, n) < 0 || grow_rooms(fleet, n) < 0)
		return stow_err_set(err, ENOMEM, "out of memory");
	fleet->numa_dead += c->n[m->index];
	c->first[m->index] = fleet->n_numa;
	c->n[m->index] = (uint16_t)n;
	fleet->n_numa += n;
	return 0;
}

void stow_columns_done(struct stow_fleet *fleet)
{
	struct stow_machine_columns *m = &fleet->of_machine;
	struct stow_numa_columns *n = &fleet->of_numa;

	free(fleet->rooms);
	free(m->first), free(m->n), free(m->open), free(m->most_cpus), free(m->most_takeable);
	free(m->most_memory), free(m->cpus), free(m->takeable), free(m->memory),
		free(m->nonexclusive);
	free(m->rank), free(m->near);
	free(n->cpus), free(n->takeable), free(n->memory), free(n->flags);
}

/* --- a machine ------------------------------------------------------------ */

/* Compute the columns of one NUMA node, and add to the machine's. */
static void refresh_numa(struct stow_fleet *fleet, const struct stow_machine *machine, uint32_t i,
			 struct stow_traits_maker *maker)
{
	struct stow_machine_columns *c = &fleet->of_machine;
	struct stow_numa_columns *n = &fleet->of_numa;
	const struct stow_numa *numa = &machine->numa[i];
	uint32_t m = machine->index, at = c->first[m] + i;
	const struct stow_room room = fleet->rooms[i];

	n->flags[at] = 0;
	n->cpus[at] = n->takeable[at] = 0;
	n->memory[at] = 0;
	if (!room.gives)
		return;
	n->flags[at] = STOW_NUMA_GIVES | (numa->shared ? STOW_NUMA_OPEN : 0);
	n->cpus[at] = room.cpus;
	n->takeable[at] = room.takeable;
	n->memory[at] = room.memory;
	c->open[m]++;
	c->cpus[m] += room.cpus;
	c->takeable[m] += room.takeable;
	c->memory[m] += room.memory;
	if (room.cpus > c->most_cpus[m])
		c->most_cpus[m] = room.cpus;
	if (room.takeable > c->most_takeable[m])
		c->most_takeable[m] = room.takeable;
	if (room.memory > c->most_memory[m])
		c->most_memory[m] = room.memory;
	stow_traits_add(maker, numa, &room);
}

static uint64_t rank_of(uint32_t cpus, uint64_t real)
{
	uint64_t gib = real >> 30;

	return (uint64_t)cpus << STOW_RANK_CPUS_SHIFT |
	       (gib < STOW_RANK_GIB_MAX ? STOW_RANK_GIB_MAX - gib : 0);
}

void stow_columns_compute(struct stow_fleet *fleet, const struct stow_machine *machine)
{
	struct stow_machine_columns *c = &fleet->of_machine;
	uint32_t m = machine->index;
	struct stow_traits_maker maker;
	struct stow_traits row;
	uint64_t real = 0;

	stow_traits_begin(&maker, &row);
	c->open[m] = c->most_cpus[m] = c->most_takeable[m] = 0;
	c->most_memory[m] = c->memory[m] = 0;
	c->cpus[m] = c->takeable[m] = 0;
	c->nonexclusive[m] = stow_machine_nonexclusive(machine);
	c->near[m] = machine->near;
	stow_machine_rooms(machine, fleet->rooms);
	for (uint32_t i = 0; i < machine->n_numa; i++) {
		refresh_numa(fleet, machine, i, &maker);
		if (fleet->of_numa.flags[c->first[m] + i])
			real += machine->numa[i].memory_real;
	}
	c->rank[m] = rank_of(c->cpus[m], real);
	if (!c->open[m]) {
		stow_index_drop(&fleet->index, m);
		return;
	}
	stow_traits_end(&maker, machine, c->nonexclusive[m]);
	stow_index_set(&fleet->index, m, stow_fleet_key(c, m), &row);
}

void stow_fleet_touch(struct stow_fleet *fleet, struct stow_machine *m)
{
	if (fleet->recent[m->changed % fleet->n_recent] == m)
		stow_fleet_set_recent(fleet, m->changed, NULL);
	m->changed = ++fleet->clock;
	stow_fleet_set_recent(fleet, m->changed, m);
	if (fleet->newest == m)
		return;
	if (m->older)
		m->older->newer = m->newer;
	if (m->newer)
		m->newer->older = m->older;
	if (fleet->oldest == m)
		fleet->oldest = m->newer;
	m->newer = NULL;
	m->older = fleet->newest;
	if (fleet->newest)
		fleet->newest->newer = m;
	fleet->newest = m;
	if (!fleet->oldest)
		fleet->oldest = m;
}

struct stow_machine *stow_fleet_next(const struct stow_fleet *fleet, uint64_t *seen,
				     unsigned int *looks, bool *too_old)
{
	*too_old = fleet->clock - *seen > fleet->n_recent;
	for (; !*too_old && *looks > 0 && *seen < fleet->clock; --*looks) {
		size_t at = (*seen + 1) % fleet->n_recent;
		uint64_t bits = fleet->recent_bits[at / 64] >> at % 64;

		*seen += bits ? (uint64_t)__builtin_ctzll(bits) : 64 - at % 64;
		if (bits && *seen < fleet->clock) {
			--*looks;
			return fleet->recent[(*seen + 1) % fleet->n_recent];
		}
		/* What comes after the present time is from the ring's last turn. */
		if (*seen > fleet->clock)
			*seen = fleet->clock;
	}
	return NULL;
}

void stow_fleet_refresh(struct stow_fleet *fleet, struct stow_machine *machine)
{
	stow_columns_compute(fleet, machine);
	stow_fleet_touch(fleet, machine);
}

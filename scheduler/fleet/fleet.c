// SPDX-License-Identifier: Apache-2.0
#include "scheduler/fleet/fleet.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"

struct stow_now stow_now(void)
{
	struct timespec wall, mono;

	clock_gettime(CLOCK_REALTIME, &wall);
	clock_gettime(CLOCK_BOOTTIME, &mono);
	return (struct stow_now){
		.wall = (uint64_t)wall.tv_sec * STOW_SECOND + (uint64_t)wall.tv_nsec,
		.mono = (uint64_t)mono.tv_sec * STOW_SECOND + (uint64_t)mono.tv_nsec,
	};
}

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

/* --- room in the columns ---------------------------------------------------------------------- */

static int widen(void *column, size_t size, size_t n)
{
	void **p = column, *more = reallocarray(*p, n, size);

	if (!more)
		return -ENOMEM;
	*p = more;
	return 0;
}

#define WIDEN(column, n) widen(&(column), sizeof(*(column)), n)

static int grow_machines(struct stow_fleet *fleet)
{
	struct stow_machine_columns *c = &fleet->of_machine;
	uint32_t n = fleet->room ? fleet->room * 2 : 64;

	if (WIDEN(fleet->machines, n) || WIDEN(c->first, n) || WIDEN(c->n, n) ||
	    WIDEN(c->open, n) || WIDEN(c->most_cpus, n) || WIDEN(c->most_takeable, n) ||
	    WIDEN(c->most_memory, n) || WIDEN(c->cpus, n) || WIDEN(c->takeable, n) ||
	    WIDEN(c->memory, n) || WIDEN(c->unowned, n) || WIDEN(c->rank, n) || WIDEN(c->near, n) ||
	    stow_index_reserve(&fleet->index, n) < 0)
		return -ENOMEM;
	fleet->room = n;
	return 0;
}

static void compute(struct stow_fleet *fleet, const struct stow_machine *machine);

/* Puts the NUMA nodes of all machines side by side again, in the machines' order. */
static void close_gaps(struct stow_fleet *fleet)
{
	uint32_t at = 0;

	for (uint32_t m = 0; m < fleet->n_machines; m++) {
		fleet->of_machine.first[m] = at;
		at += fleet->of_machine.n[m];
	}
	fleet->n_numa = at;
	fleet->numa_dead = 0;
	/* What belongs where has changed for all of them, so it is computed anew. */
	for (uint32_t m = 0; m < fleet->n_machines; m++)
		compute(fleet, fleet->machines[m]);
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

/* --- machines ---------------------------------------------------------------------------------- */

static void touch(struct stow_fleet *fleet, struct stow_machine *m)
{
	m->changed = ++fleet->clock;
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
	if (!m || !m->name || (fleet->n_machines == fleet->room && grow_machines(fleet) < 0) ||
	    stow_hash_add(&fleet->names, &m->link, stow_hash_string(name)) < 0) {
		if (m)
			free(m->name);
		free(m);
		return stow_err_set(err, ENOMEM, "out of memory");
	}
	m->stale = true;
	m->near = UINT8_MAX;
	m->learns = STOW_LEARN_MAX;
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

	fleet->n_fresh -= !machine->stale;
	fleet->numa_dead += c->n[at];
	stow_index_drop(&fleet->index, at);
	stow_index_drop(&fleet->index, last);
	fleet->machines[at] = fleet->machines[last];
	fleet->machines[at]->index = at;
	c->first[at] = c->first[last];
	c->n[at] = c->n[last];
	stow_hash_remove(&fleet->names, &machine->link);
	touch(fleet, machine);
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
		compute(fleet, fleet->machines[at]); /* it has moved, not changed */
}

void stow_fleet_free(struct stow_fleet *fleet)
{
	struct stow_machine_columns *m;
	struct stow_numa_columns *n;

	if (!fleet)
		return;
	m = &fleet->of_machine;
	n = &fleet->of_numa;
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
	free(fleet->rooms);
	free(fleet->machines);
	free(m->first), free(m->n), free(m->open), free(m->most_cpus), free(m->most_takeable);
	free(m->most_memory), free(m->cpus), free(m->takeable), free(m->memory), free(m->unowned);
	free(m->rank), free(m->near);
	free(n->cpus), free(n->takeable), free(n->memory), free(n->flags);
	stow_index_done(&fleet->index);
	stow_lock_done(&fleet->lock);
	free(fleet);
}

/* --- reports ----------------------------------------------------------------------------------- */

/* Old and new ones, both ascending, go into `to`: one pass, for the lock is held and a machine may
 * list many. */
static size_t merge_containers(struct stow_machine *m, struct stow_update *u,
			       struct stow_container *to)
{
	size_t gone = 0, old = 0, new = 0, n = 0;

	while (old < m->n_containers || new < u->n_containers) {
		int order = old == m->n_containers ? 1
			    : new == u->n_containers
				    ? -1
				    : strcmp(m->containers[old].id, u->containers[new].id);

		if (order >= 0) {
			to[n++] = u->containers[new];
			u->containers[new ++] = (struct stow_container){ 0 };
		}
		if (order > 0)
			continue;
		while (order < 0 && gone < u->n_gone &&
		       strcmp(u->gone[gone], m->containers[old].id) < 0)
			gone++;
		if (order == 0 ||
		    (gone < u->n_gone && strcmp(u->gone[gone], m->containers[old].id) == 0))
			stow_container_done(&m->containers[old]);
		else
			to[n++] = m->containers[old];
		old++;
	}
	return n;
}

static int by_reservation(const void *a, const void *b)
{
	const struct stow_has *x = a, *y = b;

	if (x->reservation != y->reservation)
		return x->reservation < y->reservation ? -1 : 1;
	if (x->lease != y->lease)
		return x->lease ? 1 : -1;
	return (x->container > y->container) - (x->container < y->container);
}

/* Room for all of them is made before anything is changed. */
static void index_containers(struct stow_machine *m, struct stow_has *has)
{
	free(m->has);
	m->has = has;
	m->n_has = 0;
	for (size_t i = 0; i < m->n_containers; i++)
		if (m->containers[i].reservation)
			has[m->n_has++] = (struct stow_has){ m->containers[i].reservation,
							     (uint32_t)i, m->containers[i].lease };
	if (m->n_has)
		qsort(has, m->n_has, sizeof(*has), by_reservation);
}

/* What the changes would make too large or name wrongly is found before anything is changed. */
static int check_changes(const struct stow_machine *m, const struct stow_update *u,
			 struct stow_err *err)
{
	uint64_t cpus = 0;

	for (uint32_t i = 0; i < m->n_numa; i++)
		cpus += m->numa[i].online;
	for (size_t i = 0; i < u->n_numa; i++) {
		int64_t at = stow_machine_numa(m, u->numa[i].id);

		if (at < 0)
			return stow_err_set(err, EPROTO,
					    "changes of NUMA node %d, which is not in the full "
					    "report of %s",
					    u->numa[i].id, m->name);
		cpus = cpus - m->numa[at].online + u->numa[i].online;
	}
	if (cpus > STOW_IDSET_MAX)
		return stow_err_set(err, EPROTO,
				    "changes make %" PRIu64 " CPUs of %s; a machine has at most %d",
				    cpus, m->name, STOW_IDSET_MAX);
	if (m->n_containers + u->n_containers > STOW_CONTAINERS_MAX + u->n_gone)
		return stow_err_set(err, EPROTO, "changes make more than %d containers of %s",
				    STOW_CONTAINERS_MAX, m->name);
	return 0;
}

static int apply_changes(struct stow_machine *m, struct stow_update *u, struct stow_err *err)
{
	struct stow_container *merged = NULL;
	struct stow_has *has = NULL;
	int r = check_changes(m, u, err);

	if (r < 0)
		return r;
	if (u->n_containers || u->n_gone) {
		merged = calloc(m->n_containers + u->n_containers + 1, sizeof(*merged));
		has = calloc(m->n_containers + u->n_containers + 1, sizeof(*has));
		if (!merged || !has) {
			free(merged);
			free(has);
			return stow_err_set(err, ENOMEM, "out of memory");
		}
	}
	for (size_t i = 0; i < u->n_numa; i++) {
		struct stow_numa *to = &m->numa[stow_machine_numa(m, u->numa[i].id)];

		stow_numa_done(to);
		*to = u->numa[i];
		u->numa[i] = (struct stow_numa){ 0 };
	}
	if (merged) {
		size_t n = merge_containers(m, u, merged);

		free(m->containers);
		m->containers = merged;
		m->n_containers = n;
		index_containers(m, has);
	}
	return 0;
}

/* As many as the largest machine has: computing cannot fail. */
static int grow_rooms(struct stow_fleet *fleet, uint32_t n)
{
	if (n <= fleet->rooms_room)
		return 0;
	if (WIDEN(fleet->rooms, n) < 0)
		return -ENOMEM;
	fleet->rooms_room = n;
	return 0;
}

/* A machine whose number of NUMA nodes has changed moves to the end of their columns. */
static int move_numa(struct stow_fleet *fleet, struct stow_machine *m, uint32_t n,
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

#define SWAP(a, b)                      \
	do {                            \
		__typeof__(a) _a = (a); \
		(a) = (b);              \
		(b) = _a;               \
	} while (0)

/* What the machine had before goes with the update, which is freed without the lock. */
static int apply_all(struct stow_fleet *fleet, struct stow_machine *m, struct stow_update *u,
		     struct stow_err *err)
{
	size_t n_numa = m->n_numa;
	struct stow_has *has = calloc(u->n_containers + 1, sizeof(*has));
	int r = has ? move_numa(fleet, m, (uint32_t)u->n_numa, err)
		    : stow_err_set(err, ENOMEM, "out of memory");

	if (r < 0) {
		free(has);
		return r;
	}
	SWAP(m->numa, u->numa);
	m->n_numa = (uint32_t)u->n_numa;
	u->n_numa = n_numa;
	SWAP(m->distance, u->distance);
	m->near = u->near;
	SWAP(m->containers, u->containers);
	SWAP(m->n_containers, u->n_containers);
	SWAP(m->domain, u->domain);
	SWAP(m->constant, u->constant);
	index_containers(m, has);
	return 0;
}

int stow_fleet_apply(struct stow_fleet *fleet, struct stow_machine *machine,
		     struct stow_update *update, struct stow_err *err)
{
	int r = update->full ? apply_all(fleet, machine, update, err)
			     : apply_changes(machine, update, err);

	if (r < 0)
		return r;
	SWAP(machine->variable, update->variable);
	machine->enforces = update->enforces;
	machine->sequence = update->sequence;
	if (fleet->numa_dead > fleet->n_numa / 2)
		close_gaps(fleet);
	stow_fleet_refresh(fleet, machine);
	return 0;
}

void stow_fleet_heard(struct stow_fleet *fleet, struct stow_machine *machine, struct stow_now now)
{
	machine->heard = now.mono;
	machine->last_seen = now.wall;
	if (!machine->stale)
		return;
	machine->stale = false;
	fleet->n_fresh++;
	stow_fleet_refresh(fleet, machine);
}

void stow_fleet_stale(struct stow_fleet *fleet, struct stow_machine *machine)
{
	if (machine->stale)
		return;
	machine->stale = true;
	fleet->n_fresh--;
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

/* --- numbers ----------------------------------------------------------------------------------- */

int64_t stow_machine_numa(const struct stow_machine *machine, uint32_t id)
{
	uint32_t low = 0, high = machine->n_numa;

	/* Mostly numbers have no holes. */
	if (id < machine->n_numa && machine->numa[id].id == id)
		return id;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (machine->numa[middle].id < id)
			low = middle + 1;
		else
			high = middle;
	}
	return low < machine->n_numa && machine->numa[low].id == id ? (int64_t)low : -1;
}

static uint64_t less(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

/* Pages that are free in the pool are used first; the pool grows by the others. */
static void take_pages(const struct stow_numa *numa, const PbHugepages *pages,
		       struct stow_room *room)
{
	uint64_t grown = 0;

	for (size_t i = 0; i < numa->n_pools; i++) {
		if (numa->pools[i].size != pages->page_size)
			continue;
		grown = less(pages->pages, room->pages[i]);
		room->pages[i] = less(room->pages[i], pages->pages);
	}
	if (pages->page_size)
		room->memory = grown > room->memory / pages->page_size
				       ? 0
				       : room->memory - grown * pages->page_size;
}

static void take_part(const struct stow_numa *numa, const PbContainerPart *part, bool exclusive,
		      struct stow_room *room)
{
	room->cpus = (uint16_t)less(room->cpus, part->cpus);
	if (exclusive)
		room->takeable = (uint16_t)less(room->takeable, part->cpus);
	room->memory = less(room->memory, part->memory_promised);
	for (size_t i = 0; i < part->n_hugepages; i++)
		take_pages(numa, part->hugepages[i], room);
}

static void room_before(const struct stow_machine *machine, uint32_t i, struct stow_room *ret)
{
	const struct stow_numa *numa = &machine->numa[i];

	*ret = (struct stow_room){
		.gives = !machine->stale && machine->enforces && !numa->fenced &&
			 !stow_machine_full(machine) &&
			 !(machine->fenced && stow_idset_has(machine->fenced, numa->id)),
		.cpus = numa->free,
		.takeable = numa->takeable,
		.memory = numa->memory_free,
	};
	for (size_t p = 0; p < numa->n_pools; p++)
		ret->pages[p] = numa->pools[p].free;
}

/* A CPU that is taken must be free, too. */
static void room_after(struct stow_room *ret)
{
	if (ret->takeable > ret->cpus)
		ret->takeable = ret->cpus;
}

void stow_machine_room(const struct stow_machine *machine, uint32_t i, struct stow_room *ret)
{
	const struct stow_numa *numa = &machine->numa[i];

	room_before(machine, i, ret);
	for (const struct stow_reservation *r = machine->reservations; r; r = r->next)
		for (size_t p = 0; !r->counted && p < r->message->n_parts; p++)
			if (r->message->parts[p]->numa_node == numa->id)
				take_part(numa, r->message->parts[p], r->exclusive, ret);
	room_after(ret);
}

void stow_machine_rooms(const struct stow_machine *machine, struct stow_room *ret)
{
	for (uint32_t i = 0; i < machine->n_numa; i++)
		room_before(machine, i, &ret[i]);
	for (const struct stow_reservation *r = machine->reservations; r; r = r->next)
		for (size_t p = 0; !r->counted && p < r->message->n_parts; p++) {
			const PbContainerPart *part = r->message->parts[p];
			int64_t i = stow_machine_numa(machine, part->numa_node);

			if (i >= 0)
				take_part(&machine->numa[i], part, r->exclusive, &ret[i]);
		}
	for (uint32_t i = 0; i < machine->n_numa; i++)
		room_after(&ret[i]);
}

uint32_t stow_machine_unowned(const struct stow_machine *machine)
{
	uint64_t n = 0, taken = 0;

	for (uint32_t i = 0; i < machine->n_numa; i++)
		n += machine->numa[i].online - machine->numa[i].exclusive;
	for (const struct stow_reservation *r = machine->reservations; r; r = r->next)
		for (size_t p = 0; r->exclusive && !r->counted && p < r->message->n_parts; p++)
			taken += r->message->parts[p]->cpus;
	return (uint32_t)less(n, taken);
}

/* One NUMA node: its own columns, and its part of the machine's. */
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

static void compute(struct stow_fleet *fleet, const struct stow_machine *machine)
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
	c->unowned[m] = stow_machine_unowned(machine);
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
	stow_traits_end(&maker, machine, c->unowned[m]);
	stow_index_set(&fleet->index, m, stow_fleet_key(c, m), &row);
}

void stow_fleet_refresh(struct stow_fleet *fleet, struct stow_machine *machine)
{
	compute(fleet, machine);
	touch(fleet, machine);
}

uint8_t *stow_machine_report(const struct stow_machine *machine, size_t containers, size_t *ret_len)
{
	size_t len = machine->constant.len + machine->variable.len, at = 0;
	size_t n = 0, room = containers;
	uint8_t *bytes;

#define APPEND(wire) (memcpy(bytes + at, (wire)->bytes, (wire)->len), at += (wire)->len)

	for (uint32_t i = 0; i < machine->n_numa; i++)
		len += machine->numa[i].wire.len;
	for (; n < machine->n_containers && machine->containers[n].wire.len <= room; n++) {
		room -= machine->containers[n].wire.len;
		len += machine->containers[n].wire.len;
	}
	bytes = malloc(len ? len : 1);
	if (!bytes)
		return NULL;
	if (machine->n_numa) {
		APPEND(&machine->constant);
		APPEND(&machine->variable);
	}
	for (uint32_t i = 0; i < machine->n_numa; i++)
		APPEND(&machine->numa[i].wire);
	for (size_t i = 0; i < n; i++)
		APPEND(&machine->containers[i].wire);
	*ret_len = at;
	return bytes;
}

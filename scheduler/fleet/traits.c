// SPDX-License-Identifier: Apache-2.0
#include "scheduler/fleet/traits.h"

#include <string.h>

#include "base/math.h"

#include "scheduler/fleet/machine.h"

static const uint16_t steps[STOW_TRAIT_STEPS] = {
	0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 64, 96, 128, 192, 256,
};

unsigned int stow_trait_step(uint64_t cpus)
{
	unsigned int step = STOW_TRAIT_STEPS - 1;

	if (cpus <= 8)
		return (unsigned int)cpus;
	while (steps[step] > cpus)
		step--;
	return step;
}

unsigned int stow_trait_size(uint64_t page_size)
{
	return (unsigned int)__builtin_ctzll(page_size) % STOW_TRAIT_SIZES;
}

static void raise(uint32_t *to, uint32_t v)
{
	if (v > *to)
		*to = v;
}

/* Insert a number into a list in descending order. */
static void insert(uint64_t list[STOW_TRAIT_SETS], uint64_t v)
{
	for (int i = 0; i < STOW_TRAIT_SETS; i++)
		if (v > list[i]) {
			uint64_t next = list[i];

			list[i] = v;
			v = next;
		}
}

void stow_traits_begin(struct stow_traits_maker *maker, struct stow_traits *row)
{
	memset(row, 0, sizeof(*row));
	*maker = (struct stow_traits_maker){ .row = row };
}

static void add_pages(struct stow_traits_maker *maker, const struct stow_numa *numa,
		      const struct stow_room *room)
{
	uint64_t here[STOW_TRAIT_SIZES] = { 0 };

	for (size_t p = 0; p < numa->n_pools; p++) {
		uint64_t size = numa->pools[p].size, free = room->pages[p] * size;
		uint64_t holds = stow_saturating_add(free, room->memory / size * size);
		unsigned int group = stow_trait_size(size);

		if (numa->shared)
			raise(&maker->row->v[STOW_TRAIT_PAGES + group],
			      stow_trait_bytes(stow_saturating_add(free, room->memory)));
		if (holds > here[group])
			here[group] = holds;
	}
	for (size_t g = 0; numa->online && g < STOW_TRAIT_SIZES; g++)
		maker->pages[g] = stow_saturating_add(maker->pages[g], here[g]);
}

void stow_traits_add(struct stow_traits_maker *maker, const struct stow_numa *numa,
		     const struct stow_room *room)
{
	uint32_t *v = maker->row->v;

	if (numa->shared) {
		raise(&v[STOW_TRAIT_FREE + stow_trait_step(room->cpus)],
		      stow_trait_bytes_of_one(room->memory));
		raise(&v[STOW_TRAIT_TAKEABLE + stow_trait_step(room->takeable)],
		      stow_trait_bytes_of_one(room->memory));
	}
	raise(&v[STOW_TRAIT_MOST_TAKEABLE], room->takeable);
	insert(maker->most_cpus, room->cpus);
	insert(maker->most_memory, room->memory);
	maker->cpus += room->cpus;
	maker->takeable += room->takeable;
	maker->any_memory = stow_saturating_add(maker->any_memory, room->memory);
	if (numa->online)
		maker->memory = stow_saturating_add(maker->memory, room->memory);
	add_pages(maker, numa, room);
}

/* What the search computes for a machine without containers (search/candidates.c,
 * fewest_empty()): the NUMA nodes with most CPUs first. Large machines are not computed; their
 * numbers are 0. */
static void add_empty(const struct stow_machine *machine, uint32_t v[STOW_TRAITS])
{
	uint64_t used = 0, cpus = 0, memory = 0;

	for (int k = 0; k < STOW_TRAIT_SETS; k++) {
		const struct stow_numa *most = NULL;
		uint64_t pools = 0;

		for (uint32_t i = 0; machine->n_numa <= 12 && i < machine->n_numa; i++)
			if (!(used >> i & 1) && machine->numa[i].online &&
			    (!most || machine->numa[i].total > most->total))
				most = &machine->numa[i];
		if (most) {
			used |= UINT64_C(1) << (most - machine->numa);
			cpus += most->total;
			for (size_t p = 0; p < most->n_pools; p++)
				pools += most->pools[p].total * most->pools[p].size;
			memory += stow_saturating_sub(most->memory_total, pools);
		}
		v[STOW_TRAIT_EMPTY_CPUS + k] = ~(uint32_t)cpus;
		v[STOW_TRAIT_EMPTY_MEMORY + k] = ~stow_saturating_u32(memory >> 20);
	}
}

void stow_traits_end(struct stow_traits_maker *maker, const struct stow_machine *machine,
		     uint32_t nonexclusive)
{
	uint32_t *v = maker->row->v;
	uint64_t cpus = 0, memory = 0;

	/* A NUMA node with more CPUs also meets every lower step. */
	for (int s = STOW_TRAIT_STEPS - 1; s > 0; s--) {
		raise(&v[STOW_TRAIT_FREE + s - 1], v[STOW_TRAIT_FREE + s]);
		raise(&v[STOW_TRAIT_TAKEABLE + s - 1], v[STOW_TRAIT_TAKEABLE + s]);
	}
	for (int k = 0; k < STOW_TRAIT_SETS; k++) {
		cpus += maker->most_cpus[k];
		memory = stow_saturating_add(memory, maker->most_memory[k]);
		v[STOW_TRAIT_MOST_CPUS + k] = (uint32_t)cpus;
		v[STOW_TRAIT_MOST_MEMORY + k] = stow_trait_bytes(memory);
	}
	for (int g = 0; g < STOW_TRAIT_SIZES; g++)
		v[STOW_TRAIT_ALL_PAGES + g] = stow_trait_bytes(maker->pages[g]);
	add_empty(machine, v);
	v[STOW_TRAIT_ALL_CPUS] = (uint32_t)maker->cpus;
	v[STOW_TRAIT_ALL_TAKEABLE] = (uint32_t)maker->takeable;
	v[STOW_TRAIT_ALL_MEMORY] = stow_trait_bytes(maker->memory);
	v[STOW_TRAIT_ANY_MEMORY] = stow_trait_bytes(maker->any_memory);
	v[STOW_TRAIT_NONEXCLUSIVE] = nonexclusive;
	v[STOW_TRAIT_FIRST] = ~machine->index;
}

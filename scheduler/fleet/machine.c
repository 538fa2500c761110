// SPDX-License-Identifier: Apache-2.0
#include "scheduler/fleet/machine.h"

#include <stdlib.h>
#include <string.h>

#include "base/math.h"

int64_t stow_machine_numa(const struct stow_machine *machine, uint32_t id)
{
	uint32_t low = 0, high = machine->n_numa;

	/* Usually the ids have no gaps. */
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

bool stow_machine_full(const struct stow_machine *machine)
{
	return machine->n_reservations >= STOW_RESERVATIONS_MAX ||
	       machine->reservation_bytes >= STOW_RESERVATION_BYTES_MAX;
}

/* Free pages of the pool are used first; for the rest the pool grows. */
static void take_pages(const struct stow_numa *numa, const PbHugepages *pages,
		       struct stow_room *room)
{
	uint64_t grown = 0;

	for (size_t i = 0; i < numa->n_pools; i++) {
		if (numa->pools[i].size != pages->page_size)
			continue;
		grown = stow_saturating_sub(pages->pages, room->pages[i]);
		room->pages[i] = stow_saturating_sub(room->pages[i], pages->pages);
	}
	if (pages->page_size)
		room->memory = grown > room->memory / pages->page_size
				       ? 0
				       : room->memory - grown * pages->page_size;
}

static void take_part(const struct stow_numa *numa, const PbContainerPart *part, bool exclusive,
		      struct stow_room *room)
{
	room->cpus = (uint16_t)stow_saturating_sub(room->cpus, part->cpus);
	if (exclusive)
		room->takeable = (uint16_t)stow_saturating_sub(room->takeable, part->cpus);
	room->memory = stow_saturating_sub(room->memory, part->memory_promised);
	for (size_t i = 0; i < part->n_hugepages; i++)
		take_pages(numa, part->hugepages[i], room);
}

/* Compute what NUMA node i has free by the machine's report. */
static void reported_room(const struct stow_machine *machine, uint32_t i, struct stow_room *ret)
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

void stow_machine_rooms(const struct stow_machine *machine, struct stow_room *ret)
{
	for (uint32_t i = 0; i < machine->n_numa; i++)
		reported_room(machine, i, &ret[i]);
	for (const struct stow_reservation *r = machine->reservations; r; r = r->next)
		for (size_t p = 0; !r->counted && p < r->message->n_parts; p++) {
			const PbContainerPart *part = r->message->parts[p];
			int64_t i = stow_machine_numa(machine, part->numa_node);

			if (i >= 0)
				take_part(&machine->numa[i], part, r->exclusive, &ret[i]);
		}
	/* Takeable CPUs are a subset of the free ones. */
	for (uint32_t i = 0; i < machine->n_numa; i++)
		if (ret[i].takeable > ret[i].cpus)
			ret[i].takeable = ret[i].cpus;
}

uint32_t stow_machine_nonexclusive(const struct stow_machine *machine)
{
	uint64_t n = 0, taken = 0;

	for (uint32_t i = 0; i < machine->n_numa; i++)
		n += machine->numa[i].online - machine->numa[i].exclusive;
	for (const struct stow_reservation *r = machine->reservations; r; r = r->next)
		for (size_t p = 0; r->exclusive && !r->counted && p < r->message->n_parts; p++)
			taken += r->message->parts[p]->cpus;
	return (uint32_t)stow_saturating_sub(n, taken);
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

// SPDX-License-Identifier: Apache-2.0
#include "report.h"

#include "unit.h"

#include <stdio.h>

#include "rpc/copy.h"
#include "scheduler/fleet/message.h"

void report_init(struct report *r, const char *name, uint32_t n_numa, uint32_t cpus,
		 uint64_t memory)
{
	memset(r, 0, sizeof(*r));
	pb_node_report__init(&r->message);
	snprintf(r->name, sizeof(r->name), "%s", name);
	r->message.name = r->name;
	r->message.full = true;
	r->message.sequence = 1;
	r->message.mode = PB_MODE_ENFORCE;
	r->message.numa_nodes = r->list;
	r->message.n_numa_nodes = n_numa;
	for (uint32_t i = 0; i < n_numa; i++) {
		PbNumaNode *numa = &r->numa[i];

		pb_numa_node__init(numa);
		r->list[i] = numa;
		if (cpus)
			snprintf(r->cpus[i], sizeof(r->cpus[i]), "%u-%u", i * cpus,
				 (i + 1) * cpus - 1);
		numa->id = i;
		numa->state = PB_NUMA_NODE_STATE_READY;
		numa->cpus = numa->cpus_shared = numa->cpus_takeable = r->cpus[i];
		numa->cpus_total = numa->cpus_free = cpus;
		numa->memory_total = numa->memory_available = numa->memory_allocatable = memory;
		numa->distances = r->distances[i];
		numa->n_distances = n_numa;
		for (uint32_t j = 0; j < n_numa; j++)
			r->distances[i][j] = i == j ? 10 : 21;
		for (int p = 0; p < 2; p++) {
			pb_hugepage_pool__init(&r->pools[i][p]);
			r->pools[i][p].page_size = UINT64_C(1) << (p ? 30 : 21);
			r->pool_list[i][p] = &r->pools[i][p];
		}
		numa->hugepages = r->pool_list[i];
		numa->n_hugepages = 2;
	}
}

struct stow_machine *report_apply(struct stow_fleet *fleet, struct report *r, struct stow_now now)
{
	struct stow_machine *machine;
	struct stow_report *update;
	struct stow_err err = { 0 };

	if (stow_report_decode(&r->message, &update, &err) < 0)
		fail_msg("%s", err.msg);
	assert_int_equal(stow_fleet_get(fleet, r->message.name, &machine, NULL), 0);
	if (stow_fleet_apply(fleet, machine, update, &err) < 0)
		fail_msg("%s", err.msg);
	stow_fleet_seen(fleet, machine, now);
	stow_report_free(update);
	return machine;
}

struct stow_reservation *report_reserve(struct stow_fleet *fleet, struct stow_machine *machine,
					uint64_t id, uint32_t numa, uint32_t cpus, uint64_t memory,
					bool exclusive, uint64_t expires)
{
	PbContainerPart part = PB_CONTAINER_PART__INIT, *parts[] = { &part };
	PbReservation message = PB_RESERVATION__INIT, *copy;
	PbPodRequest pod = PB_POD_REQUEST__INIT;
	struct stow_reservation *made;
	char text[17];

	part.numa_node = numa;
	part.cpus = cpus;
	part.memory_promised = memory;
	pod.cpu_mode = exclusive ? PB_CPU_MODE_EXCLUSIVE : PB_CPU_MODE_SHARED;
	message.id = (char *)(uintptr_t)stow_id_format(id, text);
	message.node = machine->name;
	message.state = PB_RESERVATION_STATE_RESERVED;
	message.parts = parts;
	message.n_parts = 1;
	message.pod = &pod;
	message.expires = expires;
	copy = stow_rpc_message_copy(&message);
	assert_non_null(copy);
	assert_int_equal(stow_reservation_add(fleet, machine, id, copy, &made, NULL), 0);
	return made;
}

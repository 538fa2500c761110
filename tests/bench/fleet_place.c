// SPDX-License-Identifier: Apache-2.0
/*
 * How long the scheduler takes inside of itself to find room and to book it, as its fleet grows.
 *
 * usage: fleet_place [MACHINES...]        default: 100 1000 10000 100000
 *
 * Machines of 8 NUMA nodes; pods of 2 CPUs and 1 GiB on one NUMA node (`one`), of 20 CPUs on as few
 * as it takes (`restricted`), and of what no machine has (`nowhere`). Prints
 * "MACHINES KIND MEDIAN_NS P99_NS" lines.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "scheduler/fleet.h"
#include "scheduler/search.h"
#include "scheduler/update.h"

#define NUMA   8
#define CPUS   16
#define MEMORY (UINT64_C(64) << 30)
#define RUNS   2000

static void must(int r, const struct stow_err *err)
{
	if (r < 0) {
		fprintf(stderr, "fleet_place: %s\n", err->msg);
		exit(1);
	}
}

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec;
}

/* Machines differ in what is taken, as in a fleet that is in use. */
static void add_machine(struct stow_fleet *fleet, uint32_t number)
{
	PbNodeReport report = PB_NODE_REPORT__INIT;
	PbNumaNode numa[NUMA], *list[NUMA];
	uint32_t distances[NUMA][NUMA];
	struct stow_update *update;
	struct stow_machine *machine;
	struct stow_err err;
	char name[32], cpus[NUMA][32];

	snprintf(name, sizeof(name), "m-%u", number);
	report.name = name;
	report.full = true;
	report.sequence = 1;
	report.mode = PB_MODE_ENFORCE;
	report.numa_nodes = list;
	report.n_numa_nodes = NUMA;
	for (unsigned int i = 0; i < NUMA; i++) {
		uint32_t taken = (number * 7 + i * 3) % CPUS;

		pb_numa_node__init(&numa[i]);
		snprintf(cpus[i], sizeof(cpus[i]), "%u-%u", i * CPUS, (i + 1) * CPUS - 1);
		numa[i].id = i;
		numa[i].state = PB_NUMA_NODE_STATE_READY;
		numa[i].cpus = numa[i].cpus_shared = numa[i].cpus_takeable = cpus[i];
		numa[i].cpus_total = CPUS;
		numa[i].cpus_free = CPUS - taken;
		numa[i].memory_total = MEMORY;
		numa[i].memory_free = numa[i].memory_available = MEMORY - taken * (MEMORY / CPUS);
		numa[i].memory_allocatable = numa[i].memory_free;
		for (unsigned int j = 0; j < NUMA; j++)
			distances[i][j] = i == j ? 10 : i / 4 == j / 4 ? 12 : 32;
		numa[i].distances = distances[i];
		numa[i].n_distances = NUMA;
		list[i] = &numa[i];
	}
	must(stow_update_decode(&report, &update, &err), &err);
	must(stow_fleet_get(fleet, name, &machine, &err), &err);
	must(stow_fleet_apply(fleet, machine, update, &err), &err);
	stow_fleet_heard(fleet, machine, stow_now());
	stow_update_free(update);
}

static struct stow_reservation *book(struct stow_fleet *fleet, const PbPodRequest *pod,
				     const struct stow_found *found)
{
	uint64_t id = stow_reservation_new_id(fleet);
	PbReservation message = PB_RESERVATION__INIT, *copy;
	PbContainerPart parts[NUMA], *list[NUMA];
	struct stow_reservation *reservation;
	struct stow_err err;
	char text[17];

	for (size_t i = 0; i < found->n_shares && i < NUMA; i++) {
		pb_container_part__init(&parts[i]);
		parts[i].numa_node = (uint32_t)found->shares[i].node;
		parts[i].cpus = found->shares[i].cpus;
		parts[i].memory_promised = found->shares[i].memory;
		list[message.n_parts++] = &parts[i];
	}
	message.parts = list;
	message.id = (char *)(uintptr_t)stow_id_format(id, text);
	message.node = found->machine->name;
	message.pod = (PbPodRequest *)(uintptr_t)pod;
	message.expires = UINT64_MAX;
	copy = stow_reservation_copy(&message);
	if (!copy)
		exit(1);
	must(stow_reservation_add(fleet, found->machine, id, copy, &reservation, &err), &err);
	return reservation;
}

static int compare(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static void measure(struct stow_fleet *fleet, uint32_t machines, const char *kind,
		    const PbPodRequest *pod)
{
	static struct stow_reservation *made[RUNS];
	static uint64_t took[RUNS];
	size_t n = 0;

	for (size_t i = 0; i < RUNS; i++) {
		struct stow_found found = { 0 };
		uint64_t started = now();
		struct stow_want want;
		struct stow_err err;

		must(stow_want_parse(pod, PB_STRATEGY_TIGHT, &want, &err), &err);
		if (stow_fleet_search(fleet, &want, &found, &err) == 0)
			made[n++] = book(fleet, pod, &found);
		took[i] = now() - started;
		free(found.shares);
	}
	for (size_t i = 0; i < n; i++)
		stow_reservation_end(fleet, made[i], stow_now());
	qsort(took, RUNS, sizeof(*took), compare);
	printf("%u %s %llu %llu\n", machines, kind, (unsigned long long)took[RUNS / 2],
	       (unsigned long long)took[RUNS * 99 / 100]);
	fflush(stdout);
}

static void measure_fleet(uint32_t machines)
{
	PbPodRequest one = PB_POD_REQUEST__INIT, restricted = PB_POD_REQUEST__INIT,
		     nowhere = PB_POD_REQUEST__INIT;
	struct stow_fleet *fleet;
	struct stow_err err;

	one.cpus = 2;
	one.memory = UINT64_C(1) << 30;
	restricted.cpus = CPUS + 4;
	restricted.policy = PB_POLICY_RESTRICTED;
	nowhere.cpus = CPUS + 1;
	must(stow_fleet_new(&fleet, &err), &err);
	stow_lock_take(&fleet->lock);
	for (uint32_t i = 0; i < machines; i++)
		add_machine(fleet, i);
	measure(fleet, machines, "one", &one);
	measure(fleet, machines, "restricted", &restricted);
	measure(fleet, machines, "nowhere", &nowhere);
	stow_lock_give(&fleet->lock);
	stow_fleet_free(fleet);
}

int main(int argc, char **argv)
{
	static const uint32_t sizes[] = { 100, 1000, 10000, 100000 };

	for (int i = 1; i < argc; i++)
		measure_fleet((uint32_t)strtoul(argv[i], NULL, 10));
	for (size_t i = 0; argc < 2 && i < sizeof(sizes) / sizeof(*sizes); i++)
		measure_fleet(sizes[i]);
	return 0;
}

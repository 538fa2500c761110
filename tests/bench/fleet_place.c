// SPDX-License-Identifier: Apache-2.0
/*
 * Measures how long the scheduler takes internally to find and reserve room, as its fleet grows.
 *
 * usage: fleet_place [MACHINES...]        default: 100 1000 10000 100000
 *
 * Machines of 8 NUMA nodes; pods of 2 CPUs and 1 GiB on one NUMA node (`one`), of 20 CPUs on as few
 * as it takes (`restricted`), and of what no machine has (`nowhere`); then reports of machines
 * whose numbers have changed (`report`). The worst cases: all machines empty and alike
 * (`alike`); free CPUs on every other NUMA node and free memory on the ones between, for a pod that
 * wants both on one (`apart`), 20 CPUs where 2 are free on each, so that they would take more NUMA
 * nodes than they may (`scattered`), and hugepages that no machine has room for (`pages`). Prints
 * "MACHINES KIND MEDIAN_NS P99_NS" lines.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/idlist.h"

#include "rpc/copy.h"
#include "scheduler/fleet/fleet.h"
#include "scheduler/fleet/message.h"
#include "scheduler/fleet/report.h"
#include "scheduler/fleet/reservation.h"
#include "scheduler/search/search.h"

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

enum shape {
	IN_USE, /* machines differ in what is taken */
	ALIKE,	/* nothing is taken */
	APART,	/* CPUs are free on every other NUMA node, memory on those between */
	SCATTERED,
};

/* A known machine reports a change of one NUMA node. Returns the time to apply the report. */
static uint64_t report_machine(struct stow_fleet *fleet, uint32_t number, enum shape shape,
			       uint32_t sequence)
{
	PbNodeReport report = PB_NODE_REPORT__INIT;
	PbNumaNode numa[NUMA], *list[NUMA];
	PbHugepagePool pool = PB_HUGEPAGE_POOL__INIT, *pools[] = { &pool };
	uint64_t started, took;
	uint32_t distances[NUMA][NUMA];
	struct stow_report *update;
	struct stow_machine *machine;
	struct stow_err err;
	char name[32], cpus[NUMA][32];

	snprintf(name, sizeof(name), "m-%u", number);
	report.name = name;
	report.full = sequence == 1;
	report.sequence = sequence;
	pool.page_size = UINT64_C(2) << 20;
	report.mode = PB_MODE_ENFORCE;
	report.numa_nodes = list;
	report.n_numa_nodes = NUMA;
	for (unsigned int i = 0; i < NUMA; i++) {
		uint32_t taken = (number * 7 + i * 3 + sequence - 1) % CPUS;
		uint32_t of_memory = taken;

		if (shape == ALIKE)
			taken = of_memory = 0;
		if (shape == APART)
			taken = i % 2 ? CPUS : 0, of_memory = i % 2 ? 0 : CPUS;
		if (shape == SCATTERED)
			taken = CPUS - 2;
		pb_numa_node__init(&numa[i]);
		snprintf(cpus[i], sizeof(cpus[i]), "%u-%u", i * CPUS, (i + 1) * CPUS - 1);
		numa[i].id = i;
		numa[i].state = PB_NUMA_NODE_STATE_READY;
		numa[i].cpus = numa[i].cpus_shared = numa[i].cpus_takeable = cpus[i];
		numa[i].cpus_total = CPUS;
		numa[i].cpus_free = CPUS - taken;
		numa[i].memory_total = MEMORY;
		numa[i].memory_free = numa[i].memory_available =
			MEMORY - of_memory * (MEMORY / CPUS);
		numa[i].memory_allocatable = numa[i].memory_free;
		for (unsigned int j = 0; j < NUMA; j++)
			distances[i][j] = i == j ? 10 : i / 4 == j / 4 ? 12 : 32;
		numa[i].distances = distances[i];
		numa[i].n_distances = NUMA;
		numa[i].hugepages = pools;
		numa[i].n_hugepages = 1;
		list[i] = &numa[i];
	}
	if (!report.full)
		report.n_numa_nodes = 1;
	must(stow_report_decode(&report, &update, &err), &err);
	must(stow_fleet_get(fleet, name, &machine, &err), &err);
	started = stow_clock_monotonic();
	must(stow_fleet_apply(fleet, machine, update, &err), &err);
	took = stow_clock_monotonic() - started;
	stow_fleet_seen(fleet, machine, stow_now());
	stow_report_free(update);
	return took;
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
	copy = stow_rpc_message_copy(&message);
	if (!copy)
		exit(1);
	must(stow_reservation_add(fleet, found->machine, id, copy, &reservation, &err), &err);
	return reservation;
}

static void print(uint32_t machines, const char *kind, uint64_t took[RUNS])
{
	stow_idlist_sort(took, RUNS);
	printf("%u %s %llu %llu\n", machines, kind, (unsigned long long)took[RUNS / 2],
	       (unsigned long long)took[RUNS * 99 / 100]);
	fflush(stdout);
}

static void measure(struct stow_fleet *fleet, const char *kind, const PbPodRequest *pod)
{
	static struct stow_reservation *made[RUNS];
	static uint64_t took[RUNS];
	size_t n = 0;

	for (size_t i = 0; i < RUNS; i++) {
		struct stow_found found = { 0 };
		uint64_t started = stow_clock_monotonic();
		struct stow_want want;
		struct stow_err err;

		must(stow_want_parse(pod, PB_STRATEGY_TIGHT, &want, &err), &err);
		if (stow_search_fleet(fleet, &want, &found, &err) == 0)
			made[n++] = book(fleet, pod, &found);
		took[i] = stow_clock_monotonic() - started;
		free(found.shares);
	}
	for (size_t i = 0; i < n; i++)
		stow_reservation_end(fleet, made[i], stow_now());
	print(fleet->n_machines, kind, took);
}

static void measure_reports(struct stow_fleet *fleet)
{
	static uint64_t took[RUNS];

	/* Machines all over the table, none of them in the processor's caches. */
	for (uint32_t i = 0; i < RUNS; i++)
		took[i] = report_machine(fleet, i * 7919 % fleet->n_machines, IN_USE, i + 2);
	print(fleet->n_machines, "report", took);
}

static struct stow_fleet *make_fleet(uint32_t machines, enum shape shape)
{
	struct stow_fleet *fleet;
	struct stow_err err;

	must(stow_fleet_new(&fleet, &err), &err);
	stow_lock_take(&fleet->lock);
	for (uint32_t i = 0; i < machines; i++)
		report_machine(fleet, i, shape, 1);
	return fleet;
}

static void end_fleet(struct stow_fleet *fleet)
{
	stow_lock_give(&fleet->lock);
	stow_fleet_free(fleet);
}

static void measure_worst(uint32_t machines, const PbPodRequest *one,
			  const PbPodRequest *restricted)
{
	PbPodRequest both = PB_POD_REQUEST__INIT, pages = PB_POD_REQUEST__INIT;
	PbHugepages huge = PB_HUGEPAGES__INIT, *list[] = { &huge };
	struct stow_fleet *fleet = make_fleet(machines, ALIKE);

	measure(fleet, "alike", one);
	end_fleet(fleet);
	both.cpus = 8;
	both.memory = UINT64_C(8) << 30;
	fleet = make_fleet(machines, APART);
	measure(fleet, "apart", &both);
	end_fleet(fleet);
	fleet = make_fleet(machines, SCATTERED);
	measure(fleet, "scattered", restricted);
	huge.page_size = UINT64_C(2) << 20;
	huge.pages = MEMORY / huge.page_size + 1;
	pages.hugepages = list;
	pages.n_hugepages = 1;
	measure(fleet, "pages", &pages);
	end_fleet(fleet);
}

static void measure_fleet(uint32_t machines)
{
	PbPodRequest one = PB_POD_REQUEST__INIT, restricted = PB_POD_REQUEST__INIT,
		     nowhere = PB_POD_REQUEST__INIT;
	struct stow_fleet *fleet = make_fleet(machines, IN_USE);

	one.cpus = 2;
	one.memory = UINT64_C(1) << 30;
	restricted.cpus = CPUS + 4;
	restricted.policy = PB_POLICY_RESTRICTED;
	nowhere.cpus = CPUS + 1;
	measure(fleet, "one", &one);
	measure(fleet, "restricted", &restricted);
	measure(fleet, "nowhere", &nowhere);
	measure_reports(fleet);
	end_fleet(fleet);
	measure_worst(machines, &one, &restricted);
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

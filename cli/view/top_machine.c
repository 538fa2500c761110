// SPDX-License-Identifier: Apache-2.0
/* numastow top: one reading of the machine and its NUMA nodes. */
#include <errno.h>
#include <stdlib.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "cli/view/top.h"
#include "node/memory.h"

double top_rate(uint64_t before, uint64_t now, uint64_t ns)
{
	if (before == STOW_UNKNOWN || now == STOW_UNKNOWN || now < before || !ns)
		return -1;
	return (double)(now - before) * (double)STOW_SECOND / (double)ns;
}

double top_share(uint64_t part_before, uint64_t part, uint64_t whole_before, uint64_t whole)
{
	double share;

	if (part_before == STOW_UNKNOWN || part == STOW_UNKNOWN || part < part_before ||
	    whole_before == STOW_UNKNOWN || whole == STOW_UNKNOWN || whole <= whole_before)
		return -1;
	/* The two counters are not read in the same instant. */
	share = (double)(part - part_before) * 100 / (double)(whole - whole_before);
	return STOW_MIN(share, 100.0);
}

static void read_memory(struct stow_root *root, struct top_node *node)
{
	struct stow_meminfo info;

	node->total = node->free = STOW_UNKNOWN;
	if (stow_meminfo_read(root, node->node, &info, NULL) < 0)
		return;
	node->total = info.total;
	node->free = STOW_MIN(info.free, info.total);
}

/* Sum the time of the node's CPUs. */
static void take_times(struct top_node *node, const struct stow_idset *cpus,
		       const struct stow_cpu_time *times, size_t n)
{
	node->n_cpus = stow_idset_count(cpus);
	for (size_t i = 0; i < n; i++) {
		if (!stow_idset_has(cpus, times[i].cpu))
			continue;
		node->busy = stow_saturating_add(node->busy, times[i].busy);
		node->all = stow_saturating_add(node->all, times[i].all);
	}
}

static int read_nodes(struct stow_root *root, const struct top_pmu *pmu,
		      const struct stow_zones *zones, struct top_machine *machine,
		      struct stow_err *err)
{
	_cleanup_free_ struct stow_cpu_time *times = NULL;
	struct stow_idset online;
	size_t n_times = 0;
	int r = stow_root_list_ids(root, "/sys/devices/system/node", "node", &online, err);

	if (r == 0 && stow_idset_empty(&online))
		r = stow_err_set(err, ENODATA, "there is no NUMA node in /sys/devices/system/node");
	if (r < 0)
		return r;
	(void)stow_cpu_times_read(root, &times, &n_times, NULL);
	STOW_IDSET_FOR(id, &online) {
		struct top_node *node = STOW_APPEND(machine->nodes, machine->n_nodes);
		struct stow_idset cpus = { 0 };

		if (!node)
			return stow_err_sys(err, ENOMEM, "nodes");
		node->node = id;
		(void)stow_root_read_idset(root, &cpus, NULL,
					   "/sys/devices/system/node/node%d/cpulist", id);
		stow_idset_or(&machine->cpus, &cpus);
		take_times(node, &cpus, times, n_times);
		read_memory(root, node);
		node->pressure =
			zones->n ? stow_zones_pressure(zones, id, false) : STOW_PRESSURE_UNKNOWN;
		(void)stow_node_counters_read(root, id, node->counters, NULL);
		node->remote = pmu ? top_pmu_read(pmu, &cpus) : STOW_UNKNOWN;
	}
	return 0;
}

static void read_settings(struct stow_root *root, struct top_machine *machine)
{
	uint64_t counted = 1;

	machine->balancing = STOW_UNKNOWN;
	(void)stow_root_read_u64(root, &machine->balancing, NULL,
				 "/proc/sys/kernel/numa_balancing");
	(void)stow_root_read_u64(root, &counted, NULL, "/proc/sys/vm/numa_stat");
	machine->counted = counted != 0;
}

int top_machine_read(struct stow_root *root, const struct top_pmu *pmu, struct top_machine *ret,
		     struct stow_err *err)
{
	struct top_machine machine = { .read_ns = stow_clock_monotonic() };
	struct stow_zones zones = { 0 };
	int r;

	(void)stow_zones_read(root, false, &zones, NULL);
	r = read_nodes(root, pmu, &zones, &machine, err);
	stow_zones_done(&zones);
	if (r < 0) {
		top_machine_done(&machine);
		return r;
	}
	(void)stow_balancing_read(root, machine.counters, NULL);
	read_settings(root, &machine);
	machine.cpu.known = stow_psi_read(root, "/proc/pressure/cpu", &machine.cpu.psi, NULL) == 0;
	machine.memory.known =
		stow_psi_read(root, "/proc/pressure/memory", &machine.memory.psi, NULL) == 0;
	*ret = machine;
	return 0;
}

void top_machine_done(struct top_machine *machine)
{
	free(machine->nodes);
	*machine = (struct top_machine){ 0 };
}

const struct top_node *top_machine_node(const struct top_machine *machine, int node)
{
	for (size_t i = 0; i < machine->n_nodes; i++)
		if (machine->nodes[i].node == node)
			return &machine->nodes[i];
	return NULL;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/kubernetes/facts.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "cgroup/kubepods.h"

#define TIERS	    "/sys/devices/virtual/memory_tiering"
#define DEVICES_MAX 64 /* devices below a PCIe root that are read to find its NUMA node */

/* Read the package of a NUMA node's first CPU. */
static int read_socket(struct stow_root *root, uint32_t node)
{
	struct stow_idset cpus;
	uint64_t package;
	int first = -1;

	if (stow_root_read_idset(root, &cpus, NULL, "/sys/devices/system/node/node%u/cpulist",
				 node) < 0)
		return -1;
	STOW_IDSET_FOR(cpu, &cpus) {
		first = cpu;
		break;
	}
	if (first < 0 ||
	    stow_root_read_u64(root, &package, NULL,
			       "/sys/devices/system/cpu/cpu%d/topology/physical_package_id",
			       first) < 0 ||
	    package > INT16_MAX)
		return -1;
	return (int)package;
}

/* Read the tiers of memory_tierN/nodelist (Documentation/ABI/testing/sysfs-kernel-mm-memory-tiers),
 * since Linux 6.1. */
static void read_tiers(struct stow_root *root, struct agent_facts *facts)
{
	struct stow_idset tiers;

	if (stow_root_list_ids(root, TIERS, "memory_tier", &tiers, NULL) < 0)
		return;
	STOW_IDSET_FOR(tier, &tiers) {
		struct stow_idset nodes;

		if (stow_root_read_idset(root, &nodes, NULL, TIERS "/memory_tier%d/nodelist",
					 tier) < 0)
			continue;
		for (size_t i = 0; i < facts->n; i++)
			if (facts->list[i].id < STOW_IDSET_MAX &&
			    stow_idset_has(&nodes, (int)facts->list[i].id))
				facts->list[i].tier = tier;
	}
}

/* Return the NUMA node of a PCIe root: that of the first device below it that has one. -1: none. */
static int node_of_pcie_root(struct stow_root *root, const char *name)
{
	_cleanup_closedir_ DIR *devices = stow_root_opendir(root, NULL, "/sys/devices/%.16s", name);
	char text[16];
	uint64_t node;

	if (!devices)
		return -1;
	for (int n = 0; n < DEVICES_MAX; n++) {
		const struct dirent *entry = readdir(devices);

		if (!entry)
			break;
		if (!strchr(entry->d_name, ':') ||
		    stow_root_read_buf(root, text, sizeof(text), NULL,
				       "/sys/devices/%.16s/%.32s/numa_node", name,
				       entry->d_name) < 0)
			continue;
		/* -1: the firmware does not report it. */
		if (stow_parse_u64(text, STOW_IDSET_MAX - 1, &node, NULL) == 0)
			return (int)node;
	}
	return -1;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(a, b);
}

static void read_pcie_roots(struct stow_root *root, struct agent_facts *facts)
{
	_cleanup_closedir_ DIR *all = stow_root_opendir(root, NULL, "/sys/devices");
	const struct dirent *entry;

	while (all && (entry = readdir(all))) {
		int node;

		if (strncmp(entry->d_name, "pci", 3) != 0 || !strchr(entry->d_name, ':') ||
		    strlen(entry->d_name) >= sizeof(facts->list->roots[0]))
			continue;
		node = node_of_pcie_root(root, entry->d_name);
		for (size_t i = 0; node >= 0 && i < facts->n; i++) {
			struct agent_slice_facts *f = &facts->list[i];

			if (f->id == (uint32_t)node && f->n_roots < AGENT_SLICE_ROOTS)
				snprintf(f->roots[f->n_roots++], sizeof(f->roots[0]), "%.15s",
					 entry->d_name);
		}
	}
	for (size_t i = 0; i < facts->n; i++)
		qsort(facts->list[i].roots, facts->list[i].n_roots, sizeof(facts->list[i].roots[0]),
		      by_name);
}

int agent_facts_read(struct stow_root *root, const struct stow_config *config,
		     const struct stow_idset *nodes, struct agent_facts *ret, struct stow_err *err)
{
	bool exclusive = stow_kubepods_check(root, NULL) == 0;
	struct agent_facts facts = { 0 };

	facts.list = calloc((size_t)stow_idset_count(nodes) + 1, sizeof(*facts.list));
	if (!facts.list)
		return stow_err_set(err, ENOMEM, "out of memory");
	STOW_IDSET_FOR(node, nodes) {
		const struct stow_config_node *reserved = stow_config_reserved(config, node);

		facts.list[facts.n++] = (struct agent_slice_facts){
			.id = (uint32_t)node,
			.socket = read_socket(root, (uint32_t)node),
			.tier = -1,
			.exclusive = exclusive,
			.reserved_memory = reserved ? reserved->memory : 0,
		};
	}
	read_tiers(root, &facts);
	read_pcie_roots(root, &facts);
	*ret = facts;
	return 0;
}

void agent_facts_done(struct agent_facts *facts)
{
	free(facts->list);
	*facts = (struct agent_facts){ 0 };
}

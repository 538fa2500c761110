// SPDX-License-Identifier: Apache-2.0
#include "node/topology.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "node/hugepage.h"
#include "node/memory.h"
#include "node/topology_internal.h"
#include "node/zones.h"

#define LOCAL_DISTANCE	10 /* the kernel's own defaults, include/linux/topology.h */
#define REMOTE_DISTANCE 20

#define DISTANCE_MAX 16384

/* --- nodes ---------------------------------------------------------------- */

int stow_online_cpus(struct stow_root *root, struct stow_idset *ret, struct stow_err *err)
{
	struct stow_idset present;
	int r = stow_root_read_idset(root, ret, err, "/sys/devices/system/cpu/online");

	if (r != -ENOENT)
		return r;
	/* Linux before 2.6.26: a folder for each CPU, with a file in it if the CPU can go
	 * offline. */
	r = stow_root_list_ids(root, "/sys/devices/system/cpu", "cpu", &present, err);
	if (r < 0)
		return r;
	*ret = present;
	STOW_IDSET_FOR(id, &present) {
		uint64_t online;

		r = stow_root_read_u64(root, &online, err, "/sys/devices/system/cpu/cpu%d/online",
				       id);
		if (r < 0 && !stow_is_missing(r))
			return r;
		if (r == 0 && online == 0)
			stow_idset_del(ret, id);
	}
	return 0;
}

static int read_isolated_cpus(struct stow_root *root, struct stow_topology *t, struct stow_err *err)
{
	int r = stow_root_read_idset(root, &t->isolated, err, "/sys/devices/system/cpu/isolated");

	if (r < 0 && r != -ENOENT)
		return r;
	if (r == -ENOENT)
		memset(&t->isolated, 0, sizeof(t->isolated));
	stow_idset_and(&t->isolated, &t->online);
	return 0;
}

static int read_online_nodes(struct stow_root *root, struct stow_idset *ret, struct stow_err *err)
{
	int r = stow_root_read_idset(root, ret, err, "/sys/devices/system/node/online");

	if (r == -ENOENT)
		r = stow_root_list_ids(root, "/sys/devices/system/node", "node", ret, err);
	return r;
}

/* `lists` is cleared when the kernel turns out to have only masks (before Linux 2.6.26). */
static int read_node_cpus(struct stow_root *root, struct stow_topology *t, struct stow_node *node,
			  bool *lists, struct stow_err *err)
{
	char path[64];
	int r = -ENOENT;

	if (*lists)
		r = stow_root_read_idset(root, &node->cpus, err,
					 "/sys/devices/system/node/node%d/cpulist", node->id);
	if (!stow_is_missing(r))
		return r;
	snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/cpumap", node->id);
	r = stow_mask_read(root, path, &node->cpus, err);
	if (r == 0)
		*lists = false;
	if (!stow_is_missing(r))
		return r;
	node->cpus = (struct stow_idset){ 0 };
	stow_topology_assume(t, node->id, STOW_ASSUMED_CPUS);
	return 0;
}

/* Find the node that the kernel allocates from for this CPU: the link in the CPU's folder. */
static int linked_node(struct stow_root *root, int cpu, int *ret_node, struct stow_err *err)
{
	struct stow_idset nodes;
	char dir[64];
	int r;

	snprintf(dir, sizeof(dir), "/sys/devices/system/cpu/cpu%d", cpu);
	r = stow_root_list_ids(root, dir, "node", &nodes, err);
	if (r < 0 && !stow_is_missing(r))
		return r;
	*ret_node = r < 0 || stow_idset_count(&nodes) != 1 ? -1 : stow_idset_next(&nodes, 0);
	return 0;
}

/* Put a CPU on one node: the node that its folder links to, or else the first one that lists it, or
 * else the first node, as the kernel does. */
static int settle_cpu(struct stow_root *root, struct stow_topology *t, int cpu,
		      struct stow_err *err)
{
	const struct stow_node *home;
	int link, r;

	r = linked_node(root, cpu, &link, err);
	if (r < 0)
		return r;
	home = stow_topology_node(t, link);
	for (size_t i = 0; i < t->n_nodes && !home; i++)
		if (stow_idset_has(&t->nodes[i].cpus, cpu))
			home = &t->nodes[i];
	if (!home)
		home = &t->nodes[0];
	if (home->id != link && t->numa)
		stow_topology_assume(t, home->id, STOW_ASSUMED_CPUS);
	for (size_t i = 0; i < t->n_nodes; i++) {
		if (&t->nodes[i] == home)
			stow_idset_add(&t->nodes[i].cpus, cpu);
		else
			stow_idset_del(&t->nodes[i].cpus, cpu);
	}
	return 0;
}

/* Put every online CPU on exactly one node. Some firmware puts each CPU on every node. */
static int settle_cpus(struct stow_root *root, struct stow_topology *t, struct stow_err *err)
{
	struct stow_idset seen = { 0 }, odd = { 0 }, rest = t->online;

	for (size_t i = 0; i < t->n_nodes; i++) {
		struct stow_idset again = seen;

		stow_idset_and(&t->nodes[i].cpus, &t->online);
		stow_idset_and(&again, &t->nodes[i].cpus);
		stow_idset_or(&odd, &again);
		stow_idset_or(&seen, &t->nodes[i].cpus);
	}
	stow_idset_minus(&rest, &seen);
	if (t->numa)
		stow_idset_or(&odd, &rest);
	else
		t->nodes[0].cpus = t->online;
	STOW_IDSET_FOR(cpu, &odd) {
		int r = settle_cpu(root, t, cpu, err);

		if (r < 0)
			return r;
	}
	return 0;
}

static int machine_meminfo(struct stow_root *root, struct stow_meminfo *ret, struct stow_err *err)
{
	_cleanup_free_ char *text = NULL;
	size_t len;
	int r;

	r = stow_root_read(root, STOW_ROOT_READ_MAX, &text, &len, err, "/proc/meminfo");
	return r < 0 ? r : stow_meminfo_parse(text, len, ret, err);
}

/* A copied tree may lack a node's meminfo: then its amounts are 0, and marked as assumed. */
static int read_memory(struct stow_root *root, struct stow_topology *t, struct stow_err *err)
{
	for (size_t i = 0; i < t->n_nodes; i++) {
		struct stow_node *node = &t->nodes[i];
		struct stow_meminfo info = { 0 };
		int r = -ENOENT;

		if (t->numa)
			r = stow_meminfo_read(root, node->id, &info, err);
		if (r == -ENOENT && t->n_nodes == 1)
			r = machine_meminfo(root, &info, err);
		if (r < 0 && r != -ENOENT)
			return r;
		if (r == -ENOENT)
			stow_topology_assume(t, node->id, STOW_ASSUMED_MEMORY);
		node->mem_total = info.total;
		node->mem_free = info.free;
		node->mem_available = info.free;
	}
	return 0;
}

static int read_available(struct stow_root *root, struct stow_topology *t, struct stow_err *err)
{
	/* A copied tree does not tell its page size; nearly all machines have this machine's. */
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	struct stow_zones zones = { 0 };
	int r = stow_zones_read(root, false, &zones, err);

	/* Some sandboxes hide it from users other than root. Use the free memory instead. */
	if (r == -ENOENT || r == -EACCES) {
		for (size_t i = 0; i < t->n_nodes; i++)
			stow_topology_assume(t, t->nodes[i].id, STOW_ASSUMED_AVAILABLE);
		return 0;
	}
	if (r < 0)
		return r;
	for (size_t i = 0; i < t->n_nodes; i++) {
		struct stow_node *node = &t->nodes[i];
		struct stow_zone_sums sums = { 0 };
		uint64_t pages =
			stow_zones_sum(&zones, node->id, &sums) ? stow_zone_available(&sums) : 0;

		node->mem_available = node->mem_total;
		if (pages < node->mem_total / page)
			node->mem_available = pages * page;
		if (__builtin_mul_overflow(sums.present, page, &node->mem_present))
			node->mem_present = 0;
	}
	stow_zones_done(&zones);
	return 0;
}

static int read_pools(struct stow_root *root, struct stow_topology *t, struct stow_err *err)
{
	uint64_t sizes[STOW_POOLS_MAX];
	int n = stow_pool_sizes(root, sizes, err);

	if (n < 0)
		return n;
	for (size_t i = 0; i < t->n_nodes; i++) {
		struct stow_node *node = &t->nodes[i];

		for (int s = 0; s < n; s++) {
			int r = stow_pool_read(root, node->id, sizes[s],
					       &node->pools[node->n_pools], err);

			/* On some kernels, a node without memory has no pools. */
			if (r < 0 && r != -ENOENT)
				return r;
			if (r == 0)
				node->n_pools++;
		}
	}
	return 0;
}

/* Parse a line with one number for each online node, by ascending id (node_read_distance() in
 * drivers/base/node.c). False, with the row partly written, when it is malformed. */
static bool parse_distances(const char *text, int *row, size_t n)
{
	size_t got = 0;

	while (*text) {
		int v = 0;

		while (*text == ' ' || *text == '\n')
			text++;
		if (!*text)
			break;
		if (*text < '0' || *text > '9' || got == n)
			return false;
		for (; *text >= '0' && *text <= '9' && v < 1 << 20; text++)
			v = v * 10 + (*text - '0');
		row[got++] = v;
	}
	return got == n;
}

static int read_distances(struct stow_root *root, struct stow_topology *t, struct stow_err *err)
{
	size_t n = t->n_nodes;

	t->distance = calloc(n * n, sizeof(*t->distance));
	if (!t->distance)
		return stow_err_sys(err, ENOMEM, "reading the distances");
	for (size_t i = 0; i < n; i++) {
		int *row = t->distance + i * n, r = -ENOENT;
		char text[DISTANCE_MAX], path[64];

		snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/distance",
			 t->nodes[i].id);
		if (n > 1)
			r = stow_root_read_buf(root, text, sizeof(text), err, "%s", path);
		if (r < 0 && !stow_is_missing(r))
			return r;
		if (r >= 0 && !parse_distances(text, row, n))
			return stow_err_set(err, EINVAL,
					    "%s: \"%.64s\" is not a distance for each of the %zu "
					    "online nodes",
					    path, text, n);
		if (r >= 0)
			continue;
		for (size_t j = 0; j < n; j++)
			row[j] = i == j ? LOCAL_DISTANCE : REMOTE_DISTANCE;
		if (n > 1)
			stow_topology_assume(t, t->nodes[i].id, STOW_ASSUMED_DISTANCES);
	}
	return 0;
}

static int read_nodes(struct stow_root *root, struct stow_topology *t, struct stow_err *err)
{
	struct stow_idset ids;
	bool lists = true;
	int r = read_online_nodes(root, &ids, err);

	if (r < 0)
		return r;
	t->numa = !stow_idset_empty(&ids);
	if (!t->numa)
		stow_idset_add(&ids, 0);
	t->nodes = calloc(stow_idset_count(&ids), sizeof(*t->nodes));
	if (!t->nodes)
		return stow_err_sys(err, ENOMEM, "reading the nodes");
	STOW_IDSET_FOR(id, &ids) {
		struct stow_node *node = &t->nodes[t->n_nodes++];

		node->id = id;
		r = t->numa ? read_node_cpus(root, t, node, &lists, err) : 0;
		if (r < 0)
			return r;
	}
	r = settle_cpus(root, t, err);
	return r < 0 ? r : read_memory(root, t, err);
}

int stow_topology_read(struct stow_root *root, unsigned int flags,
		       struct stow_topology **ret_topology, struct stow_err *err)
{
	_cleanup_(stow_topology_free_ptr) struct stow_topology *t = calloc(1, sizeof(*t));
	struct stow_err inner = { 0 }; /* also for errors that are replaced by an assumption */
	int r;

	if (!t)
		return stow_err_sys(err, ENOMEM, "reading the topology");
	r = stow_online_cpus(root, &t->online, &inner);
	/* Every machine has a CPU: sysfs is not mounted, or is not readable. */
	if (r == 0 && stow_idset_empty(&t->online))
		r = stow_err_set(&inner, ENODATA, "%s/sys/devices/system/cpu has no CPU",
				 root->live ? "" : root->prefix);
	if (r == 0)
		r = read_isolated_cpus(root, t, &inner);
	if (r == 0)
		r = read_nodes(root, t, &inner);
	if (r == 0)
		r = read_distances(root, t, &inner);
	if (r == 0 && flags & STOW_TOPOLOGY_AVAILABLE)
		r = read_available(root, t, &inner);
	if (r == 0 && flags & STOW_TOPOLOGY_POOLS)
		r = read_pools(root, t, &inner);
	if (r == 0 && flags & STOW_TOPOLOGY_CPUS)
		r = stow_topology_read_cpus(root, t, &inner);
	if (r < 0)
		return stow_err_move(err, r, &inner);
	*ret_topology = STOW_TAKE_PTR(t);
	return 0;
}

void stow_topology_free(struct stow_topology *topology)
{
	if (!topology)
		return;
	free(topology->nodes);
	free(topology->distance);
	free(topology->cpus);
	free(topology);
}

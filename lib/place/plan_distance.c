// SPDX-License-Identifier: Apache-2.0
/* Distances between the nodes of a placement, and to a device. */
#include <stdio.h>

#include "place/plan_internal.h"

int stow_farthest(const struct stow_candidates *c, const int *set, size_t n)
{
	const struct stow_topology *topology = c->capacity->topology;
	size_t row = topology->n_nodes;
	int farthest = 0;

	for (size_t i = 0; topology->distance && i < n; i++)
		for (size_t j = 0; j < n; j++) {
			size_t from = (size_t)c->nodes[set[i]].index;
			int d = topology->distance[from * row + (size_t)c->nodes[set[j]].index];

			if (i != j && d > farthest)
				farthest = d;
		}
	return farthest;
}

int stow_near_node(const struct stow_capacity *capacity, const struct stow_request *request,
		   int device_node)
{
	int device = -1, best = -1;

	for (size_t i = 0; i < capacity->n_nodes; i++)
		if (capacity->nodes[i].id == device_node)
			device = (int)i;
	if (device < 0 || !stow_idset_empty(&capacity->topology->nodes[device].cpus))
		return device_node;
	/* A request that lists the device's node may use its memory. */
	if (!request->nodes_auto && stow_idset_has(&request->nodes, device_node) &&
	    request->policy != STOW_POLICY_SINGLE_NUMA_NODE)
		return device_node;
	for (int i = 0; i < (int)capacity->n_nodes; i++) {
		if (stow_idset_empty(&capacity->topology->nodes[i].cpus) ||
		    (!request->nodes_auto &&
		     !stow_idset_has(&request->nodes, capacity->nodes[i].id)))
			continue;
		if (best < 0 || stow_pair_distance(capacity, device, i) <
					stow_pair_distance(capacity, device, best))
			best = i;
	}
	return best < 0 ? device_node : capacity->nodes[best].id;
}

const char *stow_near_format(const struct stow_request *request, int near_node, int device_node,
			     char *buf, size_t size)
{
	if (near_node == device_node)
		snprintf(buf, size, "node %d of %.32s", near_node, request->near);
	else
		snprintf(buf, size, "node %d, the nearest with CPUs to node %d of %.32s", near_node,
			 device_node, request->near);
	return buf;
}

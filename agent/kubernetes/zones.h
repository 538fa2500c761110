/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Make a NodeResourceTopology (topology.node.k8s.io/v1alpha2) from devices, as
 * node-feature-discovery's topology-updater writes it, for kube-scheduler's plugin
 * NodeResourceTopologyMatch. Pure functions.
 *
 * A NUMA node is a zone "node-0" of type "Node", with capacity, allocatable and available amounts
 * of cpu, memory and each page size, and with its distances as costs. What the plugin (as of
 * 2026-08) makes of zones decides their form:
 *	- It indexes arrays by the number in a zone's name, and panics when the numbers have a gap
 *	  or reach 64. So a missing number is a zone without any amount, and NUMA nodes from 64 on
 *	  are left out.
 *	- Its score LeastNUMANodes considers only zones that have all resources of a request. So
 *	  every zone has all of them, with 0 where the NUMA node has none.
 *	- Its scores become negative for more zones than topologyManagerMaxNUMANodes, 8 by default.
 */

#include <json-c/json.h>
#include <stdbool.h>

#include "agent/kubernetes/slice.h"
#include "place/request.h"

#define AGENT_ZONES AGENT_SLICE_COSTS /* at most */

struct agent_zones_settings {
	const char *node;	 /* Kubernetes' node: the object's name, and its owner */
	const char *node_uid;	 /* of the Node object */
	enum stow_policy policy; /* of containers that name none */
};

/* Make the object from devices by ascending id; free it with json_object_put(). */
int agent_zones_make(const struct agent_zones_settings *settings,
		     const struct agent_slice_device *devices, size_t n, struct json_object **ret,
		     struct stow_err *err);

/* Return whether a stored object is what is wanted. Quantities are compared by value; further
 * owners do not matter. */
bool agent_zones_agree(struct json_object *wanted, struct json_object *stored);

/* Return whether `manager` has applied the zones of a stored object. */
bool agent_zones_are_of(struct json_object *stored, const char *manager);

/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Make ResourceSlices (resource.k8s.io/v1) from a report. Pure functions: they read and send
 * nothing.
 *
 * A device is a NUMA node, "node0", that any number of claims may share (allowMultipleAllocations).
 * Its capacities are
 *	cpus		online CPUs, less the reserved and isolated ones, in steps of 1
 *	memory		MemTotal, less all pools and the reserve, in steps of 1Mi
 *	hugepages2Mi	a pool's persistent pages, in steps of one page; one for each size
 * each less what is granted to containers without claims, which kube-scheduler does not know of.
 *
 * A claim that does not mention a capacity takes none of it (min and default are 0). The API server
 * refuses a whole slice for one capacity that is smaller than its step, so such a capacity is left
 * out, and so is a device that has none left.
 */

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/kubernetes/names.h"
#include "base/err.h"
#include "node/hugepage.h"
#include "numastow/v1/node.pb-c.h"

#define AGENT_SLICE_FENCE   AGENT_DRIVER "/fence" /* a taint's key */
#define AGENT_SLICE_DEVICES 64			  /* of one slice: the limit when one has a taint */
#define AGENT_SLICE_ROOTS   16 /* PCIe roots of a device; the API allows 48 values */
#define AGENT_SLICE_COSTS   64 /* NUMA nodes of a NodeResourceTopology: agent/kubernetes/zones.h */
#define AGENT_SLICE_SINCE   32 /* bytes of a time, "2026-11-26T12:00:00Z" */

/* What a report does not tell about a NUMA node. */
struct agent_slice_facts {
	uint32_t id;
	int socket;		  /* physical_package_id; -1: unknown */
	int tier;		  /* of memory; -1: unknown */
	uint64_t reserved_memory; /* bytes */
	bool exclusive;		  /* pods without a claim can be kept off exclusive CPUs */
	size_t n_roots;
	char roots[AGENT_SLICE_ROOTS][16]; /* "pci0000:00" */
};

/* Amounts on one NUMA node; `pages` are those of the device's pools, in their order. */
struct agent_slice_amounts {
	uint64_t cpus;
	uint64_t memory; /* bytes */
	uint64_t pages[STOW_POOLS_MAX];
};

/* What a NUMA node has. Slices offer `offered`; NodeResourceTopology objects have all others. */
struct agent_slice_device {
	struct agent_slice_facts facts;
	bool fenced, no_execute;
	char since[AGENT_SLICE_SINCE];	/* when it was fenced; "": unknown */
	bool has_cpus, has_memory;	/* even if none is left */
	uint64_t pools[STOW_POOLS_MAX]; /* page sizes */
	size_t n_pools;
	struct agent_slice_amounts capacity;	/* online CPUs, MemTotal, all pages of the pools */
	struct agent_slice_amounts allocatable; /* less reserved and isolated CPUs, pools, the
						 * reserve, and surplus pages */
	struct agent_slice_amounts offered;	/* less what containers without claims have */
	struct agent_slice_amounts available;	/* less what claims have, too */
	uint8_t costs[AGENT_SLICE_COSTS];	/* distances to NUMA nodes, by id; 0: unknown */
};

/* Make the devices of a report, by ascending id; `facts` may lack some of them. The caller frees
 * *ret with free(). */
int agent_slice_devices(const PbNodeReport *report, const struct agent_slice_facts *facts,
			size_t n_facts, struct agent_slice_device **ret, size_t *ret_n,
			struct stow_err *err);

struct agent_slice_settings {
	const char *node;     /* Kubernetes' node: the pool's name, and the slices' owner */
	const char *node_uid; /* of the Node object */
	bool lists;	      /* attributes that are lists (gate DRAListTypeAttributes) */
	bool taints;	      /* false: fenced devices are left out */
	bool binding;	      /* a pod is bound when its claim is prepared */
	int64_t generation;
};

/* Make the slices: an array of objects; free it with json_object_put(). It is empty when no device
 * has anything to offer. */
int agent_slice_make(const struct agent_slice_settings *settings,
		     const struct agent_slice_device *devices, size_t n, struct json_object **ret,
		     struct stow_err *err);

/* Return the name of a node's slice number `i`, for the caller to free; NULL: out of memory. */
char *agent_slice_name(const char *node, size_t i);

/* How an object that the API server has stored compares with what was wanted. */
enum agent_slice_compared {
	AGENT_SLICE_SAME,
	AGENT_SLICE_DIFFERENT,
	AGENT_SLICE_NO_SHARING, /* allowMultipleAllocations or a request policy was dropped */
	AGENT_SLICE_NO_TAINTS,	/* taints were dropped */
	AGENT_SLICE_NO_BINDING, /* binding conditions were dropped */
};

/* Compare specs and owners, without the generation. Quantities are compared by value, because the
 * API server normalizes them; a taint's `timeAdded` is compared only if `wanted` has it. */
enum agent_slice_compared agent_slice_compare(struct json_object *wanted,
					      struct json_object *stored);

/* Return the `timeAdded` of a device's fence in a stored slice; "" when it has none. */
const char *agent_slice_since(struct json_object *stored, uint32_t id);

/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The machines' NUMA nodes, from the ResourceSlices of our driver, and what claims take of them. */

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "cli/kubectl/amounts.h"
#include "kube/kube.h"

#define KUBECTL_DEVICES_MAX 65536
#define KUBECTL_TAINTS_MAX  8

struct kubectl_taint {
	char key[80], value[64], effect[16];
};

/* A NUMA node. */
struct kubectl_device {
	char *machine, *name; /* the name is "node0" */
	int64_t generation;
	int64_t node, socket, cpu_count, tier; /* -1: not known */
	char kind[16];
	struct kubectl_amounts capacity;
	uint64_t used[KUBECTL_AMOUNTS]; /* of each capacity, by claims */
	uint64_t claims;		/* shares of claims */
	struct kubectl_taint taints[KUBECTL_TAINTS_MAX];
	size_t n_taints;
};

struct kubectl_machine {
	const char *name;
	bool complete; /* all of its slices are there; kube-scheduler waits for that */
	struct kubectl_device *devices;
	size_t n_devices;
};

struct kubectl_machines {
	struct kubectl_device *devices;
	struct kubectl_machine *list; /* by name */
	size_t n_devices, n;
	struct stow_err unknown; /* why it is not known what claims take; code 0: it is known */
};

/* Read slices and claims. When claims may not be listed, `unknown` says why. */
int kubectl_machines_read(struct stow_kube *kube, struct kubectl_machines *ret,
			  struct stow_err *err);
void kubectl_machines_done(struct kubectl_machines *machines);

/* Return the machine, or NULL. */
const struct kubectl_machine *kubectl_machines_find(const struct kubectl_machines *machines,
						    const char *name);
/* Read the key, value and effect of a taint, or of a toleration, which has the same. */
void kubectl_taint_read(struct json_object *object, struct kubectl_taint *ret);
/* Return what is left of a device's i-th capacity. */
uint64_t kubectl_left(const struct kubectl_device *device, size_t i);

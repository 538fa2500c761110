/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What a device tree says about NUMA, where there is no ACPI: Documentation/devicetree/bindings/
 * numa.txt (numa-node-id, distance-map), read from /sys/firmware/devicetree/base. Of POWER's
 * ibm,associativity nothing is read.
 *
 * Each property is a file of big-endian numbers. Depth and number of folders are bounded.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/root.h"

struct stow_dt_cpu {
	uint32_t domain; /* numa-node-id */
	char path[80];	 /* below the base: "cpus/cpu@100" */
};

struct stow_dt_memory {
	uint32_t domain;
	uint64_t start, size; /* bytes */
};

struct stow_dt_distance {
	uint32_t from, to, distance;
};

struct stow_devicetree {
	bool present;
	struct stow_dt_cpu *cpus; /* by ascending path */
	size_t n_cpus;
	struct stow_dt_memory *memory; /* by ascending start */
	size_t n_memory;
	struct stow_dt_distance *distances;
	size_t n_distances;
	size_t n_broken; /* properties of an impossible length; they are left out */
};

/* Read it; nothing on a machine without a device tree. Free with stow_devicetree_done(). -ENOMEM,
 * -EACCES. */
int stow_devicetree_read(struct stow_root *root, struct stow_devicetree *ret, struct stow_err *err);
void stow_devicetree_done(struct stow_devicetree *tree);

/* Parse the property `reg` of a memory node: addresses and sizes of 1 or 2 cells each. Append to
 * `tree`. -EINVAL: an impossible length, or a range beyond 64 bits; -ENOMEM. */
int stow_devicetree_parse_reg(const void *data, size_t len, unsigned int address_cells,
			      unsigned int size_cells, uint32_t domain,
			      struct stow_devicetree *tree);

/* Parse the property distance-matrix: triples of domains and a distance. As above. */
int stow_devicetree_parse_distances(const void *data, size_t len, struct stow_devicetree *tree);

/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The views of `numastow topology` beyond its text: tables, the tree, the firmware's tables, SVG.
 * Each prints to standard output and returns 0, or -errno with `err` set. */

#include "base/cleanup.h"
#include "cli/topology_view.h"
#include "cli/view/output.h"
#include "cli/view/table.h"
#include "node/firmware.h"

/* Which container has each CPU, by the ledger. */
struct topology_owners {
	char **names; /* each container once */
	size_t n_names;
	const char *of[STOW_IDSET_MAX]; /* NULL: no container's alone */
};

/* Read the owners of exclusive CPUs; none without a ledger. Free with topology_owners_free(). */
int topology_owners_read(struct stow_root *root, const struct topology_data *data,
			 struct topology_owners **ret, struct stow_err *err);
void topology_owners_free(struct topology_owners *owners);
STOW_DEFINE_CLEANUP(topology_owners_free, struct topology_owners);

/* One row for each CPU. */
extern const struct cli_column topology_cpu_columns[];
int topology_print_table(const struct topology_data *data, const struct topology_owners *owners,
			 const struct cli_output *out, struct stow_err *err);

/* Packages, nodes, caches, cores and CPUs as a tree. */
extern const struct cli_column topology_tree_columns[];
int topology_print_tree(const struct topology_data *data, const struct topology_owners *owners,
			const struct cli_output *out, struct stow_err *err);

/* What the firmware says, and where the kernel disagrees. */
int topology_print_firmware(const struct stow_firmware *firmware, const struct cli_output *out,
			    struct stow_err *err);
int topology_print_firmware_json(const struct stow_firmware *firmware, struct stow_err *err);

/* Write an SVG to `path`, "-" for standard output. */
int topology_write_svg(const struct topology_data *data, const struct topology_owners *owners,
		       const char *path, struct stow_err *err);

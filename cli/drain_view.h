/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The output of drains, both of local ones and of those that an agent or a scheduler runs. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/grid.h"
#include "cli/bar.h"
#include "drain/message.h"

struct drain_view {
	bool json, dry_run, interrupted;
	struct cli_bar bar;
	PbDrainStep last;  /* 0: nothing was printed */
	uint32_t code;	   /* of the last message: a gRPC status */
	size_t n_culprits; /* culprits that were printed */
	char said[1024];   /* the last message */
	char error[1024];  /* of an unsuccessful outcome */
};

void drain_view_init(struct drain_view *view, bool json, bool dry_run);
/* Print progress, as lines and a bar, or as one JSON object with the names of drain.proto. */
void drain_view_show(struct drain_view *view, const PbDrainProgress *progress);
/* Finish the output, print a failure's reason to standard error, and return the exit code. */
int drain_view_finish(struct drain_view *view);

/* Print culprits and suspects: one line each, with advice below it. */
void drain_view_culprits(const PbDrainProgress *progress);
/* Print a table of drains; `cluster`: of all machines. -EINVAL, -ENOMEM, as stow_grid_print(). */
int drain_view_list(PbDrain *const *drains, size_t n, bool cluster,
		    const struct stow_grid_style *style, struct stow_err *err);
/* Print the names of its columns, for --help. */
void drain_view_columns(FILE *out);

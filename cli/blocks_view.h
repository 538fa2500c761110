/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What `numastow blocks` shows, in either format. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "node/memblock.h"
#include "pages/leave.h"
#include "pages/owners.h"

/* One block as it is shown. */
struct blocks_row {
	const struct stow_memblock *block;
	const struct stow_block_use *use; /* NULL: not looked at */
	struct stow_leave_verdict leave;
};

/* A memory cgroup that has something in some block. */
struct blocks_cgroup {
	uint64_t inode;
	char *path; /* NULL: gone */
};

struct blocks_view {
	const struct stow_memblocks *list;
	struct blocks_row *rows; /* by ascending number */
	size_t n_rows;
	bool all;    /* a line for each */
	bool owners; /* and what is in it */
	uint64_t page_size;
	struct blocks_cgroup *cgroups; /* by inode */
	size_t n_cgroups;
	bool owners_known;
	const char *unknown; /* why some of it is not known; NULL */
};

/* The cgroup's path, "" when it is gone. */
const char *blocks_cgroup_path(const struct blocks_view *view, uint64_t inode);

/* The name of the block's device, NULL when it came with the machine. */
static inline const char *blocks_device(const struct blocks_view *view,
					const struct blocks_row *row)
{
	return row->block->device < 0 ? NULL : view->list->devices[row->block->device].name;
}

/* The sum of what is in `n` rows, with owners by descending number of pages, which are to be freed.
 * -ENOMEM. */
int blocks_sum(const struct blocks_row *rows, size_t n, struct stow_block_use *ret);

int blocks_print_text(const struct blocks_view *view);
int blocks_print_json(const struct blocks_view *view);

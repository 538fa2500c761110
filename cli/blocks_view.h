/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The output of `numastow blocks`, as text or JSON. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/grid.h"
#include "base/idset.h"
#include "cli/json_writer.h"
#include "node/memblock.h"
#include "pages/leave.h"
#include "pages/owners.h"

/* A memory block. */
struct blocks_row {
	const struct stow_memblock *block;
	const struct stow_block_use *use; /* NULL: not read */
	struct stow_leave_verdict leave;
};

/* A memory cgroup that has pages in a block. */
struct blocks_cgroup {
	uint64_t inode;
	char *path; /* NULL: removed */
};

struct blocks_view {
	const struct stow_memblocks *list;
	struct blocks_row *rows; /* by ascending number */
	size_t n_rows;
	bool all; /* a line for each block */
	const struct stow_grid_style *style;
	bool owners; /* with the owners of pages */
	uint64_t page_size;
	struct blocks_cgroup *cgroups; /* by inode */
	size_t n_cgroups;
	bool owners_known;
	const char *unknown; /* why the owners are not known, or NULL */
};

/* Return the cgroup's path, or "" when it was removed. */
const char *blocks_cgroup_path(const struct blocks_view *view, uint64_t inode);

/* Return the name of the block's device, or NULL when the memory was there at boot. */
static inline const char *blocks_device(const struct blocks_view *view,
					const struct blocks_row *row)
{
	return row->block->device < 0 ? NULL : view->list->devices[row->block->device].name;
}

/* Sum up `n` rows. The owners are sorted by descending number of pages; the caller frees them.
 * -ENOMEM. */
int blocks_sum(const struct blocks_row *rows, size_t n, struct stow_block_use *ret);

/* Print the blocks. -EINVAL: --output names an unknown column; -ENOMEM. */
int blocks_print_text(const struct blocks_view *view, struct stow_err *err);
/* Print the names of the columns, for --help. */
void blocks_columns(FILE *out);
int blocks_print_json(const struct blocks_view *view);
/* Return an object with the bytes of each kind of page, by the kind's name. `pages` has the number
 * of pages of each enum stow_page_kind. */
json_object *blocks_kinds_json(struct json_writer *w, const uint64_t *pages, uint64_t page_size);

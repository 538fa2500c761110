// SPDX-License-Identifier: Apache-2.0
/* What both formats of `numastow blocks` need. */
#include "cli/blocks_view.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Of cgroups and of owners: the inode is the first member of both. */
static int by_inode(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

const char *blocks_cgroup_path(const struct blocks_view *view, uint64_t inode)
{
	const struct blocks_cgroup *found =
		view->n_cgroups ? bsearch(&inode, view->cgroups, view->n_cgroups,
					  sizeof(*view->cgroups), by_inode)
				: NULL;

	return found && found->path ? found->path : "";
}

int blocks_sum(const struct blocks_row *rows, size_t n, struct stow_block_use *ret)
{
	struct stow_block_use sum = { 0 };
	size_t capacity = 1;

	for (size_t i = 0; i < n; i++)
		capacity += rows[i].use ? rows[i].use->n_owners : 0;
	sum.owners = calloc(capacity, sizeof(*sum.owners));
	if (!sum.owners)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		const struct stow_block_use *use = rows[i].use;

		for (int kind = 0; use && kind < STOW_PAGE_KINDS; kind++)
			sum.pages[kind] += use->pages[kind];
		sum.unevictable += use ? use->unevictable : 0;
		sum.mapped += use ? use->mapped : 0;
		if (use && use->n_owners)
			memcpy(sum.owners + sum.n_owners, use->owners,
			       use->n_owners * sizeof(*use->owners));
		sum.n_owners += use ? use->n_owners : 0;
	}
	qsort(sum.owners, sum.n_owners, sizeof(*sum.owners), by_inode);
	capacity = sum.n_owners;
	sum.n_owners = 0;
	for (size_t i = 0; i < capacity; i++) {
		struct stow_owner *last = sum.n_owners ? &sum.owners[sum.n_owners - 1] : NULL;

		if (last && last->inode == sum.owners[i].inode)
			for (int kind = 0; kind < STOW_PAGE_KINDS; kind++)
				last->pages[kind] += sum.owners[i].pages[kind];
		else
			sum.owners[sum.n_owners++] = sum.owners[i];
	}
	*ret = sum;
	return 0;
}

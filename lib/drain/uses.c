// SPDX-License-Identifier: Apache-2.0
/* Whose pages are in the blocks, all blocks together. */
#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "cgroup/paths.h"
#include "drain/internal.h"

int stow_drain_owner_paths(const struct stow_root *root, const struct stow_block_use *use,
			   char ***ret_paths)
{
	_cleanup_free_ uint64_t *inodes = calloc(use->n_owners + 1, sizeof(*inodes));
	char **paths = calloc(use->n_owners + 1, sizeof(*paths));

	if (!inodes || !paths) {
		free(paths);
		return -ENOMEM;
	}
	for (size_t i = 0; i < use->n_owners; i++)
		inodes[i] = use->owners[i].inode;
	if (use->n_owners)
		(void)stow_cgroup_paths((struct stow_root *)(uintptr_t)root, inodes, use->n_owners,
					paths, NULL);
	*ret_paths = paths;
	return 0;
}

void stow_drain_owner_paths_free(char **paths, size_t n)
{
	for (size_t i = 0; paths && i < n; i++)
		free(paths[i]);
	free(paths);
}

int stow_drain_merge_uses(const struct stow_drain_plan *plan, struct stow_block_use *ret)
{
	*ret = (struct stow_block_use){ 0 };
	for (size_t b = 0; b < plan->n_blocks; b++) {
		const struct stow_block_use *use = &plan->blocks[b].use;
		struct stow_owner *grown = reallocarray(
			ret->owners, ret->n_owners + use->n_owners + 1, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		ret->owners = grown;
		ret->unevictable += use->unevictable;
		for (int k = 0; k < STOW_PAGE_KINDS; k++)
			ret->pages[k] += use->pages[k];
		for (size_t i = 0; i < use->n_owners; i++) {
			size_t o = 0;

			while (o < ret->n_owners && grown[o].inode != use->owners[i].inode)
				o++;
			if (o == ret->n_owners)
				grown[ret->n_owners++] =
					(struct stow_owner){ .inode = use->owners[i].inode };
			for (int k = 0; k < STOW_PAGE_KINDS; k++)
				grown[o].pages[k] += use->owners[i].pages[k];
		}
	}
	return 0;
}

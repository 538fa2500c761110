// SPDX-License-Identifier: Apache-2.0
#include "cli/blame.h"

#include <stdio.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "pages/culprit.h"
#include "pages/kmsg.h"
#include "pages/owners.h"

int cli_blame_open(struct stow_root *root)
{
	return stow_kmsg_open(root, NULL);
}

static void print_culprits(const struct stow_culprits *culprits)
{
	char line[512];

	for (size_t i = 0; i < culprits->n; i++) {
		const struct stow_culprit *culprit = &culprits->list[i];

		printf("    %s%s\n", culprit->proven ? "" : "perhaps ",
		       stow_culprit_format(culprit, line, sizeof(line)));
		if (culprit->advice && *culprit->advice)
			printf("      %s\n", culprit->advice);
	}
}

void cli_blame(struct stow_root *root, int kmsg, const struct stow_memblocks *list, uint64_t id)
{
	_cleanup_(stow_culprits_done_ptr) struct stow_culprits culprits = { 0 };
	_cleanup_(stow_use_done_ptr) struct stow_use use = { 0 };
	uint64_t per_block = list->block_size / (uint64_t)sysconf(_SC_PAGESIZE);
	_cleanup_free_ uint64_t *pfns = NULL;
	struct stow_err err;
	size_t n = 0;

	if (kmsg >= 0 &&
	    stow_kmsg_stuck(kmsg, id * per_block, (id + 1) * per_block, &pfns, &n, NULL) == 0 &&
	    n && stow_culprits_prove(root, pfns, n, &culprits, NULL) == 0 && culprits.n) {
		print_culprits(&culprits);
		return;
	}
	stow_culprits_done(&culprits);
	if (stow_use_read(root, list, &id, 1, &use, &err) < 0)
		printf("    %s\n", err.msg);
	else if (stow_culprits_suspect(root, use.blocks, &culprits, &err) == 0)
		print_culprits(&culprits);
}

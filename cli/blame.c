// SPDX-License-Identifier: Apache-2.0
#include "cli/blame.h"

#include <stdio.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "pages/culprit.h"
#include "pages/kmsg.h"
#include "pages/owners.h"

void cli_blame_print(const struct stow_culprits *culprits)
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

int cli_blame(struct stow_root *root, int kmsg, const struct stow_memblocks *list, uint64_t id,
	      struct stow_culprits *ret, struct stow_err *err)
{
	_cleanup_(stow_use_done) struct stow_use use = { 0 };
	uint64_t per_block = list->block_size / (uint64_t)sysconf(_SC_PAGESIZE);
	_cleanup_free_ uint64_t *pfns = NULL;
	size_t n = 0;
	int r;

	if (kmsg >= 0 &&
	    stow_kmsg_stuck(kmsg, id * per_block, (id + 1) * per_block, &pfns, &n, NULL) == 0 &&
	    n && stow_culprits_prove(root, pfns, n, ret, NULL) == 0) {
		if (ret->n)
			return 0;
		stow_culprits_done(ret);
	}
	r = stow_use_read(root, list, &id, 1, &use, err);
	return r < 0 ? r : stow_culprits_suspect(root, use.blocks, ret, err);
}

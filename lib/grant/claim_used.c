// SPDX-License-Identifier: Apache-2.0
#include "grant/claim_used.h"

#include "base/cleanup.h"
#include "base/math.h"
#include "cgroup/limits.h"

static uint64_t promised(const struct stow_record *share, int node, uint64_t page_size)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < share->n_shares; i++) {
		if (share->shares[i].node != node)
			continue;
		if (!page_size)
			sum += share->shares[i].memory;
		for (size_t p = 0; p < share->n_pages; p++)
			if (page_size && share->pages[p].size == page_size)
				sum += share->shares[i].pages[p];
	}
	return sum;
}

uint64_t stow_claim_used(struct stow_root *root, struct stow_record *const *records, size_t n,
			 const struct stow_record *share, int node, uint64_t page_size)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < n; i++) {
		_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cgroup = NULL;
		uint64_t used = 0;
		int r;

		if (records[i]->state != STOW_STATE_ACTIVE ||
		    !stow_record_holds(records[i], share->key) ||
		    stow_cgroup_open(root, &records[i]->cgroup, &cgroup, NULL) < 0)
			continue;
		r = page_size ? stow_hugetlb_used(cgroup, page_size, node, &used, NULL)
			      : stow_memory_used(cgroup, node, &used, NULL);
		if (r == 0)
			sum += stow_held_used(records[i], share->key, node, page_size, used);
	}
	return STOW_MIN(sum, promised(share, node, page_size));
}

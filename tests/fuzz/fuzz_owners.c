// SPDX-License-Identifier: Apache-2.0
/*
 * /proc/kpageflags and its like, as words: whatever a kernel says of its pages, each counts once.
 * The first byte: how many pages the first of two calls gets, and which files there are.
 */
#include "fuzz.h"

#include "pages/kind.h"
#include "pages/owners.h"

static uint64_t sum(const uint64_t pages[STOW_PAGE_KINDS])
{
	uint64_t all = 0;

	for (int kind = 0; kind < STOW_PAGE_KINDS; kind++)
		all += pages[kind];
	return all;
}

static void check(const struct stow_block_use *use, size_t n)
{
	uint64_t owned = 0, in_pools = 0;

	FUZZ_CHECK(sum(use->pages) == n);
	FUZZ_CHECK(use->mapped <= n && use->unevictable <= n && use->n_owners <= n);
	FUZZ_CHECK(use->n_pools <= STOW_POOLS_MAX);
	for (size_t i = 0; i < use->n_owners; i++) {
		owned += sum(use->owners[i].pages);
		for (size_t other = 0; other < i && i < 64; other++)
			FUZZ_CHECK(use->owners[other].inode != use->owners[i].inode);
	}
	FUZZ_CHECK(owned == n);
	for (size_t i = 0; i < use->n_pools; i++) {
		FUZZ_CHECK(use->pools[i].size && use->pools[i].size % 4096 == 0);
		FUZZ_CHECK(use->pools[i].used <= use->pools[i].pages);
		in_pools += use->pools[i].pages * (use->pools[i].size / 4096);
	}
	FUZZ_CHECK(in_pools <= use->pages[STOW_PAGE_HUGETLB] + use->pages[STOW_PAGE_OFFLINE] +
				       use->pages[STOW_PAGE_FREE]);
	FUZZ_CHECK(stow_block_use_sum(use, true) + stow_block_use_sum(use, false) <= n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t n = size < 1 ? 0 : (size - 1) / (3 * 8), first = size < 1 ? 0 : data[0] >> 2;
	uint64_t *words = malloc(n * 3 * 8 + 1), *counts, *cgroups;
	struct stow_use_carry carry = { 0 };
	struct stow_block_use use = { 0 };
	int r;

	if (!words)
		abort();
	if (n)
		memcpy(words, data + 1, n * 3 * 8);
	counts = size && data[0] & 1 ? words + n : NULL;
	cgroups = size && data[0] & 2 ? words + 2 * n : NULL;
	first = first < n ? first : n;
	r = stow_use_count(&use, &carry, words, counts, cgroups, first, 4096, NULL);
	FUZZ_CHECK(r == 0);
	r = stow_use_count(&use, &carry, words + first, counts ? counts + first : NULL,
			   cgroups ? cgroups + first : NULL, n - first, 4096, NULL);
	FUZZ_CHECK(r == 0);
	r = stow_use_count(&use, &carry, NULL, NULL, NULL, 0, 4096, NULL);
	FUZZ_CHECK(r == 0 && carry.open == 0);
	check(&use, n);
	free(use.owners);
	free(words);
	return 0;
}

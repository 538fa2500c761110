// SPDX-License-Identifier: Apache-2.0
#include "pages/pairs.h"

static size_t index_of(const struct stow_idset *set, int id)
{
	size_t n = 0;

	STOW_IDSET_FOR(before, set)
		if (before < id)
			n++;
	return n;
}

size_t stow_pages_pairs(const struct stow_idset *from, const struct stow_idset *to,
			struct stow_page_pair *ret, size_t max)
{
	size_t n = 0, n_to = stow_idset_count(to);
	bool stay = stow_idset_count(from) != n_to;
	struct stow_idset left = *from;

	while (n < max && n_to) {
		struct stow_page_pair pair = { -1, -1 };

		/* Prefer a node whose target is not emptied itself later. */
		STOW_IDSET_FOR(id, &left) {
			int target = stow_idset_nth(to, index_of(from, id) % n_to);

			if (target == id || (stay && stow_idset_has(to, id)))
				continue;
			pair = (struct stow_page_pair){ id, target };
			if (!stow_idset_has(&left, target))
				break;
		}
		if (pair.from < 0)
			break;
		stow_idset_del(&left, pair.from);
		ret[n++] = pair;
	}
	return n;
}

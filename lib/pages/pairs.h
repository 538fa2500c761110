/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* From which node to which pages move when two sets of nodes are given, as migrate_pages(2) has it:
 * do_migrate_pages() in mm/mempolicy.c. */

#include <stddef.h>

#include "base/idset.h"

struct stow_page_pair {
	int from, to; /* nodes */
};

/* Map the n-th node of `from` to the n-th of `to`, beginning again at its first. A node maps to
 * itself, and is left out, if it is in both sets and these have different sizes. Fill `ret` in the
 * order in which the pairs have to be moved, so that no page moves twice, with at most `max` of
 * them; return their number. `to` must not be empty. */
size_t stow_pages_pairs(const struct stow_idset *from, const struct stow_idset *to,
			struct stow_page_pair *ret, size_t max);

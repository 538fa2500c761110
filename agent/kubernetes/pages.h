/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Hugepages that pods could not use. kubelet reads the pools only when it starts, and sets a limit
 * for all pods together by them. If the pools have more now, a claim could be allocated pages that
 * this limit refuses to its container. The limit does not say on which NUMA node the pages beyond
 * it are: so pages of that size are not published at all.
 */

#include "agent/kubernetes/slice.h"
#include "base/root.h"

struct agent_pages {
	uint64_t withheld[STOW_POOLS_MAX]; /* page sizes, as they were logged; 0: none */
};

/* Offer no pages of a size of which the devices have more than kubelet allows, and log it once. */
void agent_pages_withhold(struct agent_pages *pages, struct stow_root *root,
			  struct agent_slice_device *devices, size_t n);

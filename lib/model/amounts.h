/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Amounts: requested, given by one node, and capped. */

#include <stdint.h>

#include "node/hugepage.h"

struct stow_page_request {
	uint64_t size;	/* bytes per page */
	uint64_t count; /* pages */
};

/* One node's part of a placement. */
struct stow_share {
	int node;
	uint32_t cpus;
	uint64_t memory;		/* bytes */
	uint64_t pages[STOW_POOLS_MAX]; /* count; index as in the request's pages */
};

/* The most that one container, or a namespace, may have; also used for what it has. 0: no cap. */
struct stow_caps {
	uint32_t cpus;
	uint64_t memory;    /* bytes */
	uint64_t hugepages; /* bytes, all sizes together */
};

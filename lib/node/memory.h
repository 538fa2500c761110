/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A node's memory: its amounts (meminfo) and what is available of it (zoneinfo).
 *
 * The parsers are pure functions over a text that need not be terminated, so that they can be
 * fuzzed; unknown lines are skipped, because every kernel release adds some.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/root.h"

struct stow_meminfo {
	uint64_t total; /* bytes */
	uint64_t free;	/* bytes */
};

/* Parse /proc/meminfo or a node's meminfo (where lines begin with "Node N "). A missing line counts
 * as 0. -EINVAL: a needed line has no number; -ERANGE: over 2^64 bytes. */
int stow_meminfo_parse(const char *text, size_t len, struct stow_meminfo *ret,
		       struct stow_err *err);

/* Read a node's meminfo. -ENOENT: there is no such node, or it has no such file. */
int stow_meminfo_read(struct stow_root *root, int node, struct stow_meminfo *ret,
		      struct stow_err *err);

/* Sums over a node's zones, in pages. */
struct stow_zone_sums {
	int node;
	uint64_t free;
	uint64_t low; /* watermarks */
	uint64_t high;
	uint64_t file;	      /* on the file LRU lists, active and inactive */
	uint64_t reclaimable; /* slab and other kernel memory that can be reclaimed */
};

struct stow_zoneinfo {
	struct stow_zone_sums *nodes; /* by order of appearance, each node once */
	size_t n_nodes;
};

/* Parse /proc/zoneinfo. -EINVAL: not a zoneinfo, or a needed line has no number; -ERANGE: an
 * impossible number. Free with stow_zoneinfo_done(). */
int stow_zoneinfo_parse(const char *text, size_t len, struct stow_zoneinfo *ret,
			struct stow_err *err);
int stow_zoneinfo_read(struct stow_root *root, struct stow_zoneinfo *ret, struct stow_err *err);
void stow_zoneinfo_done(struct stow_zoneinfo *info);

/* Return the sums of a node, or NULL. */
const struct stow_zone_sums *stow_zoneinfo_node(const struct stow_zoneinfo *info, int node);

/*
 * Return the pages that can be allocated without pushing the node below its watermarks: the
 * kernel's si_mem_available() (mm/show_mem.c), for one node. Free pages above the high watermarks,
 * plus file pages and reclaimable slab; half of each of these two, or the low watermarks if these
 * are less, count as in use.
 */
uint64_t stow_zone_available(const struct stow_zone_sums *sums);

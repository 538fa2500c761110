/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The output of `numastow zones`, as text or JSON. */

#include <stdbool.h>
#include <stddef.h>

#include "base/idset.h"
#include "base/root.h"
#include "cli/view/output.h"
#include "node/counters.h"
#include "node/daemons.h"
#include "node/watermarks.h"
#include "node/zones.h"

/* A cgroup with its pressure. */
struct zones_cgroup {
	char *path; /* within the hierarchy */
	char *id;   /* of the container; NULL: it is none */
	char *name; /* Podman's; NULL: not known */
	struct stow_psi psi;
};

struct zones_view {
	const struct cli_output *out;
	bool lists;  /* with the page lists of each CPU */
	bool orders; /* with free blocks of all sizes */
	bool alone;  /* the zones only: neither kernel threads nor pressure stalls are read */

	struct stow_zones zones;
	struct stow_zone_knobs knobs;
	struct stow_zones_account account;
	struct stow_idset nodes; /* that have zones */
	struct stow_node_daemon *daemons;
	size_t n_daemons;
	bool daemons_known;
	struct stow_psi psi; /* of the machine's memory */
	bool psi_known;
	struct zones_cgroup *cgroups;
	size_t n_cgroups;
};

/* Read all of it. What cannot be read is unknown, and printed to standard error in one line each.
 * -ENOENT, -EINVAL: there is neither a zoneinfo nor a buddyinfo. */
int zones_view_read(struct stow_root *root, struct zones_view *view, struct stow_err *err);
void zones_view_done(struct zones_view *view);

/* Return an amount of pages in bytes; STOW_UNKNOWN: either is unknown. */
uint64_t zones_bytes(const struct zones_view *view, uint64_t pages);
/* Sum up the free blocks of all zones of a node, by order. */
void zones_node_blocks(const struct stow_zones *zones, int node, struct stow_zone *ret);
/* Return the order of a transparent hugepage, or -1. */
int zones_huge_order(const struct zones_view *view);
/* Return the thread of a node, or NULL. */
const struct stow_node_daemon *zones_daemon(const struct zones_view *view, int node, bool compacts);
/* Return a word for where min_free_kbytes comes from: "khugepaged". */
const char *zones_source_word(enum stow_min_free source);
/* Return a word for why watermarks are not as computed: "memory-changed". */
const char *zones_why_word(enum stow_wmark_why why);

/* Print; return 0 or -errno. */
int zones_print_text(const struct zones_view *view, struct stow_err *err);
int zones_print_json(const struct zones_view *view);

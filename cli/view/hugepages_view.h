/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What numastow hugepages shows: reading it, and printing it. */

#include "base/idset.h"
#include "cli/context.h"
#include "cli/view/output.h"
#include "cli/view/table.h"
#include "grant/names.h"
#include "node/hugetlb.h"
#include "node/settings.h"
#include "pages/huge.h"

/* A node's pool of one size. */
struct huge_pool {
	int node;
	uint64_t size;
	bool known; /* false: its files cannot be read */
	struct stow_pool pool;
	bool ledger_known;
	uint64_t promised, added; /* pages; `added`: by numastow to the pool, for its grants */
	uint64_t boot;		  /* pages that are set at boot */
};

/* A container or process that has pages of a pool, or was promised some. */
struct huge_user {
	const char *kind; /* "container" or "process" */
	char *name;	  /* a label of the ledger, a container's id, or "PID (PROGRAM)" */
	char *called;	  /* Kubernetes' or Podman's name of a container; NULL: not known */
	int node;
	uint64_t size;
	uint64_t used, promised; /* pages; STOW_UNKNOWN */
};

/* Transparent hugepages in a node's memory, in bytes; STOW_UNKNOWN. */
struct huge_transparent {
	int node;
	uint64_t anonymous, shared, file;
};

struct huge_view {
	const struct cli_output *out;
	struct huge_pool *pools;
	size_t n_pools;
	struct stow_hugetlb machine[STOW_POOLS_MAX];
	size_t n_machine;
	struct stow_names names;
	struct huge_user *users;
	size_t n_users;
	size_t hidden; /* processes with hugepages that only root can look at */
	struct stow_hugetlbfs_list mounts;
	uint64_t *mounts_used;		    /* bytes, for each mount; STOW_UNKNOWN */
	struct stow_knob_settings settings; /* of transparent hugepages */
	struct huge_transparent *transparent;
	size_t n_transparent;
	char *vmstat; /* /proc/vmstat; NULL */
};

extern const struct cli_column hugepages_columns[];

/* Read everything; what cannot be read is unknown, with a line on standard error. */
int huge_view_read(struct cli_context *context, const struct cli_output *out, struct huge_view *ret,
		   struct stow_err *err);
void huge_view_done(struct huge_view *view);

/* Print as text: all tables, or with --output, --pairs or --raw that of the pools only. */
int huge_view_print(const struct huge_view *view, struct stow_err *err);
int huge_view_print_json(const struct huge_view *view);

/* List the NUMA nodes; a kernel without NUMA has node 0. */
void huge_nodes(struct stow_root *root, struct stow_idset *ret);

/* The command line of set, spread, shrink, demote or mount. */
struct huge_asked {
	struct cli_output out;
	bool compact, persist;
	uint64_t limit; /* of a mount, in bytes */
	char **words;	/* the subcommand, and its arguments */
	int n_words;
};

/* Run set, spread, shrink, demote or mount. Return the exit code. */
int huge_change(const struct huge_asked *asked);

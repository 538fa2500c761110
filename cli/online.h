/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* numastow online and offline: which blocks are meant, what became of each, and how that is
 * printed. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/idset.h"
#include "node/hotplug.h"
#include "node/memblock.h"
#include "pages/culprit.h"

struct online_asked {
	const char *sysroot, *what; /* `what`: blocks, addresses or a size, as typed */
	bool offline;
	bool dry_run, json, quiet;
	enum stow_memblock_zone zone;
	struct stow_idset nodes; /* of these NUMA nodes; empty: of all */
	uint64_t timeout;	 /* ns, of one block */
};

/* Blocks in the order in which they are tried, until `wanted` of them are as asked. */
struct online_choice {
	uint64_t *ids;
	size_t n, wanted;
	uint64_t size; /* bytes, when a size was typed; else 0 */
};

/*
 * Find the blocks that are meant. -EINVAL: what was typed is no list, range or size, or not in
 * whole blocks; -ENOENT: a block does not exist; -ENOSPC: fewer blocks than the size has are in the
 * other state and can change it. The list must have been read with zones and devices. Free with
 * online_choice_done(); on failure there is nothing to free.
 */
int online_choose(const struct stow_memblocks *list, const struct online_asked *asked,
		  struct online_choice *ret, struct stow_err *err);
void online_choice_done(struct online_choice *choice);

enum online_state {
	ONLINE_DONE,
	ONLINE_ALREADY,
	ONLINE_FAILED,
	ONLINE_PLANNED, /* a dry run */
	ONLINE_STATES,
};

struct online_result {
	const struct stow_memblock *block;
	enum online_state state;
	char reason[512];	       /* of a failure; else "" */
	struct stow_culprits culprits; /* of a failure */
	bool blamed;		       /* culprits were looked for */
	char unknown[256];	       /* why none could be found, or "" */
};

struct online_results {
	struct online_result *list;
	size_t n, count[ONLINE_STATES];
};

void online_results_done(struct online_results *results);

/* Print one block's result as text, and what kept it online below it. */
void online_print(const struct online_asked *asked, const struct online_result *result);
/* Print how many there were of each result. */
void online_print_sum(const struct online_asked *asked, const struct stow_memblocks *list,
		      const struct online_results *results);
/* Print all of it as JSON. -ENOMEM. */
int online_print_json(const struct online_asked *asked, const struct stow_memblocks *list,
		      const struct online_choice *choice, const struct online_results *results);

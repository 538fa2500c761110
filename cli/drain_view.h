/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * How a drain is shown, by the command that does it itself and by the one that hears of it from an
 * agent or a scheduler: what drain.proto has, in the terms of neither.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cli/bar.h"
#include "ledger/drains.h"

struct drain_view_block {
	uint64_t id, bytes;
	const char *zone;
	uint64_t to_move, unmovable, free; /* bytes */
};

struct drain_view_affected {
	const char *id, *pod, *ns, *name;
	uint64_t bytes;
	const char *action; /* "return", "repin", "evict" */
	const char *numa_nodes, *suspect;
};

struct drain_view_culprit {
	uint64_t block;
	const char *kind;
	uint64_t pages;
	const char *container, *cgroup;
	int pid;
	const char *program, *file, *reason, *advice;
	bool proven;
};

struct drain_view_plan {
	struct drain_view_block *blocks;
	size_t n_blocks;
	uint64_t bytes, to_move, hugepages;
	struct drain_view_affected *affected;
	size_t n_affected;
	uint64_t expected; /* ns */
	const char *device, *device_path;
	const char *const *notes;
	size_t n_notes;
	uint64_t address;
	int numa_node;
};

struct drain_view_progress {
	const char *id;
	enum stow_drain_step step;
	uint64_t bytes_total, bytes_offline;
	uint32_t blocks_total, blocks_offline;
	uint64_t bytes_moved, block;
	const char *message;
	const struct drain_view_plan *plan; /* NULL: none */
	const struct drain_view_culprit *culprits;
	size_t n_culprits;
	const char *blocks_gone;
	uint64_t elapsed; /* ns */
	uint32_t code;	  /* of an end: a gRPC status code */
	uint64_t bytes_staying;
	enum stow_drain_release release;
};

/* A drain in a list. `what`: "NUMA node 1", "blocks 48-55". */
struct drain_view_listed {
	const char *id, *node, *what;
	const struct drain_view_progress *progress; /* NULL: nothing was said yet */
	uint64_t created;			    /* ns since the epoch */
};

struct drain_view {
	bool json, dry_run, interrupted;
	struct cli_bar bar;
	enum stow_drain_step last; /* 0: nothing was shown */
	size_t n_culprits;	   /* that were shown */
	char said[1024];	   /* the last message */
	char error[1024];	   /* of an end that is no success */
};

void drain_view_init(struct drain_view *view, bool json, bool dry_run);
/* As lines and a bar, or as one JSON object with drain.proto's names. */
void drain_view_show(struct drain_view *view, const struct drain_view_progress *progress);
/* When all is said: the exit code; a failure's reason goes to standard error. */
int drain_view_finish(struct drain_view *view);

/* Who is, or may be, in the way: one line each, with what to do below it. */
void drain_view_culprits(const struct drain_view_culprit *culprits, size_t n);
/* A table. */
void drain_view_list(const struct drain_view_listed *drains, size_t n, bool with_node);

/* The objects of --json, with every field. */
struct json_object;
struct json_object *drain_view_progress_json(const struct drain_view_progress *progress);
struct json_object *drain_view_culprits_json(const struct drain_view_culprit *culprits, size_t n);

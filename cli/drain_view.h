/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* How a drain is shown: by the command that does it itself, and by the one that hears of it from an
 * agent or a scheduler. */

#include <stdbool.h>
#include <stddef.h>

#include "cli/bar.h"
#include "drain/message.h"

struct drain_view {
	bool json, dry_run, interrupted;
	struct cli_bar bar;
	PbDrainStep last;  /* 0: nothing was shown */
	size_t n_culprits; /* that were shown */
	char said[1024];   /* the last message */
	char error[1024];  /* of an end that is no success */
};

void drain_view_init(struct drain_view *view, bool json, bool dry_run);
/* As lines and a bar, or as one JSON object with drain.proto's names. */
void drain_view_show(struct drain_view *view, const PbDrainProgress *progress);
/* When all is said: the exit code; a failure's reason goes to standard error. */
int drain_view_finish(struct drain_view *view);

/* Who is, or may be, in the way: one line each, with what to do below it. */
void drain_view_culprits(const PbDrainProgress *progress);
/* A table. */
void drain_view_list(PbDrain *const *drains, size_t n, bool with_node);

/* The objects of --json, with every field. */
struct json_object;
struct json_object *drain_view_progress_json(const PbDrainProgress *progress);
struct json_object *drain_view_drain_json(const PbDrain *drain);

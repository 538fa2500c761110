// SPDX-License-Identifier: Apache-2.0
/* numastow repin: moves a running container to other NUMA nodes of its machine. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/math.h"
#include "base/parse.h"
#include "cli/bar.h"
#include "cli/fleet/fleet.h"

#define AT(field) offsetof(struct fleet_options, field)

static const struct stow_setting repin_settings[] = {
	{ "last", STOW_SETTING_SWITCH, AT(last), 0, 0, NULL, NULL,
	  "the container that got its grant last" },
	{ "to", STOW_SETTING_TEXT, AT(to), 0, 0, NULL, "NUMA_NODES",
	  "target NUMA nodes (where there is room)" },
	{ "batch", STOW_SETTING_SIZE, AT(batch), 4096, UINT64_C(1) << 40, NULL, "SIZE",
	  "how much to move between two pauses (the agent's setting)" },
	{ "pause", STOW_SETTING_DURATION, AT(pause), 0, 10 * STOW_SECOND, NULL, "TIME",
	  "pause between two batches (the agent's setting)" },
	{ "dry-run", STOW_SETTING_SWITCH, AT(dry_run), 0, 0, NULL, NULL,
	  "show where it would move, and change nothing" },
	{ 0 },
};

struct view {
	bool json, dry_run;
	struct cli_bar bar;
	char last_message[1024]; /* the last one that was printed */
};

static void show_moving(struct view *view, const PbRepinProgress *p)
{
	uint64_t done = p->moved + p->failed;

	cli_bar_show(&view->bar, "moving", p->moved, STOW_MAX(p->total, done), "");
}

static void show_end(const PbRepinProgress *p)
{
	char moved[32], left[32];

	printf("moved     %s from NUMA node %s to %s; longest batch %" PRIu64 ".%03" PRIu64 " ms\n",
	       stow_format_size(p->moved, moved, sizeof(moved)), p->from, p->to,
	       p->longest_batch / 1000000, p->longest_batch / 1000 % 1000);
	if (p->left_mapped)
		printf("left      %s mapped elsewhere: the kernel could not move it\n",
		       stow_format_size(p->left_mapped, left, sizeof(left)));
	if (p->left_unmapped)
		printf("left      %s of page cache that no process maps, until it is reclaimed\n",
		       stow_format_size(p->left_unmapped, left, sizeof(left)));
}

static int on_progress(void *ctx, const void *message, struct stow_err *err)
{
	struct view *view = ctx;
	const PbRepinProgress *p = message;

	if (view->json) {
		cli_message_line(cli_message_json(&p->base));
		return 0;
	}
	if (p->step != PB_REPIN_STEP_MOVING)
		cli_bar_end(&view->bar);
	switch (p->step) {
	case PB_REPIN_STEP_PLANNED:
		printf("%s   from NUMA node %s to %s, CPUs %s\n",
		       view->dry_run ? "would go" : "planned ", p->from, p->to, p->cpus);
		break;
	case PB_REPIN_STEP_WIDENED:
		printf("widened   both are allowed for now\n");
		break;
	case PB_REPIN_STEP_MOVING:
		show_moving(view, p);
		break;
	case PB_REPIN_STEP_NARROWED:
		printf("narrowed  to NUMA node %s\n", p->to);
		break;
	case PB_REPIN_STEP_VERIFIED:
		show_end(p);
		break;
	default: /* of a newer agent */
		break;
	}
	if (*p->message && strcmp(p->message, view->last_message) != 0)
		printf("          %s\n", p->message);
	snprintf(view->last_message, sizeof(view->last_message), "%s", p->message);
	fflush(stdout);
	return 0;
}

static int run_repin(struct fleet *fleet, struct stow_err *err)
{
	const struct fleet_options *o = fleet->options;
	PbRepinRequest request = PB_REPIN_REQUEST__INIT;
	struct view view = { .json = o->json,
			     .dry_run = o->dry_run,
			     .bar.terminal = isatty(STDOUT_FILENO) };
	struct fleet_stream stream = { .message = on_progress, .ctx = &view };
	_cleanup_free_ char *id = NULL;
	int r = fleet_container_id(fleet, o->words[0], &id, err); /* NULL: the last */

	if (r < 0)
		return r;
	request.id = id;
	if (o->to)
		request.numa_nodes = o->to;
	request.batch = o->batch;
	request.pause = o->pause;
	request.dry_run = o->dry_run;
	r = fleet_stream(fleet, "Repin", &request, &stream, err);
	cli_bar_end(&view.bar);
	if (r == -EINTR)
		fprintf(stderr, "numastow: cancelled; the agent returns the container to a state "
				"that is recorded in the ledger\n");
	return r;
}

const struct fleet_command fleet_repin = {
	.name = "repin",
	.arguments = "[OPTION...] ID | --last",
	.summary = "Move a running container to other NUMA nodes, with its memory and CPUs",
	.settings = repin_settings,
	.min_words = 1,
	.max_words = 1,
	.peer = FLEET_AGENT,
	.places = true,
	.run = run_repin,
};

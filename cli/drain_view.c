// SPDX-License-Identifier: Apache-2.0
#include "cli/drain_view.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <json-c/json.h>

#include "base/idlist.h"
#include "base/parse.h"
#include "cli/cli.h"

#define SIZE(bytes, buf) stow_format_size(bytes, buf, sizeof(buf))

/* "0.4s", "12s", "3m20s" */
static const char *duration(uint64_t ns, char *buf, size_t size)
{
	uint64_t s = ns / UINT64_C(1000000000);

	if (s < 10)
		snprintf(buf, size, "%" PRIu64 ".%" PRIu64 "s", s, ns / 100000000 % 10);
	else if (s < 120)
		snprintf(buf, size, "%" PRIu64 "s", s);
	else
		snprintf(buf, size, "%" PRIu64 "m%02" PRIu64 "s", s / 60, s % 60);
	return buf;
}

static const char *or_dash(const char *text)
{
	return text && *text ? text : "-";
}

/* --- the plan ----------------------------------------------------------------------------------- */

static int by_number(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static char *block_list(const struct drain_view_plan *plan)
{
	uint64_t *ids = calloc(plan->n_blocks + 1, sizeof(*ids));
	char *list = NULL;

	for (size_t i = 0; ids && i < plan->n_blocks; i++)
		ids[i] = plan->blocks[i].id;
	if (ids) {
		qsort(ids, plan->n_blocks, sizeof(*ids), by_number);
		list = stow_idlist_format(ids, plan->n_blocks);
	}
	free(ids);
	return list;
}

static void show_blocks(const struct drain_view_plan *plan)
{
	char bytes[32], move[32], stuck[32], unused[32];

	printf("\n%8s  %-12s %8s %8s %9s %8s\n", "BLOCK", "ZONE", "SIZE", "TO-MOVE", "UNMOVABLE",
	       "FREE");
	for (size_t i = 0; i < plan->n_blocks; i++) {
		const struct drain_view_block *block = &plan->blocks[i];

		printf("%8" PRIu64 "  %-12s %8s %8s %9s %8s\n", block->id, or_dash(block->zone),
		       SIZE(block->bytes, bytes), SIZE(block->to_move, move),
		       SIZE(block->unmovable, stuck), SIZE(block->free, unused));
	}
}

static const char *goes(const struct drain_view_affected *a, char *buf, size_t size)
{
	if (strcmp(a->action, "evict") == 0)
		snprintf(buf, size, "it is ended");
	else if (strcmp(a->action, "repin") == 0)
		snprintf(buf, size, "moves to NUMA node %s", or_dash(a->numa_nodes));
	else
		snprintf(buf, size, "stays; pages return to NUMA node %s", or_dash(a->numa_nodes));
	return buf;
}

static void show_affected(const struct drain_view_plan *plan)
{
	if (plan->n_affected)
		printf("\n%-14s %-16s %8s  %s\n", "CONTAINER", "NAME", "BYTES",
		       "WHAT BECOMES OF IT");
	for (size_t i = 0; i < plan->n_affected; i++) {
		const struct drain_view_affected *a = &plan->affected[i];
		char id[48], bytes[32], what[160];

		printf("%-14s %-16s %8s  %s%s%s%s\n", cli_short_id(a->id, id, sizeof(id)),
		       or_dash(*a->name ? a->name : a->pod), SIZE(a->bytes, bytes),
		       goes(a, what, sizeof(what)), *a->suspect ? " (it has " : "", a->suspect,
		       *a->suspect ? ")" : "");
	}
}

static void show_plan(const struct drain_view *view, const struct drain_view_plan *plan)
{
	char bytes[32], move[32], pages[32], time[32];
	char *list = block_list(plan);

	printf("%s %s: %zu block%s of NUMA node %d", view->dry_run ? "would go " : "planned  ",
	       SIZE(plan->bytes, bytes), plan->n_blocks, plan->n_blocks == 1 ? "" : "s",
	       plan->numa_node);
	if (*plan->device)
		printf(", %s%s%s", plan->device, *plan->device_path ? " " : "", plan->device_path);
	printf("\nblocks    %s\n", list ? list : "?");
	free(list);
	printf("cost      %s to move, %s of it hugepages; about %s\n", SIZE(plan->to_move, move),
	       SIZE(plan->hugepages, pages), duration(plan->expected, time, sizeof(time)));
	for (size_t i = 0; i < plan->n_notes; i++)
		printf("note      %s\n", plan->notes[i]);
	if (view->dry_run)
		show_blocks(plan);
	show_affected(plan);
}

/* --- who is in the way -------------------------------------------------------------------------- */

void drain_view_culprits(const struct drain_view_culprit *culprits, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const struct drain_view_culprit *c = &culprits[i];
		char id[48];

		printf("%s block %" PRIu64 ": ", c->proven ? "in the way" : "suspect   ", c->block);
		if (c->pages)
			printf("%" PRIu64 " %s page%s", c->pages, c->kind,
			       c->pages == 1 ? "" : "s");
		else
			printf("%s", *c->reason ? c->reason : c->kind);
		if (*c->container)
			printf(" of container %s", cli_short_id(c->container, id, sizeof(id)));
		else if (*c->cgroup)
			printf(" of %s", c->cgroup);
		if (c->pid)
			printf(", process %d \"%s\"", c->pid, c->program);
		if (*c->file)
			printf(", %s", c->file);
		if (c->pages && *c->reason)
			printf(": %s", c->reason);
		putchar('\n');
		if (*c->advice)
			printf("           %s\n", c->advice);
	}
}

/* --- how it goes -------------------------------------------------------------------------------- */

void drain_view_init(struct drain_view *view, bool json, bool dry_run)
{
	*view = (struct drain_view){ .json = json, .dry_run = dry_run };
	view->bar.terminal = !json && isatty(STDOUT_FILENO);
}

static void show_offlining(struct drain_view *view, const struct drain_view_progress *p)
{
	char tail[96];

	snprintf(tail, sizeof(tail), "; block %" PRIu64 ", %" PRIu32 " of %" PRIu32 " offline",
		 p->block, p->blocks_offline, p->blocks_total);
	cli_bar_show(&view->bar, "offlining", p->bytes_offline, p->bytes_total, tail);
}

static void show_end(const struct drain_view_progress *p)
{
	char bytes[32], moved[32], time[32];

	printf("%-9s %s is off%s%s; %s moved, in %s\n", stow_drain_step_name(p->step),
	       SIZE(p->bytes_offline, bytes), *p->blocks_gone ? ": blocks " : "", p->blocks_gone,
	       SIZE(p->bytes_moved, moved), duration(p->elapsed, time, sizeof(time)));
}

static void show_step(struct drain_view *view, const struct drain_view_progress *p)
{
	bool again = p->step == view->last;

	switch (p->step) {
	case STOW_DRAIN_PLANNED:
		if (p->plan)
			show_plan(view, p->plan);
		break;
	case STOW_DRAIN_FENCED:
		if (!again)
			printf("fenced    nothing new is placed there\n");
		break;
	case STOW_DRAIN_OFFLINING:
		show_offlining(view, p);
		break;
	case STOW_DRAIN_SAFE:
		if (!again)
			printf("safe      all of it is offline: blocks %s\n", p->blocks_gone);
		break;
	case STOW_DRAIN_DONE:
	case STOW_DRAIN_PARTIAL:
		show_end(p);
		break;
	case STOW_DRAIN_FAILED:
	case STOW_DRAIN_CANCELLED:
		if (p->plan)
			show_plan(view, p->plan);
		break;
	default: /* what there is to say is in the message */
		if (!again)
			printf("%s\n", stow_drain_step_name(p->step));
		break;
	}
}

static void show_text(struct drain_view *view, const struct drain_view_progress *p)
{
	bool failed = p->step == STOW_DRAIN_FAILED || p->step == STOW_DRAIN_CANCELLED;

	if (view->last == STOW_DRAIN_OFFLINING && p->step == STOW_DRAIN_RETURNING)
		cli_bar_show(&view->bar, "offlining", p->bytes_offline, p->bytes_total, "");
	if (p->step != STOW_DRAIN_OFFLINING)
		cli_bar_end(&view->bar);
	show_step(view, p);
	/* An end's goes to standard error. */
	if (*p->message && !failed && strcmp(p->message, view->said) != 0) {
		cli_bar_end(&view->bar);
		printf("          %s\n", p->message);
	}
	snprintf(view->said, sizeof(view->said), "%s", p->message);
	if (p->n_culprits == view->n_culprits)
		return; /* an engine repeats them */
	cli_bar_end(&view->bar);
	view->n_culprits = p->n_culprits;
	drain_view_culprits(p->culprits, p->n_culprits);
}

void drain_view_show(struct drain_view *view, const struct drain_view_progress *p)
{
	if (view->json) {
		struct json_object *json = drain_view_progress_json(p);

		puts(json_object_to_json_string_ext(json, JSON_C_TO_STRING_NOSLASHESCAPE));
		json_object_put(json);
	} else {
		show_text(view, p);
	}
	fflush(stdout);
	view->last = p->step;
	if (p->step == STOW_DRAIN_FAILED || p->step == STOW_DRAIN_CANCELLED)
		snprintf(view->error, sizeof(view->error), "%s",
			 *p->message ? p->message : stow_drain_step_name(p->step));
}

int drain_view_finish(struct drain_view *view)
{
	cli_bar_end(&view->bar);
	fflush(stdout);
	if (view->error[0])
		fprintf(stderr, "numastow: %s\n", view->error);
	switch (view->last) {
	case STOW_DRAIN_DONE:
		return CLI_OK;
	case STOW_DRAIN_PARTIAL:
		return CLI_PARTIAL;
	case STOW_DRAIN_CANCELLED:
		return view->interrupted ? CLI_INTERRUPTED : CLI_FAILED;
	case STOW_DRAIN_PLANNED:
		return view->dry_run ? CLI_OK : CLI_FAILED;
	default:
		return view->interrupted ? CLI_INTERRUPTED : CLI_FAILED;
	}
}

/* --- a list ------------------------------------------------------------------------------------- */

void drain_view_list(const struct drain_view_listed *drains, size_t n, bool with_node)
{
	static const struct drain_view_progress nothing = { .step = STOW_DRAIN_WAITING,
							    .message = "" };

	if (n == 0) {
		printf("There is no drain.\n");
		return;
	}
	printf("%-16s  %s%-16s %-19s  %-10s %s\n", "DRAIN", with_node ? "NODE             " : "",
	       "WHAT", "SINCE", "STEP", "OFFLINE");
	for (size_t i = 0; i < n; i++) {
		const struct drain_view_progress *p =
			drains[i].progress ? drains[i].progress : &nothing;
		char since[32], some[32], all[32];

		printf("%-16s  ", drains[i].id);
		if (with_node)
			printf("%-16s ", drains[i].node);
		printf("%-16s %-19s  %-10s %s of %s%s%s\n", drains[i].what,
		       cli_format_time(drains[i].created, since, sizeof(since)),
		       stow_drain_step_name(p->step), SIZE(p->bytes_offline, some),
		       SIZE(p->bytes_total, all), *p->message ? "; " : "", p->message);
	}
}

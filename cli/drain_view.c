// SPDX-License-Identifier: Apache-2.0
#include "cli/drain_view.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/idlist.h"
#include "base/parse.h"
#include "base/status.h"
#include "cli/cli.h"
#include "cli/drain_asked.h"
#include "cli/grid.h"
#include "cli/message.h"
#include "cli/paragraph.h"

/* The column of the text beside a label. */
#define LABEL	      10
#define LABEL_CULPRIT 12

#define SIZE(bytes, buf) stow_format_size(bytes, buf, sizeof(buf))

/* Format a duration as "0.4s", "12s", "3m20s". */
static const char *duration(uint64_t ns, char *buf, size_t size)
{
	uint64_t s = ns / STOW_SECOND;

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

static const char *step_name(const PbDrainProgress *p)
{
	return stow_drain_step_name((enum stow_drain_step)p->step);
}

/* --- the plan ------------------------------------------------------------- */

static char *block_list(const PbDrainPlan *plan)
{
	uint64_t *ids = calloc(plan->n_blocks + 1, sizeof(*ids));
	char *list = NULL;

	for (size_t i = 0; ids && i < plan->n_blocks; i++)
		ids[i] = plan->blocks[i]->id;
	if (ids) {
		stow_idlist_sort(ids, plan->n_blocks);
		list = stow_idlist_format(ids, plan->n_blocks);
	}
	free(ids);
	return list;
}

/* Print a table of the plan, below an empty line. */
static void put_table(struct cli_grid *table)
{
	putchar('\n');
	cli_grid_print(table, stdout);
}

static void show_blocks(const PbDrainPlan *plan)
{
	static const char *const columns[] = { ">BLOCK",     "ZONE",  ">SIZE", ">TO-MOVE",
					       ">UNMOVABLE", ">FREE", NULL };
	struct cli_grid *table = cli_grid(columns);
	char id[24], bytes[32], move[32], stuck[32], unused[32];

	for (size_t i = 0; i < plan->n_blocks; i++) {
		const PbDrainBlock *block = plan->blocks[i];

		snprintf(id, sizeof(id), "%" PRIu64, block->id);
		cli_grid_row(table, (const char *const[]){ id, or_dash(block->zone),
							   SIZE(block->bytes, bytes),
							   SIZE(block->to_move, move),
							   SIZE(block->unmovable, stuck),
							   SIZE(block->free, unused) });
	}
	put_table(table);
}

static const char *goes(const PbDrainAffected *a, char *buf, size_t size)
{
	if (a->action == PB_DRAIN_ACTION_EVICT && strncmp(a->id, "claim:", 6) == 0)
		snprintf(buf, size, "its pods are evicted");
	else if (a->action == PB_DRAIN_ACTION_EVICT)
		snprintf(buf, size, "it is ended");
	else if (a->action == PB_DRAIN_ACTION_REPIN)
		snprintf(buf, size, "moves to NUMA node %s", or_dash(a->numa_nodes));
	else
		snprintf(buf, size, "stays; pages return to NUMA node %s", or_dash(a->numa_nodes));
	return buf;
}

static void show_affected(const PbDrainPlan *plan)
{
	static const char *const columns[] = { "CONTAINER", "NAME", ">BYTES", "OUTCOME", NULL };
	struct cli_grid *table;

	if (!plan->n_affected)
		return;
	table = cli_grid(columns);
	for (size_t i = 0; i < plan->n_affected; i++) {
		const PbDrainAffected *a = plan->affected[i];
		char id[48], bytes[32], what[160];
		_cleanup_free_ char *outcome = NULL;

		if (asprintf(&outcome, "%s%s%s%s", goes(a, what, sizeof(what)),
			     *a->suspect ? " (it has " : "", a->suspect,
			     *a->suspect ? ")" : "") < 0)
			outcome = NULL;
		cli_grid_row(table, (const char *const[]){ cli_short_id(a->id, id, sizeof(id)),
							   or_dash(*a->name ? a->name : a->pod),
							   SIZE(a->bytes, bytes),
							   outcome ? outcome : what });
	}
	put_table(table);
}

/* Print a sentence beside its label, which may not fit a line of the terminal. */
__attribute__((format(printf, 2, 3))) static void say(const char *label, const char *format, ...)
{
	char *text = NULL;
	va_list ap;

	va_start(ap, format);
	if (vasprintf(&text, format, ap) < 0)
		text = NULL;
	va_end(ap);
	cli_sentence(LABEL, label, text ? text : "?");
	free(text);
}

static void show_plan(const struct drain_view *view, const PbDrainPlan *plan)
{
	char bytes[32], move[32], pages[32], time[32];
	char *list = block_list(plan);

	say(view->dry_run ? "would go" : "planned", "%s: %zu block%s of NUMA node %d%s%s%s%s",
	    SIZE(plan->bytes, bytes), plan->n_blocks, plan->n_blocks == 1 ? "" : "s",
	    plan->numa_node, *plan->device ? ", " : "", plan->device,
	    *plan->device && *plan->device_path ? " " : "", *plan->device ? plan->device_path : "");
	say("blocks", "%s", list ? list : "?");
	free(list);
	say("cost", "%s to move, %s of it hugepages; about %s", SIZE(plan->to_move, move),
	    SIZE(plan->hugepages, pages), duration(plan->expected, time, sizeof(time)));
	for (size_t i = 0; i < plan->n_notes; i++)
		say("note", "%s", plan->notes[i]);
	if (view->dry_run)
		show_blocks(plan);
	show_affected(plan);
}

/* --- culprits ------------------------------------------------------------- */

static void tell_culprit(FILE *to, const PbDrainCulprit *c)
{
	char id[48];

	fprintf(to, "block%s %s: ", strpbrk(c->blocks, "-,") ? "s" : "", c->blocks);
	if (c->pages)
		fprintf(to, "%" PRIu64 " %s page%s", c->pages, c->kind, c->pages == 1 ? "" : "s");
	else
		fprintf(to, "%s", *c->reason ? c->reason : c->kind);
	if (*c->container)
		fprintf(to, " of container %s", cli_short_id(c->container, id, sizeof(id)));
	else if (*c->cgroup)
		fprintf(to, " of %s", c->cgroup);
	if (c->pid)
		fprintf(to, ", process %d \"%s\"", c->pid, c->program);
	if (*c->file)
		fprintf(to, ", %s", c->file);
	if (c->pages && *c->reason)
		fprintf(to, ": %s", c->reason);
}

void drain_view_culprits(const PbDrainProgress *progress)
{
	for (size_t i = 0; i < progress->n_culprits; i++) {
		const PbDrainCulprit *c = progress->culprits[i];
		const char *label = c->proven ? "in the way" : "suspect";
		char *text = NULL;
		size_t size;
		FILE *to = open_memstream(&text, &size);

		if (to) {
			tell_culprit(to, c);
			fclose(to);
		}
		cli_sentence(LABEL_CULPRIT, label, text ? text : c->blocks);
		free(text);
		if (*c->advice)
			cli_sentence(LABEL_CULPRIT, "", c->advice);
	}
}

/* --- progress ------------------------------------------------------------- */

void drain_view_init(struct drain_view *view, bool json, bool dry_run)
{
	*view = (struct drain_view){ .json = json, .dry_run = dry_run };
	view->bar.terminal = !json && isatty(STDOUT_FILENO);
}

static void show_offlining(struct drain_view *view, const PbDrainProgress *p)
{
	char tail[96];

	snprintf(tail, sizeof(tail), "; block %" PRIu64 ", %" PRIu32 " of %" PRIu32 " offline",
		 p->block, p->blocks_offline, p->blocks_total);
	cli_bar_show(&view->bar, "offlining", p->bytes_offline, p->bytes_total, tail);
}

static void show_end(const PbDrainProgress *p)
{
	char bytes[32], moved[32], time[32];

	say(step_name(p), "%s is off%s%s; %s moved, in %s", SIZE(p->bytes_offline, bytes),
	    *p->blocks_gone ? ": blocks " : "", p->blocks_gone, SIZE(p->bytes_moved, moved),
	    duration(p->elapsed, time, sizeof(time)));
}

static void show_step(struct drain_view *view, const PbDrainProgress *p)
{
	bool again = p->step == view->last;

	switch (p->step) {
	case PB_DRAIN_STEP_PLANNED:
		if (p->plan)
			show_plan(view, p->plan);
		break;
	case PB_DRAIN_STEP_FENCED:
		if (!again)
			printf("fenced    nothing new is placed there\n");
		break;
	case PB_DRAIN_STEP_OFFLINING:
		show_offlining(view, p);
		break;
	case PB_DRAIN_STEP_SAFE:
		if (!again)
			say("safe", "all of it is offline: blocks %s", p->blocks_gone);
		break;
	case PB_DRAIN_STEP_DONE:
	case PB_DRAIN_STEP_PARTIAL:
		show_end(p);
		break;
	case PB_DRAIN_STEP_FAILED:
	case PB_DRAIN_STEP_CANCELLED:
		if (p->plan)
			show_plan(view, p->plan);
		break;
	default: /* the message has everything */
		if (!again)
			printf("%s\n", step_name(p));
		break;
	}
}

static void show_text(struct drain_view *view, const PbDrainProgress *p)
{
	bool failed = p->step == PB_DRAIN_STEP_FAILED || p->step == PB_DRAIN_STEP_CANCELLED;

	if (view->last == PB_DRAIN_STEP_OFFLINING && p->step == PB_DRAIN_STEP_RETURNING)
		cli_bar_show(&view->bar, "offlining", p->bytes_offline, p->bytes_total, "");
	if (p->step != PB_DRAIN_STEP_OFFLINING)
		cli_bar_end(&view->bar);
	show_step(view, p);
	/* A failure's message goes to standard error. */
	if (*p->message && !failed && strcmp(p->message, view->said) != 0) {
		cli_bar_end(&view->bar);
		/* Apart from the tables of a plan. */
		if (p->plan)
			putchar('\n');
		say("", "%s", p->message);
	}
	snprintf(view->said, sizeof(view->said), "%s", p->message);
	if (p->n_culprits == view->n_culprits)
		return; /* they are repeated in each message */
	cli_bar_end(&view->bar);
	view->n_culprits = p->n_culprits;
	drain_view_culprits(p);
}

void drain_view_show(struct drain_view *view, const PbDrainProgress *p)
{
	if (view->json)
		cli_message_line(cli_message_json(&p->base));
	else
		show_text(view, p);
	fflush(stdout);
	view->last = p->step;
	view->code = p->code;
	if (p->step == PB_DRAIN_STEP_FAILED || p->step == PB_DRAIN_STEP_CANCELLED)
		snprintf(view->error, sizeof(view->error), "%s",
			 *p->message ? p->message : step_name(p));
}

/* Return the exit code of a drain that did not succeed. */
static int failure(const struct drain_view *view)
{
	if (view->interrupted)
		return CLI_INTERRUPTED;
	return view->code == STOW_STATUS_RESOURCE_EXHAUSTED ? CLI_NOT_FIT : CLI_FAILED;
}

int drain_view_finish(struct drain_view *view)
{
	cli_bar_end(&view->bar);
	fflush(stdout);
	if (view->error[0])
		fprintf(stderr, "numastow: %s\n", view->error);
	switch (view->last) {
	case PB_DRAIN_STEP_DONE:
		return CLI_OK;
	case PB_DRAIN_STEP_PARTIAL:
		return CLI_PARTIAL;
	case PB_DRAIN_STEP_PLANNED:
		return view->dry_run ? CLI_OK : CLI_FAILED;
	default:
		return failure(view);
	}
}

/* --- a list --------------------------------------------------------------- */

static const char *what(const PbDrain *drain, char *buf, size_t size)
{
	static const PbDrainSpec nothing = PB_DRAIN_SPEC__INIT;
	const PbDrainSpec *spec = drain->spec ? drain->spec : &nothing;

	switch (spec->what_case) {
	case PB_DRAIN_SPEC__WHAT_BLOCKS:
		return drain_asked_what(-1, spec->blocks, NULL, buf, size);
	case PB_DRAIN_SPEC__WHAT_DEVICE:
		return drain_asked_what(-1, NULL, spec->device, buf, size);
	default:
		return drain_asked_what(drain->spec ? (int)spec->numa_node : -1, NULL, NULL, buf,
					size);
	}
}

/* Only the scheduler knows the machine. */
static const char *const of_fleet[] = { "DRAIN",    "NODE",  "WHAT",	"SINCE", "STEP",
					">OFFLINE", ">SIZE", "MESSAGE", NULL };
static const char *const of_machine[] = { "DRAIN",    "+NODE", "WHAT",	  "SINCE", "STEP",
					  ">OFFLINE", ">SIZE", "MESSAGE", NULL };

void drain_view_columns(FILE *out)
{
	cli_grid_help(of_fleet, out);
}

int drain_view_list(PbDrain *const *drains, size_t n, bool cluster,
		    const struct stow_grid_style *style, struct stow_err *err)
{
	static const PbDrainProgress waiting = PB_DRAIN_PROGRESS__INIT;
	struct cli_grid *table = cli_grid(cluster ? of_fleet : of_machine);
	int r;

	for (size_t i = 0; i < n; i++) {
		const PbDrain *d = drains[i];
		const PbDrainProgress *p = d->progress ? d->progress : &waiting;
		char name[64], since[32], some[32], whole[32];
		const char *texts[] = {
			d->id,
			or_dash(d->node),
			what(d, name, sizeof(name)),
			cli_format_time(d->created, since, sizeof(since)),
			d->progress ? step_name(p) : "waiting",
			stow_grid_size(style, p->bytes_offline, some, sizeof(some)),
			stow_grid_size(style, p->bytes_total, whole, sizeof(whole)),
			or_dash(p->message),
		};

		cli_grid_row(table, texts);
	}
	r = cli_grid_print_as(table, style, stdout, err);
	if (r == 0 && !n && !stow_grid_for_programs(style))
		printf("There is no drain.\n");
	return r;
}

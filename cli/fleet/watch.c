// SPDX-License-Identifier: Apache-2.0
/* numastow watch: the fleet as it changes. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "cli/fleet/fleet.h"
#include "rpc/copy.h"

#define REDRAW_MS 250 /* at most four redraws per second */

struct table {
	PbNode **nodes; /* by name */
	size_t n;
	bool synced, changed, json, terminal;
};

static int compare(const void *a, const void *b)
{
	const PbNode *const *x = a, *const *y = b;

	return strcmp((*x)->report->name, (*y)->report->name);
}

static PbNode **find(struct table *table, const char *name)
{
	PbNodeReport report = { .name = (char *)name };
	PbNode key = { .report = &report };
	const PbNode *key_at = &key;

	return table->n ? bsearch(&key_at, table->nodes, table->n, sizeof(PbNode *), compare)
			: NULL;
}

static int keep(struct table *table, const PbNode *node)
{
	PbNode **at = find(table, node->report->name),
	       *new = stow_rpc_message_copy(node); /* the stream owns it */

	if (!new)
		return -ENOMEM;
	if (at) {
		pb_node__free_unpacked(*at, NULL);
		*at = new;
		return 0;
	}
	at = STOW_APPEND(table->nodes, table->n);
	if (!at) {
		pb_node__free_unpacked(new, NULL);
		return -ENOMEM;
	}
	*at = new;
	qsort(table->nodes, table->n, sizeof(*table->nodes), compare);
	return 0;
}

static void drop(struct table *table, const char *name)
{
	PbNode **at = find(table, name);
	size_t i;

	if (!at)
		return;
	i = (size_t)(at - table->nodes);
	pb_node__free_unpacked(*at, NULL);
	memmove(at, at + 1, (table->n - i - 1) * sizeof(*at));
	table->n--;
}

/* Print one line per event, when standard output is not a terminal. */
static void print_event(const struct table *table, const PbNodeEvent *event)
{
	if (table->json) {
		cli_message_line(cli_message_json(&event->base));
	} else if (event->kind_case == PB_NODE_EVENT__KIND_NODE) {
		PbNode *one[] = { event->node };

		(void)fleet_show_nodes(one, 1, NULL, NULL);
	} else if (event->kind_case == PB_NODE_EVENT__KIND_GONE) {
		printf("%s is gone\n", event->gone);
	}
	fflush(stdout);
}

static int on_event(void *ctx, const void *message, struct stow_err *err)
{
	struct table *table = ctx;
	const PbNodeEvent *event = message;
	int r = 0;

	if (!table->terminal) {
		print_event(table, event);
		/* The reader of standard output has exited. */
		return ferror(stdout) ? stow_err_set(err, EPIPE, "standard output is closed") : 0;
	}
	if (event->kind_case == PB_NODE_EVENT__KIND_NODE && event->node->report)
		r = keep(table, event->node);
	else if (event->kind_case == PB_NODE_EVENT__KIND_GONE)
		drop(table, event->gone);
	else if (event->kind_case == PB_NODE_EVENT__KIND_SYNCED)
		table->synced = true;
	table->changed = true;
	return r < 0 ? stow_err_set(err, ENOMEM, "out of memory") : 0;
}

static void draw(void *ctx)
{
	struct table *table = ctx;

	if (!table->terminal)
		cli_end_without_reader();
	if (!table->terminal || !table->synced || !table->changed)
		return;
	table->changed = false;
	fputs("\033[H\033[J", stdout); /* home, and clear to the end */
	(void)fleet_show_nodes(table->nodes, table->n, NULL, NULL);
	fflush(stdout);
}

static int run_watch(struct fleet *fleet, struct stow_err *err)
{
	PbWatchNodesRequest request = PB_WATCH_NODES_REQUEST__INIT;
	struct table table = { .json = fleet->options->json,
			       .terminal = !fleet->options->json && isatty(STDOUT_FILENO) };
	struct fleet_stream stream = {
		.message = on_event, .tick = draw, .tick_ms = REDRAW_MS, .ctx = &table
	};
	uint64_t since;
	int r;

	request.names = (char **)fleet->options->words;
	request.n_names = fleet->options->n_words;
	request.containers = true;
	do { /* all nodes come again */
		since = stow_clock_monotonic();
		r = fleet_stream(fleet, "WatchNodes", &request, &stream, err);
	} while (fleet_renewed(r, err, since));
	for (size_t i = 0; i < table.n; i++)
		pb_node__free_unpacked(table.nodes[i], NULL);
	free(table.nodes);
	if (r == -EPIPE)
		return CLI_OK;
	return r;
}

const struct fleet_command fleet_watch = {
	.name = "watch",
	.arguments = "[NODE...]",
	.summary = "Show the fleet's machines as they change, until interrupted",
	.max_words = SIZE_MAX,
	.run = run_watch,
};

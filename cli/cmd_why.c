// SPDX-License-Identifier: Apache-2.0
/* numastow why: what happened to a container, and for what reason. */
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include <json-c/json.h>

#include "base/cleanup.h"
#include "cli/cli.h"
#include "cli/context.h"

#define EVENTS_SHOWN 100

static void print_text(const struct stow_event *e)
{
	char at[32];

	printf("%s  %-9s %s\n", cli_format_time(e->at, at, sizeof(at)), e->kind, e->id);
	if (e->cpus[0] || e->nodes[0])
		printf("    CPUs %s%s, memory of nodes %s\n", e->cpus,
		       e->exclusive ? " (exclusive)" : "", e->nodes);
	if (e->text[0])
		printf("    %s\n", e->text);
}

static struct json_object *event_json(const struct stow_event *e)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "at_ns", json_object_new_uint64(e->at));
	json_object_object_add(o, "id", json_object_new_string(e->id));
	json_object_object_add(o, "event", json_object_new_string(e->kind));
	json_object_object_add(o, "exclusive", json_object_new_boolean(e->exclusive));
	json_object_object_add(o, "cpus", json_object_new_string(e->cpus));
	json_object_object_add(o, "nodes", json_object_new_string(e->nodes));
	json_object_object_add(o, "text", json_object_new_string(e->text));
	return o;
}

/* The whole id of the newest event that begins with `id`; NULL when there is none. */
static const char *newest_match(const struct stow_event *events, size_t n, const char *id)
{
	for (size_t i = n; i-- > 0;)
		if (strcmp(events[i].id, id) == 0)
			return events[i].id;
	for (size_t i = n; i-- > 0;)
		if (strncmp(events[i].id, id, strlen(id)) == 0)
			return events[i].id;
	return NULL;
}

static int show(const char *id, bool json)
{
	_cleanup_(cli_context_done) struct cli_context context;
	struct json_object *array = NULL;
	struct stow_event *events = NULL;
	struct stow_err err;
	const char *match;
	size_t n = 0;
	int r;

	r = cli_context_open_anyway(&context, NULL, false, &err);
	if (r == 0 && context.ledger)
		r = stow_ledger_events(context.ledger, NULL, id ? STOW_EVENTS_KEPT : EVENTS_SHOWN,
				       &events, &n, &err);
	if (r < 0)
		return cli_fail(&err);
	match = id ? newest_match(events, n, id) : NULL;
	if (id && !match) {
		stow_events_free(events, n);
		fprintf(stderr,
			"numastow: nothing is known about \"%s\": it asked for nothing, or it is "
			"long ago\n",
			id);
		return CLI_FAILED;
	}
	if (json)
		array = json_object_new_array();
	for (size_t i = 0; i < n; i++) {
		if (match && strcmp(events[i].id, match) != 0)
			continue;
		if (json)
			json_object_array_add(array, event_json(&events[i]));
		else
			print_text(&events[i]);
	}
	if (json)
		cli_print_json(array);
	stow_events_free(events, n);
	return CLI_OK;
}

int cmd_why(int argc, char **argv)
{
	static const struct option options[] = { { "json", no_argument, NULL, 'j' },
						 { "help", no_argument, NULL, 'h' },
						 { 0 } };
	bool json = false;
	int c;

	while ((c = getopt_long(argc, argv, "jh", options, NULL)) != -1) {
		switch (c) {
		case 'j':
			json = true;
			break;
		case 'h':
			cli_usage("why", "[--json] [ID]",
				  "Shows where a container was placed or why it was refused, and "
				  "what happened since",
				  "  -j, --json  as JSON\n"
				  "  ID          or the beginning of a container's id; without it, "
				  "the "
				  "newest 100 events of all\n");
			return CLI_OK;
		default:
			return cli_bad_usage("why");
		}
	}
	if (argc > optind + 1)
		return cli_bad_usage("why");
	return show(argv[optind], json); /* NULL: everybody's */
}

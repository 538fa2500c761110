// SPDX-License-Identifier: Apache-2.0
/* The history of the ledger, as text and as JSON. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <json-c/json.h>

#include "grant/partition.h"
#include "grant/show.h"
#include "grant/show_internal.h"

#define EVENTS_SHOWN 100

static void put_event(const struct stow_event *e, FILE *out)
{
	char at[32];

	fprintf(out, "%s  %-9s %s\n", stow_show_time(e->at, at, sizeof(at)), e->kind, e->id);
	if (e->cpus[0] || e->nodes[0])
		fprintf(out, "    %s%s%s, memory of nodes %s\n",
			e->cpus[0] ? "CPUs " : "shared CPUs", e->cpus,
			e->exclusive ? " (exclusive)" : "", e->nodes);
	if (e->text[0])
		fprintf(out, "    %s\n", e->text);
}

static struct json_object *event_json(const struct stow_event *e)
{
	struct json_object *o = json_object_new_object();

	stow_show_add_time(o, "at", e->at);
	stow_show_add_text(o, "id", e->id);
	stow_show_add_text(o, "event", e->kind);
	json_object_object_add(o, "exclusive", json_object_new_boolean(e->exclusive));
	stow_show_add_text(o, "cpus", e->cpus);
	stow_show_add_text(o, "mems", e->nodes);
	stow_show_add_text(o, "text", e->text);
	return o;
}

/* Return the full id of the newest event whose id begins with `id`, or NULL. */
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

/* Print how the container's CPUs are isolated now. */
static void put_partition(const struct stow_grant_context *context, const char *id, FILE *out)
{
	struct stow_record **records;
	char why[STOW_PARTITION_WHY], list[160];
	size_t n;

	if (stow_ledger_records(context->ledger, id, &records, &n, NULL) < 0)
		return;
	for (size_t i = 0; i < n; i++) {
		enum stow_partition_state state = stow_partition_look(context, records[i], why);

		if (state != STOW_PARTITION_NONE)
			fprintf(out, "now: CPUs %s are %s cpuset partition%s%s\n",
				stow_idset_format(&records[i]->cpus, list, sizeof(list)),
				state == STOW_PARTITION_VALID ? "a valid" : "no",
				why[0] ? ": " : "", why);
	}
	stow_records_free(records, n);
}

/* What of the events is shown. */
struct selected {
	const struct stow_event *events;
	size_t n;
	const char *id; /* NULL: of all containers */
	uint64_t since;
	int64_t after;
	bool json, read_on;
};

static bool is_selected(const struct selected *s, const struct stow_event *e)
{
	return (!s->id || strcmp(e->id, s->id) == 0) && e->at >= s->since && e->seq > s->after;
}

static int put_events(const struct stow_grant_context *context, const struct selected *s,
		      char **ret_text, struct stow_err *err)
{
	struct json_object *array = s->json ? json_object_new_array() : NULL;
	size_t len = 0, shown = 0;
	FILE *out = open_memstream(ret_text, &len);

	if (!out) {
		json_object_put(array);
		return stow_err_sys(err, ENOMEM, "showing the history");
	}
	for (size_t i = 0; i < s->n; i++) {
		if (!is_selected(s, &s->events[i]))
			continue;
		shown++;
		if (s->json)
			json_object_array_add(array, event_json(&s->events[i]));
		else
			put_event(&s->events[i], out);
	}
	if (s->json && (shown || !s->read_on)) {
		struct json_object *all = stow_show_object();

		json_object_object_add(all, "events", array);
		stow_show_put_json(all, out);
	} else if (s->json) {
		json_object_put(array);
	} else if (s->id && !s->read_on) {
		put_partition(context, s->id, out);
	}
	return fclose(out) == 0 ? 0 : stow_err_sys(err, ENOMEM, "showing the history");
}

/* Return the number of the event up to which the history was read; 0: the ledger is a new one. */
static int64_t read_before(const struct stow_show_read *read, const struct stow_event *events,
			   size_t n)
{
	for (size_t i = n; i-- > 0;)
		if (events[i].seq == read->seq && events[i].at == read->at)
			return read->seq;
	/* The event is older than those that are kept, or was in another ledger. */
	return n && events[0].seq > read->seq && events[0].at >= read->at ? read->seq : 0;
}

int stow_show_history(const struct stow_grant_context *context, const struct stow_show_asked *asked,
		      char **ret_text, struct stow_err *err)
{
	struct selected s = { .since = asked->since, .json = asked->json };
	struct stow_event *events = NULL;
	size_t limit = STOW_EVENTS_KEPT;
	int r = 0;

	s.read_on = asked->after && asked->after->seq >= 0;
	if (!asked->id && !asked->since && !s.read_on)
		limit = EVENTS_SHOWN;
	if (context->ledger)
		r = stow_ledger_events(context->ledger, NULL, limit, &events, &s.n, err);
	if (r < 0)
		return r;
	s.events = events;
	s.after = s.read_on ? read_before(asked->after, events, s.n) : 0;
	s.id = asked->id ? newest_match(events, s.n, asked->id) : NULL;
	if (asked->id && !s.id && !s.read_on)
		r = stow_err_set(
			err, ENOENT,
			"nothing is known about \"%.128s\": it requested nothing, or too long ago",
			asked->id);
	else
		r = put_events(context, &s, ret_text, err);
	if (r == 0 && asked->after && s.n)
		*asked->after = (struct stow_show_read){ events[s.n - 1].seq, events[s.n - 1].at };
	else if (r == 0 && asked->after)
		*asked->after = (struct stow_show_read){ 0 };
	stow_events_free(events, s.n);
	return r;
}

// SPDX-License-Identifier: Apache-2.0
/* The output of `numastow status`. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/math.h"
#include "base/parse.h"
#include "base/text.h"
#include "base/timestamp.h"
#include "cli/cli.h"
#include "cli/paragraph.h"
#include "cli/view/status.h"

#define INDENT	 20 /* of the text behind a label */
#define REFUSALS 3

struct sums {
	size_t nodes, cpus;
	uint64_t total, available;
	size_t exclusive;
	uint64_t shared, memory, pages; /* pages: bytes of hugepages */
};

static void sum(const struct status *status, struct sums *ret)
{
	*ret = (struct sums){ 0 };
	for (size_t i = 0; status->topology && i < status->topology->n_nodes; i++) {
		const struct stow_node *node = &status->topology->nodes[i];

		ret->nodes++;
		ret->cpus += stow_idset_count(&node->cpus);
		ret->total = stow_saturating_add(ret->total, node->mem_total);
		ret->available = stow_saturating_add(ret->available, node->mem_available);
	}
	if (!status->usage)
		return;
	ret->exclusive = stow_idset_count(&status->usage->exclusive);
	for (size_t i = 0; i < status->usage->n_nodes; i++) {
		const struct stow_node_usage *node = &status->usage->nodes[i];

		ret->shared = stow_saturating_add(ret->shared, node->shared_cpus);
		ret->memory = stow_saturating_add(ret->memory, node->memory);
		for (size_t k = 0; k < node->n_pools; k++)
			ret->pages = stow_saturating_add(ret->pages, node->pools[k].promised *
									     node->pools[k].size);
	}
}

/* Collect the last refusals, the newest first. */
static size_t refusals(const struct status *status, const struct stow_event *ret[REFUSALS])
{
	size_t n = 0;

	for (size_t i = status->n_events; i-- > 0 && n < REFUSALS;)
		if (strcmp(status->events[i].kind, "refused") == 0)
			ret[n++] = &status->events[i];
	return n;
}

static size_t problems(const struct status *status)
{
	size_t n = strcmp(status->mode, "disabled") == 0;

	for (int i = 0; i < STATUS_PARTS; i++)
		n += status->parts[i].state == STATUS_BAD;
	return n;
}

/* --- text ---------------------------------------------------------------------------- */

static void print_part(const struct status_part *part)
{
	static const char *const colours[] = { "\033[32m", "", "", "\033[31m" };
	static const char *const marks[] = { "+", "-", "?", "!" };
	bool coloured = cli_output_coloured() && *colours[part->state];
	char label[64];

	snprintf(label, sizeof(label), "%s %s", marks[part->state], part->label);
	if (coloured)
		fputs(colours[part->state], stdout);
	cli_paragraph(INDENT, label, part->text);
	if (coloured)
		fputs("\033[0m", stdout);
	if (*part->command)
		cli_paragraph(INDENT, "", part->command);
}

static void print_sums(const struct status *status, const struct cli_output *out)
{
	char line[512], a[32], b[32];
	struct sums sums;

	sum(status, &sums);
	if (status->topology)
		snprintf(line, sizeof(line), "%zu with %zu CPUs and %s of memory, %s available",
			 sums.nodes, sums.cpus, cli_output_size(out, sums.total, a, sizeof(a)),
			 cli_output_size(out, sums.available, b, sizeof(b)));
	cli_paragraph(INDENT, "  nodes", status->topology ? line : "unknown");
	if (status->usage) {
		snprintf(line, sizeof(line),
			 "%zu exclusive CPUs, %" PRIu64 " shared, %s of memory, %s of hugepages",
			 sums.exclusive, sums.shared,
			 cli_output_size(out, sums.memory, a, sizeof(a)),
			 cli_output_size(out, sums.pages, b, sizeof(b)));
		if (!stow_idset_empty(&status->usage->fenced))
			stow_append(line, sizeof(line), "; fenced nodes: %s",
				    stow_idset_format(&status->usage->fenced, a, sizeof(a)));
	}
	cli_paragraph(INDENT, "  granted",
		      status->usage	     ? line
		      : status->ledger_known ? "nothing"
					     : "unknown: only root can read the ledger");
}

static void print_refusals(const struct status *status)
{
	const struct stow_event *last[REFUSALS];
	size_t n = refusals(status, last);

	for (size_t i = 0; i < n; i++) {
		_cleanup_free_ char *text = NULL;
		char at[64], id[64];

		if (asprintf(&text, "%s %s: %s", cli_format_time(last[i]->at, at, sizeof(at)),
			     cli_short_id(last[i]->id, id, sizeof(id)), last[i]->text) < 0) {
			text = NULL;
			return;
		}
		stow_text_clean(text, strlen(text));
		cli_paragraph(INDENT, "  refused", text);
	}
	if (n)
		cli_paragraph(INDENT, "", "numastow why ID");
}

static void print_text(const struct status *status, const struct cli_output *out)
{
	size_t n = problems(status);

	printf("numastow " STOW_VERSION ": %s\n", status->mode);
	for (int i = 0; i < STATUS_PARTS; i++)
		print_part(&status->parts[i]);
	print_sums(status, out);
	print_refusals(status);
	if (strcmp(status->mode, "disabled") == 0)
		cli_paragraph(INDENT, "! hooks",
			      "no container runtime runs the hook: nothing is placed");
	printf("%zu problem%s\n", n, n == 1 ? "" : "s");
}

/* --- JSON --------------------------------------------------------------------------------- */

static json_object *part_json(struct json_writer *w, const struct status_part *part)
{
	json_object *o = json_object_new_object();

	json_put(w, o, "name", json_object_new_string(part->name));
	json_put(w, o, "state", json_object_new_string(status_state_name(part->state)));
	json_put(w, o, "text", json_object_new_string(part->text));
	json_put_text(w, o, "command", part->command);
	return o;
}

static json_object *parts_json(struct json_writer *w, const struct status *status, int first,
			       int last)
{
	json_object *list = json_object_new_array();

	for (int i = first; i <= last; i++)
		json_append(w, list, part_json(w, &status->parts[i]));
	return list;
}

static json_object *granted_json(struct json_writer *w, const struct status *status,
				 const struct sums *sums)
{
	json_object *o = json_object_new_object();
	_cleanup_free_ char *fenced =
		status->usage ? stow_idset_to_list(&status->usage->fenced) : strdup("");

	json_put(w, o, "n_containers", json_object_new_uint64(status->n_containers));
	json_put(w, o, "n_leases", json_object_new_uint64(status->n_leases));
	json_put(w, o, "n_exclusive_cpus", json_object_new_uint64(sums->exclusive));
	json_put(w, o, "n_shared_cpus", json_object_new_uint64(sums->shared));
	json_put(w, o, "memory", json_object_new_uint64(sums->memory));
	json_put(w, o, "hugepages", json_object_new_uint64(sums->pages));
	json_put(w, o, "fenced", fenced ? json_object_new_string(fenced) : NULL);
	return o;
}

static json_object *refusals_json(struct json_writer *w, const struct status *status)
{
	const struct stow_event *last[REFUSALS];
	json_object *list = json_object_new_array();
	size_t n = refusals(status, last);

	for (size_t i = 0; i < n; i++) {
		json_object *o = json_object_new_object();
		char at[STOW_TIMESTAMP_MAX];

		json_put(w, o, "at", json_object_new_string(stow_timestamp(last[i]->at, at)));
		json_put(w, o, "id", json_object_new_string(last[i]->id));
		json_put(w, o, "reason", json_object_new_string(last[i]->text));
		json_append(w, list, o);
	}
	return list;
}

static int print_json(const struct status *status)
{
	struct json_writer w;
	json_object *o = cli_output_object(&w), *machine = json_object_new_object();
	struct sums sums;

	sum(status, &sums);
	json_put(&w, o, "mode", json_object_new_string(status->mode));
	json_put(&w, o, "problems", json_object_new_uint64(problems(status)));
	json_put(&w, o, "hooks", parts_json(&w, status, STATUS_PODMAN, STATUS_CRIO));
	json_put(&w, o, "configuration", parts_json(&w, status, STATUS_CONFIG, STATUS_CLIENT_YAML));
	for (int i = STATUS_LEDGER; i <= STATUS_KUBERNETES; i++)
		json_put(&w, o, status->parts[i].name, part_json(&w, &status->parts[i]));
	json_put(&w, machine, "n_nodes", json_object_new_uint64(sums.nodes));
	json_put(&w, machine, "n_cpus", json_object_new_uint64(sums.cpus));
	json_put(&w, machine, "memory", json_object_new_uint64(sums.total));
	json_put(&w, machine, "available", json_object_new_uint64(sums.available));
	json_put_known(&w, o, "machine", status->topology, machine);
	json_put_known(&w, o, "granted", status->ledger_known, granted_json(&w, status, &sums));
	json_put(&w, o, "refusals", refusals_json(&w, status));
	return json_print(&w, o);
}

int status_print(const struct status *status, const struct cli_output *out)
{
	int r = 0;

	if (out->json && !out->quiet)
		r = print_json(status);
	else if (!out->quiet)
		print_text(status, out);
	return r < 0 ? r : (int)STOW_MIN(problems(status), (size_t)1000);
}

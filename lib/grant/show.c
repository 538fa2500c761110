// SPDX-License-Identifier: Apache-2.0
#include "grant/show.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <json-c/json.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/grid.h"
#include "base/parse.h"
#include "base/text.h"
#include "base/timestamp.h"
#include "grant/cpuview.h"
#include "grant/names.h"
#include "grant/partition.h"
#include "grant/show_internal.h"
#include "grant/unmanaged.h"

const char *stow_show_time(uint64_t ns, char *buf, size_t size)
{
	time_t seconds = (time_t)(ns / STOW_SECOND);
	struct tm tm;

	if (!localtime_r(&seconds, &tm) || !strftime(buf, size, "%Y-%m-%d %H:%M:%S", &tm))
		snprintf(buf, size, "?");
	return buf;
}

static void add_set(struct json_object *object, const char *key, const struct stow_idset *set)
{
	_cleanup_free_ char *list = stow_idset_to_list(set);

	json_object_object_add(object, key, json_object_new_string(list ? list : ""));
}

void stow_show_add_text(struct json_object *object, const char *key, const char *text)
{
	json_object_object_add(object, key, *text ? json_object_new_string(text) : NULL);
}

void stow_show_add_time(struct json_object *object, const char *key, uint64_t ns)
{
	char text[STOW_TIMESTAMP_MAX];

	json_object_object_add(object, key,
			       ns ? json_object_new_string(stow_timestamp(ns, text)) : NULL);
}

/* The kernel accepts any bytes in a cgroup's name; JSON does not. */
static void add_cgroup(struct json_object *object, const struct stow_cgroup_id *cgroup)
{
	_cleanup_free_ char *path = stow_text_copy(stow_cgroup_id_path(cgroup), PATH_MAX);

	stow_show_add_text(object, "cgroup", path ? path : "");
}

struct json_object *stow_show_object(void)
{
	struct json_object *object = json_object_new_object();

	json_object_object_add(object, "version", json_object_new_string(STOW_VERSION));
	return object;
}

void stow_show_put_json(struct json_object *json, FILE *out)
{
	fprintf(out, "%s\n",
		json_object_to_json_string_ext(json, JSON_C_TO_STRING_PRETTY |
							     JSON_C_TO_STRING_SPACED |
							     JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(json);
}

/* --- the ledger ----------------------------------------------------------- */

struct contents {
	struct stow_record **records;
	size_t n_records;
	struct stow_idset *cpus; /* of each record, now: shared CPUs are computed */
	struct stow_ledger_pool *pools;
	size_t n_pools;
	struct stow_unmanaged *unmanaged;
	size_t n_unmanaged;
	struct stow_names names;
};

static void contents_done(struct contents *c)
{
	stow_records_free(c->records, c->n_records);
	for (size_t i = 0; i < c->n_unmanaged; i++)
		stow_unmanaged_done(&c->unmanaged[i]);
	free(c->unmanaged);
	stow_names_done(&c->names);
	free(c->pools);
	free(c->cpus);
}

static uint64_t memory_of(const struct stow_record *rec)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < rec->n_shares; i++)
		sum += rec->shares[i].memory;
	return sum;
}

/* What the first column has: the claim of a claim's share, or else the label. */
static const char *title_of(const struct stow_record *rec, char *buf, size_t size)
{
	char label[STOW_RECORD_LABEL_MAX];

	if (!rec->claim)
		return stow_short_id(stow_record_label(rec, label), buf, size);
	snprintf(buf, size, "claim %s/%s", rec->ns, rec->name);
	return buf;
}

/* What the container is called in its pod, or by Podman; "": by nothing. */
static const char *name_of(const struct contents *c, const struct stow_record *rec)
{
	const char *podman = *rec->name ? NULL : stow_names_find(&c->names, rec->id);

	return podman ? podman : rec->name;
}

/* What the second column has: the request of a claim's share, or else the container. */
static const char *subtitle_of(const struct contents *c, const struct stow_record *rec)
{
	const char *name = rec->claim ? rec->claim->part : name_of(c, rec);

	return *name ? name : "-";
}

/* "64Mi in 2Mi", or "-". */
static const char *pages_of(const struct stow_record *rec, const struct stow_grid_style *style,
			    char *buf, size_t size)
{
	size_t len = 0;

	snprintf(buf, size, "-");
	for (size_t p = 0; p < rec->n_pages && len < size; p++) {
		char total[32], page[32];

		len += (size_t)snprintf(
			buf + len, size - len, "%s%s/%s", p ? "," : "",
			stow_grid_size(style, rec->pages[p].count * rec->pages[p].size, total,
				       sizeof(total)),
			stow_grid_size(style, rec->pages[p].size, page, sizeof(page)));
	}
	return buf;
}

static const struct stow_grid_column ledger_columns[] = {
	{ "CONTAINER", 14, 16, false, false }, { "NAME", 12, 10, false, false },
	{ "STATE", 7, 0, false, false },       { "CPUS", 14, 8, false, false },
	{ "NODES", 6, 6, false, false },       { "MEMORY", 8, 0, true, false },
	{ "HUGEPAGES", 12, 9, false, false },  { "REQUEST", 7, 16, false, false },
	{ "NAMESPACE", 9, 9, false, true },    { "POD", 9, 9, false, true },
	{ "CREATED", 19, 0, false, true },
};

void stow_show_columns(FILE *out)
{
	stow_grid_help(ledger_columns, STOW_ARRAY_SIZE(ledger_columns), out);
}

/* Set the cells of one record; a cell is NULL when memory ran out. */
static void ledger_cells(const struct contents *c, size_t i, const struct stow_grid_style *style,
			 char **cells)
{
	const struct stow_record *rec = c->records[i];
	char id[STOW_RECORD_LABEL_MAX], memory[32], pages[128], created[32];
	_cleanup_free_ char *cpus = stow_idset_to_list(&c->cpus[i]);

	cells[0] = strdup(title_of(rec, id, sizeof(id)));
	cells[1] = strdup(subtitle_of(c, rec));
	cells[2] = strdup(stow_state_name(rec->state));
	if (!cpus || asprintf(&cells[3], "%s%s", cpus, rec->exclusive ? "!" : "") < 0)
		cells[3] = NULL;
	cells[4] = stow_idset_to_list(&rec->nodes);
	cells[5] = strdup(stow_grid_size(style, memory_of(rec), memory, sizeof(memory)));
	cells[6] = strdup(pages_of(rec, style, pages, sizeof(pages)));
	cells[7] = strdup(rec->request);
	cells[8] = strdup(*rec->ns ? rec->ns : "-");
	cells[9] = strdup(*rec->pod ? rec->pod : "-");
	cells[10] = strdup(stow_show_time(rec->created, created, sizeof(created)));
}

/* Print rows of cells, and free them. A cell is NULL when memory ran out, as `cells` may be. */
static int put_cells(const struct stow_grid *grid, char **cells, size_t rows, FILE *out,
		     struct stow_err *err)
{
	size_t n = rows * (size_t)grid->n;
	int r = cells ? 0 : -ENOMEM;

	for (size_t i = 0; r == 0 && i < n; i++)
		if (!cells[i])
			r = -ENOMEM;
	if (r < 0)
		stow_err_sys(err, ENOMEM, "showing the ledger");
	else
		r = stow_grid_print(out, grid, cells, rows, err);
	for (size_t i = 0; cells && i < n; i++)
		free(cells[i]);
	free(cells);
	return r;
}

static int put_records(const struct contents *c, int width, const struct stow_grid_style *style,
		       FILE *out, struct stow_err *err)
{
	enum { N = STOW_ARRAY_SIZE(ledger_columns) };
	const struct stow_grid grid = {
		.columns = ledger_columns, .n = N, .width = width, .style = style
	};
	char **cells = calloc(c->n_records * N + 1, sizeof(*cells));

	for (size_t i = 0; cells && i < c->n_records; i++)
		ledger_cells(c, i, style, cells + i * N);
	return put_cells(&grid, cells, c->n_records, out, err);
}

/* Print containers without a grant. */
static int put_unmanaged(const struct contents *c, int width, FILE *out, struct stow_err *err)
{
	static const struct stow_grid_column columns[] = { { "UNMANAGED", 14, 16, false, false },
							   { "NAME", 4, 10, false, false },
							   { "BY", 7, 0, false, false },
							   { "GIVEN-CPUS", 14, 10, false, false },
							   { "CGROUP", 6, 16, false, false } };
	enum { N = STOW_ARRAY_SIZE(columns) };
	const struct stow_grid grid = { .columns = columns, .n = N, .width = width };
	char **cells = calloc(c->n_unmanaged * N + 1, sizeof(*cells));

	for (size_t i = 0; cells && i < c->n_unmanaged; i++) {
		const struct stow_unmanaged *u = &c->unmanaged[i];
		const char *name = stow_names_find(&c->names, u->id);
		char id[48], **row = cells + i * N;

		row[0] = strdup(stow_short_id(u->id, id, sizeof(id)));
		row[1] = strdup(name ? name : "-");
		row[2] = strdup(u->init.pid ? "hook" : "found");
		row[3] = stow_idset_empty(&u->given) ? strdup("-") : stow_idset_to_list(&u->given);
		row[4] = stow_text_copy(stow_cgroup_id_path(&u->cgroup), PATH_MAX);
	}
	return put_cells(&grid, cells, c->n_unmanaged, out, err);
}

static int put_ledger(const struct contents *c, int width, const struct stow_grid_style *style,
		      FILE *out, struct stow_err *err)
{
	int r = put_records(c, width, style, out, err);

	if (r < 0 || stow_grid_for_programs(style))
		return r;
	if (!c->n_records)
		fprintf(out, "The ledger is empty: no container has a grant.\n");
	else
		fprintf(out, "(! exclusive CPUs)\n");
	for (size_t i = 0; i < c->n_pools; i++) {
		char size[32];

		fprintf(out,
			"pool: node %d has %" PRIu64
			" hugepages of %s more than without numastow\n",
			c->pools[i].node, c->pools[i].added,
			stow_grid_size(style, c->pools[i].size, size, sizeof(size)));
	}
	return put_unmanaged(c, width, out, err);
}

static struct json_object *unmanaged_json(const struct contents *c, const struct stow_unmanaged *u)
{
	struct json_object *o = json_object_new_object();
	const char *name = stow_names_find(&c->names, u->id);

	stow_show_add_text(o, "id", u->id);
	stow_show_add_text(o, "name", name ? name : "");
	add_cgroup(o, &u->cgroup);
	if (stow_idset_empty(&u->given))
		json_object_object_add(o, "given_cpus", NULL);
	else
		add_set(o, "given_cpus", &u->given);
	json_object_object_add(o, "found", json_object_new_boolean(!u->init.pid));
	return o;
}

/* Add the state of the partition, if one is wanted. */
static void add_partition(struct json_object *object, const struct stow_grant_context *context,
			  const struct stow_record *rec)
{
	char why[STOW_PARTITION_WHY];
	enum stow_partition_state state = stow_partition_look(context, rec, why);
	struct json_object *o;

	if (state == STOW_PARTITION_NONE)
		return;
	o = json_object_new_object();
	json_object_object_add(o, "valid", json_object_new_boolean(state == STOW_PARTITION_VALID));
	stow_show_add_text(o, "reason", why);
	json_object_object_add(object, "partition", o);
}

/* Add what a claim's share is known by, and which containers hold it; or which shares a container
 * holds. */
static void add_claims(struct json_object *object, const struct contents *c,
		       const struct stow_record *rec)
{
	struct json_object *list = json_object_new_array();

	if (rec->claim) {
		struct json_object *o = json_object_new_object();

		stow_show_add_text(o, "uid", rec->claim->uid);
		stow_show_add_text(o, "share", rec->claim->share);
		stow_show_add_text(o, "request", rec->claim->part);
		for (size_t i = 0; i < c->n_records; i++)
			if (stow_record_holds(c->records[i], rec->key))
				json_object_array_add(list,
						      json_object_new_string(c->records[i]->id));
		json_object_object_add(o, "containers", list);
		json_object_object_add(object, "claim", o);
		return;
	}
	for (size_t i = 0; i < rec->n_held; i++) {
		struct json_object *o = json_object_new_object();

		stow_show_add_text(o, "namespace", rec->held[i].ns);
		stow_show_add_text(o, "name", rec->held[i].name);
		stow_show_add_text(o, "uid", rec->held[i].uid);
		stow_show_add_text(o, "share", rec->held[i].share);
		stow_show_add_text(o, "request", rec->held[i].part);
		json_object_array_add(list, o);
	}
	if (rec->n_held)
		json_object_object_add(object, "claims", list);
	else
		json_object_put(list);
}

/* What the container has on each node. */
static struct json_object *shares_json(const struct stow_record *rec)
{
	struct json_object *shares = json_object_new_array();

	for (size_t i = 0; i < rec->n_shares; i++) {
		struct json_object *s = json_object_new_object();
		struct json_object *pages = json_object_new_array();

		json_object_object_add(s, "node", json_object_new_int(rec->shares[i].node));
		json_object_object_add(s, "n_cpus", json_object_new_int64(rec->shares[i].cpus));
		json_object_object_add(s, "memory", json_object_new_uint64(rec->shares[i].memory));
		for (size_t p = 0; p < rec->n_pages; p++) {
			struct json_object *of = json_object_new_object();

			json_object_object_add(of, "page_size",
					       json_object_new_uint64(rec->pages[p].size));
			json_object_object_add(of, "pages",
					       json_object_new_uint64(rec->shares[i].pages[p]));
			json_object_array_add(pages, of);
		}
		json_object_object_add(s, "hugepages", pages);
		json_object_array_add(shares, s);
	}
	return shares;
}

static struct json_object *record_json(const struct stow_grant_context *context,
				       const struct contents *c, size_t index)
{
	const struct stow_record *rec = c->records[index];
	struct json_object *o = json_object_new_object();
	char label[STOW_RECORD_LABEL_MAX];

	stow_show_add_text(o, "id", stow_record_label(rec, label));
	stow_show_add_text(o, "name", name_of(c, rec));
	stow_show_add_text(o, "namespace", rec->ns);
	stow_show_add_text(o, "pod", rec->pod);
	stow_show_add_text(o, "state", stow_state_name(rec->state));
	json_object_object_add(o, "pid", rec->init.pid ? json_object_new_int(rec->init.pid) : NULL);
	add_cgroup(o, &rec->cgroup);
	stow_show_add_time(o, "created", rec->created);
	stow_show_add_time(o, "expires", stow_clock_boot_to_wall(rec->expires));
	json_object_object_add(o, "exclusive", json_object_new_boolean(rec->exclusive));
	json_object_object_add(o, "isolated", json_object_new_boolean(rec->isolated));
	add_partition(o, context, rec);
	add_set(o, "cpus", &c->cpus[index]);
	add_set(o, "mems", &rec->nodes);
	stow_show_add_text(o, "request", rec->request);
	stow_show_add_text(o, "reason", rec->reason);
	json_object_object_add(o, "nodes", shares_json(rec));
	add_claims(o, c, rec);
	return o;
}

static struct json_object *ledger_json(const struct stow_grant_context *context,
				       const struct contents *c)
{
	struct json_object *o = stow_show_object(), *records = json_object_new_array();
	struct json_object *pools = json_object_new_array();
	struct json_object *unmanaged = json_object_new_array();

	for (size_t i = 0; i < c->n_records; i++)
		json_object_array_add(records, record_json(context, c, i));
	for (size_t i = 0; i < c->n_pools; i++) {
		struct json_object *p = json_object_new_object();

		json_object_object_add(p, "node", json_object_new_int(c->pools[i].node));
		json_object_object_add(p, "page_size", json_object_new_uint64(c->pools[i].size));
		json_object_object_add(p, "pages_added", json_object_new_uint64(c->pools[i].added));
		json_object_array_add(pools, p);
	}
	for (size_t i = 0; i < c->n_unmanaged; i++)
		json_object_array_add(unmanaged, unmanaged_json(c, &c->unmanaged[i]));
	json_object_object_add(o, "containers", records);
	json_object_object_add(o, "pools", pools);
	json_object_object_add(o, "unmanaged", unmanaged);
	return o;
}

static int compute_cpus(const struct stow_grant_context *context, struct contents *c,
			struct stow_err *err)
{
	_cleanup_(stow_cpu_view_done) struct stow_cpu_view view = { 0 };
	int r;

	c->cpus = calloc(c->n_records + 1, sizeof(*c->cpus));
	if (!c->cpus)
		return stow_err_sys(err, ENOMEM, "the ledger");
	r = stow_cpu_view_read(context->root, context->config, context->ledger, &view, err);
	for (size_t i = 0; i < c->n_records && r == 0; i++)
		stow_cpu_view_of(&view, c->records[i], &c->cpus[i]);
	return r;
}

/* Skip entries of containers that have a grant by now. */
static int add_unmanaged(struct stow_root *root, struct stow_unmanaged *entry, void *ctx,
			 struct stow_err *err)
{
	struct contents *c = ctx;
	struct stow_unmanaged *added;

	for (size_t i = 0; i < c->n_records; i++)
		if (stow_cgroup_id_equal(&c->records[i]->cgroup, &entry->cgroup))
			return 0;
	added = STOW_APPEND(c->unmanaged, c->n_unmanaged);
	if (!added)
		return stow_err_sys(err, ENOMEM, "%s", entry->id);
	*added = *entry;
	entry->cgroup = (struct stow_cgroup_id){ 0 };
	return 0;
}

int stow_show_ledger(const struct stow_grant_context *context, bool json, int width,
		     const struct stow_grid_style *style, char **ret_text, struct stow_err *err)
{
	_cleanup_(contents_done) struct contents c = { 0 };
	size_t len = 0;
	int r = 0;
	FILE *out;

	if (context->ledger)
		r = stow_ledger_records(context->ledger, NULL, &c.records, &c.n_records, err);
	if (r == 0 && context->ledger)
		r = compute_cpus(context, &c, err);
	if (r == 0 && context->ledger)
		r = stow_ledger_pools(context->ledger, &c.pools, &c.n_pools, err);
	if (r == 0)
		r = stow_unmanaged_each(context->root, add_unmanaged, &c, err);
	if (r == 0 && (c.n_records || c.n_unmanaged))
		r = stow_names_read_podman(context->root, &c.names, err);
	/* -EINVAL is of the style. */
	if (r < 0)
		return r == -EINVAL ? stow_err_wrap(err, -EBADMSG, "the ledger") : r;
	out = open_memstream(ret_text, &len);
	if (!out)
		return stow_err_sys(err, ENOMEM, "showing the ledger");
	if (json)
		stow_show_put_json(ledger_json(context, &c), out);
	else
		r = put_ledger(&c, width, style, out, err);
	if (fclose(out) != 0 && r == 0)
		r = stow_err_sys(err, ENOMEM, "showing the ledger");
	return r;
}

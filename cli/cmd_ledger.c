// SPDX-License-Identifier: Apache-2.0
/* numastow ledger: who has what. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "cli/cli.h"
#include "cli/context.h"
#include "grant/cpuview.h"

struct contents {
	struct stow_record **records;
	size_t n_records;
	struct stow_idset *cpus; /* of each record, now: shared ones are computed */
	struct stow_ledger_pool *pools;
	size_t n_pools;
};

static void contents_done(struct contents *c)
{
	stow_records_free(c->records, c->n_records);
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

/* "64Mi in 2Mi", or "-". */
static const char *pages_of(const struct stow_record *rec, char *buf, size_t size)
{
	size_t len = 0;

	snprintf(buf, size, "-");
	for (size_t p = 0; p < rec->n_pages && len < size; p++) {
		char total[32], page[32];

		len += (size_t)snprintf(buf + len, size - len, "%s%s/%s", p ? "," : "",
					stow_format_size(rec->pages[p].count * rec->pages[p].size,
							 total, sizeof(total)),
					stow_format_size(rec->pages[p].size, page, sizeof(page)));
	}
	return buf;
}

static void print_text(const struct contents *c)
{
	if (!c->n_records)
		printf("The ledger is empty: nothing is given to any container.\n");
	else
		printf("%-14s %-12s %-7s %-14s %-6s %8s %-12s %s\n", "CONTAINER", "NAME", "STATE",
		       "CPUS", "NODES", "MEMORY", "HUGEPAGES", "REQUEST");
	for (size_t i = 0; i < c->n_records; i++) {
		const struct stow_record *rec = c->records[i];
		char label[STOW_RECORD_LABEL_MAX], id[48], cpus[64], nodes[32], memory[32],
			pages[64];

		stow_idset_format(&c->cpus[i], cpus, sizeof(cpus) - 1);
		if (rec->exclusive)
			strcat(cpus, "!");
		printf("%-14s %-12s %-7s %-14s %-6s %8s %-12s %s\n",
		       cli_short_id(stow_record_label(rec, label), id, sizeof(id)),
		       rec->name[0] ? rec->name : "-", stow_state_name(rec->state), cpus,
		       stow_idset_format(&rec->nodes, nodes, sizeof(nodes)),
		       stow_format_size(memory_of(rec), memory, sizeof(memory)),
		       pages_of(rec, pages, sizeof(pages)), rec->request);
	}
	if (c->n_records)
		printf("(! exclusive CPUs)\n");
	for (size_t i = 0; i < c->n_pools; i++) {
		char size[32];

		printf("pool: node %d has %" PRIu64 " hugepages of %s more than it had without "
		       "numastow\n",
		       c->pools[i].node, c->pools[i].added,
		       stow_format_size(c->pools[i].size, size, sizeof(size)));
	}
}

static struct json_object *record_json(const struct stow_record *rec, const struct stow_idset *cpus)
{
	struct json_object *o = json_object_new_object(), *shares = json_object_new_array();
	char label[STOW_RECORD_LABEL_MAX];

	json_object_object_add(o, "id", json_object_new_string(stow_record_label(rec, label)));
	json_object_object_add(o, "name", json_object_new_string(rec->name));
	json_object_object_add(o, "namespace", json_object_new_string(rec->ns));
	json_object_object_add(o, "pod", json_object_new_string(rec->pod));
	json_object_object_add(o, "state", json_object_new_string(stow_state_name(rec->state)));
	json_object_object_add(o, "pid", json_object_new_int(rec->init.pid));
	json_object_object_add(o, "cgroup",
			       json_object_new_string(stow_cgroup_id_path(&rec->cgroup)));
	json_object_object_add(o, "created_ns", json_object_new_uint64(rec->created));
	json_object_object_add(
		o, "expires",
		json_object_new_uint64(stow_clock_boot_to_wall(rec->expires) / STOW_SECOND));
	json_object_object_add(o, "exclusive", json_object_new_boolean(rec->exclusive));
	cli_json_idset(o, "cpus", cpus);
	cli_json_idset(o, "nodes", &rec->nodes);
	json_object_object_add(o, "request", json_object_new_string(rec->request));
	json_object_object_add(o, "reason", json_object_new_string(rec->reason));
	for (size_t i = 0; i < rec->n_shares; i++) {
		struct json_object *s = json_object_new_object();
		struct json_object *pages = json_object_new_object();

		json_object_object_add(s, "node", json_object_new_int(rec->shares[i].node));
		json_object_object_add(s, "cpus", json_object_new_int64(rec->shares[i].cpus));
		json_object_object_add(s, "memory", json_object_new_uint64(rec->shares[i].memory));
		for (size_t p = 0; p < rec->n_pages; p++) {
			char size[32];

			json_object_object_add(
				pages, stow_format_size(rec->pages[p].size, size, sizeof(size)),
				json_object_new_uint64(rec->shares[i].pages[p]));
		}
		json_object_object_add(s, "hugepages", pages);
		json_object_array_add(shares, s);
	}
	json_object_object_add(o, "shares", shares);
	return o;
}

static void print_json(const struct contents *c)
{
	struct json_object *o = json_object_new_object(), *records = json_object_new_array();
	struct json_object *pools = json_object_new_array();

	for (size_t i = 0; i < c->n_records; i++)
		json_object_array_add(records, record_json(c->records[i], &c->cpus[i]));
	for (size_t i = 0; i < c->n_pools; i++) {
		struct json_object *p = json_object_new_object();

		json_object_object_add(p, "node", json_object_new_int(c->pools[i].node));
		json_object_object_add(p, "page_size", json_object_new_uint64(c->pools[i].size));
		json_object_object_add(p, "added", json_object_new_uint64(c->pools[i].added));
		json_object_array_add(pools, p);
	}
	json_object_object_add(o, "containers", records);
	json_object_object_add(o, "pools", pools);
	cli_print_json(o);
}

static int compute_cpus(const struct cli_context *context, struct contents *c, struct stow_err *err)
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

static int show(const char *sysroot, bool json)
{
	_cleanup_(contents_done) struct contents c = { 0 };
	_cleanup_(cli_context_done) struct cli_context context;
	struct stow_err err;
	int r;

	r = cli_context_open_anyway(&context, sysroot, false, &err);
	if (r == 0 && context.ledger)
		r = stow_ledger_records(context.ledger, NULL, &c.records, &c.n_records, &err);
	if (r == 0 && context.ledger)
		r = compute_cpus(&context, &c, &err);
	if (r == 0 && context.ledger)
		r = stow_ledger_pools(context.ledger, &c.pools, &c.n_pools, &err);
	if (r < 0)
		return cli_fail(&err);
	if (json)
		print_json(&c);
	else
		print_text(&c);
	return CLI_OK;
}

int cmd_ledger(int argc, char **argv)
{
	static const struct option options[] = { { "json", no_argument, NULL, 'j' },
						 { "sysroot", required_argument, NULL, 's' },
						 { "help", no_argument, NULL, 'h' },
						 { 0 } };
	const char *sysroot = NULL;
	bool json = false;
	int c;

	while ((c = getopt_long(argc, argv, "js:h", options, NULL)) != -1) {
		switch (c) {
		case 'j':
			json = true;
			break;
		case 's':
			sysroot = optarg;
			break;
		case 'h':
			cli_usage("ledger", "[--json] [--sysroot DIR]",
				  "Shows what this machine has given to which container",
				  "  -j, --json         as JSON\n"
				  "  -s, --sysroot DIR  the ledger of a copied tree\n");
			return CLI_OK;
		default:
			return cli_bad_usage("ledger");
		}
	}
	if (optind < argc)
		return cli_bad_usage("ledger");
	return show(sysroot, json);
}

// SPDX-License-Identifier: Apache-2.0
/* numastow zones: memory zones, their watermarks and where these come from. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/parse.h"
#include "cli/cli.h"
#include "cli/options.h"
#include "cli/view/output.h"
#include "cli/view/table.h"
#include "cli/view/view.h"
#include "cli/view/zones_columns.h"
#include "cli/view/zones_view.h"
#include "node/memory.h"
#include "node/reclaim.h"

struct asked {
	struct cli_output out;
	bool lists, orders;
	struct stow_root *root;
};

static int show(void *data)
{
	struct asked *asked = data;
	const struct cli_output *out = &asked->out;
	struct zones_view view = { .out = out, .lists = asked->lists, .orders = asked->orders };
	struct stow_err err = { 0 };
	bool read;
	int r;

	/* Options of the table of zones: print no other table, which has other columns. */
	view.alone = !out->json && (out->quiet || out->columns || out->all || out->pairs ||
				    out->raw || out->noheadings);
	r = zones_view_read(asked->root, &view, &err);
	read = r == 0;
	if (r == 0 && asked->out.json)
		r = zones_print_json(&view);
	else if (r == 0 && !asked->out.quiet)
		r = zones_print_text(&view, &err);
	if (r == -ENOMEM && !err.msg[0])
		r = stow_err_sys(&err, ENOMEM, "zones");
	zones_view_done(&view);
	return read ? cli_table_printed("zones", r, &err) : cli_fail(&err);
}

/* --- compact and reclaim -------------------------------------------------- */

static void audit(const struct stow_root *root, const char *action, int node)
{
	const struct stow_log_field fields[] = { { "NUMASTOW_ACTION", action } };
	char line[128];

	if (!root->live)
		return;
	snprintf(line, sizeof(line), "NUMA node %d: %s", node, action);
	stow_log_audit(line, fields, STOW_ARRAY_SIZE(fields));
}

static int parse_node(const char *word, int *ret, struct stow_err *err)
{
	uint64_t node;
	int r = stow_parse_u64(word, STOW_IDSET_MAX - 1, &node, NULL);

	if (r < 0)
		return stow_err_set(err, -r, "NODE \"%.32s\": expected the number of a NUMA node",
				    word);
	*ret = (int)node;
	return 0;
}

static int parse_size(const char *word, uint64_t *ret, struct stow_err *err)
{
	int r = stow_parse_quantity(word, ret, err);

	if (r == 0 && !*ret)
		r = stow_err_set(err, EINVAL, "\"%.32s\": expected more than 0 bytes", word);
	return r < 0 ? stow_err_wrap(err, r, "SIZE") : 0;
}

/* Return how many blocks of `order` a node has free, also within larger ones; STOW_UNKNOWN: not
 * known. *ret_unusable: how much of its free memory is in smaller blocks, in 1/1000, or -1. */
static uint64_t large_blocks(struct stow_root *root, int node, int order, int *ret_unusable)
{
	_cleanup_(stow_zones_done) struct stow_zones zones = { 0 };
	struct stow_zone all;
	uint64_t sum = 0;

	*ret_unusable = -1;
	if (order < 0 || stow_zones_read_blocks(root, &zones, NULL) < 0)
		return STOW_UNKNOWN;
	zones_node_blocks(&zones, node, &all);
	for (unsigned int k = (unsigned int)order; k < all.n_orders; k++)
		sum = stow_saturating_add(sum, all.blocks[k] << (k - (unsigned int)order));
	*ret_unusable = stow_zone_unusable(&all, (unsigned int)order);
	/* A transparent hugepage can be larger than the largest block: 512 MiB with pages of 64
	 * KiB. */
	return *ret_unusable < 0 ? STOW_UNKNOWN : sum;
}

static int compact(struct asked *asked, int node, struct stow_err *err)
{
	struct zones_view view = { .out = &asked->out };
	uint64_t before, after;
	int unusable, left, order, r;
	char size[32];

	(void)stow_zone_knobs_read(asked->root, &view.knobs, NULL);
	view.knobs.page_size = stow_zones_page_size(asked->root, &view.zones, 0);
	order = zones_huge_order(&view);
	before = large_blocks(asked->root, node, order, &unusable);
	r = stow_node_compact(asked->root, node, err);
	if (r < 0)
		return r;
	audit(asked->root, "compact", node);
	after = large_blocks(asked->root, node, order, &left);
	if (asked->out.quiet)
		return 0;
	if (before == STOW_UNKNOWN || after == STOW_UNKNOWN) {
		printf("Node %d was compacted; what this changed is not known.\n", node);
		return 0;
	}
	printf("Node %d was compacted: %" PRIu64 " free blocks of %s before, %" PRIu64 " now; "
	       "unusable for them %d.%d %% before, %d.%d %% now\n",
	       node, before, stow_format_size(view.knobs.pmd_size, size, sizeof(size)), after,
	       unusable / 10, unusable % 10, left / 10, left % 10);
	return 0;
}

static int reclaim(struct asked *asked, int node, uint64_t bytes, struct stow_err *err)
{
	struct stow_meminfo before = { 0 }, after = { 0 };
	char size[32], had[32], has[32];
	struct stow_err why = { 0 };
	bool known = stow_meminfo_read(asked->root, node, &before, NULL) == 0;
	int r = stow_node_reclaim(asked->root, node, bytes, &why);

	if (r < 0 && r != -EAGAIN)
		return stow_err_move(err, r, &why);
	audit(asked->root, "reclaim", node);
	known = known && stow_meminfo_read(asked->root, node, &after, NULL) == 0;
	stow_format_size(bytes, size, sizeof(size));
	if (!asked->out.quiet && known)
		printf("Node %d: %s free before, %s now\n", node,
		       stow_format_size(before.free, had, sizeof(had)),
		       stow_format_size(after.free, has, sizeof(has)));
	if (r == -EAGAIN)
		(void)stow_err_set(err, EAGAIN, "node %d: the kernel has reclaimed less than %s",
				   node, size);
	return r;
}

static int act(struct asked *asked, int n, char **words)
{
	bool compacts = strcmp(words[0], "compact") == 0;
	struct stow_err err = { 0 };
	uint64_t bytes = 0;
	int node = 0, r;

	if (!compacts && strcmp(words[0], "reclaim") != 0)
		return cli_wrong_usage("zones", "\"%.32s\": expected compact or reclaim", words[0]);
	if (n != (compacts ? 2 : 3))
		return cli_wrong_usage("zones", "expected %s",
				       compacts ? "compact NODE" : "reclaim NODE SIZE");
	r = parse_node(words[1], &node, &err);
	if (r == 0 && !compacts)
		r = parse_size(words[2], &bytes, &err);
	if (r < 0)
		return cli_wrong_usage("zones", "%s", err.msg);
	r = compacts ? compact(asked, node, &err) : reclaim(asked, node, bytes, &err);
	if (r == -EACCES || r == -EPERM)
		(void)stow_err_set(&err, -r, "only root can %s a node's memory", words[0]);
	if (r < 0)
		cli_fail(&err);
	return r == -EAGAIN ? CLI_PARTIAL : r < 0 ? CLI_FAILED : CLI_OK;
}

static void more_help(const struct cli_column *columns)
{
	cli_columns_help(zones_columns);
}

int cmd_zones(int argc, char **argv)
{
	struct asked asked = { .out = { .sysroot = "/" } };
	_cleanup_(stow_root_free_ptr) struct stow_root *root = NULL;
	const struct cli_usage usage = {
		.name = "zones",
		.arguments = "[OPTION...] [compact NODE | reclaim NODE SIZE]",
		.summary = "Show memory zones: free memory, watermarks and where these come from, "
			   "free blocks, pressure. Or compact, or reclaim, the memory of one node",
		.options = "      --lists          show the page lists of each CPU, too\n"
			   "      --orders         show the free blocks of all sizes, "
			   "too\n" CLI_OUTPUT_HELP,
		.words = 3,
		.more = more_help,
	};
	const struct cli_option options[] = {
		{ "lists", .flag = &asked.lists },
		{ "orders", .flag = &asked.orders },
		CLI_OUTPUT_OPTIONS(&asked.out),
		{ NULL },
	};
	struct stow_err err = { 0 };
	int code = cli_options(&usage, options, argc, argv);

	if (code >= 0)
		return code;
	if (stow_root_open(asked.out.sysroot, &root, &err) < 0)
		return cli_fail(&err);
	asked.root = root;
	if (optind < argc)
		return act(&asked, argc - optind, argv + optind);
	return cli_output_run(&asked.out, show, &asked);
}

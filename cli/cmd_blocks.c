// SPDX-License-Identifier: Apache-2.0
/* numastow blocks: the memory blocks, and what is in them. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "cgroup/paths.h"
#include "cli/blocks_view.h"
#include "cli/cli.h"
#include "cli/options.h"

static bool is_online(const struct stow_memblock *block)
{
	return block->state == STOW_MEMBLOCK_ONLINE;
}

/* --- what is in them ------------------------------------------------------ */

static int find_cgroups(struct stow_root *root, struct blocks_view *view, struct stow_err *err)
{
	_cleanup_free_ uint64_t *inodes = NULL;
	_cleanup_free_ char **paths = NULL;
	struct stow_block_use sum;
	int r;

	if (blocks_sum(view->rows, view->n_rows, &sum) < 0)
		return stow_err_sys(err, ENOMEM, "cgroups");
	inodes = calloc(sum.n_owners + 1, sizeof(*inodes));
	paths = calloc(sum.n_owners + 1, sizeof(*paths));
	view->cgroups = calloc(sum.n_owners + 1, sizeof(*view->cgroups));
	for (size_t i = 0; inodes && i < sum.n_owners; i++)
		inodes[i] = sum.owners[i].inode;
	free(sum.owners);
	if (!inodes || !paths || !view->cgroups)
		return stow_err_sys(err, ENOMEM, "cgroups");
	r = stow_cgroup_paths(root, inodes, sum.n_owners, paths, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < sum.n_owners; i++)
		view->cgroups[i] = (struct blocks_cgroup){ inodes[i], paths[i] };
	view->n_cgroups = sum.n_owners;
	return 0;
}

static void view_done(struct blocks_view *view)
{
	for (size_t i = 0; i < view->n_cgroups; i++)
		free(view->cgroups[i].path);
	free(view->cgroups);
	free(view->rows);
}

/* Select the blocks of NUMA nodes `nodes`, or all (NULL). */
static int choose_rows(struct blocks_view *view, const struct stow_idset *nodes,
		       struct stow_err *err)
{
	view->rows = calloc(view->list->n_blocks + 1, sizeof(*view->rows));
	if (!view->rows)
		return stow_err_sys(err, ENOMEM, "memory blocks");
	for (size_t i = 0; i < view->list->n_blocks; i++) {
		const struct stow_memblock *block = &view->list->blocks[i];

		if (stow_idset_empty(nodes) ||
		    (block->node >= 0 && stow_idset_has(nodes, block->node)))
			view->rows[view->n_rows++].block = block;
	}
	if (!stow_idset_empty(nodes) && !view->n_rows) {
		_cleanup_free_ char *list = stow_idset_to_list(nodes);

		return stow_err_set(err, ENOENT, "NUMA node %s has no memory blocks",
				    list ? list : "?");
	}
	return 0;
}

/* Read what is in the blocks, if requested or necessary. If that fails, `why` has the reason,
 * otherwise "". */
static void look_inside(struct stow_root *root, struct blocks_view *view, struct stow_use *use,
			struct stow_err *why)
{
	_cleanup_free_ uint64_t *ids = calloc(view->n_rows + 1, sizeof(*ids));
	size_t n = 0, at = 0;

	if (!ids) {
		stow_err_sys(why, ENOMEM, "memory blocks");
		return;
	}
	for (size_t i = 0; i < view->n_rows; i++) {
		const struct stow_memblock *block = view->rows[i].block;

		if ((view->owners && is_online(block)) || stow_leave_needs_use(view->list, block))
			ids[n++] = block->id;
	}
	if (!n || stow_use_read(root, view->list, ids, n, use, why) < 0)
		return;
	view->page_size = use->page_size;
	view->owners_known = use->owners_known;
	for (size_t i = 0; i < view->n_rows && at < use->n_blocks; i++)
		if (view->rows[i].block->id == use->blocks[at].id)
			view->rows[i].use = &use->blocks[at++];
}

struct asked {
	const char *sysroot;
	struct stow_idset nodes; /* of these NUMA nodes; empty: of all */
	struct stow_grid_style style;
	bool json, all, owners, quiet;
	uint64_t watch;
};

/* Return the exit code, or -errno. */
static int show(const struct asked *asked, struct stow_err *err)
{
	_cleanup_(stow_root_free_ptr) struct stow_root *root = NULL;
	_cleanup_(stow_memblocks_done) struct stow_memblocks list = { 0 };
	_cleanup_(stow_use_done) struct stow_use use = { 0 };
	_cleanup_(view_done) struct blocks_view view = {
		.list = &list, .all = asked->all, .style = &asked->style, .owners = asked->owners
	};
	struct stow_err why = { 0 };
	int r;

	r = stow_root_open(asked->sysroot, &root, err);
	if (r == 0)
		r = stow_memblocks_read(root, STOW_MEMBLOCK_ZONES | STOW_MEMBLOCK_DEVICE, &list,
					err);
	if (r == 0 && !list.n_blocks)
		r = stow_err_set(err, EOPNOTSUPP,
				 "/sys/devices/system/memory has no memory blocks: no memory "
				 "hotplug, or no sysfs");
	if (r == 0)
		r = choose_rows(&view, &asked->nodes, err);
	if (r < 0)
		return r;
	look_inside(root, &view, &use, &why);
	for (size_t i = 0; i < view.n_rows; i++)
		view.rows[i].leave = stow_leave_check(&list, view.rows[i].block, view.rows[i].use);
	if (view.owners && view.owners_known)
		r = find_cgroups(root, &view, err);
	if (r < 0)
		return r;
	view.unknown = why.code ? why.msg : NULL;
	if (asked->quiet)
		return CLI_OK;
	if (!asked->json)
		return cli_table_printed("blocks", blocks_print_text(&view, err), err);
	r = blocks_print_json(&view);
	return r < 0 ? stow_err_sys(err, -r, "printing the memory blocks") : 0;
}

static int show_once(void *data)
{
	struct stow_err err = { 0 };
	int r = show(data, &err);

	return r < 0 ? cli_fail(&err) : r;
}

int cmd_blocks(int argc, char **argv)
{
	static const struct cli_usage usage = {
		.name = "blocks",
		.arguments = "[OPTION...]",
		.summary = "Show the memory blocks: their addresses, devices, and whether they can "
			   "be removed",
		.options =
			"  -a, --all            print one line for each block\n"
			"  -N, --node LIST      only blocks of these NUMA nodes\n"
			"      --owners         show their contents and owners (root only)\n"
			"  -J, --json           print JSON, see numastow-blocks(1)\n" CLI_STYLE_HELP
				CLI_BYTES_HELP
			"  -s, --sysroot DIR    read /sys and /proc below DIR, a "
			"copy of a machine's\n" CLI_READ_HELP
			"  -h, --help           print this text\n",
		.list = blocks_columns,
	};
	struct asked asked = { .sysroot = "/" };
	const struct cli_option options[] = {
		{ "all", 'a', .flag = &asked.all },
		{ "json", 'J', .flag = &asked.json },
		{ "node", 'N', .take = cli_take_nodes, .value = &asked.nodes },
		{ "owners", .flag = &asked.owners },
		CLI_SIZES_OPTIONS(&asked.style),
		{ "sysroot", 's', .text = &asked.sysroot },
		CLI_READ_OPTIONS(&asked),
		{ 0 },
	};
	int r = cli_options(&usage, options, argc, argv);

	return r >= 0 ? r : cli_watch(asked.watch, asked.json, show_once, &asked);
}

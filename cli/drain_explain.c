// SPDX-License-Identifier: Apache-2.0
/* numastow drain --explain: what is in a memory block, and what may keep it online. */
#include "cli/drain.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "cgroup/paths.h"
#include "cli/blocks_view.h"
#include "cli/cli.h"
#include "cli/drain_view.h"
#include "cli/grid.h"
#include "cli/json_writer.h"
#include "cli/message.h"
#include "cli/paragraph.h"
#include "pages/kind.h"
#include "pages/owners.h"

struct explained {
	struct stow_root *root;
	struct stow_memblocks all;
	const struct stow_memblock *block;
	struct stow_use use;
	bool known;		   /* the owners are known */
	struct stow_err why;	   /* the reason, if they are not */
	char **paths;		   /* paths of the owners' cgroups */
	PbDrainProgress *suspects; /* only its culprits are set */
};

static void explained_done(struct explained *e)
{
	if (e->paths)
		stow_owner_paths_free(e->paths, e->use.blocks[0].n_owners);
	pb_drain_progress__free_unpacked(e->suspects, NULL);
	stow_use_done(&e->use);
	stow_memblocks_done(&e->all);
	stow_root_free(e->root);
}

static int find_block(struct explained *e, uint64_t id, struct stow_err *err)
{
	int r = stow_memblocks_read(e->root, STOW_MEMBLOCK_ZONES | STOW_MEMBLOCK_DEVICE, &e->all,
				    err);

	if (r < 0)
		return r;
	e->block = stow_memblocks_find(&e->all, id);
	return e->block ? 0 : stow_memblocks_missing(&e->all, id, ENOENT, err);
}

static int find_owners(struct explained *e, struct stow_err *err)
{
	struct stow_block_use *use = e->use.blocks;
	_cleanup_free_ uint64_t *inodes = calloc(use->n_owners + 1, sizeof(*inodes));

	e->paths = calloc(use->n_owners + 1, sizeof(*e->paths));
	if (!inodes || !e->paths)
		return stow_err_set(err, ENOMEM, "out of memory");
	for (size_t i = 0; i < use->n_owners; i++)
		inodes[i] = use->owners[i].inode;
	return stow_cgroup_paths(e->root, inodes, use->n_owners, e->paths, err);
}

static void look_inside(struct explained *e)
{
	_cleanup_(stow_culprits_done) struct stow_culprits suspects = { 0 };
	int r = stow_use_read(e->root, &e->all, &e->block->id, 1, &e->use, &e->why);

	if (r < 0) {
		memset(&e->use, 0, sizeof(e->use));
		return;
	}
	r = find_owners(e, &e->why);
	if (r == 0)
		r = stow_culprits_suspect(e->root, e->use.blocks, &suspects, &e->why);
	if (r == 0)
		e->suspects = stow_drain_suspects_message(&suspects, e->block->id);
	if (r == 0 && !e->suspects)
		r = stow_err_set(&e->why, ENOMEM, "out of memory");
	e->known = r == 0;
}

static uint64_t pages_of(const struct stow_owner *owner)
{
	uint64_t sum = 0;

	for (size_t kind = 0; kind < STOW_PAGE_KINDS; kind++)
		sum += owner->pages[kind];
	return sum;
}

static const char *owner_name(const struct explained *e, size_t i, char *id, size_t size)
{
	const char *path = e->paths[i];

	if (e->use.blocks[0].owners[i].inode == 0)
		return "no owner";
	if (!path)
		return "a removed cgroup";
	return *stow_cgroup_container(path, id, size) ? id : path;
}

static const char *device_name(const struct explained *e)
{
	return e->block->device >= 0 ? e->all.devices[e->block->device].name : "";
}

static void print_block(const struct explained *e)
{
	char text[512], size[32];

	snprintf(text, sizeof(text), "block %" PRIu64 ": %s of NUMA node %d, %s, zone %s%s%s",
		 e->block->id, stow_format_size(e->all.block_size, size, sizeof(size)),
		 e->block->node, stow_memblock_state_name(e->block->state),
		 *e->block->zones ? e->block->zones : "none",
		 *device_name(e) ? ", device " : ", boot memory", device_name(e));
	cli_sentence(0, "", text);
	if (e->known)
		return;
	snprintf(text, sizeof(text), "the owners of its pages are not known: %s", e->why.msg);
	cli_sentence(0, "", text);
}

static void print_kinds(const struct stow_block_use *use, uint64_t page_size)
{
	static const char *const columns[] = { "KIND", ">SIZE", "MOVABLE", NULL };
	struct cli_grid *table = cli_grid(columns);
	char size[32];

	for (int kind = 0; kind < STOW_PAGE_KINDS; kind++) {
		enum stow_page_kind k = (enum stow_page_kind)kind;

		if (use->pages[kind])
			cli_grid_row(table, (const char *const[]){
						    stow_page_kind_name(k),
						    stow_format_size(use->pages[kind] * page_size,
								     size, sizeof(size)),
						    stow_page_kind_moves(k) ? "yes" : "no" });
	}
	putchar('\n');
	cli_grid_print(table, stdout);
}

static void print_owners(const struct explained *e, const struct stow_block_use *use)
{
	static const char *const columns[] = { ">SIZE", "OWNER", NULL };
	struct cli_grid *table;
	char size[32], id[128];

	if (!use->n_owners)
		return;
	table = cli_grid(columns);
	for (size_t i = 0; i < use->n_owners; i++)
		cli_grid_row(table,
			     (const char *const[]){
				     stow_format_size(pages_of(&use->owners[i]) * e->use.page_size,
						      size, sizeof(size)),
				     owner_name(e, i, id, sizeof(id)) });
	putchar('\n');
	cli_grid_print(table, stdout);
}

static void print_text(const struct explained *e)
{
	print_block(e);
	if (!e->known)
		return;
	print_kinds(e->use.blocks, e->use.page_size);
	print_owners(e, e->use.blocks);
	if (e->suspects->n_culprits)
		putchar('\n');
	drain_view_culprits(e->suspects);
}

static json_object *owners_json(struct json_writer *w, const struct explained *e)
{
	const struct stow_block_use *use = e->use.blocks;
	json_object *out = json_object_new_array();

	for (size_t i = 0; i < use->n_owners; i++) {
		json_object *owner = json_object_new_object();
		const char *path = e->paths[i] ? e->paths[i] : "";
		char id[128] = "";

		json_put_text(w, owner, "container", stow_cgroup_container(path, id, sizeof(id)));
		json_put_text(w, owner, "cgroup", path);
		json_put(w, owner, "bytes",
			 blocks_kinds_json(w, use->owners[i].pages, e->use.page_size));
		json_append(w, out, owner);
	}
	return out;
}

/* Add what is in the block, as far as it is known. */
static void put_contents(struct json_writer *w, json_object *out, const struct explained *e)
{
	json_object *suspects = json_object_new_array();

	json_put(w, out, "kinds", blocks_kinds_json(w, e->use.blocks[0].pages, e->use.page_size));
	json_put(w, out, "owners", owners_json(w, e));
	for (size_t i = 0; i < e->suspects->n_culprits; i++)
		json_append(w, suspects, cli_message_json(&e->suspects->culprits[i]->base));
	json_put(w, out, "suspects", suspects);
}

static int print_json(const struct explained *e)
{
	struct json_writer w = { .ok = true };
	json_object *out = json_object_new_object();

	json_put(&w, out, "block", json_object_new_uint64(e->block->id));
	json_put(&w, out, "size", json_object_new_uint64(e->all.block_size));
	json_put_node(&w, out, e->block->node);
	json_put_text(&w, out, "state",
		      e->block->state == STOW_MEMBLOCK_UNKNOWN
			      ? ""
			      : stow_memblock_state_name(e->block->state));
	json_put_text(&w, out, "zones", e->block->zones);
	json_put_text(&w, out, "device", device_name(e));
	json_put_text(&w, out, "reason", e->known ? "" : e->why.msg);
	if (e->known)
		put_contents(&w, out, e);
	return json_print(&w, json_with_version(out));
}

int drain_explain(const char *sysroot, uint64_t block, bool json)
{
	struct explained e = { 0 };
	struct stow_err err;
	int r;

	r = stow_root_open(sysroot ? sysroot : "/", &e.root, &err);
	if (r == 0)
		r = find_block(&e, block, &err);
	if (r == 0) {
		look_inside(&e);
		if (!json)
			print_text(&e);
		else if (print_json(&e) < 0)
			r = stow_err_set(&err, ENOMEM, "out of memory");
	}
	explained_done(&e);
	return r < 0 ? cli_fail(&err) : CLI_OK;
}

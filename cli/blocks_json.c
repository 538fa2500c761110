// SPDX-License-Identifier: Apache-2.0
#include "cli/blocks_view.h"

#include "cgroup/paths.h"
#include "cli/json_writer.h"

/* The keys are documented in numastow-blocks(1) and keep their meaning. */

json_object *blocks_kinds_json(struct json_writer *w, const uint64_t *pages, uint64_t page_size)
{
	json_object *o = json_object_new_object();

	for (int kind = 0; kind < STOW_PAGE_KINDS; kind++)
		json_put(w, o, stow_page_kind_name((enum stow_page_kind)kind),
			 json_object_new_uint64(pages[kind] * page_size));
	return o;
}

static json_object *owner_json(struct json_writer *w, const struct blocks_view *view,
			       const struct stow_owner *owner)
{
	json_object *o = json_object_new_object();
	const char *path = blocks_cgroup_path(view, owner->inode);
	char id[128];

	json_put_text(w, o, "cgroup", path);
	json_put_text(w, o, "container", stow_cgroup_container(path, id, sizeof(id)));
	json_put(w, o, "inode", json_object_new_uint64(owner->inode));
	json_put(w, o, "bytes", blocks_kinds_json(w, owner->pages, view->page_size));
	return o;
}

static json_object *use_json(struct json_writer *w, const struct blocks_view *view,
			     const struct stow_block_use *use)
{
	json_object *o = json_object_new_object(), *pools = json_object_new_array(),
		    *owners = json_object_new_array();

	for (size_t i = 0; i < use->n_pools; i++) {
		json_object *pool = json_object_new_object();

		json_put(w, pool, "page_size", json_object_new_uint64(use->pools[i].size));
		json_put(w, pool, "pages", json_object_new_uint64(use->pools[i].pages));
		json_put(w, pool, "used", json_object_new_uint64(use->pools[i].used));
		json_append(w, pools, pool);
	}
	for (size_t i = 0; i < use->n_owners; i++)
		if (use->owners[i].inode)
			json_append(w, owners, owner_json(w, view, &use->owners[i]));
	json_put(w, o, "bytes", blocks_kinds_json(w, use->pages, view->page_size));
	json_put(w, o, "unevictable", json_object_new_uint64(use->unevictable * view->page_size));
	json_put(w, o, "mapped", json_object_new_uint64(use->mapped * view->page_size));
	json_put(w, o, "hugepages", pools);
	json_put(w, o, "owners", owners);
	return o;
}

/* The kernel does not say of a block whether it can leave: true and false are what is sure. */
static void put_removable(struct json_writer *w, json_object *o, enum stow_leave can)
{
	json_put_known(w, o, "removable", can != STOW_LEAVE_UNKNOWN,
		       json_object_new_boolean(can == STOW_LEAVE_YES));
}

static json_object *row_json(struct json_writer *w, const struct blocks_view *view,
			     const struct blocks_row *row)
{
	const struct stow_memblock *block = row->block;
	json_object *o = json_object_new_object();
	const char *device = blocks_device(view, row);

	json_put(w, o, "block", json_object_new_uint64(block->id));
	json_put_range(w, o, block->id * view->list->block_size, view->list->block_size);
	json_put(w, o, "size", json_object_new_uint64(view->list->block_size));
	json_put_text(w, o, "state",
		      block->state == STOW_MEMBLOCK_UNKNOWN
			      ? ""
			      : stow_memblock_state_name(block->state));
	json_put_node(w, o, block->node);
	json_put_text(w, o, "zones", block->zones);
	json_put_text(w, o, "device", device ? device : "");
	put_removable(w, o, row->leave.can);
	json_put_text(w, o, "reason", row->leave.why);
	if (view->owners && row->use)
		json_put(w, o, "use", use_json(w, view, row->use));
	return o;
}

static json_object *device_json(struct json_writer *w, const struct stow_memdev *device)
{
	json_object *o = json_object_new_object();

	json_put_text(w, o, "name", device->name);
	json_put_text(w, o, "alias", device->alias);
	json_put_text(w, o, "kind", stow_memdev_kind_name(device->kind));
	json_put_text(w, o, "path", device->path);
	json_put_range(w, o, device->start, device->size);
	json_put(w, o, "size", json_object_new_uint64(device->size));
	json_put(w, o, "n_blocks", json_object_new_uint64(device->n_blocks));
	return o;
}

static json_object *view_json(struct json_writer *w, const struct blocks_view *view)
{
	json_object *o = json_object_new_object(), *blocks = json_object_new_array(),
		    *devices = json_object_new_array();
	uint64_t online = 0, size = view->list->block_size;

	for (size_t i = 0; i < view->n_rows; i++) {
		online += view->rows[i].block->state == STOW_MEMBLOCK_ONLINE;
		json_append(w, blocks, row_json(w, view, &view->rows[i]));
	}
	for (size_t i = 0; i < view->list->n_devices; i++)
		json_append(w, devices, device_json(w, &view->list->devices[i]));
	json_put(w, o, "block_size", json_object_new_uint64(size));
	json_put(w, o, "online", json_object_new_uint64(online * size));
	json_put(w, o, "offline", json_object_new_uint64((view->n_rows - online) * size));
	json_put(w, o, "blocks", blocks);
	json_put(w, o, "devices", devices);
	json_put_text(w, o, "not_known", view->unknown ? view->unknown : "");
	return o;
}

int blocks_print_json(const struct blocks_view *view)
{
	struct json_writer w = { .ok = true };
	json_object *o = view_json(&w, view);

	return json_print(&w, json_with_version(o));
}

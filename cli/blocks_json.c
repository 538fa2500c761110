// SPDX-License-Identifier: Apache-2.0
#include "cli/blocks_view.h"

#include "cgroup/paths.h"
#include "cli/json_writer.h"

/* The keys are documented in numastow-blocks(1) and keep their meaning. */

static json_object *text_json(const char *text)
{
	return json_object_new_string(text);
}

static json_object *kinds_json(struct json_writer *w, const uint64_t *pages, uint64_t page_size)
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

	json_put(w, o, "cgroup", text_json(path));
	json_put(w, o, "container", text_json(stow_cgroup_container(path, id, sizeof(id))));
	json_put(w, o, "inode", json_object_new_uint64(owner->inode));
	json_put(w, o, "bytes", kinds_json(w, owner->pages, view->page_size));
	return o;
}

static json_object *use_json(struct json_writer *w, const struct blocks_view *view,
			     const struct stow_block_use *use)
{
	json_object *o = json_object_new_object(), *pools = json_object_new_array(),
		    *owners = json_object_new_array();

	for (size_t i = 0; i < use->n_pools; i++) {
		json_object *pool = json_object_new_object();

		json_put(w, pool, "size", json_object_new_uint64(use->pools[i].size));
		json_put(w, pool, "pages", json_object_new_uint64(use->pools[i].pages));
		json_put(w, pool, "used", json_object_new_uint64(use->pools[i].used));
		json_append(w, pools, pool);
	}
	for (size_t i = 0; i < use->n_owners; i++)
		if (use->owners[i].inode)
			json_append(w, owners, owner_json(w, view, &use->owners[i]));
	json_put(w, o, "bytes", kinds_json(w, use->pages, view->page_size));
	json_put(w, o, "unevictable", json_object_new_uint64(use->unevictable * view->page_size));
	json_put(w, o, "mapped", json_object_new_uint64(use->mapped * view->page_size));
	json_put(w, o, "hugepages", pools);
	json_put(w, o, "owners", owners);
	return o;
}

static json_object *row_json(struct json_writer *w, const struct blocks_view *view,
			     const struct blocks_row *row)
{
	json_object *o = json_object_new_object();
	const char *device = blocks_device(view, row);

	json_put(w, o, "id", json_object_new_uint64(row->block->id));
	json_put(w, o, "start", json_object_new_uint64(row->block->id * view->list->block_size));
	json_put(w, o, "state", text_json(stow_memblock_state_name(row->block->state)));
	json_put(w, o, "node", json_object_new_int(row->block->node));
	json_put(w, o, "zones", text_json(row->block->zones));
	json_put(w, o, "device", text_json(device ? device : ""));
	json_put(w, o, "removable", text_json(stow_leave_name(row->leave.can)));
	json_put(w, o, "reason", text_json(row->leave.why));
	if (view->owners && row->use)
		json_put(w, o, "use", use_json(w, view, row->use));
	return o;
}

static json_object *device_json(struct json_writer *w, const struct stow_memdev *device)
{
	json_object *o = json_object_new_object();

	json_put(w, o, "name", text_json(device->name));
	json_put(w, o, "alias", text_json(device->alias));
	json_put(w, o, "kind", text_json(stow_memdev_kind_name(device->kind)));
	json_put(w, o, "path", text_json(device->path));
	json_put(w, o, "start", json_object_new_uint64(device->start));
	json_put(w, o, "size", json_object_new_uint64(device->size));
	json_put(w, o, "blocks", json_object_new_uint64(device->n_blocks));
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
	json_put(w, o, "not_known", text_json(view->unknown ? view->unknown : ""));
	return o;
}

int blocks_print_json(const struct blocks_view *view)
{
	struct json_writer w = { .ok = true };
	json_object *o = view_json(&w, view);

	return json_print(&w, o);
}

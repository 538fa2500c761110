// SPDX-License-Identifier: Apache-2.0
/* A drain as JSON: the fields of drain.proto, by their names and in their order. */
#include <json-c/json.h>

#include "cli/drain_view.h"

static void add_text(struct json_object *to, const char *key, const char *text)
{
	json_object_object_add(to, key, json_object_new_string(text ? text : ""));
}

static void add_number(struct json_object *to, const char *key, uint64_t number)
{
	json_object_object_add(to, key, json_object_new_uint64(number));
}

static struct json_object *block_json(const struct drain_view_block *block)
{
	struct json_object *out = json_object_new_object();

	add_number(out, "id", block->id);
	add_number(out, "bytes", block->bytes);
	add_text(out, "zone", block->zone);
	add_number(out, "to_move", block->to_move);
	add_number(out, "unmovable", block->unmovable);
	add_number(out, "free", block->free);
	return out;
}

static struct json_object *affected_json(const struct drain_view_affected *affected)
{
	struct json_object *out = json_object_new_object();

	add_text(out, "id", affected->id);
	add_text(out, "pod", affected->pod);
	add_text(out, "namespace", affected->ns);
	add_text(out, "name", affected->name);
	add_number(out, "bytes", affected->bytes);
	add_text(out, "action", affected->action);
	add_text(out, "numa_nodes", affected->numa_nodes);
	add_text(out, "suspect", affected->suspect);
	return out;
}

static struct json_object *culprit_json(const struct drain_view_culprit *culprit)
{
	struct json_object *out = json_object_new_object();

	add_number(out, "block", culprit->block);
	add_text(out, "kind", culprit->kind);
	add_number(out, "pages", culprit->pages);
	add_text(out, "container", culprit->container);
	add_text(out, "cgroup", culprit->cgroup);
	json_object_object_add(out, "pid", json_object_new_int(culprit->pid));
	add_text(out, "program", culprit->program);
	add_text(out, "file", culprit->file);
	add_text(out, "reason", culprit->reason);
	add_text(out, "advice", culprit->advice);
	json_object_object_add(out, "proven", json_object_new_boolean(culprit->proven));
	return out;
}

static struct json_object *plan_json(const struct drain_view_plan *plan)
{
	struct json_object *out = json_object_new_object();
	struct json_object *blocks = json_object_new_array();
	struct json_object *affected = json_object_new_array();
	struct json_object *notes = json_object_new_array();

	for (size_t i = 0; i < plan->n_blocks; i++)
		json_object_array_add(blocks, block_json(&plan->blocks[i]));
	for (size_t i = 0; i < plan->n_affected; i++)
		json_object_array_add(affected, affected_json(&plan->affected[i]));
	for (size_t i = 0; i < plan->n_notes; i++)
		json_object_array_add(notes, json_object_new_string(plan->notes[i]));
	json_object_object_add(out, "blocks", blocks);
	add_number(out, "bytes", plan->bytes);
	add_number(out, "to_move", plan->to_move);
	add_number(out, "hugepages", plan->hugepages);
	json_object_object_add(out, "affected", affected);
	add_number(out, "expected", plan->expected);
	add_text(out, "device", plan->device);
	json_object_object_add(out, "notes", notes);
	add_text(out, "device_path", plan->device_path);
	add_number(out, "address", plan->address);
	json_object_object_add(out, "numa_node", json_object_new_int(plan->numa_node));
	return out;
}

struct json_object *drain_view_culprits_json(const struct drain_view_culprit *culprits, size_t n)
{
	struct json_object *out = json_object_new_array();

	for (size_t i = 0; i < n; i++)
		json_object_array_add(out, culprit_json(&culprits[i]));
	return out;
}

struct json_object *drain_view_progress_json(const struct drain_view_progress *p)
{
	struct json_object *out = json_object_new_object();

	add_text(out, "id", p->id);
	add_text(out, "step", stow_drain_step_name(p->step));
	add_number(out, "bytes_total", p->bytes_total);
	add_number(out, "bytes_offline", p->bytes_offline);
	add_number(out, "blocks_total", p->blocks_total);
	add_number(out, "blocks_offline", p->blocks_offline);
	add_number(out, "bytes_moved", p->bytes_moved);
	add_number(out, "block", p->block);
	add_text(out, "message", p->message);
	if (p->plan)
		json_object_object_add(out, "plan", plan_json(p->plan));
	json_object_object_add(out, "culprits",
			       drain_view_culprits_json(p->culprits, p->n_culprits));
	add_text(out, "blocks_gone", p->blocks_gone);
	add_number(out, "elapsed", p->elapsed);
	add_number(out, "code", p->code);
	add_number(out, "bytes_staying", p->bytes_staying);
	add_text(out, "release",
		 p->release == STOW_RELEASE_DEVICE   ? "device"
		 : p->release == STOW_RELEASE_SHRINK ? "shrink"
						     : "");
	return out;
}

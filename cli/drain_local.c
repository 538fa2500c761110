// SPDX-License-Identifier: Apache-2.0
#include "cli/drain_local.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <json-c/json.h>

#include "base/cleanup.h"

/* grpc/status.h, as far as a drain ends with them; lib/rpc has the whole table. */
uint32_t drain_local_code(int errnum)
{
	static const struct {
		int errnum;
		uint32_t code;
	} codes[] = {
		{ 0, 0 },	   { ECANCELED, 1 }, { EINVAL, 3 },	 { ETIMEDOUT, 4 },
		{ ENOENT, 5 },	   { ENODEV, 5 },    { EEXIST, 6 },	 { EALREADY, 6 },
		{ EACCES, 7 },	   { EPERM, 7 },     { ENOSPC, 8 },	 { ENOMEM, 8 },
		{ EBUSY, 9 },	   { ESTALE, 10 },   { EAGAIN, 10 },	 { EOWNERDEAD, 10 },
		{ EREMOTEIO, 10 }, { ERANGE, 11 },   { EOPNOTSUPP, 12 }, { ENOSYS, 12 },
	};

	for (size_t i = 0; i < STOW_ARRAY_SIZE(codes); i++)
		if (codes[i].errnum == errnum)
			return codes[i].code;
	return 2;
}

static const char *const actions[] = {
	[STOW_DRAIN_RETURN] = "return",
	[STOW_DRAIN_MOVE] = "repin",
	[STOW_DRAIN_END] = "evict",
};

struct shown {
	struct drain_view_plan plan;
	struct drain_view_culprit *culprits;
	char (*nodes)[256];
};

static bool add_blocks(const struct stow_drain_plan *in, struct drain_view_plan *out)
{
	out->blocks = calloc(in->n_blocks + 1, sizeof(*out->blocks));
	for (size_t i = 0; out->blocks && i < in->n_blocks; i++) {
		const struct stow_drain_block *b = &in->blocks[i];

		out->blocks[out->n_blocks++] = (struct drain_view_block){
			.id = b->id,
			.bytes = in->all.block_size,
			.zone = b->zone,
			.to_move = stow_block_use_sum(&b->use, true) * in->page_size,
			.unmovable = stow_block_use_sum(&b->use, false) * in->page_size,
			.free = b->use.pages[STOW_PAGE_FREE] * in->page_size,
		};
	}
	return out->blocks;
}

static bool add_affected(const struct stow_drain_plan *in, struct shown *shown)
{
	struct drain_view_plan *out = &shown->plan;

	out->affected = calloc(in->n_affected + 1, sizeof(*out->affected));
	shown->nodes = calloc(in->n_affected + 1, sizeof(*shown->nodes));
	for (size_t i = 0; out->affected && shown->nodes && i < in->n_affected; i++) {
		const struct stow_drain_affected *a = &in->affected[i];

		out->affected[out->n_affected++] = (struct drain_view_affected){
			.id = a->id,
			.pod = a->pod,
			.ns = a->ns,
			.name = a->name,
			.bytes = a->bytes,
			.action = actions[a->action],
			.numa_nodes = stow_idset_format(&a->nodes, shown->nodes[i],
							sizeof(shown->nodes[i])),
			.suspect = a->suspect ? a->suspect : "",
		};
	}
	return out->affected && shown->nodes;
}

static bool convert_plan(const struct stow_drain_plan *in, struct shown *shown)
{
	uint64_t first = UINT64_MAX;

	for (size_t i = 0; i < in->n_blocks; i++)
		first = in->blocks[i].id < first ? in->blocks[i].id : first;
	shown->plan = (struct drain_view_plan){
		.bytes = in->bytes,
		.to_move = in->to_move,
		.hugepages = in->hugepages,
		.expected = in->expected,
		.device = in->device ? in->device->name : "",
		.device_path = in->device ? in->device->path : "",
		.notes = (const char *const *)in->notes,
		.n_notes = in->n_notes,
		.address = in->n_blocks ? first * in->all.block_size : 0,
		.numa_node = in->node,
	};
	return add_blocks(in, &shown->plan) && add_affected(in, shown);
}

static struct drain_view_culprit *convert_culprits(const struct stow_culprits *in,
						   uint64_t block_size, uint64_t block)
{
	struct drain_view_culprit *out = calloc(in->n + 1, sizeof(*out));

	for (size_t i = 0; out && i < in->n; i++) {
		const struct stow_culprit *c = &in->list[i];

		out[i] = (struct drain_view_culprit){
			.block = c->pfn && block_size
					 ? c->pfn * (uint64_t)sysconf(_SC_PAGESIZE) / block_size
					 : block,
			.kind = stow_page_kind_name(c->kind),
			.pages = c->pages,
			.container = c->container,
			.cgroup = c->cgroup,
			.pid = (int)c->pid,
			.program = c->program,
			.file = c->file,
			.reason = c->reason,
			.advice = c->advice,
			.proven = c->proven,
		};
	}
	return out;
}

void drain_local_show(struct drain_view *view, const struct stow_drain_progress *progress,
		      uint64_t block_size)
{
	struct drain_view_progress p = { .id = progress->id,
					 .step = progress->step,
					 .bytes_total = progress->bytes_total,
					 .bytes_offline = progress->bytes_offline,
					 .blocks_total = progress->blocks_total,
					 .blocks_offline = progress->blocks_offline,
					 .bytes_moved = progress->bytes_moved,
					 .block = progress->block,
					 .message = progress->message ? progress->message : "",
					 .bytes_staying = progress->bytes_staying,
					 .release = progress->release,
					 .blocks_gone =
						 progress->blocks_gone ? progress->blocks_gone : "",
					 .elapsed = progress->elapsed,
					 .code = drain_local_code(abs(progress->code)) };
	struct shown shown = { 0 };

	if (progress->plan && convert_plan(progress->plan, &shown))
		p.plan = &shown.plan;
	if (progress->culprits)
		shown.culprits = convert_culprits(progress->culprits, block_size, progress->block);
	if (shown.culprits) {
		p.culprits = shown.culprits;
		p.n_culprits = progress->culprits->n;
	}
	drain_view_show(view, &p);
	free(shown.plan.blocks);
	free(shown.plan.affected);
	free(shown.nodes);
	free(shown.culprits);
}

void drain_local_culprits(const struct stow_culprits *culprits, uint64_t block)
{
	_cleanup_free_ struct drain_view_culprit *list = convert_culprits(culprits, 0, block);

	if (list)
		drain_view_culprits(list, culprits->n);
}

struct json_object *drain_local_culprits_json(const struct stow_culprits *culprits, uint64_t block)
{
	_cleanup_free_ struct drain_view_culprit *list = convert_culprits(culprits, 0, block);

	return drain_view_culprits_json(list, list ? culprits->n : 0);
}

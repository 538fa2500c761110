/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/drain_message.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/utf8.h"
#include "rpc/rpc.h"

#define NAME_MAX_ 256
#define PATH_MAX_ 1024
#define LIST_MAX  65536 /* characters of a list of blocks */

/* --- texts -------------------------------------------------------------------------------------- */

/* A copy that protobuf takes: valid UTF-8 of at most `max` bytes. The names of programs, files and
 * cgroups are whatever strangers made them. Sets *failed when memory has run out. */
static char *text(const char *from, size_t max, bool *failed)
{
	const unsigned char *s = (const unsigned char *)(from ? from : "");
	size_t len = strnlen((const char *)s, max), used = 0;
	char *out;

	if (len == 0)
		return (char *)(uintptr_t)protobuf_c_empty_string;
	out = malloc(len + 1);
	if (!out) {
		*failed = true;
		return (char *)(uintptr_t)protobuf_c_empty_string;
	}
	while (used < len) {
		size_t n = stow_utf8_length(s + used);

		if (n > len - used)
			break;
		if (n == 0 || s[used] < ' ')
			out[used++] = '?';
		else
			for (; n > 0; n--, used++)
				out[used] = (char)s[used];
	}
	out[used] = '\0';
	return out;
}

/* Numbers in list format, cut behind a whole range. */
static char *list_text(const char *list, bool *failed)
{
	char *out = text(list, LIST_MAX, failed), *comma;

	if (!list || strlen(list) <= LIST_MAX)
		return out;
	comma = strrchr(out, ',');
	if (comma && comma < out + LIST_MAX - 4)
		memcpy(comma, ",...", 5);
	return out;
}

static char *set_text(const struct stow_idset *set, bool *failed)
{
	char buf[NAME_MAX_];

	return text(stow_idset_format(set, buf, sizeof(buf)), sizeof(buf), failed);
}

void *agent_drain_copy(const void *message)
{
	const ProtobufCMessage *from = message;
	size_t size = protobuf_c_message_get_packed_size(from);
	_cleanup_free_ uint8_t *packed = malloc(size + 1);

	if (!packed)
		return NULL;
	protobuf_c_message_pack(from, packed);
	return protobuf_c_message_unpack(from->descriptor, NULL, size, packed);
}

/* --- culprits ----------------------------------------------------------------------------------- */

static PbDrainCulprit *culprit_message(const struct stow_culprit *in, uint64_t block_size,
				       uint64_t block, bool *failed)
{
	PbDrainCulprit *out = malloc(sizeof(*out));

	if (!out)
		return NULL;
	pb_drain_culprit__init(out);
	out->block = in->pfn && block_size ? in->pfn * (uint64_t)sysconf(_SC_PAGESIZE) / block_size
					   : block;
	out->kind = text(stow_page_kind_name(in->kind), NAME_MAX_, failed);
	out->pages = in->pages;
	out->container = text(in->container, NAME_MAX_, failed);
	out->cgroup = text(in->cgroup, PATH_MAX_, failed);
	out->pid = (int32_t)in->pid;
	out->program = text(in->program, NAME_MAX_, failed);
	out->file = text(in->file, PATH_MAX_, failed);
	out->reason = text(in->reason, PATH_MAX_, failed);
	out->advice = text(in->advice, PATH_MAX_, failed);
	out->proven = in->proven;
	return out;
}

static bool add_culprits(const struct stow_culprits *in, uint64_t block_size, PbDrainProgress *out)
{
	size_t n = in->n < AGENT_DRAIN_CULPRITS_MAX ? in->n : AGENT_DRAIN_CULPRITS_MAX;
	bool failed = false;

	out->culprits = calloc(n + 1, sizeof(*out->culprits));
	for (size_t i = 0; out->culprits && i < n; i++) {
		PbDrainCulprit *culprit =
			culprit_message(&in->list[i], block_size, out->block, &failed);

		if (!culprit)
			return false;
		out->culprits[out->n_culprits++] = culprit;
	}
	return out->culprits && !failed;
}

/* --- a plan ------------------------------------------------------------------------------------- */

static bool add_blocks(const struct stow_drain_plan *in, PbDrainPlan *out)
{
	size_t n = in->n_blocks < AGENT_DRAIN_BLOCKS_MAX ? in->n_blocks : AGENT_DRAIN_BLOCKS_MAX;
	bool failed = false;

	out->blocks = calloc(n + 1, sizeof(*out->blocks));
	for (size_t i = 0; out->blocks && i < n; i++) {
		const struct stow_drain_block *from = &in->blocks[i];
		PbDrainBlock *block = malloc(sizeof(*block));

		if (!block)
			return false;
		pb_drain_block__init(block);
		block->id = from->id;
		block->bytes = in->all.block_size;
		block->zone = text(from->zone, sizeof(from->zone), &failed);
		block->to_move = stow_block_use_sum(&from->use, true) * in->page_size;
		block->unmovable = stow_block_use_sum(&from->use, false) * in->page_size;
		block->free = from->use.pages[STOW_PAGE_FREE] * in->page_size;
		out->blocks[out->n_blocks++] = block;
	}
	return out->blocks && !failed;
}

static const PbDrainAction actions[] = {
	[STOW_DRAIN_RETURN] = PB_DRAIN_ACTION_RETURN,
	[STOW_DRAIN_MOVE] = PB_DRAIN_ACTION_REPIN,
	[STOW_DRAIN_END] = PB_DRAIN_ACTION_EVICT,
};

static bool add_affected(const struct stow_drain_plan *in, PbDrainPlan *out)
{
	size_t n = in->n_affected < AGENT_DRAIN_AFFECTED_MAX ? in->n_affected
							     : AGENT_DRAIN_AFFECTED_MAX;
	bool failed = false;

	out->affected = calloc(n + 1, sizeof(*out->affected));
	for (size_t i = 0; out->affected && i < n; i++) {
		const struct stow_drain_affected *from = &in->affected[i];
		PbDrainAffected *affected = malloc(sizeof(*affected));

		if (!affected)
			return false;
		pb_drain_affected__init(affected);
		affected->id = text(from->id, NAME_MAX_, &failed);
		affected->pod = text(from->pod, NAME_MAX_, &failed);
		affected->namespace_ = text(from->ns, NAME_MAX_, &failed);
		affected->name = text(from->name, NAME_MAX_, &failed);
		affected->bytes = from->bytes;
		affected->action = actions[from->action];
		affected->numa_nodes = set_text(&from->nodes, &failed);
		affected->suspect = text(from->suspect, NAME_MAX_, &failed);
		out->affected[out->n_affected++] = affected;
	}
	return out->affected && !failed;
}

static bool add_notes(const struct stow_drain_plan *in, PbDrainPlan *out)
{
	size_t n = in->n_notes < AGENT_DRAIN_NOTES_MAX ? in->n_notes : AGENT_DRAIN_NOTES_MAX;
	bool failed = false;
	char cut[128];

	out->notes = calloc(n + 2, sizeof(*out->notes));
	for (size_t i = 0; out->notes && i < n; i++)
		out->notes[out->n_notes++] = text(in->notes[i], PATH_MAX_, &failed);
	if (out->notes && (in->n_blocks > out->n_blocks || in->n_affected > out->n_affected)) {
		snprintf(cut, sizeof(cut), "not shown: %zu more blocks, %zu more containers",
			 in->n_blocks - out->n_blocks, in->n_affected - out->n_affected);
		out->notes[out->n_notes++] = text(cut, sizeof(cut), &failed);
	}
	return out->notes && !failed;
}

PbDrainPlan *agent_drain_plan_message(const struct stow_drain_plan *plan)
{
	PbDrainPlan *out = malloc(sizeof(*out));
	uint64_t first = UINT64_MAX;
	bool failed = false;

	if (!out)
		return NULL;
	pb_drain_plan__init(out);
	for (size_t i = 0; i < plan->n_blocks; i++)
		first = plan->blocks[i].id < first ? plan->blocks[i].id : first;
	out->bytes = plan->bytes;
	out->to_move = plan->to_move;
	out->hugepages = plan->hugepages;
	out->expected = plan->expected;
	out->numa_node = plan->node;
	out->address = plan->n_blocks ? first * plan->all.block_size : 0;
	if (plan->device) {
		out->device = text(plan->device->name, NAME_MAX_, &failed);
		out->device_path = text(plan->device->path, NAME_MAX_, &failed);
	}
	if (failed || !add_blocks(plan, out) || !add_affected(plan, out) || !add_notes(plan, out)) {
		stow_rpc_message_free(out);
		return NULL;
	}
	return out;
}

/* --- progress ----------------------------------------------------------------------------------- */

/* Numbered alike. */
_Static_assert((int)STOW_DRAIN_WAITING == PB_DRAIN_STEP_WAITING &&
		       (int)STOW_DRAIN_DONE == PB_DRAIN_STEP_DONE &&
		       (int)STOW_DRAIN_CANCELLED == PB_DRAIN_STEP_CANCELLED,
	       "steps");

PbDrainProgress *agent_drain_progress_message(const struct stow_drain_progress *p,
					      uint64_t block_size)
{
	PbDrainProgress *out = malloc(sizeof(*out));
	bool failed = false;

	if (!out)
		return NULL;
	pb_drain_progress__init(out);
	out->id = text(p->id, NAME_MAX_, &failed);
	out->step = (PbDrainStep)p->step;
	out->bytes_total = p->bytes_total;
	out->bytes_offline = p->bytes_offline;
	out->bytes_moved = p->bytes_moved;
	out->blocks_total = p->blocks_total;
	out->blocks_offline = p->blocks_offline;
	out->block = p->block;
	out->message = text(p->message, PATH_MAX_, &failed);
	out->blocks_gone = list_text(p->blocks_gone, &failed);
	out->elapsed = p->elapsed;
	out->bytes_staying = p->bytes_staying;
	out->release = (PbDrainRelease)p->release;
	out->code = p->code ? stow_status_of_errno(abs(p->code)) : 0;
	if (p->plan) {
		out->plan = agent_drain_plan_message(p->plan);
		failed |= !out->plan;
		block_size = p->plan->all.block_size;
	}
	if (!failed && p->culprits)
		failed = !add_culprits(p->culprits, block_size, out);
	if (failed) {
		stow_rpc_message_free(out);
		return NULL;
	}
	return out;
}

PbDrain *agent_drain_row_message(const struct stow_drain_row *row)
{
	_cleanup_free_ char *blocks = stow_drain_row_blocks(row, false);
	_cleanup_free_ char *gone = stow_drain_row_blocks(row, true);
	PbDrain *out = malloc(sizeof(*out));
	bool failed = false;

	if (!out || !blocks || !gone) {
		free(out);
		return NULL;
	}
	pb_drain__init(out);
	out->id = text(row->id, NAME_MAX_, &failed);
	out->created = row->created;
	out->updated = row->updated;
	out->spec = malloc(sizeof(*out->spec));
	out->progress = malloc(sizeof(*out->progress));
	if (out->spec) {
		pb_drain_spec__init(out->spec);
		if (row->device && *row->device) {
			out->spec->what_case = PB_DRAIN_SPEC__WHAT_DEVICE;
			out->spec->device = text(row->device, NAME_MAX_, &failed);
		} else if (*blocks) {
			out->spec->what_case = PB_DRAIN_SPEC__WHAT_BLOCKS;
			out->spec->blocks = list_text(blocks, &failed);
		} else if (row->node >= 0) {
			out->spec->what_case = PB_DRAIN_SPEC__WHAT_NUMA_NODE;
			out->spec->numa_node = (uint32_t)row->node;
		}
	}
	if (out->progress) {
		pb_drain_progress__init(out->progress);
		out->progress->id = text(row->id, NAME_MAX_, &failed);
		out->progress->step = (PbDrainStep)row->step;
		out->progress->bytes_total = row->bytes;
		out->progress->bytes_offline = row->bytes_offline;
		out->progress->bytes_staying = row->bytes_staying;
		out->progress->release = (PbDrainRelease)row->release;
		out->progress->code = row->code ? stow_status_of_errno(abs(row->code)) : 0;
		out->progress->message = text(row->message, PATH_MAX_, &failed);
		out->progress->blocks_gone = list_text(gone, &failed);
	}
	if (failed || !out->spec || !out->progress) {
		stow_rpc_message_free(out);
		return NULL;
	}
	return out;
}

/* --- what is asked for -------------------------------------------------------------------------- */

int agent_drain_spec(const PbDrainSpec *in, struct stow_drain_spec *ret, struct stow_err *err)
{
	struct stow_drain_spec out = { .node = -1 };

	if (!in)
		return stow_err_set(err, EINVAL, "spec: missing; what is to leave?");
	switch (in->what_case) {
	case PB_DRAIN_SPEC__WHAT_NUMA_NODE:
		if (in->numa_node >= STOW_IDSET_MAX)
			return stow_err_set(err, EINVAL, "numa_node: %u is out of range",
					    in->numa_node);
		out.node = (int)in->numa_node;
		break;
	case PB_DRAIN_SPEC__WHAT_BLOCKS:
		if (!in->blocks[0] || strlen(in->blocks) > LIST_MAX)
			return stow_err_set(err, EINVAL, "blocks: want a list like 48-55");
		out.blocks = in->blocks;
		break;
	case PB_DRAIN_SPEC__WHAT_DEVICE:
		if (!in->device[0] || strlen(in->device) > NAME_MAX_)
			return stow_err_set(err, EINVAL, "device: want a name like dimm0");
		out.device = in->device;
		break;
	default:
		return stow_err_set(err, EINVAL,
				    "what is to leave? numa_node, blocks or device is missing");
	}
	if (in->size && out.blocks)
		return stow_err_set(err, EINVAL,
				    "size: goes with a NUMA node or a device, not with blocks");
	if (in->eject > PB_DRAIN_EJECT_WAIT)
		return stow_err_set(err, EINVAL, "eject: this agent (%s) does not know %d",
				    STOW_VERSION, (int)in->eject);
	out.size = in->size;
	out.eject = in->eject == PB_DRAIN_EJECT_EJECT  ? STOW_EJECT_EJECT
		    : in->eject == PB_DRAIN_EJECT_WAIT ? STOW_EJECT_WAIT
						       : STOW_EJECT_KEEP;
	out.block_timeout = in->block_timeout;
	out.timeout = in->timeout;
	out.removal_timeout = in->removal_timeout;
	out.keep = in->keep;
	out.resume = in->resume;
	out.hugepages_elsewhere = in->hugepages_elsewhere;
	*ret = out;
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "drain/message.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/parse.h"
#include "base/status.h"
#include "base/text.h"
#include "drain/internal.h"

#define NAME_MAX_ 256
#define PATH_MAX_ 1024
#define LIST_MAX  65536 /* characters of a list of blocks */

/* --- texts ---------------------------------------------------------------- */

/* Copy a text for protobuf: valid UTF-8 of at most `max` bytes. The names of programs, files and
 * cgroups may contain anything. Set *failed when out of memory. */
static char *text(const char *from, size_t max, bool *failed)
{
	char *out = from && *from ? stow_text_copy(from, max) : NULL;

	if (out)
		return out;
	*failed = *failed || (from && *from);
	return (char *)(uintptr_t)protobuf_c_empty_string;
}

/* Copy numbers in list format; truncate after a whole range. */
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

/* --- messages ------------------------------------------------------------- */

static void *make(const ProtobufCMessageDescriptor *type, bool *failed)
{
	ProtobufCMessage *out = malloc(type->sizeof_message);

	if (out)
		protobuf_c_message_init(type, out);
	else
		*failed = true;
	return out;
}

static void *make_list(size_t n, bool *failed)
{
	void *out = calloc(n + 1, sizeof(void *));

	*failed |= !out;
	return out;
}

/* Return the message if it is complete; otherwise free it and return NULL. */
static void *whole(void *message, bool failed)
{
	if (!failed)
		return message;
	protobuf_c_message_free_unpacked(message, NULL);
	return NULL;
}

/* --- culprits ------------------------------------------------------------- */

static PbDrainCulprit *culprit_message(const struct stow_culprit *in, uint64_t block_size,
				       uint64_t block, bool *failed)
{
	PbDrainCulprit *out = make(&pb_drain_culprit__descriptor, failed);
	char number[24];

	if (!out)
		return NULL;
	if (in->pfn && block_size) {
		block = in->pfn * (uint64_t)sysconf(_SC_PAGESIZE) / block_size;
	} else if (in->blocks) {
		snprintf(number, sizeof(number), "%.*s", (int)strcspn(in->blocks, "-,"),
			 in->blocks);
		(void)stow_parse_u64(number, UINT64_MAX, &block, NULL);
	}
	snprintf(number, sizeof(number), "%" PRIu64, block);
	out->block = block;
	out->blocks = in->blocks ? list_text(in->blocks, failed) : text(number, NAME_MAX_, failed);
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

/* `block_size` (0: unknown) tells in which block a page is. */
static void add_culprits(const struct stow_culprits *in, uint64_t block_size, PbDrainProgress *out,
			 bool *failed)
{
	out->culprits = make_list(in->n, failed);
	for (size_t i = 0; !*failed && i < in->n; i++)
		out->culprits[out->n_culprits++] =
			culprit_message(&in->list[i], block_size, out->block, failed);
}

PbDrainProgress *stow_drain_suspects_message(const struct stow_culprits *suspects, uint64_t block)
{
	bool failed = false;
	PbDrainProgress *out = make(&pb_drain_progress__descriptor, &failed);

	if (!out)
		return NULL;
	out->block = block;
	add_culprits(suspects, 0, out, &failed);
	return whole(out, failed);
}

/* --- a plan --------------------------------------------------------------- */

static PbDrainBlock *block_message(const struct stow_drain_plan *plan,
				   const struct stow_drain_block *in, bool *failed)
{
	PbDrainBlock *out = make(&pb_drain_block__descriptor, failed);

	if (!out)
		return NULL;
	out->id = in->id;
	out->bytes = plan->all.block_size;
	out->zone = text(in->zone, sizeof(in->zone), failed);
	out->to_move = stow_block_use_sum(&in->use, true) * plan->page_size;
	out->unmovable = stow_block_use_sum(&in->use, false) * plan->page_size;
	out->free = in->use.pages[STOW_PAGE_FREE] * plan->page_size;
	return out;
}

static PbDrainAffected *affected_message(const struct stow_drain_affected *in, bool *failed)
{
	static const PbDrainAction actions[] = {
		[STOW_DRAIN_ACTION_RETURN] = PB_DRAIN_ACTION_RETURN,
		[STOW_DRAIN_ACTION_MOVE] = PB_DRAIN_ACTION_REPIN,
		[STOW_DRAIN_ACTION_END] = PB_DRAIN_ACTION_EVICT,
	};
	PbDrainAffected *out = make(&pb_drain_affected__descriptor, failed);
	char nodes[NAME_MAX_];

	if (!out)
		return NULL;
	out->id = text(in->id, NAME_MAX_, failed);
	out->pod = text(in->pod, NAME_MAX_, failed);
	out->namespace_ = text(in->ns, NAME_MAX_, failed);
	out->name = text(in->name, NAME_MAX_, failed);
	out->bytes = in->bytes;
	out->action = actions[in->action];
	out->numa_nodes =
		text(stow_idset_format(&in->nodes, nodes, sizeof(nodes)), sizeof(nodes), failed);
	out->suspect = text(in->suspect, NAME_MAX_, failed);
	return out;
}

static PbDrainPlan *plan_message(const struct stow_drain_plan *in, bool *failed)
{
	PbDrainPlan *out = make(&pb_drain_plan__descriptor, failed);
	uint64_t first = UINT64_MAX;

	if (!out)
		return NULL;
	out->bytes = in->bytes;
	out->to_move = in->to_move;
	out->hugepages = in->hugepages;
	out->expected = in->expected;
	out->numa_node = in->node;
	if (in->device) {
		out->device = text(in->device->name, NAME_MAX_, failed);
		out->device_path = text(in->device->path, NAME_MAX_, failed);
	}
	out->blocks = make_list(in->n_blocks, failed);
	out->affected = make_list(in->n_affected, failed);
	out->notes = make_list(in->n_notes, failed);
	for (size_t i = 0; !*failed && i < in->n_blocks; i++) {
		out->blocks[out->n_blocks++] = block_message(in, &in->blocks[i], failed);
		first = in->blocks[i].id < first ? in->blocks[i].id : first;
	}
	for (size_t i = 0; !*failed && i < in->n_affected; i++)
		out->affected[out->n_affected++] = affected_message(&in->affected[i], failed);
	for (size_t i = 0; !*failed && i < in->n_notes; i++)
		out->notes[out->n_notes++] = text(in->notes[i], PATH_MAX_, failed);
	out->address = in->n_blocks ? first * in->all.block_size : 0;
	return out;
}

/* --- progress ------------------------------------------------------------- */

/* Both enums have the same numbers. */
_Static_assert((int)STOW_DRAIN_STEP_WAITING == PB_DRAIN_STEP_WAITING &&
		       (int)STOW_DRAIN_STEP_DONE == PB_DRAIN_STEP_DONE &&
		       (int)STOW_DRAIN_STEP_CANCELLED == PB_DRAIN_STEP_CANCELLED,
	       "steps");
_Static_assert((int)STOW_RELEASE_DEVICE == PB_DRAIN_RELEASE_DEVICE &&
		       (int)STOW_RELEASE_SHRINK == PB_DRAIN_RELEASE_SHRINK,
	       "releases");

static PbDrainProgress *progress_message(const char *id, enum stow_drain_step step,
					 const char *message, int code, bool *failed)
{
	PbDrainProgress *out = make(&pb_drain_progress__descriptor, failed);

	if (!out)
		return NULL;
	out->id = text(id, NAME_MAX_, failed);
	out->step = (PbDrainStep)step;
	out->message = text(message, PATH_MAX_, failed);
	out->code = stow_status_of_errno(abs(code));
	return out;
}

PbDrainProgress *stow_drain_end_message(const char *id, enum stow_drain_step step,
					const struct stow_err *why)
{
	bool failed = false;
	PbDrainProgress *out =
		progress_message(id, step, why ? why->msg : "", why ? why->code : 0, &failed);

	return whole(out, failed);
}

PbDrainProgress *stow_drain_plan_message(const char *id, const struct stow_drain_plan *plan,
					 const struct stow_err *why)
{
	bool failed = false;
	PbDrainProgress *out =
		progress_message(id, why ? STOW_DRAIN_STEP_FAILED : STOW_DRAIN_STEP_PLANNED,
				 why ? why->msg : "", why ? why->code : 0, &failed);

	if (out && plan && plan->n_blocks) {
		out->bytes_total = plan->bytes;
		out->blocks_total = (uint32_t)plan->n_blocks;
		out->plan = plan_message(plan, &failed);
		add_culprits(&plan->suspects, plan->all.block_size, out, &failed);
	}
	return whole(out, failed);
}

static PbDrainProgress *row_progress(const struct stow_drain_row *row, const char *message,
				     bool *failed)
{
	_cleanup_free_ char *gone = stow_drain_row_blocks(row, true);
	PbDrainProgress *out = progress_message(row->id, row->step, message, row->code, failed);

	if (!out)
		return NULL;
	*failed |= !gone;
	out->blocks_gone = list_text(gone, failed);
	out->bytes_total = row->bytes;
	out->bytes_offline = row->bytes_offline;
	out->bytes_staying = row->bytes_staying;
	out->release = (PbDrainRelease)row->release;
	return out;
}

PbDrainProgress *stow_drain_message(const struct stow_draining *d, const char *message)
{
	bool failed = false;
	PbDrainProgress *out = row_progress(&d->row, message, &failed);

	if (!out)
		return NULL;
	out->bytes_total = d->row.n_blocks * d->block_size;
	out->bytes_offline = d->n_gone * d->block_size;
	out->bytes_moved = d->bytes_moved;
	out->block = d->block;
	out->blocks_total = (uint32_t)d->row.n_blocks;
	out->blocks_offline = (uint32_t)d->n_gone;
	out->elapsed = stow_clock_monotonic() - d->started;
	if (d->row.step == STOW_DRAIN_STEP_PLANNED && d->plan)
		out->plan = plan_message(d->plan, &failed);
	if (d->culprits.n)
		add_culprits(&d->culprits, d->block_size, out, &failed);
	return whole(out, failed);
}

/* --- a row ---------------------------------------------------------------- */

static PbDrainSpec *row_spec(const struct stow_drain_row *row, bool *failed)
{
	_cleanup_free_ char *blocks = stow_drain_row_blocks(row, false);
	PbDrainSpec *out = make(&pb_drain_spec__descriptor, failed);

	if (!out)
		return NULL;
	*failed |= !blocks;
	if (row->device && *row->device) {
		out->what_case = PB_DRAIN_SPEC__WHAT_DEVICE;
		out->device = text(row->device, NAME_MAX_, failed);
	} else if (blocks && *blocks) {
		out->what_case = PB_DRAIN_SPEC__WHAT_BLOCKS;
		out->blocks = list_text(blocks, failed);
	} else if (row->node >= 0) {
		out->what_case = PB_DRAIN_SPEC__WHAT_NUMA_NODE;
		out->numa_node = (uint32_t)row->node;
	}
	out->eject = row->eject == STOW_EJECT_EJECT  ? PB_DRAIN_EJECT_EJECT
		     : row->eject == STOW_EJECT_WAIT ? PB_DRAIN_EJECT_WAIT
						     : PB_DRAIN_EJECT_KEEP;
	out->block_timeout = row->block_timeout;
	out->timeout = row->timeout;
	out->removal_timeout = row->removal_timeout;
	out->keep = row->keep;
	out->resume = row->resume;
	out->hugepages_elsewhere = row->elsewhere;
	out->force_taint = row->force_taint;
	return out;
}

PbDrain *stow_drain_row_message(const struct stow_drain_row *row)
{
	bool failed = false;
	PbDrain *out = make(&pb_drain__descriptor, &failed);

	if (!out)
		return NULL;
	out->id = text(row->id, NAME_MAX_, &failed);
	out->created = row->created;
	out->updated = row->updated;
	out->spec = row_spec(row, &failed);
	out->progress = row_progress(row, row->message, &failed);
	return whole(out, failed);
}

/* --- limits of messages that leave the machine ---------------------------- */

/* Truncate a list of messages to `max`; return how many were dropped. */
static size_t cut(void *list, size_t *n, size_t max)
{
	ProtobufCMessage **messages = list;
	size_t dropped = *n > max ? *n - max : 0;

	while (*n > max)
		protobuf_c_message_free_unpacked(messages[--*n], NULL);
	return dropped;
}

static int bound_plan(PbDrainPlan *plan)
{
	size_t blocks = cut(plan->blocks, &plan->n_blocks, STOW_DRAIN_BLOCKS_MAX);
	size_t affected = cut(plan->affected, &plan->n_affected, STOW_DRAIN_AFFECTED_MAX);
	char *text, **note;

	while (plan->n_notes > STOW_DRAIN_NOTES_MAX)
		free(plan->notes[--plan->n_notes]);
	if (!blocks && !affected)
		return 0;
	if (asprintf(&text, "not shown: %zu more blocks, %zu more containers", blocks, affected) <
	    0)
		return -ENOMEM;
	note = STOW_APPEND(plan->notes, plan->n_notes);
	if (!note) {
		free(text);
		return -ENOMEM;
	}
	*note = text;
	return 0;
}

int stow_drain_bound(PbDrainProgress *progress)
{
	(void)cut(progress->culprits, &progress->n_culprits, STOW_DRAIN_CULPRITS_MAX);
	return progress->plan ? bound_plan(progress->plan) : 0;
}

/* --- a specification ------------------------------------------------------ */

int stow_drain_spec_read(const PbDrainSpec *in, struct stow_drain_spec *ret, struct stow_err *err)
{
	struct stow_drain_spec out = { .node = -1 };

	if (!in)
		return stow_err_set(err, EINVAL, "spec: missing");
	switch (in->what_case) {
	case PB_DRAIN_SPEC__WHAT_NUMA_NODE:
		if (in->numa_node >= STOW_IDSET_MAX)
			return stow_err_set(err, EINVAL, "numa_node: %u is out of range",
					    in->numa_node);
		out.node = (int)in->numa_node;
		break;
	case PB_DRAIN_SPEC__WHAT_BLOCKS:
		if (!in->blocks[0] || strlen(in->blocks) > LIST_MAX)
			return stow_err_set(err, EINVAL, "blocks: expected a list like 48-55");
		out.blocks = in->blocks;
		break;
	case PB_DRAIN_SPEC__WHAT_DEVICE:
		if (!in->device[0] || strlen(in->device) > NAME_MAX_)
			return stow_err_set(err, EINVAL, "device: expected a name like dimm0");
		out.device = in->device;
		break;
	default:
		return stow_err_set(err, EINVAL,
				    "spec: one of numa_node, blocks and device is missing");
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
	out.force_taint = in->force_taint;
	*ret = out;
	return 0;
}

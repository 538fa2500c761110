// SPDX-License-Identifier: Apache-2.0
/* The plan: which blocks, at what cost, which containers are affected, and whether it is
 * possible. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "drain/internal.h"
#include "pages/kind.h"
#include "pages/leave.h"

/* For the estimated duration: how much an idle machine moves, and how long one block takes. */
#define BYTES_A_SECOND (UINT64_C(512) << 20)
#define NS_A_BLOCK     UINT64_C(50000000)

/* Read what is in the blocks, or add a note that says why that is unknown. */
static int look_inside(const struct stow_grant_context *context, struct stow_drain_choice *c,
		       struct stow_use *use, bool *ret_known, struct stow_err *err)
{
	struct stow_err why = { 0 };
	int r;

	r = stow_use_read(context->root, &c->plan->all, c->ids, c->n_ids, use, &why);
	*ret_known = r == 0;
	if (r == 0)
		return 0;
	if (r != -EOPNOTSUPP && r != -EPERM && r != -EACCES && r != -ENOENT)
		return stow_err_move(err, r, &why);
	return stow_drain_note(c->plan, "what is in the blocks is not known: %s", why.msg) < 0
		       ? stow_err_set(err, ENOMEM, "out of memory")
		       : 0;
}

static void list_kinds(const struct stow_block_use *use, uint64_t page_size, char *buf, size_t size)
{
	char text[32];
	size_t len = 0;

	buf[0] = '\0';
	for (int k = 0; k < STOW_PAGE_KINDS && len < size; k++)
		if (!stow_page_kind_moves((enum stow_page_kind)k) && use->pages[k])
			len += (size_t)snprintf(buf + len, size - len, "%s%s %s", len ? ", " : "",
						stow_page_kind_name((enum stow_page_kind)k),
						stow_format_size(use->pages[k] * page_size, text,
								 sizeof(text)));
}

static int cannot_leave(const struct stow_drain_plan *plan, const struct stow_drain_block *block,
			enum stow_leave_cause cause, struct stow_err *err)
{
	char kinds[256];

	if (cause != STOW_LEAVE_KEPT)
		return stow_err_set(err, EBUSY,
				    "block %" PRIu64 " spans several zones or has holes: the "
				    "kernel cannot take it offline",
				    block->id);
	list_kinds(&block->use, plan->page_size, kinds, sizeof(kinds));
	return stow_err_set(err, EBUSY,
			    "block %" PRIu64 " cannot be emptied: the kernel uses it itself (zone "
			    "%s; %s); " STOW_LEAVE_ADVICE,
			    block->id, block->zone, kinds);
}

/* Check for memory that the kernel uses itself, which cannot move. Where only an attempt can show
 * it, the drain attempts it, and the plan has a note. */
static int check_movable(struct stow_drain_plan *plan, struct stow_err *err)
{
	uint64_t unclear = 0; /* bytes */
	char size[32];
	size_t at_risk = 0;
	int r = 0;

	for (size_t i = 0; i < plan->n_blocks; i++) {
		const struct stow_drain_block *block = &plan->blocks[i];
		const struct stow_memblock *known = stow_memblocks_find(&plan->all, block->id);
		struct stow_leave_verdict leave =
			stow_leave_check(&plan->all, known, plan->use_known ? &block->use : NULL);

		if (leave.can == STOW_LEAVE_NO)
			return cannot_leave(plan, block, leave.cause, err);
		at_risk += stow_leave_is_at_risk(known);
		if (leave.can == STOW_LEAVE_UNKNOWN && leave.cause == STOW_LEAVE_KEPT)
			unclear += stow_block_use_sum(&block->use, false) * plan->page_size;
	}
	if (unclear)
		r = stow_drain_note(plan,
				    "%s in the blocks is the kernel's, or free on a CPU's list: "
				    "only an attempt shows it",
				    stow_format_size(unclear, size, sizeof(size)));
	if (r == 0 && at_risk)
		r = stow_drain_note(plan,
				    "%zu of the blocks %s in a kernel zone, where the kernel "
				    "may put its own memory: " STOW_LEAVE_ADVICE,
				    at_risk, at_risk == 1 ? "is" : "are");
	return r < 0 ? stow_err_set(err, ENOMEM, "out of memory") : 0;
}

/* Find out whether the node has other blocks online, and what stays online of the blocks'
 * devices. */
static int look_around(struct stow_drain_plan *plan, struct stow_drain_rest *rest,
		       struct stow_err *err)
{
	_cleanup_free_ uint64_t *ids = calloc(plan->n_blocks + 1, sizeof(*ids));
	size_t online = 0, leaving = 0;
	ptrdiff_t device = -1;

	if (!ids)
		return stow_err_set(err, ENOMEM, "out of memory");
	for (size_t i = 0; i < plan->n_blocks; i++) {
		const struct stow_memblock *block =
			stow_memblocks_find(&plan->all, plan->blocks[i].id);

		ids[i] = block->id;
		leaving += block->node == plan->node && block->state != STOW_MEMBLOCK_OFFLINE;
		device = i == 0 || device == block->device ? block->device : -1;
	}
	for (size_t i = 0; i < plan->all.n_blocks; i++)
		online += plan->all.blocks[i].node == plan->node &&
			  plan->all.blocks[i].state != STOW_MEMBLOCK_OFFLINE;
	plan->whole_node = online == leaving;
	plan->device = device >= 0 ? &plan->all.devices[device] : NULL;
	stow_drain_rest(&plan->all, ids, plan->n_blocks, NULL, true, rest);
	plan->staying = rest->bytes;
	if (rest->bytes &&
	    stow_drain_note(plan, "%s stays online: %s", rest->text,
			    rest->shrinkable	  ? "its hypervisor can only shrink it"
			    : rest->n_devices > 1 ? "a device with online memory cannot be removed"
						  : "the device cannot be removed") < 0)
		return stow_err_set(err, ENOMEM, "out of memory");
	return 0;
}

static int check_eject(const struct stow_drain_plan *plan, struct stow_err *err)
{
	if (!plan->device)
		return stow_err_set(
			err, EINVAL,
			"eject: these blocks are not one device's; name it with device");
	if (plan->device->kind == STOW_MEMDEV_VIRTIO)
		return stow_err_set(
			err, EOPNOTSUPP,
			"eject: %s is virtio-mem, which only its hypervisor can shrink; "
			"use wait, and ask the hypervisor",
			plan->device->name);
	if (plan->staying)
		return stow_err_set(err, EINVAL,
				    "eject: %s has other blocks online; drain all of the device",
				    plan->device->name);
	return 0;
}

/* Check that the memory can be removed at all, before a drain waits for that. */
static int check_wait(const struct stow_drain_rest *rest, struct stow_err *err)
{
	if (rest->other || rest->n_devices == 0)
		return stow_err_set(err, EINVAL,
				    "wait: some of these blocks belong to no device and cannot be "
				    "removed");
	if (rest->bytes && !rest->shrinkable)
		return stow_err_set(err, EINVAL,
				    "wait: %s would stay online, and only whole devices can be "
				    "removed (except virtio-mem); drain all of it",
				    rest->text);
	return 0;
}

/* The limit is on all memory of the machine that is offline. */
static int check_most(const struct stow_drain_spec *spec, const struct stow_drain_plan *plan,
		      struct stow_err *err)
{
	uint64_t off = plan->bytes;
	char all[32], most[32];

	if (!spec->most)
		return 0;
	for (size_t i = 0; i < plan->all.n_blocks; i++)
		if (plan->all.blocks[i].state == STOW_MEMBLOCK_OFFLINE)
			off += plan->all.block_size;
	if (off <= spec->most)
		return 0;
	return stow_err_set(err, EACCES,
			    "%s would be offline, above this machine's own limit of %s",
			    stow_format_size(off, all, sizeof(all)),
			    stow_format_size(spec->most, most, sizeof(most)));
}

static int fill(const struct stow_grant_context *context, const struct stow_drain_spec *spec,
		struct stow_drain_choice *c, struct stow_err *err)
{
	_cleanup_(stow_use_done) struct stow_use use = { 0 };
	_cleanup_free_ uint64_t *refused = NULL;
	struct stow_drain_plan *plan = c->plan;
	size_t n_refused = 0;
	struct stow_drain_rest rest;
	bool known;
	int r;

	r = look_inside(context, c, &use, &known, err);
	if (r == 0 && known && c->wanted < c->n_ids)
		r = stow_drain_refused_blocks(context, &use, &refused, &n_refused, err);
	if (r == 0)
		r = stow_drain_pick(c, known ? &use : NULL, refused, n_refused, err);
	if (r == 0)
		r = look_around(plan, &rest, err);
	if (r < 0)
		return r;
	plan->expected = plan->n_blocks * NS_A_BLOCK +
			 plan->to_move / (BYTES_A_SECOND / UINT64_C(1000000)) * 1000;
	r = check_movable(plan, err);
	if (r == 0 && spec->eject == STOW_EJECT_EJECT)
		r = check_eject(plan, err);
	if (r == 0 && spec->eject == STOW_EJECT_WAIT)
		r = check_wait(&rest, err);
	if (r == 0)
		r = check_most(spec, plan, err);
	return r < 0 ? r : stow_drain_impact(context, plan, err);
}

int stow_drain_plan(const struct stow_grant_context *context, const struct stow_drain_spec *spec,
		    struct stow_drain_plan **ret_plan, struct stow_err *err)
{
	_cleanup_(stow_drain_choice_done) struct stow_drain_choice choice = { 0 };
	struct stow_drain_plan *plan = calloc(1, sizeof(*plan));
	int r;

	*ret_plan = plan;
	if (!plan)
		return stow_err_set(err, ENOMEM, "out of memory");
	plan->node = -1;
	plan->evicts = spec->evicts;
	plan->force_taint = spec->force_taint;
	r = stow_drain_choose(context, spec, plan, &choice, err);
	return r < 0 ? r : fill(context, spec, &choice, err);
}

PbDrainProgress *stow_drain_preview(const struct stow_grant_context *context, const char *id,
				    const struct stow_drain_spec *spec)
{
	_cleanup_(stow_drain_plan_free_ptr) struct stow_drain_plan *plan = NULL;
	struct stow_err why;
	int r = stow_drain_plan(context, spec, &plan, &why);

	return stow_drain_plan_message(id, plan, r < 0 ? &why : NULL);
}

void stow_drain_plan_free(struct stow_drain_plan *plan)
{
	if (!plan)
		return;
	for (size_t i = 0; i < plan->n_blocks; i++)
		free(plan->blocks[i].use.owners);
	for (size_t i = 0; i < plan->n_affected; i++) {
		free(plan->affected[i].id);
		free(plan->affected[i].pod);
		free(plan->affected[i].ns);
		free(plan->affected[i].name);
		free(plan->affected[i].suspect);
		free(plan->affected[i].uid);
		free(plan->affected[i].share);
	}
	for (size_t i = 0; i < plan->n_notes; i++)
		free(plan->notes[i]);
	stow_memblocks_done(&plan->all);
	stow_culprits_done(&plan->suspects);
	free(plan->blocks);
	free(plan->affected);
	free(plan->notes);
	free(plan);
}

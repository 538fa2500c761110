// SPDX-License-Identifier: Apache-2.0
/* The steps of a drain, one after the other, and its end. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/parse.h"
#include "drain/internal.h"
#include "node/hotplug.h"
#include "pages/kmsg.h"

#define MS	     STOW_MILLISECOND
#define S	     STOW_SECOND
#define RETRY_LEAST  (200 * MS) /* of a block's deadline must be left for another attempt */
#define RETRY_PAUSE  (100 * MS)
#define PENDING_WAIT (5 * S)
#define ROW_TRIES    30

/* --- offline -------------------------------------------------------------- */

/* Find the culprits in the kernel's log; or, if the kernel had no time to log any, in what is left
 * in the block. */
static void find_culprits(struct stow_draining *d, int kmsg, uint64_t id, uint64_t *ret_left)
{
	uint64_t first = id * (d->block_size / d->page_size);
	uint64_t end = first + d->block_size / d->page_size;
	_cleanup_free_ uint64_t *pfns = NULL;
	size_t n = 0;

	*ret_left = 0;
	stow_culprits_done(&d->culprits);
	if (kmsg >= 0 && stow_kmsg_stuck(kmsg, first, end, &pfns, &n, NULL) == 0 && n)
		(void)stow_culprits_prove(d->context->root, pfns, n, &d->culprits, NULL);
	if (d->culprits.n == 0)
		(void)stow_culprits_left(d->context->root, first, end, &d->culprits, ret_left,
					 NULL);
}

/* Try until the deadline: pages that are being written, or were just allocated, can often move a
 * moment later. */
static int try_offline(struct stow_draining *d, uint64_t id, struct stow_err *err)
{
	uint64_t end = stow_clock_monotonic() + d->spec.block_timeout;

	if (d->until < end)
		end = d->until;
	for (;;) {
		uint64_t now = stow_clock_monotonic();
		int r;

		if (now + MS >= end)
			return stow_err_set(err, ETIMEDOUT,
					    "the drain has taken longer than %" PRIu64 " s",
					    d->spec.timeout / S);
		r = stow_memblock_offline(d->context->root, id, end - now, stow_drain_stop, d, err);
		if ((r != -EBUSY && r != -EAGAIN) || stow_clock_monotonic() + RETRY_LEAST > end)
			return r;
		if (stow_drain_stop(d))
			return stow_drain_cancelled(err);
		stow_clock_sleep(RETRY_PAUSE);
	}
}

/* Replace the kernel's error by what keeps the block online, or add what was still to be moved. */
static int explain_failure(struct stow_draining *d, uint64_t id, int r, uint64_t left,
			   struct stow_err *err)
{
	struct stow_err why = *err;
	char text[700] = "", size[32];

	if (d->culprits.n)
		stow_culprit_format(&d->culprits.list[0], text, sizeof(text));
	if (*text)
		return stow_err_set(err, -r, "block %" PRIu64 " would not go offline: %s%s", id,
				    text, d->culprits.n > 1 ? " (and others)" : "");
	if (left)
		return stow_err_set(err, -r, "%.600s; %s in it were still to be moved", why.msg,
				    stow_format_size(left * d->page_size, size, sizeof(size)));
	return strstr(err->msg, "block") ? r : stow_err_wrap(err, r, "block %" PRIu64, id);
}

static const struct stow_drain_block *planned(const struct stow_draining *d, uint64_t id)
{
	for (size_t i = 0; i < d->plan->n_blocks; i++)
		if (d->plan->blocks[i].id == id)
			return &d->plan->blocks[i];
	return NULL;
}

static int offline_one(struct stow_draining *d, size_t index, struct stow_err *err)
{
	uint64_t id = d->row.blocks[index].id;
	const struct stow_drain_block *block = planned(d, id);
	_cleanup_close_ int kmsg = stow_kmsg_open(d->context->root, NULL);
	struct stow_err why = { 0 };
	uint64_t left = 0;
	int r, r2;

	d->block = id;
	r = stow_drain_notify(d, STOW_DRAIN_STEP_OFFLINING, "", err);
	if (r < 0)
		return r;
	/* Mark it as begun first; bringing a block online that is online does no harm. */
	stow_drain_set_gone(d, index, true);
	r = stow_drain_pools_lock(d->context->root, &d->pools, err);
	if (r == 0)
		r = stow_drain_save_row(d, err);
	if (r < 0) {
		stow_drain_pools_unlock(&d->pools);
		stow_drain_set_gone(d, index, false);
		return r;
	}
	r = try_offline(d, id, &why);
	/* The firmware asked for the device's removal at the same time, and the kernel complied. */
	if (r < 0 && r != -ECANCELED && !stow_drain_block_exists(d->context->root, id))
		r = 0;
	r2 = stow_drain_pools_account(d->context, &d->pools, r >= 0 && block ? &block->use : NULL,
				      r < 0 ? NULL : &why);
	if (r >= 0 && block)
		d->bytes_moved += stow_block_use_sum(&block->use, true) * d->page_size;
	if (r < 0) {
		stow_drain_set_gone(d, index, false);
		if (r != -ECANCELED) {
			find_culprits(d, kmsg, id, &left);
			r = explain_failure(d, id, r, left, &why);
		}
	} else if (r2 < 0) {
		r = r2;
	}
	r2 = stow_drain_save_row(d, r < 0 ? NULL : &why);
	stow_drain_pools_unlock(&d->pools);
	r = r < 0 ? r : r2;
	return r < 0 ? stow_err_move(err, r, &why) : 0;
}

/* Wait as long as the configured rate demands. `before`: blocks that a killed worker took
 * offline. */
static int keep_rate(struct stow_draining *d, uint64_t began, size_t before, struct stow_err *err)
{
	uint64_t due;

	if (!d->spec.rate)
		return 0;
	due = began + (uint64_t)((double)(d->n_gone - before) * (double)d->block_size /
				 (double)d->spec.rate * (double)S);
	while (stow_clock_monotonic() < due) {
		if (stow_drain_stop(d))
			return stow_drain_cancelled(err);
		stow_clock_sleep(50 * MS);
	}
	return 0;
}

/* *ret_failed: blocks that could not go offline; with `keep`, `err` has the first failure. */
static int offline_all(struct stow_draining *d, size_t *ret_failed, struct stow_err *err)
{
	uint64_t began = stow_clock_monotonic();
	size_t before = d->n_gone;
	struct stow_err first = { 0 };
	int r = 0;

	*ret_failed = 0;
	for (size_t i = 0; i < d->row.n_blocks && r == 0; i++) {
		uint64_t id = d->row.blocks[i].id;
		const struct stow_memblock *known = stow_memblocks_find(&d->plan->all, id);
		struct stow_err why = { 0 };

		if (!known || known->state == STOW_MEMBLOCK_OFFLINE ||
		    !stow_drain_block_exists(d->context->root, id))
			continue;
		r = offline_one(d, i, &why);
		if (r < 0 && d->spec.keep && r != -ECANCELED && stow_clock_monotonic() < d->until) {
			if (!first.code)
				first = why;
			++*ret_failed;
			r = 0;
		} else if (r < 0) {
			first = why;
		}
		if (r == 0)
			r = keep_rate(d, began, before, &first);
	}
	if (r < 0 || *ret_failed)
		*err = first;
	return r;
}

/* --- removal -------------------------------------------------------------- */

static bool all_gone(const struct stow_draining *d)
{
	for (size_t i = 0; i < d->row.n_blocks; i++)
		if (stow_drain_block_exists(d->context->root, d->row.blocks[i].id))
			return false;
	return true;
}

static int wait_until_pulled(struct stow_draining *d, struct stow_err *err)
{
	uint64_t end = stow_clock_monotonic() + d->spec.removal_timeout;

	while (!all_gone(d)) {
		if (stow_drain_stop(d))
			return stow_drain_cancelled(err);
		if (stow_clock_monotonic() >= end)
			return stow_err_set(err, ETIMEDOUT,
					    "the memory was not removed within %" PRIu64 " s",
					    d->spec.removal_timeout / S);
		stow_clock_sleep(100 * MS);
	}
	return 0;
}

/* The device is the plan's; after a restart, it is looked up again. */
static int eject(struct stow_draining *d, struct stow_err *err)
{
	if (!d->plan || !d->plan->device)
		return all_gone(d) ? 0
				   : stow_err_set(err, ENODEV,
						  "the device to eject is not known "
						  "any more");
	return stow_memdev_eject(d->context->root, d->plan->device, d->spec.removal_timeout, err);
}

/* Read what is online now of the blocks' devices; another program may have brought some of it
 * online. */
static int look_at_rest(struct stow_draining *d, struct stow_drain_rest *rest, struct stow_err *err)
{
	_cleanup_(stow_memblocks_done) struct stow_memblocks all = { 0 };
	_cleanup_free_ uint64_t *ids = calloc(d->row.n_blocks + 1, sizeof(*ids));
	int r;

	if (!ids)
		return stow_err_set(err, ENOMEM, "out of memory");
	r = stow_memblocks_read(d->context->root, STOW_MEMBLOCK_DEVICE, &all, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < d->row.n_blocks; i++)
		ids[i] = d->row.blocks[i].id;
	stow_drain_rest(&all, ids, d->row.n_blocks, d->row.device, false, rest);
	d->row.bytes_staying = rest->bytes;
	snprintf(d->rest, sizeof(d->rest), "%s", rest->text);
	return 0;
}

/* Report what may be done with the offline memory, only if that is true now. */
static int decide_release(struct stow_draining *d, struct stow_err *err)
{
	struct stow_drain_rest rest;
	int r = look_at_rest(d, &rest, err);

	if (r < 0)
		return r;
	d->row.release = rest.other	   ? STOW_RELEASE_NONE
			 : rest.bytes == 0 ? STOW_RELEASE_DEVICE
			 : rest.shrinkable ? STOW_RELEASE_SHRINK
					   : STOW_RELEASE_NONE;
	if (d->row.release != STOW_RELEASE_NONE || d->spec.eject == STOW_EJECT_KEEP || all_gone(d))
		return 0;
	return stow_err_set(err, EBUSY, "%s is online: the device cannot be removed",
			    *d->rest ? d->rest : "other memory");
}

static int report_safe(struct stow_draining *d, struct stow_err *err)
{
	char message[512], size[32];
	int r;

	stow_format_size(d->n_gone * d->block_size, size, sizeof(size));
	if (d->row.release == STOW_RELEASE_DEVICE)
		snprintf(message, sizeof(message), "%s%s%s is offline and may be removed", size,
			 *d->row.device ? " of " : "", d->row.device);
	else
		snprintf(message, sizeof(message),
			 "%s of %s is offline, and its hypervisor may shrink it by that; %s stays "
			 "online",
			 size, *d->row.device ? d->row.device : "virtio-mem", d->rest);
	d->row.step = STOW_DRAIN_STEP_SAFE;
	r = stow_drain_save_row(d, err);
	return r < 0 ? r : stow_drain_notify(d, STOW_DRAIN_STEP_SAFE, message, err);
}

static int release_memory(struct stow_draining *d, struct stow_err *err)
{
	int r;

	r = decide_release(d, err);
	if (r == 0 && d->row.release != STOW_RELEASE_NONE)
		r = report_safe(d, err);
	if (r < 0 || d->spec.eject == STOW_EJECT_KEEP)
		return r;
	r = d->spec.eject == STOW_EJECT_EJECT ? eject(d, err) : wait_until_pulled(d, err);
	if (r < 0)
		return r;
	d->row.step = STOW_DRAIN_STEP_REMOVED;
	(void)stow_drain_save_row(d, NULL);
	/* Too late to cancel. */
	d->final = true;
	return stow_drain_notify(d, STOW_DRAIN_STEP_REMOVED, "", NULL);
}

/* --- the end -------------------------------------------------------------- */

static void describe(const struct stow_draining *d, char *buf, size_t size)
{
	char off[32], left[32];
	size_t len;

	len = (size_t)snprintf(buf, size, "%s%s%s %s",
			       stow_format_size(d->n_gone * d->block_size, off, sizeof(off)),
			       *d->row.device ? " of " : "", d->row.device,
			       all_gone(d) ? "has left the machine" : "is offline");
	if (*d->rest && len < size)
		len += (size_t)snprintf(buf + len, size - len, "; %s stays online%s", d->rest,
					all_gone(d) ? "" : " and cannot be removed");
	if (d->left && len < size)
		len += (size_t)snprintf(buf + len, size - len,
					"; %s of bound containers stayed on other NUMA nodes",
					stow_format_size(d->left, left, sizeof(left)));
	for (size_t i = 0; i < d->pools.n && len < size; i++)
		if (d->pools.list[i].row.lost > d->pools.list[i].row.used)
			len += (size_t)snprintf(
				buf + len, size - len,
				"; NUMA node %d has %" PRIu64 " hugepages of %s less", d->row.node,
				d->pools.list[i].row.lost - d->pools.list[i].row.used,
				stow_format_size(d->pools.list[i].row.size, left, sizeof(left)));
}

static void note_why(struct stow_draining *d, int r, const char *message)
{
	d->row.code = r < 0 ? -r : 0;
	free(d->row.message);
	d->row.message = strdup(message);
}

/* Save the end in the ledger. Another program's long transaction may delay that. */
static void end_row(struct stow_draining *d, bool undone)
{
	int r;

	d->row.worker = (struct stow_pidref){ 0 };
	for (int i = 0; i < ROW_TRIES; i++) {
		/* With `stuck`, leave the row without a worker: gc, the agent, or the next drain
		 * tries again. */
		r = d->stuck ? stow_drain_save_row(d, NULL)
			     : stow_drain_row_end(d->context->ledger, &d->row,
						  undone ? "undrained" : "drained", NULL);
		if (r == 0 || r == -ENOENT)
			return;
		stow_clock_sleep(RETRY_PAUSE);
	}
}

/* Undo everything, and append the outcome to the error. */
static void undo_all(struct stow_draining *d, int r, const char *why, char *message, size_t size)
{
	struct stow_err undo = { 0 };
	size_t left;

	note_why(d, r, why);
	d->stuck = stow_drain_undo(d, &undo) < 0;
	/* The fence still stands, so that no other container takes the room of those that go
	 * back. */
	left = d->stuck ? 0 : stow_drain_move_back(d);
	snprintf(message, size, "%.600s%s%.280s", why,
		 d->stuck ? "; undoing it failed, and is tried again later: " : "", undo.msg);
	if (left)
		snprintf(message + strlen(message), size - strlen(message),
			 "; %zu container%s could not go back to NUMA node %d", left,
			 left == 1 ? "" : "s", d->row.node);
}

int stow_drain_finish(struct stow_draining *d, int r, bool partial, enum stow_drain_step *ret_step,
		      struct stow_err *err)
{
	struct stow_drain_rest rest;
	bool undone = r < 0;
	char message[1024];

	if (r < 0 && r != -ECANCELED && d->row.n_blocks && all_gone(d)) {
		/* The program that took the drain over has undone it. */
		(void)stow_drain_settle(d, NULL);
		undone = false;
		r = 0;
	}
	if (undone) {
		d->row.release = STOW_RELEASE_NONE;
		undo_all(d, r, err->msg, message, sizeof(message));
	} else {
		(void)look_at_rest(d, &rest, NULL);
		describe(d, message, sizeof(message));
	}
	if (!undone && partial) {
		r = -EREMOTEIO;
		snprintf(message + strlen(message), sizeof(message) - strlen(message), "; %.600s",
			 err->msg);
	}
	*ret_step = r == -ECANCELED   ? STOW_DRAIN_STEP_CANCELLED
		    : r == -EREMOTEIO ? STOW_DRAIN_STEP_PARTIAL
		    : r < 0	      ? STOW_DRAIN_STEP_FAILED
				      : STOW_DRAIN_STEP_DONE;
	d->final = true;
	if (!d->stuck) {
		d->row.step = *ret_step;
		note_why(d, r, message);
	}
	end_row(d, undone);
	(void)stow_drain_notify(d, *ret_step, message, NULL);
	return r < 0 ? stow_err_set(err, -r, "%s", message) : 0;
}

/* With `keep`, keep what was achieved also after a cancellation: the rest counts as failed. */
static int keep_rest(struct stow_draining *d, int r, size_t *failed)
{
	if (r >= 0 || d->final || !d->spec.keep || !d->n_gone)
		return r;
	++*failed;
	d->final = true;
	return 0;
}

static int settle_all(struct stow_draining *d, struct stow_err *err)
{
	int r = stow_drain_notify(d, STOW_DRAIN_STEP_RETURNING, "", err);

	if (r == 0)
		r = stow_drain_settle(d, err);
	return r == 0 && d->stopped && !d->final ? stow_drain_cancelled(err) : r;
}

int stow_drain_work(struct stow_draining *d, enum stow_drain_step *ret_step, struct stow_err *err)
{
	struct stow_err why = { 0 }, later = { 0 };
	size_t failed = 0;
	int r;

	d->until = d->started + d->spec.timeout;
	r = stow_drain_move_all(d, &why);
	if (r == 0)
		r = keep_rest(d, offline_all(d, &failed, &why), &failed);
	if (r == 0 && failed && d->n_gone == 0)
		r = -why.code;
	if (r == 0) {
		r = settle_all(d, &later);
		if (r == 0 && !failed)
			r = release_memory(d, &later);
		if (r < 0)
			why = later;
		r = keep_rest(d, r, &failed);
	}
	r = stow_drain_finish(d, r, failed > 0, ret_step, &why);
	return r < 0 ? stow_err_move(err, r, &why) : 0;
}

/* Hooks that were running when the fence went up may have reserved on the node: wait for them. */
int stow_drain_await_pending(struct stow_draining *d, struct stow_err *err)
{
	uint64_t end = stow_clock_monotonic() + PENDING_WAIT;

	for (;;) {
		struct stow_record **records;
		bool pending = false;
		size_t n;
		int r;

		r = stow_ledger_records(d->context->ledger, NULL, &records, &n, err);
		if (r < 0)
			return r;
		for (size_t i = 0; i < n; i++)
			pending |= records[i]->state == STOW_STATE_PENDING &&
				   stow_idset_has(&records[i]->nodes, d->row.node) &&
				   stow_pidref_alive(d->context->root, &records[i]->worker);
		stow_records_free(records, n);
		if (!pending)
			return 0;
		if (stow_drain_stop(d))
			return stow_drain_cancelled(err);
		if (stow_clock_monotonic() > end)
			return stow_err_set(err, EBUSY,
					    "a container is being started, or moved, on NUMA node "
					    "%d for longer than 5 s",
					    d->row.node);
		stow_clock_sleep(20 * MS);
	}
}

// SPDX-License-Identifier: Apache-2.0
/* Reporting of a drain, and undoing it. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/idlist.h"
#include "base/parse.h"
#include "drain/internal.h"
#include "grant/repin.h"
#include "node/hotplug.h"

#define ASK_EACH	(STOW_SECOND / 2) /* between two checks whether the drain was cancelled */
#define MOVE_BACK_PAUSE STOW_MILLISECOND
#define MEMORY_BLOCK	"/sys/devices/system/memory/memory%" PRIu64

bool stow_drain_block_exists(struct stow_root *root, uint64_t id)
{
	return stow_root_exists(root, MEMORY_BLOCK, id) != 0;
}

/* --- progress and cancellation -------------------------------------------- */

int stow_drain_cancelled(struct stow_err *err)
{
	return stow_err_set(err, ECANCELED, "the drain was cancelled");
}

bool stow_drain_stop(void *draining)
{
	struct stow_draining *d = draining;
	uint64_t now = stow_clock_monotonic();

	if (d->final)
		return false;
	if (!d->stopped && d->watch && d->watch->stop)
		d->stopped = d->watch->stop(d->watch->ctx);
	if (!d->stopped && d->entered && now >= d->asked + ASK_EACH) {
		d->asked = now;
		d->stopped = stow_drain_row_cancelled(d->context->ledger, d->row.id);
	}
	return d->stopped;
}

int stow_drain_notify(struct stow_draining *d, enum stow_drain_step step, const char *message,
		      struct stow_err *err)
{
	PbDrainProgress *p;

	d->row.step = step;
	if (d->watch && d->watch->progress) {
		p = stow_drain_message(d, message);
		if (p && d->watch->progress(d->watch->ctx, p) < 0)
			d->stopped = true;
		pb_drain_progress__free_unpacked(p, NULL);
	}
	if (d->final || stow_drain_step_is_end(step) || !stow_drain_stop(d))
		return 0;
	return stow_drain_cancelled(err);
}

static int write_row(struct stow_draining *d, struct stow_err *err)
{
	struct stow_drain_pages pages[STOW_POOLS_MAX];
	size_t n = 0;
	int r;

	for (size_t i = 0; i < d->pools.n; i++) {
		const struct stow_drain_pool *pool = &d->pools.list[i];

		if (pool->plus || pool->minus)
			pages[n++] = (struct stow_drain_pages){ pool->row.size, pool->plus,
								pool->minus };
	}
	r = stow_drain_row_put_pages(d->context->ledger, &d->row, pages, n, err);
	for (size_t i = 0; i < d->pools.n && r == 0; i++)
		d->pools.list[i].plus = d->pools.list[i].minus = 0;
	return r;
}

void stow_drain_set_gone(struct stow_draining *d, size_t block, bool gone)
{
	struct stow_drain_row_block *b = &d->row.blocks[block];

	if (b->gone == gone)
		return;
	b->gone = gone;
	d->n_gone += gone ? 1 : (size_t)-1;
}

int stow_drain_save_row(struct stow_draining *d, struct stow_err *err)
{
	stow_drain_pools_put(&d->pools, &d->row);
	d->row.bytes_offline = d->n_gone * d->block_size;
	return write_row(d, err);
}

int stow_drain_count_left(struct stow_draining *d, struct stow_err *err)
{
	struct stow_first first = { .err = err };
	bool begun = false;

	for (size_t i = 0; i < d->pools.n; i++)
		begun |= d->pools.list[i].row.before > 0;
	if (!begun)
		return 0;
	stow_first_note(&first, stow_drain_pools_hold(d->context->root, &d->pools, first.err));
	stow_first_note(&first, stow_drain_pools_account(d->context, &d->pools, NULL, first.err));
	stow_first_note(&first, stow_drain_save_row(d, first.err));
	stow_drain_pools_unlock(&d->pools);
	return first.code;
}

void stow_draining_done(struct stow_draining *d)
{
	stow_drain_pools_unlock(&d->pools);
	stow_drain_plan_free(d->plan);
	stow_drain_row_done(&d->row);
	stow_culprits_done(&d->culprits);
}

/* --- the specification ---------------------------------------------------- */

void stow_drain_spec_put(const struct stow_drain_spec *spec, struct stow_drain_row *row)
{
	row->eject = spec->eject;
	row->keep = spec->keep;
	row->elsewhere = spec->hugepages_elsewhere;
	row->force_taint = spec->force_taint;
	row->resume = spec->resume;
	row->block_timeout = spec->block_timeout;
	row->timeout = spec->timeout;
	row->removal_timeout = spec->removal_timeout;
	row->rate = spec->rate;
}

void stow_drain_spec_get(const struct stow_drain_row *row, struct stow_drain_spec *ret)
{
	*ret = (struct stow_drain_spec){ .node = -1,
					 .eject = row->eject,
					 .keep = row->keep,
					 .hugepages_elsewhere = row->elsewhere,
					 .force_taint = row->force_taint,
					 .resume = row->resume,
					 .block_timeout = row->block_timeout,
					 .timeout = row->timeout,
					 .removal_timeout = row->removal_timeout,
					 .rate = row->rate };
}

/* --- undoing -------------------------------------------------------------- */

/* Bring a block online. When its zone is not possible any more (another zone lies between by now),
 * let the kernel choose: online is what counts. */
static int bring_back(struct stow_draining *d, const struct stow_drain_row_block *block,
		      struct stow_err *err)
{
	uint64_t id = block->id;
	int r;

	if (!stow_drain_block_exists(d->context->root, id))
		return 0; /* removed meanwhile */
	r = stow_memblock_online(d->context->root, id, block->zone, err);
	if (r < 0 && r != -ETIMEDOUT)
		r = stow_memblock_online(d->context->root, id, STOW_ZONE_DEFAULT, err);
	return r < 0 ? r : 0;
}

int stow_drain_settle(struct stow_draining *d, struct stow_err *err)
{
	struct stow_first first = { .err = err };
	bool lost = false;
	uint64_t moved;

	for (size_t i = 0; i < d->pools.n; i++)
		lost |= d->pools.list[i].row.lost > 0;
	if (lost) {
		stow_first_note(&first,
				stow_drain_pools_lock(d->context->root, &d->pools, first.err));
		stow_first_note(&first, stow_drain_save_row(d, first.err));
	}
	(void)stow_drain_return_pages(d->context, d->row.node, stow_drain_stop, d, &moved,
				      &d->left);
	if (!lost)
		return first.code;
	stow_first_note(&first, stow_drain_pools_account(d->context, &d->pools, NULL, first.err));
	stow_first_note(&first, stow_drain_save_row(d, first.err));
	stow_drain_pools_unlock(&d->pools);
	stow_first_note(&first, stow_drain_pools_plan(d->context, &d->pools, first.err));
	stow_first_note(&first, stow_drain_save_row(d, first.err));
	stow_first_note(&first, stow_drain_pools_renew(d->context, &d->pools,
						       d->spec.hugepages_elsewhere, first.err));
	stow_first_note(&first, stow_drain_save_row(d, first.err));
	return first.code;
}

int stow_drain_undo(struct stow_draining *d, struct stow_err *err)
{
	struct stow_first first = { .err = err };

	d->final = true;
	(void)stow_drain_notify(d, STOW_DRAIN_STEP_UNDOING, "", NULL);
	(void)stow_drain_save_row(d, NULL);
	stow_first_note(&first, stow_drain_count_left(d, first.err));
	for (size_t i = 0; i < d->row.n_blocks && first.code != -ETIMEDOUT; i++) {
		if (!d->row.blocks[i].gone)
			continue;
		/* Another program's attempt does not end; each further block would wait as long. */
		if (stow_first_note(&first, bring_back(d, &d->row.blocks[i], first.err)) ==
		    -ETIMEDOUT)
			first.code = -ETIMEDOUT;
	}
	stow_first_note(&first, stow_drain_settle(d, first.err));
	return first.code;
}

size_t stow_drain_move_back(struct stow_draining *d)
{
	struct stow_grant_context context = *d->context;
	size_t failed = 0;

	context.past_fences = true;
	for (size_t i = 0; i < d->row.n_moved; i++) {
		struct stow_repin_options options = { .nodes = d->row.moved[i].nodes,
						      .pause = MOVE_BACK_PAUSE };

		switch (stow_repin(&context, d->row.moved[i].id, &options, NULL)) {
		case 0:
		case -EALREADY: /* it had not moved yet */
		case -ENOENT:	/* it has ended */
		case -ESRCH:
			break;
		default:
			failed++;
		}
	}
	return failed;
}

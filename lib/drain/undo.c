// SPDX-License-Identifier: Apache-2.0
/* What a drain tells, and how it is taken back. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/idlist.h"
#include "base/parse.h"
#include "drain/internal.h"
#include "grant/repin.h"

#define S		UINT64_C(1000000000)
#define ASK_EACH	(S / 2) /* between two looks whether somebody has cancelled it */
#define MOVE_BACK_PAUSE UINT64_C(1000000)
#define MEMORY_BLOCK	"/sys/devices/system/memory/memory%" PRIu64

uint64_t stow_drain_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * S + (uint64_t)t.tv_nsec;
}

bool stow_drain_block_exists(struct stow_root *root, uint64_t id)
{
	return stow_root_exists(root, MEMORY_BLOCK, id) == 1;
}

/* --- telling, and being told
 * ---------------------------------------------------------------------- */

bool stow_drain_stop(void *draining)
{
	struct stow_draining *d = draining;
	uint64_t now = stow_drain_now();

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

int stow_drain_tell(struct stow_draining *d, enum stow_drain_step step, const char *message,
		    struct stow_err *err)
{
	struct stow_drain_progress p = {
		.id = d->row.id,
		.step = step,
		.bytes_total = d->n_ids * d->block_size,
		.bytes_offline = d->n_gone * d->block_size,
		.bytes_moved = d->bytes_moved,
		.block = d->block,
		.blocks_total = (uint32_t)d->n_ids,
		.blocks_offline = (uint32_t)d->n_gone,
		.blocks_gone = d->row.gone ? d->row.gone : "",
		.message = message ? message : "",
		.elapsed = stow_drain_now() - d->started,
		.code = d->row.code,
		.plan = step == STOW_DRAIN_PLANNED ? d->plan : NULL,
		.culprits = d->culprits.n ? &d->culprits : NULL,
	};

	d->row.step = step;
	if (d->watch && d->watch->progress && d->watch->progress(d->watch->ctx, &p) < 0)
		d->stopped = true;
	if (d->final || stow_drain_step_is_end(step) || !stow_drain_stop(d))
		return 0;
	return stow_err_set(err, ECANCELED, "the drain was cancelled");
}

static int write_row(struct stow_draining *d, struct stow_err *err)
{
	struct stow_drain_pages pages[STOW_POOLS_MAX];
	size_t n = 0;
	int r;

	for (size_t i = 0; i < d->pools.n; i++) {
		const struct stow_drain_pool *pool = &d->pools.list[i];

		if (pool->plus || pool->minus)
			pages[n++] =
				(struct stow_drain_pages){ pool->size, pool->plus, pool->minus };
	}
	r = stow_drain_row_put_pages(d->context->ledger, &d->row, pages, n, err);
	for (size_t i = 0; i < d->pools.n && r == 0; i++)
		d->pools.list[i].plus = d->pools.list[i].minus = 0;
	return r;
}

int stow_drain_note_row(struct stow_draining *d, struct stow_err *err)
{
	char *gone = stow_idlist_format(d->gone, d->n_gone);
	char *pools = stow_drain_pools_text(&d->pools);

	if (!gone || !pools) {
		free(gone);
		free(pools);
		return stow_err_set(err, ENOMEM, "out of memory");
	}
	free(d->row.gone);
	free(d->row.pools);
	d->row.gone = gone;
	d->row.pools = pools;
	d->row.bytes_offline = d->n_gone * d->block_size;
	return write_row(d, err);
}

int stow_drain_count_left(struct stow_draining *d, struct stow_err *err)
{
	bool begun = false;
	int first, r;

	for (size_t i = 0; i < d->pools.n; i++)
		begun |= d->pools.list[i].before > 0;
	if (!begun)
		return 0;
	first = stow_drain_pools_hold(d->context->root, &d->pools, err);
	r = stow_drain_pools_account(d->context, &d->pools, NULL, first ? NULL : err);
	first = first ? first : r;
	r = stow_drain_note_row(d, first ? NULL : err);
	stow_drain_pools_unlock(&d->pools);
	return first ? first : r;
}

void stow_draining_done(struct stow_draining *d)
{
	stow_drain_pools_unlock(&d->pools);
	stow_drain_plan_free(d->plan);
	stow_drain_row_done(&d->row);
	stow_culprits_done(&d->culprits);
	free(d->ids);
	free(d->gone);
}

/* --- what was asked for, as text
 * ------------------------------------------------------------------ */

char *stow_drain_spec_text(const struct stow_drain_spec *spec)
{
	char *text = NULL;

	if (asprintf(&text,
		     "eject=%d keep=%d elsewhere=%d block=%" PRIu64 " whole=%" PRIu64
		     " removal=%" PRIu64 " rate=%" PRIu64,
		     (int)spec->eject, spec->keep, spec->hugepages_elsewhere, spec->block_timeout,
		     spec->timeout, spec->removal_timeout, spec->rate) < 0)
		return NULL;
	return text;
}

void stow_drain_spec_parse(const char *text, struct stow_drain_spec *ret)
{
	_cleanup_free_ char *copy = strdup(text);
	char *save = NULL;

	*ret = (struct stow_drain_spec){ .node = -1 };
	for (char *word = copy ? strtok_r(copy, " ", &save) : NULL; word;
	     word = strtok_r(NULL, " ", &save)) {
		char *value = strchr(word, '=');
		uint64_t v;

		if (!value)
			continue;
		*value++ = '\0';
		if (stow_parse_u64(value, UINT64_MAX, &v, NULL) < 0)
			continue;
		if (strcmp(word, "eject") == 0 && v <= STOW_EJECT_WAIT)
			ret->eject = (enum stow_drain_eject)v;
		else if (strcmp(word, "keep") == 0)
			ret->keep = v != 0;
		else if (strcmp(word, "elsewhere") == 0)
			ret->hugepages_elsewhere = v != 0;
		else if (strcmp(word, "block") == 0)
			ret->block_timeout = v;
		else if (strcmp(word, "whole") == 0)
			ret->timeout = v;
		else if (strcmp(word, "removal") == 0)
			ret->removal_timeout = v;
		else if (strcmp(word, "rate") == 0)
			ret->rate = v;
	}
}

/* --- zones
 * ------------------------------------------------------------------------------------------ */

/* "48-55=Movable 56=Normal": runs of blocks. */
char *stow_drain_zones_text(const struct stow_drain_plan *plan)
{
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);

	if (!out)
		return NULL;
	for (size_t i = 0; i < plan->n_blocks;) {
		size_t end = i + 1;

		while (end < plan->n_blocks &&
		       plan->blocks[end].id == plan->blocks[end - 1].id + 1 &&
		       strcmp(plan->blocks[end].zone, plan->blocks[i].zone) == 0)
			end++;
		fprintf(out, "%s%" PRIu64 "-%" PRIu64 "=%s", i ? " " : "", plan->blocks[i].id,
			plan->blocks[end - 1].id, plan->blocks[i].zone);
		i = end;
	}
	if (fclose(out) != 0) {
		free(text);
		return NULL;
	}
	return text;
}

static enum stow_memblock_zone zone_of(const char *zones, uint64_t id)
{
	_cleanup_free_ char *copy = strdup(zones);
	char *save = NULL;

	for (char *word = copy ? strtok_r(copy, " ", &save) : NULL; word;
	     word = strtok_r(NULL, " ", &save)) {
		_cleanup_free_ uint64_t *ids = NULL;
		char *zone = strchr(word, '=');
		size_t n;

		if (!zone)
			continue;
		*zone++ = '\0';
		if (stow_idlist_parse(word, &ids, &n, NULL) < 0 || n == 0 || id < ids[0] ||
		    id > ids[n - 1])
			continue;
		return strcmp(zone, "Movable") == 0 ? STOW_ZONE_MOVABLE : STOW_ZONE_KERNEL;
	}
	return STOW_ZONE_DEFAULT;
}

/* --- taking back ---------------------------------------------------------------------------------
 */

/* A block whose zone it cannot have again (another one lies between by now) goes wherever the
 * kernel puts it: online is what counts. */
static int bring_back(struct stow_draining *d, uint64_t id, struct stow_err *err)
{
	int r;

	if (!stow_drain_block_exists(d->context->root, id))
		return 0; /* pulled meanwhile */
	r = stow_memblock_online(d->context->root, id, zone_of(d->row.zones, id), err);
	if (r < 0 && r != -ETIMEDOUT)
		r = stow_memblock_online(d->context->root, id, STOW_ZONE_DEFAULT, err);
	return r < 0 ? r : 0;
}

int stow_drain_settle(struct stow_draining *d, struct stow_err *err)
{
	bool lost = false;
	uint64_t moved;
	int first = 0, r;

	for (size_t i = 0; i < d->pools.n; i++)
		lost |= d->pools.list[i].lost > 0;
	if (lost) {
		first = stow_drain_pools_lock(d->context->root, &d->pools, err);
		r = stow_drain_note_row(d, first ? NULL : err);
		first = first ? first : r;
	}
	(void)stow_homes_return(d->context, d->row.node, stow_drain_stop, d, &moved, &d->left);
	if (!lost)
		return first;
	r = stow_drain_pools_account(d->context, &d->pools, NULL, first ? NULL : err);
	first = first ? first : r;
	r = stow_drain_note_row(d, first ? NULL : err);
	first = first ? first : r;
	stow_drain_pools_unlock(&d->pools);
	r = stow_drain_pools_plan(d->context, &d->pools, first ? NULL : err);
	first = first ? first : r;
	r = stow_drain_note_row(d, first ? NULL : err);
	first = first ? first : r;
	r = stow_drain_pools_renew(d->context, &d->pools, d->spec.hugepages_elsewhere,
				   first ? NULL : err);
	first = first ? first : r;
	r = stow_drain_note_row(d, first ? NULL : err);
	return first ? first : r;
}

int stow_drain_undo(struct stow_draining *d, struct stow_err *err)
{
	int first = 0, r;

	d->final = true;
	(void)stow_drain_tell(d, STOW_DRAIN_UNDOING, "", NULL);
	(void)stow_drain_note_row(d, NULL);
	first = stow_drain_count_left(d, err);
	for (size_t i = 0; i < d->n_gone && first != -ETIMEDOUT; i++) {
		r = bring_back(d, d->gone[i], first ? NULL : err);
		first = first && r != -ETIMEDOUT ? first : r;
	}
	r = stow_drain_settle(d, first ? NULL : err);
	return first ? first : r;
}

/* "ID=NODES ...", the newest last. */
size_t stow_drain_move_back(struct stow_draining *d)
{
	_cleanup_free_ char *copy = strdup(d->row.moved ? d->row.moved : "");
	struct stow_grant_context context = *d->context;
	char *save = NULL;
	size_t failed = 0;

	context.past_fences = true;
	for (char *word = copy ? strtok_r(copy, " ", &save) : NULL; word;
	     word = strtok_r(NULL, " ", &save)) {
		struct stow_repin_options options = { .pause = MOVE_BACK_PAUSE };
		char *nodes = strrchr(word, '=');

		if (!nodes)
			continue;
		*nodes++ = '\0';
		if (stow_idset_parse(nodes, &options.nodes, NULL) < 0)
			continue;
		switch (stow_repin(&context, word, &options, NULL)) {
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

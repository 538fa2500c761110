// SPDX-License-Identifier: Apache-2.0
#include "grant/pool_admin.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "grant/names.h"
#include "grant/pool.h"
#include "grant/pool_internal.h"
#include "node/hugetlb.h"
#include "node/reclaim.h"

#define NAMES_SHOWN 4

/* One pool, locked, with what is promised in it. */
struct pool {
	struct stow_settling s;
	uint64_t outstanding; /* pages promised and not yet faulted in */
	bool promised;	      /* any pages are promised, faulted in or not */
	int lock;
};

static void pool_done(struct pool *pool)
{
	stow_root_unlock(&pool->lock);
}

/* Refuse while a drain moves the node's pages: it counts them, and puts them back afterwards. */
static int check_drains(const struct pool *pool, struct stow_err *err)
{
	struct stow_idset drained;
	int r = stow_pool_drained(pool->s.root, pool->s.ledger, &drained, err);

	if (r < 0)
		return r;
	if (stow_idset_has(&drained, pool->s.row.node))
		return stow_err_set(err, EBUSY,
				    "node %d: a drain is working on its memory; 'numastow drains' "
				    "shows it",
				    pool->s.row.node);
	return 0;
}

/* Lock and read a pool. Drains are looked for first: they hold the locks for long. */
static int take(struct stow_root *root, struct stow_ledger *ledger, int node, uint64_t size,
		struct pool *ret, struct stow_err *err)
{
	struct stow_record **records;
	size_t n;
	int r;

	*ret = (struct pool){
		.s = { .root = root, .ledger = ledger, .row = { .node = node, .size = size } },
		.lock = -EBADF
	};
	r = check_drains(ret, err);
	if (r < 0)
		return r;
	ret->lock = stow_pool_lock(root, node, size, err);
	r = ret->lock < 0 ? ret->lock : stow_pool_begin(&ret->s, err);
	if (r == 0)
		r = stow_pool_sum(&ret->s, 0, true, &ret->outstanding, err);
	if (r == 0)
		r = stow_ledger_pool_records(ledger, node, size, &records, &n, err);
	if (r < 0)
		return r;
	ret->promised = n > 0;
	stow_records_free(records, n);
	return 0;
}

/* Name those to whom pages of a pool are promised: "a, b and 3 more". */
static void name_records(const struct pool *pool, char *buf, size_t size)
{
	struct stow_record **records;
	size_t n;

	snprintf(buf, size, "others");
	if (stow_ledger_pool_records(pool->s.ledger, pool->s.row.node, pool->s.row.size, &records,
				     &n, NULL) < 0 ||
	    !n)
		return;
	buf[0] = '\0';
	for (size_t i = 0; i < n && i < NAMES_SHOWN; i++) {
		char label[STOW_RECORD_LABEL_MAX], id[129];
		bool named = records[i]->name[0] && records[i]->id[0];

		stow_append(buf, size, named ? "%s%s (%s)" : "%s%s", i ? ", " : "",
			    stow_short_id(stow_record_label(records[i], label), id, sizeof(id)),
			    records[i]->name);
	}
	if (n > NAMES_SHOWN)
		stow_append(buf, size, " and %zu more", n - NAMES_SHOWN);
	stow_records_free(records, n);
}

/* Count the pages in use. The kernel's numbers are read one after the other, and may not fit. */
static uint64_t in_use(const struct pool *pool)
{
	return stow_saturating_sub(pool->s.kernel.total, pool->s.kernel.free);
}

/* Return the fewest persistent pages that the pool may have. */
static uint64_t least(const struct pool *pool)
{
	return pool->promised ? in_use(pool) + pool->outstanding : 0;
}

static int check_set(const struct pool *pool, uint64_t pages, struct stow_err *err)
{
	const struct stow_pool *kernel = &pool->s.kernel;
	char size[32], names[512];

	if (pages >= least(pool) || pages >= stow_pool_persistent(kernel))
		return 0;
	name_records(pool, names, sizeof(names));
	return stow_err_set(err, EBUSY,
			    "node %d: %" PRIu64 " hugepages of %s are too few: %" PRIu64
			    " are in use, and %" PRIu64 " more are promised to containers (%s); "
			    "%" PRIu64 " or more would be possible",
			    pool->s.row.node, pages,
			    stow_format_size(pool->s.row.size, size, sizeof(size)), in_use(pool),
			    pool->outstanding, names, least(pool));
}

int stow_pool_may_set(struct stow_root *root, struct stow_ledger *ledger, int node, uint64_t size,
		      uint64_t pages, struct stow_err *err)
{
	_cleanup_(pool_done) struct pool pool;
	int r = take(root, ledger, node, size, &pool, err);

	return r < 0 ? r : check_set(&pool, pages, err);
}

/* Write, read back, and fill in `change`. */
static int write_pool(struct pool *pool, uint64_t pages, struct stow_pool_change *change,
		      struct stow_err *err)
{
	struct stow_settling *s = &pool->s;
	int r;

	*change = (struct stow_pool_change){ .node = s->row.node,
					     .size = s->row.size,
					     .wanted = pages,
					     .before = stow_pool_persistent(&s->kernel) };
	r = stow_pool_write(s->root, s->row.node, s->row.size, pages, err);
	if (r == 0)
		r = stow_pool_read(s->root, s->row.node, s->row.size, &s->kernel, err);
	change->after = stow_pool_persistent(&s->kernel);
	change->surplus = s->kernel.surplus;
	return r;
}

/* Store in the ledger how many of the pool's pages numastow has added. */
static int put_added(struct pool *pool, uint64_t added, struct stow_err *err)
{
	if (pool->s.row.added == added)
		return 0;
	pool->s.row.added = added;
	return stow_ledger_pool_put(pool->s.ledger, &pool->s.row, err);
}

int stow_pool_set(struct stow_root *root, struct stow_ledger *ledger, int node, uint64_t size,
		  uint64_t pages, bool compact, struct stow_pool_change *ret, struct stow_err *err)
{
	_cleanup_(pool_done) struct pool pool;
	uint64_t added;
	int r = take(root, ledger, node, size, &pool, err);

	if (r == 0)
		r = check_set(&pool, pages, err);
	if (r < 0)
		return r;
	/* Before the kernel's file: when this program is killed in between, numastow leaves pages
	 * to the administrator that it had added, instead of taking away what was set. */
	added = pool.s.row.added;
	r = put_added(&pool, 0, err);
	if (r < 0)
		return r;
	if (compact)
		(void)stow_node_compact(root, node, NULL);
	r = write_pool(&pool, pages, ret, err);
	if (r < 0)
		(void)put_added(&pool, added, NULL);
	return r;
}

int stow_pool_shrink(struct stow_root *root, struct stow_ledger *ledger, int node, uint64_t size,
		     struct stow_pool_change *ret, struct stow_err *err)
{
	_cleanup_(pool_done) struct pool pool;
	uint64_t now, pages;
	int r = take(root, ledger, node, size, &pool, err);

	if (r < 0)
		return r;
	now = stow_pool_persistent(&pool.s.kernel);
	pages = in_use(&pool) + pool.outstanding;
	r = write_pool(&pool, STOW_MIN(pages, now), ret, err);
	return r < 0 ? r : put_added(&pool, STOW_MIN(pool.s.row.added, ret->after), err);
}

/* --- splitting ---------------------------------------------------------------------------- */

static int check_split(const struct pool *pool, uint64_t pages, struct stow_err *err)
{
	uint64_t available = stow_saturating_sub(pool->s.kernel.free, pool->outstanding);
	char size[32], names[512];

	if (pages <= available)
		return 0;
	name_records(pool, names, sizeof(names));
	stow_format_size(pool->s.row.size, size, sizeof(size));
	if (pool->outstanding)
		return stow_err_set(err, EBUSY,
				    "node %d: %" PRIu64 " of its %" PRIu64
				    " free hugepages of %s are "
				    "promised to containers (%s), at most %" PRIu64 " can be split",
				    pool->s.row.node, pool->outstanding, pool->s.kernel.free, size,
				    names, available);
	return stow_err_set(err, EBUSY,
			    "node %d: %" PRIu64 " of its hugepages of %s are free, so that %" PRIu64
			    " cannot be split",
			    pool->s.row.node, available, size, pages);
}

/* Find out what a page of this size is split into. */
static int find_split_size(struct stow_root *root, uint64_t size, uint64_t *ret,
			   struct stow_err *err)
{
	struct stow_hugetlb machine;
	char text[32];

	stow_hugetlb_read(root, size, &machine);
	*ret = machine.split_size;
	if (!*ret || *ret == STOW_UNKNOWN || *ret >= size || size % *ret)
		return stow_err_set(
			err, EOPNOTSUPP,
			"this kernel cannot split hugepages of %s (since 5.16, for sizes "
			"above the smallest)",
			stow_format_size(size, text, sizeof(text)));
	return 0;
}

int stow_pool_may_split(struct stow_root *root, struct stow_ledger *ledger, int node, uint64_t size,
			uint64_t pages, struct stow_err *err)
{
	_cleanup_(pool_done) struct pool pool = { .lock = -EBADF };
	uint64_t small;
	int r = find_split_size(root, size, &small, err);

	if (r == 0)
		r = take(root, ledger, node, size, &pool, err);
	return r < 0 ? r : check_split(&pool, pages, err);
}

int stow_pool_split(struct stow_root *root, struct stow_ledger *ledger, int node, uint64_t size,
		    uint64_t pages, struct stow_pool_change *ret, struct stow_err *err)
{
	_cleanup_(pool_done) struct pool large = { .lock = -EBADF }, small = { .lock = -EBADF };
	struct stow_pool after = { 0 };
	uint64_t small_size;
	int r = find_split_size(root, size, &small_size, err);

	/* In the order in which a drain takes all of a node's locks. */
	if (r == 0)
		r = take(root, ledger, node, small_size, &small, err);
	if (r == 0)
		r = take(root, ledger, node, size, &large, err);
	if (r == 0)
		r = check_split(&large, pages, err);
	if (r < 0)
		return r;
	*ret = (struct stow_pool_change){ .node = node,
					  .size = size,
					  .wanted = pages,
					  .before = stow_pool_persistent(&large.s.kernel),
					  .split_size = small_size };
	r = stow_hugetlb_split(root, node, size, pages, err);
	if (r < 0)
		return r;
	r = stow_pool_read(root, node, size, &large.s.kernel, err);
	if (r == 0)
		r = stow_pool_read(root, node, small_size, &after, err);
	if (r < 0)
		return r;
	ret->after = stow_pool_persistent(&large.s.kernel);
	ret->surplus = large.s.kernel.surplus;
	ret->got = stow_saturating_sub(after.total, small.s.kernel.total);
	return put_added(&large, STOW_MIN(large.s.row.added, ret->after), err);
}

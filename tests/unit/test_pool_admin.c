// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "grant/pool.h"
#include "grant/pool_admin.h"
#include "records.h"
#include "tree.h"

#define M2   (UINT64_C(2) << 20)
#define G1   (UINT64_C(1) << 30)
#define NODE "/sys/devices/system/node/node0"
#define P2   NODE "/hugepages/hugepages-2048kB"
#define P1   NODE "/hugepages/hugepages-1048576kB"

/* A machine with one node: its pools, as the kernel keeps them. */
struct machine {
	struct tree *t;
	struct stow_ledger *ledger;
	struct stow_root_ops ops;
	struct played {
		uint64_t total, used, surplus;
		uint64_t most; /* the kernel finds room for so many */
	} small, large;
	bool compacted, fails;
};

static void show(struct machine *m, const char *dir, const struct played *p)
{
	char path[160];
	const struct {
		const char *file;
		uint64_t value;
	} files[] = { { "nr_hugepages", p->total },
		      { "free_hugepages", p->total - p->used },
		      { "surplus_hugepages", p->surplus } };

	for (size_t i = 0; i < STOW_ARRAY_SIZE(files); i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, files[i].file);
		tree_write(m->t, path, "%lu\n", (unsigned long)files[i].value);
	}
}

/* As set_max_huge_pages() does: pages in use that are too many become surplus. */
static void resize(struct played *p, uint64_t wanted)
{
	uint64_t total = wanted > p->most ? p->most : wanted;

	p->surplus = p->used > total ? p->used - total : 0;
	p->total = total + p->surplus;
}

static void wrote(void *ctx, struct stow_root *root, const char *path, const char *value)
{
	struct machine *m = ctx;
	uint64_t n = strtoull(value, NULL, 10);

	if (strcmp(path, P2 "/nr_hugepages") == 0)
		resize(&m->small, n);
	else if (strcmp(path, P1 "/nr_hugepages") == 0)
		resize(&m->large, n);
	else if (strcmp(path, NODE "/compact") == 0)
		m->small.most += m->compacted ? 0 : 100, m->compacted = true;
	else if (strcmp(path, P1 "/demote") == 0)
		for (; n && m->large.total > m->large.used; n--) {
			m->large.total--;
			m->small.total += 512;
		}
	show(m, P2, &m->small);
	show(m, P1, &m->large);
}

static int before(void *ctx, const char *path, const char *value)
{
	struct machine *m = ctx;

	return m->fails && value && strstr(path, "nr_hugepages") ? -EIO : 0;
}

static struct machine *machine_start(struct played small, struct played large)
{
	struct machine *m = calloc(1, sizeof(*m));

	m->t = tree_new();
	m->small = small;
	m->large = large;
	tree_mkdir(m->t, "/sys/kernel/mm/hugepages/hugepages-2048kB");
	tree_write(m->t, "/sys/kernel/mm/hugepages/hugepages-1048576kB/demote_size", "2048kB\n");
	tree_write(m->t, P1 "/demote", "\n");
	tree_write(m->t, NODE "/compact", "\n");
	show(m, P2, &m->small);
	show(m, P1, &m->large);
	assert_int_equal(stow_ledger_open(m->t->root, true, &m->ledger, NULL), 0);
	m->ops = (struct stow_root_ops){ .ctx = m, .before = before, .wrote = wrote };
	m->t->root->ops = &m->ops;
	return m;
}

static void machine_end(struct machine **m)
{
	if (!*m)
		return;
	(*m)->t->root->ops = NULL;
	stow_ledger_close((*m)->ledger);
	tree_free((*m)->t);
	free(*m);
	*m = NULL;
}

#define _machine_ _cleanup_(machine_end) struct machine *

/* Promise five small pages to a container, of which the kernel counts `used`. */
static void promise(struct machine *m, const char *id, enum stow_state state)
{
	struct stow_record *record = record_new(id, false, "0-1", 0);

	record->state = state;
	assert_int_equal(record_put(m->ledger, record), 0);
	stow_record_free(record);
}

static void add(struct machine *m, uint64_t pages)
{
	struct stow_ledger_pool row = { .node = 0, .size = M2, .added = pages };

	assert_int_equal(stow_ledger_begin(m->ledger, NULL), 0);
	assert_int_equal(stow_ledger_pool_put(m->ledger, &row, NULL), 0);
	assert_int_equal(stow_ledger_commit(m->ledger, NULL), 0);
}

static uint64_t added(struct machine *m)
{
	struct stow_ledger_pool row;

	assert_int_equal(stow_ledger_pool_get(m->ledger, 0, M2, &row, NULL), 0);
	return row.added;
}

static int set(struct machine *m, uint64_t pages, struct stow_pool_change *change,
	       struct stow_err *err)
{
	return stow_pool_set(m->t->root, m->ledger, 0, M2, pages, false, change, err);
}

TEST(a_pool_without_promises_takes_any_number)
{
	_machine_ m = machine_start((struct played){ .total = 8, .used = 3, .most = 64 },
				    (struct played){ 0 });
	struct stow_pool_change change;

	assert_int_equal(set(m, 20, &change, NULL), 0);
	assert_int_equal(change.before, 8);
	assert_int_equal(change.after, 20);
	assert_true(stow_pool_change_is_whole(&change));
	/* Those in use become surplus. */
	assert_int_equal(set(m, 1, &change, NULL), 0);
	assert_int_equal(change.after, 1);
	assert_int_equal(change.surplus, 2);
	assert_true(stow_pool_change_is_whole(&change));
}

TEST(a_partial_change_of_a_pool_is_returned)
{
	_machine_ m = machine_start((struct played){ .most = 50 }, (struct played){ 0 });
	struct stow_pool_change change;

	assert_int_equal(set(m, 80, &change, NULL), 0);
	assert_int_equal(change.after, 50);
	assert_false(stow_pool_change_is_whole(&change));
	assert_int_equal(stow_pool_set(m->t->root, m->ledger, 0, M2, 80, true, &change, NULL), 0);
	assert_true(m->compacted);
	assert_true(stow_pool_change_is_whole(&change));
}

TEST(promised_pages_stay)
{
	_machine_ m = machine_start((struct played){ .total = 10, .used = 3, .most = 64 },
				    (struct played){ 0 });
	struct stow_pool_change change;
	struct stow_err err = { 0 };

	promise(m, "web", STOW_STATE_ACTIVE);
	/* Three are in use, by whomever, and five more may be wanted. */
	assert_int_equal(set(m, 7, &change, &err), -EBUSY);
	assert_non_null(strstr(err.msg, "(web)"));
	assert_non_null(strstr(err.msg, "8 or more"));
	assert_int_equal(m->small.total, 10);
	assert_int_equal(stow_pool_may_set(m->t->root, m->ledger, 0, M2, 7, NULL), -EBUSY);
	assert_int_equal(stow_pool_may_set(m->t->root, m->ledger, 0, M2, 8, NULL), 0);
	assert_int_equal(set(m, 8, &change, NULL), 0);
	assert_int_equal(m->small.total, 8);
	/* A pool that has too few already may grow. */
	m->small.total = 4;
	show(m, P2, &m->small);
	assert_int_equal(set(m, 3, &change, NULL), -EBUSY);
	assert_int_equal(set(m, 5, &change, NULL), 0);
}

TEST(reservations_are_promises)
{
	_machine_ m =
		machine_start((struct played){ .total = 10, .most = 64 }, (struct played){ 0 });
	struct stow_pool_change change;

	promise(m, "later", STOW_STATE_LEASE);
	assert_int_equal(set(m, 4, &change, NULL), -EBUSY);
	assert_int_equal(stow_pool_shrink(m->t->root, m->ledger, 0, M2, &change, NULL), 0);
	assert_int_equal(m->small.total, 5);
	assert_int_equal(change.before, 10);
}

TEST(names_are_few)
{
	_machine_ m =
		machine_start((struct played){ .total = 99, .most = 99 }, (struct played){ 0 });
	struct stow_pool_change change;
	struct stow_err err = { 0 };

	for (int i = 0; i < 7; i++) {
		char id[65];

		snprintf(id, sizeof(id), "%064d", i);
		promise(m, id, STOW_STATE_ACTIVE);
	}
	assert_int_equal(set(m, 0, &change, &err), -EBUSY);
	assert_non_null(strstr(err.msg, "(000000000000, 000000000000"));
	assert_non_null(strstr(err.msg, "and 3 more)"));
}

TEST(a_number_that_was_set_is_the_administrators)
{
	_machine_ m =
		machine_start((struct played){ .total = 5, .most = 64 }, (struct played){ 0 });
	struct stow_pool_change change;

	add(m, 5);
	assert_int_equal(set(m, 12, &change, NULL), 0);
	assert_int_equal(added(m), 0);
	/* Nothing is promised: settling takes nothing away that was set. */
	assert_int_equal(stow_pool_settle(m->t->root, m->ledger, 0, M2, 0, NULL, NULL), 0);
	assert_int_equal(m->small.total, 12);
}

TEST(a_failed_write_keeps_the_ledger)
{
	_machine_ m =
		machine_start((struct played){ .total = 5, .most = 64 }, (struct played){ 0 });
	struct stow_pool_change change;

	add(m, 5);
	m->fails = true;
	assert_int_equal(set(m, 12, &change, NULL), -EIO);
	assert_int_equal(added(m), 5);
}

TEST(the_write_of_a_killed_hook_is_counted_first)
{
	_machine_ m =
		machine_start((struct played){ .total = 9, .most = 64 }, (struct played){ 0 });
	struct stow_ledger_pool row = {
		.node = 0, .size = M2, .writing = true, .before = 4, .target = 9
	};
	struct stow_pool_change change;

	assert_int_equal(stow_ledger_begin(m->ledger, NULL), 0);
	assert_int_equal(stow_ledger_pool_put(m->ledger, &row, NULL), 0);
	assert_int_equal(stow_ledger_commit(m->ledger, NULL), 0);
	assert_int_equal(stow_pool_may_set(m->t->root, m->ledger, 0, M2, 9, NULL), 0);
	assert_int_equal(added(m), 5);
	assert_int_equal(stow_pool_shrink(m->t->root, m->ledger, 0, M2, &change, NULL), 0);
	assert_int_equal(added(m), 0);
}

TEST(splitting_gives_small_pages)
{
	_machine_ m = machine_start((struct played){ .total = 10, .most = 9999 },
				    (struct played){ .total = 3, .used = 1, .most = 3 });
	struct stow_pool_change change;
	struct stow_err err = { 0 };

	assert_int_equal(stow_pool_split(m->t->root, m->ledger, 0, G1, 3, &change, &err), -EBUSY);
	assert_non_null(strstr(err.msg, "2 of its hugepages of 1Gi are free"));
	assert_int_equal(m->large.total, 3);
	assert_int_equal(stow_pool_split(m->t->root, m->ledger, 0, G1, 2, &change, NULL), 0);
	assert_true(stow_pool_change_is_whole(&change));
	assert_int_equal(change.after, 1);
	assert_int_equal(change.got, 1024);
	assert_int_equal(change.split_size, M2);
	/* The smallest cannot be split. */
	assert_int_equal(stow_pool_split(m->t->root, m->ledger, 0, M2, 1, &change, NULL),
			 -EOPNOTSUPP);
}

TEST(promised_large_pages_are_not_split)
{
	_machine_ m = machine_start((struct played){ .most = 9999 },
				    (struct played){ .total = 6, .most = 6 });
	struct stow_record *record = record_new("big", false, "0-1", 0);
	struct stow_pool_change change;
	struct stow_err err = { 0 };

	record->pages[0].size = G1;
	assert_int_equal(record_put(m->ledger, record), 0);
	stow_record_free(record);
	assert_int_equal(stow_pool_split(m->t->root, m->ledger, 0, G1, 2, &change, &err), -EBUSY);
	assert_non_null(strstr(err.msg, "(big)"));
	assert_int_equal(stow_pool_split(m->t->root, m->ledger, 0, G1, 1, &change, NULL), 0);
	assert_int_equal(m->large.total, 5);
}

TEST(a_missing_pool_is_an_error)
{
	_machine_ m = machine_start((struct played){ 0 }, (struct played){ 0 });
	struct stow_pool_change change;

	assert_int_equal(stow_pool_set(m->t->root, m->ledger, 7, M2, 1, false, &change, NULL),
			 -ENOENT);
	assert_int_equal(stow_pool_shrink(m->t->root, m->ledger, 7, M2, &change, NULL), -ENOENT);
}

/* A memory block went offline, and the kernel dissolved the free pages in it. */
TEST(pages_that_went_are_not_taken_from_others)
{
	_cleanup_(machine_end) struct machine *m =
		machine_start((struct played){ 6, 0, 0, 100 }, (struct played){ 0 });
	struct stow_ledger_pool row = { .node = 0, .size = M2, .added = 4 };
	struct stow_err err;

	assert_int_equal(stow_ledger_begin(m->ledger, &err), 0);
	assert_int_equal(
		stow_ledger_end(m->ledger, stow_ledger_pool_put(m->ledger, &row, &err), &err), 0);
	m->small.total = 1;
	show(m, P2, &m->small);
	assert_int_equal(stow_pool_settle_all(m->t->root, m->ledger, &err), 0);
	assert_int_equal(m->small.total, 0);
	/* An administrator's. */
	m->small.total = 8;
	show(m, P2, &m->small);
	assert_int_equal(stow_pool_settle_all(m->t->root, m->ledger, &err), 0);
	assert_int_equal(m->small.total, 8);
	assert_int_equal(stow_ledger_pool_get(m->ledger, 0, M2, &row, &err), 0);
	assert_int_equal(row.added, 0);
}

// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include <stdio.h>

#include "base/cleanup.h"
#include "ledger/ledger.h"
#include "tree.h"

static struct stow_record *record_new(const char *id, bool exclusive, const char *cpus, int node)
{
	struct stow_record *rec = calloc(1, sizeof(*rec));

	rec->id = strdup(id);
	rec->state = STOW_STATE_ACTIVE;
	rec->exclusive = exclusive;
	stow_idset_parse(cpus, &rec->cpus, NULL);
	rec->base = rec->cpus;
	stow_idset_add(&rec->nodes, node);
	rec->n_pages = 1;
	rec->pages[0] = (struct stow_page_request){ .size = 2 << 20, .count = 5 };
	rec->shares = calloc(1, sizeof(*rec->shares));
	rec->n_shares = 1;
	rec->shares[0] = (struct stow_share){ .node = node,
					      .cpus = (uint32_t)stow_idset_count(&rec->cpus),
					      .memory = 1 << 30,
					      .pages = { 5 } };
	return rec;
}

static int put(struct stow_ledger *l, struct stow_record *rec)
{
	int r;

	assert_int_equal(stow_ledger_begin(l, NULL), 0);
	r = stow_ledger_insert(l, rec, NULL);
	if (r < 0)
		stow_ledger_rollback(l);
	else
		assert_int_equal(stow_ledger_commit(l, NULL), 0);
	return r;
}

static void no_ledger_is_no_error_to_guess_about(void **state)
{
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();
	struct stow_ledger *l;

	assert_int_equal(stow_ledger_open(t->root, false, &l, NULL), -ENOENT);
	assert_int_equal(stow_root_exists(t->root, "%s", STOW_RUN_DIR), 0);
}

static void records_come_back_as_they_went_in(void **state)
{
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();
	_cleanup_(stow_ledger_close_ptr) struct stow_ledger *l = NULL;
	struct stow_record *rec = record_new("a", false, "0-3", 1), **all, *back;
	size_t n;

	rec->init = (struct stow_life){ .pid = 7, .start = UINT64_C(1) << 60 };
	rec->cgroup = strdup("/x/y");
	rec->saved = strdup("cpuset.cpus=\n");
	rec->inode = 99;
	assert_int_equal(stow_ledger_open(t->root, true, &l, NULL), 0);
	assert_int_equal(put(l, rec), 0);
	assert_int_equal(stow_ledger_records(l, "a", &all, &n, NULL), 0);
	assert_int_equal(n, 1);
	back = all[0];
	assert_int_equal(back->key, rec->key);
	assert_true(back->init.start == rec->init.start && back->init.pid == 7);
	assert_string_equal(back->cgroup, "/x/y");
	assert_string_equal(back->saved, "cpuset.cpus=\n");
	assert_true(stow_idset_equal(&back->cpus, &rec->cpus));
	assert_int_equal(back->n_shares, 1);
	assert_int_equal(back->shares[0].memory, 1 << 30);
	assert_int_equal(back->shares[0].pages[0], 5);
	assert_int_equal(back->pages[0].count, 5);
	stow_records_free(all, n);
	assert_int_equal(stow_ledger_records(l, "b", &all, &n, NULL), 0);
	assert_int_equal(n, 0);
	stow_records_free(all, n);
	stow_record_free(rec);
}

static void an_exclusive_cpu_cannot_be_given_twice(void **state)
{
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();
	_cleanup_(stow_ledger_close_ptr) struct stow_ledger *l = NULL;
	struct stow_record *a = record_new("a", true, "2-3", 0),
			   *b = record_new("b", true, "3-4", 0);
	struct stow_record **all;
	struct stow_idset cpus;
	size_t n;

	assert_int_equal(stow_ledger_open(t->root, true, &l, NULL), 0);
	assert_int_equal(put(l, a), 0);
	assert_int_equal(put(l, b), -EEXIST);
	assert_int_equal(stow_ledger_exclusive(l, &cpus, NULL), 0);
	assert_int_equal(stow_idset_count(&cpus), 2);
	assert_int_equal(stow_ledger_records(l, NULL, &all, &n, NULL), 0);
	assert_int_equal(n, 1); /* nothing of b stayed */
	stow_records_free(all, n);
	assert_int_equal(stow_ledger_begin(l, NULL), 0);
	assert_int_equal(stow_ledger_delete(l, a->key, NULL), 1);
	assert_int_equal(stow_ledger_delete(l, a->key, NULL), 0);
	assert_int_equal(stow_ledger_commit(l, NULL), 0);
	assert_int_equal(put(l, b), 0);
	stow_record_free(a);
	stow_record_free(b);
}

static void usage_adds_up(void **state)
{
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();
	_cleanup_(stow_ledger_close_ptr) struct stow_ledger *l = NULL;
	_cleanup_(stow_usage_free_ptr) struct stow_usage *usage = NULL;
	struct stow_record *a = record_new("a", true, "2-3", 0),
			   *b = record_new("b", false, "0-1", 0);
	struct stow_record *c = record_new("c", false, "0-1", 0),
			   *d = record_new("d", false, "8", 2);
	struct stow_caps caps;

	d->shares[0].cpus = 0; /* asked for no number of CPUs: one is kept for it */
	a->ns = strdup("team");
	assert_int_equal(stow_ledger_open(t->root, true, &l, NULL), 0);
	assert_int_equal(put(l, a) + put(l, b) + put(l, c) + put(l, d), 0);
	assert_int_equal(stow_ledger_usage(l, &usage, NULL), 0);
	assert_int_equal(usage->n_nodes, 2);
	for (size_t i = 0; i < usage->n_nodes; i++) {
		const struct stow_node_usage *node = &usage->nodes[i];

		assert_int_equal(node->shared_cpus, node->id == 0 ? 4 : 1);
		assert_int_equal(node->memory >> 30, node->id == 0 ? 3 : 1);
		assert_int_equal(node->pools[0].promised, node->id == 0 ? 15 : 5);
	}
	assert_int_equal(stow_ledger_namespace(l, "team", &caps, NULL), 0);
	assert_int_equal(caps.cpus, 2);
	assert_int_equal(caps.memory, 1 << 30);
	assert_int_equal(caps.hugepages, 5 << 21);
	stow_record_free(a);
	stow_record_free(b);
	stow_record_free(c);
	stow_record_free(d);
}

static void pools_with_nothing_added_are_forgotten(void **state)
{
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();
	_cleanup_(stow_ledger_close_ptr) struct stow_ledger *l = NULL;
	struct stow_ledger_pool pool = {
		.node = 1, .size = 2 << 20, .added = 7, .writing = true, .before = 3, .target = 10
	};
	struct stow_ledger_pool back, *all;
	size_t n;

	assert_int_equal(stow_ledger_open(t->root, true, &l, NULL), 0);
	assert_int_equal(stow_ledger_pool_put(l, &pool, NULL), 0);
	assert_int_equal(stow_ledger_pool_get(l, 1, 2 << 20, &back, NULL), 0);
	assert_true(back.writing);
	assert_int_equal(back.added, 7);
	assert_int_equal(back.before, 3);
	assert_int_equal(back.target, 10);
	pool.added = 0;
	pool.writing = false;
	assert_int_equal(stow_ledger_pool_put(l, &pool, NULL), 0);
	assert_int_equal(stow_ledger_pools(l, &all, &n, NULL), 0);
	assert_int_equal(n, 0);
	free(all);
}

static void history_keeps_the_newest(void **state)
{
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();
	_cleanup_(stow_ledger_close_ptr) struct stow_ledger *l = NULL;
	struct stow_event *events;
	char text[32];
	size_t n;

	assert_int_equal(stow_ledger_open(t->root, true, &l, NULL), 0);
	assert_int_equal(stow_ledger_begin(l, NULL), 0);
	for (int i = 0; i < STOW_EVENTS_KEPT + 50; i++) {
		snprintf(text, sizeof(text), "%d", i);
		assert_int_equal(stow_ledger_event(l, "refused", i % 2 ? "odd" : "even", NULL, text,
						   NULL),
				 0);
	}
	assert_int_equal(stow_ledger_commit(l, NULL), 0);
	assert_int_equal(stow_ledger_events(l, NULL, SIZE_MAX / 4, &events, &n, NULL), 0);
	assert_int_equal(n, STOW_EVENTS_KEPT);
	assert_string_equal(events[0].text, "50");
	stow_events_free(events, n);
	assert_int_equal(stow_ledger_events(l, "odd", 2, &events, &n, NULL), 0);
	assert_int_equal(n, 2);
	assert_string_equal(events[1].text, "10049");
	stow_events_free(events, n);
}

static void a_damaged_ledger_is_told_and_set_aside(void **state)
{
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();
	_cleanup_(stow_ledger_close_ptr) struct stow_ledger *l = NULL;
	struct stow_err err = { 0 };
	char name[512];

	tree_write(t, STOW_LEDGER_PATH,
		   "this is no database, it only has its name, and its length\n");
	assert_int_equal(stow_ledger_open(t->root, true, &l, &err), -EUCLEAN);
	assert_non_null(strstr(err.msg, "numastow gc --rebuild"));
	assert_int_equal(stow_ledger_set_aside(t->root, name, sizeof(name), NULL), 0);
	assert_int_equal(stow_ledger_open(t->root, true, &l, &err), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_ledger_is_no_error_to_guess_about),
		cmocka_unit_test(records_come_back_as_they_went_in),
		cmocka_unit_test(an_exclusive_cpu_cannot_be_given_twice),
		cmocka_unit_test(usage_adds_up),
		cmocka_unit_test(pools_with_nothing_added_are_forgotten),
		cmocka_unit_test(history_keeps_the_newest),
		cmocka_unit_test(a_damaged_ledger_is_told_and_set_aside),
	};

	return cmocka_run_group_tests_name("ledger", tests, NULL, NULL);
}

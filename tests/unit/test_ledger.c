// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include <stdio.h>

#include "base/cleanup.h"
#include "ledger/ledger.h"
#include "records.h"
#include "tree.h"

static void set_cgroup(struct stow_record *rec, enum stow_controller controller, int version,
		       const char *path, uint64_t inode)
{
	free(rec->cgroup.at[controller].path);
	rec->cgroup.at[controller].version = version;
	rec->cgroup.at[controller].path = path ? strdup(path) : NULL;
	rec->cgroup.at[controller].inode = inode;
}

static void save(struct stow_record *rec, enum stow_controller controller, const char *attribute,
		 const char *value)
{
	rec->saved = reallocarray(rec->saved, rec->n_saved + 1, sizeof(*rec->saved));
	rec->saved[rec->n_saved++] = (struct stow_saved){ .controller = controller,
							  .attribute = strdup(attribute),
							  .value = strdup(value) };
}

/* A record with something else in every field. */
static struct stow_record *full_record(void)
{
	struct stow_record *rec = record_new("abc", true, "2-3,70", 1);
	struct stow_given given;

	rec->state = STOW_STATE_PENDING;
	rec->kind = STOW_LEASE_MEMBER;
	rec->pod = strdup("web-1");
	rec->ns = strdup("team");
	rec->name = strdup("dpdk");
	rec->init = (struct stow_pidref){ .pid = 7, .start = UINT64_C(1) << 63 };
	rec->worker = (struct stow_pidref){ .pid = 8, .start = 81 };
	set_cgroup(rec, STOW_CGROUP_CPUSET, 2, "/a b/'c'", UINT64_MAX);
	set_cgroup(rec, STOW_CGROUP_HUGETLB, 1, "/kubepods", 12);
	set_cgroup(rec, STOW_CGROUP_MEMORY, 0, NULL, 0);
	rec->created = 101;
	rec->expires = 102;
	rec->isolated = true;
	stow_idset_parse("0-7", &given.cpus, NULL);
	stow_idset_parse("0-1", &given.mems, NULL);
	assert_int_equal(stow_record_give(rec, &given.cpus, &given.mems), 0);
	rec->request = strdup("cpus=3");
	rec->digest = strdup("d1");
	rec->reason = strdup("it fits");
	rec->reservation = strdup("r1");
	rec->drain = STOW_DRAIN_MODE_EVICT;
	rec->n_pages = 2;
	rec->pages[1] = (struct stow_page_request){ .size = 1 << 30, .count = 3 };
	rec->shares = reallocarray(rec->shares, 2, sizeof(*rec->shares));
	rec->n_shares = 2;
	rec->shares[1] = (struct stow_share){
		.node = 3, .cpus = 1, .memory = UINT64_C(1) << 40, .pages = { 0, 3 }
	};
	save(rec, STOW_CGROUP_MEMORY, "memory.max", "max\n");
	save(rec, STOW_CGROUP_HUGETLB, "hugetlb.2MB.max", "0\n");
	save(rec, STOW_CGROUP_CPUSET, "cpuset.cpus.partition", "");
	return rec;
}

static void same_shares(const struct stow_share *a, size_t n_a, const struct stow_share *b,
			size_t n_b)
{
	assert_int_equal(n_a, n_b);
	for (size_t i = 0; i < n_a; i++) {
		assert_int_equal(a[i].node, b[i].node);
		assert_int_equal(a[i].cpus, b[i].cpus);
		assert_true(a[i].memory == b[i].memory);
		assert_memory_equal(a[i].pages, b[i].pages, sizeof(a[i].pages));
	}
}

static void same_text(const char *a, const char *b)
{
	assert_string_equal(a ? a : "", b);
}

/* That `b` is `a` as it comes out of the ledger: with "" for NULL. */
static void same_record(const struct stow_record *a, const struct stow_record *b)
{
	assert_int_equal(a->key, b->key);
	assert_int_equal(a->state, b->state);
	assert_int_equal(a->kind, b->kind);
	same_text(a->id, b->id);
	same_text(a->pod, b->pod);
	same_text(a->ns, b->ns);
	same_text(a->name, b->name);
	assert_true(a->init.pid == b->init.pid && a->init.start == b->init.start);
	assert_true(a->worker.pid == b->worker.pid && a->worker.start == b->worker.start);
	for (int i = 0; i < STOW_CGROUP_CONTROLLERS; i++) {
		assert_int_equal(a->cgroup.at[i].version, b->cgroup.at[i].version);
		assert_true(a->cgroup.at[i].inode == b->cgroup.at[i].inode);
		assert_true(!a->cgroup.at[i].path == !b->cgroup.at[i].path);
		if (a->cgroup.at[i].path)
			assert_string_equal(a->cgroup.at[i].path, b->cgroup.at[i].path);
	}
	assert_true(a->created == b->created && a->expires == b->expires);
	assert_true(a->exclusive == b->exclusive && a->isolated == b->isolated);
	assert_true(stow_idset_equal(&a->cpus, &b->cpus));
	assert_true(stow_idset_equal(&a->nodes, &b->nodes));
	assert_true(stow_idset_equal(stow_record_given_cpus(a), stow_record_given_cpus(b)));
	assert_true(stow_idset_equal(stow_record_given_mems(a), stow_record_given_mems(b)));
	same_text(a->request, b->request);
	same_text(a->digest, b->digest);
	same_text(a->reason, b->reason);
	same_text(a->reservation, b->reservation);
	assert_int_equal(a->drain, b->drain);
	assert_int_equal(a->n_pages, b->n_pages);
	for (size_t i = 0; i < a->n_pages; i++)
		assert_true(a->pages[i].size == b->pages[i].size &&
			    a->pages[i].count == b->pages[i].count);
	same_shares(a->shares, a->n_shares, b->shares, b->n_shares);
	assert_int_equal(a->n_saved, b->n_saved);
	for (size_t i = 0; i < a->n_saved; i++) {
		assert_int_equal(a->saved[i].controller, b->saved[i].controller);
		assert_string_equal(a->saved[i].attribute, b->saved[i].attribute);
		assert_string_equal(a->saved[i].value, b->saved[i].value);
	}
}

static struct stow_record *get(struct stow_ledger *l, int64_t key)
{
	struct stow_record *rec;

	assert_int_equal(stow_ledger_record(l, key, &rec, NULL), 0);
	return rec;
}

/* Ends a transaction as every caller does; what was counted is the answer. */
static int end(struct stow_ledger *l, int r)
{
	int ended = stow_ledger_end(l, r, NULL);

	return ended < 0 ? ended : r;
}

TEST(records_come_back_as_they_went_in)
{
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();
	_cleanup_(stow_ledger_close_ptr) struct stow_ledger *l = NULL;
	_cleanup_(stow_record_free_ptr) struct stow_record *full = full_record(),
							   *plain =
								   record_new("b", false, "0-3", 0);
	struct stow_record **all;
	size_t n;

	for (int i = 0; i < STOW_CGROUP_CONTROLLERS; i++) /* as on v2: the three are one */
		set_cgroup(plain, (enum stow_controller)i, 2, "/x/y", 99);
	assert_int_equal(stow_ledger_open(t->root, true, &l, NULL), 0);
	assert_int_equal(record_put(l, full), 0);
	assert_int_equal(record_put(l, plain), 0);
	assert_true(plain->key > full->key);
	assert_int_equal(stow_ledger_records(l, NULL, &all, &n, NULL), 0);
	assert_int_equal(n, 2);
	same_record(full, all[0]);
	same_record(plain, all[1]);
	stow_records_free(all, n);
	assert_int_equal(stow_ledger_records(l, "b", &all, &n, NULL), 0);
	assert_int_equal(n, 1);
	same_record(plain, all[0]);
	stow_records_free(all, n);
	assert_int_equal(stow_ledger_records(l, "c", &all, &n, NULL), 0);
	assert_int_equal(n, 0);
	stow_records_free(all, n);
	assert_int_equal(stow_ledger_pool_records(l, 3, 1 << 30, &all, &n, NULL), 0);
	assert_int_equal(n, 1);
	same_record(full, all[0]);
	stow_records_free(all, n);
}

TEST(update_replaces_what_was_there_and_keeps_the_key)
{
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();
	_cleanup_(stow_ledger_close_ptr) struct stow_ledger *l = NULL;
	_cleanup_(stow_record_free_ptr) struct stow_record *rec = full_record(),
							   *other = record_new("b", true, "9", 0);
	struct stow_record *back;

	assert_int_equal(stow_ledger_open(t->root, true, &l, NULL), 0);
	assert_int_equal(record_put(l, rec), 0);
	assert_int_equal(record_put(l, other), 0);
	rec->state = STOW_STATE_ACTIVE;
	rec->n_shares = 1;
	rec->shares[0].node = 2;
	rec->n_pages = 1;
	rec->pages[0] = (struct stow_page_request){ .size = 1 << 30, .count = 1 };
	rec->shares[0].pages[0] = 1;
	rec->shares[0].pages[1] = 0;
	stow_idset_parse("3-4", &rec->cpus, NULL);
	free(rec->saved[2].attribute);
	free(rec->saved[2].value);
	rec->n_saved = 2;
	set_cgroup(rec, STOW_CGROUP_MEMORY, 2, "/now", 5);
	assert_int_equal(stow_ledger_begin(l, NULL), 0);
	assert_int_equal(end(l, stow_ledger_update(l, rec, NULL)), 0);
	back = get(l, rec->key);
	same_record(rec, back);
	stow_record_free(back);

	stow_idset_add(&rec->cpus, 9); /* is the other's */
	assert_int_equal(stow_ledger_begin(l, NULL), 0);
	assert_int_equal(end(l, stow_ledger_update(l, rec, NULL)), -EEXIST);
	stow_idset_del(&rec->cpus, 9);
	back = get(l, rec->key);
	same_record(rec, back);
	stow_record_free(back);

	assert_int_equal(stow_ledger_begin(l, NULL), 0);
	assert_int_equal(stow_ledger_delete(l, rec->key, NULL), 1);
	assert_int_equal(end(l, stow_ledger_update(l, rec, NULL)), -ENOENT);
	rec->key = 4711;
	assert_int_equal(stow_ledger_begin(l, NULL), 0);
	assert_int_equal(end(l, stow_ledger_activate(l, rec->key, NULL)), -ENOENT);
}

TEST(keys_are_never_used_again)
{
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();
	_cleanup_(stow_ledger_close_ptr) struct stow_ledger *l = NULL;
	_cleanup_(stow_record_free_ptr) struct stow_record *rec = full_record();
	int64_t first;

	assert_int_equal(stow_ledger_open(t->root, true, &l, NULL), 0);
	assert_int_equal(record_put(l, rec), 0);
	first = rec->key;
	assert_int_equal(stow_ledger_begin(l, NULL), 0);
	assert_int_equal(end(l, stow_ledger_delete(l, first, NULL)), 1);
	assert_int_equal(record_put(l, rec), 0);
	assert_true(rec->key > first);
}

TEST(what_makes_no_sense_is_refused)
{
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();
	_cleanup_(stow_ledger_close_ptr) struct stow_ledger *l = NULL;
	_cleanup_(stow_record_free_ptr) struct stow_record *rec = record_new("a", false, "1", 0);

	assert_int_equal(stow_ledger_open(t->root, true, &l, NULL), 0);
	rec->isolated = true;
	assert_int_equal(record_put(l, rec), -EINVAL);
	rec->isolated = false;
	rec->id[0] = '\0';
	assert_int_equal(record_put(l, rec), -EINVAL);
	rec->id[0] = 'a';
	rec->state = STOW_STATE_LEASE;
	rec->init.pid = 1;
	assert_int_equal(record_put(l, rec), -EINVAL);
	rec->state = STOW_STATE_ACTIVE;
	set_cgroup(rec, STOW_CGROUP_MEMORY, 2, NULL, 5);
	assert_int_equal(record_put(l, rec), -EINVAL);
	set_cgroup(rec, STOW_CGROUP_MEMORY, 0, NULL, 0);
	save(rec, STOW_CGROUP_MEMORY, "memory.max", "1");
	save(rec, STOW_CGROUP_MEMORY, "memory.max", "2");
	assert_int_equal(record_put(l, rec), -EINVAL);
	free(rec->saved[1].attribute);
	free(rec->saved[1].value);
	rec->n_saved = 1;
	rec->n_pages = 0; /* but the share has pages */
	assert_int_equal(record_put(l, rec), -EINVAL);
	rec->n_pages = 1;
	assert_int_equal(record_put(l, rec), 0);
}

TEST(leases_are_found_by_what_they_wait_for)
{
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();
	_cleanup_(stow_ledger_close_ptr) struct stow_ledger *l = NULL;
	_cleanup_(stow_record_free_ptr) struct stow_record *member = record_new("", true, "2", 0),
							   *held = record_new("", true, "3", 0);
	struct stow_record *back;

	member->state = held->state = STOW_STATE_LEASE;
	member->kind = STOW_LEASE_MEMBER;
	member->pod = strdup("p");
	member->name = strdup("n");
	held->kind = STOW_LEASE_RESERVATION;
	held->reservation = strdup("r");
	assert_int_equal(stow_ledger_open(t->root, true, &l, NULL), 0);
	assert_int_equal(record_put(l, member) + record_put(l, held), 0);
	assert_int_equal(stow_ledger_member(l, "p", "n", &back, NULL), 0);
	assert_int_equal(back->key, member->key);
	stow_record_free(back);
	assert_int_equal(stow_ledger_member(l, "n", "p", &back, NULL), 0);
	assert_null(back);
	assert_int_equal(stow_ledger_reservation(l, "r", &back, NULL), 0);
	assert_int_equal(back->key, held->key);
	stow_record_free(back);
	assert_int_equal(stow_ledger_reservation(l, "", &back, NULL), 0);
	assert_null(back);
	member->state = STOW_STATE_ACTIVE; /* its container has come */
	free(member->id);
	member->id = strdup("abc");
	assert_int_equal(stow_ledger_begin(l, NULL), 0);
	assert_int_equal(end(l, stow_ledger_update(l, member, NULL)), 0);
	assert_int_equal(stow_ledger_member(l, "p", "n", &back, NULL), 0);
	assert_null(back);
}

/* --- repins ------------------------------------------------------------------------------------- */

static int move_begin(struct stow_ledger *l, int64_t key, const char *cpus, int node)
{
	struct stow_share share = { .node = node, .cpus = 2, .memory = 1 << 29, .pages = { 4 } };
	struct stow_move move = { .worker = { .pid = 5, .start = 6 },
				  .reason = (char *)"node 0 is drained",
				  .shares = &share,
				  .n_shares = 1 };

	stow_idset_parse(cpus, &move.cpus, NULL);
	stow_idset_add(&move.nodes, node);
	assert_int_equal(stow_ledger_begin(l, NULL), 0);
	return end(l, stow_ledger_move_begin(l, key, &move, NULL));
}

static int move_end(struct stow_ledger *l, int64_t key, bool arrived)
{
	assert_int_equal(stow_ledger_begin(l, NULL), 0);
	return end(l, stow_ledger_move_end(l, key, arrived, NULL));
}

TEST(a_repin_is_part_of_its_record)
{
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();
	_cleanup_(stow_ledger_close_ptr) struct stow_ledger *l = NULL;
	_cleanup_(stow_record_free_ptr) struct stow_record *a = record_new("a", true, "2-3", 0),
							   *b = record_new("b", true, "6", 0);
	struct stow_pidref heir = { .pid = 50, .start = 60 };
	struct stow_record *back;

	assert_int_equal(stow_ledger_open(t->root, true, &l, NULL), 0);
	assert_int_equal(record_put(l, a) + record_put(l, b), 0);
	assert_int_equal(move_begin(l, 4711, "10-11", 1), -ENOENT);
	assert_int_equal(move_begin(l, a->key, "6-7", 1), -EEXIST); /* another container's */
	assert_int_equal(move_begin(l, a->key, "3-4", 1), -EEXIST); /* its own */
	assert_int_equal(move_begin(l, a->key, "10-11", 1), 0);
	assert_int_equal(move_begin(l, a->key, "12-13", 1), -EBUSY);
	assert_int_equal(move_begin(l, b->key, "11-12", 1), -EEXIST); /* the target's */
	exclusive_is(l, "2-3,6,10-11");
	b->exclusive = true;
	stow_idset_add(&b->cpus, 10); /* a new grant, neither */
	assert_int_equal(record_put(l, b), -EEXIST);

	assert_int_equal(stow_ledger_begin(l, NULL), 0);
	assert_int_equal(stow_ledger_move_step(l, a->key, STOW_MOVE_WIDENED, NULL), 0);
	assert_int_equal(stow_ledger_move_step(l, b->key, STOW_MOVE_WIDENED, NULL), -ENOENT);
	assert_int_equal(stow_ledger_move_adopt(l, b->key, &heir, NULL), -ENOENT);
	assert_int_equal(end(l, stow_ledger_move_adopt(l, a->key, &heir, NULL)), 0);
	back = get(l, a->key);
	same_record(a, back);
	assert_int_equal(back->move->step, STOW_MOVE_WIDENED);
	assert_int_equal(back->move->worker.pid, 50);
	assert_int_equal(back->move->worker.start, 60);
	assert_string_equal(back->move->reason, "node 0 is drained");
	assert_int_equal(stow_idset_count(&back->move->cpus), 2);
	assert_true(stow_idset_has(&back->move->cpus, 10));
	assert_true(stow_idset_has(&back->move->nodes, 1));
	assert_int_equal(back->move->n_shares, 1);
	assert_int_equal(back->move->shares[0].node, 1);
	assert_int_equal(back->move->shares[0].pages[0], 4);
	stow_record_free(back);

	/* What the container itself has changes meanwhile; the repin stays. */
	a->state = STOW_STATE_PENDING;
	assert_int_equal(stow_ledger_begin(l, NULL), 0);
	assert_int_equal(end(l, stow_ledger_update(l, a, NULL)), 0);
	back = get(l, a->key);
	same_record(a, back);
	assert_int_equal(back->move->n_shares, 1);
	stow_record_free(back);
}

TEST(usage_with_a_repin_has_both_places)
{
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();
	_cleanup_(stow_ledger_close_ptr) struct stow_ledger *l = NULL;
	_cleanup_(stow_usage_free_ptr) struct stow_usage *usage = NULL;
	_cleanup_(stow_record_free_ptr) struct stow_record *a = record_new("a", false, "2-3", 0);
	struct stow_record **all;
	struct stow_caps caps;
	uint64_t pages;
	size_t n;

	a->ns = strdup("team");
	assert_int_equal(stow_ledger_open(t->root, true, &l, NULL), 0);
	assert_int_equal(record_put(l, a), 0);
	assert_int_equal(move_begin(l, a->key, "", 1), 0);
	assert_int_equal(stow_ledger_usage(l, &usage, NULL), 0);
	assert_int_equal(usage->n_nodes, 2);
	for (size_t i = 0; i < 2; i++) {
		const struct stow_node_usage *node = &usage->nodes[i];

		assert_int_equal(node->shared_cpus, 2);
		assert_int_equal(node->memory, node->id == 0 ? 1 << 30 : 1 << 29);
		assert_int_equal(node->pools[0].promised, node->id == 0 ? 5 : 4);
	}
	assert_int_equal(stow_ledger_pool_promised(l, 1, 2 << 20, &pages, NULL), 0);
	assert_int_equal(pages, 4);
	assert_int_equal(stow_ledger_pool_records(l, 1, 2 << 20, &all, &n, NULL), 0);
	assert_int_equal(n, 1);
	stow_records_free(all, n);
	/* A container does not hit its namespace's cap by being moved. */
	assert_int_equal(stow_ledger_namespace(l, "team", &caps, NULL), 0);
	assert_int_equal(caps.cpus, 2);
	assert_int_equal(caps.memory, 1 << 30);
	assert_int_equal(caps.hugepages, 5 << 21);
}

TEST(a_repin_ends_both_ways)
{
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();
	_cleanup_(stow_ledger_close_ptr) struct stow_ledger *l = NULL;
	_cleanup_(stow_record_free_ptr) struct stow_record *a = record_new("a", true, "2-3", 0),
							   *b = record_new("b", false, "0", 0);
	struct stow_record *back;
	uint64_t pages;

	assert_int_equal(stow_ledger_open(t->root, true, &l, NULL), 0);
	assert_int_equal(record_put(l, a) + record_put(l, b), 0);
	assert_int_equal(move_end(l, a->key, true), 0);
	assert_int_equal(move_begin(l, a->key, "10-11", 1), 0);
	assert_int_equal(move_end(l, a->key, false), 1);
	back = get(l, a->key);
	same_record(a, back);
	assert_null(back->move);
	stow_record_free(back);
	exclusive_is(l, "2-3");
	assert_int_equal(stow_ledger_pool_promised(l, 1, 2 << 20, &pages, NULL), 0);
	assert_int_equal(pages, 0);

	assert_int_equal(move_begin(l, a->key, "10-11", 1), 0);
	assert_int_equal(move_begin(l, b->key, "20-21", 1), 0);
	assert_int_equal(move_end(l, a->key, true), 1);
	assert_int_equal(move_end(l, a->key, true), 0);
	exclusive_is(l, "10-11");
	back = get(l, a->key);
	assert_null(back->move);
	assert_true(stow_idset_has(&back->cpus, 10) && !stow_idset_has(&back->cpus, 2));
	assert_true(stow_idset_has(&back->nodes, 1) && !stow_idset_has(&back->nodes, 0));
	assert_string_equal(back->reason, "node 0 is drained");
	assert_int_equal(back->n_shares, 1);
	assert_int_equal(back->shares[0].node, 1);
	assert_int_equal(back->shares[0].memory, 1 << 29);
	assert_int_equal(back->shares[0].pages[0], 4);
	assert_int_equal(back->pages[0].count, 4);
	stow_record_free(back);
	assert_int_equal(move_end(l, b->key, true), 1);
	back = get(l, b->key);
	assert_int_equal(stow_idset_count(&back->cpus), 2);
	assert_true(stow_idset_has(&back->cpus, 20));
	stow_record_free(back);

	assert_int_equal(move_begin(l, a->key, "2-3", 0), 0);
	assert_int_equal(stow_ledger_begin(l, NULL), 0);
	assert_int_equal(end(l, stow_ledger_delete(l, a->key, NULL)), 1);
	exclusive_is(l, "");
	assert_int_equal(stow_ledger_pool_promised(l, 0, 2 << 20, &pages, NULL), 0);
	assert_int_equal(pages, 0);
}

TEST(an_exclusive_cpu_cannot_be_given_twice)
{
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();
	_cleanup_(stow_ledger_close_ptr) struct stow_ledger *l = NULL;
	struct stow_record *a = record_new("a", true, "2-3", 0),
			   *b = record_new("b", true, "3-4", 0);
	struct stow_record **all;
	struct stow_idset cpus;
	size_t n;

	assert_int_equal(stow_ledger_open(t->root, true, &l, NULL), 0);
	assert_int_equal(record_put(l, a), 0);
	assert_int_equal(record_put(l, b), -EEXIST);
	assert_int_equal(stow_ledger_exclusive(l, &cpus, NULL), 0);
	assert_int_equal(stow_idset_count(&cpus), 2);
	assert_int_equal(stow_ledger_records(l, NULL, &all, &n, NULL), 0);
	assert_int_equal(n, 1); /* nothing of b stayed */
	stow_records_free(all, n);
	assert_int_equal(stow_ledger_begin(l, NULL), 0);
	assert_int_equal(stow_ledger_delete(l, a->key, NULL), 1);
	assert_int_equal(stow_ledger_delete(l, a->key, NULL), 0);
	assert_int_equal(stow_ledger_commit(l, NULL), 0);
	assert_int_equal(record_put(l, b), 0);
	stow_record_free(a);
	stow_record_free(b);
}

TEST(usage_adds_up)
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
	assert_int_equal(record_put(l, a) + record_put(l, b) + record_put(l, c) + record_put(l, d),
			 0);
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

TEST(pools_with_nothing_added_are_forgotten)
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

TEST(history_keeps_the_newest)
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

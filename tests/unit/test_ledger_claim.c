// SPDX-License-Identifier: Apache-2.0
/* Claims in the ledger: shares, and the containers that hold them. */
#include "unit.h"

#include "base/cleanup.h"
#include "ledger/ledger.h"
#include "records.h"
#include "tree.h"

#define UID	"11111111-2222-4333-8444-555555555555"
#define FIRST	"aaaaaaaa-0000-4000-8000-000000000001"
#define SECOND	"aaaaaaaa-0000-4000-8000-000000000002"
#define OTHER	"66666666-2222-4333-8444-555555555555"
#define THIRD	"aaaaaaaa-0000-4000-8000-000000000003"
#define GIB	(UINT64_C(1) << 30)
#define TWO_MIB (UINT64_C(1) << 21)

struct setup {
	struct tree *t;
	struct stow_ledger *ledger;
};

static int set_up(void **state)
{
	struct setup *s = calloc(1, sizeof(*s));

	s->t = tree_new();
	tree_mkdir(s->t, "/run");
	assert_int_equal(stow_ledger_open(s->t->root, true, &s->ledger, NULL), 0);
	*state = s;
	return 0;
}

static int tear_down(void **state)
{
	struct setup *s = *state;

	stow_ledger_close(s->ledger);
	tree_free(s->t);
	free(s);
	return 0;
}

#define WITH_SETUP(name) TEST_WITH(name, struct setup *s, set_up, tear_down)

/* A share of a claim with 1 GiB and five pages of 2 MiB on `node`; `cpus` "": shared ones. Return
 * its key. */
static int64_t share_of(struct setup *s, const char *uid, const char *id, int node,
			const char *cpus)
{
	_cleanup_(stow_record_free_ptr) struct stow_record *rec = record_new("", *cpus, cpus, node);

	rec->state = STOW_STATE_LEASE;
	rec->kind = STOW_LEASE_CLAIM;
	rec->ns = strdup("team");
	rec->name = strdup("db");
	rec->claim = calloc(1, sizeof(*rec->claim));
	rec->claim->uid = strdup(uid);
	rec->claim->share = strdup(id);
	rec->claim->part = strdup("main");
	assert_int_equal(record_put(s->ledger, rec), 0);
	return rec->key;
}

static int64_t share(struct setup *s, const char *id, int node, const char *cpus)
{
	return share_of(s, UID, id, node, cpus);
}

static int64_t container(struct setup *s, const char *id)
{
	_cleanup_(stow_record_free_ptr) struct stow_record *rec = record_new(id, false, "", 0);

	rec->kind = STOW_LEASE_CLAIM;
	assert_int_equal(record_put(s->ledger, rec), 0);
	return rec->key;
}

static int hold(struct setup *s, int64_t key, int64_t claim)
{
	int r;

	assert_int_equal(stow_ledger_begin(s->ledger, NULL), 0);
	r = stow_ledger_hold(s->ledger, key, claim, NULL);
	return stow_ledger_end(s->ledger, r, NULL) < 0 ? -1 : r;
}

static int drop(struct setup *s, int64_t key)
{
	int r;

	assert_int_equal(stow_ledger_begin(s->ledger, NULL), 0);
	r = stow_ledger_delete(s->ledger, key, NULL);
	(void)stow_ledger_end(s->ledger, r, NULL);
	return r;
}

static void set_is(const struct stow_idset *set, const char *wanted)
{
	char list[64];

	assert_string_equal(stow_idset_format(set, list, sizeof(list)), wanted);
}

WITH_SETUP(a_container_has_what_its_claims_have)
{
	int64_t one = share(s, FIRST, 0, "1-2"), two = share(s, SECOND, 1, "5");
	int64_t c = container(s, "c");
	struct stow_page_request pages[STOW_POOLS_MAX];
	struct stow_idset at;

	assert_int_equal(hold(s, c, one), 1);
	assert_int_equal(hold(s, c, one), 0);
	assert_int_equal(hold(s, c, two), 1);
	_cleanup_(stow_record_free_ptr) struct stow_record *rec = NULL;
	assert_int_equal(stow_ledger_record(s->ledger, c, &rec, NULL), 0);
	assert_true(rec->exclusive);
	assert_false(rec->isolated);
	set_is(&rec->cpus, "1-2,5");
	set_is(&rec->nodes, "0-1");
	stow_record_at(rec, &at);
	set_is(&at, "0-1");
	assert_int_equal(rec->n_shares, 0);
	assert_int_equal(rec->n_pages, 0);
	assert_int_equal(stow_record_pages(rec, pages), 1);
	assert_true(pages[0].size == TWO_MIB && pages[0].count == 10);
	assert_int_equal(rec->n_held, 2);
	assert_string_equal(rec->held[0].uid, UID);
	assert_string_equal(rec->held[0].share, FIRST);
	assert_string_equal(rec->held[1].share, SECOND);
	assert_string_equal(rec->held[0].ns, "team");
	assert_string_equal(rec->held[0].name, "db");
	assert_string_equal(rec->held[0].part, "main");
	assert_true(rec->held[0].memory == GIB);
}

WITH_SETUP(what_is_computed_is_not_written)
{
	int64_t one = share(s, FIRST, 0, "1-2"), c = container(s, "c");

	hold(s, c, one);
	_cleanup_(stow_record_free_ptr) struct stow_record *rec = NULL, *again = NULL;
	assert_int_equal(stow_ledger_record(s->ledger, c, &rec, NULL), 0);
	assert_int_equal(stow_ledger_begin(s->ledger, NULL), 0);
	assert_int_equal(stow_ledger_update(s->ledger, rec, NULL), 0);
	assert_int_equal(stow_ledger_commit(s->ledger, NULL), 0);
	assert_int_equal(stow_ledger_record(s->ledger, c, &again, NULL), 0);
	set_is(&again->cpus, "1-2");
	assert_int_equal(again->n_held, 1);
	exclusive_is(s->ledger, "1-2");
}

/* Shared CPUs on NUMA node 1. */
static uint32_t shared_cpus(struct setup *s)
{
	_cleanup_(stow_usage_free_ptr) struct stow_usage *usage = NULL;

	assert_int_equal(stow_ledger_usage(s->ledger, &usage, NULL), 0);
	for (size_t i = 0; i < usage->n_nodes; i++)
		if (usage->nodes[i].id == 1)
			return usage->nodes[i].shared_cpus;
	fail_msg("no usage of node 1");
	return 0;
}

/* Its containers need a CPU of its NUMA node only if the claim has no other. */
WITH_SETUP(usage_of_memory_alone)
{
	int64_t cpus;

	(void)share(s, FIRST, 1, "");
	assert_int_equal(shared_cpus(s), 1);
	cpus = share(s, SECOND, 0, "1-2");
	assert_int_equal(shared_cpus(s), 0);
	assert_int_equal(drop(s, cpus), 1);
	assert_int_equal(shared_cpus(s), 1);
}

WITH_SETUP(usage_counts_a_claim_once)
{
	int64_t one = share(s, FIRST, 0, "1-2");
	struct stow_caps caps;

	for (int i = 0; i < 3; i++) {
		char id[2] = { (char)('a' + i), '\0' };

		hold(s, container(s, id), one);
	}
	_cleanup_(stow_usage_free_ptr) struct stow_usage *usage = NULL;
	assert_int_equal(stow_ledger_usage(s->ledger, &usage, NULL), 0);
	assert_int_equal(usage->n_nodes, 1);
	assert_true(usage->nodes[0].memory == GIB);
	assert_int_equal(usage->nodes[0].shared_cpus, 0);
	assert_int_equal(usage->nodes[0].pools[0].promised, 5);
	set_is(&usage->exclusive, "1-2");
	assert_int_equal(stow_ledger_namespace(s->ledger, "team", &caps, NULL), 0);
	assert_int_equal(caps.cpus, 2);
	assert_true(caps.memory == GIB);
}

WITH_SETUP(a_share_stays_as_long_as_it_is_held)
{
	int64_t one = share(s, FIRST, 0, "1-2"), c = container(s, "c"), d = container(s, "d");

	hold(s, c, one);
	hold(s, d, one);
	assert_int_equal(drop(s, one), -EBUSY);
	assert_int_equal(drop(s, c), 1);
	assert_int_equal(drop(s, one), -EBUSY);
	assert_int_equal(drop(s, d), 1);
	exclusive_is(s->ledger, "1-2");
	assert_int_equal(drop(s, one), 1);
	exclusive_is(s->ledger, "");
	assert_int_equal(hold(s, container(s, "e"), one), -1);
}

WITH_SETUP(a_claim_is_found_with_its_containers)
{
	int64_t one = share(s, FIRST, 0, "1-2"), two = share(s, SECOND, 1, "");
	int64_t c = container(s, "c");
	struct stow_record **records;
	char label[STOW_RECORD_LABEL_MAX];
	size_t n;

	hold(s, c, one);
	hold(s, c, two);
	assert_int_equal(stow_ledger_claim(s->ledger, UID, &records, &n, NULL), 0);
	assert_int_equal(n, 2);
	assert_int_equal(records[0]->key, one);
	assert_true(stow_record_is_share(records[0]));
	assert_string_equal(records[1]->claim->share, SECOND);
	assert_string_equal(stow_record_label(records[1], label), "claim:team/db:" SECOND);
	stow_records_free(records, n);
	assert_int_equal(stow_ledger_claim(s->ledger, SECOND, &records, &n, NULL), 0);
	assert_int_equal(n, 0);
	stow_records_free(records, n);
	assert_int_equal(stow_ledger_claim(s->ledger, NULL, &records, &n, NULL), 0);
	assert_int_equal(n, 2);
	stow_records_free(records, n);
	assert_int_equal(stow_ledger_holders(s->ledger, UID, &records, &n, NULL), 0);
	assert_int_equal(n, 1);
	assert_true(stow_record_is_holder(records[0]));
	assert_string_equal(records[0]->id, "c");
	stow_records_free(records, n);
	/* Another container, and another claim's share, are no part of it. */
	hold(s, container(s, "d"), share_of(s, OTHER, THIRD, 1, ""));
	assert_int_equal(stow_ledger_claim_whole(s->ledger, UID, &records, &n, NULL), 0);
	assert_int_equal(n, 3);
	assert_int_equal(records[0]->key, one);
	assert_int_equal(records[1]->key, two);
	assert_string_equal(records[2]->id, "c");
	assert_int_equal(records[2]->n_held, 2);
	stow_records_free(records, n);
}

WITH_SETUP(a_share_is_in_the_ledger_once)
{
	struct stow_err err;

	share(s, FIRST, 0, "");
	_cleanup_(stow_record_free_ptr) struct stow_record *rec = record_new("", false, "", 0);
	rec->state = STOW_STATE_LEASE;
	rec->kind = STOW_LEASE_CLAIM;
	assert_int_equal(stow_ledger_begin(s->ledger, NULL), 0);
	assert_int_equal(stow_ledger_insert(s->ledger, rec, &err), -EINVAL);
	stow_ledger_rollback(s->ledger);
	rec->key = 0;
	rec->claim = calloc(1, sizeof(*rec->claim));
	rec->claim->uid = strdup(UID);
	rec->claim->share = strdup(FIRST);
	rec->claim->part = strdup("other");
	assert_int_equal(stow_ledger_begin(s->ledger, NULL), 0);
	assert_int_equal(stow_ledger_insert(s->ledger, rec, &err), -EINVAL);
	stow_ledger_rollback(s->ledger);
}

/* A set that config.json gave to a container of exclusive CPUs needs none of these. */
WITH_SETUP(the_given_set_of_an_exclusive_one_pins_nothing)
{
	int64_t own = share(s, FIRST, 0, "1-2"), shared = share(s, SECOND, 1, "");
	struct stow_idset online, pinned, given, none = { 0 };
	const char *ids[] = { "c", "d" };

	stow_idset_parse("0-7", &online, NULL);
	for (int i = 0; i < 2; i++) {
		_cleanup_(stow_record_free_ptr) struct stow_record *rec =
			record_new(ids[i], false, "", 0);

		rec->kind = STOW_LEASE_CLAIM;
		stow_idset_parse(i ? "6-7" : "0-3", &given, NULL);
		assert_int_equal(stow_record_give(rec, &given, &none), 0);
		assert_int_equal(record_put(s->ledger, rec), 0);
		hold(s, rec->key, i ? shared : own);
	}
	assert_int_equal(stow_ledger_pinned(s->ledger, &online, &pinned, NULL), 0);
	set_is(&pinned, "6-7");
}

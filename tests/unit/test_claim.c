// SPDX-License-Identifier: Apache-2.0
/* Claims of Kubernetes: taken, held by containers, dropped. */
#include "unit.h"

#include <stdio.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "grant/claim.h"
#include "grant/claim_hold.h"
#include "grant/gc.h"
#include "grant/pool.h"
#include "grant/reconcile.h"
#include "grant/repin.h"
#include "grant/show.h"
#include "played.h"

#define UID    "11111111-2222-4333-8444-555555555555"
#define OTHER  "66666666-2222-4333-8444-555555555555"
#define FIRST  "aaaaaaaa-0000-4000-8000-000000000001"
#define SECOND "aaaaaaaa-0000-4000-8000-000000000002"
#define THIRD  "aaaaaaaa-0000-4000-8000-000000000003"
#define POD    "99999999-2222-4333-8444-555555555555"
#define GIB    (UINT64_C(1) << 30)
#define MIB    (UINT64_C(1) << 20)

static void pool_is(struct played *p, int node, int total, int free)
{
	static const char *const files[] = { "nr_hugepages", "free_hugepages",
					     "surplus_hugepages" };
	const int values[] = { total, free, 0 };

	for (int i = 0; i < 3; i++) {
		char path[128];

		snprintf(path, sizeof(path),
			 "/sys/devices/system/node/node%d/hugepages/hugepages-2048kB/%s", node,
			 files[i]);
		tree_write(p->t, path, "%d\n", values[i]);
	}
}

static int set_up(void **state)
{
	struct played *p = played_new();

	pool_is(p, 0, 0, 0);
	pool_is(p, 1, 64, 64);
	tree_write(p->t, "/sys/fs/cgroup/cpuset.cpus", "0-7\n");
	*state = p;
	return 0;
}

static int tear_down(void **state)
{
	played_free(*state);
	return 0;
}

#define WITH_PLAYED(name) TEST_WITH(name, struct played *p, set_up, tear_down)

static struct stow_claim_share share_of(const char *id, int node, uint32_t cpus, bool exclusive)
{
	return (struct stow_claim_share){ .id = id,
					  .part = "main",
					  .node = node,
					  .cpus = cpus,
					  .cpu_mode = exclusive ? STOW_CPU_EXCLUSIVE
								: STOW_CPU_SHARED };
}

static struct stow_claim_share with_pages(struct stow_claim_share share, uint64_t pages)
{
	share.pages[0] = (struct stow_page_request){ .size = 2 * MIB, .count = pages };
	share.n_pages = 1;
	return share;
}

static int take(struct played *p, const char *uid, const struct stow_claim_share *shares, size_t n,
		struct stow_err *err)
{
	const struct stow_claim claim = {
		.uid = uid, .ns = "team", .name = "db", .shares = shares, .n = n
	};

	return stow_claim_take(&p->context, &claim, err);
}

static void taken(struct played *p, const char *uid, struct stow_claim_share share)
{
	struct stow_err err = { 0 };

	if (take(p, uid, &share, 1, &err) < 0)
		fail_msg("%s", err.msg);
}

static void make_cgroup(struct played *p, int pid, const char *name)
{
	char path[256];

	played_process(p, pid, name);
	played_write(p, name, "cpuset.cpus", "");
	played_write(p, name, "cpuset.mems", "");
	snprintf(path, sizeof(path), "/sys/fs/cgroup/%s/cgroup.procs", name);
	tree_write(p->t, path, "%s", "");
	snprintf(path, sizeof(path), "/sys/fs/cgroup/%s/memory.max", name);
	tree_write(p->t, path, "max\n");
	for (int i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "/sys/fs/cgroup/%s/hugetlb.2MB.%smax", name,
			 i ? "rsvd." : "");
		tree_write(p->t, path, "max\n");
	}
}

/* A cgroup with all CPUs and nodes in effect. */
static void allow(struct played *p, const char *name)
{
	played_write(p, name, "cpuset.cpus", "");
	played_write(p, name, "cpuset.mems", "");
}

/* What the hook does for one share: 0, or a failure that has been undone. */
static int hold(struct played *p, int pid, const char *name, const char *uid, const char *share,
		struct stow_err *err)
{
	_cleanup_(stow_record_free_ptr) struct stow_record *record = NULL;
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cgroup = NULL;
	const char *slash = strrchr(name, '/');
	struct stow_subject subject = { .id = slash ? slash + 1 : name,
					.pod_id = POD,
					.ns = "team",
					.name = "web",
					.init = { .pid = pid, .start = 1 } };
	int r;

	assert_int_equal(stow_cgroup_of_pid(p->t->root, pid, &cgroup, err), 0);
	subject.cgroup = cgroup;
	r = stow_claim_hold(&p->context, &subject, uid, share, true, &record, err);
	if (r < 0 || record->state == STOW_STATE_ACTIVE)
		return r;
	r = stow_claim_enact(&p->context, record, cgroup, NULL, err);
	if (r < 0)
		(void)stow_grant_undo(&p->context, record, cgroup, "undone", "", NULL);
	return r;
}

static void held(struct played *p, int pid, const char *name, const char *uid, const char *share)
{
	struct stow_err err = { 0 };

	make_cgroup(p, pid, name);
	if (hold(p, pid, name, uid, share, &err) < 0)
		fail_msg("%s", err.msg);
}

static void end(struct played *p, int pid, const char *name)
{
	played_kill(p, pid, name);
	assert_int_equal(stow_grant_release(&p->context, name, NULL), 1);
}

static void file_is(struct played *p, const char *path, const char *wanted)
{
	_cleanup_free_ char *text = tree_read(p->t, path);

	text[strcspn(text, "\n")] = '\0';
	assert_string_equal(text, wanted);
}

static void exclusive_is(struct played *p, const char *wanted)
{
	struct stow_idset set;
	char list[64];

	assert_int_equal(stow_ledger_exclusive(p->context.ledger, &set, NULL), 0);
	assert_string_equal(stow_idset_format(&set, list, sizeof(list)), wanted);
}

static void gc(struct played *p)
{
	struct stow_gc_result result;
	struct stow_err err = { 0 };

	if (stow_gc(&p->context, &result, &err) < 0)
		fail_msg("%s", err.msg);
	stow_gc_result_done(&result);
}

/* --- taking --------------------------------------------------------------- */

WITH_PLAYED(a_namespace_has_a_limited_number_of_shares)
{
	struct stow_claim_share shares[STOW_CLAIM_SHARES_MAX];
	char ids[STOW_CLAIM_SHARES_MAX][40], uid[40];
	struct stow_err err = { 0 };

	for (int i = 0; i < STOW_CLAIM_SHARES_MAX; i++) {
		snprintf(ids[i], sizeof(ids[i]), "aaaaaaaa-0000-4000-8000-0000000000%02d", i);
		shares[i] = share_of(ids[i], i % 2, 0, false);
	}
	for (int n = 1; n < STOW_CLAIM_NS_MAX / STOW_CLAIM_SHARES_MAX; n++) {
		snprintf(uid, sizeof(uid), "11111111-2222-4333-8444-0000000000%02d", n);
		assert_int_equal(take(p, uid, shares, STOW_CLAIM_SHARES_MAX, NULL), 1);
	}
	assert_int_equal(take(p, OTHER, shares, STOW_CLAIM_SHARES_MAX - 1, NULL), 1);
	assert_int_equal(take(p, UID, shares, 2, &err), -EPERM);
	assert_string_equal(err.msg, "claim team/db, request main: the claims of namespace team "
				     "have 1023 devices of this "
				     "machine, and this one needs 2 more: at most 1024 are "
				     "possible");
	assert_int_equal(take(p, UID, shares, 1, NULL), 1);
	assert_int_equal(take(p, UID, shares, 1, NULL), 0);
	assert_int_equal(take(p, POD, shares, 1, NULL), -EPERM);
}

WITH_PLAYED(all_shares_or_none)
{
	struct stow_claim_share shares[] = { share_of(FIRST, 0, 2, true),
					     share_of(SECOND, 1, 5, true) };
	struct stow_err err;

	assert_int_equal(take(p, UID, shares, 2, &err), -ENOSPC);
	assert_non_null(strstr(err.msg, "claim team/db, request main: "));
	assert_non_null(strstr(err.msg, "request main: 5 exclusive CPUs on node 1; "));
	assert_int_equal(played_records(p), 0);
	exclusive_is(p, "");
	shares[1].cpus = 3;
	assert_int_equal(take(p, UID, shares, 2, &err), 1);
	assert_int_equal(played_records(p), 2);
	exclusive_is(p, "0-1,4-6");
}

WITH_PLAYED(taking_twice_changes_nothing)
{
	struct stow_claim_share share = with_pages(share_of(FIRST, 1, 2, true), 32), other;
	struct stow_idset one = { 0 };
	struct stow_err err;

	share.memory = GIB;
	assert_int_equal(take(p, UID, &share, 1, &err), 1);
	uint32_t changes = stow_ledger_changes(p->context.ledger);
	assert_int_equal(take(p, UID, &share, 1, &err), 0);
	assert_int_equal(stow_ledger_changes(p->context.ledger), changes);
	/* What is there stays there, whatever is fenced by now. */
	stow_idset_add(&one, 1);
	assert_int_equal(stow_ledger_fence_set(p->context.ledger, "drain", &one, NULL), 0);
	assert_int_equal(take(p, UID, &share, 1, &err), 0);
	for (int i = 0; i < 6; i++) {
		other = share;
		other.cpus += i == 0;
		other.memory += i == 1;
		other.pages[0].count += i == 2;
		other.drain = i == 3 ? STOW_DRAIN_MODE_EVICT : other.drain;
		other.part = i == 4 ? "side" : other.part;
		other.id = i == 5 ? SECOND : other.id;
		assert_int_equal(take(p, UID, &other, 1, &err), -EEXIST);
		assert_non_null(strstr(err.msg, "is taken already, as 2 exclusive CPUs"));
	}
	assert_int_equal(played_records(p), 1);
}

WITH_PLAYED(a_fence_refuses_new_claims)
{
	struct stow_claim_share share = share_of(FIRST, 1, 1, false);
	struct stow_idset one = { 0 };
	struct stow_err err;

	stow_idset_add(&one, 1);
	assert_int_equal(stow_ledger_fence_set(p->context.ledger, "scheduler", &one, NULL), 0);
	assert_int_equal(take(p, UID, &share, 1, &err), -EAGAIN);
	assert_string_equal(err.msg,
			    "claim team/db, request main: fenced: nothing new is placed on "
			    "NUMA node 1");
	share.node = 0;
	assert_int_equal(take(p, UID, &share, 1, &err), 1);
}

WITH_PLAYED(pools_do_not_grow_for_claims)
{
	struct stow_claim_share share = with_pages(share_of(FIRST, 1, 1, false), 65);
	struct stow_err err;

	assert_int_equal(take(p, UID, &share, 1, &err), -ENOSPC);
	assert_non_null(strstr(err.msg, "65 hugepages of 2Mi; NUMA node 1 has 64 free"));
	share.pages[0].count = 40;
	assert_int_equal(take(p, UID, &share, 1, &err), 1);
	share.id = SECOND;
	share.pages[0].count = 25;
	assert_int_equal(take(p, OTHER, &share, 1, &err), -ENOSPC);
	share.pages[0].count = 24;
	assert_int_equal(take(p, OTHER, &share, 1, &err), 1);
	file_is(p, "/sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages", "64");
}

/* Pages that a claim has are not those of a container that starts later: for it the pool grows. */
WITH_PLAYED(a_claims_pages_are_set_aside)
{
	struct stow_pool_result result;
	struct stow_record *rec = calloc(1, sizeof(*rec));

	taken(p, UID, with_pages(share_of(FIRST, 1, 1, false), 64));
	rec->id = strdup("annotated");
	rec->state = STOW_STATE_ACTIVE;
	rec->n_pages = rec->n_shares = 1;
	rec->pages[0] = (struct stow_page_request){ .size = 2 * MIB, .count = 8 };
	rec->shares = calloc(1, sizeof(*rec->shares));
	rec->shares[0] = (struct stow_share){ .node = 1, .pages = { 8 } };
	assert_int_equal(stow_ledger_begin(p->context.ledger, NULL), 0);
	assert_int_equal(stow_ledger_insert(p->context.ledger, rec, NULL), 0);
	assert_int_equal(stow_ledger_commit(p->context.ledger, NULL), 0);
	(void)stow_pool_settle(p->t->root, p->context.ledger, 1, 2 * MIB, rec->key, &result, NULL);
	assert_int_equal(result.wanted, 8);
	stow_record_free(rec);
}

WITH_PLAYED(hostile_names_are_refused)
{
	static const char *const uids[] = { "",
					    "x",
					    "11111111-2222-4333-8444-55555555555",
					    "11111111-2222-4333-8444-5555555555555",
					    "11111111-2222-4333-8444-55555555555G",
					    "11111111-2222-4333-8444-55555555555A",
					    "111111112222-4333-8444-555555555555--",
					    "../../../../../../../../etc/passwd/x",
					    "11111111 2222-4333-8444-555555555555",
					    "11111111-2222-4333-8444-55555555555\n" };
	struct stow_claim_share share = share_of(FIRST, 0, 1, false);
	struct stow_claim claim = {
		.uid = UID, .ns = "team", .name = "db", .shares = &share, .n = 1
	};
	char longer[300];
	struct stow_err err;

	for (size_t i = 0; i < STOW_ARRAY_SIZE(uids); i++) {
		assert_int_equal(stow_claim_check_uid(uids[i], "it", &err), -EINVAL);
		assert_int_equal(take(p, uids[i], &share, 1, &err), -EINVAL);
		assert_int_equal(stow_claim_drop(&p->context, uids[i], &err), -EINVAL);
		share.id = uids[i];
		assert_int_equal(take(p, UID, &share, 1, &err), -EINVAL);
		share.id = FIRST;
	}
	memset(longer, 'a', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	const char *const bad[] = { "", "-a", "a-", "A", "a b", "a\n", "a/../b", ".", longer };
	for (size_t i = 0; i < STOW_ARRAY_SIZE(bad); i++) {
		claim.ns = bad[i];
		assert_int_equal(stow_claim_take(&p->context, &claim, &err), -EINVAL);
		claim.ns = "team";
		claim.name = bad[i];
		assert_int_equal(stow_claim_take(&p->context, &claim, &err), -EINVAL);
		claim.name = "db";
		share.part = bad[i];
		assert_int_equal(stow_claim_take(&p->context, &claim, &err), -EINVAL);
		share.part = "main";
	}
	share.node = -1;
	assert_int_equal(stow_claim_take(&p->context, &claim, &err), -EINVAL);
	share.node = 5;
	assert_int_equal(stow_claim_take(&p->context, &claim, &err), -EINVAL);
	assert_string_equal(err.msg,
			    "claim team/db, request main: there is no NUMA node 5 on this machine");
	share.node = 0;
	share.memory = 1;
	assert_int_equal(stow_claim_take(&p->context, &claim, &err), -EINVAL);
	share.memory = UINT64_MAX;
	assert_int_equal(stow_claim_take(&p->context, &claim, &err), -EINVAL);
	share = with_pages(share_of(FIRST, 0, 1, false), UINT64_MAX);
	assert_int_equal(stow_claim_take(&p->context, &claim, &err), -EINVAL);
	claim.n = 0;
	assert_int_equal(stow_claim_take(&p->context, &claim, &err), -EINVAL);
	claim.n = 33;
	assert_int_equal(stow_claim_take(&p->context, &claim, &err), -EINVAL);
	struct stow_claim_share twice[] = { share_of(FIRST, 0, 1, false),
					    share_of(FIRST, 1, 1, false) };
	assert_int_equal(take(p, UID, twice, 2, &err), -EINVAL);
	assert_int_equal(played_records(p), 0);
}

/* Whatever the caller believes: a container that lives has its CPUs. */
WITH_PLAYED(what_lives_is_not_given_away)
{
	struct stow_claim_share share = share_of(SECOND, 0, 3, true);
	struct stow_err err;

	taken(p, UID, share_of(FIRST, 0, 2, true));
	held(p, 10, "c", UID, FIRST);
	assert_int_equal(take(p, OTHER, &share, 1, &err), -ENOSPC);
	assert_non_null(strstr(err.msg, "; still in use by team/web of pod " POD));
	assert_int_equal(stow_claim_drop(&p->context, UID, &err), -EBUSY);
	assert_string_equal(err.msg, "claim " UID " is still in use by team/web of pod " POD);
	exclusive_is(p, "0-1");
	played_kill(p, 10, "c");
	assert_int_equal(stow_claim_drop(&p->context, UID, &err), 1);
	assert_int_equal(take(p, OTHER, &share, 1, &err), 1);
}

/* Memory of CXL: the CPUs come with another share, or are any. */
WITH_PLAYED(a_node_without_cpus_has_memory_to_claim)
{
	struct stow_claim_share shares[] = { share_of(FIRST, 0, 2, true),
					     share_of(SECOND, 2, 0, true) };
	struct stow_err err = { 0 };

	tree_write(p->t, "/sys/devices/system/node/online", "0-2\n");
	tree_write(p->t, "/sys/devices/system/node/node2/cpulist", "\n");
	tree_write(p->t, "/sys/devices/system/node/node2/meminfo",
		   "Node 2 MemTotal: 16777216 kB\nNode 2 MemFree: 16000000 kB\n");
	for (int i = 0; i < 3; i++) {
		char path[64];

		snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/distance", i);
		tree_write(p->t, path,
			   i == 0   ? "10 20 30\n"
			   : i == 1 ? "20 10 30\n"
				    : "30 30 10\n");
	}
	tree_write(p->t, "/sys/fs/cgroup/cpuset.mems.effective", "0-2\n");
	shares[1].memory = GIB;
	if (take(p, UID, shares, 2, &err) != 1)
		fail_msg("%s", err.msg);
	held(p, 10, "memory", UID, SECOND);
	played_has(p, "memory", "2-7", "2");
	held(p, 11, "both", UID, SECOND);
	assert_int_equal(hold(p, 11, "both", UID, FIRST, &err), 0);
	played_has(p, "both", "0-1", "0,2");
	shares[1].cpus = 1; /* never possible */
	assert_int_equal(take(p, OTHER, &shares[1], 1, &err), -EINVAL);
}

/* --- containers ----------------------------------------------------------- */

WITH_PLAYED(two_containers_share_one_exclusive_claim)
{
	played_container(p, 20, "shared", 0, 1, 0, false);
	played_has(p, "shared", "0-3", "0");
	taken(p, UID, share_of(FIRST, 0, 2, true));
	held(p, 10, "a", UID, FIRST);
	held(p, 11, "b", UID, FIRST);
	played_has(p, "a", "0-1", "0");
	played_has(p, "b", "0-1", "0");
	played_has(p, "shared", "2-3", "0");
	end(p, 10, "a");
	gc(p);
	played_has(p, "b", "0-1", "0");
	played_has(p, "shared", "2-3", "0");
	end(p, 11, "b");
	gc(p);
	played_has(p, "shared", "2-3", "0");
	exclusive_is(p, "0-1");
	assert_int_equal(stow_claim_drop(&p->context, UID, NULL), 1);
	played_has(p, "shared", "0-3", "0");
	assert_int_equal(stow_claim_drop(&p->context, UID, NULL), 0);
}

WITH_PLAYED(a_restarted_container_has_the_same_cpus)
{
	struct stow_claim_share other = share_of(SECOND, 0, 1, true);
	char list[64], again[64];

	taken(p, UID, share_of(FIRST, 0, 2, true));
	held(p, 10, "a", UID, FIRST);
	_cleanup_(stow_record_free_ptr) struct stow_record *first = played_grant(p, "a");
	played_cpus(p, first, list, sizeof(list));
	end(p, 10, "a");
	assert_int_equal(take(p, OTHER, &other, 1, NULL), 1);
	held(p, 11, "a", UID, FIRST);
	_cleanup_(stow_record_free_ptr) struct stow_record *second = played_grant(p, "a");
	played_cpus(p, second, again, sizeof(again));
	assert_string_equal(list, again);
}

WITH_PLAYED(several_shares_come_one_after_the_other)
{
	struct stow_claim_share shares[] = { with_pages(share_of(FIRST, 0, 2, true), 0),
					     with_pages(share_of(SECOND, 1, 1, true), 16) };
	struct stow_err err = { 0 };

	shares[0].n_pages = 0;
	shares[0].memory = shares[1].memory = GIB;
	assert_int_equal(take(p, UID, shares, 2, NULL), 1);
	held(p, 10, "c", UID, FIRST);
	played_has(p, "c", "0-1", "0");
	file_is(p, "/sys/fs/cgroup/c/memory.max", "1073741824");
	file_is(p, "/sys/fs/cgroup/c/hugetlb.2MB.max", "max");
	for (int i = 0; i < 2; i++) {
		assert_int_equal(hold(p, 10, "c", UID, SECOND, &err), 0);
		played_has(p, "c", "0-1,4", "0-1");
		file_is(p, "/sys/fs/cgroup/c/memory.max", "2147483648");
		file_is(p, "/sys/fs/cgroup/c/hugetlb.2MB.max", "33554432");
		file_is(p, "/sys/fs/cgroup/c/hugetlb.2MB.rsvd.max", "33554432");
	}
	uint32_t changes = stow_ledger_changes(p->context.ledger);
	assert_int_equal(hold(p, 10, "c", UID, FIRST, &err), 0);
	assert_int_equal(stow_ledger_changes(p->context.ledger), changes);
	_cleanup_(stow_record_free_ptr) struct stow_record *record = played_grant(p, "c");
	assert_string_equal(record->request, "claim team/db (main), claim team/db (main)");
	/* Its first values come back, not those of the call in between. */
	assert_int_equal(stow_restore(&p->context, record, "restored", "", NULL), 0);
	file_is(p, "/sys/fs/cgroup/c/memory.max", "max");
	file_is(p, "/sys/fs/cgroup/c/hugetlb.2MB.max", "max");
}

WITH_PLAYED(unknown_shares_and_mixed_ones_are_refused)
{
	struct stow_claim_share shares[] = { share_of(FIRST, 0, 2, true),
					     share_of(SECOND, 1, 1, false),
					     share_of(THIRD, 1, 0, true) };
	struct stow_err err;

	make_cgroup(p, 10, "c");
	assert_int_equal(hold(p, 10, "c", UID, FIRST, &err), -ENOENT);
	assert_string_equal(err.msg,
			    "claim " UID " was not prepared on this machine (share " FIRST ")");
	shares[2].memory = GIB;
	assert_int_equal(take(p, UID, shares, 3, NULL), 1);
	assert_int_equal(hold(p, 10, "c", UID, UID, &err), -ENOENT);
	assert_string_equal(err.msg, "claim " UID " has no share " UID " on this machine");
	assert_int_equal(hold(p, 10, "c", UID, "../..", &err), -EINVAL);
	assert_int_equal(hold(p, 10, "c", UID, FIRST, &err), 0);
	assert_int_equal(hold(p, 10, "c", UID, SECOND, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "a container can have one kind"));
	/* Memory of another node is no other kind of CPU. */
	assert_int_equal(hold(p, 10, "c", UID, THIRD, &err), 0);
	played_has(p, "c", "0-1", "0-1");
}

WITH_PLAYED(a_sets_of_its_own_must_allow_the_claim)
{
	struct stow_err err;

	taken(p, UID, share_of(FIRST, 1, 1, false));
	make_cgroup(p, 10, "above/c");
	tree_write(p->t, "/sys/fs/cgroup/above/cpuset.cpus.effective", "0-3\n");
	tree_write(p->t, "/sys/fs/cgroup/above/cpuset.mems.effective", "0\n");
	tree_write(p->t, "/sys/fs/cgroup/above/cpuset.mems", "0\n");
	assert_int_equal(hold(p, 10, "above/c", UID, FIRST, &err), -EPERM);
	assert_non_null(strstr(err.msg, "NUMA nodes 1, which the container's cgroup may not use"));
	assert_int_equal(played_records(p), 1);
}

/* hooks.d came first, and placed the container by its annotations. */
WITH_PLAYED(a_claim_replaces_what_annotations_gave)
{
	struct stow_err err = { 0 };

	played_container(p, 10, "c", 0, 3, GIB, true);
	taken(p, UID, share_of(FIRST, 1, 2, true));
	if (hold(p, 10, "c", UID, FIRST, &err) < 0)
		fail_msg("%s", err.msg);
	exclusive_is(p, "4-5");
	played_has(p, "c", "4-5", "1");
	_cleanup_(stow_usage_free_ptr) struct stow_usage *usage = NULL;
	assert_int_equal(stow_ledger_usage(p->context.ledger, &usage, NULL), 0);
	for (size_t i = 0; i < usage->n_nodes; i++)
		assert_true(usage->nodes[i].memory == 0);
}

/* ... or later. */
WITH_PLAYED(annotations_do_not_replace_a_claim)
{
	_cleanup_(stow_refusal_free_ptr) struct stow_refusal *refusal = NULL;
	_cleanup_(stow_record_free_ptr) struct stow_record *record = NULL;
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cgroup = NULL;
	struct stow_subject subject = { .id = "c", .init = { .pid = 10, .start = 1 } };
	struct stow_request request = { .cpus = 3, .nodes_auto = true };

	taken(p, UID, share_of(FIRST, 1, 2, true));
	held(p, 10, "c", UID, FIRST);
	assert_int_equal(stow_cgroup_of_pid(p->t->root, 10, &cgroup, NULL), 0);
	subject.cgroup = cgroup;
	assert_int_equal(stow_grant_reserve(&p->context, &subject, &request, NULL, 0, &record,
					    &refusal, NULL),
			 0);
	assert_int_equal(record->state, STOW_STATE_ACTIVE);
	assert_int_equal(record->n_held, 1);
	assert_int_equal(played_records(p), 2);
}

/* kubelet gives the pod 0, at its start and at each resize. */
WITH_PLAYED(the_pods_limits_follow)
{
	static const char *const pods[] = { "kubepods/pod" POD,
					    "kubepods.slice/kubepods-pod99999999_2222_4333_8444_"
					    "555555555555.slice" };
	struct stow_err err = { 0 };
	char path[512], name[256];

	taken(p, UID, with_pages(share_of(FIRST, 1, 1, false), 8));
	taken(p, OTHER, with_pages(share_of(SECOND, 1, 1, false), 4));
	for (int i = 0; i < 2; i++) {
		allow(p, pods[i]);
		snprintf(path, sizeof(path), "/sys/fs/cgroup/%s/hugetlb.2MB.max", pods[i]);
		tree_write(p->t, path, "0\n");
		snprintf(name, sizeof(name), "%s/c%d", pods[i], i);
		held(p, 10 + i, name, UID, FIRST);
		file_is(p, path, "16777216");
		assert_int_equal(hold(p, 10 + i, name, OTHER, SECOND, &err), 0);
		file_is(p, path, "25165824");
		tree_write(p->t, path, "0\n");
		gc(p);
		file_is(p, path, "25165824");
		played_kill(p, 10 + i, name);
		gc(p);
	}
	/* Not those of what is no pod of its own. */
	allow(p, "kubepods/podother");
	tree_write(p->t, "/sys/fs/cgroup/kubepods/podother/hugetlb.2MB.max", "0\n");
	make_cgroup(p, 20, "kubepods/podother/d");
	assert_int_equal(hold(p, 20, "kubepods/podother/d", UID, FIRST, &err), -EPERM);
	assert_non_null(strstr(err.msg, "hugetlb.2MB.max of a cgroup above"));
	file_is(p, "/sys/fs/cgroup/kubepods/podother/hugetlb.2MB.max", "0");
}

WITH_PLAYED(gc_leaves_claims_and_undoes_dead_hooks)
{
	_cleanup_(stow_record_free_ptr) struct stow_record *record = NULL;
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cgroup = NULL;
	struct stow_subject subject = { .id = "c", .init = { .pid = 10, .start = 1 } };

	taken(p, UID, share_of(FIRST, 0, 2, true));
	make_cgroup(p, 10, "c");
	assert_int_equal(stow_cgroup_of_pid(p->t->root, 10, &cgroup, NULL), 0);
	subject.cgroup = cgroup;
	/* The worker, process 99, does not live. */
	assert_int_equal(stow_claim_hold(&p->context, &subject, UID, FIRST, true, &record, NULL),
			 0);
	assert_int_equal(record->state, STOW_STATE_PENDING);
	assert_int_equal(played_records(p), 2);
	gc(p);
	assert_int_equal(played_records(p), 1);
	exclusive_is(p, "0-1");
	assert_int_equal(stow_restore_all(&p->context, NULL), 1);
	assert_int_equal(played_records(p), 0);
}

WITH_PLAYED(everything_is_given_back_with_its_containers_first)
{
	struct stow_err err = { 0 };

	taken(p, UID, share_of(FIRST, 0, 2, true));
	held(p, 10, "c", UID, FIRST);
	assert_int_equal(stow_restore_all(&p->context, &err), 2);
	assert_int_equal(played_records(p), 0);
}

WITH_PLAYED(a_claims_container_is_not_moved)
{
	const struct stow_repin_options options = { 0 };
	struct stow_err err;

	taken(p, UID, share_of(FIRST, 0, 2, true));
	held(p, 10, "c", UID, FIRST);
	assert_int_equal(stow_repin(&p->context, "c", &options, &err), -EOPNOTSUPP);
	assert_non_null(strstr(err.msg, "of its claim team/db, and is not moved"));
}

/* Another tool's set is not adopted: what the claim has is not the container's to change. */
WITH_PLAYED(a_changed_set_is_put_back)
{
	struct stow_reconcile *reconcile;
	struct stow_reconcile_result result;
	struct stow_err err = { 0 };

	taken(p, UID, share_of(FIRST, 0, 2, true));
	held(p, 10, "c", UID, FIRST);
	assert_int_equal(stow_reconcile_new(&reconcile, NULL), 0);
	if (stow_reconcile_run(reconcile, &p->context, false, &result, &err) < 0)
		fail_msg("%s", err.msg);
	stow_apply_result_done(&result.problems);
	played_write(p, "c", "cpuset.cpus", "0-2");
	if (stow_reconcile_run(reconcile, &p->context, false, &result, &err) < 0)
		fail_msg("%s", err.msg);
	stow_apply_result_done(&result.problems);
	assert_int_equal(result.adopted, 0);
	played_has(p, "c", "0-1", "0");
	exclusive_is(p, "0-1");
	stow_reconcile_free(reconcile);
}

WITH_PLAYED(claims_are_listed)
{
	struct stow_claim_list list;

	taken(p, UID, share_of(FIRST, 0, 2, true));
	taken(p, OTHER, share_of(SECOND, 1, 1, false));
	held(p, 10, "a", UID, FIRST);
	held(p, 11, "b", UID, FIRST);
	assert_int_equal(stow_claim_list(&p->context, NULL, &list, NULL), 0);
	assert_int_equal(list.n, 2);
	assert_string_equal(list.list[0].share->claim->uid, UID);
	assert_int_equal(list.list[0].n_holders, 2);
	assert_string_equal(list.list[0].holders[1]->id, "b");
	assert_int_equal(list.list[1].n_holders, 0);
	stow_claim_list_done(&list);
	assert_int_equal(stow_claim_list(&p->context, OTHER, &list, NULL), 0);
	assert_int_equal(list.n, 1);
	stow_claim_list_done(&list);
}

static void lacks(const char *text, const char *word)
{
	if (strstr(text, word))
		fail_msg("%s is in %s", word, text);
}

static void shows(const char *text, const char *word)
{
	if (!strstr(text, word))
		fail_msg("%s is not in %s", word, text);
}

WITH_PLAYED(claims_are_shown)
{
	const struct stow_show_asked asked = { .id = "claim:team/db" };
	_cleanup_free_ char *text = NULL, *json = NULL, *history = NULL;

	taken(p, UID, with_pages(share_of(FIRST, 1, 2, true), 8));
	held(p, 10, "a", UID, FIRST);
	assert_int_equal(stow_show_ledger(&p->context, false, 0, NULL, &text, NULL), 0);
	shows(text, "claim team/db  main         lease   4-5!           1             0 16Mi/2Mi "
		    "    2 exclusive CPUs");
	shows(text,
	      "a              web          active  4-5!           1             0 -            "
	      "claim team/db (main)\n");
	assert_int_equal(stow_show_ledger(&p->context, true, 0, NULL, &json, NULL), 0);
	shows(json, "\"claim\": {\n        \"uid\": \"" UID "\",\n        \"share\": \"" FIRST
		    "\",\n        \"request\": \"main\",\n        \"containers\": [\n          "
		    "\"a\"");
	shows(json, "\"claims\": [\n        {\n          \"namespace\": \"team\",\n          "
		    "\"name\": \"db\"");
	end(p, 10, "a");
	assert_int_equal(stow_claim_drop(&p->context, UID, NULL), 1);
	assert_int_equal(stow_show_history(&p->context, &asked, &history, NULL), 0);
	shows(history, "taken     claim:team/db:" FIRST);
	shows(history, "dropped   claim:team/db:" FIRST);
	lacks(history, "placed");
}

/* Memory that its containers have used is not free any more, and must not be counted twice. */
WITH_PLAYED(what_containers_use_of_a_claim_counts_once)
{
	struct stow_claim_share share = share_of(FIRST, 0, 1, false), other;
	struct stow_err err = { 0 };

	/* 8 GiB of 16 are free, all of them used by the claim's containers. */
	tree_write(p->t, "/sys/devices/system/node/node0/meminfo",
		   "Node 0 MemTotal: 16777216 kB\nNode 0 MemFree: 8388608 kB\n");
	share.memory = 8 * GIB;
	taken(p, UID, share);
	other = share_of(SECOND, 0, 1, false);
	other.memory = 4 * GIB;
	assert_int_equal(take(p, OTHER, &other, 1, &err), -ENOSPC);
	held(p, 10, "a", UID, FIRST);
	held(p, 11, "b", UID, FIRST);
	tree_write(p->t, "/sys/fs/cgroup/a/memory.numa_stat",
		   "anon N0=3221225472 N1=0\nfile N0=0\n");
	tree_write(p->t, "/sys/fs/cgroup/b/memory.numa_stat",
		   "anon N0=4294967296 N1=0\nfile N0=0\n");
	if (take(p, OTHER, &other, 1, &err) != 1)
		fail_msg("%s", err.msg);
	/* More than it was promised frees nothing. */
	tree_write(p->t, "/sys/fs/cgroup/b/memory.numa_stat",
		   "anon N0=17179869184 N1=0\nfile N0=0\n");
	other.id = THIRD;
	other.memory = 5 * GIB;
	assert_int_equal(take(p, THIRD, &other, 1, &err), -ENOSPC);
}

// SPDX-License-Identifier: Apache-2.0
/* Usage, fences, and pools of hugepages. */
#include "ledger/ledger.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "ledger/sql.h"

/* --- fences --------------------------------------------------------------- */

int stow_ledger_fence_set(struct stow_ledger *ledger, const char *owner,
			  const struct stow_idset *nodes, struct stow_err *err)
{
	int r;

	r = stow_ledger_begin(ledger, err);
	if (r < 0)
		return r;
	r = stow_sql_run(ledger, err, "DELETE FROM fence WHERE owner = ?", "t", owner);
	STOW_IDSET_FOR(id, nodes)
		if (r == 0)
			r = stow_sql_run(ledger, err, "INSERT INTO fence VALUES(?, ?)", "ti", owner,
					 (int64_t)id);
	return stow_ledger_end(ledger, r, err);
}

static int add_number(sqlite3_stmt *stmt, void *set)
{
	int number = sqlite3_column_int(stmt, 0);

	if (number >= 0 && number < STOW_IDSET_MAX)
		stow_idset_add(set, number);
	return 0;
}

int stow_ledger_fenced(struct stow_ledger *ledger, const char *owner, struct stow_idset *ret,
		       struct stow_err *err)
{
	*ret = (struct stow_idset){ 0 };
	return owner ? stow_sql_each(ledger, err, add_number, ret,
				     "SELECT node FROM fence WHERE owner = ?", "t", owner)
		     : stow_sql_each(ledger, err, add_number, ret, "SELECT node FROM fence", "");
}

/* --- usage ---------------------------------------------------------------- */

static struct stow_node_usage *usage_node(struct stow_usage *usage, int id)
{
	struct stow_node_usage *added;

	for (size_t i = 0; i < usage->n_nodes; i++)
		if (usage->nodes[i].id == id)
			return &usage->nodes[i];
	added = STOW_APPEND(usage->nodes, usage->n_nodes);
	if (added)
		added->id = id;
	return added;
}

static int share_row(sqlite3_stmt *stmt, void *usage)
{
	struct stow_node_usage *node = usage_node(usage, sqlite3_column_int(stmt, 0));

	if (!node)
		return -ENOMEM;
	node->shared_cpus = (uint32_t)sqlite3_column_int64(stmt, 1);
	if (!node->shared_cpus && sqlite3_column_int(stmt, 3))
		node->shared_cpus = 1;
	node->memory = node->memory_outstanding = stow_sql_u64(stmt, 2);
	return 0;
}

static int page_row(sqlite3_stmt *stmt, void *usage)
{
	struct stow_node_usage *node = usage_node(usage, sqlite3_column_int(stmt, 0));

	if (!node)
		return -ENOMEM;
	if (node->n_pools == STOW_POOLS_MAX)
		return 0;
	node->pools[node->n_pools].size = stow_sql_u64(stmt, 1);
	node->pools[node->n_pools].promised = stow_sql_u64(stmt, 2);
	node->pools[node->n_pools].outstanding = node->pools[node->n_pools].promised;
	node->n_pools++;
	return 0;
}

int stow_ledger_usage(struct stow_ledger *ledger, struct stow_usage **ret_usage,
		      struct stow_err *err)
{
	_cleanup_read_lock_ struct stow_ledger *lock = NULL;
	_cleanup_(stow_usage_free_ptr) struct stow_usage *usage = calloc(1, sizeof(*usage));
	int r;

	if (!usage)
		return stow_err_sys(err, ENOMEM, "reading the ledger");
	r = stow_sql_read_lock(ledger, &lock, err);
	/* A node counts at least one shared CPU if a shared container is on it, even one that has
	 * requested no number of CPUs. A claim's share of memory alone does not count if the claim
	 * has CPUs in another share: its containers use those. */
	if (r == 0)
		r = stow_sql_each(
			ledger, err, share_row, usage,
			"SELECT node, sum(cpus * (exclusive = 0)), sum(memory),"
			" max(exclusive = 0 AND (cpus > 0 OR container NOT IN"
			" (SELECT container FROM claim WHERE uid IN"
			"  (SELECT uid FROM claim JOIN share USING(container) WHERE cpus > 0))))"
			" FROM share GROUP BY node",
			"");
	if (r == 0)
		r = stow_sql_each(ledger, err, page_row, usage,
				  "SELECT node, size, sum(pages) FROM page GROUP BY node, size",
				  "");
	if (r == 0)
		r = stow_ledger_exclusive(ledger, &usage->exclusive, err);
	if (r == 0)
		r = stow_ledger_fenced(ledger, NULL, &usage->fenced, err);
	if (r < 0)
		return r;
	*ret_usage = STOW_TAKE_PTR(usage);
	return 0;
}

void stow_usage_free(struct stow_usage *usage)
{
	if (!usage)
		return;
	free(usage->nodes);
	free(usage);
}

int stow_ledger_exclusive(struct stow_ledger *ledger, struct stow_idset *ret, struct stow_err *err)
{
	*ret = (struct stow_idset){ 0 };
	return stow_sql_each(ledger, err, add_number, ret, "SELECT cpu FROM cpu", "");
}

static int caps_row(sqlite3_stmt *stmt, void *ctx)
{
	struct stow_caps *caps = ctx;

	caps->cpus = (uint32_t)sqlite3_column_int64(stmt, 0);
	caps->memory = stow_sql_u64(stmt, 1);
	caps->hugepages = stow_sql_u64(stmt, 2);
	return 0;
}

int stow_ledger_namespace(struct stow_ledger *ledger, const char *ns, struct stow_caps *ret,
			  struct stow_err *err)
{
	*ret = (struct stow_caps){ 0 };
	/* Without the targets of repins, so that a repin does not hit the container's cap. */
	return stow_sql_each(
		ledger, err, caps_row, ret,
		"WITH mine AS (SELECT key FROM container WHERE ns = ?) SELECT"
		" (SELECT sum(cpus) FROM share WHERE target = 0 AND container IN mine),"
		" (SELECT sum(memory) FROM share WHERE target = 0 AND container IN mine),"
		" (SELECT sum(pages * size) FROM page WHERE target = 0 AND container IN mine)",
		"t", ns);
}

/* --- pools ---------------------------------------------------------------- */

static int pool_row(sqlite3_stmt *stmt, void *ret)
{
	struct stow_ledger_pool *pool = ret;

	pool->node = sqlite3_column_int(stmt, 0);
	pool->size = stow_sql_u64(stmt, 1);
	pool->added = stow_sql_u64(stmt, 2);
	pool->writing = sqlite3_column_int(stmt, 3) != 0;
	pool->before = stow_sql_u64(stmt, 4);
	pool->target = stow_sql_u64(stmt, 5);
	return 0;
}

struct pools {
	struct stow_ledger_pool *list;
	size_t n;
};

static int add_pool(sqlite3_stmt *stmt, void *ctx)
{
	struct pools *pools = ctx;
	struct stow_ledger_pool *added = STOW_APPEND(pools->list, pools->n);

	return added ? pool_row(stmt, added) : -ENOMEM;
}

int stow_ledger_pools(struct stow_ledger *ledger, struct stow_ledger_pool **ret, size_t *ret_n,
		      struct stow_err *err)
{
	struct pools pools = { 0 };
	int r = stow_sql_each(ledger, err, add_pool, &pools,
			      "SELECT node, size, added, writing, before, target FROM pool", "");

	if (r < 0) {
		free(pools.list);
		return r;
	}
	*ret = pools.list;
	*ret_n = pools.n;
	return 0;
}

int stow_ledger_pool_get(struct stow_ledger *ledger, int node, uint64_t size,
			 struct stow_ledger_pool *ret, struct stow_err *err)
{
	*ret = (struct stow_ledger_pool){ .node = node, .size = size };
	return stow_sql_each(ledger, err, pool_row, ret,
			     "SELECT node, size, added, writing, before, target FROM pool"
			     " WHERE node = ? AND size = ?",
			     "ii", (int64_t)node, (int64_t)size);
}

int stow_ledger_pool_put(struct stow_ledger *ledger, const struct stow_ledger_pool *pool,
			 struct stow_err *err)
{
	if (!pool->added && !pool->writing)
		return stow_sql_run(ledger, err, "DELETE FROM pool WHERE node = ? AND size = ?",
				    "ii", (int64_t)pool->node, (int64_t)pool->size);
	return stow_sql_run(ledger, err, "INSERT OR REPLACE INTO pool VALUES(?, ?, ?, ?, ?, ?)",
			    "iiiiii", (int64_t)pool->node, (int64_t)pool->size,
			    (int64_t)pool->added, (int64_t)pool->writing, (int64_t)pool->before,
			    (int64_t)pool->target);
}

int stow_ledger_pool_promised(struct stow_ledger *ledger, int node, uint64_t size,
			      uint64_t *ret_pages, struct stow_err *err)
{
	int64_t pages;
	int r = stow_sql_number(
		ledger, &pages, err,
		"SELECT sum(p.pages) FROM page p JOIN container c ON c.key = p.container"
		" WHERE p.node = ? AND p.size = ? AND (c.state != ? OR c.kind = ?)",
		"iiii", (int64_t)node, (int64_t)size, (int64_t)STOW_STATE_LEASE,
		(int64_t)STOW_LEASE_CLAIM);

	if (r == 0)
		*ret_pages = (uint64_t)pages;
	return r;
}

struct pinned {
	const struct stow_idset *online;
	struct stow_idset *ret;
};

static int pinned_row(sqlite3_stmt *stmt, void *ctx)
{
	const struct pinned *pinned = ctx;
	struct stow_idset set;

	stow_sql_idset(stmt, 0, &set);
	if (!stow_idset_subset(pinned->online, &set))
		stow_idset_or(pinned->ret, &set);
	return 0;
}

int stow_ledger_pinned(struct stow_ledger *ledger, const struct stow_idset *online,
		       struct stow_idset *ret, struct stow_err *err)
{
	struct pinned pinned = { .online = online, .ret = ret };

	*ret = (struct stow_idset){ 0 };
	return stow_sql_each(ledger, err, pinned_row, &pinned,
			     "SELECT iif(cpus <> '', cpus, given_cpus) FROM container"
			     " WHERE mode = 0 AND (cpus <> '' OR given_cpus <> '')"
			     /* Containers with a claim's exclusive CPUs do not run on the set that
				they were given. */
			     " AND key NOT IN (SELECT hold.container FROM hold JOIN"
			     " container ON key = claim WHERE mode > 0)",
			     "");
}

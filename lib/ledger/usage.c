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

int stow_ledger_fenced(struct stow_ledger *ledger, const char *owner, struct stow_idset *ret,
		       struct stow_err *err)
{
	_cleanup_read_lock_ struct stow_ledger *lock = NULL;
	_cleanup_stmt_ sqlite3_stmt *stmt = NULL;
	int r;

	memset(ret, 0, sizeof(*ret));
	r = stow_sql_read_lock(ledger, &lock, err);
	if (r == 0 && owner)
		r = stow_sql_prepare(ledger, &stmt, err, "SELECT node FROM fence WHERE owner = ?",
				     "t", owner);
	else if (r == 0)
		r = stow_sql_prepare(ledger, &stmt, err, "SELECT node FROM fence", "");
	while (r == 0 && (r = stow_sql_step(ledger, stmt, err)) > 0) {
		int node = sqlite3_column_int(stmt, 0);

		if (node >= 0 && node < STOW_IDSET_MAX)
			stow_idset_add(ret, node);
		r = 0;
	}
	return r;
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

static int usage_shares(struct stow_ledger *ledger, struct stow_usage *usage, struct stow_err *err)
{
	_cleanup_stmt_ sqlite3_stmt *stmt = NULL;
	int r;

	/* A node counts at least one shared CPU if a shared container is on it, even one that has
	 * requested no number of CPUs. A claim's share of memory alone does not count if the claim
	 * has CPUs in another share: its containers use those. */
	r = stow_sql_prepare(
		ledger, &stmt, err,
		"SELECT node, sum(cpus * (exclusive = 0)), sum(memory),"
		" max(exclusive = 0 AND (cpus > 0 OR container NOT IN"
		" (SELECT container FROM claim WHERE uid IN"
		"  (SELECT uid FROM claim JOIN share USING(container) WHERE cpus > 0))))"
		" FROM share GROUP BY node",
		"");
	while (r == 0 && (r = stow_sql_step(ledger, stmt, err)) > 0) {
		struct stow_node_usage *node = usage_node(usage, sqlite3_column_int(stmt, 0));

		if (!node)
			return stow_err_sys(err, ENOMEM, "reading the ledger");
		node->shared_cpus = (uint32_t)sqlite3_column_int64(stmt, 1);
		if (!node->shared_cpus && sqlite3_column_int(stmt, 3))
			node->shared_cpus = 1;
		node->memory = (uint64_t)sqlite3_column_int64(stmt, 2);
		node->memory_outstanding = node->memory;
		r = 0;
	}
	return r;
}

static int usage_pages(struct stow_ledger *ledger, struct stow_usage *usage, struct stow_err *err)
{
	_cleanup_stmt_ sqlite3_stmt *stmt = NULL;
	int r;

	r = stow_sql_prepare(ledger, &stmt, err,
			     "SELECT node, size, sum(pages) FROM page GROUP BY node, size", "");
	while (r == 0 && (r = stow_sql_step(ledger, stmt, err)) > 0) {
		struct stow_node_usage *node = usage_node(usage, sqlite3_column_int(stmt, 0));

		if (!node)
			return stow_err_sys(err, ENOMEM, "reading the ledger");
		r = 0;
		if (node->n_pools == STOW_POOLS_MAX)
			continue;
		node->pools[node->n_pools].size = (uint64_t)sqlite3_column_int64(stmt, 1);
		node->pools[node->n_pools].promised = (uint64_t)sqlite3_column_int64(stmt, 2);
		node->pools[node->n_pools].outstanding = node->pools[node->n_pools].promised;
		node->n_pools++;
	}
	return r;
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
	if (r == 0)
		r = usage_shares(ledger, usage, err);
	if (r == 0)
		r = usage_pages(ledger, usage, err);
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
	_cleanup_read_lock_ struct stow_ledger *lock = NULL;
	_cleanup_stmt_ sqlite3_stmt *stmt = NULL;
	struct stow_idset set = { 0 };
	int r;

	r = stow_sql_read_lock(ledger, &lock, err);
	if (r == 0)
		r = stow_sql_prepare(ledger, &stmt, err, "SELECT cpu FROM cpu", "");
	while (r == 0 && (r = stow_sql_step(ledger, stmt, err)) > 0) {
		stow_idset_add(&set, sqlite3_column_int(stmt, 0));
		r = 0;
	}
	if (r == 0)
		*ret = set;
	return r;
}

int stow_ledger_namespace(struct stow_ledger *ledger, const char *ns, struct stow_caps *ret,
			  struct stow_err *err)
{
	_cleanup_read_lock_ struct stow_ledger *lock = NULL;
	_cleanup_stmt_ sqlite3_stmt *stmt = NULL;
	int r;

	memset(ret, 0, sizeof(*ret));
	r = stow_sql_read_lock(ledger, &lock, err);
	/* Without the targets of repins, so that a repin does not hit the container's cap. */
	if (r == 0)
		r = stow_sql_prepare(
			ledger, &stmt, err,
			"WITH mine AS (SELECT key FROM container WHERE ns = ?) SELECT"
			" (SELECT sum(cpus) FROM share WHERE target = 0 AND container IN mine),"
			" (SELECT sum(memory) FROM share WHERE target = 0 AND container IN mine),"
			" (SELECT sum(pages * size) FROM page WHERE target = 0 AND container IN "
			"mine)",
			"t", ns);
	if (r == 0)
		r = stow_sql_step(ledger, stmt, err);
	if (r <= 0)
		return r;
	ret->cpus = (uint32_t)sqlite3_column_int64(stmt, 0);
	ret->memory = (uint64_t)sqlite3_column_int64(stmt, 1);
	ret->hugepages = (uint64_t)sqlite3_column_int64(stmt, 2);
	return 0;
}

/* --- pools ---------------------------------------------------------------- */

static void pool_from_row(sqlite3_stmt *stmt, struct stow_ledger_pool *pool)
{
	pool->node = sqlite3_column_int(stmt, 0);
	pool->size = (uint64_t)sqlite3_column_int64(stmt, 1);
	pool->added = (uint64_t)sqlite3_column_int64(stmt, 2);
	pool->writing = sqlite3_column_int(stmt, 3) != 0;
	pool->before = (uint64_t)sqlite3_column_int64(stmt, 4);
	pool->target = (uint64_t)sqlite3_column_int64(stmt, 5);
}

int stow_ledger_pools(struct stow_ledger *ledger, struct stow_ledger_pool **ret, size_t *ret_n,
		      struct stow_err *err)
{
	_cleanup_read_lock_ struct stow_ledger *lock = NULL;
	_cleanup_free_ struct stow_ledger_pool *pools = NULL;
	_cleanup_stmt_ sqlite3_stmt *stmt = NULL;
	size_t n = 0;
	int r;

	r = stow_sql_read_lock(ledger, &lock, err);
	if (r < 0)
		return r;
	r = stow_sql_prepare(ledger, &stmt, err,
			     "SELECT node, size, added, writing, before, target FROM pool", "");
	while (r == 0 && (r = stow_sql_step(ledger, stmt, err)) > 0) {
		struct stow_ledger_pool *added = STOW_APPEND(pools, n);

		if (!added)
			return stow_err_sys(err, ENOMEM, "reading the ledger");
		pool_from_row(stmt, added);
		r = 0;
	}
	if (r < 0)
		return r;
	*ret = STOW_TAKE_PTR(pools);
	*ret_n = n;
	return 0;
}

int stow_ledger_pool_get(struct stow_ledger *ledger, int node, uint64_t size,
			 struct stow_ledger_pool *ret, struct stow_err *err)
{
	_cleanup_read_lock_ struct stow_ledger *lock = NULL;
	_cleanup_stmt_ sqlite3_stmt *stmt = NULL;
	int r;

	memset(ret, 0, sizeof(*ret));
	ret->node = node;
	ret->size = size;
	r = stow_sql_read_lock(ledger, &lock, err);
	if (r < 0)
		return r;
	r = stow_sql_prepare(ledger, &stmt, err,
			     "SELECT node, size, added, writing, before, target FROM pool"
			     " WHERE node = ? AND size = ?",
			     "ii", (int64_t)node, (int64_t)size);
	if (r == 0)
		r = stow_sql_step(ledger, stmt, err);
	if (r > 0)
		pool_from_row(stmt, ret);
	return r < 0 ? r : 0;
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

int stow_ledger_pinned(struct stow_ledger *ledger, const struct stow_idset *online,
		       struct stow_idset *ret, struct stow_err *err)
{
	_cleanup_read_lock_ struct stow_ledger *lock = NULL;
	_cleanup_stmt_ sqlite3_stmt *stmt = NULL;
	struct stow_idset set, pinned = { 0 };
	int r;

	r = stow_sql_read_lock(ledger, &lock, err);
	if (r == 0)
		r = stow_sql_prepare(ledger, &stmt, err,
				     "SELECT iif(cpus <> '', cpus, given_cpus) FROM container"
				     " WHERE mode = 0 AND (cpus <> '' OR given_cpus <> '')"
				     /* Containers with a claim's exclusive CPUs do not run on the
					set that they were given. */
				     " AND key NOT IN (SELECT hold.container FROM hold JOIN"
				     " container ON key = claim WHERE mode > 0)",
				     "");
	while (r == 0 && (r = stow_sql_step(ledger, stmt, err)) > 0) {
		stow_sql_idset(stmt, 0, &set);
		if (!stow_idset_subset(online, &set))
			stow_idset_or(&pinned, &set);
		r = 0;
	}
	if (r == 0)
		*ret = pinned;
	return r;
}

// SPDX-License-Identifier: Apache-2.0
/* Reading records: each table is read once, in the order of the key, and the rows are put
 * together. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "ledger/internal.h"
#include "ledger/ledger.h"
#include "ledger/sql.h"

struct list {
	struct stow_record **records; /* by ascending key */
	size_t n;
	size_t at; /* index of the previous row's record */
};

/* Find the record of a row's first column. Rows come by ascending key, too. */
static struct stow_record *record_of(void *ctx, sqlite3_stmt *stmt)
{
	struct list *list = ctx;
	int64_t key = sqlite3_column_int64(stmt, 0);

	while (list->at < list->n && list->records[list->at]->key < key)
		list->at++;
	return list->at < list->n && list->records[list->at]->key == key ? list->records[list->at]
									 : NULL;
}

/* --- rows of each table --------------------------------------------------- */

/* Read a controller's version, path and inode from `column` on; NULL: those of cpuset. */
static int read_cgroup(sqlite3_stmt *stmt, int column, enum stow_controller controller,
		       struct stow_cgroup_id *id)
{
	typeof(id->at[0]) *at = &id->at[controller];
	const char *path;

	if (sqlite3_column_type(stmt, column) == SQLITE_NULL) {
		*at = id->at[STOW_CGROUP_CPUSET];
		path = at->path;
	} else {
		at->version = sqlite3_column_int(stmt, column);
		path = (const char *)sqlite3_column_text(stmt, column + 1);
		at->inode = stow_sql_u64(stmt, column + 2);
	}
	at->path = path ? strdup(path) : NULL;
	return path && !at->path ? -ENOMEM : 0;
}

static int fill(sqlite3_stmt *stmt, struct stow_record *rec)
{
	struct stow_given given;
	int mode, r;

	rec->key = sqlite3_column_int64(stmt, 0);
	rec->state = (enum stow_state)sqlite3_column_int(stmt, 1);
	rec->kind = (enum stow_lease_kind)sqlite3_column_int(stmt, 2);
	rec->id = stow_sql_text(stmt, 3);
	rec->pod = stow_sql_text(stmt, 4);
	rec->ns = stow_sql_text(stmt, 5);
	rec->name = stow_sql_text(stmt, 6);
	rec->init.pid = sqlite3_column_int(stmt, 7);
	rec->init.start = stow_sql_u64(stmt, 8);
	rec->worker.pid = sqlite3_column_int(stmt, 9);
	rec->worker.start = stow_sql_u64(stmt, 10);
	r = read_cgroup(stmt, 11, STOW_CGROUP_CPUSET, &rec->cgroup);
	if (r == 0)
		r = read_cgroup(stmt, 14, STOW_CGROUP_HUGETLB, &rec->cgroup);
	if (r == 0)
		r = read_cgroup(stmt, 17, STOW_CGROUP_MEMORY, &rec->cgroup);
	rec->created = stow_sql_u64(stmt, 20);
	rec->expires = stow_sql_u64(stmt, 21);
	mode = sqlite3_column_int(stmt, 22);
	rec->exclusive = mode > 0;
	rec->isolated = mode > 1;
	stow_sql_idset(stmt, 23, &rec->cpus);
	stow_sql_idset(stmt, 24, &rec->nodes);
	stow_sql_idset(stmt, 25, &given.cpus);
	stow_sql_idset(stmt, 26, &given.mems);
	if (r == 0)
		r = stow_record_give(rec, &given.cpus, &given.mems);
	rec->request = stow_sql_text(stmt, 27);
	rec->digest = stow_sql_text(stmt, 28);
	rec->reason = stow_sql_text(stmt, 29);
	rec->drain = (enum stow_drain)sqlite3_column_int(stmt, 30);
	rec->reservation = stow_sql_text(stmt, 31);
	return r == 0 && rec->id && rec->pod && rec->ns && rec->name && rec->request &&
			       rec->digest && rec->reason && rec->reservation
		       ? 0
		       : -ENOMEM;
}

static int container_row(sqlite3_stmt *stmt, void *ctx)
{
	struct list *list = ctx;
	struct stow_record *record = calloc(1, sizeof(*record)), **added;

	added = record ? STOW_APPEND(list->records, list->n) : NULL;
	if (!added) {
		free(record);
		return -ENOMEM;
	}
	*added = record;
	return fill(stmt, record);
}

static int move_row(sqlite3_stmt *stmt, void *list)
{
	struct stow_record *rec = record_of(list, stmt);

	if (!rec || rec->move)
		return 0;
	rec->move = calloc(1, sizeof(*rec->move));
	if (!rec->move)
		return -ENOMEM;
	rec->move->worker.pid = sqlite3_column_int(stmt, 1);
	rec->move->worker.start = stow_sql_u64(stmt, 2);
	rec->move->step = (enum stow_move_step)sqlite3_column_int(stmt, 3);
	stow_sql_idset(stmt, 4, &rec->move->cpus);
	stow_sql_idset(stmt, 5, &rec->move->nodes);
	rec->move->reason = stow_sql_text(stmt, 6);
	return rec->move->reason ? 0 : -ENOMEM;
}

/* Return the shares that a row's second column, `target`, selects; NULL: the record has no
 * repin. */
static struct stow_share **shares_of(struct stow_record *rec, sqlite3_stmt *stmt, size_t **ret_n)
{
	bool target = sqlite3_column_int(stmt, 1) != 0;

	if (target && !rec->move)
		return NULL;
	*ret_n = target ? &rec->move->n_shares : &rec->n_shares;
	return target ? &rec->move->shares : &rec->shares;
}

static int share_row(sqlite3_stmt *stmt, void *list)
{
	struct stow_record *rec = record_of(list, stmt);
	struct stow_share **shares, *added;
	size_t *n;

	shares = rec ? shares_of(rec, stmt, &n) : NULL;
	if (!shares)
		return 0;
	added = STOW_APPEND(*shares, *n);
	if (!added)
		return -ENOMEM;
	*added = (struct stow_share){
		.node = sqlite3_column_int(stmt, 2),
		.cpus = (uint32_t)sqlite3_column_int64(stmt, 3),
		.memory = stow_sql_u64(stmt, 4),
	};
	return 0;
}

/* Return the index of a page size in the record, added if it is new; -1 when there are too many. */
static int page_index(struct stow_record *rec, uint64_t size)
{
	size_t i = 0;

	while (i < rec->n_pages && rec->pages[i].size != size)
		i++;
	if (i == STOW_POOLS_MAX)
		return -1;
	if (i == rec->n_pages) {
		rec->pages[i].size = size;
		rec->pages[i].count = 0;
		rec->n_pages++;
	}
	return (int)i;
}

static int page_row(sqlite3_stmt *stmt, void *list)
{
	struct stow_record *rec = record_of(list, stmt);
	struct stow_share **shares;
	size_t *n;
	int p;

	shares = rec ? shares_of(rec, stmt, &n) : NULL;
	p = shares ? page_index(rec, stow_sql_u64(stmt, 3)) : -1;
	for (size_t i = 0; p >= 0 && i < *n; i++) {
		struct stow_share *share = &(*shares)[i];

		if (share->node != sqlite3_column_int(stmt, 2))
			continue;
		share->pages[p] = stow_sql_u64(stmt, 4);
		if (shares == &rec->shares)
			rec->pages[p].count += share->pages[p];
	}
	return 0;
}

static int cpu_row(sqlite3_stmt *stmt, void *list)
{
	struct stow_record *rec = record_of(list, stmt);
	int cpu = sqlite3_column_int(stmt, 2);

	if (rec && sqlite3_column_int(stmt, 1) == 0)
		stow_idset_add(&rec->cpus, cpu);
	else if (rec && rec->move)
		stow_idset_add(&rec->move->cpus, cpu);
	return 0;
}

static int saved_row(sqlite3_stmt *stmt, void *list)
{
	struct stow_record *rec = record_of(list, stmt);
	struct stow_saved *added;

	if (!rec)
		return 0;
	added = STOW_APPEND(rec->saved, rec->n_saved);
	if (!added)
		return -ENOMEM;
	added->controller = (enum stow_controller)sqlite3_column_int(stmt, 1);
	added->attribute = stow_sql_text(stmt, 2);
	added->value = stow_sql_text(stmt, 3);
	return added->attribute && added->value ? 0 : -ENOMEM;
}

/* --- claims --------------------------------------------------------------- */

static int claim_row(sqlite3_stmt *stmt, void *list)
{
	struct stow_record *rec = record_of(list, stmt);

	if (!rec || rec->claim)
		return 0;
	rec->claim = calloc(1, sizeof(*rec->claim));
	if (!rec->claim)
		return -ENOMEM;
	rec->claim->uid = stow_sql_text(stmt, 1);
	rec->claim->share = stow_sql_text(stmt, 2);
	rec->claim->part = stow_sql_text(stmt, 3);
	return rec->claim->uid && rec->claim->share && rec->claim->part ? 0 : -ENOMEM;
}

static int held_row(sqlite3_stmt *stmt, void *list)
{
	struct stow_record *rec = record_of(list, stmt);
	struct stow_held *added;
	int mode;

	if (!rec)
		return 0;
	added = STOW_APPEND(rec->held, rec->n_held);
	if (!added)
		return -ENOMEM;
	mode = sqlite3_column_int(stmt, 7);
	*added = (struct stow_held){ .key = sqlite3_column_int64(stmt, 1),
				     .uid = stow_sql_text(stmt, 2),
				     .share = stow_sql_text(stmt, 3),
				     .part = stow_sql_text(stmt, 4),
				     .ns = stow_sql_text(stmt, 5),
				     .name = stow_sql_text(stmt, 6),
				     .exclusive = mode > 0,
				     .isolated = mode > 1,
				     .drain = (enum stow_drain)sqlite3_column_int(stmt, 9) };
	stow_sql_idset(stmt, 8, &added->nodes);
	return added->uid && added->share && added->part && added->ns && added->name ? 0 : -ENOMEM;
}

/* Find the claim's share of a row's first two columns. */
static struct stow_held *held_of(void *list, sqlite3_stmt *stmt)
{
	struct stow_record *rec = record_of(list, stmt);

	for (size_t i = 0; rec && i < rec->n_held; i++)
		if (rec->held[i].key == sqlite3_column_int64(stmt, 1))
			return &rec->held[i];
	return NULL;
}

static int held_share_row(sqlite3_stmt *stmt, void *list)
{
	struct stow_held *held = held_of(list, stmt);

	if (held) {
		stow_idset_add(&held->at, sqlite3_column_int(stmt, 2));
		held->memory += stow_sql_u64(stmt, 3);
		held->n_cpus += (uint32_t)sqlite3_column_int64(stmt, 4);
	}
	return 0;
}

static int held_page_row(sqlite3_stmt *stmt, void *list)
{
	struct stow_held *held = held_of(list, stmt);

	if (held && held->n_pages < STOW_POOLS_MAX) {
		held->pages[held->n_pages].size = stow_sql_u64(stmt, 2);
		held->pages[held->n_pages++].count = stow_sql_u64(stmt, 3);
	}
	return 0;
}

static int held_cpu_row(sqlite3_stmt *stmt, void *list)
{
	struct stow_held *held = held_of(list, stmt);

	if (held)
		stow_idset_add(&held->cpus, sqlite3_column_int(stmt, 2));
	return 0;
}

/* Compute what a container may use from the shares that it holds. */
static void sum_claims(struct stow_record *rec)
{
	static const int strictness[] = {
		[STOW_DRAIN_MODE_REPIN] = 0, [STOW_DRAIN_MODE_EVICT] = 1, [STOW_DRAIN_MODE_REFUSE] = 2
	};

	if (!stow_record_is_holder(rec))
		return;
	rec->isolated = true;
	for (size_t i = 0; i < rec->n_held; i++) {
		const struct stow_held *held = &rec->held[i];

		rec->exclusive |= held->exclusive;
		stow_idset_or(&rec->cpus, &held->cpus);
		stow_idset_or(&rec->nodes, &held->nodes);
		if (strictness[held->drain] > strictness[rec->drain])
			rec->drain = held->drain;
		rec->isolated &= !held->exclusive || held->isolated;
	}
	rec->isolated &= rec->exclusive;
}

/* --- all tables ----------------------------------------------------------- */

/* In this order: shares need the repin, pages need the shares. */
static const struct table {
	const char *select, *order;
	int (*row)(sqlite3_stmt *stmt, void *list);
} tables[] = {
	{ "SELECT key, " STOW_RECORD_COLUMNS " FROM container", "key", container_row },
	{ "SELECT container, worker_pid, worker_start, step, cpus, nodes, reason FROM move",
	  "container", move_row },
	{ "SELECT container, target, node, cpus, memory FROM share", "container, target, node",
	  share_row },
	/* By size, so that the record's `pages` are in ascending order. */
	{ "SELECT container, target, node, size, pages FROM page", "container, size", page_row },
	{ "SELECT container, target, cpu FROM cpu", "container", cpu_row },
	{ "SELECT container, controller, attribute, value FROM saved", "container, position",
	  saved_row },
};

/* Further tables, for records of shares of claims and of their holders: read only if there is such
 * a record. In the rows from `hold`, `container` is the record that holds the share. */
static const struct table claim_tables[] = {
	{ "SELECT container, uid, share, part FROM claim", "container", claim_row },
	{ "SELECT container, claim, uid, share, part, ns, name, mode, nodes, drain FROM hold JOIN"
	  " (SELECT key AS claim, uid, share, part, ns, name, mode, nodes, drain FROM container"
	  " JOIN claim ON claim.container = key) USING(claim)",
	  "container, claim", held_row },
	{ "SELECT container, claim, node, memory, cpus FROM hold JOIN"
	  " (SELECT container AS claim, node, memory, cpus FROM share) USING(claim)",
	  "container, claim", held_share_row },
	{ "SELECT container, claim, size, pages FROM hold JOIN (SELECT container AS claim, size,"
	  " sum(pages) AS pages FROM page GROUP BY container, size) USING(claim)",
	  "container, claim, size", held_page_row },
	{ "SELECT container, claim, cpu FROM hold JOIN"
	  " (SELECT container AS claim, cpu FROM cpu) USING(claim)",
	  "container, claim", held_cpu_row },
};

static int read_table(struct stow_ledger *ledger, const struct table *table, struct list *list,
		      struct stow_err *err, const char *where, const char *types, va_list ap)
{
	char condition[256] = "", sql[1024];

	if (*where && table == tables) /* the records themselves */
		snprintf(condition, sizeof(condition), " WHERE %s", where);
	else if (*where)
		snprintf(condition, sizeof(condition),
			 " WHERE container IN (SELECT key FROM container WHERE %s)", where);
	snprintf(sql, sizeof(sql), "%s%s ORDER BY %s", table->select, condition, table->order);
	list->at = 0;
	return stow_sql_each_va(ledger, err, table->row, list, sql, types, ap);
}

static bool has_claims(const struct list *list)
{
	for (size_t i = 0; i < list->n; i++)
		if (list->records[i]->kind == STOW_LEASE_CLAIM)
			return true;
	return false;
}

/* Read the records for which `where` holds, "" for all; `types` and the rest bind its
 * parameters. */
static int read_records(struct stow_ledger *ledger, struct stow_record ***ret, size_t *ret_n,
			struct stow_err *err, const char *where, const char *types, ...)
{
	_cleanup_read_lock_ struct stow_ledger *lock = NULL;
	struct list list = { 0 };
	va_list ap;
	int r;

	r = stow_sql_read_lock(ledger, &lock, err);
	va_start(ap, types);
	for (size_t i = 0; i < STOW_ARRAY_SIZE(tables) && r == 0 && (i == 0 || list.n > 0); i++)
		r = read_table(ledger, &tables[i], &list, err, where, types, ap);
	for (size_t i = 0; i < STOW_ARRAY_SIZE(claim_tables) && r == 0 && has_claims(&list); i++)
		r = read_table(ledger, &claim_tables[i], &list, err, where, types, ap);
	va_end(ap);
	for (size_t i = 0; i < list.n && r == 0; i++)
		sum_claims(list.records[i]);
	if (r < 0) {
		stow_records_free(list.records, list.n);
		return r;
	}
	*ret = list.records;
	*ret_n = list.n;
	return 0;
}

int stow_ledger_records(struct stow_ledger *ledger, const char *id, struct stow_record ***ret,
			size_t *ret_n, struct stow_err *err)
{
	if (!id)
		return read_records(ledger, ret, ret_n, err, "", "");
	/* The index has no empty ids; the planner uses it only if the condition excludes them. */
	if (*id)
		return read_records(ledger, ret, ret_n, err, "id = ? AND id <> ''", "t", id);
	return read_records(ledger, ret, ret_n, err, "id = ''", "");
}

int stow_ledger_pool_records(struct stow_ledger *ledger, int node, uint64_t size,
			     struct stow_record ***ret, size_t *ret_n, struct stow_err *err)
{
	return read_records(ledger, ret, ret_n, err,
			    "key IN (SELECT container FROM page WHERE node = ? AND size = ?)", "ii",
			    (int64_t)node, (int64_t)size);
}

/* Return the first record, which the caller owns, and free the others. NULL: there is none. */
static struct stow_record *take_first(struct stow_record **records, size_t n)
{
	struct stow_record *first = n ? records[0] : NULL;

	if (n)
		records[0] = NULL;
	stow_records_free(records, n);
	return first;
}

int stow_ledger_record(struct stow_ledger *ledger, int64_t key, struct stow_record **ret,
		       struct stow_err *err)
{
	struct stow_record **records;
	size_t n;
	int r;

	r = read_records(ledger, &records, &n, err, "key = ?", "i", key);
	if (r < 0)
		return r;
	*ret = take_first(records, n);
	return *ret ? 0 : stow_err_set(err, ENOENT, "the record is gone");
}

int stow_ledger_member(struct stow_ledger *ledger, const char *pod, const char *name,
		       struct stow_record **ret, struct stow_err *err)
{
	struct stow_record **records;
	size_t n;
	int r;

	*ret = NULL;
	r = read_records(ledger, &records, &n, err,
			 /* STOW_LEASE_MEMBER, STOW_STATE_LEASE: as literals, for the index. */
			 "kind = 1 AND state = 0 AND pod = ? AND name = ?", "tt", pod, name);
	if (r == 0)
		*ret = take_first(records, n);
	return r;
}

int stow_ledger_reservation(struct stow_ledger *ledger, const char *reservation,
			    struct stow_record **ret, struct stow_err *err)
{
	struct stow_record **records;
	size_t n;
	int r;

	*ret = NULL;
	if (!*reservation) /* records without one have "" */
		return 0;
	r = read_records(ledger, &records, &n, err, "reservation = ? AND reservation <> ''", "t",
			 reservation);
	if (r == 0)
		*ret = take_first(records, n);
	return r;
}

int stow_ledger_claim(struct stow_ledger *ledger, const char *uid, struct stow_record ***ret,
		      size_t *ret_n, struct stow_err *err)
{
	return uid ? read_records(ledger, ret, ret_n, err,
				  "key IN (SELECT container FROM claim WHERE uid = ?)", "t", uid)
		   : read_records(ledger, ret, ret_n, err, "key IN (SELECT container FROM claim)",
				  "");
}

int stow_ledger_claimed(struct stow_ledger *ledger, const char *ns, int64_t *ret,
			struct stow_err *err)
{
	return stow_sql_number(ledger, ret, err,
			       "SELECT count(*) FROM claim JOIN container ON key = container"
			       " WHERE ns = ?",
			       "t", ns);
}

int stow_ledger_holders(struct stow_ledger *ledger, const char *uid, struct stow_record ***ret,
			size_t *ret_n, struct stow_err *err)
{
	return uid ? read_records(ledger, ret, ret_n, err,
				  "key IN (SELECT hold.container FROM hold JOIN claim ON"
				  " hold.claim = claim.container WHERE uid = ?)",
				  "t", uid)
		   : read_records(ledger, ret, ret_n, err, "key IN (SELECT container FROM hold)",
				  "");
}

int stow_ledger_claim_whole(struct stow_ledger *ledger, const char *uid, struct stow_record ***ret,
			    size_t *ret_n, struct stow_err *err)
{
	return read_records(ledger, ret, ret_n, err,
			    "key IN (SELECT container FROM claim WHERE uid = ?1"
			    " UNION SELECT hold.container FROM hold JOIN claim ON"
			    " hold.claim = claim.container WHERE uid = ?1)",
			    "t", uid);
}

struct newest {
	struct stow_newest *list;
	size_t n;
};

static int newest_row(sqlite3_stmt *stmt, void *ctx)
{
	struct newest *newest = ctx;

	newest->list[newest->n++] =
		(struct stow_newest){ .key = sqlite3_column_int64(stmt, 0),
				      .init = { .pid = sqlite3_column_int(stmt, 1),
						.start = stow_sql_u64(stmt, 2) } };
	return 0;
}

int stow_ledger_newest(struct stow_ledger *ledger, struct stow_newest *ret, size_t max,
		       size_t *ret_n, struct stow_err *err)
{
	struct newest newest = { .list = ret };
	int r = stow_sql_each(ledger, err, newest_row, &newest,
			      "SELECT key, init_pid, init_start FROM container"
			      " WHERE state = ? ORDER BY key DESC LIMIT ?",
			      "ii", (int64_t)STOW_STATE_ACTIVE, (int64_t)max);

	*ret_n = newest.n;
	return r;
}

// SPDX-License-Identifier: Apache-2.0
/* Reading records: each table is read once, in the order of the key, and the rows are put
 * together. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "ledger/internal.h"
#include "ledger/ledger.h"
#include "ledger/sql.h"

struct list {
	struct stow_record **records; /* by ascending key */
	size_t n, size;
	size_t at; /* index of the previous row's record */
};

static int no_memory(struct stow_err *err)
{
	return stow_err_set(err, ENOMEM, "reading the ledger: out of memory");
}

/* Find the record of a row's first column. Rows come by ascending key, too. */
static struct stow_record *record_of(struct list *list, sqlite3_stmt *stmt)
{
	int64_t key = sqlite3_column_int64(stmt, 0);

	while (list->at < list->n && list->records[list->at]->key < key)
		list->at++;
	return list->at < list->n && list->records[list->at]->key == key ? list->records[list->at]
									 : NULL;
}

/* --- rows of each table --------------------------------------------------- */

/* Read a cgroup's version, path and inode from `column` on; NULL: equal to cpuset's. */
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
		at->inode = (uint64_t)sqlite3_column_int64(stmt, column + 2);
	}
	at->path = path ? strdup(path) : NULL;
	return path && !at->path ? -ENOMEM : 0;
}

static int fill(sqlite3_stmt *stmt, struct stow_record *rec)
{
	int mode, r;

	rec->key = sqlite3_column_int64(stmt, 0);
	rec->state = (enum stow_state)sqlite3_column_int(stmt, 1);
	rec->kind = (enum stow_lease_kind)sqlite3_column_int(stmt, 2);
	rec->id = stow_sql_text(stmt, 3);
	rec->pod = stow_sql_text(stmt, 4);
	rec->ns = stow_sql_text(stmt, 5);
	rec->name = stow_sql_text(stmt, 6);
	rec->init.pid = sqlite3_column_int(stmt, 7);
	rec->init.start = (uint64_t)sqlite3_column_int64(stmt, 8);
	rec->worker.pid = sqlite3_column_int(stmt, 9);
	rec->worker.start = (uint64_t)sqlite3_column_int64(stmt, 10);
	r = read_cgroup(stmt, 11, STOW_CGROUP_CPUSET, &rec->cgroup);
	if (r == 0)
		r = read_cgroup(stmt, 14, STOW_CGROUP_HUGETLB, &rec->cgroup);
	if (r == 0)
		r = read_cgroup(stmt, 17, STOW_CGROUP_MEMORY, &rec->cgroup);
	rec->created = (uint64_t)sqlite3_column_int64(stmt, 20);
	rec->expires = (uint64_t)sqlite3_column_int64(stmt, 21);
	mode = sqlite3_column_int(stmt, 22);
	rec->exclusive = mode > 0;
	rec->isolated = mode > 1;
	stow_sql_idset(stmt, 23, &rec->cpus);
	stow_sql_idset(stmt, 24, &rec->nodes);
	stow_sql_idset(stmt, 25, &rec->given_cpus);
	stow_sql_idset(stmt, 26, &rec->given_mems);
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

static int container_row(sqlite3_stmt *stmt, struct list *list, struct stow_err *err)
{
	struct stow_record **grown = list->records;

	if (list->n == list->size) {
		size_t size = list->size ? list->size * 2 : 4;

		grown = reallocarray(list->records, size, sizeof(struct stow_record *));
		if (!grown)
			return no_memory(err);
		list->records = grown;
		list->size = size;
	}
	grown[list->n] = calloc(1, sizeof(**grown));
	if (!grown[list->n])
		return no_memory(err);
	return fill(stmt, grown[list->n++]) < 0 ? no_memory(err) : 0;
}

static int move_row(sqlite3_stmt *stmt, struct list *list, struct stow_err *err)
{
	struct stow_record *rec = record_of(list, stmt);

	if (!rec || rec->move)
		return 0;
	rec->move = calloc(1, sizeof(*rec->move));
	if (!rec->move)
		return no_memory(err);
	rec->move->worker.pid = sqlite3_column_int(stmt, 1);
	rec->move->worker.start = (uint64_t)sqlite3_column_int64(stmt, 2);
	rec->move->step = (enum stow_move_step)sqlite3_column_int(stmt, 3);
	stow_sql_idset(stmt, 4, &rec->move->cpus);
	stow_sql_idset(stmt, 5, &rec->move->nodes);
	rec->move->reason = stow_sql_text(stmt, 6);
	return rec->move->reason ? 0 : no_memory(err);
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

static int share_row(sqlite3_stmt *stmt, struct list *list, struct stow_err *err)
{
	struct stow_record *rec = record_of(list, stmt);
	struct stow_share **shares, *grown;
	size_t *n;

	shares = rec ? shares_of(rec, stmt, &n) : NULL;
	if (!shares)
		return 0;
	grown = reallocarray(*shares, *n + 1, sizeof(*grown));
	if (!grown)
		return no_memory(err);
	*shares = grown;
	grown[(*n)++] = (struct stow_share){
		.node = sqlite3_column_int(stmt, 2),
		.cpus = (uint32_t)sqlite3_column_int64(stmt, 3),
		.memory = (uint64_t)sqlite3_column_int64(stmt, 4),
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

static int page_row(sqlite3_stmt *stmt, struct list *list, struct stow_err *err)
{
	struct stow_record *rec = record_of(list, stmt);
	struct stow_share **shares;
	size_t *n;
	int p;

	shares = rec ? shares_of(rec, stmt, &n) : NULL;
	p = shares ? page_index(rec, (uint64_t)sqlite3_column_int64(stmt, 3)) : -1;
	for (size_t i = 0; p >= 0 && i < *n; i++) {
		struct stow_share *share = &(*shares)[i];

		if (share->node != sqlite3_column_int(stmt, 2))
			continue;
		share->pages[p] = (uint64_t)sqlite3_column_int64(stmt, 4);
		if (shares == &rec->shares)
			rec->pages[p].count += share->pages[p];
	}
	return 0;
}

static int cpu_row(sqlite3_stmt *stmt, struct list *list, struct stow_err *err)
{
	struct stow_record *rec = record_of(list, stmt);
	int cpu = sqlite3_column_int(stmt, 2);

	if (rec && sqlite3_column_int(stmt, 1) == 0)
		stow_idset_add(&rec->cpus, cpu);
	else if (rec && rec->move)
		stow_idset_add(&rec->move->cpus, cpu);
	return 0;
}

static int saved_row(sqlite3_stmt *stmt, struct list *list, struct stow_err *err)
{
	struct stow_record *rec = record_of(list, stmt);
	struct stow_saved *grown;

	if (!rec)
		return 0;
	grown = reallocarray(rec->saved, rec->n_saved + 1, sizeof(*grown));
	if (!grown)
		return no_memory(err);
	rec->saved = grown;
	grown += rec->n_saved++;
	grown->controller = (enum stow_controller)sqlite3_column_int(stmt, 1);
	grown->attribute = stow_sql_text(stmt, 2);
	grown->value = stow_sql_text(stmt, 3);
	return grown->attribute && grown->value ? 0 : no_memory(err);
}

/* --- all tables ----------------------------------------------------------- */

/* In this order: shares need the repin, pages need the shares. */
static const struct table {
	const char *select, *order;
	int (*row)(sqlite3_stmt *stmt, struct list *list, struct stow_err *err);
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

static int read_table(struct stow_ledger *ledger, const struct table *table, struct list *list,
		      struct stow_err *err, const char *where, const char *types, va_list ap)
{
	_cleanup_stmt_ sqlite3_stmt *stmt = NULL;
	char condition[256] = "", sql[1024];
	int r;

	if (*where && table == tables)
		snprintf(condition, sizeof(condition), " WHERE %s", where);
	else if (*where)
		snprintf(condition, sizeof(condition),
			 " WHERE container IN (SELECT key FROM container WHERE %s)", where);
	snprintf(sql, sizeof(sql), "%s%s ORDER BY %s", table->select, condition, table->order);
	list->at = 0;
	r = stow_sql_prepare_va(ledger, &stmt, err, sql, types, ap);
	while (r == 0 && (r = stow_sql_step(ledger, stmt, err)) > 0)
		r = table->row(stmt, list, err);
	return r;
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
	va_end(ap);
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
			 "kind = 1 AND state = 0 AND pod = ? AND name = ?", "tt", pod, name);
	if (r == 0)
		*ret = take_first(records, n);
	return r;
}

int stow_ledger_members(struct stow_ledger *ledger, const char *pod, struct stow_record ***ret,
			size_t *ret_n, struct stow_err *err)
{
	return read_records(ledger, ret, ret_n, err, "kind = 1 AND state = 0 AND pod = ?", "t",
			    pod);
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

int stow_ledger_newest(struct stow_ledger *ledger, struct stow_newest *ret, size_t max,
		       size_t *ret_n, struct stow_err *err)
{
	_cleanup_read_lock_ struct stow_ledger *lock = NULL;
	_cleanup_stmt_ sqlite3_stmt *stmt = NULL;
	size_t n = 0;
	int r;

	r = stow_sql_read_lock(ledger, &lock, err);
	if (r == 0)
		r = stow_sql_prepare(ledger, &stmt, err,
				     "SELECT key, init_pid, init_start FROM container"
				     " WHERE state = 2 ORDER BY key DESC LIMIT ?",
				     "i", (int64_t)max);
	while (r == 0 && n < max && (r = stow_sql_step(ledger, stmt, err)) > 0) {
		ret[n].key = sqlite3_column_int64(stmt, 0);
		ret[n].init.pid = sqlite3_column_int(stmt, 1);
		ret[n++].init.start = (uint64_t)sqlite3_column_int64(stmt, 2);
		r = 0;
	}
	*ret_n = n;
	return r;
}

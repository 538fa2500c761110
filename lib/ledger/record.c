// SPDX-License-Identifier: Apache-2.0
/* Records of the ledger: rows of container, share, page and cpu as one struct. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "ledger/ledger.h"
#include "ledger/sql.h"

static const char *text_or_empty(const char *text)
{
	return text ? text : "";
}

void stow_record_free(struct stow_record *record)
{
	if (!record)
		return;
	free(record->id);
	free(record->pod);
	free(record->ns);
	free(record->name);
	free(record->cgroup);
	free(record->saved);
	free(record->request);
	free(record->reason);
	free(record->reservation);
	free(record->shares);
	free(record);
}

void stow_records_free(struct stow_record **records, size_t n)
{
	for (size_t i = 0; i < n; i++)
		stow_record_free(records[i]);
	free(records);
}

/* --- writing ------------------------------------------------------------------------------- */

static int insert_shares(struct stow_ledger *ledger, const struct stow_record *record,
			 struct stow_err *err)
{
	int r = 0;

	for (size_t i = 0; i < record->n_shares && r == 0; i++) {
		const struct stow_share *share = &record->shares[i];

		r = stow_sql_run(ledger, err, "INSERT INTO share VALUES(?, ?, ?, ?, ?)", "iiiii",
				 record->key, (int64_t)share->node, (int64_t)share->cpus,
				 (int64_t)share->memory, (int64_t)record->exclusive);
		for (size_t p = 0; p < record->n_pages && r == 0; p++)
			if (share->pages[p])
				r = stow_sql_run(ledger, err, "INSERT INTO page VALUES(?, ?, ?, ?)",
						 "iiii", record->key, (int64_t)share->node,
						 (int64_t)record->pages[p].size,
						 (int64_t)share->pages[p]);
	}
	return r;
}

static int insert_cpus(struct stow_ledger *ledger, const struct stow_record *record,
		       struct stow_err *err)
{
	if (!record->exclusive)
		return 0;
	STOW_IDSET_FOR(cpu, &record->cpus) {
		int r = stow_sql_run(ledger, err, "INSERT INTO cpu VALUES(?, ?)", "ii",
				     (int64_t)cpu, record->key);

		if (r == -EEXIST)
			return stow_err_set(err, EEXIST, "CPU %d belongs to another container",
					    cpu);
		if (r < 0)
			return r;
	}
	return 0;
}

int stow_ledger_insert(struct stow_ledger *ledger, struct stow_record *record, struct stow_err *err)
{
	int r;

	r = stow_sql_run(ledger, err,
			 "INSERT INTO container(id, state, pod, ns, name, init_pid, init_start,"
			 " hook_pid, hook_start, cgroup, inode, created, expires, exclusive, cpus,"
			 " base, nodes, saved, request, reason, drain, reservation)"
			 " VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
			 "titttiiiitiiiissstttit", record->id, (int64_t)record->state,
			 text_or_empty(record->pod), text_or_empty(record->ns),
			 text_or_empty(record->name), (int64_t)record->init.pid,
			 (int64_t)record->init.start, (int64_t)record->hook.pid,
			 (int64_t)record->hook.start, text_or_empty(record->cgroup),
			 (int64_t)record->inode, (int64_t)record->created, (int64_t)record->expires,
			 (int64_t)record->exclusive, &record->cpus, &record->base, &record->nodes,
			 text_or_empty(record->saved), text_or_empty(record->request),
			 text_or_empty(record->reason), (int64_t)record->drain,
			 text_or_empty(record->reservation));
	if (r < 0)
		return r;
	record->key = sqlite3_last_insert_rowid(ledger->db);
	r = insert_shares(ledger, record, err);
	if (r == 0)
		r = insert_cpus(ledger, record, err);
	return r;
}

int stow_ledger_update(struct stow_ledger *ledger, const struct stow_record *record,
		       struct stow_err *err)
{
	return stow_sql_run(
		ledger, err,
		"UPDATE container SET id=?, state=?, init_pid=?, init_start=?, hook_pid=?,"
		" hook_start=?, cgroup=?, inode=?, expires=?, cpus=?, base=?, nodes=?,"
		" saved=?, drain=? WHERE key=?",
		"tiiiiitiissstii", record->id, (int64_t)record->state, (int64_t)record->init.pid,
		(int64_t)record->init.start, (int64_t)record->hook.pid, (int64_t)record->hook.start,
		text_or_empty(record->cgroup), (int64_t)record->inode, (int64_t)record->expires,
		&record->cpus, &record->base, &record->nodes, text_or_empty(record->saved),
		(int64_t)record->drain, record->key);
}

int stow_ledger_delete(struct stow_ledger *ledger, int64_t key, struct stow_err *err)
{
	static const char *const statements[] = {
		"DELETE FROM cpu WHERE container = ?",
		"DELETE FROM page WHERE container = ?",
		"DELETE FROM share WHERE container = ?",
		"DELETE FROM container WHERE key = ?",
	};
	int r = 0;

	for (size_t i = 0; i < STOW_ARRAY_SIZE(statements) && r == 0; i++)
		r = stow_sql_run(ledger, err, statements[i], "i", key);
	return r < 0 ? r : sqlite3_changes(ledger->db) > 0;
}

/* --- reading ------------------------------------------------------------------------------- */

#define RECORD_COLUMNS                                                                           \
	"key, id, state, pod, ns, name, init_pid, init_start, hook_pid, hook_start, cgroup,"     \
	" inode, created, expires, exclusive, cpus, base, nodes, saved, request, reason, drain," \
	" reservation"

static int record_from_row(sqlite3_stmt *stmt, struct stow_record *rec)
{
	rec->key = sqlite3_column_int64(stmt, 0);
	rec->id = stow_sql_text(stmt, 1);
	rec->state = (enum stow_state)sqlite3_column_int(stmt, 2);
	rec->pod = stow_sql_text(stmt, 3);
	rec->ns = stow_sql_text(stmt, 4);
	rec->name = stow_sql_text(stmt, 5);
	rec->init.pid = sqlite3_column_int(stmt, 6);
	rec->init.start = (uint64_t)sqlite3_column_int64(stmt, 7);
	rec->hook.pid = sqlite3_column_int(stmt, 8);
	rec->hook.start = (uint64_t)sqlite3_column_int64(stmt, 9);
	rec->cgroup = stow_sql_text(stmt, 10);
	rec->inode = (uint64_t)sqlite3_column_int64(stmt, 11);
	rec->created = (uint64_t)sqlite3_column_int64(stmt, 12);
	rec->expires = (uint64_t)sqlite3_column_int64(stmt, 13);
	rec->exclusive = sqlite3_column_int(stmt, 14) != 0;
	stow_sql_idset(stmt, 15, &rec->cpus);
	stow_sql_idset(stmt, 16, &rec->base);
	stow_sql_idset(stmt, 17, &rec->nodes);
	rec->saved = stow_sql_text(stmt, 18);
	rec->request = stow_sql_text(stmt, 19);
	rec->reason = stow_sql_text(stmt, 20);
	rec->drain = (enum stow_drain)sqlite3_column_int(stmt, 21);
	rec->reservation = stow_sql_text(stmt, 22);
	return rec->id && rec->pod && rec->ns && rec->name && rec->cgroup && rec->saved &&
			       rec->request && rec->reason && rec->reservation
		       ? 0
		       : -ENOMEM;
}

static int read_shares(struct stow_ledger *ledger, struct stow_record *rec, struct stow_err *err)
{
	_cleanup_stmt_ sqlite3_stmt *stmt = NULL;
	int r;

	r = stow_sql_prepare(
		ledger, &stmt, err,
		"SELECT node, cpus, memory FROM share WHERE container = ? ORDER BY node", "i",
		rec->key);
	while (r == 0 && (r = stow_sql_step(ledger, stmt, err)) > 0) {
		struct stow_share *grown =
			reallocarray(rec->shares, rec->n_shares + 1, sizeof(*grown));

		if (!grown)
			return stow_err_sys(err, ENOMEM, "shares");
		rec->shares = grown;
		grown += rec->n_shares++;
		memset(grown, 0, sizeof(*grown));
		grown->node = sqlite3_column_int(stmt, 0);
		grown->cpus = (uint32_t)sqlite3_column_int64(stmt, 1);
		grown->memory = (uint64_t)sqlite3_column_int64(stmt, 2);
		r = 0;
	}
	return r;
}

/* The index of a page size in the record, put in when it is new; -1 when there are too many. */
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

static int read_pages(struct stow_ledger *ledger, struct stow_record *rec, struct stow_err *err)
{
	_cleanup_stmt_ sqlite3_stmt *stmt = NULL;
	int r;

	r = stow_sql_prepare(ledger, &stmt, err,
			     "SELECT node, size, pages FROM page WHERE container = ? ORDER BY size",
			     "i", rec->key);
	while (r == 0 && (r = stow_sql_step(ledger, stmt, err)) > 0) {
		int p = page_index(rec, (uint64_t)sqlite3_column_int64(stmt, 1));

		r = 0;
		for (size_t i = 0; i < rec->n_shares && p >= 0; i++) {
			if (rec->shares[i].node != sqlite3_column_int(stmt, 0))
				continue;
			rec->shares[i].pages[p] = (uint64_t)sqlite3_column_int64(stmt, 2);
			rec->pages[p].count += rec->shares[i].pages[p];
		}
	}
	return r;
}

/* All rows of a prepared SELECT of RECORD_COLUMNS. */
static int read_records(struct stow_ledger *ledger, sqlite3_stmt *stmt, struct stow_record ***ret,
			size_t *ret_n, struct stow_err *err)
{
	struct stow_record **records = NULL;
	size_t n = 0;
	int r = 0;

	while (r == 0 && (r = stow_sql_step(ledger, stmt, err)) > 0) {
		struct stow_record **grown =
			reallocarray(records, n + 1, sizeof(struct stow_record *));

		if (grown)
			records = grown;
		if (grown && (records[n] = calloc(1, sizeof(**records))))
			r = record_from_row(stmt, records[n++]);
		else
			r = -ENOMEM;
		if (r < 0)
			stow_err_sys(err, -r, "reading the ledger");
		if (r == 0)
			r = read_shares(ledger, records[n - 1], err);
		if (r == 0)
			r = read_pages(ledger, records[n - 1], err);
	}
	if (r < 0) {
		stow_records_free(records, n);
		return r;
	}
	*ret = records;
	*ret_n = n;
	return 0;
}

int stow_ledger_records(struct stow_ledger *ledger, const char *id, struct stow_record ***ret,
			size_t *ret_n, struct stow_err *err)
{
	_cleanup_turn_ struct stow_ledger *turn = NULL;
	_cleanup_stmt_ sqlite3_stmt *stmt = NULL;
	int r;

	r = stow_sql_turn(ledger, &turn, err);
	if (r < 0)
		return r;
	if (id)
		r = stow_sql_prepare(ledger, &stmt, err,
				     "SELECT " RECORD_COLUMNS
				     " FROM container WHERE id = ? ORDER BY key",
				     "t", id);
	else
		r = stow_sql_prepare(ledger, &stmt, err,
				     "SELECT " RECORD_COLUMNS " FROM container ORDER BY key", "");
	return r < 0 ? r : read_records(ledger, stmt, ret, ret_n, err);
}

int stow_ledger_pool_records(struct stow_ledger *ledger, int node, uint64_t size,
			     struct stow_record ***ret, size_t *ret_n, struct stow_err *err)
{
	_cleanup_turn_ struct stow_ledger *turn = NULL;
	_cleanup_stmt_ sqlite3_stmt *stmt = NULL;
	int r;

	r = stow_sql_turn(ledger, &turn, err);
	if (r == 0)
		r = stow_sql_prepare(ledger, &stmt, err,
				     "SELECT " RECORD_COLUMNS " FROM container WHERE key IN"
				     " (SELECT container FROM page WHERE node = ? AND size = ?)"
				     " ORDER BY key",
				     "ii", (int64_t)node, (int64_t)size);
	return r < 0 ? r : read_records(ledger, stmt, ret, ret_n, err);
}

int stow_ledger_reservation(struct stow_ledger *ledger, const char *reservation,
			    struct stow_record **ret, struct stow_err *err)
{
	_cleanup_turn_ struct stow_ledger *turn = NULL;
	_cleanup_stmt_ sqlite3_stmt *stmt = NULL;
	struct stow_record **records = NULL;
	size_t n = 0;
	int r;

	*ret = NULL;
	r = stow_sql_turn(ledger, &turn, err);
	if (r == 0)
		r = stow_sql_prepare(ledger, &stmt, err,
				     "SELECT " RECORD_COLUMNS
				     " FROM container WHERE reservation = ? ORDER BY key",
				     "t", reservation);
	if (r == 0)
		r = read_records(ledger, stmt, &records, &n, err);
	if (r < 0)
		return r;
	if (n > 0) {
		*ret = records[0];
		records[0] = NULL;
	}
	stow_records_free(records, n);
	return 0;
}

int stow_ledger_record(struct stow_ledger *ledger, int64_t key, struct stow_record **ret,
		       struct stow_err *err)
{
	_cleanup_turn_ struct stow_ledger *turn = NULL;
	_cleanup_stmt_ sqlite3_stmt *stmt = NULL;
	struct stow_record **records = NULL;
	size_t n = 0;
	int r;

	r = stow_sql_turn(ledger, &turn, err);
	if (r < 0)
		return r;
	r = stow_sql_prepare(ledger, &stmt, err,
			     "SELECT " RECORD_COLUMNS " FROM container WHERE key = ?", "i", key);
	if (r == 0)
		r = read_records(ledger, stmt, &records, &n, err);
	if (r < 0)
		return r;
	if (n == 0)
		return stow_err_set(err, ENOENT, "the record is gone");
	*ret = records[0];
	free(records);
	return 0;
}

// SPDX-License-Identifier: Apache-2.0
/* Writing records: a struct becomes rows of container, share, page, cpu and saved. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "ledger/internal.h"
#include "ledger/ledger.h"
#include "ledger/sql.h"

static const char *text_or_empty(const char *text)
{
	return text ? text : "";
}

const char *stow_record_label(const struct stow_record *record,
			      char buf[static STOW_RECORD_LABEL_MAX])
{
	if (record->id[0])
		return record->id;
	if (record->kind == STOW_LEASE_MEMBER)
		snprintf(buf, STOW_RECORD_LABEL_MAX, "pod:%.300s/%.300s", record->pod,
			 record->name);
	else if (record->claim)
		snprintf(buf, STOW_RECORD_LABEL_MAX, "claim:%.63s/%.253s:%.64s", record->ns,
			 record->name, record->claim->share);
	else
		snprintf(buf, STOW_RECORD_LABEL_MAX, "reservation:%.320s", record->reservation);
	return buf;
}

void stow_move_done(struct stow_move *move)
{
	free(move->reason);
	free(move->shares);
	*move = (struct stow_move){ 0 };
}

static void move_free(struct stow_move *move)
{
	if (!move)
		return;
	stow_move_done(move);
	free(move);
}

void stow_record_free(struct stow_record *record)
{
	if (!record)
		return;
	free(record->id);
	free(record->pod);
	free(record->ns);
	free(record->name);
	stow_cgroup_id_done(&record->cgroup);
	free(record->request);
	free(record->digest);
	free(record->reason);
	free(record->reservation);
	free(record->given);
	free(record->shares);
	for (size_t i = 0; i < record->n_saved; i++) {
		free(record->saved[i].attribute);
		free(record->saved[i].value);
	}
	free(record->saved);
	move_free(record->move);
	if (record->claim) {
		free(record->claim->uid);
		free(record->claim->share);
		free(record->claim->part);
		free(record->claim);
	}
	for (size_t i = 0; i < record->n_held; i++) {
		free(record->held[i].uid);
		free(record->held[i].share);
		free(record->held[i].ns);
		free(record->held[i].name);
		free(record->held[i].part);
	}
	free(record->held);
	free(record);
}

static const struct stow_given nothing;

int stow_record_give(struct stow_record *record, const struct stow_idset *cpus,
		     const struct stow_idset *mems)
{
	struct stow_given *given = NULL;

	/* Few containers have such sets, and most of a record is sets. */
	if (!stow_idset_empty(cpus) || !stow_idset_empty(mems)) {
		given = malloc(sizeof(*given));
		if (!given)
			return -ENOMEM;
		*given = (struct stow_given){ .cpus = *cpus, .mems = *mems };
	}
	free(record->given);
	record->given = given;
	return 0;
}

const struct stow_idset *stow_record_given_cpus(const struct stow_record *record)
{
	return record->given ? &record->given->cpus : &nothing.cpus;
}

const struct stow_idset *stow_record_given_mems(const struct stow_record *record)
{
	return record->given ? &record->given->mems : &nothing.mems;
}

void stow_records_free(struct stow_record **records, size_t n)
{
	for (size_t i = 0; i < n; i++)
		stow_record_free(records[i]);
	free(records);
}

/* --- parts that move.c writes, too ---------------------------------------- */

/* Name the caller's mistake of giving a row twice. (For CPUs -EEXIST stays: another container may
 * have them.) */
static int twice(int r, struct stow_err *err, const char *what)
{
	return r == -EEXIST ? stow_err_set(err, EINVAL, "the record has the same %s twice", what)
			    : r;
}

int stow_ledger_put_shares(struct stow_ledger *ledger, int64_t key, int target, bool exclusive,
			   const struct stow_share *shares, size_t n_shares,
			   const struct stow_page_request *sizes, size_t n_sizes,
			   struct stow_err *err)
{
	_cleanup_stmt_ sqlite3_stmt *share = NULL, *page = NULL;
	int r;

	r = stow_sql_prepare(ledger, &share, err, "INSERT INTO share VALUES(?, ?, ?, ?, ?, ?)", "");
	if (r == 0)
		r = stow_sql_prepare(ledger, &page, err, "INSERT INTO page VALUES(?, ?, ?, ?, ?)",
				     "");
	for (size_t i = 0; i < n_shares && r == 0; i++) {
		int64_t node = shares[i].node;

		r = stow_sql_again(ledger, share, err, "iiiiii", key, (int64_t)target, node,
				   (int64_t)shares[i].cpus, (int64_t)shares[i].memory,
				   (int64_t)exclusive);
		for (size_t p = 0; p < STOW_POOLS_MAX && r == 0; p++) {
			if (!shares[i].pages[p])
				continue;
			if (p >= n_sizes)
				return stow_err_set(err, EINVAL,
						    "a share has pages of a size that the record "
						    "does not have");
			r = stow_sql_again(ledger, page, err, "iiiii", key, (int64_t)target, node,
					   (int64_t)sizes[p].size, (int64_t)shares[i].pages[p]);
		}
	}
	return twice(r, err, "node or page size");
}

int stow_ledger_put_cpus(struct stow_ledger *ledger, int64_t key, int target,
			 const struct stow_idset *cpus, struct stow_err *err)
{
	_cleanup_stmt_ sqlite3_stmt *stmt = NULL;
	int r;

	r = stow_sql_prepare(ledger, &stmt, err, "INSERT INTO cpu VALUES(?, ?, ?)", "");
	STOW_IDSET_FOR(cpu, cpus) {
		if (r == 0)
			r = stow_sql_again(ledger, stmt, err, "iii", (int64_t)cpu, key,
					   (int64_t)target);
		if (r == -EEXIST)
			return stow_err_set(err, EEXIST, "CPU %d belongs to a container already",
					    cpu);
	}
	return r;
}

/* --- writing a record ----------------------------------------------------- */

static int put_saved(struct stow_ledger *ledger, const struct stow_record *record,
		     struct stow_err *err)
{
	_cleanup_stmt_ sqlite3_stmt *stmt = NULL;
	int r = 0;

	if (record->n_saved)
		r = stow_sql_prepare(ledger, &stmt, err, "INSERT INTO saved VALUES(?, ?, ?, ?, ?)",
				     "");
	for (size_t i = 0; i < record->n_saved && r == 0; i++) {
		const struct stow_saved *saved = &record->saved[i];

		r = stow_sql_again(ledger, stmt, err, "iiitt", record->key, (int64_t)i,
				   (int64_t)saved->controller, saved->attribute,
				   text_or_empty(saved->value));
	}
	return twice(r, err, "saved attribute");
}

static int put_parts(struct stow_ledger *ledger, const struct stow_record *record,
		     struct stow_err *err)
{
	int r;

	if (stow_record_is_holder(record)) /* the claim's shares have all of it */
		return put_saved(ledger, record, err);
	r = stow_ledger_put_shares(ledger, record->key, 0, record->exclusive, record->shares,
				   record->n_shares, record->pages, record->n_pages, err);
	if (r == 0 && record->exclusive)
		r = stow_ledger_put_cpus(ledger, record->key, 0, &record->cpus, err);
	if (r == 0)
		r = put_saved(ledger, record, err);
	return r;
}

/* A controller's columns: NULL in SQL if they are equal to the cpuset's. */
struct place {
	int64_t version, inode;
	const int64_t *version_at, *inode_at;
	const char *path;
};

static void describe(const struct stow_cgroup_id *id, enum stow_controller controller,
		     struct place *ret)
{
	const typeof(id->at[0]) *at = &id->at[controller], *cpuset = &id->at[STOW_CGROUP_CPUSET];

	*ret = (struct place){ .version = at->version, .inode = (int64_t)at->inode };
	if (controller != STOW_CGROUP_CPUSET && at->version == cpuset->version &&
	    at->inode == cpuset->inode &&
	    strcmp(text_or_empty(at->path), text_or_empty(cpuset->path)) == 0)
		return;
	ret->version_at = &ret->version;
	ret->inode_at = &ret->inode;
	ret->path = at->path;
}

/* Run an INSERT or UPDATE with the columns of STOW_RECORD_COLUMNS and, behind them, the key. */
static int put_container(struct stow_ledger *ledger, const struct stow_record *record,
			 const char *sql, int64_t key, struct stow_err *err)
{
	static const struct stow_idset none;
	bool holder = stow_record_is_holder(record); /* what is computed is not written */
	struct place at[STOW_CGROUP_CONTROLLERS];
	const struct place *cpuset = &at[STOW_CGROUP_CPUSET], *hugetlb = &at[STOW_CGROUP_HUGETLB],
			   *memory = &at[STOW_CGROUP_MEMORY];

	if (record->isolated && !record->exclusive)
		return stow_err_set(err, EINVAL, "a record is isolated, but not exclusive");
	for (int i = 0; i < STOW_CGROUP_CONTROLLERS; i++)
		describe(&record->cgroup, (enum stow_controller)i, &at[i]);
	return stow_sql_run(ledger, err, sql, "iittttiiiintnntnntniiisssstttiti",
			    (int64_t)record->state, (int64_t)record->kind,
			    text_or_empty(record->id), text_or_empty(record->pod),
			    text_or_empty(record->ns), text_or_empty(record->name),
			    (int64_t)record->init.pid, (int64_t)record->init.start,
			    (int64_t)record->worker.pid, (int64_t)record->worker.start,
			    cpuset->version_at, cpuset->path, cpuset->inode_at, hugetlb->version_at,
			    hugetlb->path, hugetlb->inode_at, memory->version_at, memory->path,
			    memory->inode_at, (int64_t)record->created, (int64_t)record->expires,
			    holder ? 0 : (int64_t)(record->exclusive + record->isolated),
			    holder || record->exclusive ? &none : &record->cpus,
			    holder ? &none : &record->nodes, stow_record_given_cpus(record),
			    stow_record_given_mems(record), text_or_empty(record->request),
			    text_or_empty(record->digest), text_or_empty(record->reason),
			    (int64_t)(holder ? STOW_DRAIN_MODE_REPIN : record->drain),
			    text_or_empty(record->reservation), key);
}

/* Write the key of a claim's share. */
static int put_claim(struct stow_ledger *ledger, const struct stow_record *record,
		     struct stow_err *err)
{
	int r;

	if (!stow_record_is_share(record))
		return 0;
	if (!record->claim)
		return stow_err_set(err, EINVAL, "a claim's share has no ids");
	r = stow_sql_run(ledger, err, "INSERT INTO claim VALUES(?, ?, ?, ?)", "ittt", record->key,
			 record->claim->uid, record->claim->share, record->claim->part);
	return twice(r, err, "claim and share");
}

int stow_ledger_insert(struct stow_ledger *ledger, struct stow_record *record, struct stow_err *err)
{
	int r;

	r = put_container(ledger, record,
			  "INSERT INTO container(" STOW_RECORD_COLUMNS ", key)"
			  " VALUES(" STOW_RECORD_VALUES ", nullif(?, 0))",
			  0, err);
	if (r < 0)
		return twice(r, err, "key");
	record->key = sqlite3_last_insert_rowid(ledger->db);
	r = put_claim(ledger, record, err);
	return r < 0 ? r : put_parts(ledger, record, err);
}

static int gone(struct stow_err *err)
{
	return stow_err_set(err, ENOENT, "the record is gone");
}

int stow_ledger_update(struct stow_ledger *ledger, const struct stow_record *record,
		       struct stow_err *err)
{
	static const char *const statements[] = {
		/* With a share its pages are deleted. */
		"DELETE FROM share WHERE container = ? AND target = 0",
		"DELETE FROM cpu WHERE container = ? AND target = 0",
		"DELETE FROM saved WHERE container = ?",
	};
	int r;

	r = put_container(ledger, record,
			  "UPDATE container SET (" STOW_RECORD_COLUMNS ") = (" STOW_RECORD_VALUES
			  ") WHERE key = ?",
			  record->key, err);
	if (r < 0)
		return r;
	if (sqlite3_changes(ledger->db) == 0)
		return gone(err);
	for (size_t i = 0; i < STOW_ARRAY_SIZE(statements) && r == 0; i++)
		r = stow_sql_run(ledger, err, statements[i], "i", record->key);
	return r < 0 ? r : put_parts(ledger, record, err);
}

int stow_ledger_activate(struct stow_ledger *ledger, int64_t key, struct stow_err *err)
{
	int r;

	r = stow_sql_run(ledger, err, "UPDATE container SET state = ? WHERE key = ? AND state <> ?",
			 "iii", (int64_t)STOW_STATE_ACTIVE, key, (int64_t)STOW_STATE_LEASE);
	return r == 0 && sqlite3_changes(ledger->db) == 0 ? gone(err) : r;
}

int stow_ledger_delete(struct stow_ledger *ledger, int64_t key, struct stow_err *err)
{
	int r;

	/* All its rows are deleted with it: ON DELETE CASCADE. */
	r = stow_sql_run(ledger, err, "DELETE FROM container WHERE key = ?", "i", key);
	return r < 0 ? r : sqlite3_changes(ledger->db) > 0;
}

int stow_ledger_drop_members(struct stow_ledger *ledger, const char *pod, struct stow_err *err)
{
	int64_t left = 0;
	int r;

	if (!*pod)
		return 0;
	r = stow_sql_number(ledger, &left, err,
			    "SELECT count(*) FROM container WHERE pod = ? AND state <> 0", "t",
			    pod);
	if (r < 0 || left)
		return r;
	r = stow_sql_run(ledger, err,
			 "DELETE FROM container WHERE kind = 1 AND state = 0 AND pod = ?", "t",
			 pod);
	return r < 0 ? r : sqlite3_changes(ledger->db);
}

// SPDX-License-Identifier: Apache-2.0
#include "ledger/ledger.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "ledger/sql.h"

/* "nstw": so that file(1) and we know whose database it is. */
#define APPLICATION_ID 0x6e737477
#define SCHEMA_VERSION 3

#define FENCE_TABLE \
	"CREATE TABLE fence(owner TEXT, node INTEGER, PRIMARY KEY(owner, node)) WITHOUT ROWID;"
#define DRAIN_TABLE                                                                              \
	"CREATE TABLE drain(id TEXT PRIMARY KEY, step INTEGER NOT NULL, worker_pid INTEGER,"     \
	" worker_start INTEGER, ordered INTEGER, cancel INTEGER, resume INTEGER, node INTEGER,"  \
	" device TEXT, blocks TEXT, gone TEXT, zones TEXT, pools TEXT, moved TEXT, spec TEXT,"   \
	" message TEXT, created INTEGER, updated INTEGER, bytes INTEGER, bytes_offline INTEGER," \
	" code INTEGER) WITHOUT ROWID;"

static const char schema[] =
	"CREATE TABLE container(key INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL,"
	" state INTEGER NOT NULL, pod TEXT, ns TEXT, name TEXT,"
	" init_pid INTEGER, init_start INTEGER, hook_pid INTEGER, hook_start INTEGER,"
	" cgroup TEXT, inode INTEGER, created INTEGER, expires INTEGER, exclusive INTEGER,"
	" cpus TEXT, base TEXT, nodes TEXT, saved TEXT, request TEXT, reason TEXT, drain INTEGER,"
	" reservation TEXT NOT NULL DEFAULT '');"
	"CREATE INDEX container_id ON container(id);"
	"CREATE TABLE share(container INTEGER, node INTEGER, cpus INTEGER, memory INTEGER,"
	" exclusive INTEGER, PRIMARY KEY(container, node)) WITHOUT ROWID;"
	"CREATE TABLE page(container INTEGER, node INTEGER, size INTEGER, pages INTEGER,"
	" PRIMARY KEY(container, node, size)) WITHOUT ROWID;"
	"CREATE TABLE cpu(cpu INTEGER PRIMARY KEY, container INTEGER NOT NULL);"
	"CREATE INDEX cpu_container ON cpu(container);"
	"CREATE TABLE pool(node INTEGER, size INTEGER, added INTEGER, writing INTEGER,"
	" before INTEGER, target INTEGER, PRIMARY KEY(node, size)) WITHOUT ROWID;"
	"CREATE TABLE event(seq INTEGER PRIMARY KEY, at INTEGER, id TEXT, kind TEXT,"
	" exclusive INTEGER, cpus TEXT, nodes TEXT, text TEXT);" FENCE_TABLE DRAIN_TABLE;

/* What a ledger of an older version lacks: numastow is updated while containers run. */
static const char from_version_1[] =
	"ALTER TABLE container ADD COLUMN reservation TEXT NOT NULL DEFAULT '';" FENCE_TABLE
		DRAIN_TABLE;
static const char from_version_2[] = DRAIN_TABLE;

const char *stow_state_name(enum stow_state state)
{
	static const char *const names[] = { "lease", "pending", "active" };

	return state <= STOW_STATE_ACTIVE ? names[state] : "unknown";
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * UINT64_C(1000000000) + (uint64_t)ts.tv_nsec;
}

/* --- opening ------------------------------------------------------------------------------- */

/* Makes the tables in a database that has none, or those that are missing in an older one. Whoever
 * else opens it at the same time waits at the lock and then finds them. */
static int make_schema(struct stow_ledger *ledger, struct stow_err *err)
{
	int64_t version;
	char sql[128];
	int r;

	r = stow_ledger_begin(ledger, err);
	if (r < 0)
		return r;
	r = stow_sql_number(ledger, &version, err, "PRAGMA user_version", "");
	if (r == 0 && version < SCHEMA_VERSION) {
		snprintf(sql, sizeof(sql), "PRAGMA application_id=%d; PRAGMA user_version=%d",
			 APPLICATION_ID, SCHEMA_VERSION);
		if (sqlite3_exec(ledger->db,
				 version == 0	? schema
				 : version == 1 ? from_version_1
						: from_version_2,
				 NULL, NULL, NULL) != SQLITE_OK ||
		    sqlite3_exec(ledger->db, sql, NULL, NULL, NULL) != SQLITE_OK)
			r = stow_sql_fail(ledger, err, "making the tables");
	}
	return stow_ledger_end(ledger, r, err);
}

/* The schema's version as it stands in the file's header (sqlite.org/fileformat2.html, offset 60):
 * one read, where a PRAGMA is a transaction of its own. 0 for an empty file. */
static uint32_t read_header(struct stow_ledger *ledger, sqlite3_int64 offset)
{
	sqlite3_file *file = NULL;
	uint8_t b[4];

	if (sqlite3_file_control(ledger->db, "main", SQLITE_FCNTL_FILE_POINTER, &file) !=
		    SQLITE_OK ||
	    !file || !file->pMethods ||
	    file->pMethods->xRead(file, b, sizeof(b), offset) != SQLITE_OK)
		return 0;
	return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

static int64_t read_version(struct stow_ledger *ledger)
{
	return read_header(ledger, 60);
}

/* The file change counter, at offset 24. */
uint32_t stow_ledger_changes(struct stow_ledger *ledger)
{
	return read_header(ledger, 24);
}

/* The database lives on a tmpfs: syncing it to a disk buys nothing. The journal is deleted at each
 * commit, SQLite's default: one that is kept is opened and looked into by every reader. */
static int configure(struct stow_ledger *ledger, bool create, struct stow_err *err)
{
	_cleanup_turn_ struct stow_ledger *turn = NULL;
	int64_t version;
	int r;

	sqlite3_busy_timeout(ledger->db, 10000);
	r = stow_sql_turn(ledger, &turn, err);
	if (r < 0)
		return r;
	if (sqlite3_exec(ledger->db, "PRAGMA synchronous=OFF", NULL, NULL, NULL) != SQLITE_OK)
		return stow_sql_fail(ledger, err, "opening");
	version = read_version(ledger);
	stow_sql_turn_ptr(&turn);
	if (version == 0 && !create)
		return stow_err_set(err, ENOENT, "the ledger %s%s is empty", ledger->root->prefix,
				    STOW_LEDGER_PATH);
	if (version < SCHEMA_VERSION)
		return make_schema(ledger, err);
	if (version != SCHEMA_VERSION)
		return stow_err_set(
			err, EPROTO,
			"the ledger %s%s has schema %" PRId64
			", this program knows %d: another version of numastow runs here",
			ledger->root->prefix, STOW_LEDGER_PATH, version, SCHEMA_VERSION);
	return 0;
}

static int open_database(struct stow_ledger *ledger, const char *path, bool create)
{
	return sqlite3_open_v2(path, &ledger->db,
			       SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX |
				       (create ? SQLITE_OPEN_CREATE : 0),
			       NULL);
}

int stow_ledger_open(struct stow_root *root, bool create, struct stow_ledger **ret_ledger,
		     struct stow_err *err)
{
	_cleanup_(stow_ledger_close_ptr) struct stow_ledger *ledger = NULL;
	_cleanup_free_ char *path = NULL;
	int r, code;

	r = stow_root_path(root, STOW_LEDGER_PATH, &path, err);
	if (r < 0)
		return r;
	/* Statistics and look-aside memory pay off in long-lived processes. Refused, and rightly,
	 * once SQLite is in use. */
	(void)sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
	(void)sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 0, 0);
	ledger = calloc(1, sizeof(*ledger));
	if (!ledger)
		return stow_err_sys(err, ENOMEM, "%s", path);
	ledger->root = root;
	ledger->lock = -EBADF;
	code = open_database(ledger, path, create);
	if (code == SQLITE_CANTOPEN && create) { /* the first since boot */
		r = stow_root_mkdir(root, STOW_RUN_DIR, err);
		if (r < 0)
			return r;
		sqlite3_close(ledger->db);
		code = open_database(ledger, path, create);
	}
	if (code != SQLITE_OK)
		return stow_err_sys(err, stow_sql_errno(code), "the ledger %s", path);
	r = configure(ledger, create, err);
	if (r < 0)
		return r;
	*ret_ledger = STOW_TAKE_PTR(ledger);
	return 0;
}

void stow_ledger_close(struct stow_ledger *ledger)
{
	if (!ledger)
		return;
	if (ledger->lock >= 0)
		stow_ledger_rollback(ledger);
	sqlite3_close(ledger->db);
	free(ledger);
}

int stow_ledger_set_aside(struct stow_root *root, char *ret_name, size_t size, struct stow_err *err)
{
	_cleanup_free_ char *from = NULL, *journal = NULL;
	_cleanup_close_ int lock = -EBADF;
	char to[4096];
	int r;

	lock = stow_root_lock(root, err, "%s", STOW_RUN_DIR "/ledger.lock");
	if (lock < 0)
		return lock;
	r = stow_root_path(root, STOW_LEDGER_PATH, &from, err);
	if (r == 0)
		r = stow_root_path(root, STOW_LEDGER_PATH "-journal", &journal, err);
	if (r < 0)
		return r;
	snprintf(to, sizeof(to), "%s.damaged-%" PRIu64, from, now_ns() / UINT64_C(1000000000));
	if (rename(from, to) < 0)
		return stow_err_sys(err, errno, "renaming %s", from);
	(void)unlink(journal); /* it belongs to the old one and must not be played into the new */
	snprintf(ret_name, size, "%s", to);
	return 0;
}

/* --- transactions -------------------------------------------------------------------------- */

int stow_ledger_begin(struct stow_ledger *ledger, struct stow_err *err)
{
	/* SQLite's own wait for a lock is a poll with growing pauses: with 200 hooks at once some
	 * would starve. flock(2) queues them. */
	ledger->lock = stow_root_lock(ledger->root, err, "%s", STOW_RUN_DIR "/ledger.lock");
	if (ledger->lock < 0)
		return ledger->lock;
	if (sqlite3_exec(ledger->db, "BEGIN IMMEDIATE", NULL, NULL, NULL) != SQLITE_OK) {
		int r = stow_sql_fail(ledger, err, "beginning");

		stow_close_ptr(&ledger->lock);
		return r;
	}
	return 0;
}

int stow_ledger_commit(struct stow_ledger *ledger, struct stow_err *err)
{
	if (sqlite3_exec(ledger->db, "COMMIT", NULL, NULL, NULL) != SQLITE_OK) {
		int r = stow_sql_fail(ledger, err, "committing");

		stow_ledger_rollback(ledger);
		return r;
	}
	stow_close_ptr(&ledger->lock);
	return 0;
}

void stow_ledger_rollback(struct stow_ledger *ledger)
{
	(void)sqlite3_exec(ledger->db, "ROLLBACK", NULL, NULL, NULL);
	stow_close_ptr(&ledger->lock);
}

int stow_ledger_end(struct stow_ledger *ledger, int r, struct stow_err *err)
{
	if (r >= 0)
		return stow_ledger_commit(ledger, err);
	stow_ledger_rollback(ledger);
	return r;
}

/* --- fences -------------------------------------------------------------------------------- */

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
	_cleanup_turn_ struct stow_ledger *turn = NULL;
	_cleanup_stmt_ sqlite3_stmt *stmt = NULL;
	int r;

	memset(ret, 0, sizeof(*ret));
	r = stow_sql_turn(ledger, &turn, err);
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

/* --- usage --------------------------------------------------------------------------------- */

static struct stow_node_usage *usage_node(struct stow_usage *usage, int id)
{
	struct stow_node_usage *grown;

	for (size_t i = 0; i < usage->n_nodes; i++)
		if (usage->nodes[i].id == id)
			return &usage->nodes[i];
	grown = reallocarray(usage->nodes, usage->n_nodes + 1, sizeof(*grown));
	if (!grown)
		return NULL;
	usage->nodes = grown;
	grown += usage->n_nodes++;
	memset(grown, 0, sizeof(*grown));
	grown->id = id;
	return grown;
}

static int usage_shares(struct stow_ledger *ledger, struct stow_usage *usage, struct stow_err *err)
{
	_cleanup_stmt_ sqlite3_stmt *stmt = NULL;
	int r;

	/* A node where a shared container runs without a number of CPUs still owes it one. */
	r = stow_sql_prepare(ledger, &stmt, err,
			     "SELECT node, sum(cpus * (exclusive = 0)), sum(memory),"
			     " max(exclusive = 0) FROM share GROUP BY node",
			     "");
	while (r == 0 && (r = stow_sql_step(ledger, stmt, err)) > 0) {
		struct stow_node_usage *node = usage_node(usage, sqlite3_column_int(stmt, 0));

		if (!node)
			return stow_err_sys(err, ENOMEM, "usage");
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
			return stow_err_sys(err, ENOMEM, "usage");
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
	_cleanup_turn_ struct stow_ledger *turn = NULL;
	_cleanup_(stow_usage_free_ptr) struct stow_usage *usage = calloc(1, sizeof(*usage));
	int r;

	if (!usage)
		return stow_err_sys(err, ENOMEM, "usage");
	r = stow_sql_turn(ledger, &turn, err);
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
	_cleanup_turn_ struct stow_ledger *turn = NULL;
	_cleanup_stmt_ sqlite3_stmt *stmt = NULL;
	struct stow_idset set = { 0 };
	int r;

	r = stow_sql_turn(ledger, &turn, err);
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
	_cleanup_turn_ struct stow_ledger *turn = NULL;
	int64_t cpus, memory, hugepages;
	int r;

	r = stow_sql_turn(ledger, &turn, err);
	if (r < 0)
		return r;
	r = stow_sql_number(
		ledger, &cpus, err,
		"SELECT sum(s.cpus) FROM share s JOIN container c ON c.key = s.container"
		" WHERE c.ns = ?",
		"t", ns);
	if (r == 0)
		r = stow_sql_number(ledger, &memory, err,
				    "SELECT sum(s.memory) FROM share s JOIN container c"
				    " ON c.key = s.container WHERE c.ns = ?",
				    "t", ns);
	if (r == 0)
		r = stow_sql_number(ledger, &hugepages, err,
				    "SELECT sum(p.pages * p.size) FROM page p JOIN container c"
				    " ON c.key = p.container WHERE c.ns = ?",
				    "t", ns);
	if (r < 0)
		return r;
	ret->cpus = (uint32_t)cpus;
	ret->memory = (uint64_t)memory;
	ret->hugepages = (uint64_t)hugepages;
	return 0;
}

/* --- pools --------------------------------------------------------------------------------- */

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
	_cleanup_turn_ struct stow_ledger *turn = NULL;
	_cleanup_free_ struct stow_ledger_pool *pools = NULL;
	_cleanup_stmt_ sqlite3_stmt *stmt = NULL;
	size_t n = 0;
	int r;

	r = stow_sql_turn(ledger, &turn, err);
	if (r < 0)
		return r;
	r = stow_sql_prepare(ledger, &stmt, err,
			     "SELECT node, size, added, writing, before, target FROM pool", "");
	while (r == 0 && (r = stow_sql_step(ledger, stmt, err)) > 0) {
		struct stow_ledger_pool *grown = reallocarray(pools, n + 1, sizeof(*grown));

		if (!grown)
			return stow_err_sys(err, ENOMEM, "pools");
		pools = grown;
		pool_from_row(stmt, &pools[n++]);
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
	_cleanup_turn_ struct stow_ledger *turn = NULL;
	_cleanup_stmt_ sqlite3_stmt *stmt = NULL;
	int r;

	memset(ret, 0, sizeof(*ret));
	ret->node = node;
	ret->size = size;
	r = stow_sql_turn(ledger, &turn, err);
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
	_cleanup_turn_ struct stow_ledger *turn = NULL;
	int64_t pages;
	int r;

	r = stow_sql_turn(ledger, &turn, err);
	if (r < 0)
		return r;
	r = stow_sql_number(
		ledger, &pages, err,
		"SELECT sum(p.pages) FROM page p JOIN container c ON c.key = p.container"
		" WHERE p.node = ? AND p.size = ? AND c.state != ?",
		"iii", (int64_t)node, (int64_t)size, (int64_t)STOW_STATE_LEASE);
	if (r == 0)
		*ret_pages = (uint64_t)pages;
	return r;
}

/* --- history ------------------------------------------------------------------------------- */

int stow_ledger_event(struct stow_ledger *ledger, const char *kind, const char *id,
		      const struct stow_record *record, const char *text, struct stow_err *err)
{
	static const struct stow_idset none;
	int r;

	r = stow_sql_run(ledger, err,
			 "INSERT INTO event(at, id, kind, exclusive, cpus, nodes, text)"
			 " VALUES(?, ?, ?, ?, ?, ?, ?)",
			 "ittisst", (int64_t)now_ns(), id, kind,
			 (int64_t)(record && record->exclusive), record ? &record->cpus : &none,
			 record ? &record->nodes : &none, text ? text : "");
	if (r < 0)
		return r;
	return stow_sql_run(ledger, err, "DELETE FROM event WHERE seq <= ?", "i",
			    (int64_t)(sqlite3_last_insert_rowid(ledger->db) - STOW_EVENTS_KEPT));
}

int stow_ledger_events(struct stow_ledger *ledger, const char *id, size_t limit,
		       struct stow_event **ret, size_t *ret_n, struct stow_err *err)
{
	_cleanup_turn_ struct stow_ledger *turn = NULL;
	_cleanup_stmt_ sqlite3_stmt *stmt = NULL;
	struct stow_event *events = NULL;
	size_t n = 0;
	int r;

	r = stow_sql_turn(ledger, &turn, err);
	if (r < 0)
		return r;
	r = stow_sql_prepare(ledger, &stmt, err,
			     "SELECT * FROM (SELECT seq, at, id, kind, cpus, nodes, text, exclusive"
			     " FROM event WHERE ?1 = '' OR id = ?1 ORDER BY seq DESC LIMIT ?2)"
			     " ORDER BY seq",
			     "ti", id ? id : "", (int64_t)limit);
	while (r == 0 && (r = stow_sql_step(ledger, stmt, err)) > 0) {
		struct stow_event *grown = reallocarray(events, n + 1, sizeof(*grown)), *e;

		if (!grown) {
			r = stow_err_sys(err, ENOMEM, "events");
			break;
		}
		events = grown;
		e = &events[n++];
		e->seq = sqlite3_column_int64(stmt, 0);
		e->at = (uint64_t)sqlite3_column_int64(stmt, 1);
		e->id = stow_sql_text(stmt, 2);
		e->kind = stow_sql_text(stmt, 3);
		e->cpus = stow_sql_text(stmt, 4);
		e->nodes = stow_sql_text(stmt, 5);
		e->text = stow_sql_text(stmt, 6);
		e->exclusive = sqlite3_column_int(stmt, 7) != 0;
		r = e->id && e->kind && e->cpus && e->nodes && e->text
			    ? 0
			    : stow_err_sys(err, ENOMEM, "events");
	}
	if (r < 0) {
		stow_events_free(events, n);
		return r;
	}
	*ret = events;
	*ret_n = n;
	return 0;
}

void stow_events_free(struct stow_event *events, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		free(events[i].id);
		free(events[i].kind);
		free(events[i].cpus);
		free(events[i].nodes);
		free(events[i].text);
	}
	free(events);
}

// SPDX-License-Identifier: Apache-2.0
/* The database: its schema, opening it, transactions. */
#include "ledger/ledger.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "ledger/schema.h"
#include "ledger/sql.h"

/* "nstw": identifies the database, also for file(1). */
#define APPLICATION_ID 0x6e737477
#define MACHINES_ID    (APPLICATION_ID + 1) /* of a ledger that is used in the initial namespaces */
#define SCHEMA_VERSION 6

/* SQLite compiles a table's constraints whenever a statement is prepared, each for some
 * microseconds: so one constraint covers all columns of a kind. Every b-tree that a transaction
 * changes costs four system calls: so an index has only the rows that are looked up. */
#define ARE_LISTS(c) "CONSTRAINT sets_are_lists CHECK(" c " NOT GLOB '*[^0-9,-]*')"
#define OWNER	     " INTEGER NOT NULL REFERENCES container ON DELETE CASCADE"
/* A missing controller has no path; a NULL version means the same cgroup as cpuset's, as on v2. */
#define CGROUP(c) #c "_version INTEGER," #c "_path TEXT," #c "_inode INTEGER"
#define CGROUP_CHECK(c)                                                                           \
	"CONSTRAINT " #c "_has_path CHECK(coalesce(" #c "_version, 0) BETWEEN 0 AND 2 AND"        \
	" (coalesce(" #c "_version, 0) = 0) = (" #c "_path IS NULL) AND (" #c "_version IS NULL)" \
	" = (" #c "_inode IS NULL))"

/* clang-format off */
static const char schema[] =
	/* The grants. `mode` is 0 shared, 1 exclusive, 2 isolated. */
	"CREATE TABLE container(key INTEGER PRIMARY KEY AUTOINCREMENT, state INTEGER NOT NULL,"
	"kind INTEGER NOT NULL, id TEXT NOT NULL, pod TEXT NOT NULL, ns TEXT NOT NULL,"
	"name TEXT NOT NULL, init_pid INTEGER NOT NULL, init_start INTEGER NOT NULL,"
	"worker_pid INTEGER NOT NULL, worker_start INTEGER NOT NULL,"
	CGROUP(cpuset) "," CGROUP(hugetlb) "," CGROUP(memory) ","
	"created INTEGER NOT NULL, expires INTEGER NOT NULL, mode INTEGER NOT NULL,"
	"cpus TEXT NOT NULL, nodes TEXT NOT NULL, given_cpus TEXT NOT NULL,"
	"given_mems TEXT NOT NULL, request TEXT NOT NULL, digest TEXT NOT NULL,"
	"reason TEXT NOT NULL, drain INTEGER NOT NULL, reservation TEXT NOT NULL,"
	"CONSTRAINT numbers_are_positive CHECK(min(init_pid, worker_pid, created, expires) >= 0),"
	"CONSTRAINT words_are_known CHECK(min(state, kind, mode, drain) >= 0 AND"
	" max(state, kind - 1, mode, drain) <= 2),"
	ARE_LISTS("cpus || nodes || given_cpus || given_mems") ","
	"CONSTRAINT lease_has_no_process CHECK(state > 0 OR init_pid = 0),"
	"CONSTRAINT id_is_known CHECK((id = '') = (state = 0 AND kind > 0)),"
	"CONSTRAINT member_has_names CHECK(kind <> 1 OR (pod <> '' AND name <> '')),"
	"CONSTRAINT reservation_has_id CHECK(kind <> 2 OR reservation <> ''),"
	"CONSTRAINT own_cpus_are_in_table_cpu CHECK(mode = 0 OR cpus = ''),"
	"CONSTRAINT holder_has_its_claims CHECK(kind <> 3 OR state = 0 OR"
	" (mode = 0 AND cpus = '' AND nodes = '' AND drain = 0)),"
	"CONSTRAINT cpuset_is_known CHECK(cpuset_version IS NOT NULL),"
	CGROUP_CHECK(cpuset) "," CGROUP_CHECK(hugetlb) "," CGROUP_CHECK(memory) ") STRICT;"
	"CREATE INDEX container_id ON container(id) WHERE id <> '';"
	"CREATE INDEX container_member ON container(pod, name) WHERE kind = 1;"
	"CREATE INDEX container_reservation ON container(reservation) WHERE reservation <> '';"
	/* What each container has. `target` is 1 for the target of the repin in progress, which is
	 * in `move`. */
	"CREATE TABLE share(container" OWNER ", target INTEGER NOT NULL, node INTEGER NOT NULL,"
	"cpus INTEGER NOT NULL, memory INTEGER NOT NULL, exclusive INTEGER NOT NULL,"
	"CONSTRAINT numbers_are_positive CHECK(min(target, node, cpus, memory, exclusive) >= 0 AND"
	" max(target, exclusive) <= 1), PRIMARY KEY(container, target, node)) STRICT, WITHOUT ROWID;"
	"CREATE TABLE page(container INTEGER NOT NULL, target INTEGER NOT NULL,"
	"node INTEGER NOT NULL, size INTEGER NOT NULL, pages INTEGER NOT NULL,"
	"CONSTRAINT numbers_are_positive CHECK(min(size, pages) > 0),"
	"PRIMARY KEY(container, target, node, size), FOREIGN KEY(container, target, node)"
	" REFERENCES share ON DELETE CASCADE ON UPDATE CASCADE) STRICT, WITHOUT ROWID;"
	"CREATE TABLE cpu(cpu INTEGER PRIMARY KEY, container" OWNER ", target INTEGER NOT NULL,"
	"CONSTRAINT number_is_a_cpus CHECK(min(cpu, target) >= 0 AND target <= 1 AND cpu < 8192))"
	"STRICT;"
	"CREATE INDEX cpu_container ON cpu(container, target);"
	"CREATE TABLE saved(container" OWNER ", position INTEGER NOT NULL,"
	"controller INTEGER NOT NULL, attribute TEXT NOT NULL, value TEXT NOT NULL,"
	"CONSTRAINT controller_is_known CHECK(controller BETWEEN 0 AND 2 AND attribute <> ''),"
	"PRIMARY KEY(container, controller, attribute)) STRICT, WITHOUT ROWID;"
	"CREATE TABLE move(container INTEGER PRIMARY KEY REFERENCES container ON DELETE CASCADE,"
	"worker_pid INTEGER NOT NULL, worker_start INTEGER NOT NULL, step INTEGER NOT NULL,"
	"cpus TEXT NOT NULL, nodes TEXT NOT NULL, reason TEXT NOT NULL,"
	"CONSTRAINT step_is_known CHECK(step BETWEEN 0 AND 2 AND worker_pid >= 0),"
	ARE_LISTS("cpus || nodes") ") STRICT;"
	/* Shares of claims, and the containers that hold them: a share cannot go before them. */
	"CREATE TABLE claim(container INTEGER PRIMARY KEY REFERENCES container ON DELETE CASCADE,"
	"uid TEXT NOT NULL, share TEXT NOT NULL, part TEXT NOT NULL,"
	"CONSTRAINT has_ids CHECK(uid <> '' AND share <> ''), UNIQUE(uid, share)) STRICT;"
	"CREATE TABLE hold(container" OWNER ", claim INTEGER NOT NULL REFERENCES claim"
	" ON DELETE RESTRICT, PRIMARY KEY(container, claim)) STRICT, WITHOUT ROWID;"
	"CREATE INDEX hold_claim ON hold(claim);"
	/* The machine's own tables. */
	"CREATE TABLE pool(node INTEGER NOT NULL, size INTEGER NOT NULL, added INTEGER NOT NULL,"
	"writing INTEGER NOT NULL, before INTEGER NOT NULL, target INTEGER NOT NULL,"
	"CONSTRAINT numbers_are_positive CHECK(min(node, added, writing, before, target) >= 0 AND"
	" size > 0 AND writing <= 1), PRIMARY KEY(node, size)) STRICT, WITHOUT ROWID;"
	"CREATE TABLE event(seq INTEGER PRIMARY KEY, at INTEGER NOT NULL, id TEXT NOT NULL,"
	"kind TEXT NOT NULL, exclusive INTEGER NOT NULL, cpus TEXT NOT NULL, nodes TEXT NOT NULL,"
	"text TEXT NOT NULL, CONSTRAINT kind_is_given CHECK(kind <> '')) STRICT;"
	"CREATE TABLE fence(owner TEXT NOT NULL, node INTEGER NOT NULL,"
	"CONSTRAINT node_is_a_nodes CHECK(node >= 0 AND owner <> ''),"
	"PRIMARY KEY(owner, node)) STRICT, WITHOUT ROWID;"
	/* Cgroups whose cpuset.cpus.exclusive numastow has written. */
	"CREATE TABLE partition(path TEXT PRIMARY KEY, inode INTEGER NOT NULL,"
	"leaf INTEGER NOT NULL, again INTEGER NOT NULL,"
	"CONSTRAINT path_is_absolute CHECK(path GLOB '/?*'),"
	"CONSTRAINT numbers_are_positive CHECK(min(leaf, again) >= 0 AND leaf <= 1)) STRICT,"
	"WITHOUT ROWID;" STOW_DRAIN_SCHEMA;
/* clang-format on */

const char *stow_state_name(enum stow_state state)
{
	static const char *const names[] = { "lease", "pending", "active" };

	return state <= STOW_STATE_ACTIVE ? names[state] : "unknown";
}

/* --- opening -------------------------------------------------------------- */

/* Read the file's header (sqlite.org/fileformat2.html) in one read; each PRAGMA would be a
 * transaction of its own. 0 for an empty file. */
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

/* The file change counter. */
uint32_t stow_ledger_changes(struct stow_ledger *ledger)
{
	return read_header(ledger, 24);
}

static int begin_locked(struct stow_ledger *ledger, struct stow_err *err)
{
	if (sqlite3_exec(ledger->db, "BEGIN IMMEDIATE", NULL, NULL, NULL) != SQLITE_OK)
		return stow_sql_fail(ledger, err, "beginning");
	return 0;
}

/* Return whether this program is in the machine's initial namespaces (the inodes of
 * linux/proc_ns.h, an ABI by now). In others, processes have other numbers and cgroups other
 * paths. */
static bool is_initial(struct stow_root *root)
{
	static const struct {
		const char *name;
		ino_t inode;
	} namespaces[] = { { "pid", 0xEFFFFFFCU },
			   { "cgroup", 0xEFFFFFFBU },
			   { "time", 0xEFFFFFFAU } };

	for (size_t i = 0; i < STOW_ARRAY_SIZE(namespaces); i++) {
		struct stat st;
		int r = stow_root_stat(root, &st, NULL, "/proc/self/ns/%s", namespaces[i].name);

		/* Linux has time namespaces since 5.6. */
		if (r < 0 ? i < 2 : st.st_ino != namespaces[i].inode)
			return false;
	}
	return true;
}

/* Make the tables in an empty database, under the lock. */
static int make_schema(struct stow_ledger *ledger, struct stow_err *err)
{
	char sql[128];
	int r;

	snprintf(sql, sizeof(sql), "PRAGMA application_id=%d; PRAGMA user_version=%d",
		 is_initial(ledger->root) ? MACHINES_ID : APPLICATION_ID, SCHEMA_VERSION);
	r = begin_locked(ledger, err);
	if (r < 0)
		return r;
	if (sqlite3_exec(ledger->db, schema, NULL, NULL, NULL) == SQLITE_OK &&
	    sqlite3_exec(ledger->db, sql, NULL, NULL, NULL) == SQLITE_OK &&
	    sqlite3_exec(ledger->db, "COMMIT", NULL, NULL, NULL) == SQLITE_OK)
		return 0;
	r = stow_sql_fail(ledger, err, "making the tables");
	(void)sqlite3_exec(ledger->db, "ROLLBACK", NULL, NULL, NULL);
	return r;
}

/* The applier has run, so the ledger once had records. */
static int lost(const struct stow_ledger *ledger, const char *what, struct stow_err *err)
{
	return stow_err_set(err, EUCLEAN,
			    "the ledger %s%s is %s, and containers were placed since boot; "
			    "`numastow gc --rebuild` sets it aside and starts a new one from the "
			    "live containers",
			    ledger->root->prefix, STOW_LEDGER_PATH, what);
}

/* The database is on a tmpfs, so syncing is useless. The journal is deleted at each commit,
 * SQLite's default: every reader would have to look into a kept journal, and one in memory would
 * lose the half-written pages of a killed writer. An empty file that this call has not `made` has
 * lost its records if the applier has run. */
static int configure(struct stow_ledger *ledger, bool create, bool made, struct stow_err *err)
{
	uint32_t version;

	if (sqlite3_db_config(ledger->db, SQLITE_DBCONFIG_ENABLE_FKEY, 1, NULL) != SQLITE_OK ||
	    sqlite3_exec(ledger->db, "PRAGMA synchronous=OFF", NULL, NULL, NULL) != SQLITE_OK)
		return stow_sql_fail(ledger, err, "opening");
	version = read_header(ledger, 60);
	if (version == SCHEMA_VERSION)
		return 0;
	if (version == 0 && !made && stow_root_exists(ledger->root, "%s", STOW_APPLIED_PATH) != 0)
		return lost(ledger, "empty", err);
	if (version == 0 && create)
		return make_schema(ledger, err);
	if (version == 0)
		return stow_err_set(err, ENOENT, "the ledger %s%s is empty", ledger->root->prefix,
				    STOW_LEDGER_PATH);
	if (version > SCHEMA_VERSION)
		return stow_err_set(
			err, EPROTO,
			"the ledger %s%s has schema %" PRIu32
			", this program supports %d: a newer version of numastow runs here",
			ledger->root->prefix, STOW_LEDGER_PATH, version, SCHEMA_VERSION);
	return stow_err_set(
		err, EPROTO,
		"the ledger %s%s has schema %" PRIu32
		" of an older numastow, this one needs %d: `numastow gc --rebuild` sets it "
		"aside and starts a new one from the live containers",
		ledger->root->prefix, STOW_LEDGER_PATH, version, SCHEMA_VERSION);
}

/* SQLite would wait for ever for a writer of a FIFO. */
static int check_journal(const char *path, struct stow_err *err)
{
	char journal[PATH_MAX];
	struct stat st;

	snprintf(journal, sizeof(journal), "%s-journal", path);
	if (lstat(journal, &st) < 0 || S_ISREG(st.st_mode))
		return 0;
	return stow_err_set(err, EINVAL, "the ledger's %s is not a regular file", journal);
}

static int open_file(struct stow_ledger *ledger, const char *path, struct stow_err *err)
{
	struct stat st;
	int code, e;

	code = stow_sql_register_vfs();
	if (code == SQLITE_OK)
		code = sqlite3_open_v2(path, &ledger->db,
				       SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, STOW_SQL_VFS);
	if (code != SQLITE_OK) {
		e = code == SQLITE_CANTOPEN && ledger->db ? sqlite3_system_errno(ledger->db) : 0;
		sqlite3_close(STOW_TAKE_PTR(ledger->db));
		return stow_err_sys(err, e ? e : stow_sql_errno(code), "the ledger %s", path);
	}
	if (stat(path, &st) < 0)
		return stow_err_sys(err, errno, "the ledger %s", path);
	ledger->device = st.st_dev;
	ledger->inode = st.st_ino;
	return check_journal(path, err);
}

/* SQLite would make the file readable for all users. */
static int create_file(struct stow_ledger *ledger, struct stow_err *err)
{
	_cleanup_close_ int fd = stow_root_openat(ledger->root, O_RDWR | O_CREAT | O_NOFOLLOW, 0600,
						  err, "%s", STOW_LEDGER_PATH);

	if (fd < 0)
		return fd;
	if (fchmod(fd, 0600) < 0)
		return stow_err_sys(err, errno, "the mode of %s", STOW_LEDGER_PATH);
	return 0;
}

/* Make the file, and its tables. */
static int make(struct stow_ledger *ledger, const char *path, struct stow_err *err)
{
	int r = create_file(ledger, err);

	if (r == 0)
		r = open_file(ledger, path, err);
	return r < 0 ? r : configure(ledger, true, true, err);
}

static int open_locked(struct stow_ledger *ledger, const char *path, bool create,
		       struct stow_err *err)
{
	int r = open_file(ledger, path, err);

	if (r == 0)
		return configure(ledger, create, false, err);
	if (r == -ENOENT && stow_root_exists(ledger->root, "%s", STOW_APPLIED_PATH) != 0)
		return lost(ledger, "missing", err);
	/* The first access since boot. */
	return r == -ENOENT && create ? make(ledger, path, err) : r;
}

/* A user who can write to the folder could replace the ledger. (A copied tree is its owner's.) */
static int check_folder(struct stow_root *root, struct stow_err *err)
{
	_cleanup_free_ char *path = NULL;
	const char *wrong = NULL;
	struct stat st, top;
	int r;

	r = stow_root_path(root, STOW_RUN_DIR, &path, err);
	if (r < 0)
		return r;
	if (lstat(path, &st) < 0) /* the caller gets the same failure */
		return 0;
	if (!S_ISDIR(st.st_mode))
		wrong = S_ISLNK(st.st_mode) ? "it is a link" : "it is not a folder";
	else if (st.st_uid != 0 && st.st_uid != geteuid() &&
		 stow_root_stat(root, &top, NULL, "/") == 0 && st.st_uid != top.st_uid)
		wrong = "it is another user's";
	else if (st.st_mode & S_IWOTH)
		wrong = "it is writable for all users";
	return wrong ? stow_err_set(err, EPERM,
				    "%s must be a folder of root's, for root to write: %s", path,
				    wrong)
		     : 0;
}

int stow_ledger_open(struct stow_root *root, bool create, struct stow_ledger **ret_ledger,
		     struct stow_err *err)
{
	_cleanup_(stow_ledger_close_ptr) struct stow_ledger *ledger = NULL;
	_cleanup_free_ char *path = NULL;
	int r;

	r = check_folder(root, err);
	if (r == 0)
		r = stow_root_path(root, STOW_LEDGER_PATH, &path, err);
	if (r < 0)
		return r;
	/* Statistics and look-aside memory only pay off in long-lived processes. These calls fail,
	 * as they should, once SQLite is in use. */
	(void)sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
	(void)sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 0, 0);
	ledger = calloc(1, sizeof(*ledger));
	if (!ledger)
		return stow_err_sys(err, ENOMEM, "%s", path);
	ledger->root = root;
	ledger->lock = -EBADF;
	r = stow_sql_lock(ledger, err);
	if (r == -ENOENT && create) {
		r = stow_root_mkdir(root, STOW_RUN_DIR, err);
		if (r == 0)
			r = stow_sql_lock(ledger, err);
	}
	if (r < 0)
		return r;
	r = open_locked(ledger, path, create, err);
	stow_sql_unlock(ledger);
	if (r == 0)
		*ret_ledger = STOW_TAKE_PTR(ledger);
	return r;
}

int stow_ledger_check_namespaces(struct stow_ledger *ledger, struct stow_err *err)
{
	bool initial = is_initial(ledger->root), marked = read_header(ledger, 68) == MACHINES_ID;
	char sql[64];

	if (initial == marked || !ledger->root->live)
		return 0;
	if (initial) {
		snprintf(sql, sizeof(sql), "PRAGMA application_id=%d", MACHINES_ID);
		return stow_sql_run(ledger, err, sql, "");
	}
	return stow_err_set(err, EXDEV,
			    "the ledger is that of the machine's initial namespaces, and this "
			    "program is in another pid, cgroup or time namespace: running "
			    "containers would seem to have ended, so nothing is changed");
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

static int set_aside(struct stow_root *root, const char *path, char *ret_name, size_t size,
		     struct stow_err *err)
{
	_cleanup_free_ char *journal = NULL;
	int r = stow_root_path(root, STOW_LEDGER_PATH "-journal", &journal, err);

	if (r < 0)
		return r;
	snprintf(ret_name, size, "%s.damaged-%" PRIu64, path, stow_clock_wall() / STOW_SECOND);
	if (rename(path, ret_name) == 0)
		(void)chmod(ret_name, 0600); /* an older version's was readable for all users */
	else if (errno == ENOENT)	     /* it is missing */
		ret_name[0] = '\0';
	else
		return stow_err_sys(err, errno, "renaming %s", path);
	(void)unlink(journal); /* it belongs to the old database, and must not be rolled back into
				  the new one */
	return 0;
}

int stow_ledger_set_aside(struct stow_root *root, char *ret_name, size_t size, struct stow_err *err)
{
	_cleanup_(stow_ledger_close_ptr) struct stow_ledger *ledger = calloc(1, sizeof(*ledger));
	_cleanup_free_ char *path = NULL;
	int r;

	if (!ledger)
		return stow_err_sys(err, ENOMEM, "%s", STOW_LEDGER_PATH);
	ledger->root = root;
	ledger->lock = -EBADF;
	r = stow_root_path(root, STOW_LEDGER_PATH, &path, err);
	if (r == 0)
		r = stow_sql_lock(ledger, err);
	if (r < 0)
		return r;
	r = set_aside(root, path, ret_name, size, err);
	if (r == 0)
		r = make(ledger, path, err);
	stow_sql_unlock(ledger);
	return r;
}

/* --- transactions --------------------------------------------------------- */

/* SQLite's own wait for a lock polls with growing pauses: with 200 hooks at once some would starve.
 * flock(2) queues them. */
int stow_ledger_begin(struct stow_ledger *ledger, struct stow_err *err)
{
	int r = stow_sql_lock(ledger, err);

	if (r < 0)
		return r;
	r = begin_locked(ledger, err);
	if (r < 0)
		stow_sql_unlock(ledger);
	return r;
}

int stow_ledger_commit(struct stow_ledger *ledger, struct stow_err *err)
{
	if (sqlite3_exec(ledger->db, "COMMIT", NULL, NULL, NULL) != SQLITE_OK) {
		int r = stow_sql_fail(ledger, err, "committing");

		stow_ledger_rollback(ledger);
		return r;
	}
	stow_sql_unlock(ledger);
	return 0;
}

void stow_ledger_rollback(struct stow_ledger *ledger)
{
	(void)sqlite3_exec(ledger->db, "ROLLBACK", NULL, NULL, NULL);
	stow_sql_unlock(ledger);
}

int stow_ledger_end(struct stow_ledger *ledger, int r, struct stow_err *err)
{
	if (r >= 0)
		return stow_ledger_commit(ledger, err);
	stow_ledger_rollback(ledger);
	return r;
}

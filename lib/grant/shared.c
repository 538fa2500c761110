// SPDX-License-Identifier: Apache-2.0
#include "grant/shared.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "grant/enforce.h"
#include "grant/saved.h"

/* A container without annotations. */
struct other {
	struct stow_life init;
	bool changed;	       /* we have changed its set */
	struct stow_idset was; /* what it was; empty: inherited (v2) */
};

int stow_shared_lock(struct stow_root *root, struct stow_err *err)
{
	return stow_root_lock(root, err, "%s", STOW_RUN_DIR "/shared.lock");
}

/* --- the entries ---------------------------------------------------------------------------- */

static int other_read(struct stow_root *root, const char *id, struct other *ret,
		      struct stow_err *err)
{
	char text[16384], *cpus, *space;
	struct other other = { 0 };
	uint64_t pid;
	int r;

	r = stow_root_read_buf(root, text, sizeof(text), err, STOW_OTHERS_DIR "/%s", id);
	if (r < 0)
		return r;
	cpus = strchr(text, '\n');
	if (cpus)
		*cpus++ = '\0';
	space = strchr(text, ' ');
	if (space)
		*space++ = '\0';
	if (!space || stow_parse_u64(text, INT32_MAX, &pid, NULL) < 0 ||
	    stow_parse_u64(space, UINT64_MAX, &other.init.start, NULL) < 0)
		return stow_err_set(err, ENOENT, "%s: no entry", id);
	other.init.pid = (pid_t)pid;
	if (cpus && strncmp(cpus, "cpus=", 5) == 0) {
		other.changed = true;
		r = stow_idset_parse(cpus + 5, &other.was, err);
		if (r < 0)
			return r;
	}
	*ret = other;
	return 0;
}

static int other_write(struct stow_root *root, const char *id, const struct other *other,
		       struct stow_err *err)
{
	_cleanup_free_ char *list = NULL, *text = NULL, *path = NULL;
	int n, r;

	list = stow_idset_to_list(&other->was);
	if (!list)
		return stow_err_sys(err, ENOMEM, "%s", id);
	n = asprintf(&text, "%d %" PRIu64 "\n%s%s", (int)other->init.pid, other->init.start,
		     other->changed ? "cpus=" : "", other->changed ? list : "");
	if (n >= 0)
		n = asprintf(&path, STOW_OTHERS_DIR "/%s", id);
	if (n < 0)
		return stow_err_sys(err, ENOMEM, "%s", id);
	/* As a whole: who is killed here must not take with it what the set was. */
	r = stow_root_replace(root, path, text, 0644, err);
	if (r != -ENOENT)
		return r;
	/* The first one since boot. */
	r = stow_root_mkdir(root, STOW_OTHERS_DIR, err);
	return r < 0 ? r : stow_root_replace(root, path, text, 0644, err);
}

/* Calls `visit` for every entry; stops at a negative answer, else returns the sum of the answers. */
static int others_each(struct stow_root *root,
		       int (*visit)(struct stow_root *root, const char *id, struct other *other,
				    void *ctx, struct stow_err *err),
		       void *ctx, struct stow_err *err)
{
	_cleanup_closedir_ DIR *d = NULL;
	struct dirent *e;
	int sum = 0;

	d = stow_root_opendir(root, err, "%s", STOW_OTHERS_DIR);
	if (!d)
		return errno == ENOENT ? 0 : -errno;
	while ((e = readdir(d))) {
		struct other other;
		int r;

		if (e->d_name[0] == '.')
			continue;
		r = other_read(root, e->d_name, &other, err);
		if (r == -ENOENT)
			continue;
		if (r == 0)
			r = visit(root, e->d_name, &other, ctx, err);
		if (r < 0)
			return r;
		sum += r;
	}
	return sum;
}

/* --- one container -------------------------------------------------------------------------- */

/* An error that only means that the container ended while we looked at it. */
static bool is_gone(int r)
{
	return r == -ESRCH || r == -ENOENT || r == -ENODEV;
}

/* Takes a container without annotations off `exclusive`, or gives back what it had. The lock is
 * held. Returns 1 when its set was changed. */
static int other_place(struct stow_root *root, const char *id, struct other *other,
		       const struct stow_idset *exclusive, struct stow_err *err)
{
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cgroup = NULL;
	struct stow_idset full, desired;
	struct stow_cpuset now;
	int r;

	if (!other->changed && stow_idset_empty(exclusive))
		return 0;
	r = stow_cpuset_of_pid(root, other->init.pid, &cgroup, err);
	if (r == 0)
		r = stow_cpuset_read(cgroup, &now, err);
	if (r < 0)
		return r;
	if (!other->changed)
		other->was = now.cpus;
	full = other->was;
	if (stow_idset_empty(&full)) {
		r = stow_cpuset_inherited(cgroup, &full, err);
		if (r < 0)
			return r;
	}
	desired = full;
	stow_idset_minus(&desired, exclusive);
	if (stow_idset_equal(&desired, &now.cpus_effective))
		return 0;
	if (stow_idset_empty(&desired))
		return stow_err_set(err, EBUSY,
				    "container %s was started on CPUs that are now exclusive, and "
				    "on no others",
				    id);
	/* What it was goes to the file before it changes. */
	if (!other->changed) {
		other->changed = true;
		r = other_write(root, id, other, err);
		if (r < 0)
			return r;
	}
	r = stow_enforce_cpus(cgroup, &desired, !stow_idset_empty(&other->was), err);
	return r < 0 ? r : 1;
}

int stow_shared_enter(struct stow_root *root, const char *id, const struct stow_life *init,
		      const struct stow_idset *was, struct stow_err *err)
{
	_cleanup_close_ int lock = -EBADF;
	struct other other = { .init = *init };
	struct stow_idset exclusive = { 0 };
	int r;

	if (was) {
		other.changed = true;
		other.was = *was;
	}
	r = other_write(root, id, &other, err);
	if (r < 0)
		return r;
	if (stow_root_exists(root, "%s", STOW_EXCLUSIVE_PATH) == 0 && !was)
		return 0;
	lock = stow_shared_lock(root, err);
	if (lock < 0)
		return lock;
	r = stow_root_read_idset(root, &exclusive, err, "%s", STOW_EXCLUSIVE_PATH);
	if (r < 0 && r != -ENOENT)
		return r;
	return other_place(root, id, &other, &exclusive, err);
}

int stow_shared_leave(struct stow_root *root, const char *id, struct stow_err *err)
{
	struct other other;
	int r;

	r = other_read(root, id, &other, NULL);
	if (r == -ENOENT)
		return 0;
	if (r == 0 && stow_life_alive(root, &other.init))
		return 0;
	r = stow_root_unlink(root, err, STOW_OTHERS_DIR "/%s", id);
	return r < 0 ? r : 1;
}

static int sweep_one(struct stow_root *root, const char *id, struct other *other, void *ctx,
		     struct stow_err *err)
{
	return stow_shared_leave(root, id, err);
}

/* Files that were to replace others (stow_root_replace()) when their writer died. */
static void sweep_unfinished(struct stow_root *root, const char *dir)
{
	_cleanup_closedir_ DIR *d = stow_root_opendir(root, NULL, "%s", dir);
	struct dirent *e;

	while (d && (e = readdir(d))) {
		const char *dot = strrchr(e->d_name, '.');
		struct stow_life life;
		uint64_t pid;

		if (e->d_name[0] == '.' && dot > e->d_name &&
		    stow_parse_u64(dot + 1, INT32_MAX, &pid, NULL) == 0 &&
		    stow_life_read(root, (pid_t)pid, &life, NULL) == -ESRCH)
			(void)stow_root_unlink(root, NULL, "%s/%s", dir, e->d_name);
	}
}

int stow_shared_sweep(struct stow_root *root, struct stow_err *err)
{
	sweep_unfinished(root, STOW_RUN_DIR);
	sweep_unfinished(root, STOW_OTHERS_DIR);
	return others_each(root, sweep_one, NULL, err);
}

/* --- everybody ------------------------------------------------------------------------------ */

/* While it is there, what the ledger says of the shared containers' CPUs is not known to be true:
 * somebody began to change them, and has not come to the end. */
#define UNSETTLED_PATH STOW_RUN_DIR "/unsettled"

struct sync {
	struct stow_idset exclusive;
	bool unsettled;
	int first; /* the first failure */
};

static int unsettle(struct stow_root *root, struct sync *sync, struct stow_err *err)
{
	int fd;

	if (sync->unsettled)
		return 0;
	fd = stow_root_openat(root, O_WRONLY | O_CREAT | O_NOFOLLOW, 0644, err, "%s",
			      UNSETTLED_PATH);
	if (fd < 0)
		return fd;
	close(fd);
	sync->unsettled = true;
	return 0;
}

static int sync_other(struct stow_root *root, const char *id, struct other *other, void *ctx,
		      struct stow_err *err)
{
	struct sync *sync = ctx;
	int r;

	r = other_place(root, id, other, &sync->exclusive, sync->first ? NULL : err);
	if (r < 0 && !is_gone(r) && !sync->first)
		sync->first = r;
	return 0;
}

/* The set that a shared record should have; false when it has it already. */
static bool record_differs(const struct stow_record *record, const struct stow_idset *exclusive,
			   struct stow_idset *ret_desired)
{
	*ret_desired = record->base;
	stow_idset_minus(ret_desired, exclusive);
	return !stow_idset_equal(ret_desired, &record->cpus);
}

/* Writes the record's new CPU set to the ledger, as a change of its own. */
static int store_cpus(struct stow_ledger *ledger, struct stow_record *record,
		      const struct stow_idset *cpus, struct stow_err *err)
{
	struct stow_record *now = NULL;
	int r;

	r = stow_ledger_begin(ledger, err);
	if (r < 0)
		return r;
	/* The rest of the row may have changed since we read it. */
	r = stow_ledger_record(ledger, record->key, &now, err);
	if (r == 0) {
		now->cpus = *cpus;
		r = stow_ledger_update(ledger, now, err);
	}
	if (r == 0 && now->state == STOW_STATE_ACTIVE)
		r = stow_ledger_event(ledger, "shared", now->id, now,
				      "the shared CPUs of its nodes changed", err);
	stow_record_free(now);
	if (r == 0)
		record->cpus = *cpus;
	return stow_ledger_end(ledger, r, err);
}

static int sync_record(struct stow_root *root, struct stow_ledger *ledger,
		       struct stow_record *record, struct sync *sync, bool always,
		       struct stow_err *err)
{
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cgroup = NULL;
	struct stow_idset desired, before;
	bool differs;
	int r;

	if (record->exclusive || record->state != STOW_STATE_ACTIVE)
		return 0;
	differs = record_differs(record, &sync->exclusive, &desired);
	if (!differs && !always)
		return 0;
	r = stow_cpuset_of_pid(root, record->init.pid, &cgroup, err);
	if (r < 0)
		return r;
	if (cgroup->inode != record->inode)
		return -ESRCH;
	r = unsettle(root, sync, err);
	if (r < 0)
		return r;
	stow_saved_idset(record->saved, "cpuset.cpus", &before);
	r = stow_enforce_cpus(cgroup, &desired, !stow_idset_empty(&before), err);
	if (r == 0 && differs)
		r = store_cpus(ledger, record, &desired, err);
	return r;
}

static int publish(struct stow_root *root, const struct stow_idset *exclusive, struct stow_err *err)
{
	_cleanup_free_ char *list = NULL;

	if (stow_idset_empty(exclusive))
		return stow_root_unlink(root, err, "%s", STOW_EXCLUSIVE_PATH);
	list = stow_idset_to_list(exclusive);
	if (!list)
		return stow_err_sys(err, ENOMEM, "%s", STOW_EXCLUSIVE_PATH);
	return stow_root_replace(root, STOW_EXCLUSIVE_PATH, list, 0644, err);
}

int stow_shared_sync(struct stow_root *root, struct stow_ledger *ledger, struct stow_err *err)
{
	_cleanup_close_ int lock = -EBADF;
	struct stow_record **records = NULL;
	struct sync sync = { 0 };
	bool always;
	size_t n = 0;
	int r;

	lock = stow_shared_lock(root, err);
	if (lock < 0)
		return lock;
	r = stow_ledger_exclusive(ledger, &sync.exclusive, err);
	if (r == 0)
		r = publish(root, &sync.exclusive, err);
	if (r == 0)
		r = stow_ledger_records(ledger, NULL, &records, &n, err);
	if (r < 0)
		return r;
	always = stow_root_exists(root, "%s", UNSETTLED_PATH) != 0;
	sync.unsettled = always;
	for (size_t i = 0; i < n; i++) {
		r = sync_record(root, ledger, records[i], &sync, always, sync.first ? NULL : err);
		if (r < 0 && !is_gone(r) && !sync.first)
			sync.first = r;
	}
	stow_records_free(records, n);
	if (sync.unsettled && !sync.first)
		(void)stow_root_unlink(root, NULL, "%s", UNSETTLED_PATH);
	r = others_each(root, sync_other, &sync, sync.first ? NULL : err);
	return sync.first ? sync.first : r;
}

int stow_shared_place(struct stow_root *root, struct stow_record *record,
		      const struct stow_cgroup *cgroup, struct stow_err *err)
{
	struct stow_idset exclusive = { 0 }, desired, before;
	int r;

	/* Published under this lock. Who has changed the ledger since is waiting for the lock, and
	 * will find this record active. */
	if (stow_root_exists(root, "%s", STOW_EXCLUSIVE_PATH) != 0) {
		r = stow_root_read_idset(root, &exclusive, err, "%s", STOW_EXCLUSIVE_PATH);
		if (r < 0)
			return r;
	}
	desired = record->base;
	stow_idset_minus(&desired, &exclusive);
	stow_saved_idset(record->saved, "cpuset.cpus", &before);
	r = stow_enforce_cpus(cgroup, &desired, !stow_idset_empty(&before), err);
	if (r == 0)
		record->cpus = desired;
	return r;
}

static int pinned_one(struct stow_root *root, const char *id, struct other *other, void *ctx,
		      struct stow_err *err)
{
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cgroup = NULL;
	struct stow_idset full = { 0 }, *pinned = ctx;
	struct stow_cpuset now;

	if (!stow_life_alive(root, &other->init) ||
	    stow_cpuset_of_pid(root, other->init.pid, &cgroup, NULL) < 0 ||
	    stow_cpuset_read(cgroup, &now, NULL) < 0 ||
	    stow_cpuset_inherited(cgroup, &full, NULL) < 0)
		return 0; /* it ended meanwhile */
	if (!other->changed)
		other->was = now.cpus;
	/* v1 has no empty sets: a copy of the parent's is what everybody has. */
	if (!stow_idset_empty(&other->was) && !stow_idset_subset(&full, &other->was))
		stow_idset_or(pinned, &other->was);
	return 0;
}

int stow_shared_pinned(struct stow_root *root, struct stow_idset *ret, struct stow_err *err)
{
	memset(ret, 0, sizeof(*ret));
	return others_each(root, pinned_one, ret, err);
}

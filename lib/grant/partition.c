// SPDX-License-Identifier: Apache-2.0
#include "grant/partition.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/admin.h"
#include "base/array.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/text.h"
#include "cgroup/cpuset.h"
#include "cgroup/hierarchy.h"
#include "cgroup/hierarchy_entry.h"

/* How long to wait after an attempt that failed for no visible reason: each attempt may cost a
 * WARNING in the kernel's log. */
#define AGAIN (600 * STOW_SECOND)

struct stow_partition_want {
	const struct stow_record *record;
	struct stow_cgroup *cgroup;
	struct stow_idset cpus;
};

/* --- paths ---------------------------------------------------------------- */

static const char *path_of(const struct stow_cgroup *cgroup)
{
	return cgroup->at[STOW_CGROUP_CPUSET].below;
}

/* Return the length of the parent's path, for a path of length `len`; 0: the topmost cgroup. */
static size_t length_above(const char *path, size_t len)
{
	while (len > 0 && path[len - 1] != '/')
		len--;
	return len > 0 ? len - 1 : 0;
}

static bool is_at_or_below(const char *path, const char *above)
{
	return strcmp(path, above) == 0 || stow_cgroup_is_below(path, above);
}

/* Open a cgroup's directory and get its inode number. */
static int open_at(struct stow_root *root, const char *path, size_t len, struct stow_root **ret_dir,
		   uint64_t *ret_inode, struct stow_err *err)
{
	const char *point;
	struct stat st;
	int r;

	r = stow_cgroup_mount(root, STOW_CGROUP_CPUSET, &point, err);
	if (r == 0)
		r = stow_root_sub(root, ret_dir, err, "%s%.*s", point, (int)len, path);
	if (r < 0)
		return r;
	if (fstat((*ret_dir)->fd, &st) < 0) {
		r = stow_err_sys(err, errno, "%s%.*s", point, (int)len, path);
		stow_root_free(*ret_dir);
		*ret_dir = NULL;
		return r;
	}
	*ret_inode = st.st_ino;
	return 0;
}

/* --- what is wanted ------------------------------------------------------- */

static const struct stow_ledger_partition *find_row(const struct stow_partitions *p,
						    const char *path, size_t len, uint64_t inode)
{
	for (size_t i = 0; i < p->n_rows; i++)
		if (p->rows[i].inode == inode && strlen(p->rows[i].path) == len &&
		    strncmp(p->rows[i].path, path, len) == 0)
			return &p->rows[i];
	return NULL;
}

static bool is_configured(const struct stow_config *config)
{
	return config && config->partitions;
}

/* Return whether there is no valid configuration: undoing continues without one. */
static bool is_unknown(const struct stow_config *config)
{
	return !config || config->unread;
}

/* Return the record's CPUs as the applier sets them. */
static const struct stow_idset *cpus_of(const struct stow_record *record)
{
	return record->move && record->move->step >= STOW_MOVE_WIDENED ? &record->move->cpus
								       : &record->cpus;
}

/* Return why a container cannot be a partition on this machine, or NULL. */
static const char *unsupported(const struct stow_cgroup *cgroup)
{
	struct stow_idset any;

	if (cgroup->at[STOW_CGROUP_CPUSET].version != 2)
		return "cgroup v1 has no partitions of CPUs";
	if (stow_cpuset_read_exclusive(cgroup->at[STOW_CGROUP_CPUSET].dir, &any, NULL) == -ENOENT)
		return "this kernel has no cpuset.cpus.exclusive (Linux 6.7 and later have it)";
	return NULL;
}

static void warn(const struct stow_partitions *p, const struct stow_record *record, const char *why)
{
	char text[STOW_PARTITION_WHY + 256], list[160];

	snprintf(text, sizeof(text),
		 "container %s has exclusive CPUs %s, but no cpuset partition: %s", record->id,
		 stow_idset_format(cpus_of(record), list, sizeof(list)), why);
	p->warn(p->ctx, record->id, text);
}

static void add_want(struct stow_partitions *p, const struct stow_record *record)
{
	struct stow_partition_want want = { .record = record, .cpus = *cpus_of(record) };
	struct stow_partition_want *added;
	const char *why;

	if (stow_cpuset_open(p->context->root, &record->cgroup, &want.cgroup, NULL) < 0)
		return; /* it has ended */
	why = unsupported(want.cgroup);
	/* This cannot change while the machine runs: report it once, when the container starts. */
	if (why && record->key == p->focus) {
		p->unable = record;
		p->why_unable = why;
	}
	if (why || (is_unknown(p->context->config) &&
		    !find_row(p, path_of(want.cgroup), strlen(path_of(want.cgroup)),
			      want.cgroup->inode))) {
		stow_cgroup_free(want.cgroup);
		return;
	}
	added = STOW_APPEND(p->wants, p->n_wants);
	if (added)
		*added = want;
	else
		stow_cgroup_free(want.cgroup);
}

/* Return whether another container of a claim has CPUs of this one: two cgroups cannot have the
 * same CPUs and one of them be a partition. */
static bool has_company(const struct stow_partitions *p, const struct stow_record *record)
{
	for (size_t i = 0; i < p->n; i++)
		for (size_t h = 0; h < record->n_held; h++)
			if (p->records[i] != record &&
			    stow_record_holds(p->records[i], record->held[h].key))
				return true;
	return false;
}

static bool is_wanted(const struct stow_partitions *p, const struct stow_record *record)
{
	return record->isolated && record->state != STOW_STATE_LEASE && !has_company(p, record) &&
	       (is_configured(p->context->config) || is_unknown(p->context->config));
}

/* Compute what a cgroup's cpuset.cpus.exclusive must have. */
static void wanted_at(const struct stow_partitions *p, const char *path, struct stow_idset *ret)
{
	*ret = (struct stow_idset){ 0 };
	for (size_t i = 0; i < p->n_wants; i++)
		if (is_at_or_below(path_of(p->wants[i].cgroup), path))
			stow_idset_or(ret, &p->wants[i].cpus);
}

/* --- taking back ---------------------------------------------------------- */

static int make_member(struct stow_root *dir, struct stow_err *err)
{
	char now[STOW_PARTITION_TEXT];
	int r = stow_cpuset_read_partition(dir, now, err);

	if (r < 0 || strcmp(now, "member") == 0)
		return r;
	return stow_cpuset_write_partition(dir, false, err);
}

/* Linux 6.12 does not give the CPUs of an invalid partition back to the cgroup above: the container
 * would run on all other CPUs. The WARNING that this write may cost comes when the partition is
 * reset in any case. */
static int end_invalid(struct stow_root *dir, struct stow_err *err)
{
	static const char invalid[] = "isolated invalid";
	char now[STOW_PARTITION_TEXT];
	int r = stow_cpuset_read_partition(dir, now, err);

	if (r < 0 || strncmp(now, invalid, strlen(invalid)) != 0)
		return r;
	return stow_cpuset_write_partition(dir, false, err);
}

/* Reset a cgroup of the ledger, except what is still wanted. Return 1 when its row can be
 * deleted. */
static int leave_one(const struct stow_partitions *p, const struct stow_ledger_partition *row,
		     struct stow_err *err)
{
	_cleanup_(stow_root_free_ptr) struct stow_root *dir = NULL;
	struct stow_idset wanted, now;
	uint64_t inode;
	int r;

	r = open_at(p->context->root, row->path, strlen(row->path), &dir, &inode, err);
	if (r == 0)
		r = stow_cpuset_read_exclusive(dir, &now, err);
	if (r == -ENOENT || r == -ENODEV || r == -ENOTDIR || (r == 0 && inode != row->inode))
		return 1; /* gone, with its values */
	if (r < 0)
		return r;
	wanted_at(p, row->path, &wanted);
	if (row->leaf && !stow_idset_equal(&now, &wanted)) {
		r = make_member(dir, err);
		now = (struct stow_idset){ 0 };
	} else if (row->leaf) {
		r = end_invalid(dir, err);
	}
	stow_idset_and(&now, &wanted);
	if (r == 0)
		r = stow_cpuset_write_exclusive(dir, &now, err);
	return r < 0 ? r : stow_idset_empty(&wanted);
}

static void leave_all(struct stow_partitions *p)
{
	for (size_t i = 0; i < p->n_rows; i++) { /* children first */
		struct stow_err why;
		char text[sizeof(why.msg) + 256];
		int r = leave_one(p, &p->rows[i], &why);

		if (r > 0)
			r = stow_ledger_partition_drop(p->context->ledger, p->rows[i].path, &why);
		if (r >= 0)
			continue;
		snprintf(text, sizeof(text), "cgroup %.200s: its partition was not reset: %s",
			 p->rows[i].path, why.msg);
		p->warn(p->ctx, "(partitions)", text);
	}
}

void stow_partitions_leave(struct stow_partitions *p, bool thorough)
{
	const struct stow_config *config = p->context->config;
	bool any = thorough || is_configured(config) || is_unknown(config);
	struct stow_err why;

	for (size_t i = 0; i < p->n && !any; i++)
		any = p->records[i]->isolated;
	if (!any || !p->context->ledger)
		return;
	if (stow_ledger_partitions(p->context->ledger, &p->rows, &p->n_rows, &why) < 0) {
		p->warn(p->ctx, "(partitions)", why.msg);
		return;
	}
	for (size_t i = 0; i < p->n; i++)
		if (is_wanted(p, p->records[i]))
			add_want(p, p->records[i]);
	leave_all(p);
}

void stow_partitions_done(struct stow_partitions *p)
{
	for (size_t i = 0; i < p->n_wants; i++)
		stow_cgroup_free(p->wants[i].cgroup);
	free(p->wants);
	stow_ledger_partitions_free(p->rows, p->n_rows);
	p->wants = NULL;
	p->rows = NULL;
	p->n_wants = p->n_rows = 0;
}

/* --- what is in the way --------------------------------------------------- */

/* Find the first cgroup in `dir`, except `own`, whose CPUs overlap. */
static bool overlaps_in(struct stow_root *dir, const char *above, const char *own,
			const struct stow_idset *cpus, char why[static STOW_PARTITION_WHY])
{
	static const char *const files[] = { "cpuset.cpus", "cpuset.cpus.exclusive" };
	_cleanup_closedir_ DIR *d = stow_root_opendir(dir, NULL, "/");
	const struct dirent *e;
	size_t len = strcspn(own, "/");

	while (d && (e = readdir(d))) {
		if (!stow_entry_is_cgroup(e) ||
		    (strlen(e->d_name) == len && strncmp(e->d_name, own, len) == 0))
			continue;
		for (size_t i = 0; i < STOW_ARRAY_SIZE(files); i++) {
			struct stow_idset set;
			char list[160];

			if (stow_root_read_idset(dir, &set, NULL, "%s/%s", e->d_name, files[i]) <
				    0 ||
			    !stow_idset_intersects(&set, cpus))
				continue;
			snprintf(why, STOW_PARTITION_WHY,
				 "cgroup %.200s/%.128s beside it has %s %s", above, e->d_name,
				 files[i], stow_idset_format(&set, list, sizeof(list)));
			stow_text_clean(why, STOW_PARTITION_WHY);
			return true;
		}
	}
	return false;
}

/* Return whether a sibling cgroup, on any level, has CPUs of the container. */
static bool overlaps(struct stow_root *root, const struct stow_cgroup *cgroup,
		     const struct stow_idset *cpus, char why[static STOW_PARTITION_WHY])
{
	const char *path = path_of(cgroup);
	size_t len = strlen(path);

	while (len > 0) {
		size_t above = length_above(path, len);
		_cleanup_(stow_root_free_ptr) struct stow_root *dir = NULL;
		char name[256];
		uint64_t inode;

		snprintf(name, sizeof(name), "%.*s", (int)above, path);
		if (open_at(root, above ? path : "/", above ? above : 1, &dir, &inode, NULL) < 0)
			return false; /* the cgroup is being removed */
		if (overlaps_in(dir, name, path + above + 1, cpus, why))
			return true;
		len = above;
	}
	return false;
}

/* Return whether the container has made partitions below its cgroup: their CPUs take effect only
 * there, and are isolated only if the container wants it. */
static bool is_divided(struct stow_root *dir, const struct stow_idset *cpus,
		       const struct stow_idset *effective)
{
	struct stow_idset held;

	return !stow_idset_equal(effective, cpus) && stow_idset_subset(effective, cpus) &&
	       stow_cpuset_read_held(dir, &held, NULL) == 0 && stow_idset_subset(cpus, &held);
}

/* Read back the three values. The kernel makes a partition invalid when none of its CPUs is
 * online. */
static bool is_valid(struct stow_root *root, const struct stow_cgroup *cgroup,
		     const struct stow_idset *cpus, char why[static STOW_PARTITION_WHY])
{
	struct stow_root *dir = cgroup->at[STOW_CGROUP_CPUSET].dir;
	struct stow_idset online, effective, isolated;
	char text[STOW_PARTITION_TEXT], a[160], b[160];
	struct stow_err err;

	if (stow_root_read_idset(root, &online, &err, "/sys/devices/system/cpu/online") < 0 ||
	    stow_cpuset_read_partition(dir, text, &err) < 0 ||
	    stow_cpuset_read_cpus(cgroup, true, &effective, &err) < 0 ||
	    stow_cpuset_read_isolated(cgroup, &isolated, &err) < 0) {
		snprintf(why, STOW_PARTITION_WHY, "%.500s", err.msg);
		return false;
	}
	stow_idset_and(&online, cpus);
	if (strcmp(text, "isolated") == 0 && is_divided(dir, &online, &effective))
		online = effective;
	if (strcmp(text, "isolated") != 0)
		snprintf(why, STOW_PARTITION_WHY, "its cpuset.cpus.partition reads \"%s\"", text);
	else if (!stow_idset_equal(&effective, &online))
		snprintf(why, STOW_PARTITION_WHY, "its CPUs %s take effect, not %s",
			 stow_idset_format(&effective, a, sizeof(a)),
			 stow_idset_format(&online, b, sizeof(b)));
	else if (!stow_idset_subset(&online, &isolated))
		snprintf(why, STOW_PARTITION_WHY, "the kernel isolates CPUs %s, not %s",
			 stow_idset_format(&isolated, a, sizeof(a)),
			 stow_idset_format(&online, b, sizeof(b)));
	else
		return true;
	return false;
}

/* --- making --------------------------------------------------------------- */

/* Enter a cgroup into the ledger, before the first write to it, and add the CPUs to its
 * cpuset.cpus.exclusive. A value of another tool is used as it is, or not at all. */
static int add_exclusive(const struct stow_partitions *p, const struct stow_partition_want *want,
			 size_t len, struct stow_err *err)
{
	_cleanup_(stow_root_free_ptr) struct stow_root *dir = NULL;
	const char *whole = path_of(want->cgroup);
	_cleanup_free_ char *path = strndup(whole, len);
	struct stow_ledger_partition row = { .path = path, .leaf = !whole[len] };
	struct stow_idset set;
	char list[160];
	int r;

	if (!path)
		return stow_err_sys(err, ENOMEM, "partitions");
	r = open_at(p->context->root, path, len, &dir, &row.inode, err);
	if (r == 0)
		r = stow_cpuset_read_exclusive(dir, &set, err);
	if (r < 0)
		return r;
	if (!find_row(p, path, len, row.inode)) {
		if (!row.leaf && stow_idset_subset(&want->cpus, &set))
			return 0;
		if (!row.leaf && !stow_idset_empty(&set))
			return stow_err_set(err, EBUSY,
					    "cgroup %.200s has cpuset.cpus.exclusive %s, which is "
					    "not numastow's",
					    path, stow_idset_format(&set, list, sizeof(list)));
		r = stow_ledger_partition_put(p->context->ledger, &row, err);
	}
	stow_idset_or(&set, &want->cpus);
	return r < 0 ? r : stow_cpuset_write_exclusive(dir, row.leaf ? &want->cpus : &set, err);
}

/* From the topmost cgroup down. */
static int add_all_exclusive(struct stow_partitions *p, const struct stow_partition_want *want,
			     struct stow_err *err)
{
	const char *path = path_of(want->cgroup);

	for (const char *at = path; at && *at;) {
		int r;

		at = strchr(at + 1, '/');
		r = add_exclusive(p, want, at ? (size_t)(at - path) : strlen(path), err);
		if (r < 0)
			return r;
	}
	/* The next container of this run must find the new rows. */
	stow_ledger_partitions_free(p->rows, p->n_rows);
	p->rows = NULL;
	p->n_rows = 0;
	return stow_ledger_partitions(p->context->ledger, &p->rows, &p->n_rows, err);
}

/* Do not try again before AGAIN has passed. */
static void put_off(const struct stow_partitions *p, const struct stow_partition_want *want)
{
	const char *path = path_of(want->cgroup);
	const struct stow_ledger_partition *now =
		find_row(p, path, strlen(path), want->cgroup->inode);
	struct stow_ledger_partition row;

	if (!now)
		return;
	row = *now;
	row.again = stow_clock_boot() + AGAIN;
	(void)stow_ledger_partition_put(p->context->ledger, &row, NULL);
}

static int write_isolated(const struct stow_partitions *p, struct stow_root *dir,
			  struct stow_err *err)
{
	struct stow_first first = { .err = err };
	struct stow_admin admin = { 0 };
	int r;

	r = p->context->root->live ? stow_admin_raise(&admin, err) : 0;
	if (r < 0)
		return r;
	stow_first_note(&first, stow_cpuset_write_partition(dir, true, first.err));
	stow_first_note(&first, stow_admin_lower(&admin, first.err));
	return first.code;
}

static int enact(struct stow_partitions *p, const struct stow_partition_want *want,
		 struct stow_err *err)
{
	struct stow_root *dir = want->cgroup->at[STOW_CGROUP_CPUSET].dir;
	int r;

	/* Without the right to do so the write would make an invalid partition, and the kernel
	 * would log WARNINGs. */
	r = p->context->root->live ? stow_admin_check(err) : 0;
	if (r == 0)
		r = add_all_exclusive(p, want, err);
	if (r == 0)
		r = make_member(dir, err);
	return r < 0 ? r : write_isolated(p, dir, err);
}

static void make_one(struct stow_partitions *p, const struct stow_partition_want *want)
{
	struct stow_root *root = p->context->root;
	const char *path = path_of(want->cgroup);
	const struct stow_ledger_partition *row =
		find_row(p, path, strlen(path), want->cgroup->inode);
	char why[STOW_PARTITION_WHY], beside[STOW_PARTITION_WHY];
	struct stow_idset online;
	struct stow_err err;
	int r;

	if (stow_root_read_idset(root, &online, NULL, "/sys/devices/system/cpu/online") < 0 ||
	    !stow_idset_intersects(&online, &want->cpus))
		return; /* it has a fallback set, and the applier has reported that */
	if (row && is_valid(root, want->cgroup, &want->cpus, why))
		return;
	if (overlaps(root, want->cgroup, &want->cpus, beside)) {
		warn(p, want->record, beside);
		return;
	}
	if (row && row->again > stow_clock_boot()) {
		warn(p, want->record, why);
		return;
	}
	r = enact(p, want, &err);
	if (r < 0)
		snprintf(why, sizeof(why), "%.500s", err.msg);
	else if (is_valid(root, want->cgroup, &want->cpus, why))
		return;
	if (r != -EPERM) /* EPERM: nothing was tried; another program may be able to */
		put_off(p, want);
	warn(p, want->record, why);
}

void stow_partitions_make(struct stow_partitions *p)
{
	if (is_unknown(p->context->config))
		return;
	if (p->unable)
		warn(p, p->unable, p->why_unable);
	for (size_t i = 0; i < p->n_wants; i++)
		make_one(p, &p->wants[i]);
}

/* --- looking -------------------------------------------------------------- */

void stow_partition_add_held(const struct stow_cgroup *cgroup, struct stow_idset *set)
{
	struct stow_root *dir = cgroup->at[STOW_CGROUP_CPUSET].dir;
	char text[STOW_PARTITION_TEXT];
	struct stow_idset held;

	if (cgroup->at[STOW_CGROUP_CPUSET].version == 2 &&
	    stow_cpuset_read_partition(dir, text, NULL) == 0 && strcmp(text, "isolated") == 0 &&
	    stow_cpuset_read_held(dir, &held, NULL) == 0)
		stow_idset_or(set, &held);
}

enum stow_partition_state stow_partition_look(const struct stow_grant_context *context,
					      const struct stow_record *record,
					      char why[static STOW_PARTITION_WHY])
{
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cgroup = NULL;
	char beside[STOW_PARTITION_WHY];
	const char *never;

	why[0] = '\0';
	if (!record->isolated || record->state == STOW_STATE_LEASE ||
	    !is_configured(context->config) ||
	    stow_cpuset_open(context->root, &record->cgroup, &cgroup, NULL) < 0)
		return STOW_PARTITION_NONE;
	never = unsupported(cgroup);
	if (never) {
		snprintf(why, STOW_PARTITION_WHY, "%s", never);
		return STOW_PARTITION_INVALID;
	}
	if (is_valid(context->root, cgroup, cpus_of(record), why))
		return STOW_PARTITION_VALID;
	if (overlaps(context->root, cgroup, cpus_of(record), beside))
		snprintf(why, STOW_PARTITION_WHY, "%s", beside);
	return STOW_PARTITION_INVALID;
}

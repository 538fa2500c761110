// SPDX-License-Identifier: Apache-2.0
#include "checked.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "cgroup/hierarchy.h"
#include "grant/unmanaged.h"

void checked_fatal(const struct stow_err *err)
{
	fprintf(stderr, "check-cpus: %s\n", err->msg);
	exit(2);
}

void checked_violation(struct checker *ch, const char *fmt, ...)
{
	va_list args;

	ch->found++;
	va_start(args, fmt);
	vfprintf(ch->out, fmt, args);
	va_end(args);
	fputc('\n', ch->out);
	fflush(ch->out);
}

void checked_forget(struct snapshot *s)
{
	for (size_t i = 0; i < s->n; i++) {
		free(s->containers[i].dirs[0]);
		free(s->containers[i].dirs[1]);
	}
	free(s->containers);
	*s = (struct snapshot){ 0 };
}

static struct container *add_container(struct checker *ch, const char *label,
				       const struct stow_cgroup_id *id)
{
	static const enum stow_controller which[] = { STOW_CGROUP_CPUSET, STOW_CGROUP_MEMORY };
	struct snapshot *s = &ch->now;
	struct container *c;

	s->containers = reallocarray(s->containers, s->n + 1, sizeof(*c));
	if (!s->containers)
		abort();
	c = &s->containers[s->n++];
	*c = (struct container){ .version = id->at[STOW_CGROUP_CPUSET].version,
				 .inode = id->at[STOW_CGROUP_CPUSET].inode };
	snprintf(c->label, sizeof(c->label), "%s", label);
	c->past = &ch->past[c->inode % STOW_ARRAY_SIZE(ch->past)];
	for (int i = 0; i < 2; i++) {
		struct stow_err err;
		const char *mount;

		if (!id->at[which[i]].path || (i && c->version == 2))
			continue;
		if (stow_cgroup_mount(ch->root, which[i], &mount, &err) < 0)
			checked_fatal(&err);
		if (i == 0)
			c->mount_len = strlen(mount);
		if (asprintf(&c->dirs[i], "%s%s", mount, id->at[which[i]].path) < 0)
			abort();
	}
	return c;
}

/* Collect the nodes' CPUs, online and offline. */
static void cpus_of_nodes(struct checker *ch, const struct stow_share *shares, size_t n,
			  struct stow_idset *ret)
{
	for (size_t i = 0; i < n; i++) {
		struct stow_idset cpus;
		char path[64];

		snprintf(path, sizeof(path), NODES "/node%d", shares[i].node);
		if (stow_root_list_ids(ch->root, path, "cpu", &cpus, NULL) == 0)
			stow_idset_or(ret, &cpus);
	}
}

bool checked_effective(struct checker *ch, const char *dir, struct stow_idset *ret)
{
	static const char *const names[] = { "cpuset.cpus.effective", "cpuset.effective_cpus",
					     "effective_cpus" };

	for (size_t i = 0; i < STOW_ARRAY_SIZE(names); i++)
		if (stow_root_read_idset(ch->root, ret, NULL, "%s/%s", dir, names[i]) == 0)
			return true;
	return false;
}

void checked_comings(const struct stow_idset *cpus, uint64_t *ret_first, uint64_t *ret_last)
{
	*ret_first = UINT64_MAX;
	*ret_last = 0;
	STOW_IDSET_FOR(cpu, cpus) {
		struct stat st;
		char path[64];

		snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/topology", cpu);
		if (stat(path, &st) < 0)
			continue;
		*ret_first = st.st_ino < *ret_first ? st.st_ino : *ret_first;
		*ret_last = st.st_ino > *ret_last ? st.st_ino : *ret_last;
	}
}

void checked_settle(struct container *c)
{
	uint64_t first;

	c->past->inode = c->inode;
	c->past->right = true;
	checked_comings(&c->may, &first, &c->past->last);
}

/* Return whether a moving container has none of its own CPUs, and so may have CPUs of its other
 * place by chance: its set is not within its own, because shared CPUs were written while all of
 * its own were offline; or no CPU of its set is online, and the kernel gives it the CPUs of the
 * cgroup above. */
static bool has_none(struct checker *ch, const struct container *c)
{
	struct stow_idset written;

	if (stow_root_read_idset(ch->root, &written, NULL, "%s/cpuset.cpus", c->dirs[0]) < 0)
		return false;
	return !stow_idset_subset(&written, &c->may) ||
	       !stow_idset_intersects(&written, &ch->now.online);
}

static void add_record(struct checker *ch, const struct stow_record *record)
{
	const struct stow_move *move = record->move;
	char label[STOW_RECORD_LABEL_MAX];
	struct container *c;

	if (record->state == STOW_STATE_LEASE)
		return;
	c = add_container(ch, stow_record_label(record, label), &record->cgroup);
	c->key = record->key;
	c->active = record->state == STOW_STATE_ACTIVE;
	c->exclusive = record->exclusive;
	c->init = record->init;
	c->nodes = record->nodes;
	c->moving = move != NULL;
	if (record->exclusive) {
		c->own = c->may = record->cpus;
		if (move) {
			/* Of both places, those that it has: until it arrives, other containers
			 * may still be there. */
			stow_idset_or(&c->may, &move->cpus);
			if (checked_effective(ch, c->dirs[0], &c->own))
				stow_idset_and(&c->own, &c->may);
			if (has_none(ch, c))
				c->own = (struct stow_idset){ 0 };
		}
	} else if (!stow_idset_empty(&record->cpus)) {
		c->may = record->cpus;
	} else {
		cpus_of_nodes(ch, record->shares, record->n_shares, &c->may);
		for (size_t i = 0; i < record->n_held; i++)
			STOW_IDSET_FOR(node, &record->held[i].at)
				cpus_of_nodes(ch, &(struct stow_share){ .node = node }, 1, &c->may);
		stow_idset_minus(&c->may, &ch->isolated);
		if (!stow_idset_empty(stow_record_given_cpus(record)))
			stow_idset_and(&c->may, stow_record_given_cpus(record));
	}
	if (move && !record->exclusive)
		cpus_of_nodes(ch, move->shares, move->n_shares, &c->may);
	if (move && !stow_idset_empty(&c->nodes))
		stow_idset_or(&c->nodes, &move->nodes);
	if (c->active)
		stow_idset_or(&ch->now.exclusive, &c->own);
	/* From its start on, even before its hook has succeeded, because its CPUs may change
	 * meanwhile. */
	if (c->past->inode != c->inode)
		checked_settle(c);
}

static int add_entry(struct stow_root *root, struct stow_unmanaged *entry, void *ctx,
		     struct stow_err *err)
{
	struct checker *ch = ctx;
	struct container *c;

	(void)root;
	(void)err;
	for (size_t i = 0; i < ch->now.n; i++)
		if (ch->now.containers[i].inode == entry->cgroup.at[STOW_CGROUP_CPUSET].inode)
			return 0;
	c = add_container(ch, entry->id, &entry->cgroup);
	c->active = true;
	c->init = entry->init;
	c->may = entry->given;
	if (c->past->inode != c->inode)
		checked_settle(c);
	return 0;
}

void checked_look(struct checker *ch)
{
	struct stow_record **records = NULL;
	struct stow_err err;
	size_t n = 0;

	checked_forget(&ch->now);
	if (!ch->ledger) {
		int r = stow_ledger_open(ch->root, false, &ch->ledger, &err);

		if (r < 0 && r != -ENOENT)
			checked_fatal(&err);
	}
	if (stow_root_read_idset(ch->root, &ch->now.online, &err,
				 "/sys/devices/system/cpu/online") < 0)
		checked_fatal(&err);
	if (ch->ledger && stow_ledger_records(ch->ledger, NULL, &records, &n, &err) < 0)
		checked_fatal(&err);
	for (size_t i = 0; i < n; i++)
		add_record(ch, records[i]);
	stow_records_free(records, n);
	if (stow_unmanaged_each(ch->root, add_entry, ch, &err) < 0)
		checked_fatal(&err);
}

/* --- the containers' threads ---------------------------------------------- */

static void visit_process(struct checker *ch, struct container *c, pid_t pid,
			  checked_visit_fn *visit)
{
	const struct dirent *e;
	char path[64];
	_cleanup_closedir_ DIR *d = NULL;
	uint64_t tid;

	if (pid == c->init.pid)
		c->seen_init = true;
	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	d = opendir(path);
	while (d && (e = readdir(d)))
		if (stow_parse_u64(e->d_name, INT_MAX, &tid, NULL) == 0)
			visit(ch, c, pid, (pid_t)tid);
}

/* Return whether the directory is the cgroup of another recorded container. */
static bool is_anothers(const struct checker *ch, const struct container *c, const char *dir)
{
	for (size_t i = 0; i < ch->now.n; i++)
		for (int k = 0; k < 2; k++)
			if (&ch->now.containers[i] != c && ch->now.containers[i].dirs[k] &&
			    strcmp(ch->now.containers[i].dirs[k], dir) == 0)
				return true;
	return false;
}

static void visit_below(struct checker *ch, struct container *c, const char *dir,
			checked_visit_fn *visit)
{
	const struct dirent *e;
	char path[PATH_MAX];
	_cleanup_closedir_ DIR *d = NULL;
	_cleanup_fclose_ FILE *procs = NULL;
	int pid;

	snprintf(path, sizeof(path), "%s/cgroup.procs", dir);
	procs = fopen(path, "re");
	while (procs && fscanf(procs, "%d", &pid) == 1)
		visit_process(ch, c, pid, visit);
	d = opendir(dir);
	while (d && (e = readdir(d))) {
		if (e->d_type != DT_DIR || e->d_name[0] == '.' ||
		    snprintf(path, sizeof(path), "%s/%s", dir, e->d_name) >= (int)sizeof(path))
			continue;
		if (!is_anothers(ch, c, path))
			visit_below(ch, c, path, visit);
	}
}

bool checked_is_there(struct checker *ch, const struct container *c)
{
	struct stat st;

	if (!c->dirs[0] || stat(c->dirs[0], &st) < 0)
		return false;
	if (st.st_ino == c->inode)
		return true;
	if (stow_pidref_alive(ch->root, &c->init) && c->init.pid && !ch->watching)
		checked_violation(
			ch, "%s: process %d lives, and %s has inode %" PRIu64 ", not %" PRIu64,
			c->label, (int)c->init.pid, c->dirs[0], (uint64_t)st.st_ino, c->inode);
	return false;
}

void checked_visit(struct checker *ch, checked_visit_fn *visit)
{
	for (size_t i = 0; i < ch->now.n; i++) {
		struct container *c = &ch->now.containers[i];

		if (!c->active || !checked_is_there(ch, c))
			continue;
		for (int k = 0; k < 2; k++)
			if (c->dirs[k])
				visit_below(ch, c, c->dirs[k], visit);
	}
}

void checked_others(const struct checker *ch, const struct container *c, struct stow_idset *ret)
{
	*ret = ch->now.exclusive;
	stow_idset_minus(ret, &c->own);
}

const char *checked_whose(const struct checker *ch, const struct stow_idset *cpus)
{
	for (size_t i = 0; i < ch->now.n; i++)
		if (stow_idset_intersects(&ch->now.containers[i].own, cpus))
			return ch->now.containers[i].label;
	return "shared";
}

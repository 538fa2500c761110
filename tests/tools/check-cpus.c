// SPDX-License-Identifier: Apache-2.0
/*
 * Whether what the ledger says holds: looks at every thread of every container, and at nothing that
 * numastow has computed but the ledger itself.
 *
 *	check-cpus [--wait S]		once; what is wrong is looked at again for S seconds
 *	check-cpus --watch [HERTZ]	until SIGTERM or SIGINT, 50 times a second: CPUs that two
 *					containers have at one moment
 *
 * A container is a record, or a file in /run/numastow/unmanaged; its processes are those in its
 * recorded cgroup and below it, in the cpuset and in the memory hierarchy. One line for each
 * violation, "CONTAINER: process PID ...", and exit code 1.
 */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/parse.h"
#include "grant/unmanaged.h"
#include "ledger/ledger.h"
#include "node/kubelet.h"

#define NODES "/sys/devices/system/node"

struct container {
	char label[STOW_RECORD_LABEL_MAX];
	int64_t key; /* of its record; 0: unmanaged */
	bool active; /* its hook has said yes, or it is unmanaged */
	bool exclusive;
	bool moving;	       /* by a repin */
	struct stow_idset own; /* CPUs that belong to it alone, and which it has already */
	struct stow_idset may; /* what it may use when nothing is exclusive; empty: what is above */
	struct stow_idset nodes; /* empty: any */
	struct stow_life init;
	int version; /* of the cpuset hierarchy */
	uint64_t inode;
	char *dirs[2];	  /* of cpuset, and of memory where that is another hierarchy */
	size_t mount_len; /* of the first: where the hierarchy is mounted */
	bool seen_init;
	struct past *past;
};

/* What the samples of one container have shown so far. CPU hotplug gives a container other CPUs
 * until the kernel's worker, or the next run, has followed. */
struct past {
	uint64_t inode;
	bool right;	/* in the last sample */
	uint64_t last;	/* of its CPUs' comings until then */
	uint64_t since; /* seconds: from when on it was not */
};
#define SETTLE 120 /* seconds for all of that on a busy machine */

struct snapshot {
	struct container *containers;
	size_t n;
	struct stow_idset exclusive; /* of all that are active */
	struct stow_idset online;
};

struct checker {
	struct stow_root *root;
	struct stow_ledger *ledger; /* NULL: there is none yet */
	struct snapshot now;
	bool watching;
	struct stow_idset has_memory, isolated;
	unsigned long found;	 /* violations */
	FILE *out;		 /* for their lines */
	struct past past[1024];	 /* by inode; of two in one place, the last */
	unsigned long unsettled; /* samples after hotplug that were not judged */
};

static volatile sig_atomic_t stopped;

static void on_signal(int signal)
{
	(void)signal;
	stopped = 1;
}

static int fatal(const struct stow_err *err)
{
	fprintf(stderr, "check-cpus: %s\n", err->msg);
	exit(2);
}

static void __attribute__((format(printf, 2, 3)))
violation(struct checker *ch, const char *fmt, ...)
{
	va_list args;

	ch->found++;
	va_start(args, fmt);
	vfprintf(ch->out, fmt, args);
	va_end(args);
	fputc('\n', ch->out);
	fflush(ch->out);
}

/* --- what the ledger says ------------------------------------------------------------------ */

static void forget(struct snapshot *s)
{
	for (size_t i = 0; i < s->n; i++) {
		free(s->containers[i].dirs[0]);
		free(s->containers[i].dirs[1]);
	}
	free(s->containers);
	*s = (struct snapshot){ 0 };
}

static struct container *add(struct checker *ch, const char *label, const struct stow_cgroup_id *id)
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
			fatal(&err);
		if (i == 0)
			c->mount_len = strlen(mount);
		if (asprintf(&c->dirs[i], "%s%s", mount, id->at[which[i]].path) < 0)
			abort();
	}
	return c;
}

/* Online ones and offline ones. */
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

static bool read_effective(struct checker *ch, const char *dir, struct stow_idset *ret)
{
	static const char *const names[] = { "cpuset.cpus.effective", "cpuset.effective_cpus",
					     "effective_cpus" };

	for (size_t i = 0; i < STOW_ARRAY_SIZE(names); i++)
		if (stow_root_read_idset(ch->root, ret, NULL, "%s/%s", dir, names[i]) == 0)
			return true;
	return false;
}

/* When the first and the last of these CPUs came: sysfs makes a CPU's topology directory anew each
 * time that it comes online, with an inode that is higher than all before. */
static void comings(const struct stow_idset *cpus, uint64_t *ret_first, uint64_t *ret_last)
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

/* The container is right, as far as one knows, with its CPUs as they are. */
static void settle(struct container *c)
{
	uint64_t first;

	c->past->inode = c->inode;
	c->past->right = true;
	comings(&c->may, &first, &c->past->last);
}

static void add_record(struct checker *ch, const struct stow_record *record)
{
	const struct stow_move *move = record->move;
	char label[STOW_RECORD_LABEL_MAX];
	struct container *c;

	if (record->state == STOW_STATE_LEASE)
		return;
	c = add(ch, stow_record_label(record, label), &record->cgroup);
	c->key = record->key;
	c->active = record->state == STOW_STATE_ACTIVE;
	c->exclusive = record->exclusive;
	c->init = record->init;
	c->nodes = record->nodes;
	c->moving = move != NULL;
	if (record->exclusive) {
		c->own = c->may = record->cpus;
		if (move) {
			/* Of both places, those that it has: until it comes, others may still be
			 * there. */
			stow_idset_or(&c->may, &move->cpus);
			if (read_effective(ch, c->dirs[0], &c->own))
				stow_idset_and(&c->own, &c->may);
		}
	} else if (!stow_idset_empty(&record->cpus)) {
		c->may = record->cpus;
	} else {
		cpus_of_nodes(ch, record->shares, record->n_shares, &c->may);
		stow_idset_minus(&c->may, &ch->isolated);
		if (!stow_idset_empty(&record->given_cpus))
			stow_idset_and(&c->may, &record->given_cpus);
	}
	if (move && !record->exclusive)
		cpus_of_nodes(ch, move->shares, move->n_shares, &c->may);
	if (move && !stow_idset_empty(&c->nodes))
		stow_idset_or(&c->nodes, &move->nodes);
	if (c->active)
		stow_idset_or(&ch->now.exclusive, &c->own);
	/* From its start on, before its hook has said yes: what happens to its CPUs meanwhile
	 * counts, too. */
	if (c->past->inode != c->inode)
		settle(c);
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
	c = add(ch, entry->id, &entry->cgroup);
	c->active = true;
	c->init = entry->init;
	c->may = entry->given;
	if (c->past->inode != c->inode)
		settle(c);
	return 0;
}

/* Reads ledger and entries. */
static void look(struct checker *ch)
{
	struct stow_record **records = NULL;
	struct stow_err err;
	size_t n = 0;

	forget(&ch->now);
	if (!ch->ledger) {
		int r = stow_ledger_open(ch->root, false, &ch->ledger, &err);

		if (r < 0 && r != -ENOENT)
			fatal(&err);
	}
	if (stow_root_read_idset(ch->root, &ch->now.online, &err,
				 "/sys/devices/system/cpu/online") < 0)
		fatal(&err);
	if (ch->ledger && stow_ledger_records(ch->ledger, NULL, &records, &n, &err) < 0)
		fatal(&err);
	for (size_t i = 0; i < n; i++)
		add_record(ch, records[i]);
	stow_records_free(records, n);
	if (stow_unmanaged_each(ch->root, add_entry, ch, &err) < 0)
		fatal(&err);
}

/* --- the containers' threads --------------------------------------------------------------- */

typedef void visit_fn(struct checker *ch, struct container *c, pid_t pid, pid_t tid);

static void visit_process(struct checker *ch, struct container *c, pid_t pid, visit_fn *visit)
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

/* A container within this one is one of its own. */
static bool is_anothers(const struct checker *ch, const struct container *c, const char *dir)
{
	for (size_t i = 0; i < ch->now.n; i++)
		for (int k = 0; k < 2; k++)
			if (&ch->now.containers[i] != c && ch->now.containers[i].dirs[k] &&
			    strcmp(ch->now.containers[i].dirs[k], dir) == 0)
				return true;
	return false;
}

static void visit_below(struct checker *ch, struct container *c, const char *dir, visit_fn *visit)
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

/* Whether its cgroup is there, and is the one that was recorded. */
static bool is_there(struct checker *ch, const struct container *c)
{
	struct stat st;

	if (!c->dirs[0] || stat(c->dirs[0], &st) < 0)
		return false;
	if (st.st_ino == c->inode)
		return true;
	if (stow_life_alive(ch->root, &c->init) && c->init.pid && !ch->watching)
		violation(ch, "%s: process %d lives, and %s has inode %" PRIu64 ", not %" PRIu64,
			  c->label, (int)c->init.pid, c->dirs[0], (uint64_t)st.st_ino, c->inode);
	return false;
}

static void visit_all(struct checker *ch, visit_fn *visit)
{
	for (size_t i = 0; i < ch->now.n; i++) {
		struct container *c = &ch->now.containers[i];

		if (!c->active || !is_there(ch, c))
			continue;
		for (int k = 0; k < 2; k++)
			if (c->dirs[k])
				visit_below(ch, c, c->dirs[k], visit);
	}
}

/* The exclusive CPUs of others, and whose they are. */
static void others_cpus(const struct checker *ch, const struct container *c, struct stow_idset *ret)
{
	*ret = ch->now.exclusive;
	stow_idset_minus(ret, &c->own);
}

static const char *whose(const struct checker *ch, const struct stow_idset *cpus)
{
	for (size_t i = 0; i < ch->now.n; i++)
		if (stow_idset_intersects(&ch->now.containers[i].own, cpus))
			return ch->now.containers[i].label;
	return "shared";
}

/* --- once ---------------------------------------------------------------------------------- */

/* "Cpus_allowed_list" or "Mems_allowed_list" of a thread; false: it has ended. */
static bool allowed(pid_t pid, pid_t tid, const char *key, struct stow_idset *ret)
{
	char path[64], line[8192];
	size_t len = strlen(key);
	_cleanup_fclose_ FILE *status = NULL;
	bool found = false;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/status", (int)pid, (int)tid);
	status = fopen(path, "re");
	while (!found && status && fgets(line, sizeof(line), status)) {
		if (strncmp(line, key, len) != 0 || line[len] != ':')
			continue;
		line[strcspn(line, "\n")] = '\0';
		found = stow_idset_parse(line + len + 1 + strspn(line + len + 1, " \t"), ret,
					 NULL) == 0;
	}
	return found;
}

/* Whether none of the CPUs that a container may use is to be had: the kernel gives it what is
 * above. */
static bool is_displaced(const struct checker *ch, const struct container *c)
{
	struct stow_idset usable = c->may;

	if (c->exclusive)
		return !stow_idset_intersects(&c->may, &ch->now.online) ||
		       stow_idset_empty(&c->own);
	stow_idset_minus(&usable, &ch->now.exclusive);
	return !stow_idset_empty(&c->may) && !stow_idset_intersects(&usable, &ch->now.online);
}

static void check_thread(struct checker *ch, struct container *c, pid_t pid, pid_t tid)
{
	struct stow_idset cpus, mems, others, both, usable;
	char a[256], b[256];

	if (!allowed(pid, tid, "Cpus_allowed_list", &cpus) ||
	    !allowed(pid, tid, "Mems_allowed_list", &mems))
		return;
	others_cpus(ch, c, &others);
	both = cpus;
	stow_idset_and(&both, &others);
	if (!stow_idset_empty(&both))
		violation(ch, "%s: process %d may run on CPUs %s, which belong to %s alone",
			  c->label, (int)tid, stow_idset_format(&both, a, sizeof(a)),
			  whose(ch, &both));
	else if (c->exclusive && !stow_idset_subset(&cpus, &c->may) && !is_displaced(ch, c))
		violation(ch, "%s: process %d may run on CPUs %s; its own are %s", c->label,
			  (int)tid, stow_idset_format(&cpus, a, sizeof(a)),
			  stow_idset_format(&c->own, b, sizeof(b)));
	else if (!c->exclusive && c->key && !stow_idset_subset(&cpus, &c->may) &&
		 stow_idset_intersects(&c->may, &ch->now.online))
		violation(ch, "%s: process %d may run on CPUs %s; those of its nodes are %s",
			  c->label, (int)tid, stow_idset_format(&cpus, a, sizeof(a)),
			  stow_idset_format(&c->may, b, sizeof(b)));
	usable = c->nodes;
	stow_idset_and(&usable, &ch->has_memory);
	if (!stow_idset_empty(&usable) && !stow_idset_subset(&mems, &c->nodes))
		violation(ch, "%s: process %d may use memory of nodes %s; its are %s", c->label,
			  (int)tid, stow_idset_format(&mems, a, sizeof(a)),
			  stow_idset_format(&c->nodes, b, sizeof(b)));
}

/* What the cgroup has, exactly: nothing that was taken from it for a while is still missing. */
static void check_cgroup(struct checker *ch, const struct container *c)
{
	_cleanup_free_ char *above = strdup(c->dirs[0]);
	struct stow_idset want = c->may, parent, has;
	char *slash = above ? strrchr(above, '/') : NULL;
	char a[256], b[256];

	/* crun's container is one level below its scope, which follows it. */
	if (slash && strcmp(slash, "/container") == 0 && slash - above > 6 &&
	    strncmp(slash - 6, ".scope", 6) == 0) {
		*slash = '\0';
		slash = strrchr(above, '/');
	}
	if (!slash || c->moving || stow_kubelet_owns(ch->root, c->dirs[0]))
		return;
	*slash = '\0';
	if (!read_effective(ch, above, &parent) || !read_effective(ch, c->dirs[0], &has))
		return;
	if (stow_idset_empty(&want))
		want = parent;
	if (!c->exclusive)
		stow_idset_minus(&want, &ch->now.exclusive);
	stow_idset_and(&want, &parent);
	if (!stow_idset_empty(&want) && !stow_idset_equal(&want, &has))
		violation(ch, "%s: its cgroup has CPUs %s, not %s", c->label,
			  stow_idset_format(&has, a, sizeof(a)),
			  stow_idset_format(&want, b, sizeof(b)));
}

/* Whether the kernel says that the process is in the container's cgroup or below: one that moves
 * from a cgroup not yet read into one that was read already is not seen in either. */
static bool is_below(struct checker *ch, const struct container *c)
{
	_cleanup_free_ char *text = NULL;
	const char *own = c->dirs[0] + c->mount_len;
	char *save = NULL;

	if (stow_root_read(ch->root, 65536, &text, NULL, NULL, "/proc/%d/cgroup",
			   (int)c->init.pid) < 0)
		return false;
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		const char *path = strchr(line, '/'), *cpuset = strstr(line, "cpuset");
		size_t len = path ? strlen(path) : 0;

		if (c->version == 2 ? strncmp(line, "0::", 3) != 0 : !cpuset || cpuset > path)
			continue;
		if (path && strncmp(path, own, strlen(own)) == 0 &&
		    (len == strlen(own) || path[strlen(own)] == '/'))
			return true;
	}
	return false;
}

static void check_once(struct checker *ch)
{
	ch->found = 0;
	look(ch);
	visit_all(ch, check_thread);
	for (size_t i = 0; i < ch->now.n; i++) {
		const struct container *c = &ch->now.containers[i];

		if (!c->active || !is_there(ch, c))
			continue;
		check_cgroup(ch, c);
		if (c->init.pid && !c->seen_init && !is_below(ch, c) &&
		    stow_life_alive(ch->root, &c->init))
			violation(ch, "%s: its first process %d is not in its cgroup %s", c->label,
				  (int)c->init.pid, c->dirs[0]);
	}
}

static int run_once(struct checker *ch, uint64_t wait)
{
	for (uint64_t tries = 0;; tries++) {
		_cleanup_free_ char *text = NULL;
		size_t len;

		ch->out = open_memstream(&text, &len);
		if (!ch->out)
			abort();
		check_once(ch);
		fclose(ch->out);
		/* What may still pass is not said. */
		if (ch->found && tries < wait * 5) {
			usleep(200000);
			continue;
		}
		printf("%s%zu containers, %lu violations\n", text, ch->now.n, ch->found);
		return ch->found ? 1 : 0;
	}
}

/* --- again and again ----------------------------------------------------------------------- */

/* CPUs that the thread may run on and that are online now; false: it has ended. */
static bool affinity(pid_t tid, struct stow_idset *ret)
{
	cpu_set_t set;

	if (sched_getaffinity(tid, sizeof(set), &set) < 0)
		return false;
	*ret = (struct stow_idset){ 0 };
	for (int i = 0; i < CPU_SETSIZE; i++)
		if (CPU_ISSET((unsigned int)i, &set))
			stow_idset_add(ret, i);
	return true;
}

/* Whether the process has begun with the container's own program: its root is another one, which
 * the runtime makes it when the hooks have said yes. */
static bool has_begun(pid_t pid)
{
	struct stat ours, its;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/root", (int)pid);
	return stat("/", &ours) == 0 && stat(path, &its) == 0 &&
	       (ours.st_dev != its.st_dev || ours.st_ino != its.st_ino);
}

static bool overlaps(struct checker *ch, const struct container *c, pid_t tid,
		     struct stow_idset *ret)
{
	if (!affinity(tid, ret))
		return false;
	if (c->exclusive)
		stow_idset_minus(ret, &c->may);
	else
		stow_idset_and(ret, &ch->now.exclusive);
	return !stow_idset_empty(ret);
}

static const struct container *same_as(const struct snapshot *s, const struct container *c)
{
	for (size_t i = 0; i < s->n; i++)
		if (s->containers[i].key == c->key && s->containers[i].inode == c->inode &&
		    strcmp(s->containers[i].label, c->label) == 0)
			return &s->containers[i];
	return NULL;
}

/* Whether what was seen between two looks at the ledger is wrong by both: the container has the
 * same CPUs, and of the others' some have been one container's own from the first to the second. */
static bool still_stands(struct checker *ch, const struct container *c,
			 const struct stow_idset *wrong)
{
	struct checker then = { .root = ch->root, .ledger = ch->ledger, .isolated = ch->isolated };
	struct stow_idset taken = { 0 };
	const struct container *now;
	bool same;

	look(&then);
	now = same_as(&then.now, c);
	same = now && now->active && stow_idset_equal(&now->may, &c->may) &&
	       !is_displaced(&then, now);
	for (size_t i = 0; i < ch->now.n; i++) {
		const struct container *first = &ch->now.containers[i];
		const struct container *second = same_as(&then.now, first);
		struct stow_idset kept = first->own;

		if (first == c || !first->active || !second || !second->active)
			continue;
		stow_idset_and(&kept, &second->own);
		stow_idset_or(&taken, &kept);
	}
	forget(&then.now);
	stow_idset_and(&taken, wrong);
	return same && (c->exclusive || !stow_idset_empty(&taken));
}

/* Whether the set that is written is right, and the kernel has not made the thread follow yet: a CPU
 * that comes back narrows what the kernel gave meanwhile by a worker of its own, somewhat later. */
static bool kernel_follows(struct checker *ch, const struct container *c, pid_t tid)
{
	struct stow_idset written, wrong;

	for (int i = 0; i < 40; i++) {
		if (stow_root_read_idset(ch->root, &written, NULL, "%s/cpuset.cpus", c->dirs[0]) <
			    0 ||
		    stow_idset_empty(&written) ||
		    (c->exclusive ? !stow_idset_subset(&written, &c->may)
				  : stow_idset_intersects(&written, &ch->now.exclusive)))
			return false;
		if (!overlaps(ch, c, tid, &wrong))
			return true;
		usleep(50000);
	}
	return false;
}

/* Whether hotplug may be why the container has CPUs that are not its own: it had nothing else, and
 * has not been right since. Never where it has what another one has alone, unless it was seen
 * without a CPU. */
static bool is_settling(struct checker *ch, const struct container *c,
			const struct stow_idset *wrong)
{
	struct past *past = c->past;
	struct stow_idset others;
	uint64_t first, last;

	others_cpus(ch, c, &others);
	comings(&c->may, &first, &last);
	if (past->right &&
	    (!c->exclusive || stow_idset_intersects(wrong, &others) || first <= past->last))
		return false;
	if (past->right)
		past->since = stow_clock_monotonic() / STOW_SECOND;
	past->right = false;
	if (stow_clock_monotonic() / STOW_SECOND - past->since > SETTLE)
		return false;
	ch->unsettled++;
	return true;
}

static void watch_thread(struct checker *ch, struct container *c, pid_t pid, pid_t tid)
{
	struct stow_idset wrong, again, written;
	struct past *past = c->past;
	char a[256], b[256], d[256];

	if (is_displaced(ch, c)) {
		/* The kernel gives it what is above until the next run; and when a CPU of its own
		 * comes back, until the kernel's worker has narrowed its set again. */
		past->right = false;
		past->since = stow_clock_monotonic() / STOW_SECOND;
		return;
	}
	if (!overlaps(ch, c, tid, &wrong)) {
		settle(c);
		return;
	}
	if (is_settling(ch, c, &wrong) || !has_begun(pid) || !overlaps(ch, c, tid, &again))
		return;
	stow_idset_and(&wrong, &again);
	if (stow_idset_empty(&wrong) || !still_stands(ch, c, &wrong) || kernel_follows(ch, c, tid))
		return;
	if (stow_root_read_idset(ch->root, &written, NULL, "%s/cpuset.cpus", c->dirs[0]) < 0 ||
	    !read_effective(ch, c->dirs[0], &again))
		return; /* it has ended */
	violation(ch,
		  "%s: process %d may run on CPUs %s, which are not its own but %s; its set is %s, "
		  "of which it has %s",
		  c->label, (int)tid, stow_idset_format(&wrong, a, sizeof(a)), whose(ch, &wrong),
		  stow_idset_format(&written, b, sizeof(b)),
		  stow_idset_format(&again, d, sizeof(d)));
}

static int run_watch(struct checker *ch, uint64_t rate)
{
	struct sigaction action = { .sa_handler = on_signal };
	unsigned long samples = 0, containers = 0;

	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	ch->out = stdout;
	for (ch->watching = true; !stopped; samples++) {
		look(ch);
		visit_all(ch, watch_thread);
		containers += ch->now.n;
		usleep((useconds_t)(1000000 / rate));
	}
	printf("%lu samples of %lu containers, %lu of them after CPU hotplug and not judged, %lu "
	       "violations\n",
	       samples, containers, ch->unsettled, ch->found);
	return ch->found ? 1 : 0;
}

int main(int argc, char **argv)
{
	struct checker ch = { 0 };
	struct stow_err err;
	uint64_t number = 0;
	int watch = argc > 1 && strcmp(argv[1], "--watch") == 0, r;

	if (argc > 3 || (argc > 1 && !watch && strcmp(argv[1], "--wait") != 0) ||
	    (argc == 3 && stow_parse_u64(argv[2], 1000, &number, NULL) < 0)) {
		fputs("usage: check-cpus [--wait SECONDS | --watch [HERTZ]]\n", stderr);
		return 2;
	}
	if (stow_root_open("/", &ch.root, &err) < 0 ||
	    stow_root_read_idset(ch.root, &ch.has_memory, &err, NODES "/has_memory") < 0)
		fatal(&err);
	(void)stow_root_read_idset(ch.root, &ch.isolated, NULL, "/sys/devices/system/cpu/isolated");
	r = watch ? run_watch(&ch, number ? number : 50) : run_once(&ch, number);
	forget(&ch.now);
	stow_ledger_close(ch.ledger);
	stow_root_free(ch.root);
	return r;
}

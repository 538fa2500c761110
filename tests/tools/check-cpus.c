// SPDX-License-Identifier: Apache-2.0
/*
 * Checks that every thread of every container has the CPUs and memory nodes that the ledger grants.
 * Apart from the ledger it uses nothing that numastow has computed.
 *
 *	check-cpus [--wait S]		check once; repeat for S seconds while there are violations
 *	check-cpus --watch [HERTZ]	until SIGTERM or SIGINT, 50 times a second: check that no
 *					two containers have a CPU at the same moment
 *
 * A container is a record, or a file in /run/numastow/unmanaged. Its processes are those in its
 * recorded cgroup and below it, in the cpuset and in the memory hierarchy. Prints one line for each
 * violation, "CONTAINER: process PID ...", and exits with code 1.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/parse.h"
#include "cgroup/kubelet.h"
#include "checked.h"

static volatile sig_atomic_t stopped;

static void on_signal(int signal)
{
	(void)signal;
	stopped = 1;
}

/* --- once ----------------------------------------------------------------- */

/* Read "Cpus_allowed_list" or "Mems_allowed_list" of a thread. Returns false when it has ended. */
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

/* Return whether the container can have none of its CPUs now, so that the kernel gives it those of
 * the cgroup above. On v1 also when its CPUs went one after the other: a CPU that came back is in
 * its set only after the next run, and the kernel moves the processes of an empty set. */
static bool is_displaced(struct checker *ch, const struct container *c)
{
	struct stow_idset usable = c->may, has;

	if (c->exclusive)
		return !stow_idset_intersects(&c->may, &ch->now.online) ||
		       stow_idset_empty(&c->own) ||
		       (ch->watching && c->version == 1 &&
			checked_effective(ch, c->dirs[0], &has) && stow_idset_empty(&has));
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
	checked_others(ch, c, &others);
	both = cpus;
	stow_idset_and(&both, &others);
	if (!stow_idset_empty(&both))
		checked_violation(ch, "%s: process %d may run on CPUs %s, which belong to %s alone",
				  c->label, (int)tid, stow_idset_format(&both, a, sizeof(a)),
				  checked_whose(ch, &both));
	else if (c->exclusive && !stow_idset_subset(&cpus, &c->may) && !is_displaced(ch, c))
		checked_violation(ch, "%s: process %d may run on CPUs %s; its own are %s", c->label,
				  (int)tid, stow_idset_format(&cpus, a, sizeof(a)),
				  stow_idset_format(&c->own, b, sizeof(b)));
	else if (!c->exclusive && c->key && !stow_idset_subset(&cpus, &c->may) &&
		 stow_idset_intersects(&c->may, &ch->now.online))
		checked_violation(ch,
				  "%s: process %d may run on CPUs %s; those of its nodes are %s",
				  c->label, (int)tid, stow_idset_format(&cpus, a, sizeof(a)),
				  stow_idset_format(&c->may, b, sizeof(b)));
	usable = c->nodes;
	stow_idset_and(&usable, &ch->has_memory);
	if (!stow_idset_empty(&usable) && !stow_idset_subset(&mems, &c->nodes))
		checked_violation(ch, "%s: process %d may use memory of nodes %s; its are %s",
				  c->label, (int)tid, stow_idset_format(&mems, a, sizeof(a)),
				  stow_idset_format(&c->nodes, b, sizeof(b)));
}

/* Check that the cgroup has exactly its CPUs, and got back what was taken from it for a while. */
static void check_cgroup(struct checker *ch, const struct container *c)
{
	_cleanup_free_ char *above = strdup(c->dirs[0]);
	struct stow_idset want = c->may, parent, has;
	char *slash = above ? strrchr(above, '/') : NULL;
	char a[256], b[256];

	/* crun's container is one level below its scope, whose CPUs follow those of the
	 * container. */
	if (slash && strcmp(slash, "/container") == 0 && slash - above > 6 &&
	    strncmp(slash - 6, ".scope", 6) == 0) {
		*slash = '\0';
		slash = strrchr(above, '/');
	}
	if (!slash || c->moving || stow_kubelet_owns(ch->root, c->dirs[0]))
		return;
	*slash = '\0';
	if (!checked_effective(ch, above, &parent) || !checked_effective(ch, c->dirs[0], &has))
		return;
	if (stow_idset_empty(&want))
		want = parent;
	if (!c->exclusive)
		stow_idset_minus(&want, &ch->now.exclusive);
	stow_idset_and(&want, &parent);
	if (!stow_idset_empty(&want) && !stow_idset_equal(&want, &has))
		checked_violation(ch, "%s: its cgroup has CPUs %s, not %s", c->label,
				  stow_idset_format(&has, a, sizeof(a)),
				  stow_idset_format(&want, b, sizeof(b)));
}

/* Return whether the process is in the container's cgroup or below, by /proc: a walk over the
 * cgroups misses a process that moves from a cgroup not read yet into one that was read already. */
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
	checked_look(ch);
	checked_visit(ch, check_thread);
	for (size_t i = 0; i < ch->now.n; i++) {
		const struct container *c = &ch->now.containers[i];

		if (!c->active || !checked_is_there(ch, c))
			continue;
		check_cgroup(ch, c);
		if (c->init.pid && !c->seen_init && !is_below(ch, c) &&
		    stow_pidref_alive(ch->root, &c->init))
			checked_violation(ch, "%s: its first process %d is not in its cgroup %s",
					  c->label, (int)c->init.pid, c->dirs[0]);
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
		/* Violations that may be temporary are not printed. */
		if (ch->found && tries < wait * 5) {
			usleep(200000);
			continue;
		}
		printf("%s%zu containers, %lu violations\n", text, ch->now.n, ch->found);
		return ch->found ? 1 : 0;
	}
}

/* --- watching ------------------------------------------------------------- */

/* Read the online CPUs that the thread may run on. Returns false when it has ended. */
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

/* Return whether the process runs the container's own program: its root differs, because the
 * runtime changes it after the hooks have succeeded. */
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

/* Return whether a violation between two reads of the ledger holds by both: the container's CPUs
 * are the same, and a CPU of the violation was exclusive to one other container in both. */
static bool still_stands(struct checker *ch, const struct container *c,
			 const struct stow_idset *wrong)
{
	struct checker then = { .root = ch->root, .ledger = ch->ledger, .isolated = ch->isolated };
	struct stow_idset taken = { 0 };
	const struct container *now;
	bool same;

	checked_look(&then);
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
	checked_forget(&then.now);
	stow_idset_and(&taken, wrong);
	return same && (c->exclusive || !stow_idset_empty(&taken));
}

/* Return whether the written set is right, and only the thread does not follow it yet: when a
 * CPU comes back, a worker of the kernel restores the threads' CPUs a little later. */
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

/* Return whether hotplug may be the reason why the container has CPUs that are not its own: it
 * had no other CPUs, and was not right since. Not when it has exclusive CPUs of another
 * container, unless a sample showed it without CPUs. */
static bool is_settling(struct checker *ch, const struct container *c,
			const struct stow_idset *wrong)
{
	struct past *past = c->past;
	struct stow_idset others;
	uint64_t first, last;

	checked_others(ch, c, &others);
	checked_comings(&c->may, &first, &last);
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
		/* The kernel gives it the CPUs of the cgroup above until the next run of the
		 * applier; or, when a CPU of its own comes back, until the kernel's worker has
		 * restored its set. */
		past->right = false;
		past->since = stow_clock_monotonic() / STOW_SECOND;
		return;
	}
	if (!overlaps(ch, c, tid, &wrong)) {
		checked_settle(c);
		return;
	}
	if (is_settling(ch, c, &wrong) || !has_begun(pid) || !overlaps(ch, c, tid, &again))
		return;
	stow_idset_and(&wrong, &again);
	/* A CPU that goes offline leaves all sets some time before it is offline: what is seen
	 * later may be what was written instead. */
	if (stow_idset_empty(&wrong) || !still_stands(ch, c, &wrong) ||
	    kernel_follows(ch, c, tid) || !still_stands(ch, c, &wrong))
		return;
	if (stow_root_read_idset(ch->root, &written, NULL, "%s/cpuset.cpus", c->dirs[0]) < 0 ||
	    !checked_effective(ch, c->dirs[0], &again))
		return; /* the thread has ended */
	checked_violation(
		ch,
		"%s: process %d may run on CPUs %s, which are not its own but %s; its set is %s, "
		"of which it has %s",
		c->label, (int)tid, stow_idset_format(&wrong, a, sizeof(a)),
		checked_whose(ch, &wrong), stow_idset_format(&written, b, sizeof(b)),
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
		checked_look(ch);
		checked_visit(ch, watch_thread);
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
		checked_fatal(&err);
	(void)stow_root_read_idset(ch.root, &ch.isolated, NULL, "/sys/devices/system/cpu/isolated");
	r = watch ? run_watch(&ch, number ? number : 50) : run_once(&ch, number);
	checked_forget(&ch.now);
	stow_ledger_close(ch.ledger);
	stow_root_free(ch.root);
	return r;
}

// SPDX-License-Identifier: Apache-2.0
#include "grant/bind.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "cgroup/cpuset.h"
#include "cgroup/procs.h"

#define PASSES 64 /* over the threads of a process */

/* --- CPUs --------------------------------------------------------------------- */

int stow_bind_read(pid_t tid, struct stow_idset *ret)
{
	struct stow_idset set = { 0 };

	if (sched_getaffinity(tid, sizeof(set.bits), (cpu_set_t *)set.bits) < 0)
		return -errno;
	*ret = set;
	return 0;
}

static int set(pid_t tid, const struct stow_idset *cpus, struct stow_err *err)
{
	char list[128];

	if (sched_setaffinity(tid, sizeof(cpus->bits), (const cpu_set_t *)cpus->bits) == 0)
		return 0;
	switch (errno) {
	case ESRCH:
		return stow_err_set(err, ESRCH, "there is no process %d", (int)tid);
	case EINVAL:
		return stow_err_set(err, EINVAL,
				    "process %d: no CPU of %s is online and in the cpuset of its "
				    "cgroup",
				    (int)tid, stow_idset_format(cpus, list, sizeof(list)));
	case EPERM:
		return stow_err_set(err, EPERM,
				    "process %d belongs to another user: this takes CAP_SYS_NICE",
				    (int)tid);
	default:
		return stow_err_sys(err, errno, "process %d: sched_setaffinity(2)", (int)tid);
	}
}

int stow_bind_thread(struct stow_root *root, pid_t tid, const struct stow_idset *cpus,
		     struct stow_idset *ret_cpus, struct stow_err *err)
{
	int r;

	if (!root->live)
		return stow_err_set(err, ENOTSUP, "processes are bound on the live machine only");
	r = set(tid, cpus, err);
	if (r == 0 && stow_bind_read(tid, ret_cpus) < 0)
		r = stow_err_set(err, ESRCH, "process %d has ended", (int)tid);
	return r;
}

/* Bind the threads that have other CPUs; return how many. A thread that ends meanwhile needs
 * nothing. */
static int bind_pass(struct stow_root *root, pid_t pid, const struct stow_idset *cpus,
		     const struct stow_idset *effective, struct stow_err *err)
{
	_cleanup_closedir_ DIR *d = stow_root_opendir(root, NULL, "/proc/%d/task", (int)pid);
	struct dirent *e;
	int n = 0;

	if (!d)
		return stow_err_set(err, ESRCH, "process %d has ended", (int)pid);
	while ((e = readdir(d))) {
		struct stow_idset has;
		uint64_t tid;
		int r;

		if (stow_parse_u64(e->d_name, INT_MAX, &tid, NULL) < 0 ||
		    stow_bind_read((pid_t)tid, &has) < 0 || stow_idset_equal(&has, effective))
			continue;
		r = set((pid_t)tid, cpus, err);
		if (r < 0 && r != -ESRCH)
			return r;
		n += r == 0;
	}
	return n;
}

int stow_bind_threads(struct stow_root *root, pid_t pid, const struct stow_idset *cpus,
		      struct stow_idset *ret_cpus, size_t *ret_threads, struct stow_err *err)
{
	struct stow_idset before = { 0 };
	int r;

	(void)stow_bind_read(pid, &before);
	r = stow_bind_thread(root, pid, cpus, ret_cpus, err);
	if (r < 0)
		return r;
	*ret_threads = !stow_idset_equal(&before, ret_cpus);
	for (int pass = 0; pass < PASSES; pass++) {
		r = bind_pass(root, pid, cpus, ret_cpus, err);
		if (r <= 0)
			return r;
		*ret_threads += (size_t)r;
	}
	return stow_err_set(err, EBUSY, "process %d: its threads keep setting their own affinity",
			    (int)pid);
}

/* --- memory ------------------------------------------------------------------------- */

static int check_others(const struct stow_cgroup *cgroup, const pid_t *pids, size_t n_pids,
			struct stow_err *err)
{
	_cleanup_free_ pid_t *all = NULL;
	size_t n = 0, others = 0;
	int r = stow_cgroup_pids(cgroup, &all, &n, err);

	for (size_t i = 0; i < n && r == 0; i++) {
		size_t k = 0;

		while (k < n_pids && pids[k] != all[i])
			k++;
		others += k == n_pids;
	}
	if (r < 0 || others == 0)
		return r;
	return stow_err_set(
		err, EBUSY,
		"cgroup %s has %zu other processes, which would be bound, too: --cgroup "
		"allows this",
		cgroup->path, others);
}

int stow_bind_check(const struct stow_cgroup *cgroup, const struct stow_idset *nodes,
		    const pid_t *pids, size_t n_pids, bool others, struct stow_err *err)
{
	char wanted[64], there[64];
	struct stow_idset above, now;
	int r;

	/* On v2 the topmost cgroup has no such files, on v1 they cannot be written. */
	if (!cgroup->at[STOW_CGROUP_CPUSET].version || strcmp(cgroup->path, "/") == 0)
		return stow_err_set(
			err, ENOTSUP,
			"the cgroup of the process has no memory nodes of its own: it is "
			"the topmost, or has no cpuset controller, which systemd enables "
			"for units with AllowedMemoryNodes=");
	r = stow_cpuset_read_mems(cgroup, false, &now, err);
	if (r == 0)
		r = stow_cpuset_read_above(cgroup, false, &above, err);
	if (r < 0)
		return r;
	if (!stow_idset_subset(nodes, &above))
		return stow_err_set(err, ERANGE, "nodes %s: the cgroup above %s has only %s",
				    stow_idset_format(nodes, wanted, sizeof(wanted)), cgroup->path,
				    stow_idset_format(&above, there, sizeof(there)));
	return others ? 0 : check_others(cgroup, pids, n_pids, err);
}

int stow_bind_memory(const struct stow_cgroup *cgroup, const struct stow_idset *nodes,
		     struct stow_page_move *move, struct stow_err *err)
{
	struct stow_idset before, both, after;
	char wanted[64], got[64];
	int r = stow_cpuset_read_mems(cgroup, true, &before, err);

	if (r < 0)
		return r;
	both = before;
	stow_idset_or(&both, nodes);
	if (!stow_idset_equal(&both, &before)) {
		r = stow_cpuset_write_mems(cgroup, &both, err);
		if (r < 0)
			return r;
	}
	move->from = before;
	stow_idset_minus(&move->from, nodes);
	move->to = *nodes;
	if (!stow_idset_empty(&move->from) && cgroup->root->live)
		r = stow_pages_move_all(cgroup->root, cgroup, move, err);
	if (r < 0) {
		(void)stow_cpuset_write_mems(cgroup, &before, NULL);
		return r;
	}
	r = stow_cpuset_write_mems(cgroup, nodes, err);
	if (r >= 0)
		r = stow_cpuset_read_mems(cgroup, true, &after, err);
	if (r < 0 || stow_idset_equal(&after, nodes))
		return r;
	return stow_err_set(err, EIO, "cgroup %s: nodes %s were set, and %s are in effect",
			    cgroup->path, stow_idset_format(nodes, wanted, sizeof(wanted)),
			    stow_idset_format(&after, got, sizeof(got)));
}

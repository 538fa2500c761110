// SPDX-License-Identifier: Apache-2.0
/* Where the process may run, and its memory policy (set_mempolicy(2)). */
#include <errno.h>
#include <linux/mempolicy.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cli/run/run.h"
#include "node/mempolicy.h"

/* Since Linux 5.15 and 6.9: headers may be older than the kernel. */
#define MODE_PREFERRED_MANY	 5
#define MODE_WEIGHTED_INTERLEAVE 6

int run_read_nodes(struct stow_root *root, const char *list, struct stow_idset *ret,
		   struct stow_err *err)
{
	int r = stow_root_read_idset(root, ret, err, "/sys/devices/system/node/%s", list);

	if (r != -ENOENT)
		return r;
	*ret = (struct stow_idset){ 0 };
	stow_idset_add(ret, 0);
	return 0;
}

/* The kernel takes a set of any length, and ignores what is beyond its own. */
static int set_affinity(const struct stow_idset *cpus)
{
	return syscall(SYS_sched_setaffinity, 0, sizeof(cpus->bits), cpus->bits) < 0 ? -errno : 0;
}

int run_affinity_all(struct stow_err *err)
{
	struct stow_idset all;
	int r;

	memset(&all, 0xff, sizeof(all));
	r = set_affinity(&all);
	return r < 0 ? stow_err_sys(err, -r, "affinity to all CPUs of the cgroup") : 0;
}

int run_affinity(const struct stow_idset *cpus, struct stow_err *err)
{
	struct stow_idset got = { 0 };
	char a[160], b[160];
	int r = set_affinity(cpus);

	if (r == 0 && syscall(SYS_sched_getaffinity, 0, sizeof(got.bits), got.bits) < 0)
		r = -errno;
	if (r < 0)
		return stow_err_sys(err, -r, "affinity to CPUs %s: the cgroup has none of them?",
				    stow_idset_format(cpus, a, sizeof(a)));
	if (!stow_idset_subset(&got, cpus))
		return stow_err_set(err, EIO, "affinity to CPUs %s: the kernel gave %s",
				    stow_idset_format(cpus, a, sizeof(a)),
				    stow_idset_format(&got, b, sizeof(b)));
	return 0;
}

/* Reduce the nodes to the first: the kernel takes one node for MPOL_PREFERRED. */
static void first_of(const struct stow_idset *nodes, struct stow_idset *ret)
{
	*ret = (struct stow_idset){ 0 };
	stow_idset_add(ret, stow_idset_next(nodes, 0));
}

int run_set_policy(enum run_policy policy, const struct stow_idset *nodes, struct stow_err *err)
{
	static const struct {
		int mode;
		const char *name, *since;
	} modes[] = {
		[RUN_BIND] = { MPOL_BIND, "bind", NULL },
		[RUN_PREFERRED] = { MPOL_PREFERRED, "preferred", NULL },
		[RUN_PREFERRED_MANY] = { MODE_PREFERRED_MANY, "preferred-many", "5.15" },
		[RUN_INTERLEAVE] = { MPOL_INTERLEAVE, "interleave", NULL },
		[RUN_WEIGHTED_INTERLEAVE] = { MODE_WEIGHTED_INTERLEAVE, "weighted-interleave",
					      "6.9" },
		[RUN_LOCAL] = { MPOL_LOCAL, "local", NULL },
	};
	struct stow_idset one;
	char list[128];
	int r;

	if (policy == RUN_PREFERRED) {
		first_of(nodes, &one);
		nodes = &one;
	}
	r = stow_set_mempolicy(modes[policy].mode, policy == RUN_LOCAL ? NULL : nodes);
	if (r == -EINVAL && modes[policy].since)
		return stow_err_set(
			err, EINVAL,
			"--policy: \"%s\" on NUMA nodes %s is refused by the kernel: it "
			"needs Linux %s or later, and nodes with memory that the "
			"cgroup allows",
			modes[policy].name, stow_idset_format(nodes, list, sizeof(list)),
			modes[policy].since);
	if (r < 0)
		return stow_err_sys(err, -r, "--policy: \"%s\" on NUMA nodes %s",
				    modes[policy].name,
				    stow_idset_format(nodes, list, sizeof(list)));
	return 0;
}

int run_reset_policy(struct stow_err *err)
{
	int r = stow_set_mempolicy(MPOL_DEFAULT, NULL);

	return r < 0 ? stow_err_sys(err, -r, "the default memory policy") : 0;
}

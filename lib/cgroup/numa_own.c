// SPDX-License-Identifier: Apache-2.0
#include "cgroup/numa_own.h"

#include <errno.h>
#include <sched.h>
#include <stdbool.h>
#include <unistd.h>

#include "cgroup/allowed.h"
#include "cgroup/hierarchy.h"

/* Return whether this program's cpuset lacks some of the nodes; *ret_allowed is what it has. */
static bool lacks(struct stow_root *root, const struct stow_idset *nodes,
		  struct stow_idset *ret_missing, struct stow_allowed *ret_allowed)
{
	if (nodes)
		*ret_missing = *nodes;
	else if (stow_root_read_idset(root, ret_missing, NULL,
				      "/sys/devices/system/node/has_memory") < 0)
		return false;
	if (stow_allowed_read(root, 0, ret_allowed, NULL) < 0)
		return false;
	stow_idset_minus(ret_missing, &ret_allowed->mems);
	return !stow_idset_empty(ret_missing);
}

int stow_own_mems_check(struct stow_root *root, const struct stow_idset *nodes,
			struct stow_err *err)
{
	struct stow_allowed allowed;
	struct stow_idset missing;
	char has[128], lost[128];

	if (!lacks(root, nodes, &missing, &allowed))
		return 0;
	return stow_err_set(err, EXDEV,
			    "the kernel gives this program no memory on NUMA node %s: its own "
			    "cpuset has only NUMA node %s (AllowedMemoryNodes= of its slice or "
			    "unit?)",
			    stow_idset_format(&missing, lost, sizeof(lost)),
			    stow_idset_format(&allowed.mems, has, sizeof(has)));
}

int stow_own_mems_widen(struct stow_root *root, struct stow_err *err)
{
	struct stow_hierarchy hierarchy;
	struct stow_allowed allowed;
	struct stow_idset missing;
	int r;

	if (!root->live || !lacks(root, NULL, &missing, &allowed))
		return 0;
	r = stow_cgroup_hierarchy(root, STOW_CGROUP_CPUSET, &hierarchy, err);
	if (r < 0)
		return r;
	if (*hierarchy.above)
		return stow_own_mems_check(root, NULL, err);
	r = stow_root_write_u64(root, (uint64_t)getpid(), err, "%s/cgroup.procs", hierarchy.point);
	if (r < 0)
		return r;
	/* Before Linux 6.2 the move has reset the affinity to all CPUs. */
	(void)sched_setaffinity(0, sizeof(allowed.cpus.bits), (const cpu_set_t *)allowed.cpus.bits);
	return stow_own_mems_check(root, NULL, err);
}

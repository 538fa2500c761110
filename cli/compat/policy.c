// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "cli/compat/compat.h"
#include "node/mempolicy.h"

#define FLAGS (COMPAT_BALANCING | COMPAT_STATIC | COMPAT_RELATIVE)

/* Flags of mbind(2) and get_mempolicy(2). */
#define MF_STRICT 1
#define F_NODE	  1UL
#define F_ADDR	  2UL

static const char *const names[] = {
	"default",	  "preferred",		"bind", "interleave", "local",
	"preferred-many", "weighted-interleave"
};

/* Turn the errno of a system call about policies into a message. */
static int explain(const struct compat_task *task, int errnum, int mode,
		   const struct stow_idset *nodes, struct stow_err *err)
{
	const char *name = names[mode & ~FLAGS];
	char given[64], mems[64];

	stow_idset_format(nodes, given, sizeof(given));
	stow_idset_format(&task->mems, mems, sizeof(mems));
	if (errnum == ENOSYS)
		return stow_err_set(err, errnum, "this kernel has no memory policies");
	if (errnum == EPERM)
		return stow_err_set(err, errnum,
				    "memory policies are forbidden here (a container's seccomp "
				    "filter does that)");
	if (errnum == EIO)
		return stow_err_set(err, errnum,
				    "policy %s on nodes %s: --strict, and some pages are on "
				    "other nodes or have another policy",
				    name, given);
	if (errnum == EINVAL && stow_idset_empty(nodes) && mode != COMPAT_LOCAL)
		return stow_err_set(err, errnum, "policy %s needs at least one node", name);
	if (errnum == EINVAL && !stow_idset_empty(nodes) &&
	    !stow_idset_intersects(nodes, &task->mems))
		return stow_err_set(err, errnum,
				    "none of the nodes %s has memory and is allowed to this "
				    "process by its cgroup's cpuset (nodes that are: %s)",
				    given, mems);
	if (errnum == EINVAL && mode == COMPAT_WEIGHTED_INTERLEAVE)
		return stow_err_set(err, errnum, "policy %s needs Linux 6.9 or later", name);
	if (errnum == EINVAL && mode == COMPAT_PREFERRED_MANY)
		return stow_err_set(err, errnum, "policy %s needs Linux 5.15 or later", name);
	return stow_err_sys(err, errnum, "policy %s on nodes %s", name, given);
}

int compat_set_policy(const struct compat_task *task, int mode, const struct stow_idset *nodes,
		      struct stow_err *err)
{
	int r = stow_set_mempolicy(mode, nodes);

	if (r == 0)
		return 0;
	/* Linux before 5.12 has no balancing of bound memory: bind without it, as numactl does. */
	if (r == -EINVAL && (mode & COMPAT_BALANCING))
		return compat_set_policy(task, mode & ~COMPAT_BALANCING, nodes, err);
	return explain(task, -r, mode, nodes, err);
}

int compat_bind_memory(const struct compat_task *task, void *memory, size_t length, int mode,
		       const struct stow_idset *nodes, bool strict, struct stow_err *err)
{
	int r = stow_mbind(memory, length, mode, nodes, strict ? MF_STRICT : 0);

	return r < 0 ? explain(task, -r, mode, nodes, err) : 0;
}

int compat_get_policy(const void *address, int *ret_mode, struct stow_idset *ret_nodes)
{
	struct stow_idset nodes = { 0 };

	if (syscall(SYS_get_mempolicy, ret_mode, nodes.bits, STOW_NODE_BITS, address,
		    address ? F_ADDR : 0) < 0)
		return -errno;
	*ret_nodes = nodes;
	return 0;
}

int compat_get_node(const void *address)
{
	int node = -1;

	if (syscall(SYS_get_mempolicy, &node, NULL, 0UL, address,
		    address ? F_ADDR | F_NODE : F_NODE) < 0)
		return -errno;
	return node;
}

const char *compat_policy_name(int mode, char *buf, size_t size)
{
	int plain = mode & ~FLAGS;

	if (plain < 0 || (size_t)plain >= STOW_ARRAY_SIZE(names)) {
		snprintf(buf, size, "[%d]", mode);
		return buf;
	}
	if (plain == mode)
		return names[plain];
	/* As in numa_maps. */
	snprintf(buf, size, "%s=%s", names[plain],
		 mode & COMPAT_BALANCING ? "balancing"
		 : mode & COMPAT_STATIC	 ? "static"
					 : "relative");
	return buf;
}

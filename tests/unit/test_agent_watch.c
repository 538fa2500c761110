// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "agent/watch.h"
#include "base/cleanup.h"
#include "tree.h"

TEST(nsdelegate_is_seen)
{
	static const struct {
		const char *mountinfo;
		int result;
	} tries[] = {
		{ "29 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 "
		  "rw,nsdelegate,memory_recursiveprot\n",
		  1 },
		{ "29 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n", 1 },
		{ "29 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,memory_recursiveprot\n", 0 },
		{ "29 23 0:26 / /sys/fs/cgroup rw,nsdelegate - cgroup2 cgroup2 rw\n", 0 },
		{ "30 23 0:27 / /proc rw - proc proc rw\n", -ENOENT },
		{ "29 23 0:26 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
		  "31 23 0:28 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n",
		  -ENOENT },
		{ "no mountinfo\n", -ENOENT },
	};
	struct tree *t = tree_new();

	assert_int_equal(agent_watch_nsdelegate(t->root), -ENOENT);
	for (size_t i = 0; i < STOW_ARRAY_SIZE(tries); i++) {
		tree_write(t, "/proc/self/mountinfo", "%s", tries[i].mountinfo);
		assert_int_equal(agent_watch_nsdelegate(t->root), tries[i].result);
	}
	tree_free(t);
}

TEST(uevents_of_cpus_memory_and_nodes_are_used)
{
	static const char cpu[] = "offline@/devices/system/cpu/cpu3\0ACTION=offline\0"
				  "SUBSYSTEM=cpu\0SEQNUM=1";
	static const char block[] = "online@/devices/system/memory/memory42\0SUBSYSTEM=memory";
	static const char node[] = "add@/devices/system/node/node2\0SUBSYSTEM=node";
	static const char disk[] = "add@/block/sda\0ACTION=add\0SUBSYSTEM=block\0X=SUBSYSTEM=cpu";

	assert_true(agent_watch_concerns(cpu, sizeof(cpu) - 1));
	assert_true(agent_watch_concerns(block, sizeof(block) - 1));
	assert_true(agent_watch_concerns(node, sizeof(node) - 1));
	assert_false(agent_watch_concerns(disk, sizeof(disk) - 1));
	assert_false(agent_watch_concerns("", 0));
}

// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "tree.h"

#include <stdio.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "node/memblock.h"
#include "node/topology.h"
#include "pages/kind.h"
#include "pages/leave.h"

#define MEMORY "/sys/devices/system/memory"
#define DAX    "/sys/bus/dax/devices"

static void add_block(struct tree *tree, unsigned long long id, const char *memory_state,
		      const char *zones)
{
	char path[128];

	snprintf(path, sizeof(path), MEMORY "/memory%llu/state", id);
	tree_write(tree, path, "%s\n", memory_state);
	snprintf(path, sizeof(path), MEMORY "/memory%llu/valid_zones", id);
	tree_write(tree, path, "%s\n", zones);
	snprintf(path, sizeof(path), MEMORY "/memory%llu/phys_device", id);
	tree_write(tree, path, "%llu\n", id);
}

TEST(reads_blocks_nodes_and_states)
{
	_cleanup_(tree_free_ptr) struct tree *tree = tree_new();
	_cleanup_(stow_memblocks_done) struct stow_memblocks list = { 0 };
	size_t total, online;

	tree_write(tree, MEMORY "/block_size_bytes", "8000000\n");
	tree_write(tree, MEMORY "/auto_online_blocks", "online\n");
	add_block(tree, 10, "online", "Movable");
	add_block(tree, 9, "offline", "Normal Movable");
	add_block(tree, 70000, "going-offline", "none");
	add_block(tree, 11, "sideways", "");
	tree_link(tree, "/sys/devices/system/node/node4/memory10", "../../memory/memory10");
	tree_link(tree, "/sys/devices/system/node/node0/memory10", "../../memory/memory10");
	tree_link(tree, "/sys/devices/system/node/node4/memory9", "../../memory/memory9");
	tree_link(tree, MEMORY "/memory70000/node2", "../../node/node2");

	assert_int_equal(stow_memblocks_read(tree->root, STOW_MEMBLOCK_ZONES, &list, NULL), 0);
	assert_int_equal(list.block_size, 128 << 20);
	assert_int_equal(list.n_blocks, 4);
	assert_int_equal(list.blocks[0].id, 9);
	assert_int_equal(list.blocks[0].node, 4);
	assert_int_equal(list.blocks[0].state, STOW_MEMBLOCK_OFFLINE);
	assert_string_equal(list.blocks[0].zones, "Normal Movable");
	assert_int_equal(list.blocks[1].node, 0); /* spans 0 and 4 */
	assert_int_equal(list.blocks[2].state, STOW_MEMBLOCK_UNKNOWN);
	assert_int_equal(list.blocks[2].node, -1);
	assert_int_equal(stow_memblocks_find(&list, 70000)->state, STOW_MEMBLOCK_GOING_OFFLINE);
	assert_int_equal(stow_memblocks_find(&list, 70000)->node, 2);
	assert_null(stow_memblocks_find(&list, 12));
	stow_memblocks_count(&list, 4, &total, &online);
	assert_int_equal(total, 1);
	assert_int_equal(online, 0);
	stow_memblocks_count(&list, 0, &total, &online);
	assert_int_equal(online, 1);
	assert_string_equal(stow_memblock_state_name(list.blocks[0].state), "offline");
	assert_string_equal(stow_memblock_state_name((enum stow_memblock_state)77), "unknown");
}

TEST(details_only_when_asked_for)
{
	_cleanup_(tree_free_ptr) struct tree *tree = tree_new();
	_cleanup_(stow_memblocks_done) struct stow_memblocks list = { 0 };

	tree_write(tree, MEMORY "/block_size_bytes", "8000000\n");
	add_block(tree, 0, "online", "DMA32");
	assert_int_equal(stow_memblocks_read(tree->root, 0, &list, NULL), 0);
	assert_string_equal(list.blocks[0].zones, "");
}

/* Write a zoneinfo in which node 0 lacks `missing` page frames of 2 blocks of 128 MiB, and node 4
 * none of 1 block. */
static void write_zoneinfo(struct tree *tree, int missing)
{
	int block = (128 << 20) / (int)sysconf(_SC_PAGESIZE);

	tree_write(tree, "/proc/zoneinfo",
		   "Node 0, zone DMA\n  pages free 1\n        present 100\n"
		   "Node 0, zone Normal\n  pages free 1\n        present %d\n"
		   "Node 4, zone Movable\n  pages free 1\n        present %d\n",
		   2 * block - 100 - missing, block);
}

static struct stow_memblocks read_states(struct tree *tree)
{
	_cleanup_(stow_topology_free_ptr) struct stow_topology *topology = NULL;
	struct stow_memblocks list = { 0 };
	struct stow_idset online = { 0 };

	assert_int_equal(stow_topology_read(tree->root, STOW_TOPOLOGY_AVAILABLE, &topology, NULL),
			 0);
	assert_int_equal(stow_memblocks_read(tree->root, STOW_MEMBLOCK_NO_STATE, &list, NULL), 0);
	for (size_t i = 0; i < list.n_blocks; i++)
		assert_int_equal(list.blocks[i].state, STOW_MEMBLOCK_UNKNOWN);
	for (size_t i = 0; i < topology->n_nodes; i++)
		if (stow_memblocks_all_online(&list, topology->nodes[i].id,
					      topology->nodes[i].mem_present))
			stow_idset_add(&online, topology->nodes[i].id);
	assert_int_equal(stow_memblocks_read_states(tree->root, &online, &list, NULL), 0);
	return list;
}

/* Nodes 0 and 4 with 2 blocks and 1, one of node 3, which has nothing online. */
static struct tree *blocks_of_nodes(void)
{
	struct tree *tree = tree_new();

	tree_write(tree, MEMORY "/block_size_bytes", "8000000\n");
	add_block(tree, 0, "online", "none");
	add_block(tree, 1, "going-offline", "Normal");
	add_block(tree, 2, "online", "Movable");
	add_block(tree, 3, "offline", "Normal Movable");
	tree_write(tree, "/sys/devices/system/cpu/online", "0\n");
	tree_write(tree, "/sys/devices/system/node/online", "0,4\n");
	tree_write(tree, "/sys/devices/system/node/node0/cpulist", "0\n");
	tree_write(tree, "/sys/devices/system/node/node4/cpulist", "\n");
	tree_link(tree, "/sys/devices/system/node/node0/memory0", "../../memory/memory0");
	tree_link(tree, "/sys/devices/system/node/node0/memory1", "../../memory/memory1");
	tree_link(tree, "/sys/devices/system/node/node4/memory2", "../../memory/memory2");
	tree_link(tree, "/sys/devices/system/node/node3/memory3", "../../memory/memory3");
	return tree;
}

/* What the file of block 1 says shows whether it was read. */
TEST(states_need_no_files_where_all_is_online)
{
	const struct {
		int missing; /* page frames of node 0 */
		enum stow_memblock_state of_block1;
	} cases[] = {
		{ 0, STOW_MEMBLOCK_ONLINE },
		{ 98, STOW_MEMBLOCK_ONLINE }, /* holes */
		{ (128 << 20) / (int)sysconf(_SC_PAGESIZE) - 1, STOW_MEMBLOCK_ONLINE },
		{ (128 << 20) / (int)sysconf(_SC_PAGESIZE), STOW_MEMBLOCK_GOING_OFFLINE },
		{ -1, STOW_MEMBLOCK_GOING_OFFLINE }, /* more than there can be */
	};

	for (size_t i = 0; i < STOW_ARRAY_SIZE(cases); i++) {
		_cleanup_(tree_free_ptr) struct tree *tree = blocks_of_nodes();
		_cleanup_(stow_memblocks_done) struct stow_memblocks list = { 0 };

		write_zoneinfo(tree, cases[i].missing);
		list = read_states(tree);
		assert_int_equal(list.blocks[0].state, STOW_MEMBLOCK_ONLINE);
		assert_int_equal(list.blocks[1].state, cases[i].of_block1);
		assert_int_equal(list.blocks[2].state, STOW_MEMBLOCK_ONLINE);
		assert_int_equal(list.blocks[3].state, STOW_MEMBLOCK_OFFLINE);
	}
}

TEST(states_are_read_where_zoneinfo_is_not_enough)
{
	_cleanup_(tree_free_ptr) struct tree *tree = blocks_of_nodes();
	_cleanup_(stow_memblocks_done) struct stow_memblocks none = read_states(tree);

	assert_false(none.shared);
	assert_int_equal(none.blocks[1].state, STOW_MEMBLOCK_GOING_OFFLINE); /* no zoneinfo */

	/* A block of two nodes: whose page frames are missing is not known. */
	write_zoneinfo(tree, 0);
	tree_link(tree, "/sys/devices/system/node/node4/memory1", "../../memory/memory1");
	{
		_cleanup_(stow_memblocks_done) struct stow_memblocks list = read_states(tree);

		assert_true(list.shared);
		assert_int_equal(list.blocks[1].state, STOW_MEMBLOCK_GOING_OFFLINE);
	}
}

TEST(no_hotplug_is_no_blocks)
{
	_cleanup_(tree_free_ptr) struct tree *tree = tree_new();
	struct stow_memblocks list = { .block_size = 1, .n_blocks = 1 };
	struct stow_err err = { 0 };

	assert_int_equal(stow_memblocks_read(tree->root, 0, &list, &err), 0);
	assert_int_equal(err.code, 0);
	assert_int_equal(list.n_blocks, 0);
	assert_int_equal(list.block_size, 0);
	assert_null(stow_memblocks_find(&list, 0));
	stow_memblocks_done(&list);
}

TEST(a_block_may_vanish_during_the_read)
{
	_cleanup_(tree_free_ptr) struct tree *tree = tree_new();
	_cleanup_(stow_memblocks_done) struct stow_memblocks list = { 0 };

	tree_write(tree, MEMORY "/block_size_bytes", "8000000\n");
	tree_mkdir(tree, MEMORY "/memory3");
	assert_int_equal(stow_memblocks_read(tree->root, STOW_MEMBLOCK_ZONES, &list, NULL), 0);
	assert_int_equal(list.blocks[0].state, STOW_MEMBLOCK_UNKNOWN);
}

TEST(refuses_a_block_size_that_is_none)
{
	static const char *const bad[] = { "", "0", "0x8000000", "8g", "\x18", "10000000000000000" };

	for (size_t i = 0; i < STOW_ARRAY_SIZE(bad); i++) {
		_cleanup_(tree_free_ptr) struct tree *tree = tree_new();
		struct stow_memblocks list;
		struct stow_err err = { 0 };

		tree_write(tree, MEMORY "/block_size_bytes", "%s\n", bad[i]);
		assert_int_equal(stow_memblocks_read(tree->root, 0, &list, &err), -EINVAL);
		assert_non_null(strstr(err.msg, "block_size_bytes"));
	}
}

/* --- whether they can leave --- */

/* The one judge: device, state, zones, what is in it, and what comes out. */
TEST(whether_a_block_can_leave)
{
	static const struct {
		int device;
		enum stow_memblock_state state;
		const char *zones;
		uint64_t slab, kernel;
		bool known;
		enum stow_leave can;
		const char *why;
	} cases[] = {
		{ 0, STOW_MEMBLOCK_ONLINE, "Movable", 0, 0, false, STOW_LEAVE_YES, "" },
		{ 0, STOW_MEMBLOCK_OFFLINE, "Normal Movable", 0, 0, false, STOW_LEAVE_YES, "" },
		{ 0, STOW_MEMBLOCK_GOING_OFFLINE, "Movable", 0, 0, false, STOW_LEAVE_UNKNOWN, "" },
		{ 0, STOW_MEMBLOCK_ONLINE, "none", 0, 0, true, STOW_LEAVE_NO,
		  "several zones, or holes" },
		{ 0, STOW_MEMBLOCK_ONLINE, "Normal", 0, 0, false, STOW_LEAVE_UNKNOWN, "" },
		{ 0, STOW_MEMBLOCK_ONLINE, "Normal", 0, 0, true, STOW_LEAVE_YES, "" },
		{ 0, STOW_MEMBLOCK_ONLINE, "Normal", 1, 1, true, STOW_LEAVE_NO, "slab" },
		{ 0, STOW_MEMBLOCK_ONLINE, "Normal", 0, 1, true, STOW_LEAVE_UNKNOWN,
		  "the kernel's, or free on a CPU's list" },
		/* Boot memory: only where it was set apart (kernelcore=, movable_node). */
		{ -1, STOW_MEMBLOCK_ONLINE, "Movable", 0, 0, false, STOW_LEAVE_YES, "" },
		{ -1, STOW_MEMBLOCK_ONLINE, "Normal", 0, 0, true, STOW_LEAVE_NO, "boot memory" },
		{ -1, STOW_MEMBLOCK_ONLINE, "none", 0, 0, true, STOW_LEAVE_NO, "boot memory" },
		{ -1, STOW_MEMBLOCK_ONLINE, "", 0, 0, false, STOW_LEAVE_NO, "boot memory" },
		{ -1, STOW_MEMBLOCK_OFFLINE, "Normal Movable", 0, 0, false, STOW_LEAVE_YES, "" },
	};
	struct stow_memblocks all = { 0 };

	for (size_t i = 0; i < STOW_ARRAY_SIZE(cases); i++) {
		struct stow_memblock block = { .state = cases[i].state, .device = cases[i].device };
		struct stow_block_use use = { .pages = { [STOW_PAGE_SLAB] = cases[i].slab,
							 [STOW_PAGE_KERNEL] = cases[i].kernel,
							 [STOW_PAGE_ANON] = 7 } };
		struct stow_leave_verdict leave;

		snprintf(block.zones, sizeof(block.zones), "%s", cases[i].zones);
		leave = stow_leave_check(&all, &block, cases[i].known ? &use : NULL);
		if (leave.can != cases[i].can || strcmp(leave.why, cases[i].why) != 0)
			fail_msg("case %zu: %s: \"%s\"", i, stow_leave_name(leave.can), leave.why);
	}
}

/* s390's increments are no devices, and go back all the same. */
TEST(increments_can_leave_without_a_device)
{
	for (int increments = 0; increments < 2; increments++) {
		_cleanup_(tree_free_ptr) struct tree *tree = tree_new();
		_cleanup_(stow_memblocks_done) struct stow_memblocks list = { 0 };

		tree_write(tree, MEMORY "/block_size_bytes", "8000000\n");
		add_block(tree, 0, "online", "Normal");
		add_block(tree, 1, "online", "Normal");
		tree_write(tree, MEMORY "/memory1/phys_device", "%d\n", increments);
		assert_int_equal(stow_memblocks_read(tree->root,
						     STOW_MEMBLOCK_ZONES | STOW_MEMBLOCK_DEVICE,
						     &list, NULL),
				 0);
		assert_int_equal(list.increments, increments);
		assert_int_equal(stow_leave_check(&list, &list.blocks[0], NULL).can,
				 increments ? STOW_LEAVE_UNKNOWN : STOW_LEAVE_NO);
		assert_int_equal(stow_leave_needs_use(&list, &list.blocks[0]), increments);
	}
}

/* --- devices --- */

#define ACPI "/sys/devices/LNXSYSTM:00/LNXSYBUS:00/PNP0A06:00"

static void add_dimm(struct tree *tree, const char *alias, const char *uid, unsigned int first,
		     unsigned int n)
{
	char path[128], target[128];

	snprintf(path, sizeof(path), ACPI "/%s/path", alias);
	tree_write(tree, path, "\\_SB_.MHPC.MP%s\n", alias + strlen("PNP0C80:"));
	snprintf(path, sizeof(path), ACPI "/%s/uid", alias);
	if (uid)
		tree_write(tree, path, "%s\n", uid);
	for (unsigned int id = first; id < first + n; id++) {
		add_block(tree, id, "offline", "Normal Movable");
		snprintf(path, sizeof(path), MEMORY "/memory%u/firmware_node", id);
		snprintf(target, sizeof(target), "../../../LNXSYSTM:00/LNXSYBUS:00/PNP0A06:00/%s",
			 alias);
		tree_link(tree, path, target);
	}
}

static struct tree *machine_new(void)
{
	struct tree *tree = tree_new();

	tree_write(tree, MEMORY "/block_size_bytes", "8000000\n");
	add_block(tree, 0, "online", "DMA32");
	return tree;
}

static struct stow_memblocks read_devices(struct tree *tree)
{
	struct stow_memblocks list = { 0 };
	struct stow_err err = { 0 };

	if (stow_memblocks_read(tree->root, STOW_MEMBLOCK_DEVICE, &list, &err) < 0)
		fail_msg("%s", err.msg);
	return list;
}

TEST(dimms_are_named_by_uid)
{
	_cleanup_(tree_free_ptr) struct tree *tree = machine_new();
	_cleanup_(stow_memblocks_done) struct stow_memblocks list = { 0 };
	const struct stow_memdev *dimm;

	add_dimm(tree, "PNP0C80:00", "0x0a", 48, 8);
	add_dimm(tree, "PNP0C80:01", "2", 40, 4);
	/* Some other device's. */
	add_block(tree, 60, "online", "Normal");
	tree_link(tree, MEMORY "/memory60/firmware_node", "../../../LNXSYSTM:00/PNP0C09:00");
	list = read_devices(tree);
	assert_int_equal(list.n_devices, 2);
	assert_string_equal(list.devices[0].name, "dimm2");
	assert_string_equal(list.devices[0].alias, "PNP0C80:01");
	dimm = stow_memdev_find(&list, "dimm10");
	assert_ptr_equal(dimm, &list.devices[1]);
	assert_ptr_equal(stow_memdev_find(&list, "PNP0C80:00"), dimm);
	assert_null(stow_memdev_find(&list, "dimm0"));
	assert_int_equal(dimm->kind, STOW_MEMDEV_DIMM);
	assert_string_equal(dimm->path, "\\_SB_.MHPC.MP00");
	assert_string_equal(dimm->dir, ACPI "/PNP0C80:00");
	assert_int_equal(dimm->start, UINT64_C(48) << 27);
	assert_int_equal(dimm->size, 1 << 30);
	assert_int_equal(dimm->n_blocks, 8);
	assert_int_equal(stow_memblocks_find(&list, 0)->device, -1);
	assert_int_equal(stow_memblocks_find(&list, 60)->device, -1);
	assert_int_equal(stow_memblocks_find(&list, 43)->device, 0);
	assert_int_equal(stow_memblocks_find(&list, 55)->device, 1);
	assert_string_equal(stow_memdev_kind_name(dimm->kind), "dimm");
	assert_string_equal(stow_memdev_kind_name((enum stow_memdev_kind)9), "unknown");
}

TEST(dimms_without_uids_of_their_own_are_counted)
{
	static const char *const uids[] = { NULL, "MEM1", "", "0x", "7" /* the other's, too */ };

	for (size_t i = 0; i < STOW_ARRAY_SIZE(uids); i++) {
		_cleanup_(tree_free_ptr) struct tree *tree = machine_new();
		_cleanup_(stow_memblocks_done) struct stow_memblocks list = { 0 };

		add_dimm(tree, "PNP0C80:0f", "0x7", 48, 1);
		add_dimm(tree, "PNP0C80:10", uids[i], 49, 1);
		list = read_devices(tree);
		assert_int_equal(list.n_devices, 2);
		assert_string_equal(list.devices[0].name, "dimm15");
		assert_string_equal(list.devices[1].name, "dimm16");
	}
}

TEST(dax_memory_is_what_kmem_took)
{
	_cleanup_(tree_free_ptr) struct tree *tree = machine_new();
	_cleanup_(stow_memblocks_done) struct stow_memblocks list = { 0 };

	for (unsigned long long id = 32; id < 44; id++)
		add_block(tree, id, "online", "Movable");
	/* From the middle of block 32, whose memory was there before, to the middle of 35. */
	tree_write(tree, DAX "/dax0.0/resource", "0x104000000\n");
	tree_write(tree, DAX "/dax0.0/size", "%u\n", 3 << 27);
	tree_link(tree, DAX "/dax0.0/driver", "../../bus/dax/drivers/kmem");
	/* Not memory: another driver's. */
	tree_write(tree, DAX "/dax1.0/resource", "0x130000000\n");
	tree_write(tree, DAX "/dax1.0/size", "%u\n", 1 << 27);
	tree_link(tree, DAX "/dax1.0/driver", "../../bus/dax/drivers/device_dax");
	/* Of two ranges; what resource says is the first one's beginning. */
	tree_write(tree, DAX "/dax2.0/resource", "0x140000000\n");
	tree_write(tree, DAX "/dax2.0/size", "%u\n", 2 << 27);
	tree_write(tree, DAX "/dax2.0/mapping0/start", "0x140000000\n");
	tree_write(tree, DAX "/dax2.0/mapping0/end", "0x147ffffff\n");
	tree_write(tree, DAX "/dax2.0/mapping1/start", "0x158000000\n");
	tree_write(tree, DAX "/dax2.0/mapping1/end", "0x15fffffff\n");
	tree_link(tree, DAX "/dax2.0/driver", "../../bus/dax/drivers/kmem");

	list = read_devices(tree);
	assert_int_equal(list.n_devices, 2);
	assert_string_equal(list.devices[0].name, "dax0.0");
	assert_string_equal(list.devices[0].alias, "dax0.0");
	assert_string_equal(list.devices[0].dir, "/sys/bus/dax/devices/dax0.0");
	assert_int_equal(list.devices[0].kind, STOW_MEMDEV_DAX);
	assert_int_equal(list.devices[0].n_blocks, 2);
	assert_int_equal(list.devices[0].start, UINT64_C(33) << 27);
	assert_int_equal(stow_memblocks_find(&list, 32)->device, -1);
	assert_int_equal(stow_memblocks_find(&list, 35)->device, -1);
	assert_int_equal(stow_memblocks_find(&list, 38)->device, -1);
	assert_int_equal(stow_memblocks_find(&list, 40)->device, 1);
	assert_int_equal(stow_memblocks_find(&list, 41)->device, -1);
	assert_int_equal(stow_memblocks_find(&list, 43)->device, 1);
	assert_int_equal(list.devices[1].size, UINT64_C(4) << 27);
}

TEST(virtio_memory_is_in_iomem)
{
	_cleanup_(tree_free_ptr) struct tree *tree = machine_new();
	_cleanup_(stow_memblocks_done) struct stow_memblocks list = { 0 };

	for (unsigned long long id = 48; id < 56; id++)
		add_block(tree, id, "online", "Movable");
	tree_write(tree, "/proc/iomem",
		   "00000000-00000fff : Reserved\n"
		   "00001000-07ffffff : System RAM\n"
		   "  01000000-01ffffff : Kernel code\n"
		   "180000000-1ffffffff : virtio10\n"
		   "  180000000-187ffffff : System RAM (virtio_mem)\n"
		   "  188000000-1883fffff : System RAM (virtio_mem)\n" /* a part of block 49 */
		   "  1a8000000-1afffffff : System RAM (virtio_mem)\n"
		   "1a0000000-1bfffffff : virtio2\n"
		   "  1b0000000-1b7ffffff : System RAM (virtio_mem)\n"
		   "nonsense\n"
		   "200000000-1 : System RAM (virtio_mem)\n");
	list = read_devices(tree);
	assert_int_equal(list.n_devices, 2);
	assert_string_equal(list.devices[0].name, "virtio2");
	assert_string_equal(list.devices[1].name, "virtio10");
	assert_int_equal(list.devices[1].kind, STOW_MEMDEV_VIRTIO);
	assert_string_equal(list.devices[1].dir, "/sys/bus/virtio/devices/virtio10");
	assert_int_equal(list.devices[1].n_blocks, 3);
	assert_int_equal(list.devices[1].size, UINT64_C(6) << 27);
	assert_int_equal(stow_memblocks_find(&list, 0)->device, -1);
	assert_int_equal(stow_memblocks_find(&list, 49)->device, 1);
	assert_int_equal(stow_memblocks_find(&list, 50)->device, -1);
	assert_int_equal(stow_memblocks_find(&list, 54)->device, 0);
}

/* /proc/iomem has zeros for addresses unless its reader is root. */
TEST(hidden_addresses_belong_to_no_device)
{
	_cleanup_(tree_free_ptr) struct tree *tree = machine_new();
	_cleanup_(stow_memblocks_done) struct stow_memblocks list = { 0 };

	tree_write(tree, "/proc/iomem",
		   "00000000-00000000 : virtio1\n"
		   "  00000000-00000000 : System RAM (virtio_mem)\n");
	list = read_devices(tree);
	assert_int_equal(list.n_devices, 0);
	assert_int_equal(list.blocks[0].device, -1);
}

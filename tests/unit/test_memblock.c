// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "tree.h"

#include <stdio.h>

#include "base/cleanup.h"
#include "node/memblock.h"

#define MEMORY "/sys/devices/system/memory"

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

static void reads_blocks_nodes_and_states(void **state)
{
	_cleanup_(tree_free_ptr) struct tree *tree = tree_new();
	_cleanup_(stow_memblocks_done_ptr) struct stow_memblocks list = { 0 };
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

	assert_int_equal(stow_memblocks_read(tree->root,
					     STOW_MEMBLOCK_ZONES | STOW_MEMBLOCK_PHYS_DEVICE, &list,
					     NULL),
			 0);
	assert_int_equal(list.block_size, 128 << 20);
	assert_int_equal(list.n_blocks, 4);
	assert_int_equal(list.blocks[0].id, 9);
	assert_int_equal(list.blocks[0].node, 4);
	assert_int_equal(list.blocks[0].state, STOW_MEMBLOCK_OFFLINE);
	assert_string_equal(list.blocks[0].zones, "Normal Movable");
	assert_int_equal(list.blocks[0].phys_device, 9);
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

static void details_only_when_asked_for(void **state)
{
	_cleanup_(tree_free_ptr) struct tree *tree = tree_new();
	_cleanup_(stow_memblocks_done_ptr) struct stow_memblocks list = { 0 };

	tree_write(tree, MEMORY "/block_size_bytes", "8000000\n");
	add_block(tree, 0, "online", "DMA32");
	assert_int_equal(stow_memblocks_read(tree->root, 0, &list, NULL), 0);
	assert_string_equal(list.blocks[0].zones, "");
	assert_int_equal(list.blocks[0].phys_device, -1);
}

static void no_hotplug_is_no_blocks(void **state)
{
	_cleanup_(tree_free_ptr) struct tree *tree = tree_new();
	struct stow_memblocks list = { 1, NULL, 1 };
	struct stow_err err = { 0 };

	assert_int_equal(stow_memblocks_read(tree->root, 0, &list, &err), 0);
	assert_int_equal(err.code, 0);
	assert_int_equal(list.n_blocks, 0);
	assert_int_equal(list.block_size, 0);
	assert_null(stow_memblocks_find(&list, 0));
	stow_memblocks_done(&list);
}

static void a_block_may_vanish_while_we_read(void **state)
{
	_cleanup_(tree_free_ptr) struct tree *tree = tree_new();
	_cleanup_(stow_memblocks_done_ptr) struct stow_memblocks list = { 0 };

	tree_write(tree, MEMORY "/block_size_bytes", "8000000\n");
	tree_mkdir(tree, MEMORY "/memory3");
	assert_int_equal(stow_memblocks_read(tree->root, STOW_MEMBLOCK_ZONES, &list, NULL), 0);
	assert_int_equal(list.blocks[0].state, STOW_MEMBLOCK_UNKNOWN);
}

static void refuses_a_block_size_that_is_none(void **state)
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_blocks_nodes_and_states),
		cmocka_unit_test(details_only_when_asked_for),
		cmocka_unit_test(no_hotplug_is_no_blocks),
		cmocka_unit_test(a_block_may_vanish_while_we_read),
		cmocka_unit_test(refuses_a_block_size_that_is_none),
	};

	return cmocka_run_group_tests_name("memblock", tests, NULL, NULL);
}

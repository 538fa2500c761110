// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "node/hugetlb.h"
#include "pages/huge.h"
#include "tree.h"

#define M2 (UINT64_C(2) << 20)
#define G1 (UINT64_C(1) << 30)
#define P2 "/sys/kernel/mm/hugepages/hugepages-2048kB/"

TEST(the_machines_pool_may_lack_files)
{
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();
	struct stow_hugetlb m;

	tree_write(t, P2 "nr_hugepages", "8\n");
	tree_write(t, P2 "resv_hugepages", "3\n");
	tree_write(t, P2 "free_hugepages", "many\n");
	tree_write(t, P2 "surplus_hugepages", "%s", "");
	stow_hugetlb_read(t->root, M2, &m);
	assert_int_equal(m.total, 8);
	assert_int_equal(m.reserved, 3);
	assert_true(m.free == STOW_UNKNOWN && m.surplus == STOW_UNKNOWN &&
		    m.overcommit == STOW_UNKNOWN);
	assert_int_equal(m.split_size, 0);
	tree_write(t, P2 "demote_size", "64kB\n");
	stow_hugetlb_read(t->root, M2, &m);
	assert_int_equal(m.split_size, 64 << 10);
	tree_write(t, P2 "demote_size", "kB\n");
	stow_hugetlb_read(t->root, M2, &m);
	assert_true(m.split_size == STOW_UNKNOWN);
}

TEST(sizes_of_any_node_count)
{
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();
	uint64_t sizes[STOW_POOLS_MAX];

	assert_int_equal(stow_pool_sizes(t->root, sizes, NULL), 0);
	tree_mkdir(t, "/sys/devices/system/node/node0");
	tree_mkdir(t, "/sys/devices/system/node/node3/hugepages/hugepages-2048kB");
	tree_mkdir(t, "/sys/devices/system/node/node3/hugepages/hugepages-x");
	assert_int_equal(stow_pool_sizes(t->root, sizes, NULL), 1);
	assert_int_equal(sizes[0], M2);
}

TEST(mounts_are_found)
{
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();
	_cleanup_(stow_hugetlbfs_done) struct stow_hugetlbfs_list mounts = { 0 };

	assert_int_equal(stow_hugetlbfs_read(t->root, &mounts, NULL), 0);
	assert_int_equal(mounts.n, 0);
	tree_write(t, "/proc/mounts",
		   "proc /proc proc rw 0 0\n"
		   "hugetlbfs /dev/hugepages hugetlbfs rw,relatime,pagesize=2M 0 0\n"
		   "none /mnt/a\\040b\\011 hugetlbfs ro,pagesize=1024M,size=4194304K 0 0\n"
		   "x /y hugetlbfs\n"
		   "hugetlbfs\n"
		   "tmpfs /hugetlbfs tmpfs rw 0 0\n"
		   "old /huge hugetlbfs rw,pagesize=M,size=99999999999999999999999G 0 0");
	assert_int_equal(stow_hugetlbfs_read(t->root, &mounts, NULL), 0);
	assert_int_equal(mounts.n, 3);
	assert_string_equal(mounts.list[0].path, "/dev/hugepages");
	assert_int_equal(mounts.list[0].page_size, M2);
	assert_true(mounts.list[0].limit == STOW_UNKNOWN && !mounts.list[0].read_only);
	assert_string_equal(mounts.list[1].path, "/mnt/a b\t");
	assert_int_equal(mounts.list[1].page_size, G1);
	assert_int_equal(mounts.list[1].limit, UINT64_C(4) << 30);
	assert_true(mounts.list[1].read_only);
	assert_true(mounts.list[2].page_size == STOW_UNKNOWN &&
		    mounts.list[2].limit == STOW_UNKNOWN);
}

TEST(any_line_of_mounts_is_survived)
{
	static const char line[] = "a /b\\0401\\9\\ hugetlbfs rw,pagesize=2M,size=1G,ro 0 0";

	for (size_t len = 0; len < sizeof(line); len++) {
		_cleanup_free_ char *copy = malloc(len + 1);
		struct stow_hugetlbfs m = { 0 };

		memcpy(copy, line, len);
		copy[len] = '\0';
		assert_in_range(stow_hugetlbfs_line(copy, len, &m) + 1, 1, 2);
		free(m.path);
	}
}

TEST(nothing_is_mounted_in_a_copy)
{
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();
	struct stow_err err = { 0 };

	tree_mkdir(t, "/mnt");
	tree_write(t, "/file", "x");
	assert_int_equal(stow_hugetlbfs_mount(t->root, "/mnt", M2, 0, &err), -EOPNOTSUPP);
	assert_int_equal(stow_hugetlbfs_mount(t->root, "mnt", M2, 0, NULL), -EINVAL);
	assert_int_equal(stow_hugetlbfs_mount(t->root, "/none", M2, 0, NULL), -ENOENT);
	assert_int_equal(stow_hugetlbfs_mount(t->root, "/file", M2, 0, NULL), -ENOTDIR);
}

TEST(files_of_a_mount_are_summed)
{
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();
	struct stow_hugetlbfs mount = { .path = (char *)"/huge" };
	uint64_t bytes = 1;

	assert_int_equal(stow_hugetlbfs_used(t->root, &mount, &bytes, NULL), -ENOENT);
	tree_mkdir(t, "/huge/a");
	tree_link(t, "/huge/loop", "/huge");
	assert_int_equal(stow_hugetlbfs_used(t->root, &mount, &bytes, NULL), 0);
	assert_int_equal(bytes, 0);
	tree_write(t, "/huge/a/file", "%01000d", 0);
	assert_int_equal(stow_hugetlbfs_used(t->root, &mount, &bytes, NULL), 0);
	assert_true(bytes >= 512);
}

/* --- at boot ------------------------------------------------------------------------------ */

TEST(pools_at_boot_are_read_back)
{
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();
	_cleanup_(stow_hugeboot_done) struct stow_hugeboot_list boot = { 0 }, back = { 0 };
	_cleanup_free_ char *parameters = NULL, *unit = NULL;
	char link[64];

	tree_mkdir(t, "/etc");
	assert_int_equal(stow_hugeboot_set(&boot, 1, M2, 512, NULL), 0);
	assert_int_equal(stow_hugeboot_set(&boot, 0, M2, 7, NULL), 0);
	assert_int_equal(stow_hugeboot_set(&boot, 1, G1, 2, NULL), 0);
	assert_int_equal(stow_hugeboot_set(&boot, 0, M2, 256, NULL), 0);
	assert_int_equal(stow_hugeboot_set(&boot, 0, G1, 0, NULL), 0);
	parameters = stow_hugeboot_parameters(&boot);
	assert_string_equal(parameters,
			    "hugepagesz=1G hugepages=1:2 hugepagesz=2M hugepages=0:256,1:512");
	assert_int_equal(stow_hugeboot_write(t->root, &boot, NULL), 0);
	assert_int_equal(stow_hugeboot_write(t->root, &boot, NULL), 0);
	unit = tree_read(t, STOW_HUGEBOOT_FILE);
	assert_non_null(strstr(unit, "echo 256 >/sys/devices/system/node/node0/hugepages/"
				     "hugepages-2048kB/nr_hugepages'"));
	assert_non_null(strstr(unit, "test \"$$has\" -ge 512"));
	assert_true(stow_root_readlink(t->root, link, sizeof(link), NULL, "%s",
				       STOW_HUGEBOOT_WANT) > 0);
	assert_string_equal(link, "../numastow-hugepages.service");
	assert_int_equal(stow_hugeboot_read(t->root, &back, NULL), 0);
	assert_int_equal(back.n, boot.n);
	for (size_t i = 0; i < boot.n; i++)
		assert_true(back.list[i].node == boot.list[i].node &&
			    back.list[i].size == boot.list[i].size &&
			    back.list[i].pages == boot.list[i].pages);
	/* With none left, unit and link go. */
	while (boot.n)
		assert_int_equal(
			stow_hugeboot_set(&boot, boot.list[0].node, boot.list[0].size, 0, NULL), 0);
	assert_int_equal(stow_hugeboot_write(t->root, &boot, NULL), 0);
	assert_int_equal(stow_root_exists(t->root, "%s", STOW_HUGEBOOT_FILE), 0);
	assert_true(stow_root_readlink(t->root, link, sizeof(link), NULL, "%s",
				       STOW_HUGEBOOT_WANT) < 0);
}

TEST(a_strangers_unit_stays)
{
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();
	_cleanup_(stow_hugeboot_done) struct stow_hugeboot_list boot = { 0 };

	assert_int_equal(stow_hugeboot_read(t->root, &boot, NULL), 0);
	tree_write(t, STOW_HUGEBOOT_FILE, "[Unit]\n");
	assert_int_equal(stow_hugeboot_read(t->root, &boot, NULL), -EUCLEAN);
}

/* --- users -------------------------------------------------------------------------------- */

TEST(users_by_process_size_and_node)
{
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();
	_cleanup_(stow_huge_users_done) struct stow_huge_users users = { 0 };

	assert_int_equal(stow_huge_users_read(t->root, &users, NULL), 0);
	tree_write(t, "/proc/12/status", "Name:\tdp\033dk\nHugetlbPages:\t  1052672 kB\n");
	tree_write(t, "/proc/12/numa_maps",
		   "2aaaaac00000 default file=/anon_hugepage huge dirty=2 N0=1 N1=1 "
		   "kernelpagesize_kB=2048\n"
		   "2aaab0000000 bind:1 huge anon=1 dirty=1 N1=1 kernelpagesize_kB=2048\n"
		   "2aab00000000 bind:1 huge anon=1 N1=1 kernelpagesize_kB=1048576\n"
		   "7f0000000000 default anon=512 N0=512 kernelpagesize_kB=4\n"
		   "7f1000000000 default file=/huge N0=5 kernelpagesize_kB=4\n"
		   "7f2000000000 default huge N0=5\n"
		   "7f3000000000 default huge Nx=5 N=1 N9999=1 N1= kernelpagesize_kB=2048\n"
		   "7f4000000000 default huge N0=1 kernelpagesize_kB=\n");
	tree_write(t, "/proc/9/status", "Name:\tinit\nHugetlbPages:\t       0 kB\n");
	tree_write(t, "/proc/9/numa_maps", "1 default huge N0=1 kernelpagesize_kB=2048\n");
	tree_write(t, "/proc/10/status", "HugetlbPages:\t2048 kB\n");
	tree_write(t, "/proc/self/status", "HugetlbPages:\t2048 kB\n");
	assert_int_equal(stow_huge_users_read(t->root, &users, NULL), 0);
	assert_int_equal(users.n, 3);
	assert_int_equal(users.hidden, 0);
	assert_string_equal(users.list[0].name, "dp?dk");
	assert_int_equal(users.list[0].pid, 12);
	assert_true(users.list[0].size == M2 && users.list[0].node == 0 &&
		    users.list[0].pages == 1);
	assert_true(users.list[1].size == M2 && users.list[1].node == 1 &&
		    users.list[1].pages == 2);
	assert_true(users.list[2].size == G1 && users.list[2].node == 1 &&
		    users.list[2].pages == 1);
}

static int no_maps(void *ctx, const char *path, const char *value)
{
	return strstr(path, "numa_maps") ? -EACCES : 0;
}

TEST(hidden_users_are_counted)
{
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();
	_cleanup_(stow_huge_users_done) struct stow_huge_users users = { 0 };
	struct stow_root_ops ops = { .before = no_maps };

	tree_write(t, "/proc/12/status", "Name:\tdpdk\nHugetlbPages:\t4096 kB\n");
	t->root->ops = &ops;
	assert_int_equal(stow_huge_users_read(t->root, &users, NULL), 0);
	t->root->ops = NULL;
	assert_int_equal(users.n, 0);
	assert_int_equal(users.hidden, 1);
	assert_int_equal(users.bytes, 4 << 20);
}

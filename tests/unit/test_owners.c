// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "tree.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cgroup/paths.h"
#include "pages/kind.h"
#include "pages/kpages.h"
#include "pages/owners.h"

#define K(bit) (UINT64_C(1) << KPF_##bit)

#define ANON_PAGE (K(LRU) | K(ANON) | K(SWAPBACKED) | K(UPTODATE) | K(MMAP))
#define FREE_PAGE K(BUDDY)

/* A transparent hugepage as Linux 6.1 shows it: little is known of its tails. */
#define THP_HEAD (ANON_PAGE | K(COMPOUND_HEAD) | K(THP))
#define THP_TAIL (K(ANON) | K(MMAP) | K(COMPOUND_TAIL) | K(THP))

#define HUGE_HEAD (K(HUGE) | K(COMPOUND_HEAD))
#define HUGE_TAIL (K(HUGE) | K(COMPOUND_TAIL))

static uint64_t owned(const struct stow_block_use *use, uint64_t inode, enum stow_page_kind kind)
{
	for (size_t i = 0; i < use->n_owners; i++)
		if (use->owners[i].inode == inode)
			return use->owners[i].pages[kind];
	return 0;
}

static uint64_t all_pages(const struct stow_block_use *use)
{
	uint64_t sum = 0;

	for (int kind = 0; kind < STOW_PAGE_KINDS; kind++)
		sum += use->pages[kind];
	return sum;
}

TEST(each_kind_of_page_is_counted)
{
	static const struct {
		uint64_t flags;
		enum stow_page_kind kind;
	} pages[] = {
		{ FREE_PAGE, STOW_PAGE_FREE },
		{ ANON_PAGE, STOW_PAGE_ANON },
		{ K(ANON) | K(UPTODATE), STOW_PAGE_ANON },		  /* not yet on the LRU */
		{ K(LRU) | K(SWAPBACKED) | K(UPTODATE), STOW_PAGE_ANON }, /* tmpfs */
		{ K(LRU) | K(UPTODATE) | K(MMAP), STOW_PAGE_FILE },
		{ K(UPTODATE) | K(REFERENCED), STOW_PAGE_FILE },
		{ HUGE_HEAD, STOW_PAGE_HUGETLB },
		{ K(SLAB), STOW_PAGE_SLAB },
		{ K(PGTABLE), STOW_PAGE_TABLE },
		{ 0, STOW_PAGE_KERNEL },
		{ K(MMAP), STOW_PAGE_KERNEL }, /* a driver's, mapped by a program */
		{ K(THP) | K(ZERO_PAGE) | K(COMPOUND_HEAD), STOW_PAGE_KERNEL },
		{ K(RESERVED), STOW_PAGE_RESERVED },
		{ K(RESERVED) | K(ZERO_PAGE), STOW_PAGE_RESERVED },
		{ K(OFFLINE), STOW_PAGE_OFFLINE },
		{ K(NOPAGE), STOW_PAGE_OFFLINE },
		{ K(HWPOISON) | ANON_PAGE, STOW_PAGE_OFFLINE },
	};

	for (size_t i = 0; i < STOW_ARRAY_SIZE(pages); i++) {
		struct stow_use_carry carry = { 0 };
		struct stow_block_use use = { 0 };

		assert_int_equal(stow_use_count(&use, &carry, &pages[i].flags, NULL, NULL, 1, 4096,
						NULL),
				 0);
		for (int kind = 0; kind < STOW_PAGE_KINDS; kind++)
			assert_int_equal(use.pages[kind], kind == (int)pages[i].kind);
		free(use.owners);
	}
}

TEST(kinds_have_names_and_move_or_not)
{
	struct stow_block_use use = { 0 };

	for (int kind = 0; kind < STOW_PAGE_KINDS; kind++)
		use.pages[kind] = UINT64_C(1) << (4 * kind);
	assert_int_equal(stow_block_use_sum(&use, true), 0x1110);
	assert_int_equal(stow_block_use_sum(&use, false), 0x11110000 & ~0u);
	assert_string_equal(stow_page_kind_name(STOW_PAGE_ANON), "anonymous");
	assert_string_equal(stow_page_kind_name(STOW_PAGE_TABLE), "page-table");
	assert_string_equal(stow_page_kind_name(STOW_PAGE_OFFLINE), "offline");
	assert_true(stow_page_kind_moves(STOW_PAGE_HUGETLB));
	assert_true(stow_page_kind_moves(STOW_PAGE_OFFLINE));
	assert_false(stow_page_kind_moves(STOW_PAGE_SLAB));
	assert_false(stow_page_kind_moves(STOW_PAGE_RESERVED));
}

TEST(tails_are_what_their_head_is)
{
	/* The end of one hugepage, whole ones, and the beginning of the next. */
	const uint64_t flags[] = { K(COMPOUND_TAIL) | K(THP),
				   K(COMPOUND_TAIL) | K(THP) | K(HWPOISON),
				   THP_HEAD | K(MLOCKED) | K(UNEVICTABLE),
				   THP_TAIL,
				   THP_TAIL,
				   K(LRU) | K(COMPOUND_HEAD) | K(THP),
				   K(COMPOUND_TAIL) | K(THP),
				   0,
				   K(COMPOUND_TAIL) | K(THP),
				   THP_HEAD };
	const uint64_t cgroups[] = { 0, 0, 77, 0, 0, 78, 0, 0, 0, 77 };
	struct stow_use_carry carry = { .flags = K(SLAB) | K(COMPOUND_HEAD), .cgroup = 5 };
	struct stow_block_use use = { 0 };

	assert_int_equal(stow_use_count(&use, &carry, flags, NULL, cgroups, 10, 4096, NULL), 0);
	assert_int_equal(use.pages[STOW_PAGE_SLAB], 1);
	assert_int_equal(owned(&use, 5, STOW_PAGE_SLAB), 1);
	assert_int_equal(owned(&use, 5, STOW_PAGE_OFFLINE), 1);
	assert_int_equal(use.pages[STOW_PAGE_ANON], 4);
	assert_int_equal(owned(&use, 77, STOW_PAGE_ANON), 4);
	assert_int_equal(owned(&use, 78, STOW_PAGE_FILE), 2);
	/* A tail without a head (it has been split meanwhile) is taken by its own flags. */
	assert_int_equal(owned(&use, 0, STOW_PAGE_FILE), 1);
	assert_int_equal(owned(&use, 0, STOW_PAGE_KERNEL), 1);
	assert_int_equal(use.mapped, 4);
	assert_int_equal(use.unevictable, 3);
	assert_true(carry.flags & K(COMPOUND_HEAD));
	assert_int_equal(carry.cgroup, 77);
	assert_int_equal(all_pages(&use), 10);
	free(use.owners);
}

TEST(map_counts_come_before_flags)
{
	const uint64_t flags[] = { K(LRU) | K(MMAP), K(LRU), K(LRU), K(LRU) };
	const uint64_t counts[] = { 0, 3, 1, 0 };
	const uint64_t cgroups[] = { 9, 9, 8, 8 };
	struct stow_use_carry carry = { 0 };
	struct stow_block_use use = { 0 };

	assert_int_equal(stow_use_count(&use, &carry, flags, counts, NULL, 4, 4096, NULL), 0);
	assert_int_equal(use.mapped, 2);
	assert_int_equal(stow_use_count(&use, &carry, flags, counts, cgroups, 4, 4096, NULL), 0);
	assert_int_equal(use.mapped, 4);
	assert_int_equal(owned(&use, 8, STOW_PAGE_FILE), 2);
	assert_int_equal(owned(&use, 0, STOW_PAGE_FILE), 4);
	free(use.owners);
}

TEST(counts_hugepages_by_size)
{
	uint64_t flags[64] = { 0 };
	struct stow_use_carry carry = { 0 };
	struct stow_block_use use = { 0 };

	for (int i = 0; i < 64; i++)
		flags[i] = i < 2 ? FREE_PAGE : HUGE_TAIL;
	flags[2] = HUGE_HEAD | K(MMAP);
	flags[4] = HUGE_HEAD;
	flags[6] = HUGE_HEAD | K(MMAP);
	flags[16] = HUGE_HEAD;
	/* In two halves, and of the last hugepage half is in the next block. */
	assert_int_equal(stow_use_count(&use, &carry, flags, NULL, NULL, 10, 4096, NULL), 0);
	assert_int_equal(carry.open, 4);
	assert_int_equal(stow_use_count(&use, &carry, flags + 10, NULL, NULL, 54, 4096, NULL), 0);
	assert_int_equal(use.n_pools, 2);
	assert_int_equal(use.pools[0].size, 8192);
	assert_int_equal(use.pools[0].pages, 2);
	assert_int_equal(use.pools[0].used, 1);
	assert_int_equal(use.pools[1].size, 40960);
	assert_int_equal(use.pools[1].used, 1);
	assert_int_equal(carry.open, 48);
	assert_int_equal(stow_use_count(&use, &carry, NULL, NULL, NULL, 0, 4096, NULL), 0);
	assert_int_equal(use.n_pools, 3);
	assert_int_equal(use.pools[2].size, 48 * 4096);
	assert_int_equal(use.pools[2].used, 0);
	assert_int_equal(use.pages[STOW_PAGE_HUGETLB], 62);
	free(use.owners);
}

TEST(tails_from_another_block_are_no_hugepage)
{
	const uint64_t flags[] = { HUGE_TAIL, HUGE_TAIL, FREE_PAGE };
	struct stow_use_carry carry = { .flags = HUGE_HEAD, .mapped = true };
	struct stow_block_use use = { 0 };

	assert_int_equal(stow_use_count(&use, &carry, flags, NULL, NULL, 3, 4096, NULL), 0);
	assert_int_equal(stow_use_count(&use, &carry, NULL, NULL, NULL, 0, 4096, NULL), 0);
	assert_int_equal(use.pages[STOW_PAGE_HUGETLB], 2);
	assert_int_equal(use.n_pools, 0);
	free(use.owners);
}

TEST(more_sizes_than_there_can_be_are_left_out)
{
	uint64_t flags[STOW_POOLS_MAX * STOW_POOLS_MAX];
	struct stow_use_carry carry = { 0 };
	struct stow_block_use use = { 0 };
	size_t n = 0;

	for (size_t tails = 0; tails < STOW_POOLS_MAX + 2; tails++) {
		flags[n++] = HUGE_HEAD;
		for (size_t i = 0; i < tails; i++)
			flags[n++] = HUGE_TAIL;
	}
	assert_int_equal(stow_use_count(&use, &carry, flags, NULL, NULL, n, 4096, NULL), 0);
	assert_int_equal(use.n_pools, STOW_POOLS_MAX);
	assert_int_equal(use.pages[STOW_PAGE_HUGETLB], n);
	free(use.owners);
}

TEST(many_owners_page_by_page)
{
	uint64_t flags[6000], cgroups[6000];
	struct stow_use_carry carry = { 0 };
	struct stow_block_use use = { 0 };

	for (size_t i = 0; i < 6000; i++) {
		flags[i] = ANON_PAGE;
		cgroups[i] = 1000 + i * 7919 % 2000;
	}
	for (int times = 0; times < 2; times++)
		assert_int_equal(
			stow_use_count(&use, &carry, flags, NULL, cgroups, 6000, 4096, NULL), 0);
	assert_int_equal(use.n_owners, 2000);
	for (size_t i = 0; i < use.n_owners; i++)
		assert_int_equal(use.owners[i].pages[STOW_PAGE_ANON], 6);
	free(use.owners);
}

/* --- whole blocks, from files --------------------------------------------------------------------*/

#define PER_BLOCK 65536 /* pages */

struct machine {
	struct tree *tree;
	struct stow_memblock list[4];
	struct stow_memblocks blocks;
};

static void machine_new(struct machine *m)
{
	m->tree = tree_new();
	for (uint64_t i = 0; i < 4; i++)
		m->list[i] = (struct stow_memblock){ .id = 2 + i, .state = STOW_MEMBLOCK_ONLINE };
	m->list[3].state = STOW_MEMBLOCK_OFFLINE;
	m->blocks = (struct stow_memblocks){
		.block_size = (uint64_t)PER_BLOCK * (uint64_t)sysconf(_SC_PAGESIZE),
		.blocks = m->list,
		.n_blocks = 4,
	};
	tree_write(m->tree, "/proc/kpageflags", "%s", "");
	tree_write(m->tree, "/proc/kpagecgroup", "%s", "");
}

static void machine_done(struct machine *m)
{
	tree_free(m->tree);
}

/* Set `n` words from page frame `pfn` on; the file stays sparse. */
static void words(struct machine *m, const char *name, uint64_t pfn, size_t n, uint64_t value)
{
	_cleanup_free_ uint64_t *some = calloc(n, sizeof(*some));
	_cleanup_close_ int fd = -EBADF;
	char path[4096];

	assert_non_null(some);
	for (size_t i = 0; i < n; i++)
		some[i] = value;
	snprintf(path, sizeof(path), "%s/proc/%s", m->tree->dir, name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, some, n * 8, (off_t)(pfn * 8)), n * 8);
}

TEST(reads_blocks_from_the_kernels_files)
{
	_cleanup_(machine_done) struct machine m;
	_cleanup_(stow_use_done) struct stow_use use = { 0 };
	const uint64_t ids[] = { 5, 3, 2 }, first = 3 * PER_BLOCK;
	const struct stow_block_use *block;

	machine_new(&m);
	words(&m, "kpageflags", 2 * PER_BLOCK, 2 * PER_BLOCK, FREE_PAGE);
	words(&m, "kpageflags", first + 100, 3000, ANON_PAGE);
	words(&m, "kpagecgroup", first + 100, 1000, 41);
	words(&m, "kpagecgroup", first + 1100, 2000, 42);
	/* Behind a long row of free pages, across the windows, with a free one in it. */
	words(&m, "kpageflags", first + 16000, 1000, K(LRU) | K(UPTODATE));
	words(&m, "kpagecgroup", first + 16000, 1000, 42);
	words(&m, "kpageflags", first + 16500, 1, FREE_PAGE);
	words(&m, "kpagecgroup", first + 16500, 1, 0);
	words(&m, "kpageflags", first + PER_BLOCK - 1, 1, K(PGTABLE));
	words(&m, "kpagecgroup", first + PER_BLOCK - 1, 1, 41);

	assert_int_equal(stow_use_read(m.tree->root, &m.blocks, ids, 3, &use, NULL), 0);
	assert_true(use.owners_known);
	assert_int_equal(use.page_size, sysconf(_SC_PAGESIZE));
	assert_int_equal(use.n_blocks, 3);
	assert_int_equal(use.blocks[0].id, 5); /* offline */
	assert_int_equal(use.blocks[0].pages[STOW_PAGE_OFFLINE], PER_BLOCK);
	assert_int_equal(use.blocks[2].pages[STOW_PAGE_FREE], PER_BLOCK);
	block = &use.blocks[1];
	assert_int_equal(block->id, 3);
	assert_int_equal(all_pages(block), PER_BLOCK);
	assert_int_equal(block->pages[STOW_PAGE_ANON], 3000);
	assert_int_equal(block->pages[STOW_PAGE_FILE], 999);
	assert_int_equal(block->pages[STOW_PAGE_TABLE], 1);
	assert_int_equal(block->mapped, 3000);
	assert_int_equal(block->n_owners, 3);
	assert_int_equal(block->owners[0].inode, 0);
	assert_int_equal(block->owners[0].pages[STOW_PAGE_FREE], PER_BLOCK - 4000);
	assert_int_equal(block->owners[1].inode, 42);
	assert_int_equal(block->owners[1].pages[STOW_PAGE_ANON], 2000);
	assert_int_equal(block->owners[1].pages[STOW_PAGE_FILE], 999);
	assert_int_equal(block->owners[2].pages[STOW_PAGE_ANON], 1000);
	assert_int_equal(block->owners[2].pages[STOW_PAGE_TABLE], 1);
	assert_int_equal(stow_block_use_sum(block, true), 3999);
	assert_int_equal(stow_block_use_sum(block, false), 1);
}

TEST(a_hugepage_over_blocks_counts_where_it_begins)
{
	_cleanup_(machine_done) struct machine m;
	_cleanup_(stow_use_done) struct stow_use use = { 0 };
	const uint64_t ids[] = { 2, 3, 4 }, head = 2 * PER_BLOCK;
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

	machine_new(&m);
	words(&m, "kpageflags", head, 3 * PER_BLOCK, FREE_PAGE);
	words(&m, "kpageflags", head, 1, HUGE_HEAD | K(MMAP));
	words(&m, "kpageflags", head + 1, 2 * PER_BLOCK - 1, HUGE_TAIL | K(MMAP));
	words(&m, "kpageflags", 4 * PER_BLOCK, 1, HUGE_HEAD);
	words(&m, "kpageflags", 4 * PER_BLOCK + 1, 511, HUGE_TAIL);
	assert_int_equal(stow_use_read(m.tree->root, &m.blocks, ids, 3, &use, NULL), 0);
	assert_int_equal(use.blocks[0].n_pools, 1);
	assert_int_equal(use.blocks[0].pools[0].size, 2 * PER_BLOCK * page);
	assert_int_equal(use.blocks[0].pools[0].used, 1);
	assert_int_equal(use.blocks[0].pages[STOW_PAGE_HUGETLB], PER_BLOCK);
	assert_int_equal(use.blocks[1].n_pools, 0);
	assert_int_equal(use.blocks[1].pages[STOW_PAGE_HUGETLB], PER_BLOCK);
	assert_int_equal(use.blocks[2].pools[0].size, 512 * page);
	assert_int_equal(use.blocks[2].pools[0].pages, 1);
	assert_int_equal(use.blocks[2].pools[0].used, 0);
}

TEST(a_block_may_begin_with_tails)
{
	_cleanup_(machine_done) struct machine m;
	_cleanup_(stow_use_done) struct stow_use use = { 0 };
	const uint64_t ids[] = { 3, 4 };

	machine_new(&m);
	words(&m, "kpageflags", 2 * PER_BLOCK, 3 * PER_BLOCK, FREE_PAGE);
	words(&m, "kpageflags", 2 * PER_BLOCK, 1, THP_HEAD);
	words(&m, "kpagecgroup", 2 * PER_BLOCK, 1, 99);
	words(&m, "kpageflags", 2 * PER_BLOCK + 1, PER_BLOCK + 511, THP_TAIL);
	/* And one whose head is nowhere to be found. */
	words(&m, "kpageflags", 4 * PER_BLOCK, 10, HUGE_TAIL);
	assert_int_equal(stow_use_read(m.tree->root, &m.blocks, ids, 2, &use, NULL), 0);
	assert_int_equal(use.blocks[0].pages[STOW_PAGE_ANON], 512);
	assert_int_equal(owned(&use.blocks[0], 99, STOW_PAGE_ANON), 512);
	assert_int_equal(use.blocks[1].pages[STOW_PAGE_HUGETLB], 10);
	assert_int_equal(use.blocks[1].n_pools, 0);
}

TEST(what_is_beyond_the_end_is_no_page)
{
	_cleanup_(machine_done) struct machine m;
	_cleanup_(stow_use_done) struct stow_use use = { 0 };
	const uint64_t ids[] = { 2 };

	machine_new(&m);
	words(&m, "kpageflags", 2 * PER_BLOCK, 1000, ANON_PAGE);
	tree_remove(m.tree, "/proc/kpagecgroup");
	assert_int_equal(stow_use_read(m.tree->root, &m.blocks, ids, 1, &use, NULL), 0);
	assert_false(use.owners_known);
	assert_int_equal(use.blocks[0].pages[STOW_PAGE_ANON], 1000);
	assert_int_equal(use.blocks[0].pages[STOW_PAGE_OFFLINE], PER_BLOCK - 1000);
	assert_int_equal(use.blocks[0].n_owners, 1);
	assert_int_equal(use.blocks[0].owners[0].inode, 0);
}

TEST(missing_files_are_named)
{
	_cleanup_(machine_done) struct machine m;
	const uint64_t unknown = 17, huge = UINT64_MAX / 2, known = 2;
	struct stow_err err = { 0 };
	struct stow_use use;

	machine_new(&m);
	assert_int_equal(stow_use_read(m.tree->root, &m.blocks, &unknown, 1, &use, &err), -ENOENT);
	assert_non_null(strstr(err.msg, "17"));
	m.list[3] = (struct stow_memblock){ .id = huge, .state = STOW_MEMBLOCK_ONLINE };
	assert_int_equal(stow_use_read(m.tree->root, &m.blocks, &huge, 1, &use, &err), -ERANGE);
	tree_remove(m.tree, "/proc/kpageflags");
	assert_int_equal(stow_use_read(m.tree->root, &m.blocks, &known, 1, &use, &err),
			 -EOPNOTSUPP);
	assert_non_null(strstr(err.msg, "/proc/kpageflags"));
}

/* --- cgroups ------------------------------------------------------------------------------------ */

static uint64_t inode_of(struct tree *tree, const char *path)
{
	char full[4096];
	struct stat st;

	snprintf(full, sizeof(full), "%s%s", tree->dir, path);
	assert_int_equal(stat(full, &st), 0);
	return st.st_ino;
}

TEST(finds_paths_of_cgroups)
{
	static const char *const mounts[] = {
		"30 1 0:27 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n",
		"30 1 0:27 / /sys/fs/cgroup rw - cgroup cgroup rw,memory\n",
	};

	for (size_t i = 0; i < STOW_ARRAY_SIZE(mounts); i++) {
		_cleanup_(tree_free_ptr) struct tree *tree = tree_new();
		char *paths[6] = { NULL };
		uint64_t inodes[6];

		tree_write(tree, "/proc/self/mountinfo", "%s", mounts[i]);
		tree_mkdir(tree, "/sys/fs/cgroup/machine.slice/libpod-1.scope/container");
		tree_mkdir(tree, "/sys/fs/cgroup/machine.slice/libpod-2.scope");
		tree_mkdir(tree, "/sys/fs/elsewhere");
		inodes[0] = inode_of(tree, "/sys/fs/cgroup/machine.slice/libpod-1.scope/container");
		inodes[1] = 0;
		inodes[2] = inode_of(tree, "/sys/fs/cgroup/machine.slice/libpod-2.scope");
		inodes[3] = inode_of(tree, "/sys/fs/elsewhere");
		inodes[4] = inode_of(tree, "/sys/fs/cgroup");
		inodes[5] = inodes[0];
		assert_int_equal(stow_cgroup_paths(tree->root, inodes, 6, paths, NULL), 0);
		assert_string_equal(paths[0], "/machine.slice/libpod-1.scope/container");
		assert_null(paths[1]);
		assert_string_equal(paths[2], "/machine.slice/libpod-2.scope");
		assert_null(paths[3]);
		assert_string_equal(paths[4], "/");
		assert_string_equal(paths[5], paths[0]);
		for (int p = 0; p < 6; p++)
			free(paths[p]);
	}
}

TEST(a_missing_memory_hierarchy_is_an_error)
{
	_cleanup_(tree_free_ptr) struct tree *tree = tree_new();
	const uint64_t inodes[] = { 5, 0 };
	char *paths[2] = { NULL };
	struct stow_err err = { 0 };

	tree_write(tree, "/proc/self/mountinfo", "%s",
		   "30 1 0:27 / /sys/fs/cgroup rw - cgroup cgroup rw,cpuset\n");
	assert_int_equal(stow_cgroup_paths(tree->root, inodes, 2, paths, &err), -ENOENT);
	assert_non_null(strstr(err.msg, "memory"));
	/* Inode 0, of pages without an owner, has no path and needs no hierarchy. */
	assert_int_equal(stow_cgroup_paths(tree->root, inodes + 1, 1, paths, NULL), 0);
	assert_null(paths[0]);
}

TEST(finds_containers_in_paths)
{
	static const struct {
		const char *path, *id;
	} paths[] = {
		{ "/machine.slice/libpod-4c1f.scope/container", "4c1f" },
		{ "/machine.slice/libpod-4c1f.scope", "4c1f" },
		{ "/machine.slice/libpod-4c1f.scope/container/system.slice/a.service", "4c1f" },
		{ "/machine.slice/libpod-conmon-4c1f.scope", "" },
		{ "/libpod_parent/libpod-77aa", "77aa" },
		{ "/libpod_parent/libpod-77aa/container", "77aa" },
		{ "/kubepods.slice/kubepods-pod12.slice/crio-99.scope", "99" },
		{ "/kubepods.slice/kubepods-pod12.slice/crio-conmon-99.scope", "" },
		{ "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1_2.slice/"
		  "cri-containerd-5e.scope",
		  "5e" },
		{ "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1_2.slice", "" },
		{ "/kubepods/burstable/pod12-34/56ab", "56ab" },
		{ "/kubepods/burstable/pod12-34", "" },
		{ "/kubepods/pod12-34/56ab/", "56ab" },
		{ "/kubepods/burstable", "" },
		{ "/system.slice/docker-12ab.scope", "12ab" },
		{ "/docker/12ab", "12ab" },
		{ "/docker/12ab/kubepods/pod1/crio-34.scope", "34" },
		{ "/default/web", "web" },
		{ "/numastow-test/mover", "mover" },
		{ "/machine.slice/test-mover.scope", "mover" },
		{ "/machine.slice/test-.scope", "" },
		{ "/machine.slice/plain.scope", "" },
		{ "/machine.slice", "" },
		{ "/user.slice/user-1000.slice/session-1.scope", "" },
		{ "/system.slice/sshd.service", "" },
		{ "/system.slice/foo.service/worker", "" },
		{ "/init.scope", "" },
		{ "/docker", "" },
		{ "/libpod-", "" },
		{ "/", "" },
		{ "", "" },
	};
	char buf[65];

	for (size_t i = 0; i < STOW_ARRAY_SIZE(paths); i++)
		assert_string_equal(stow_cgroup_container(paths[i].path, buf, sizeof(buf)),
				    paths[i].id);
	assert_string_equal(stow_cgroup_container("/docker/12abcdef", buf, 4), "12a");
}

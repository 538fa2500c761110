// SPDX-License-Identifier: Apache-2.0
#include "pages/owners.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cgroup/paths.h"
#include "pages/kpages.h"

#define WINDOW 16384 /* page frames read at once: what fits into the processor's cache */
/* Free pages have no cgroup: shortest row of them for which skipping the read is worth another
 * system call. */
#define SKIP 512

/* The flags that decide the kind. All others differ from page to page, and would end every run. */
#define DECIDES                                                                                   \
	(STOW_KPF(BUDDY) | STOW_KPF(NOPAGE) | STOW_KPF(HWPOISON) | STOW_KPF(OFFLINE) |            \
	 STOW_KPF(HUGE) | STOW_KPF(SLAB) | STOW_KPF(PGTABLE) | STOW_KPF(RESERVED) |               \
	 STOW_KPF(ZERO_PAGE) | STOW_KPF(ANON) | STOW_KPF(SWAPBACKED) | STOW_KPF(LRU) |            \
	 STOW_KPF(UPTODATE) | STOW_KPF(THP) | STOW_KPF(COMPOUND_HEAD) | STOW_KPF(COMPOUND_TAIL) | \
	 STOW_KPF(UNEVICTABLE) | STOW_KPF(MLOCKED) | STOW_KPF(MMAP))

uint64_t stow_block_use_sum(const struct stow_block_use *use, bool moves)
{
	uint64_t sum = 0;

	for (int kind = 0; kind < STOW_PAGE_KINDS; kind++)
		if (kind != STOW_PAGE_FREE && kind != STOW_PAGE_OFFLINE &&
		    stow_page_kind_moves((enum stow_page_kind)kind) == moves)
			sum += use->pages[kind];
	return sum;
}

uint64_t stow_owner_moving(const struct stow_owner *owner)
{
	uint64_t sum = 0;

	for (int kind = STOW_PAGE_ANON; kind <= STOW_PAGE_HUGETLB; kind++)
		sum += owner->pages[kind];
	return sum;
}

int stow_owner_paths(struct stow_root *root, const struct stow_block_use *use, char ***ret_paths)
{
	_cleanup_free_ uint64_t *inodes = calloc(use->n_owners + 1, sizeof(*inodes));
	char **paths = calloc(use->n_owners + 1, sizeof(*paths));
	int r = inodes && paths ? 0 : -ENOMEM;

	for (size_t i = 0; i < use->n_owners && r == 0; i++)
		inodes[i] = use->owners[i].inode;
	if (use->n_owners && r == 0)
		r = stow_cgroup_paths(root, inodes, use->n_owners, paths, NULL);
	if (r == -ENOMEM)
		stow_owner_paths_free(paths, use->n_owners);
	else
		*ret_paths = paths;
	return r == -ENOMEM ? r : 0;
}

void stow_owner_paths_free(char **paths, size_t n)
{
	for (size_t i = 0; paths && i < n; i++)
		free(paths[i]);
	free(paths);
}

/* --- counting ------------------------------------------------------------- */

struct counter {
	struct stow_block_use *use;
	struct stow_use_carry *carry;
	uint64_t page_size;
	size_t capacity, last; /* of the owners; index of the last page's owner */
	uint32_t *slots;       /* hash of the owners by inode: index + 1 */
	size_t n_slots;	       /* a power of two */
};

static void counter_done(struct counter *c)
{
	free(c->slots);
}

static size_t slot_of(const struct counter *c, uint64_t inode)
{
	size_t at = (size_t)((inode * UINT64_C(0x9e3779b97f4a7c15)) >> 32) & (c->n_slots - 1);

	while (c->slots[at] && c->use->owners[c->slots[at] - 1].inode != inode)
		at = (at + 1) & (c->n_slots - 1);
	return at;
}

/* Make room for one more owner. */
static int owners_grow(struct counter *c)
{
	struct stow_block_use *use = c->use;

	if (use->n_owners >= c->capacity) {
		size_t capacity = use->n_owners < 8 ? 16 : use->n_owners * 2;
		void *grown = reallocarray(use->owners, capacity, sizeof(*use->owners));

		if (!grown)
			return -ENOMEM;
		use->owners = grown;
		c->capacity = capacity;
	}
	if ((use->n_owners + 1) * 2 > c->n_slots) {
		size_t n = c->n_slots ? c->n_slots * 2 : 32;

		while (n < use->n_owners * 4)
			n *= 2;
		free(c->slots);
		c->slots = calloc(n, sizeof(*c->slots));
		c->n_slots = c->slots ? n : 0;
		if (!c->slots)
			return -ENOMEM;
		for (size_t i = 0; i < use->n_owners; i++)
			c->slots[slot_of(c, use->owners[i].inode)] = (uint32_t)i + 1;
	}
	return 0;
}

static int find_owner(struct counter *c, uint64_t inode)
{
	struct stow_block_use *use = c->use;
	size_t at;

	if (c->last < use->n_owners && use->owners[c->last].inode == inode)
		return 0;
	if (!c->n_slots && owners_grow(c) < 0)
		return -ENOMEM;
	at = slot_of(c, inode);
	if (!c->slots[at]) {
		if (owners_grow(c) < 0)
			return -ENOMEM;
		at = slot_of(c, inode);
		use->owners[use->n_owners] = (struct stow_owner){ .inode = inode };
		c->slots[at] = (uint32_t)++use->n_owners;
	}
	c->last = c->slots[at] - 1;
	return 0;
}

/* End a hugepage of a pool: now its size is known. */
static void end_hugepage(struct counter *c)
{
	uint64_t size = c->carry->open * c->page_size;
	struct stow_block_use *use = c->use;
	size_t i = 0;

	c->carry->open = 0;
	if (!size)
		return;
	while (i < use->n_pools && use->pools[i].size != size)
		i++;
	if (i == STOW_POOLS_MAX)
		return;
	if (i == use->n_pools) {
		use->pools[i].size = size;
		use->pools[i].pages = use->pools[i].used = 0;
		use->n_pools++;
	}
	use->pools[i].pages++;
	use->pools[i].used += c->carry->mapped;
}

/* Add `n` pages with the same cgroup and the same deciding flags. */
static int add_run(struct counter *c, uint64_t flags, uint64_t cgroup, bool mapped, uint64_t n)
{
	struct stow_use_carry *carry = c->carry;
	uint64_t decides = flags;
	enum stow_page_kind kind;

	if (flags & STOW_KPF(COMPOUND_TAIL) && carry->flags & STOW_KPF(COMPOUND_HEAD)) {
		decides = carry->flags | (flags & STOW_KPF(HWPOISON));
		cgroup = cgroup ? cgroup : carry->cgroup;
		carry->open += carry->open ? n : 0;
	} else {
		end_hugepage(c);
		carry->flags = flags;
		carry->cgroup = cgroup;
		carry->mapped = mapped;
		carry->open = flags & STOW_KPF(HUGE) && flags & STOW_KPF(COMPOUND_HEAD);
	}
	kind = stow_page_kind_of(decides);
	if (find_owner(c, cgroup) < 0)
		return -ENOMEM;
	c->use->pages[kind] += n;
	c->use->owners[c->last].pages[kind] += n;
	if (mapped)
		c->use->mapped += n;
	if (decides & (STOW_KPF(UNEVICTABLE) | STOW_KPF(MLOCKED)))
		c->use->unevictable += n;
	return 0;
}

/* Count runs: memory in use comes in runs of one owner and kind, and comparing three words a page
 * is nearly all the work. Compiled separately for each case, so that no time is spent on arrays
 * that are NULL. */
static inline __attribute__((always_inline)) int count_runs(struct counter *c,
							    const uint64_t *flags,
							    const uint64_t *counts,
							    const uint64_t *cgroups, size_t n)
{
	const uint64_t mask = counts ? DECIDES & ~STOW_KPF(MMAP) : DECIDES;
	int r = 0;

	for (size_t i = 0, end; i < n && r == 0; i = end) {
		uint64_t these = flags[i] & mask, cgroup = cgroups ? cgroups[i] : 0;
		bool mapped = counts ? counts[i] != 0 : these & STOW_KPF(MMAP);

		for (end = i + 1; end < n; end++)
			if ((flags[end] & mask) != these || (cgroups && cgroups[end] != cgroup) ||
			    (counts && (counts[end] != 0) != mapped))
				break;
		if (these & STOW_KPF(COMPOUND_HEAD))
			end = i + 1;
		r = add_run(c, these, cgroup, mapped, end - i);
	}
	return r;
}

static int count(struct counter *c, const uint64_t *flags, const uint64_t *counts,
		 const uint64_t *cgroups, size_t n, struct stow_err *err)
{
	int r;

	if (counts)
		r = cgroups ? count_runs(c, flags, counts, cgroups, n)
			    : count_runs(c, flags, counts, NULL, n);
	else
		r = cgroups ? count_runs(c, flags, NULL, cgroups, n)
			    : count_runs(c, flags, NULL, NULL, n);
	return r < 0 ? stow_err_sys(err, -r, "counting the pages of memory block %llu",
				    (unsigned long long)c->use->id)
		     : 0;
}

int stow_use_count(struct stow_block_use *use, struct stow_use_carry *carry, const uint64_t *flags,
		   const uint64_t *counts, const uint64_t *cgroups, size_t n, uint64_t page_size,
		   struct stow_err *err)
{
	_cleanup_(counter_done) struct counter c = {
		.use = use, .carry = carry, .page_size = page_size, .capacity = use->n_owners
	};
	int r = 0;

	if (n)
		r = count(&c, flags, counts, cgroups, n, err);
	else
		end_hugepage(&c);
	return r;
}

/* --- reading -------------------------------------------------------------- */

struct reader {
	struct stow_kpages pages;
	uint64_t page_size;
	uint64_t *flags, *cgroups; /* one window each */
};

static void reader_done(struct reader *r)
{
	stow_kpages_close(&r->pages);
	free(r->flags);
	free(r->cgroups);
}

static int reader_open(struct stow_root *root, struct reader *r, struct stow_err *err)
{
	r->page_size = (uint64_t)sysconf(_SC_PAGESIZE);
	r->flags = calloc(WINDOW, sizeof(*r->flags));
	r->cgroups = calloc(WINDOW, sizeof(*r->cgroups));
	if (!r->flags || !r->cgroups)
		return stow_err_sys(err, ENOMEM, "/proc/kpageflags");
	return stow_kpages_open(root, &r->pages, err);
}

/* Return how many of the `n` pages, from the first on, are free; or are not free, up to the next
 * long row of free pages. */
static size_t row(const uint64_t *flags, size_t n, bool *ret_free)
{
	size_t i = 0, after;

	while (i < n && flags[i] & STOW_KPF(BUDDY))
		i++;
	*ret_free = i >= SKIP || i == n;
	if (*ret_free)
		return i;
	for (after = 0; i < n && after < SKIP; i++)
		after = flags[i] & STOW_KPF(BUDDY) ? after + 1 : 0;
	return i - after;
}

/* Count a window. The flags are read already; cgroups are read only for pages that can have one. */
static int scan_window(const struct reader *r, struct counter *c, uint64_t first, size_t n,
		       struct stow_err *err)
{
	size_t length;
	bool is_free;
	int ret = 0;

	if (r->pages.cgroups < 0)
		return count(c, r->flags, NULL, NULL, n, err);
	for (size_t i = 0; i < n && ret == 0; i += length) {
		length = row(r->flags + i, n - i, &is_free);
		if (!is_free)
			ret = stow_kpages_words(r->pages.cgroups, first + i, length, 0, r->cgroups,
						err);
		if (ret == 0)
			ret = count(c, r->flags + i, NULL, is_free ? NULL : r->cgroups, length,
				    err);
	}
	return ret;
}

/* Complete a hugepage that continues behind the block: its size is a power of two. */
static int measure_open(const struct reader *r, struct counter *c, uint64_t end,
			struct stow_err *err)
{
	uint64_t head = end - c->carry->open, pages = 1, flags = 0;
	int ret = 0;

	while (pages < c->carry->open)
		pages *= 2;
	do {
		ret = stow_kpages_words(r->pages.flags, head + pages, 1, 0, &flags, err);
		if (ret == 0 && flags & STOW_KPF(COMPOUND_TAIL))
			pages *= 2;
	} while (ret == 0 && flags & STOW_KPF(COMPOUND_TAIL) && pages >> 40 == 0);
	c->carry->open = pages;
	return ret;
}

/* Find the carry: a block may begin in the middle of a compound page. */
static int find_carry(const struct reader *r, uint64_t first, struct stow_use_carry *carry,
		      struct stow_err *err)
{
	uint64_t flags = 0, head;
	int ret;

	ret = stow_kpages_words(r->pages.flags, first, 1, 0, &flags, err);
	if (ret < 0 || !(flags & STOW_KPF(COMPOUND_TAIL)))
		return ret;
	head = stow_kpages_head(&r->pages, first, &flags);
	if (!head)
		return 0;
	carry->flags = flags & DECIDES;
	carry->mapped = flags & STOW_KPF(MMAP);
	return r->pages.cgroups < 0
		       ? 0
		       : stow_kpages_words(r->pages.cgroups, head, 1, 0, &carry->cgroup, err);
}

static int by_pages(const void *a, const void *b)
{
	const struct stow_owner *x = a, *y = b;
	uint64_t sum_x = 0, sum_y = 0;

	for (int kind = 0; kind < STOW_PAGE_KINDS; kind++) {
		sum_x += x->pages[kind];
		sum_y += y->pages[kind];
	}
	if (sum_x != sum_y)
		return sum_x < sum_y ? 1 : -1;
	return (x->inode > y->inode) - (x->inode < y->inode);
}

static int scan_block(const struct reader *r, struct stow_block_use *use, uint64_t first,
		      uint64_t n, struct stow_err *err)
{
	struct stow_use_carry carry = { 0 };
	_cleanup_(counter_done) struct counter c = { .use = use,
						     .carry = &carry,
						     .page_size = r->page_size };
	int ret;

	ret = find_carry(r, first, &carry, err);
	for (uint64_t done = 0; done < n && ret == 0;) {
		size_t some = n - done < WINDOW ? (size_t)(n - done) : WINDOW;

		ret = stow_kpages_words(r->pages.flags, first + done, some, STOW_KPF(NOPAGE),
					r->flags, err);
		if (ret == 0)
			ret = scan_window(r, &c, first + done, some, err);
		done += some;
	}
	if (ret == 0 && carry.open)
		ret = measure_open(r, &c, first + n, err);
	end_hugepage(&c);
	if (use->n_owners)
		qsort(use->owners, use->n_owners, sizeof(*use->owners), by_pages);
	return ret;
}

/* The kernel puts no memory of its own into zone Movable (mmzone.h): pages without flags there are
 * free pages on a CPU's list. */
static void fold_movable(struct stow_block_use *use)
{
	use->pages[STOW_PAGE_FREE] += use->pages[STOW_PAGE_KERNEL];
	use->pages[STOW_PAGE_KERNEL] = 0;
	for (size_t i = 0; i < use->n_owners; i++) {
		use->owners[i].pages[STOW_PAGE_FREE] += use->owners[i].pages[STOW_PAGE_KERNEL];
		use->owners[i].pages[STOW_PAGE_KERNEL] = 0;
	}
}

static int read_block(const struct reader *r, const struct stow_memblocks *blocks, uint64_t id,
		      struct stow_block_use *use, struct stow_err *err)
{
	const struct stow_memblock *block = stow_memblocks_find(blocks, id);
	uint64_t pages = blocks->block_size / r->page_size;
	int ret;

	if (!block)
		return stow_err_set(err, ENOENT, "there is no memory block %llu",
				    (unsigned long long)id);
	if (!pages || id > INT64_MAX / pages)
		return stow_err_set(err, ERANGE, "memory block %llu is beyond all addresses",
				    (unsigned long long)id);
	use->id = id;
	if (block->state == STOW_MEMBLOCK_OFFLINE) {
		use->pages[STOW_PAGE_OFFLINE] = pages;
		return 0;
	}
	ret = scan_block(r, use, id * pages, pages, err);
	if (ret == 0 && strcmp(block->zones, "Movable") == 0)
		fold_movable(use);
	return ret;
}

int stow_use_read(struct stow_root *root, const struct stow_memblocks *blocks, const uint64_t *ids,
		  size_t n, struct stow_use *ret, struct stow_err *err)
{
	_cleanup_(reader_done) struct reader reader = { .pages = { -EBADF, -EBADF } };
	_cleanup_(stow_use_done) struct stow_use use = { 0 };
	int r;

	r = reader_open(root, &reader, err);
	if (r < 0)
		return r;
	use.page_size = reader.page_size;
	use.owners_known = reader.pages.cgroups >= 0;
	use.blocks = calloc(n ? n : 1, sizeof(*use.blocks));
	if (!use.blocks)
		return stow_err_sys(err, ENOMEM, "/proc/kpageflags");
	for (size_t i = 0; i < n && r == 0; i++) {
		use.n_blocks++;
		r = read_block(&reader, blocks, ids[i], &use.blocks[i], err);
	}
	if (r < 0)
		return r;
	*ret = use;
	use = (struct stow_use){ 0 };
	return 0;
}

void stow_use_done(struct stow_use *use)
{
	for (size_t i = 0; i < use->n_blocks; i++)
		free(use->blocks[i].owners);
	free(use->blocks);
	*use = (struct stow_use){ 0 };
}

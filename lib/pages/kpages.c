// SPDX-License-Identifier: Apache-2.0
#include "pages/kpages.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define WORD	  sizeof(uint64_t)
#define ORDER_MAX 28 /* above the largest compound page: 16 GiB of 4 KiB pages is 22 */

static int open_one(struct stow_root *root, const char *path, struct stow_err *err)
{
	struct stow_err inner = { 0 };
	int fd = stow_root_openat(root, O_RDONLY, 0, &inner, "%s", path);

	if (fd == -ENOENT)
		return stow_err_set(err, EOPNOTSUPP,
				    "%s is missing: the kernel was built without it, or this is "
				    "a container; what is in a memory block is not known",
				    path);
	if (fd == -EPERM || fd == -EACCES)
		return stow_err_set(err, EPERM, "%s: only the machine's root may read it", path);
	return fd < 0 ? stow_err_move(err, -inner.code, &inner) : fd;
}

int stow_kpages_open(struct stow_root *root, struct stow_kpages *ret, struct stow_err *err)
{
	struct stow_kpages pages = { -EBADF, -EBADF };

	pages.flags = open_one(root, "/proc/kpageflags", err);
	if (pages.flags < 0)
		return pages.flags;
	/* Missing on a kernel without memory cgroups: then only the owners are unknown. */
	pages.cgroups = open_one(root, "/proc/kpagecgroup", err);
	if (pages.cgroups < 0 && pages.cgroups != -EOPNOTSUPP) {
		int r = pages.cgroups;

		stow_kpages_close(&pages);
		return r;
	}
	*ret = pages;
	return 0;
}

void stow_kpages_close(struct stow_kpages *pages)
{
	int saved = errno;

	if (pages->flags >= 0)
		close(pages->flags);
	if (pages->cgroups >= 0)
		close(pages->cgroups);
	*pages = (struct stow_kpages){ -EBADF, -EBADF };
	errno = saved;
}

int stow_kpages_words(int fd, uint64_t first, size_t n, uint64_t missing, uint64_t *words,
		      struct stow_err *err)
{
	size_t done = 0, size = n * WORD;

	if (first > INT64_MAX / WORD - n)
		return stow_err_set(err, ERANGE, "there is no page frame %#llx",
				    (unsigned long long)first);
	while (done < size) {
		ssize_t got =
			pread(fd, (char *)words + done, size - done, (off_t)(first * WORD + done));

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0 && (errno == EPERM || errno == EACCES))
			return stow_err_set(err, EPERM,
					    "the kernel does not let its pages be read: only the "
					    "machine's root may read them, and not under lockdown");
		if (got < 0)
			return stow_err_sys(err, errno, "reading the flags of page frame %#llx",
					    (unsigned long long)(first + done / WORD));
		if (got == 0)
			break;
		done += (size_t)got;
	}
	for (size_t i = done / WORD; i < n; i++) /* a copied file may end within a word */
		words[i] = missing;
	return 0;
}

uint64_t stow_kpages_head(const struct stow_kpages *pages, uint64_t pfn, uint64_t *ret_flags)
{
	/* A compound page begins at a multiple of its size: only such frames can be its head. */
	for (int order = 1; order <= ORDER_MAX; order++) {
		uint64_t at = pfn & ~((UINT64_C(1) << order) - 1), flags = 0;

		if (at == pfn)
			continue;
		if (stow_kpages_words(pages->flags, at, 1, 0, &flags, NULL) < 0)
			return 0;
		if (flags & STOW_KPF(COMPOUND_HEAD)) {
			*ret_flags = flags;
			return at;
		}
		if (!(flags & STOW_KPF(COMPOUND_TAIL)))
			return 0;
	}
	return 0;
}

enum stow_page_kind stow_page_kind_of(uint64_t flags)
{
	if (flags & STOW_KPF(BUDDY))
		return STOW_PAGE_FREE;
	if (flags & (STOW_KPF(NOPAGE) | STOW_KPF(HWPOISON) | STOW_KPF(OFFLINE)))
		return STOW_PAGE_OFFLINE;
	if (flags & STOW_KPF(HUGE))
		return STOW_PAGE_HUGETLB;
	if (flags & STOW_KPF(SLAB))
		return STOW_PAGE_SLAB;
	if (flags & STOW_KPF(PGTABLE))
		return STOW_PAGE_TABLE;
	if (flags & STOW_KPF(RESERVED))
		return STOW_PAGE_RESERVED;
	if (flags & STOW_KPF(ZERO_PAGE))
		return STOW_PAGE_KERNEL;
	if (flags & (STOW_KPF(ANON) | STOW_KPF(SWAPBACKED)))
		return STOW_PAGE_ANON;
	/* A page of the page cache can be off the LRU for a moment: just read, or just isolated for
	 * a move. Only such a page is up to date, or a transparent hugepage. */
	if (flags & (STOW_KPF(LRU) | STOW_KPF(UPTODATE) | STOW_KPF(THP)))
		return STOW_PAGE_FILE;
	return STOW_PAGE_KERNEL;
}

int stow_kpages_page(const struct stow_kpages *pages, uint64_t pfn, struct stow_page *ret,
		     struct stow_err *err)
{
	struct stow_page page = { 0 };
	uint64_t head, flags = 0;
	int r;

	r = stow_kpages_words(pages->flags, pfn, 1, STOW_KPF(NOPAGE), &page.flags, err);
	if (r < 0)
		return r;
	head = page.flags & STOW_KPF(COMPOUND_TAIL) ? stow_kpages_head(pages, pfn, &flags) : 0;
	page.kind = stow_page_kind_of(head ? flags : page.flags);
	if (pages->cgroups >= 0)
		r = stow_kpages_words(pages->cgroups, head ? head : pfn, 1, 0, &page.cgroup, err);
	if (r == 0)
		*ret = page;
	return r;
}

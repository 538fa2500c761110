/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The kernel's files with a word for each page frame (Documentation/admin-guide/mm/pagemap.rst),
 * and the meaning of one word of flags. For owners.c, which reads them in bulk, and culprit.c,
 * which reads single frames.
 */

#include <linux/kernel-page-flags.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/root.h"
#include "pages/kind.h"

#define STOW_KPF(bit) (UINT64_C(1) << KPF_##bit)

/* Exported by the kernel, but missing in the uapi header. */
#define KPF_RESERVED 32
#define KPF_MLOCKED  33

struct stow_kpages {
	int flags;   /* /proc/kpageflags */
	int cgroups; /* /proc/kpagecgroup; negative: there is none */
};

/* Open the files. -EOPNOTSUPP: no /proc/kpageflags; -EPERM. Close with stow_kpages_close(). */
int stow_kpages_open(struct stow_root *root, struct stow_kpages *ret, struct stow_err *err);
void stow_kpages_close(struct stow_kpages *pages);

/* Read the words of `n` page frames from `first` on; words beyond the file's end are set to
 * `missing`. */
int stow_kpages_words(int fd, uint64_t first, size_t n, uint64_t missing, uint64_t *words,
		      struct stow_err *err);

/* Return the head of the compound page that `pfn` is a tail of, with its flags; 0 when there is
 * none. */
uint64_t stow_kpages_head(const struct stow_kpages *pages, uint64_t pfn, uint64_t *ret_flags);

/* Return the kind of a page, from its flags; for a tail, from its head's, where these are known. */
enum stow_page_kind stow_page_kind_of(uint64_t flags);

/* One page: its kind, and the inode of its memory cgroup (0: none). A tail has those of its
 * head. */
struct stow_page {
	enum stow_page_kind kind;
	uint64_t flags, cgroup;
};
int stow_kpages_page(const struct stow_kpages *pages, uint64_t pfn, struct stow_page *ret,
		     struct stow_err *err);

// SPDX-License-Identifier: Apache-2.0
#include "pages/culprit.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/idlist.h"
#include "base/text.h"
#include "cgroup/paths.h"
#include "pages/holders.h"
#include "pages/holds.h"
#include "pages/kpages.h"

#define BUDGET	   (UINT64_C(1) << 30) /* pagemap entries that are read in all: takes seconds */
#define FRAMES_MAX 4096

void stow_culprits_done(struct stow_culprits *culprits)
{
	for (size_t i = 0; i < culprits->n; i++) {
		struct stow_culprit *c = &culprits->list[i];

		free(c->blocks);
		free(c->cgroup);
		free(c->container);
		free(c->program);
		free(c->file);
		free(c->reason);
		free(c->advice);
	}
	free(culprits->list);
	*culprits = (struct stow_culprits){ 0 };
}

const char *stow_culprit_format(const struct stow_culprit *culprit, char *buf, size_t size)
{
	const char *kind = stow_page_kind_name(culprit->kind);
	char what[96] = "", whose[512] = "", who[128] = "";
	bool by_kind = !stow_page_kind_moves(culprit->kind);

	if (culprit->pfn && culprit->pages == 1)
		snprintf(what, sizeof(what), "page %#" PRIx64 " (%s)", culprit->pfn, kind);
	else if (culprit->pfn)
		snprintf(what, sizeof(what), "%" PRIu64 " pages from %#" PRIx64 " on (%s)",
			 culprit->pages, culprit->pfn, kind);
	else if (by_kind)
		snprintf(what, sizeof(what), "%" PRIu64 " page%s (%s)", culprit->pages,
			 culprit->pages == 1 ? "" : "s", kind);
	if (culprit->container[0])
		snprintf(whose, sizeof(whose), "container %s", culprit->container);
	else if (culprit->cgroup[0])
		snprintf(whose, sizeof(whose), "cgroup %s", culprit->cgroup);
	if (culprit->pid)
		snprintf(who, sizeof(who), "process %d \"%s\"", (int)culprit->pid,
			 culprit->program);
	if (what[0])
		snprintf(buf, size, "%s%s%s%s%s%s%s: %s", what, whose[0] ? " of " : "", whose,
			 who[0] ? ", " : "", who, culprit->file[0] ? ", " : "", culprit->file,
			 culprit->reason);
	else
		snprintf(buf, size, "%s%s%s: %s", who, whose[0] ? " of " : "", whose,
			 culprit->reason);
	return buf;
}

/* --- making one ----------------------------------------------------------- */

static char *text_of_unmovable(enum stow_page_kind kind, bool advice)
{
	static const char *const reasons[STOW_PAGE_KINDS] = {
		[STOW_PAGE_SLAB] = "the kernel's own objects (slab) cannot be moved",
		[STOW_PAGE_TABLE] = "page tables cannot be moved",
		[STOW_PAGE_KERNEL] = "memory of the kernel or of a driver cannot be moved",
		[STOW_PAGE_RESERVED] = "the kernel's image, firmware and the like cannot be moved",
	};

	if (!advice)
		return strdup(reasons[kind] ? reasons[kind] : "");
	return strdup(kind == STOW_PAGE_RESERVED
			      ? "choose another block"
			      : "choose another block; memory that is brought online as movable "
				"(numastow online --zone movable) has no such pages");
}

/* Return why a movable page did not move. */
static char *reason_of(const struct stow_culprit *c, const struct stow_holds *holds)
{
	char held[128], *text = NULL;

	if (!stow_page_kind_moves(c->kind))
		return text_of_unmovable(c->kind, false);
	stow_holds_format(holds, held, sizeof(held));
	if (stow_holds_pins(holds)) {
		if (asprintf(&text, "pinned: the process has %s", held) < 0)
			return NULL;
		return text;
	}
	if (c->pid && holds->pipe)
		return strdup("pinned: most likely in a pipe that no process reads (vmsplice)");
	if (!c->pid && c->kind == STOW_PAGE_FILE)
		return strdup("page cache in use: a read or write is under way, or its file system "
			      "cannot move it");
	return strdup("pinned: something holds a reference (vmsplice, O_DIRECT, io_uring, vfio or "
		      "RDMA)");
}

static char *advice_of(const struct stow_culprit *c)
{
	char *text = NULL;
	int r;

	if (!stow_page_kind_moves(c->kind))
		return text_of_unmovable(c->kind, true);
	if (c->pid)
		r = asprintf(&text, "stop or restart process %d (%s), then try again", (int)c->pid,
			     c->program);
	else if (c->container[0])
		r = asprintf(&text, "restart container %s, then try again", c->container);
	else if (c->cgroup[0])
		r = asprintf(&text, "stop what runs in cgroup %s, then try again", c->cgroup);
	else
		r = asprintf(&text, "%s",
			     c->kind == STOW_PAGE_FILE
				     ? "write the page cache back and drop it (sync, "
				       "vm.drop_caches), then try again"
				     : "look for programs with pinned memory (VmPin in "
				       "/proc/PID/status), then try again");
	return r < 0 ? NULL : text;
}

/* Append a culprit, and fill in what follows from the rest. `holds` is what its process has, or
 * NULL. */
static int add(struct stow_root *root, struct stow_culprits *list, const struct stow_culprit *model,
	       const struct stow_holds *holds, const char *reason)
{
	static const struct stow_holds nothing = { 0 };
	char container[256], comm[64] = "";
	struct stow_culprit *c;

	c = STOW_APPEND(list->list, list->n);
	if (!c)
		return -ENOMEM;
	*c = *model;
	if (c->pid &&
	    stow_root_read_buf(root, comm, sizeof(comm), NULL, "/proc/%d/comm", (int)c->pid) < 0)
		comm[0] = '\0';
	c->program = stow_text_copy(comm, SIZE_MAX);
	c->file = stow_text_copy(model->file ? model->file : "", SIZE_MAX);
	c->cgroup = stow_text_copy(model->cgroup ? model->cgroup : "", SIZE_MAX);
	c->reason = c->advice = c->container = NULL;
	if (c->cgroup)
		c->container =
			strdup(stow_cgroup_container(c->cgroup, container, sizeof(container)));
	if (!c->program || !c->file || !c->cgroup || !c->container)
		return -ENOMEM;
	c->reason = reason ? strdup(reason) : reason_of(c, holds ? holds : &nothing);
	c->advice = advice_of(c);
	return c->reason && c->advice ? 0 : -ENOMEM;
}

/* --- proof ---------------------------------------------------------------- */

struct proof {
	struct stow_root *root;
	struct stow_frame *frames; /* in ascending order */
	uint64_t *inodes;	   /* of their cgroups */
	char **paths;
	size_t n;
	uint64_t budget;
};

static void proof_done(struct proof *p)
{
	for (size_t i = 0; p->paths && i < p->n; i++)
		free(p->paths[i]);
	free(p->frames);
	free(p->inodes);
	free(p->paths);
}

/* Read what the frames are now, without those that are free by now. */
static int proof_read(struct proof *p, const uint64_t *pfns, size_t n, struct stow_err *err)
{
	_cleanup_(stow_kpages_close) struct stow_kpages pages = { -EBADF, -EBADF };
	int r;

	r = stow_kpages_open(p->root, &pages, err);
	for (size_t i = 0; i < n && r == 0; i++) {
		struct stow_page page = { 0 };

		if (i && pfns[i] == pfns[i - 1])
			continue;
		r = stow_kpages_page(&pages, pfns[i], &page, err);
		if (r < 0 || page.kind == STOW_PAGE_FREE || page.kind == STOW_PAGE_OFFLINE)
			continue;
		p->inodes[p->n] = page.cgroup;
		p->frames[p->n++] = (struct stow_frame){ .pfn = pfns[i], .kind = page.kind };
	}
	return r;
}

static int proof_new(struct proof *p, const uint64_t *pfns, size_t n, struct stow_err *err)
{
	_cleanup_free_ uint64_t *sorted = calloc(n + 1, sizeof(*sorted));
	struct stow_err inner = { 0 };
	int r;

	p->frames = calloc(n + 1, sizeof(*p->frames));
	p->inodes = calloc(n + 1, sizeof(*p->inodes));
	p->paths = calloc(n + 1, sizeof(*p->paths));
	if (!sorted || !p->frames || !p->inodes || !p->paths)
		return stow_err_sys(err, ENOMEM, "page frames");
	memcpy(sorted, pfns, n * sizeof(*sorted));
	stow_idlist_sort(sorted, n);
	r = proof_read(p, sorted, n, err);
	if (r < 0)
		return r;
	/* Processes can be found without a memory hierarchy, too. */
	r = stow_cgroup_paths(p->root, p->inodes, p->n, p->paths, &inner);
	if (r == -ENOMEM)
		return stow_err_move(err, -ENOMEM, &inner);
	for (size_t i = 0; i < p->n; i++)
		p->frames[i].cgroup = p->paths[i];
	return 0;
}

/* Return the process of the cgroup that has pinned memory, if there is exactly one: it is the
 * likely culprit, even if it does not map the page (any more). */
static pid_t only_one_that_pins(const struct proof *p, const pid_t *pids, size_t n)
{
	pid_t found = 0;

	for (size_t i = 0; i < n; i++) {
		struct stow_holds holds;

		stow_holds_read(p->root, pids[i], &holds);
		if (!stow_holds_pins(&holds) && !holds.pipe)
			continue;
		if (found)
			return 0;
		found = pids[i];
	}
	return found;
}

/* Search the processes of each cgroup first, then all: another cgroup's process may map the
 * page. */
static int find_processes(struct proof *p, struct stow_err *err)
{
	_cleanup_free_ pid_t *all = NULL;
	struct stow_err why = { 0 };
	bool missing = false;
	size_t n_all = 0;
	int r = 0;

	for (size_t i = 0; i < p->n && r == 0; i++) {
		_cleanup_free_ pid_t *pids = NULL;
		size_t n = 0, before = 0;

		while (before < i && p->inodes[before] != p->inodes[i])
			before++;
		if (before < i || !p->paths[i] || strcmp(p->paths[i], "/") == 0)
			continue;
		r = stow_memcg_pids(p->root, p->paths[i], &pids, &n, &why);
		if (r == -ENOMEM)
			return stow_err_move(err, r, &why);
		/* Those of a cgroup that cannot be listed are among all processes, below. */
		r = n ? stow_frames_find(p->root, p->frames, p->n, pids, n, &p->budget, err) : 0;
	}
	for (size_t i = 0; i < p->n; i++)
		missing |= !p->frames[i].pid && stow_page_kind_moves(p->frames[i].kind);
	if (r < 0 || !missing)
		return r;
	r = stow_all_pids(p->root, &all, &n_all, err);
	return r < 0 ? r : stow_frames_find(p->root, p->frames, p->n, all, n_all, &p->budget, err);
}

static bool belong_together(const struct proof *p, size_t a, size_t b)
{
	return p->frames[a].pid == p->frames[b].pid && p->frames[a].kind == p->frames[b].kind &&
	       p->inodes[a] == p->inodes[b];
}

static int conclude(struct proof *p, size_t i, struct stow_culprits *list, struct stow_err *err)
{
	const struct stow_frame *frame = &p->frames[i];
	struct stow_culprit model = { .pfn = frame->pfn,
				      .pages = 0,
				      .kind = frame->kind,
				      .proven = true,
				      .cgroup = p->paths[i],
				      .pid = frame->pid,
				      .file = p->frames[i].file };
	_cleanup_free_ pid_t *pids = NULL;
	struct stow_holds holds = { 0 };
	size_t n = 0;

	for (size_t j = 0; j < p->n; j++)
		model.pages += belong_together(p, i, j);
	if (!model.pid && p->paths[i] && stow_page_kind_moves(model.kind) &&
	    strcmp(p->paths[i], "/") != 0 &&
	    stow_memcg_pids(p->root, p->paths[i], &pids, &n, NULL) == 0)
		model.pid = only_one_that_pins(p, pids, n);
	if (model.pid)
		stow_holds_read(p->root, model.pid, &holds);
	if (add(p->root, list, &model, &holds, NULL) < 0)
		return stow_err_sys(err, ENOMEM, "page frames");
	return 0;
}

int stow_culprits_prove(struct stow_root *root, const uint64_t *pfns, size_t n,
			struct stow_culprits *ret, struct stow_err *err)
{
	_cleanup_(proof_done) struct proof p = { .root = root, .budget = BUDGET };
	_cleanup_(stow_culprits_done) struct stow_culprits list = { 0 };
	int r;

	r = proof_new(&p, pfns, n < FRAMES_MAX ? n : FRAMES_MAX, err);
	if (r == 0)
		r = find_processes(&p, err);
	for (size_t i = 0; i < p.n && r == 0; i++) {
		size_t before = 0;

		while (before < i && !belong_together(&p, before, i))
			before++;
		if (before == i)
			r = conclude(&p, i, &list, err);
	}
	if (r < 0)
		return r;
	*ret = list;
	list = (struct stow_culprits){ 0 };
	return 0;
}

#define LEFT_WINDOW 4096 /* page frames read at once */

int stow_culprits_left(struct stow_root *root, uint64_t first, uint64_t end,
		       struct stow_culprits *ret, uint64_t *ret_pages, struct stow_err *err)
{
	_cleanup_free_ uint64_t *flags = calloc(LEFT_WINDOW, sizeof(*flags));
	_cleanup_(stow_kpages_close) struct stow_kpages pages = { -EBADF, -EBADF };
	uint64_t left[STOW_LEFT_MOST];
	int r;

	*ret_pages = 0;
	if (!flags)
		return stow_err_set(err, ENOMEM, "out of memory");
	r = stow_kpages_open(root, &pages, err);
	for (uint64_t pfn = first; pfn < end && r == 0;) {
		size_t n = end - pfn < LEFT_WINDOW ? (size_t)(end - pfn) : LEFT_WINDOW;

		r = stow_kpages_words(pages.flags, pfn, n, STOW_KPF(NOPAGE), flags, err);
		for (size_t i = 0; i < n && r == 0; i++) {
			enum stow_page_kind kind = stow_page_kind_of(flags[i]);

			if (kind != STOW_PAGE_ANON && kind != STOW_PAGE_FILE)
				continue;
			if (*ret_pages < STOW_LEFT_MOST)
				left[*ret_pages] = pfn + i;
			++*ret_pages;
		}
		pfn += n;
	}
	if (r < 0 || *ret_pages == 0 || *ret_pages > STOW_LEFT_MOST)
		return r;
	r = stow_culprits_prove(root, left, (size_t)*ret_pages, ret, err);
	for (size_t i = 0; i < ret->n && r == 0; i++)
		ret->list[i].proven = false;
	return r;
}

/* --- suspicion ------------------------------------------------------------ */

static enum stow_page_kind most_of(const struct stow_owner *owner)
{
	enum stow_page_kind most = STOW_PAGE_ANON;

	for (int kind = STOW_PAGE_ANON; kind <= STOW_PAGE_HUGETLB; kind++)
		if (owner->pages[kind] > owner->pages[most])
			most = (enum stow_page_kind)kind;
	return most;
}

/* Add suspects. Locked memory can move, but is reported where some pages are unevictable. */
static int suspect_processes(struct stow_root *root, const struct stow_block_use *use,
			     const struct stow_owner *owner, const char *path,
			     struct stow_culprits *list, struct stow_err *err)
{
	_cleanup_free_ pid_t *pids = NULL;
	struct stow_err why = { 0 };
	size_t n = 0;
	int r;

	/* A cgroup whose processes cannot be listed has no suspects; others may have. */
	r = stow_memcg_pids(root, path, &pids, &n, &why) == -ENOMEM
		    ? stow_err_move(err, -ENOMEM, &why)
		    : 0;
	for (size_t i = 0; i < n && r == 0; i++) {
		struct stow_culprit model = { .pages = stow_owner_moving(owner),
					      .kind = most_of(owner),
					      .inode = owner->inode,
					      .cgroup = (char *)path,
					      .pid = pids[i] };
		struct stow_holds holds;
		char reason[192], held[128];

		stow_holds_read(root, pids[i], &holds);
		if (!stow_holds_pins(&holds) && !(holds.locked && use->unevictable))
			continue;
		snprintf(reason, sizeof(reason), "may be in the way: it has %s",
			 stow_holds_format(&holds, held, sizeof(held)));
		if (add(root, list, &model, &holds, reason) < 0)
			r = stow_err_sys(err, ENOMEM, "suspects");
	}
	return r;
}

/* Return the cgroup that has all the pages of a kind in the block, or NULL. */
static const char *only_owner(const struct stow_block_use *use, char **paths, int kind)
{
	for (size_t i = 0; i < use->n_owners; i++)
		if (use->owners[i].pages[kind] == use->pages[kind])
			return paths[i];
	return NULL;
}

static int suspect(struct stow_root *root, const struct stow_block_use *use, char **paths,
		   struct stow_culprits *list, struct stow_err *err)
{
	int r = 0;

	for (size_t i = 0; i < use->n_owners && r == 0; i++)
		if (paths[i] && stow_owner_moving(&use->owners[i]))
			r = suspect_processes(root, use, &use->owners[i], paths[i], list, err);
	for (int kind = 0; kind < STOW_PAGE_KINDS && r == 0; kind++) {
		struct stow_culprit model = { .pages = use->pages[kind],
					      .kind = (enum stow_page_kind)kind };

		if (!model.pages || stow_page_kind_moves(model.kind))
			continue;
		model.cgroup = (char *)only_owner(use, paths, kind);
		if (add(root, list, &model, NULL, NULL) < 0)
			r = stow_err_sys(err, ENOMEM, "suspects");
	}
	return r;
}

int stow_culprits_suspect(struct stow_root *root, const struct stow_block_use *use,
			  struct stow_culprits *ret, struct stow_err *err)
{
	_cleanup_(stow_culprits_done) struct stow_culprits list = { 0 };
	char **paths;
	int r;

	if (stow_owner_paths(root, use, &paths) < 0)
		return stow_err_sys(err, ENOMEM, "suspects");
	r = suspect(root, use, paths, &list, err);
	stow_owner_paths_free(paths, use->n_owners);
	if (r < 0)
		return r;
	*ret = list;
	list = (struct stow_culprits){ 0 };
	return 0;
}

// SPDX-License-Identifier: Apache-2.0
#include "pages/holders.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/math.h"
#include "base/parse.h"
#include "cgroup/hierarchy.h"
#include "cgroup/procs.h"
#include "pages/holds.h"
#include "pages/numa_maps.h"

#define WINDOW	    32768		/* pagemap entries read at once */
#define PRESENT	    (UINT64_C(1) << 63) /* Documentation/admin-guide/mm/pagemap.rst */
#define FRAME	    ((UINT64_C(1) << 55) - 1)
#define PER_PROCESS (UINT64_C(1) << 28) /* pages of address space: 1 TiB of 4 KiB */

/* --- processes ------------------------------------------------------------ */

struct pids {
	pid_t *list;
	size_t n;
};

static void pids_done(struct pids *pids)
{
	free(pids->list);
}

int stow_memcg_pids(struct stow_root *root, const char *path, pid_t **ret_pids, size_t *ret_n,
		    struct stow_err *err)
{
	_cleanup_(stow_root_free_ptr) struct stow_root *top = NULL;
	struct stow_err why = { 0 };
	const char *mount = NULL;
	int r;

	r = stow_cgroup_mount(root, STOW_CGROUP_MEMORY, &mount, err);
	if (r == 0)
		r = stow_root_sub(root, &top, err, "%s", mount);
	if (r < 0)
		return r;
	r = stow_cgroup_pids_below(top, strcmp(path, "/") == 0 ? "" : path, "memory.stat", ret_pids,
				   ret_n, &why);
	if (r == -ENOENT || r == -ENODEV) { /* gone meanwhile: it has no processes */
		*ret_pids = NULL;
		*ret_n = 0;
		return 0;
	}
	return r < 0 ? stow_err_move(err, r, &why) : 0;
}

int stow_all_pids(struct stow_root *root, pid_t **ret_pids, size_t *ret_n, struct stow_err *err)
{
	_cleanup_closedir_ DIR *folder = stow_root_opendir(root, err, "/proc");
	_cleanup_(pids_done) struct pids pids = { 0 };
	const struct dirent *entry;

	if (!folder)
		return -errno;
	while ((entry = readdir(folder))) {
		pid_t *added;
		uint64_t pid;

		if (stow_parse_u64(entry->d_name, INT32_MAX, &pid, NULL) < 0 || pid == 0)
			continue;
		added = STOW_APPEND(pids.list, pids.n);
		if (!added)
			return stow_err_sys(err, ENOMEM, "/proc");
		*added = (pid_t)pid;
	}
	*ret_pids = STOW_TAKE_PTR(pids.list);
	*ret_n = pids.n;
	return 0;
}

/* --- their memory --------------------------------------------------------- */

struct search {
	struct stow_root *root;
	struct stow_frame *frames;
	size_t n;
	uint64_t *budget;
	uint64_t *window;
	uint64_t page_size;
	pid_t pid;
	int pagemap;
	uint64_t left; /* pages still to visit in this process */
	bool pins;
};

static void search_done(struct search *s)
{
	free(s->window);
	stow_close_ptr(&s->pagemap);
}

static bool settled(const struct stow_frame *frame)
{
	return frame->pid && frame->pins;
}

static bool all_settled(const struct search *s)
{
	for (size_t i = 0; i < s->n; i++)
		if (!settled(&s->frames[i]))
			return false;
	return true;
}

/* `name` is what /proc/PID/maps has behind the inode. */
static void note(struct search *s, uint64_t pfn, const char *name)
{
	static const char deleted[] = " (deleted)";
	size_t low = 0, high = s->n, len;
	struct stow_frame *frame;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (s->frames[middle].pfn < pfn)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == s->n || s->frames[low].pfn != pfn)
		return;
	frame = &s->frames[low];
	if (frame->pid && (frame->pins || !s->pins))
		return; /* keep the first, unless a later process pins memory */
	frame->pid = s->pid;
	frame->pins = s->pins;
	len = strlen(name);
	if (len > sizeof(deleted) - 1 && strcmp(name + len - (sizeof(deleted) - 1), deleted) == 0)
		len -= sizeof(deleted) - 1;
	snprintf(frame->file, sizeof(frame->file), "%.*s", (int)len, name);
}

/* Search from page `first` of the address space to before `end`. */
static void search_range(struct search *s, uint64_t first, uint64_t end, const char *name)
{
	uint64_t lowest = s->frames[0].pfn, highest = s->frames[s->n - 1].pfn;

	while (first < end && s->left && *s->budget) {
		uint64_t want = STOW_MIN(end - first, (uint64_t)WINDOW);
		ssize_t got = pread(s->pagemap, s->window, want * 8, (off_t)(first * 8));

		if (got < 8)
			return; /* unmapped meanwhile */
		got /= 8;
		for (ssize_t i = 0; i < got; i++) {
			uint64_t pfn = s->window[i] & FRAME;

			if (s->window[i] & PRESENT && pfn >= lowest && pfn <= highest)
				note(s, pfn, name);
		}
		first += (uint64_t)got;
		s->left -= STOW_MIN(s->left, (uint64_t)got);
		*s->budget -= STOW_MIN(*s->budget, (uint64_t)got);
	}
}

/* Search the range of one line of /proc/PID/maps: "START-END PERMISSIONS OFFSET DEVICE INODE
 * NAME". */
static void search_line(struct search *s, char *line)
{
	const char *p = line;
	uint64_t start, end;

	line[strcspn(line, "\n")] = '\0';
	if (!stow_maps_scan(&p, &start, &end))
		return;
	for (int field = 0; field < 4; field++) {
		p += strspn(p, " ");
		p += strcspn(p, " ");
	}
	p += strspn(p, " ");
	if (start < end && end <= INT64_MAX) /* not the vsyscall page */
		search_range(s, start / s->page_size, end / s->page_size, p);
}

/* Search one process; nothing is found in a process that has ended, or whose memory may not be
 * read. */
static int search_process(struct search *s, pid_t pid, struct stow_err *err)
{
	_cleanup_(stow_numa_maps_close) struct stow_numa_maps maps;
	struct stow_holds holds;
	int r = stow_numa_maps_open(s->root, pid, "maps", &maps, NULL);

	if (r < 0)
		return r == -ENOMEM ? stow_err_sys(err, ENOMEM, "/proc/%d/maps", (int)pid) : 0;
	stow_close_ptr(&s->pagemap);
	s->pagemap = stow_root_openat(s->root, O_RDONLY, 0, NULL, "/proc/%d/pagemap", (int)pid);
	if (s->pagemap < 0)
		return 0;
	stow_holds_read(s->root, pid, &holds);
	s->pid = pid;
	s->pins = stow_holds_pins(&holds) || holds.pipe;
	s->left = PER_PROCESS;
	while (s->left && *s->budget && getline(&maps.line, &maps.size, maps.file) > 0)
		search_line(s, maps.line);
	return 0;
}

int stow_frames_find(struct stow_root *root, struct stow_frame *frames, size_t n, const pid_t *pids,
		     size_t n_pids, uint64_t *budget, struct stow_err *err)
{
	_cleanup_(search_done) struct search s = { .root = root,
						   .frames = frames,
						   .n = n,
						   .page_size = (uint64_t)sysconf(_SC_PAGESIZE),
						   .pagemap = -EBADF };
	int r = 0;

	s.budget = budget;
	s.window = calloc(WINDOW, sizeof(*s.window));
	if (!s.window)
		return stow_err_sys(err, ENOMEM, "/proc/PID/pagemap");
	for (size_t i = 0; n && i < n_pids && r == 0 && *budget && !all_settled(&s); i++)
		r = search_process(&s, pids[i], err);
	return r;
}

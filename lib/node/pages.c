// SPDX-License-Identifier: Apache-2.0
#include "node/pages.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <numaif.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/parse.h"

#define ROUNDS	  3			 /* over a process, for pages that would not move */
#define DEPTH_MAX 32			 /* of cgroups below the container's */
#define WINDOW	  (1 << 15)		 /* pagemap entries read at once */
#define HUGE	  (UINT64_C(2) << 20)	 /* bytes: a multiple of what the kernel maps as one */
#define MOST	  (WINDOW + HUGE / 4096) /* pages of a batch that is ended at such a boundary */
#define PRESENT	  (UINT64_C(1) << 63)

/* --- the processes of a cgroup ------------------------------------------------------------------ */

struct pids {
	pid_t *list;
	size_t n;
};

int stow_cgroup_procs(struct stow_root *dir, const char *path, pid_t **pids, size_t *n,
		      struct stow_err *err)
{
	_cleanup_free_ char *text = NULL;
	char *save = NULL;
	int r;

	r = stow_root_read(dir, STOW_ROOT_READ_MAX, &text, NULL, err, "%s/cgroup.procs", path);
	if (r < 0)
		return r == -EOPNOTSUPP ? 0 : r; /* a threaded cgroup: its root has the processes */
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		pid_t *grown;
		uint64_t pid;

		if (stow_parse_u64(line, INT32_MAX, &pid, NULL) < 0 || pid == 0)
			continue; /* 0: in another pid namespace */
		grown = reallocarray(*pids, *n + 1, sizeof(*grown));
		if (!grown)
			return stow_err_set(err, ENOMEM, "out of memory");
		*pids = grown;
		grown[(*n)++] = (pid_t)pid;
	}
	return 0;
}

static int walk(struct stow_root *dir, const char *path, int depth, struct pids *pids,
		struct stow_err *err)
{
	_cleanup_closedir_ DIR *folder = NULL;
	const struct dirent *entry;
	int r;

	r = stow_cgroup_procs(dir, path, &pids->list, &pids->n, err);
	if (r < 0 || depth == DEPTH_MAX)
		return r;
	folder = stow_root_opendir(dir, NULL, "%s/", path);
	if (!folder)
		return 0;
	while ((entry = readdir(folder))) {
		char below[4096];

		if (entry->d_type != DT_DIR || entry->d_name[0] == '.')
			continue;
		if (snprintf(below, sizeof(below), "%s/%s", path, entry->d_name) >=
		    (int)sizeof(below))
			continue;
		r = walk(dir, below, depth + 1, pids, err);
		if (r < 0 && r != -ENOENT && r != -ENODEV)
			return r;
	}
	return 0;
}

int stow_cgroup_pids(const struct stow_cgroup *cgroup, pid_t **ret_pids, size_t *ret_n,
		     struct stow_err *err)
{
	struct pids pids = { 0 };
	int r;

	r = walk(cgroup->at[STOW_CGROUP_CPUSET].dir, "", 0, &pids, err);
	if (r < 0) {
		free(pids.list);
		return r;
	}
	*ret_pids = pids.list;
	*ret_n = pids.n;
	return 0;
}

/* --- numa_maps ---------------------------------------------------------------------------------- */

/* "KEY=NUMBER"; false when it is another word. */
static bool pair(const char *word, const char *key, uint64_t *ret)
{
	size_t len = strlen(key);

	return strncmp(word, key, len) == 0 && word[len] == '=' &&
	       stow_parse_u64(word + len + 1, UINT64_MAX, ret, NULL) == 0;
}

/* "N3=120"; the node, or -1. */
static int node_pair(const char *word, uint64_t *ret_pages)
{
	const char *equals = strchr(word, '=');
	char number[16];
	uint64_t node;

	if (word[0] != 'N' || !equals || (size_t)(equals - word) > sizeof(number))
		return -1;
	snprintf(number, sizeof(number), "%.*s", (int)(equals - word) - 1, word + 1);
	if (stow_parse_u64(number, STOW_IDSET_MAX - 1, &node, NULL) < 0 ||
	    stow_parse_u64(equals + 1, UINT64_MAX, ret_pages, NULL) < 0)
		return -1;
	return (int)node;
}

static int hex(const char *text, uint64_t *ret, const char **ret_end)
{
	char *end;

	errno = 0;
	*ret = strtoull(text, &end, 16); /* the kernel's own, without sign or prefix */
	*ret_end = end;
	return errno || end == text ? -EINVAL : 0;
}

int stow_numa_maps_line(const char *line, const struct stow_idset *nodes, struct stow_numa_map *ret)
{
	const char *p;
	char word[256];

	*ret = (struct stow_numa_map){ .page_size = 4096 };
	if (hex(line, &ret->start, &p) < 0 || *p != ' ')
		return -EINVAL;
	while (*p) {
		size_t len;
		uint64_t value;
		int node;

		p += strspn(p, " \n");
		len = strcspn(p, " \n");
		snprintf(word, sizeof(word), "%.*s", (int)(len < 255 ? len : 255), p);
		p += len;
		node = node_pair(word, &value);
		if (node >= 0 && stow_idset_has(nodes, node))
			ret->pages += value;
		else if (pair(word, "kernelpagesize_kB", &value) && value > 0 &&
			 value <= UINT64_MAX / 1024)
			ret->page_size = value * 1024;
	}
	return 0;
}

static FILE *open_proc(struct stow_root *root, pid_t pid, const char *name, struct stow_err *err)
{
	FILE *file;
	int fd;

	fd = stow_root_openat(root, O_RDONLY, 0, err, "/proc/%d/%s", (int)pid, name);
	if (fd == -ENOENT)
		stow_err_set(err, ESRCH, "process %d has ended", (int)pid);
	if (fd < 0) {
		errno = fd == -ENOENT ? ESRCH : -fd;
		return NULL;
	}
	file = fdopen(fd, "re");
	if (!file) {
		close(fd);
		stow_err_set(err, ENOMEM, "out of memory");
		errno = ENOMEM;
	}
	return file;
}

int stow_pages_mapped(struct stow_root *root, pid_t pid, const struct stow_idset *nodes,
		      uint64_t *ret_bytes, struct stow_err *err)
{
	_cleanup_fclose_ FILE *file = open_proc(root, pid, "numa_maps", err);
	_cleanup_free_ char *line = NULL;
	struct stow_numa_map map;
	size_t size = 0;

	*ret_bytes = 0;
	if (!file)
		return -errno;
	while (getline(&line, &size, file) > 0)
		if (stow_numa_maps_line(line, nodes, &map) == 0)
			*ret_bytes += map.pages * map.page_size;
	return 0;
}

/* --- moving ------------------------------------------------------------------------------------- */

struct range {
	uint64_t start, end, page_size;
};

struct ranges {
	struct range *list;
	size_t n;
};

/* The mappings that have pages on the nodes to leave. */
static int find_ranges(struct stow_root *root, pid_t pid, const struct stow_idset *from,
		       struct ranges *ret, struct stow_err *err)
{
	_cleanup_fclose_ FILE *file = open_proc(root, pid, "numa_maps", err);
	_cleanup_free_ char *line = NULL;
	struct stow_numa_map map;
	size_t size = 0;

	if (!file)
		return -errno;
	while (getline(&line, &size, file) > 0) {
		struct range *grown;

		if (stow_numa_maps_line(line, from, &map) < 0 || map.pages == 0)
			continue;
		grown = reallocarray(ret->list, ret->n + 1, sizeof(*grown));
		if (!grown)
			return stow_err_set(err, ENOMEM, "out of memory");
		ret->list = grown;
		grown[ret->n++] = (struct range){ map.start, 0, map.page_size };
	}
	return 0;
}

/* numa_maps has no ends; maps has, in the same order. One that has changed meanwhile stays empty
 * and is found in the next round. */
static int find_ends(struct stow_root *root, pid_t pid, struct ranges *ranges, struct stow_err *err)
{
	_cleanup_fclose_ FILE *file = open_proc(root, pid, "maps", err);
	_cleanup_free_ char *line = NULL;
	size_t size = 0, i = 0;

	if (!file)
		return -errno;
	while (i < ranges->n && getline(&line, &size, file) > 0) {
		uint64_t start, end;
		const char *p;

		if (hex(line, &start, &p) < 0 || *p != '-' || hex(p + 1, &end, &p) < 0)
			continue;
		while (i < ranges->n && ranges->list[i].start < start)
			i++;
		if (i < ranges->n && ranges->list[i].start == start)
			ranges->list[i++].end = end;
	}
	return 0;
}

struct mover {
	struct stow_page_move *move;
	pid_t pid;
	int pagemap;
	uint64_t page_size; /* of the range */
	size_t n, max;	    /* gathered, and how many make a batch */
	void **addresses;
	int *nodes, *status;
	int *targets; /* the nodes to go to */
	size_t n_targets, turn;
	uint64_t moved_now; /* bytes, in this round */
};

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec;
}

static int move_some(struct mover *m, size_t n, struct stow_err *err)
{
	struct stow_page_move *move = m->move;
	uint64_t started = now_ns(), took;
	long r = syscall(SYS_move_pages, m->pid, n, m->addresses, m->nodes, m->status,
			 MPOL_MF_MOVE_ALL);

	if (r < 0 && errno == ESRCH)
		return stow_err_set(err, ESRCH, "process %d has ended", (int)m->pid);
	/* -ENOENT: none of them had to be moved; -ENOMEM, -EBUSY: see each page's status. */
	if (r < 0 && (errno == EPERM || errno == EACCES || errno == ENODEV))
		return stow_err_sys(err, errno, "moving pages of process %d", (int)m->pid);
	took = now_ns() - started;
	if (took > move->longest)
		move->longest = took;
	/* Asked again: of a transparent hugepage the call moves all and says so of its first page
	 * only. */
	if (syscall(SYS_move_pages, m->pid, n, m->addresses, NULL, m->status, 0) < 0)
		return errno == ESRCH
			       ? stow_err_set(err, ESRCH, "process %d has ended", (int)m->pid)
			       : stow_err_sys(err, errno, "asking where pages of process %d are",
					      (int)m->pid);
	for (size_t i = 0; i < n; i++) {
		if (m->status[i] >= 0 && stow_idset_has(&move->to, m->status[i])) {
			move->moved += m->page_size;
			m->moved_now += m->page_size;
		} else if (m->status[i] >= 0) {
			move->failed += m->page_size;
		}
	}
	return 0;
}

/* Of the gathered pages those on a node to leave; then moves them. */
static int flush(struct mover *m, struct stow_err *err)
{
	struct stow_page_move *move = m->move;
	size_t n = 0;
	int r;

	if (m->n == 0)
		return 0;
	if (syscall(SYS_move_pages, m->pid, m->n, m->addresses, NULL, m->status, 0) < 0)
		return stow_err_sys(err, errno, "asking where pages of process %d are",
				    (int)m->pid);
	for (size_t i = 0; i < m->n; i++) {
		if (m->status[i] < 0 || !stow_idset_has(&move->from, m->status[i]))
			continue;
		m->addresses[n] = m->addresses[i];
		m->nodes[n] = m->targets[m->turn % m->n_targets];
		n++;
	}
	m->turn++; /* batch by batch over the nodes, so that huge pages stay whole */
	m->n = 0;
	if (n == 0)
		return 0;
	r = move_some(m, n, err);
	if (r == 0 && move->progress) {
		r = move->progress(move->ctx, move);
		if (r < 0)
			return stow_err_set(err, -r, "stopped");
	}
	if (r == 0 && move->pause)
		nanosleep(&(struct timespec){ .tv_sec = (time_t)(move->pause / 1000000000),
					      .tv_nsec = (long)(move->pause % 1000000000) },
			  NULL);
	return r;
}

/* A batch ends where a transparent hugepage could: the kernel moves those as a whole. */
static int gather(struct mover *m, uint64_t address, struct stow_err *err)
{
	uint64_t last = m->n ? (uint64_t)(uintptr_t)m->addresses[m->n - 1] : address;
	int r = 0;

	if (m->n >= m->max && address / HUGE != last / HUGE)
		r = flush(m, err);
	m->addresses[m->n++] = (void *)(uintptr_t)address;
	return r;
}

/* The present pages of a range, window by window. */
static int move_range(struct mover *m, const struct range *range, struct stow_err *err)
{
	uint64_t base = (uint64_t)sysconf(_SC_PAGESIZE), step = range->page_size / base;
	_cleanup_free_ uint64_t *window = malloc(WINDOW * sizeof(*window));
	uint64_t per_batch = m->move->batch / range->page_size;
	int r = 0;

	if (!window)
		return stow_err_set(err, ENOMEM, "out of memory");
	m->page_size = range->page_size;
	m->max = per_batch < 1 ? 1 : per_batch > WINDOW ? WINDOW : (size_t)per_batch;
	for (uint64_t page = range->start / base; page < range->end / base && r == 0;) {
		uint64_t left = range->end / base - page, want = left < WINDOW ? left : WINDOW;
		ssize_t got = pread(m->pagemap, window, want * 8, (off_t)(page * 8));

		if (got <= 0)
			return 0; /* unmapped meanwhile */
		got /= 8;
		for (ssize_t i = 0; i < got && r == 0; i++)
			if (window[i] & PRESENT && (step <= 1 || (page + (uint64_t)i) % step == 0))
				r = gather(m, (page + (uint64_t)i) * base, err);
		page += (uint64_t)got;
	}
	return r < 0 ? r : flush(m, err);
}

static int move_round(struct stow_root *root, struct mover *m, struct stow_err *err)
{
	struct ranges ranges = { 0 };
	int r;

	r = find_ranges(root, m->pid, &m->move->from, &ranges, err);
	if (r == 0 && ranges.n)
		r = find_ends(root, m->pid, &ranges, err);
	for (size_t i = 0; i < ranges.n && r == 0; i++)
		r = move_range(m, &ranges.list[i], err);
	free(ranges.list);
	return r;
}

static int mover_open(struct stow_root *root, struct mover *m, struct stow_err *err)
{
	m->pagemap = stow_root_openat(root, O_RDONLY, 0, err, "/proc/%d/pagemap", (int)m->pid);
	if (m->pagemap < 0)
		return m->pagemap == -ENOENT
			       ? stow_err_set(err, ESRCH, "process %d has ended", (int)m->pid)
			       : m->pagemap;
	m->addresses = calloc(MOST, sizeof(*m->addresses));
	m->nodes = calloc(MOST, sizeof(*m->nodes));
	m->status = calloc(MOST, sizeof(*m->status));
	m->targets = calloc((size_t)stow_idset_count(&m->move->to), sizeof(*m->targets));
	if (!m->addresses || !m->nodes || !m->status || !m->targets)
		return stow_err_set(err, ENOMEM, "out of memory");
	STOW_IDSET_FOR(id, &m->move->to)
		m->targets[m->n_targets++] = id;
	return 0;
}

static void mover_done(struct mover *m)
{
	if (m->pagemap >= 0)
		close(m->pagemap);
	free(m->addresses);
	free(m->nodes);
	free(m->status);
	free(m->targets);
}

int stow_pages_move(struct stow_root *root, pid_t pid, struct stow_page_move *move,
		    struct stow_err *err)
{
	_cleanup_(mover_done) struct mover m = { .move = move, .pid = pid, .pagemap = -1 };
	int r;

	if (!root->live)
		return stow_err_set(err, ENOTSUP, "pages move on the live machine only");
	if (stow_idset_empty(&move->to))
		return stow_err_set(err, EINVAL, "no nodes to move to");
	r = mover_open(root, &m, err);
	for (int round = 0; round < ROUNDS && r == 0; round++) {
		m.moved_now = 0;
		r = move_round(root, &m, err);
		if (m.moved_now == 0)
			break;
	}
	return r;
}

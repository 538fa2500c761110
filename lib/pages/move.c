// SPDX-License-Identifier: Apache-2.0
#include "pages/move.h"

#include <errno.h>
#include <fcntl.h>
#include <numaif.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/parse.h"
#include "cgroup/numa_own.h"
#include "cgroup/pidref.h"
#include "cgroup/procs.h"
#include "pages/kpages.h"
#include "pages/numa_maps.h"

#define ROUNDS	3		    /* over a process, for pages that did not move */
#define LOOKS	4		    /* at a cgroup, for new processes */
#define RESUMES 8		    /* of a call that gave up after a page that could not move */
#define WINDOW	(1 << 15)	    /* pagemap entries read at once */
#define HUGE	(UINT64_C(2) << 20) /* bytes: the usual size of a transparent hugepage */
#define FIRST	(UINT64_C(4) << 20) /* bytes of the first batch, when the caller gave no size */
#define LARGEST (UINT64_C(1) << 30) /* bytes of the largest batch */
#define ENTRIES (1 << 16)	    /* of a batch */
#define MOST	(ENTRIES + HUGE / 4096) /* when a batch continues to the next boundary */
#define PRESENT (UINT64_C(1) << 63)	/* Documentation/admin-guide/mm/pagemap.rst */
#define FRAME	((UINT64_C(1) << 55) - 1)

struct range {
	uint64_t start, end, page_size;
	bool mixed; /* it has pages on other nodes, too */
};

struct ranges {
	struct range *list;
	size_t n;
};

static void ranges_done(struct ranges *ranges)
{
	free(ranges->list);
}

/* State that serves all processes. */
struct mover {
	struct stow_root *root;
	struct stow_page_move *move;
	uint64_t base;	  /* bytes of a page */
	uint64_t *window; /* of the pagemap */
	uint64_t *words;  /* of kpageflags */
	int flags;	  /* /proc/kpageflags; negative: not available */
	size_t n;	  /* gathered pages */
	uint64_t bytes;	  /* their bytes */
	bool ask;	  /* some of them may not be on a node to leave */
	void **addresses; /* of the pages; of a transparent hugepage only the first */
	uint32_t *pages;  /* number of base pages of each */
	int *nodes, *status;
	int *targets; /* the nodes to move to */
	size_t n_targets, next_target;
	bool moved_before; /* a pause is due */
	/* The process. */
	pid_t pid;
	int pidfd, pagemap;
	uint64_t moved_now, failed_now; /* bytes, in this round */
};

#define NO_MOVER ((struct mover){ .flags = -EBADF, .pidfd = -EBADF, .pagemap = -EBADF })

/* --- what there is to move ---------------------------------------------------------------------- */

/* Find the mappings that have pages on the nodes to leave. */
static int find_ranges(struct mover *m, struct ranges *ret, struct stow_err *err)
{
	_cleanup_(stow_numa_maps_close) struct stow_numa_maps maps;
	struct stow_numa_map map;
	int r = stow_numa_maps_open(m->root, m->pid, "numa_maps", &maps, err);

	while (r == 0 && stow_numa_maps_next(&maps, &m->move->from, &map) == 1) {
		struct range *added = STOW_APPEND(ret->list, ret->n);

		if (!added)
			return stow_err_set(err, ENOMEM, "out of memory");
		*added = (struct range){ map.start, 0, map.page_size, map.others > 0 };
	}
	return r;
}

/* Find the ends of the mappings: numa_maps does not have them; maps does, in the same order. A
 * mapping that has changed meanwhile stays empty: the next round finds it, or the kernel moves
 * it. */
static int find_ends(struct mover *m, struct ranges *ranges, struct stow_err *err)
{
	_cleanup_(stow_numa_maps_close) struct stow_numa_maps maps;
	int r = stow_numa_maps_open(m->root, m->pid, "maps", &maps, err);
	size_t i = 0;

	while (r == 0 && i < ranges->n && getline(&maps.line, &maps.size, maps.file) > 0) {
		const char *p = maps.line;
		uint64_t start, end;

		if (!stow_maps_scan(&p, &start, &end))
			continue;
		while (i < ranges->n && ranges->list[i].start < start)
			i++;
		if (i < ranges->n && ranges->list[i].start == start)
			ranges->list[i++].end = end;
	}
	return r;
}

/* --- a batch -------------------------------------------------------------- */

static int has_ended(const struct mover *m, struct stow_err *err)
{
	return stow_err_set(err, ESRCH, "process %d has ended", (int)m->pid);
}

static int ask_where(struct mover *m, size_t n, struct stow_err *err)
{
	if (syscall(SYS_move_pages, m->pid, n, m->addresses, NULL, m->status, 0) == 0)
		return 0;
	return errno == ESRCH ? has_ended(m, err)
			      : stow_err_sys(err, errno, "asking where pages of process %d are",
					     (int)m->pid);
}

bool stow_pages_gave_up(const int *status, size_t begin, size_t n, size_t *ret_next)
{
	size_t first = begin, last = n;

	while (first < n && status[first] != STOW_PAGES_UNTRIED)
		first++;
	while (last > first && status[last - 1] == STOW_PAGES_UNTRIED)
		last--;
	*ret_next = last;
	return last > first && last < n;
}

/* Note why pages did not move, from the result of a call and the pages' own. */
static void note_reasons(struct mover *m, size_t begin, size_t n, int errnum)
{
	unsigned int *reasons = &m->move->reasons;

	if (errnum == ENOMEM)
		*reasons |= STOW_PAGES_FULL;
	for (size_t i = begin; i < n; i++) {
		if (m->status[i] == -EBUSY)
			*reasons |= STOW_PAGES_BUSY;
		else if (m->status[i] == -EACCES)
			*reasons |= STOW_PAGES_SHARED;
		else if (m->status[i] == -ENOMEM)
			*reasons |= STOW_PAGES_FULL;
	}
}

static int call(struct mover *m, size_t begin, size_t n, struct stow_err *err)
{
	uint64_t started = stow_clock_monotonic(), took;
	long r;

	for (size_t i = begin; i < n; i++)
		m->status[i] = STOW_PAGES_UNTRIED;
	/* Another process may have this number by now. (Not checked where pidfd is filtered out, or
	 * before 5.3.) */
	if (m->pidfd >= 0 && syscall(SYS_pidfd_send_signal, m->pidfd, 0, NULL, 0) < 0 &&
	    errno == ESRCH)
		return has_ended(m, err);
	r = syscall(SYS_move_pages, m->pid, n - begin, m->addresses + begin, m->nodes + begin,
		    m->status + begin, m->move->unshared ? MPOL_MF_MOVE : MPOL_MF_MOVE_ALL);
	if (r < 0 && errno == ESRCH)
		return has_ended(m, err);
	/* -ENOENT: no page had to be moved; -ENOMEM, -EBUSY: see each page's status. */
	if (r < 0 && (errno == EPERM || errno == EACCES || errno == ENODEV))
		return stow_err_sys(err, errno, "moving pages of process %d", (int)m->pid);
	note_reasons(m, begin, n, r < 0 ? errno : 0);
	took = stow_clock_monotonic() - started;
	if (took > m->move->longest)
		m->move->longest = took;
	m->move->calls++;
	return r > 0;
}

static void count(struct mover *m, size_t i, bool moved)
{
	uint64_t bytes = m->pages[i] * m->base;

	*(moved ? &m->move->moved : &m->move->failed) += bytes;
	*(moved ? &m->moved_now : &m->failed_now) += bytes;
}

static bool arrived(const struct mover *m, size_t i)
{
	return m->status[i] >= 0 && stow_idset_has(&m->move->to, m->status[i]);
}

/* Query the pages that the kernel did not report as moved: of a page that it moves as one, some
 * kernels report only the first base page. */
static int count_all(struct mover *m, size_t n, struct stow_err *err)
{
	bool unexplained = false;
	size_t rest = 0;
	int r;

	for (size_t i = 0; i < n; i++) {
		if (arrived(m, i)) {
			count(m, i, true);
			continue;
		}
		/* The kernel has no status for pages that it tried and could not move. */
		unexplained = unexplained || m->status[i] == STOW_PAGES_UNTRIED;
		m->addresses[rest] = m->addresses[i];
		m->pages[rest++] = m->pages[i];
	}
	r = rest ? ask_where(m, rest, err) : 0;
	for (size_t i = 0; i < rest && r == 0; i++) {
		if (m->status[i] < 0)
			continue; /* it is unmapped */
		count(m, i, arrived(m, i));
		if (!arrived(m, i) && unexplained && !(m->move->reasons & STOW_PAGES_FULL))
			m->move->reasons |= STOW_PAGES_BUSY;
	}
	return r;
}

/* Keep only the gathered pages that are on a node to leave; return their number. */
static int keep_those_to_move(struct mover *m, size_t *ret_n, uint64_t *ret_bytes,
			      struct stow_err *err)
{
	size_t n = 0;
	int r = m->ask ? ask_where(m, m->n, err) : 0;

	*ret_bytes = 0;
	for (size_t i = 0; i < m->n && r == 0; i++) {
		if (m->ask && (m->status[i] < 0 || !stow_idset_has(&m->move->from, m->status[i])))
			continue;
		m->addresses[n] = m->addresses[i];
		m->pages[n] = m->pages[i];
		m->nodes[n++] = m->targets[m->next_target % m->n_targets];
		*ret_bytes += m->pages[i] * m->base;
	}
	m->next_target++; /* rotate the nodes by batch, so that huge pages stay whole */
	m->n = 0;
	m->bytes = 0;
	m->ask = false;
	*ret_n = n;
	return r;
}

uint64_t stow_pages_next_batch(struct stow_page_move *move, uint64_t bytes, uint64_t ns)
{
	uint64_t slice = move->slice ? move->slice : STOW_PAGES_SLICE;
	uint64_t now = move->pace.bytes ? move->pace.bytes : FIRST, want = now;

	if (ns == 0)
		ns = 1;
	if (move->pace.shortest == 0 || ns < move->pace.shortest)
		move->pace.shortest = ns;
	if (4 * move->pace.shortest > slice)
		slice = move->pace.shortest < slice * 2 ? 4 * move->pace.shortest : slice * 8;
	if (bytes > LARGEST)
		bytes = LARGEST;
	if (ns > slice) {
		want = (uint64_t)((double)bytes * (double)slice / (double)ns);
		want = want < now / 4 ? now / 4 : want > now ? now : want;
	} else if (bytes >= now / 2) { /* a small batch says little about larger ones */
		want = (uint64_t)((double)bytes * (double)slice / (double)ns);
		want = want > 2 * now ? 2 * now : want < now ? now : want;
	}
	move->pace.bytes = want < HUGE ? HUGE : want > LARGEST ? LARGEST : want;
	return move->pace.bytes;
}

static uint64_t batch_size(const struct stow_page_move *move)
{
	if (move->batch)
		return move->batch;
	return move->pace.bytes ? move->pace.bytes : FIRST;
}

static int flush(struct mover *m, struct stow_err *err)
{
	struct stow_page_move *move = m->move;
	uint64_t bytes, started;
	size_t n, begin = 0;
	int r;

	if (m->n == 0)
		return 0;
	if (m->moved_before)
		stow_clock_sleep(move->pause);
	r = keep_those_to_move(m, &n, &bytes, err);
	if (r < 0 || n == 0)
		return r;
	m->moved_before = true;
	started = stow_clock_monotonic();
	for (int i = 0; i < RESUMES; i++) {
		r = call(m, begin, n, err);
		if (r <= 0 || !stow_pages_gave_up(m->status, begin, n, &begin))
			break;
	}
	if (r >= 0 && !move->batch)
		(void)stow_pages_next_batch(move, bytes, stow_clock_monotonic() - started);
	if (r >= 0)
		r = count_all(m, n, err);
	if (r == 0 && move->progress) {
		r = move->progress(move->ctx, move);
		if (r < 0)
			return stow_err_set(err, -r, "stopped");
	}
	return r;
}

/* Add pages. A batch ends where a transparent hugepage may end, because the kernel moves these as a
 * whole. */
static int gather(struct mover *m, uint64_t address, uint64_t pages, struct stow_err *err)
{
	uint64_t last = m->n ? (uint64_t)(uintptr_t)m->addresses[m->n - 1] : address;
	int r = 0;

	if ((m->bytes >= batch_size(m->move) || m->n >= ENTRIES) && address / HUGE != last / HUGE)
		r = flush(m, err);
	m->addresses[m->n] = (void *)(uintptr_t)address;
	m->pages[m->n++] = (uint32_t)pages;
	m->bytes += pages * m->base;
	return r;
}

/* --- a process ------------------------------------------------------------ */

/* Return whether the HUGE bytes that begin here in the pagemap are one page. Then the kernel gets
 * its first address instead of all 512. */
static bool is_whole(struct mover *m, const uint64_t *entries)
{
	size_t n = HUGE / m->base;
	uint64_t first = entries[0] & FRAME;

	if (m->flags < 0 || first == 0 || first % n)
		return false;
	for (size_t i = 0; i < n; i++)
		if (!(entries[i] & PRESENT) || (entries[i] & FRAME) != first + i)
			return false;
	if (stow_kpages_words(m->flags, first, n, 0, m->words, NULL) < 0 ||
	    !(m->words[0] & STOW_KPF(COMPOUND_HEAD)))
		return false;
	for (size_t i = 1; i < n; i++)
		if (!(m->words[i] & STOW_KPF(COMPOUND_TAIL)))
			return false;
	return true;
}

static int move_window(struct mover *m, uint64_t page, size_t got, struct stow_err *err)
{
	size_t whole = HUGE / m->base;
	int r = 0;

	for (size_t i = 0; i < got && r == 0;) {
		size_t pages = 1;

		if ((page + i) % whole == 0 && i + whole <= got && whole > 1 &&
		    is_whole(m, m->window + i))
			pages = whole;
		if (m->window[i] & PRESENT)
			r = gather(m, (page + i) * m->base, pages, err);
		i += pages;
	}
	return r;
}

/* Move the present pages of a range, window by window. */
static int move_range(struct mover *m, const struct range *range, struct stow_err *err)
{
	uint64_t step = range->page_size / m->base, whole = HUGE / m->base, want;
	int r = 0;

	for (uint64_t page = range->start / m->base; page < range->end / m->base && r == 0;) {
		/* Windows end at such boundaries, too. One entry stands for a whole hugepage. */
		want = step > 1 ? 1 : WINDOW - (whole ? page % whole : 0);
		if (want > range->end / m->base - page)
			want = range->end / m->base - page;
		ssize_t got = pread(m->pagemap, m->window, want * 8, (off_t)(page * 8));

		if (got < 8)
			return 0; /* unmapped meanwhile, or the process has ended */
		got /= 8;
		m->ask = m->ask || range->mixed;
		if (step <= 1)
			r = move_window(m, page, (size_t)got, err);
		else if (m->window[0] & PRESENT)
			r = gather(m, page * m->base, step, err);
		page += step <= 1 ? (uint64_t)got : step;
	}
	return r;
}

static int move_round(struct mover *m, struct stow_err *err)
{
	_cleanup_(ranges_done) struct ranges ranges = { 0 };
	int r;

	m->moved_now = m->failed_now = 0;
	r = find_ranges(m, &ranges, err);
	if (r == 0 && ranges.n)
		r = find_ends(m, &ranges, err);
	for (size_t i = 0; i < ranges.n && r == 0; i++)
		r = move_range(m, &ranges.list[i], err);
	return r < 0 ? r : flush(m, err);
}

static void close_process(struct mover *m)
{
	if (m->pagemap >= 0)
		close(m->pagemap);
	if (m->pidfd >= 0)
		close(m->pidfd);
	m->pagemap = m->pidfd = -EBADF;
	m->n = 0;
	m->bytes = 0;
	m->ask = false;
}

/* Open a process. `ref` (may be NULL): fail if another process has taken its number. */
static int open_process(struct mover *m, pid_t pid, const struct stow_pidref *ref,
			struct stow_err *err)
{
	struct stow_err why = { 0 };

	m->pid = pid;
	m->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (ref && !stow_pidref_alive(m->root, ref))
		return has_ended(m, err);
	m->pagemap = stow_root_openat(m->root, O_RDONLY, 0, &why, "/proc/%d/pagemap", (int)pid);
	if (m->pagemap == -ENOENT || m->pagemap == -ESRCH)
		return has_ended(m, err);
	return m->pagemap < 0 ? stow_err_move(err, m->pagemap, &why) : 0;
}

/* Repeat for pages that did not move, as long as others did. */
static int move_process(struct mover *m, pid_t pid, const struct stow_pidref *ref,
			struct stow_err *err)
{
	int r = open_process(m, pid, ref, err);

	for (int round = 0; round < ROUNDS && r == 0; round++) {
		r = move_round(m, err);
		if (m->moved_now == 0 || m->failed_now == 0)
			break;
	}
	close_process(m);
	return r;
}

/* --- processes ------------------------------------------------------------ */

static int mover_open(struct stow_root *root, struct stow_page_move *move, struct mover *m,
		      struct stow_err *err)
{
	m->root = root;
	m->move = move;
	if (!root->live)
		return stow_err_set(err, ENOTSUP, "pages move on the live machine only");
	if (stow_idset_empty(&move->to))
		return stow_err_set(err, EINVAL, "no nodes to move to");
	m->base = (uint64_t)sysconf(_SC_PAGESIZE);
	m->window = calloc(WINDOW, sizeof(*m->window));
	m->words = calloc(HUGE / m->base + 1, sizeof(*m->words));
	m->addresses = calloc(MOST, sizeof(*m->addresses));
	m->pages = calloc(MOST, sizeof(*m->pages));
	m->nodes = calloc(MOST, sizeof(*m->nodes));
	m->status = calloc(MOST, sizeof(*m->status));
	m->targets = calloc((size_t)stow_idset_count(&move->to), sizeof(*m->targets));
	if (!m->window || !m->words || !m->addresses || !m->pages || !m->nodes || !m->status ||
	    !m->targets)
		return stow_err_set(err, ENOMEM, "out of memory");
	STOW_IDSET_FOR(id, &move->to)
		m->targets[m->n_targets++] = id;
	m->flags = stow_root_openat(root, O_RDONLY, 0, NULL, "/proc/kpageflags");
	return 0;
}

static void mover_done(struct mover *m)
{
	close_process(m);
	if (m->flags >= 0)
		close(m->flags);
	free(m->window);
	free(m->words);
	free(m->addresses);
	free(m->pages);
	free(m->nodes);
	free(m->status);
	free(m->targets);
}

struct processes {
	struct stow_pidref *list;
	size_t n;
};

static void pidrefs_done(struct processes *processes)
{
	free(processes->list);
}

static bool has_process(const struct processes *processes, const struct stow_pidref *ref)
{
	for (size_t low = 0, high = processes->n; low < high;) {
		size_t middle = low + (high - low) / 2;

		if (processes->list[middle].pid == ref->pid)
			return processes->list[middle].start == ref->start;
		if (processes->list[middle].pid < ref->pid)
			low = middle + 1;
		else
			high = middle;
	}
	return false;
}

/* Read the references of all processes at once: moving takes long, and a number may belong to
 * another process by then. */
static int read_pidrefs(struct stow_root *root, const struct stow_cgroup *cgroup,
			struct processes *ret, struct stow_err *err)
{
	_cleanup_free_ pid_t *pids = NULL;
	size_t n = 0;
	int r = stow_cgroup_pids(cgroup, &pids, &n, err);

	if (r < 0)
		return r;
	*ret = (struct processes){ .list = calloc(n + 1, sizeof(*ret->list)) };
	if (!ret->list)
		return stow_err_set(err, ENOMEM, "out of memory");
	for (size_t i = 0; i < n; i++)
		if (stow_pidref_read(root, pids[i], &ret->list[ret->n], NULL) == 0)
			ret->n++;
	return 0;
}

/* Move the processes of `now` that are not in `before`. */
static int move_new(struct mover *m, const struct processes *now, const struct processes *before,
		    size_t *ret_new, struct stow_err *err)
{
	const struct stow_page_move *move = m->move;
	int r = 0;

	*ret_new = 0;
	for (size_t i = 0; i < now->n && r == 0; i++) {
		if (has_process(before, &now->list[i]))
			continue;
		(*ret_new)++;
		r = move_process(m, now->list[i].pid, &now->list[i], err);
		if (r == -ESRCH)
			r = 0;
		if (r == 0 && move->progress) {
			r = move->progress(move->ctx, move);
			if (r < 0)
				return stow_err_set(err, -r, "stopped");
		}
	}
	return r;
}

int stow_pages_move_all(struct stow_root *root, const struct stow_cgroup *cgroup,
			struct stow_page_move *move, struct stow_err *err)
{
	_cleanup_(pidrefs_done) struct processes before = { 0 };
	_cleanup_(mover_done) struct mover m = NO_MOVER;
	int r = stow_own_mems_check(root, &move->to, err);

	for (int look = 0; look < LOOKS && r == 0; look++) {
		struct processes now = { 0 };
		size_t found = 0;

		r = read_pidrefs(root, cgroup, &now, err);
		if (r == 0 && now.n && !m.root)
			r = mover_open(root, move, &m, err);
		if (r == 0)
			r = move_new(&m, &now, &before, &found, err);
		pidrefs_done(&before);
		before = now;
		if (found == 0)
			break;
	}
	return r;
}

int stow_pages_move_process(struct stow_root *root, const struct stow_pidref *process,
			    struct stow_page_move *move, struct stow_err *err)
{
	_cleanup_(mover_done) struct mover m = NO_MOVER;
	int r = stow_own_mems_check(root, &move->to, err);

	if (r == 0)
		r = mover_open(root, move, &m, err);
	return r < 0 ? r : move_process(&m, process->pid, process, err);
}

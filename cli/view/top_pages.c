// SPDX-License-Identifier: Apache-2.0
/* numastow top: on which nodes the pages of the selected container's processes are. Reading
 * numa_maps locks a process's memory map, and takes 7 ms per GiB of small pages: only what is
 * selected is read, and only as long as there is credit. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/text.h"
#include "cgroup/procs.h"
#include "cli/view/top.h"

#define SHARE 20 /* 1/20 of a CPU */
#define KEPT  ((int64_t)(10 * STOW_SECOND / SHARE))

static void processes_done(struct top_process **list, size_t *n)
{
	for (size_t i = 0; i < *n; i++)
		free((*list)[i].used);
	free(*list);
	*list = NULL;
	*n = 0;
}

static void round_done(struct top_pages *pages)
{
	processes_done(&pages->work, &pages->n_work);
	free(pages->pids);
	pages->pids = NULL;
	pages->n_pids = pages->next = pages->n_unread = 0;
}

void top_pages_done(struct top_pages *pages)
{
	round_done(pages);
	processes_done(&pages->shown, &pages->n_shown);
	pages->n_unread_shown = 0;
	pages->whole = false;
}

void top_pages_select(struct top_pages *pages, const char *id, pid_t pid)
{
	if (strcmp(pages->id, id) == 0 && pages->pid == pid)
		return;
	top_pages_done(pages);
	snprintf(pages->id, sizeof(pages->id), "%s", id);
	pages->pid = pid;
}

void top_pages_earn(struct top_pages *pages, uint64_t now_ns)
{
	uint64_t passed = pages->last_ns ? stow_clock_elapsed(pages->last_ns, now_ns) : 0;

	pages->last_ns = now_ns;
	pages->credit += (int64_t)(STOW_MIN(passed, 3600 * STOW_SECOND) / SHARE);
	pages->credit = STOW_MIN(pages->credit, KEPT);
}

/* --- one process ---------------------------------------------------------- */

static int read_process(struct top_pages *pages, struct stow_root *root, pid_t pid,
			const int *nodes, size_t n_nodes)
{
	struct stow_process_pages read = { 0 };
	struct top_process *added;
	int r = stow_process_pages_read(root, pid, &read, NULL);

	if (r == -ENOMEM)
		return r;
	if (r < 0) {
		pages->n_unread += r != -ESRCH;
		return 0;
	}
	added = STOW_APPEND(pages->work, pages->n_work);
	if (added)
		added->used = calloc(n_nodes + 1, sizeof(*added->used));
	for (size_t k = 0; added && added->used && k < n_nodes; k++) {
		added->used[k] = stow_process_pages_on(&read, nodes[k]);
		added->total = stow_saturating_add(added->total, added->used[k]);
	}
	stow_process_pages_done(&read);
	if (!added || !added->used)
		return -ENOMEM;
	added->pid = pid;
	if (stow_root_read_buf(root, added->command, sizeof(added->command), NULL, "/proc/%d/comm",
			       (int)pid) < 0)
		snprintf(added->command, sizeof(added->command), "?");
	stow_text_clean(added->command, sizeof(added->command) - 1);
	return 0;
}

/* --- a round over all ------------------------------------------------------- */

static int begin_round(struct top_pages *pages, struct stow_root *root,
		       const struct stow_cgroup *cgroup, struct stow_err *err)
{
	round_done(pages);
	if (cgroup)
		return stow_cgroup_pids(cgroup, &pages->pids, &pages->n_pids, err);
	if (stow_root_exists(root, "/proc/%d", (int)pages->pid) <= 0)
		return stow_err_set(err, ESRCH, "process %d has ended", (int)pages->pid);
	pages->pids = malloc(sizeof(*pages->pids));
	if (!pages->pids)
		return stow_err_sys(err, ENOMEM, "processes");
	pages->pids[0] = pages->pid;
	pages->n_pids = 1;
	return 0;
}

static int by_size(const void *a, const void *b)
{
	const struct top_process *x = a, *y = b;

	if (x->total != y->total)
		return x->total > y->total ? -1 : 1;
	return (x->pid > y->pid) - (x->pid < y->pid);
}

static void end_round(struct top_pages *pages)
{
	processes_done(&pages->shown, &pages->n_shown);
	pages->shown = STOW_TAKE_PTR(pages->work);
	pages->n_shown = pages->n_work;
	pages->n_work = 0;
	pages->n_unread_shown = pages->n_unread;
	pages->whole = true;
	if (pages->n_shown)
		qsort(pages->shown, pages->n_shown, sizeof(*pages->shown), by_size);
	round_done(pages);
}

int top_pages_read(struct top_pages *pages, struct stow_root *root,
		   const struct stow_cgroup *cgroup, const int *nodes, size_t n_nodes,
		   struct stow_err *err)
{
	int r = 0;

	if (!pages->pid && !cgroup)
		return 0;
	while (r == 0 && pages->credit >= 0) {
		uint64_t begun = stow_clock_read(CLOCK_THREAD_CPUTIME_ID);

		if (!pages->pids)
			r = begin_round(pages, root, cgroup, err);
		if (r == 0 && pages->next < pages->n_pids &&
		    read_process(pages, root, pages->pids[pages->next++], nodes, n_nodes) < 0)
			r = stow_err_sys(err, ENOMEM, "processes");
		pages->credit -= (int64_t)(stow_clock_read(CLOCK_THREAD_CPUTIME_ID) - begun);
		if (r == 0 && pages->next >= pages->n_pids) {
			end_round(pages);
			break;
		}
	}
	return r;
}

// SPDX-License-Identifier: Apache-2.0
#include "cli/view/show_view.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/parse.h"
#include "base/text.h"
#include "cgroup/procs.h"
#include "cli/container.h"
#include "cli/context.h"
#include "cli/process.h"
#include "grant/cpuview.h"
#include "node/topology.h"

int show_view_open(struct show_view *view, struct stow_err *err)
{
	int r;

	r = stow_root_open(view->out->sysroot, &view->root, err);
	if (r == 0)
		r = stow_online_cpus(view->root, &view->online, err);
	if (r < 0)
		return r;
	(void)stow_root_read_idset(view->root, &view->memory, NULL,
				   "/sys/devices/system/node/has_memory");
	(void)stow_config_read_anyway(view->root, &view->config, NULL);
	view->ledger = cli_ledger_look(view->root, "containers are not shown");
	if (view->ledger)
		(void)stow_ledger_records(view->ledger, NULL, &view->records, &view->n_records,
					  NULL);
	return 0;
}

static void process_done(struct show_process *p)
{
	free(p->threads);
	free(p->cgroup);
	free(p->id);
	free(p->name);
	stow_process_pages_done(&p->pages);
}

void show_view_done(struct show_view *view)
{
	for (size_t i = 0; i < view->n; i++)
		process_done(&view->list[i]);
	free(view->list);
	stow_names_done(&view->names);
	stow_records_free(view->records, view->n_records);
	stow_ledger_close(view->ledger);
	stow_config_free(view->config);
	stow_root_free(view->root);
}

/* --- one process ---------------------------------------------------------- */

/* Return whether the cgroup is the record's, or below it. */
static bool is_within(const char *cgroup, const struct stow_record *record)
{
	const char *path = stow_cgroup_id_path(&record->cgroup);
	size_t len = strlen(path);

	return len > 1 && strncmp(cgroup, path, len) == 0 &&
	       (cgroup[len] == '/' || cgroup[len] == '\0');
}

/* Find the grant by the cgroup's path; the record's inode says that it is still the same one. */
static const struct stow_record *find_record(struct show_view *view, const char *cgroup)
{
	for (size_t i = 0; i < view->n_records; i++) {
		_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *open = NULL;

		if (is_within(cgroup, view->records[i]) &&
		    stow_cpuset_open(view->root, &view->records[i]->cgroup, &open, NULL) == 0)
			return view->records[i];
	}
	return NULL;
}

static void read_promise(struct show_view *view, const struct stow_record *record,
			 struct show_process *p)
{
	struct stow_cpu_view cpus;

	p->granted = true;
	if (stow_cpu_view_read(view->root, view->config, view->ledger, &cpus, NULL) < 0)
		return;
	stow_cpu_view_of(&cpus, record, &p->cpus);
	stow_cpu_view_done(&cpus);
	p->mems = record->nodes;
	p->promised = !stow_idset_empty(&p->cpus);
}

/* Return whether a thread may run on other CPUs, or pages are on other nodes, than promised. */
static bool is_displaced(const struct show_process *p)
{
	for (size_t i = 0; i < p->n_threads; i++)
		if (p->threads[i].known && !stow_idset_subset(&p->threads[i].cpus, &p->cpus))
			return true;
	for (size_t node = 0; node < p->pages.n_nodes && !stow_idset_empty(&p->mems); node++) {
		const struct stow_node_pages *pages = &p->pages.nodes[node];
		uint64_t own = 0;

		for (int kind = 0; kind < STOW_PAGES_KINDS; kind++)
			own += pages->kinds[kind];
		/* Pages of files may have been there before. */
		if (own > pages->file && !stow_idset_has(&p->mems, (int)node))
			return true;
	}
	return false;
}

static void name_container(struct show_view *view, const char *id, struct show_process *p)
{
	const char *name;

	if (!view->names_read)
		(void)stow_names_read(view->root, &view->names, NULL);
	view->names_read = true;
	name = stow_names_find(&view->names, id);
	p->id = strdup(id);
	p->name = name ? strdup(name) : NULL;
}

static void read_cgroup(struct show_view *view, struct show_process *p)
{
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cgroup = NULL;
	const struct stow_record *record;
	char id[STOW_DISCOVER_ID + 1];

	if (stow_cgroup_of_pid(view->root, p->pid, &cgroup, NULL) < 0 || !cgroup->path[0])
		return;
	p->cgroup = stow_text_copy(cgroup->path, 4096);
	record = find_record(view, cgroup->path);
	if (record)
		read_promise(view, record, p);
	if (record || stow_discover_in(cgroup->path, id))
		name_container(view, record ? record->id : id, p);
}

/* Read a process. -ESRCH: it has ended. */
static int read_process(struct show_view *view, pid_t pid, bool pages, struct show_process *ret,
			struct stow_err *err)
{
	struct show_process p = { .pid = pid };
	struct stow_task_pages found = { 0 };
	int r = stow_tasks_read(view->root, pid, &p.threads, &p.n_threads, &p.cut,
				pages ? &found : NULL, err);

	if (r < 0) {
		stow_process_pages_done(&found.pages);
		return r;
	}
	read_cgroup(view, &p);
	p.pages = found.pages;
	p.pages_known = found.known;
	/* It may be too long to be read at once. */
	if (pages && !found.known)
		p.pages_known = stow_process_pages_read(view->root, pid, &p.pages, NULL) == 0;
	p.displaced = p.promised && is_displaced(&p);
	p.checked = p.promised && p.pages_known;
	for (size_t i = 0; i < p.n_threads; i++)
		p.checked &= p.threads[i].known;
	*ret = p;
	return 0;
}

static int add(struct show_view *view, struct show_process *p, struct stow_err *err)
{
	struct show_process *added;

	for (size_t i = 0; i < view->n; i++)
		if (view->list[i].pid == p->pid) { /* asked for twice */
			process_done(p);
			return 0;
		}
	added = STOW_APPEND(view->list, view->n);
	if (!added) {
		process_done(p);
		return stow_err_sys(err, ENOMEM, "process %d", (int)p->pid);
	}
	*added = *p;
	view->displaced += p->displaced;
	view->hidden += p->threads[0].from == STOW_POLICY_UNKNOWN && geteuid() != 0;
	return 0;
}

static int add_pid(struct show_view *view, pid_t pid, struct stow_err *err)
{
	struct show_process p;
	int r = read_process(view, pid, true, &p, err);

	return r < 0 ? r : add(view, &p, err);
}

/* --- those that are asked for --------------------------------------------- */

/* Add the processes of the container that has this id, name, or beginning of an id: also of one
 * without a grant. -ENOENT: there is none. */
static int add_container(struct show_view *view, const char *word, struct stow_err *err)
{
	_cleanup_(cli_container_done) struct cli_container container = { 0 };
	_cleanup_free_ pid_t *pids = NULL;
	size_t n = 0;
	int r = cli_container_find(view->root, word, &container, err);

	if (r == 0)
		r = stow_cgroup_pids(container.cgroup, &pids, &n, err);
	for (size_t i = 0; r == 0 && i < n; i++) {
		r = add_pid(view, pids[i], err);
		if (r == -ESRCH) /* it has ended meanwhile */
			r = 0;
	}
	return r;
}

static int add_named(void *ctx, pid_t pid, struct stow_err *err)
{
	int r = add_pid(ctx, pid, err);

	return r < 0 ? r : 1;
}

static int by_pid(const void *a, const void *b)
{
	const struct show_process *x = a, *y = b;

	return (x->pid > y->pid) - (x->pid < y->pid);
}

static int find_one(struct show_view *view, char *word, struct stow_err *err)
{
	struct stow_err why = { 0 };
	uint64_t pid;
	int r;

	if (stow_parse_u64(word, INT32_MAX, &pid, NULL) == 0) {
		r = add_pid(view, (pid_t)pid, err);
		return r == -ESRCH ? cli_no_process(view->root, (pid_t)pid, err) : r;
	}
	r = add_container(view, word, &why);
	if (r != -ENOENT)
		return r < 0 ? stow_err_move(err, r, &why) : 0;
	r = cli_each_named(view->root, word, add_named, view, err);
	return r < 0 ? r : 0;
}

int show_view_find(struct show_view *view, char **words, int n, struct stow_err *err)
{
	int r = 0;

	for (int i = 0; i < n && r == 0; i++)
		r = find_one(view, words[i], err);
	if (view->n)
		qsort(view->list, view->n, sizeof(*view->list), by_pid);
	return r;
}

/* --- those that are restricted -------------------------------------------- */

static bool is_restricted(const struct show_view *view, const struct stow_task *task)
{
	struct stow_idset cpus = task->cpus;

	if (!task->known)
		return false;
	stow_idset_and(&cpus, &view->online);
	if (!stow_idset_equal(&cpus, &view->online))
		return true;
	if (!stow_idset_empty(&task->mems) && !stow_idset_empty(&view->memory) &&
	    !stow_idset_subset(&view->memory, &task->mems))
		return true;
	return task->policy[0] && strcmp(task->policy, "default") != 0;
}

/* Kernel threads have no memory of their own, and are bound to CPUs by the kernel. */
static bool is_kernel_thread(struct show_view *view, pid_t pid)
{
	char text[16];

	return stow_root_read_buf(view->root, text, sizeof(text), NULL, "/proc/%d/cmdline",
				  (int)pid) == 0;
}

static int add_if_restricted(void *ctx, pid_t pid, struct stow_err *err)
{
	struct show_view *view = ctx;
	struct show_process p;
	bool restricted = false;
	int r;

	if (is_kernel_thread(view, pid))
		return 0;
	r = read_process(view, pid, false, &p, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < p.n_threads; i++)
		restricted |= is_restricted(view, &p.threads[i]);
	if (restricted)
		return add(view, &p, err);
	view->hidden += p.threads[0].from == STOW_POLICY_UNKNOWN && geteuid() != 0;
	process_done(&p);
	return 0;
}

int show_view_restricted(struct show_view *view, struct stow_err *err)
{
	int r = cli_each_process(view->root, NULL, add_if_restricted, view, err);

	if (view->n)
		qsort(view->list, view->n, sizeof(*view->list), by_pid);
	return r < 0 ? r : 0;
}

// SPDX-License-Identifier: Apache-2.0
#include "cli/view/stat_view.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/parse.h"
#include "base/text.h"
#include "cgroup/procs.h"
#include "cli/cli.h"
#include "cli/process.h"
#include "node/hugepage.h"

#define PAGE_SIZE_ELSEWHERE 4096 /* of a copied tree, for cgroup v1, which counts in pages */

static void add(uint64_t *sum, uint64_t value)
{
	if (value == STOW_UNKNOWN)
		return;
	*sum = stow_saturating_add(*sum == STOW_UNKNOWN ? 0 : *sum, value);
}

/* --- nodes and the machine ------------------------------------------------ */

static int read_online(struct stow_root *root, struct stat_view *view, struct stow_err *err)
{
	int r = stow_root_list_ids(root, "/sys/devices/system/node", "node", &view->online, err);

	if (r == 0 && stow_idset_empty(&view->online))
		return stow_err_set(err, ENODATA,
				    "there is no NUMA node in "
				    "/sys/devices/system/node");
	return r;
}

static int read_nodes(struct stow_root *root, struct stat_view *view, struct stow_err *err)
{
	struct stow_err first = { 0 };
	size_t failed = 0;

	STOW_IDSET_FOR(node, &view->online) {
		struct stat_node *added;

		if (!cli_output_wants_node(view->out, node))
			continue;
		added = STOW_APPEND(view->nodes, view->n_nodes);
		if (!added)
			return stow_err_sys(err, ENOMEM, "nodes");
		added->node = node;
		if (!view->meminfo && stow_node_counters_read(root, node, added->counters,
							      failed ? NULL : &first) < 0)
			failed++;
	}
	if (view->again)
		return 0;
	if (failed > 1)
		fprintf(stderr, "numastow: %s; likewise %zu other nodes\n", first.msg, failed - 1);
	else if (failed)
		(void)cli_fail(&first);
	return 0;
}

static void read_machine(struct stow_root *root, struct stat_view *view)
{
	struct stow_err why = { 0 };
	uint64_t counted = 1;

	if (stow_balancing_read(root, view->machine, &why) < 0 && !view->again)
		(void)cli_fail(&why);
	(void)stow_root_read_u64(root, &counted, NULL, "/proc/sys/vm/numa_stat");
	view->counted = counted != 0;
	view->read_ns = stow_clock_monotonic();
}

const struct stat_node *stat_view_node(const struct stat_view *view, int node)
{
	for (size_t i = 0; view && i < view->n_nodes; i++)
		if (view->nodes[i].node == node)
			return &view->nodes[i];
	return NULL;
}

uint64_t stat_demoted(const uint64_t counters[STOW_NODE_COUNTERS])
{
	uint64_t sum = STOW_UNKNOWN;

	for (int i = STOW_NUMA_DEMOTED_KSWAPD; i <= STOW_NUMA_DEMOTED_PROACTIVE; i++)
		add(&sum, counters[i]);
	return sum;
}

/* --- all fields of meminfo ------------------------------------------------ */

static struct stat_field *field_of(struct stat_view *view, const struct stow_field *field)
{
	struct stat_field *added;

	for (size_t i = 0; i < view->n_fields; i++)
		if (strcmp(view->fields[i].name, field->name) == 0)
			return &view->fields[i];
	added = STOW_APPEND(view->fields, view->n_fields);
	if (!added)
		return NULL;
	memcpy(added->name, field->name, sizeof(added->name));
	added->bytes = field->bytes;
	added->values = calloc(view->n_nodes, sizeof(*added->values));
	for (size_t i = 0; added->values && i < view->n_nodes; i++)
		added->values[i] = STOW_UNKNOWN;
	return added->values ? added : NULL;
}

static int read_node_fields(struct stow_root *root, struct stat_view *view, size_t index,
			    struct stow_err *err)
{
	_cleanup_free_ struct stow_field *fields = NULL;
	int node = view->nodes[index].node, r;
	struct stow_err why = { 0 };
	size_t n = 0, other = 0;

	r = stow_fields_read(root, node, &fields, &n, &other, &why);
	if (r == -ENOMEM)
		return stow_err_move(err, r, &why);
	if (r < 0) {
		(void)cli_fail(&why);
		return 0;
	}
	if (!n || other)
		fprintf(stderr, "numastow: node %d: meminfo has %s\n", node,
			n ? "lines that are not as the kernel writes them" : "no field");
	for (size_t i = 0; i < n; i++) {
		struct stat_field *field = field_of(view, &fields[i]);

		if (!field)
			return stow_err_sys(err, ENOMEM, "meminfo");
		field->values[index] = fields[i].value;
	}
	return 0;
}

/* --- processes ------------------------------------------------------------ */

static void read_command(struct stow_root *root, pid_t pid, char *buf, size_t size)
{
	if (stow_root_read_buf(root, buf, size, NULL, "/proc/%d/comm", (int)pid) < 0)
		snprintf(buf, size, "?");
	stow_text_clean(buf, size - 1);
}

/* Add a process, or print why only root can. Return 1; -ESRCH: there is none. */
static int add_process(void *ctx, pid_t pid, struct stow_err *err)
{
	struct stat_view *view = ctx;
	struct stow_process_pages pages = { 0 };
	struct stow_err why = { 0 };
	struct stat_process *added;
	int r = stow_process_pages_read(view->root, pid, &pages, &why);

	if (r == -ESRCH)
		return cli_no_process(view->root, pid, err);
	if (r == -EACCES || r == -EPERM)
		(void)stow_err_set(&why, EACCES,
				   "process %d: only root, or its owner, can see its pages",
				   (int)pid);
	if (r < 0) {
		(void)cli_fail(&why);
		view->n_failed++;
		return 1;
	}
	if (pages.other_lines)
		fprintf(stderr,
			"numastow: process %d: %llu lines of numa_maps are not as the kernel "
			"writes them\n",
			(int)pid, (unsigned long long)pages.other_lines);
	added = STOW_APPEND(view->processes, view->n_processes);
	if (!added) {
		stow_process_pages_done(&pages);
		return stow_err_sys(err, ENOMEM, "processes");
	}
	added->pid = pid;
	added->pages = pages;
	read_command(view->root, pid, added->command, sizeof(added->command));
	return 1;
}

void stat_process_nodes(const struct stat_view *view, const struct stat_process *process,
			struct stow_idset *ret)
{
	*ret = view->online;
	for (size_t node = 0; node < process->pages.n_nodes; node++)
		if (stow_process_pages_on(&process->pages, (int)node))
			stow_idset_add(ret, (int)node);
	if (!stow_idset_empty(&view->out->nodes))
		stow_idset_and(ret, &view->out->nodes);
}

uint64_t stat_process_sum(const struct stat_view *view, const struct stat_process *process,
			  int node)
{
	struct stow_idset nodes;
	uint64_t sum = 0;

	if (node >= 0)
		return stow_process_pages_on(&process->pages, node);
	stat_process_nodes(view, process, &nodes);
	STOW_IDSET_FOR(each, &nodes)
		sum = stow_saturating_add(sum, stow_process_pages_on(&process->pages, each));
	return sum;
}

/* --- containers ----------------------------------------------------------- */

static const char *const v2_kernel_rows[] = { "kernel_stack", "pagetables", "sec_pagetables",
					      "slab_reclaimable", "slab_unreclaimable" };

static void take_memory(const struct stow_numa_stat *stat, int version, struct stat_place *place)
{
	bool v1 = version == 1;

	place->anon = stow_numa_stat_get(stat, v1 ? "hierarchical_anon" : "anon", place->node);
	place->file = stow_numa_stat_get(stat, v1 ? "hierarchical_file" : "file", place->node);
	place->shmem = stow_numa_stat_get(stat, "shmem", place->node);
	place->mapped = stow_numa_stat_get(stat, "file_mapped", place->node);
	for (size_t i = 0; !v1 && i < STOW_ARRAY_SIZE(v2_kernel_rows); i++)
		add(&place->kernel, stow_numa_stat_get(stat, v2_kernel_rows[i], place->node));
	add(&place->total, place->anon);
	add(&place->total, place->file);
	add(&place->total, place->kernel);
}

static void note_of(const struct stat_container *c, const char *text)
{
	char id[80];

	fprintf(stderr, "numastow: container %s: %s\n", cli_container_label(&c->it, id, sizeof(id)),
		text);
}

static struct stow_numa_stat *read_memory(struct stow_root *root, struct stat_container *c,
					  struct stow_numa_stat *stat)
{
	uint64_t page = root->live ? (uint64_t)sysconf(_SC_PAGESIZE) : PAGE_SIZE_ELSEWHERE;
	struct stow_err why = { 0 };
	int r = stow_memory_numa_read(c->it.cgroup, page, stat, &why);

	if (r == 0)
		return stat;
	note_of(c, why.msg);
	return NULL;
}

static void read_hugepages(struct stow_root *root, struct stat_container *c)
{
	uint64_t sizes[STOW_POOLS_MAX];
	int n = stow_pool_sizes(root, sizes, NULL);
	bool v1 = c->it.cgroup->at[STOW_CGROUP_HUGETLB].version == 1;

	for (int i = 0; i < n; i++) {
		struct stow_numa_stat stat = { 0 };

		if (stow_hugetlb_numa_read(c->it.cgroup, sizes[i], &stat, NULL) < 0)
			continue;
		for (size_t k = 0; k < c->n_places; k++) {
			struct stat_place *place = &c->places[k];
			uint64_t bytes = stow_numa_stat_get(
				&stat, v1 ? "hierarchical_total" : "total", place->node);

			add(&place->huge, bytes);
			add(&place->total, bytes);
		}
		stow_numa_stat_done(&stat);
	}
}

/* What its processes have mapped; those that end meanwhile have nothing. */
static int read_processes(struct stow_root *root, struct stat_container *c, struct stow_err *err)
{
	_cleanup_free_ pid_t *pids = NULL;
	int r = stow_cgroup_pids(c->it.cgroup, &pids, &c->n_processes, err);

	for (size_t k = 0; k < c->n_places; k++)
		c->places[k].processes = r < 0 ? STOW_UNKNOWN : 0;
	if (r < 0)
		return r;
	for (size_t i = 0; i < c->n_processes; i++) {
		struct stow_process_pages pages = { 0 };

		r = stow_process_pages_read(root, pids[i], &pages, NULL);
		c->n_unread += r < 0 && r != -ESRCH;
		for (size_t k = 0; r == 0 && k < c->n_places; k++)
			add(&c->places[k].processes,
			    stow_process_pages_on(&pages, c->places[k].node));
		stow_process_pages_done(&pages);
	}
	for (size_t k = 0; c->n_unread && k < c->n_places; k++)
		c->places[k].processes = STOW_UNKNOWN;
	return 0;
}

static void read_balancing(struct stat_container *c)
{
	struct stow_root *dir = c->it.cgroup->at[STOW_CGROUP_MEMORY].dir;
	_cleanup_free_ char *text = NULL;
	size_t len;

	for (int i = 0; i < STOW_BALANCING_COUNTERS; i++)
		c->counters[i] = STOW_UNKNOWN;
	if (dir && stow_root_read(dir, STOW_ROOT_READ_MAX, &text, &len, NULL, "memory.stat") == 0)
		(void)stow_counters_parse(text, len, stow_balancing_counter_names, c->counters);
}

static void add_places(struct stat_place *sum, const struct stat_place *place)
{
	add(&sum->anon, place->anon);
	add(&sum->file, place->file);
	add(&sum->shmem, place->shmem);
	add(&sum->mapped, place->mapped);
	add(&sum->kernel, place->kernel);
	add(&sum->huge, place->huge);
	add(&sum->total, place->total);
	add(&sum->processes, place->processes);
}

static const struct stat_place no_place = { -1,		  STOW_UNKNOWN, STOW_UNKNOWN,
					    STOW_UNKNOWN, STOW_UNKNOWN, STOW_UNKNOWN,
					    STOW_UNKNOWN, STOW_UNKNOWN, STOW_UNKNOWN };

static int fill_container(struct stow_root *root, const struct stat_view *view,
			  struct stat_container *c, struct stow_err *err)
{
	struct stow_numa_stat stat = { 0 };
	struct stow_err why = { 0 };
	int r;

	c->version = c->it.cgroup->at[STOW_CGROUP_MEMORY].version;
	c->sum = no_place;
	STOW_IDSET_FOR(node, &view->online) {
		struct stat_place *place;

		if (!cli_output_wants_node(view->out, node))
			continue;
		place = STOW_APPEND(c->places, c->n_places);
		if (!place)
			return stow_err_sys(err, ENOMEM, "containers");
		*place = no_place;
		place->node = node;
	}
	if (read_memory(root, c, &stat))
		for (size_t k = 0; k < c->n_places; k++)
			take_memory(&stat, c->version, &c->places[k]);
	stow_numa_stat_done(&stat);
	read_hugepages(root, c);
	read_balancing(c);
	r = read_processes(root, c, &why);
	if (r == -ENOMEM)
		return stow_err_move(err, r, &why);
	if (r < 0) /* the rest of it, and other containers, are shown */
		note_of(c, why.msg);
	for (size_t k = 0; k < c->n_places; k++)
		add_places(&c->sum, &c->places[k]);
	if (c->n_unread) {
		(void)stow_err_set(&why, EACCES,
				   "only root can see the pages of %zu of its processes",
				   c->n_unread);
		note_of(c, why.msg);
	}
	return 0;
}

static int add_container(struct stow_root *root, struct stat_view *view,
			 struct cli_container *found, struct stow_err *err)
{
	struct stat_container *added = STOW_APPEND(view->containers, view->n_containers);
	struct stow_err why = { 0 };
	int r;

	if (!added) {
		cli_container_done(found);
		return stow_err_sys(err, ENOMEM, "containers");
	}
	added->it = *found;
	r = fill_container(root, view, added, &why);
	if (r == -ENOMEM)
		return stow_err_move(err, r, &why);
	if (r < 0) {
		(void)cli_fail(&why);
		view->n_failed++;
	}
	return 0;
}

/* --- what was asked for --------------------------------------------------- */

/* A number is a PID; else it is a container, and only then the name of a program. */
static int add_word(struct stow_root *root, struct stat_view *view, const char *word,
		    struct stow_err *err)
{
	struct cli_container found = { 0 };
	struct stow_err why = { 0 };
	uint64_t pid;
	int r;

	if (stow_parse_u64(word, INT32_MAX, &pid, NULL) == 0 && pid) {
		r = add_process(view, (pid_t)pid, &why);
	} else {
		r = cli_container_find(root, word, &found, &why);
		if (r == 0)
			return add_container(root, view, &found, err);
		if (r == -ENOENT)
			r = cli_each_named(root, word, add_process, view, &why);
	}
	if (r >= 0 || r == -ENOMEM)
		return r < 0 ? stow_err_move(err, r, &why) : 0;
	(void)cli_fail(&why);
	view->n_failed++;
	return 0;
}

static uint64_t place_total(const struct stat_container *c, int node)
{
	for (size_t k = 0; k < c->n_places; k++)
		if (c->places[k].node == node && c->places[k].total != STOW_UNKNOWN)
			return c->places[k].total;
	return 0;
}

static int compare(uint64_t a, uint64_t b)
{
	return a > b ? -1 : a < b;
}

static int by_process(const void *a, const void *b, void *view)
{
	int node = ((const struct stat_view *)view)->sort;

	return compare(stat_process_sum(view, a, node), stat_process_sum(view, b, node));
}

static int by_container(const void *a, const void *b, void *view)
{
	int node = ((const struct stat_view *)view)->sort;

	return compare(place_total(a, node), place_total(b, node));
}

static int by_field(const void *a, const void *b, void *view)
{
	const struct stat_view *v = view;
	size_t i = 0;

	while (i < v->n_nodes && v->nodes[i].node != v->sort)
		i++;
	if (i == v->n_nodes)
		return 0;
	return compare(((const struct stat_field *)a)->values[i] + 1,
		       ((const struct stat_field *)b)->values[i] + 1);
}

static void sort(struct stat_view *view)
{
	if (view->sort < 0)
		return;
	if (view->n_processes)
		qsort_r(view->processes, view->n_processes, sizeof(*view->processes), by_process,
			view);
	if (view->n_containers)
		qsort_r(view->containers, view->n_containers, sizeof(*view->containers),
			by_container, view);
	if (view->n_fields)
		qsort_r(view->fields, view->n_fields, sizeof(*view->fields), by_field, view);
}

int stat_view_read(struct stow_root *root, struct stat_view *view, char **words, int n_words,
		   struct stow_err *err)
{
	int r = read_online(root, view, err);

	view->root = root;
	if (r == 0 && view->sort >= 0 && !stow_idset_has(&view->online, view->sort))
		r = stow_err_set(err, EINVAL, "--sort %d: there is no such NUMA node", view->sort);
	for (int i = 0; r == 0 && i < n_words; i++)
		r = add_word(root, view, words[i], err);
	if (r == 0 && !n_words)
		r = read_nodes(root, view, err);
	if (r == 0 && !n_words && !view->meminfo)
		read_machine(root, view);
	for (size_t i = 0; r == 0 && view->meminfo && i < view->n_nodes; i++)
		r = read_node_fields(root, view, i, err);
	if (r == 0)
		sort(view);
	return r;
}

void stat_view_done(struct stat_view *view)
{
	for (size_t i = 0; i < view->n_processes; i++)
		stow_process_pages_done(&view->processes[i].pages);
	for (size_t i = 0; i < view->n_containers; i++) {
		cli_container_done(&view->containers[i].it);
		free(view->containers[i].places);
	}
	for (size_t i = 0; i < view->n_fields; i++)
		free(view->fields[i].values);
	free(view->processes);
	free(view->containers);
	free(view->fields);
	free(view->nodes);
	*view = (struct stat_view){ 0 };
}

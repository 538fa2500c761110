// SPDX-License-Identifier: Apache-2.0
/* numastow bind: bind running processes to CPUs, and to memory by their cgroup. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/parse.h"
#include "cgroup/procs.h"
#include "cli/cli.h"
#include "cli/container.h"
#include "cli/json_writer.h"
#include "cli/options.h"
#include "cli/process.h"
#include "grant/bind.h"
#include "node/topology.h"
#include "pages/numa_maps.h"

/* A process, and what became of it. */
struct bound {
	struct cli_process process;
	struct stow_cgroup *cgroup; /* with memory: its cgroup, that of several only once */
	struct stow_idset cpus;	    /* as they took effect */
	size_t threads;		    /* how many got them */
	struct stow_page_move move;
	bool named; /* by itself, not as one of a container's */
	bool gone;  /* it has ended meanwhile, beside others that have not */
};

struct bind {
	struct cli_context context;
	const char *cpu_list, *node_list, *memory_list;
	bool thread, others, dry_run, json, quiet;
	struct stow_idset cpus, mems; /* empty: not to be bound */
	struct bound *list;
	size_t n;
	pid_t *pids; /* of all */
	bool partial;
	int failed; /* the exit code of a failure */
};

static void bind_done(struct bind *b)
{
	for (size_t i = 0; i < b->n; i++)
		stow_cgroup_free_ptr(&b->list[i].cgroup);
	free(b->list);
	free(b->pids);
	cli_context_done(&b->context);
}

/* --- what is asked for ------------------------------------------------------------------- */

/* --nodes: the CPUs of these nodes, and their memory. */
static int take_nodes(struct bind *b, const struct stow_topology *topology, struct stow_err *err)
{
	struct stow_idset all = { 0 }, nodes;
	int r;

	for (size_t i = 0; i < topology->n_nodes; i++)
		stow_idset_add(&all, topology->nodes[i].id);
	r = cli_parse_ids("--nodes", b->node_list, "node", &all, &nodes, err);
	if (r < 0)
		return r;
	STOW_IDSET_FOR(id, &nodes)
		if (!b->cpu_list)
			stow_idset_or(&b->cpus, &stow_topology_node(topology, id)->cpus);
	if (stow_idset_empty(&b->cpus) && !b->cpu_list)
		return stow_err_set(err, EINVAL, "--nodes %s: they have no CPUs", b->node_list);
	if (!b->thread && !b->memory_list)
		b->mems = nodes;
	return 0;
}

static int parse_lists(struct bind *b, struct stow_err *err)
{
	_cleanup_(stow_topology_free_ptr) struct stow_topology *topology = NULL;
	struct stow_idset with_memory;
	int r = stow_topology_read(b->context.root, 0, &topology, err);

	if (r < 0)
		return r;
	b->failed = CLI_USAGE;
	cli_nodes_with_memory(b->context.root, &with_memory);
	if (b->node_list)
		r = take_nodes(b, topology, err);
	if (r == 0 && b->cpu_list)
		r = cli_parse_ids("--cpus", b->cpu_list, "CPU", &topology->online, &b->cpus, err);
	if (r == 0 && b->memory_list)
		r = cli_parse_ids("--memory", b->memory_list, "node", &with_memory, &b->mems, err);
	if (r < 0)
		return r;
	/* A node without memory has CPUs only. */
	stow_idset_and(&b->mems, &with_memory);
	b->failed = CLI_FAILED;
	return 0;
}

/* The applier sets what a container may use: binding its processes would contradict it. */
static int check_container(struct bind *b, const struct cli_process *process, struct stow_err *err)
{
	char id[256];
	int r = cli_process_container(&b->context, process, id, sizeof(id), err);

	if (r <= 0)
		return r;
	return stow_err_set(err, EBUSY,
			    "process %d is in container %s, whose CPUs and memory numastow sets: "
			    "use numastow repin %s --to NODES",
			    (int)process->ref.pid, id, id);
}

static int find_cgroup(struct bind *b, struct bound *bound, struct stow_err *err)
{
	int r = stow_cgroup_of_pid(b->context.root, bound->process.ref.pid, &bound->cgroup, err);

	for (struct bound *other = b->list; r == 0 && other < bound; other++)
		if (other->cgroup && stow_cgroup_id_equal(&other->cgroup->id, &bound->cgroup->id)) {
			stow_cgroup_free(STOW_TAKE_PTR(bound->cgroup));
			break;
		}
	return r;
}

static int check_cgroup(struct bind *b, const struct stow_cgroup *cgroup, struct stow_err *err)
{
	struct stow_err why = { 0 };
	int r = stow_bind_check(cgroup, &b->mems, b->pids, b->n, b->others, &why);

	if (r == 0)
		return 0;
	return stow_err_set(err, -r, "%s%s", why.msg,
			    b->node_list && !b->memory_list ? " (--cpus binds CPUs alone)" : "");
}

static int add_process(struct bind *b, const struct cli_process *process, struct stow_err *err)
{
	pid_t *pids = reallocarray(b->pids, b->n + 1, sizeof(*pids));
	struct bound *bound;

	if (pids)
		b->pids = pids;
	bound = pids ? STOW_APPEND(b->list, b->n) : NULL;
	if (!bound)
		return stow_err_set(err, ENOMEM, "out of memory");
	bound->process = *process;
	b->pids[b->n - 1] = process->ref.pid;
	return check_container(b, process, err);
}

/* Add the processes of a container: those that do not end meanwhile. */
static int add_container(struct bind *b, const char *word, struct stow_err *err)
{
	_cleanup_(cli_container_done) struct cli_container found = { 0 };
	_cleanup_free_ pid_t *pids = NULL;
	size_t n = 0, before = b->n;
	int r = cli_container_find(b->context.root, word, &found, err);

	if (r == 0)
		r = stow_cgroup_pids(found.cgroup, &pids, &n, err);
	for (size_t i = 0; i < n && r == 0; i++) {
		struct cli_process process;

		r = cli_process_read(b->context.root, pids[i], &process, err);
		if (r == 0)
			r = add_process(b, &process, err);
		if (r == -ESRCH)
			r = 0;
	}
	if (r == 0 && b->n == before)
		r = stow_err_set(err, ESRCH, "container %.64s has no process", word);
	return r;
}

/* Read all processes, and check everything before anything changes. */
static int find_processes(struct bind *b, char **words, struct stow_err *err)
{
	int r = 0;

	for (; *words && r == 0; words++) {
		struct cli_process process;

		if (!b->thread && !cli_is_pid(*words)) {
			r = add_container(b, *words, err);
			continue;
		}
		r = cli_process_parse(b->context.root, *words, &process, err);
		if (r == 0)
			r = add_process(b, &process, err);
		if (r == 0)
			b->list[b->n - 1].named = true;
	}
	for (size_t i = 0; i < b->n && r == 0 && !stow_idset_empty(&b->mems); i++) {
		r = find_cgroup(b, &b->list[i], err);
		if ((r == -ESRCH || r == -ENOENT) && b->n > 1)
			r = 0; /* it has ended */
		if (r == 0 && b->list[i].cgroup)
			r = check_cgroup(b, b->list[i].cgroup, err);
		if (r == -ERANGE)
			b->failed = CLI_NOT_FIT;
	}
	return r;
}

/* --- binding ----------------------------------------------------------------------------------- */

static int bind_cpus(struct bind *b, struct bound *bound, struct stow_err *err)
{
	pid_t pid = bound->process.ref.pid;
	int r;

	if (b->thread) {
		r = stow_bind_thread(b->context.root, pid, &b->cpus, &bound->cpus, err);
		bound->threads = 1;
	} else {
		r = stow_bind_threads(b->context.root, pid, &b->cpus, &bound->cpus, &bound->threads,
				      err);
	}
	if (r == 0 && !stow_idset_equal(&bound->cpus, &b->cpus))
		b->partial = true;
	return r;
}

static int bind_memory(struct bind *b, struct bound *bound, struct stow_err *err)
{
	uint64_t left = 0;
	int r = stow_bind_memory(bound->cgroup, &b->mems, &bound->move, err);

	if (r == 0 && bound->move.reasons && !stow_idset_empty(&bound->move.from) &&
	    stow_pages_mapped(b->context.root, bound->process.ref.pid, &bound->move.from, &left,
			      NULL) == 0 &&
	    left)
		b->partial = true;
	return r;
}

static int bind_all(struct bind *b, struct stow_err *err)
{
	size_t gone = 0;
	int r = 0;

	for (size_t i = 0; i < b->n && r == 0; i++) {
		struct bound *bound = &b->list[i];

		if (!stow_idset_empty(&b->cpus))
			r = bind_cpus(b, bound, err);
		if (r == -ESRCH && ++gone < b->n) {
			bound->gone = true;
			b->partial |= bound->named;
			r = 0;
		}
		if (r == 0 && bound->cgroup)
			r = bind_memory(b, bound, err);
	}
	return r;
}

/* --- what came of it ---------------------------------------------------------------------------- */

static void print_cpus(const struct bind *b, const struct bound *bound)
{
	const struct cli_process *p = &bound->process;
	char wanted[128], got[128];

	stow_idset_format(&b->cpus, wanted, sizeof(wanted));
	if (bound->gone) {
		printf("process %d (%s) has ended\n", (int)p->ref.pid, p->name);
		return;
	}
	if (b->dry_run) {
		printf("%s %d (%s): would get CPUs %s\n", b->thread ? "thread" : "process",
		       (int)p->ref.pid, p->name, wanted);
		return;
	}
	stow_idset_format(&bound->cpus, got, sizeof(got));
	printf("%s %d (%s): CPUs %s", b->thread ? "thread" : "process", (int)p->ref.pid, p->name,
	       got);
	if (!b->thread)
		printf(", %zu threads changed", bound->threads);
	putchar('\n');
	if (!stow_idset_equal(&bound->cpus, &b->cpus))
		printf("  of CPUs %s the others are outside of its cpuset, or offline\n", wanted);
}

static void print_memory(const struct bind *b, const struct bound *bound)
{
	char list[64], moved[32];

	stow_idset_format(&b->mems, list, sizeof(list));
	if (b->dry_run) {
		printf("cgroup %s: would get the memory of nodes %s\n", bound->cgroup->path, list);
		return;
	}
	printf("cgroup %s: memory of nodes %s, %s moved\n", bound->cgroup->path, list,
	       stow_format_size(bound->move.moved, moved, sizeof(moved)));
}

static void print_text(const struct bind *b)
{
	for (size_t i = 0; i < b->n; i++) {
		if (!stow_idset_empty(&b->cpus))
			print_cpus(b, &b->list[i]);
		if (b->list[i].cgroup)
			print_memory(b, &b->list[i]);
	}
	if (!b->dry_run && !stow_idset_empty(&b->mems))
		printf("The processes' memory policies are unchanged, as no system call sets that "
		       "of another process: they hold within these nodes.\n");
	else if (!b->dry_run && !b->thread)
		printf("Memory is not bound: pages stay, and new ones come from where the policy "
		       "says.\n");
}

static int print_json(const struct bind *b)
{
	json_object *o = json_object_new_object(), *processes = json_object_new_array(),
		    *cgroups = json_object_new_array();
	struct json_writer w = { .ok = true };

	json_put(&w, o, "version", json_object_new_string(STOW_VERSION));
	for (size_t i = 0; i < b->n; i++) {
		const struct bound *bound = &b->list[i];
		json_object *p, *c;

		if (bound->gone)
			continue;
		p = json_object_new_object();
		json_put(&w, p, "pid", json_object_new_int(bound->process.ref.pid));
		if (!stow_idset_empty(&b->cpus)) {
			json_put_set(&w, p, "cpus", b->dry_run ? &b->cpus : &bound->cpus);
			json_put(&w, p, "threads", json_object_new_uint64(bound->threads));
		}
		json_append(&w, processes, p);
		if (!bound->cgroup)
			continue;
		c = json_object_new_object();
		json_put(&w, c, "cgroup", json_object_new_string(bound->cgroup->path));
		json_put_set(&w, c, "mems", &b->mems);
		json_put(&w, c, "moved", json_object_new_uint64(bound->move.moved));
		json_append(&w, cgroups, c);
	}
	json_put(&w, o, "processes", processes);
	json_put(&w, o, "cgroups", cgroups);
	return json_print(&w, o);
}

/* Only the ledger tells whether a process is in a container. */
static int open_context(struct bind *b, struct stow_err *err)
{
	int r = cli_context_open_anyway(&b->context, NULL, false, err);

	return r == -EACCES ? stow_err_set(err, EACCES,
					   "only root can read the ledger, and so see whether a "
					   "process is in a container; numastow taskset -ap does "
					   "not ask")
			    : r;
}

static int run(struct bind *b, char **words, struct stow_err *err)
{
	int r = open_context(b, err);

	if (r == 0)
		r = parse_lists(b, err);
	if (r == 0)
		r = find_processes(b, words, err);
	if (r == 0 && !b->dry_run) {
		cli_widen_mems(b->context.root);
		r = bind_all(b, err);
	}
	return r;
}

static const struct cli_usage usage = {
	.name = "bind",
	.arguments = "[OPTION...] PID | CONTAINER...",
	.summary = "Bind running processes to CPUs and to memory; of a container without a grant, "
		   "all of them",
	.options = "  --nodes LIST   the CPUs of these nodes, and their memory\n"
		   "  --cpus LIST    these CPUs\n"
		   "  --memory LIST  the memory of these nodes\n"
		   "  --thread       only the threads of these numbers, not their processes\n"
		   "  --cgroup       bind the memory of all processes in the cgroup\n"
		   "  --dry-run      print what would be bound, and change nothing\n"
		   "  -J, --json     print JSON\n"
		   "  -q, --quiet    print errors only\n"
		   "  -h, --help     print this text\n",
	.words = 4096,
};

int cmd_bind(int argc, char **argv)
{
	_cleanup_(bind_done) struct bind b = { .failed = CLI_FAILED };
	const struct cli_option options[] = {
		{ "nodes", .text = &b.node_list },
		{ "cpus", .text = &b.cpu_list },
		{ "memory", .text = &b.memory_list },
		{ "thread", .flag = &b.thread },
		{ "cgroup", .flag = &b.others },
		{ "dry-run", .flag = &b.dry_run },
		{ "json", 'J', .flag = &b.json },
		{ "quiet", 'q', .flag = &b.quiet },
		{ 0 },
	};
	struct stow_err err = { 0 };
	int r = cli_options(&usage, options, argc, argv);

	if (r >= 0)
		return r;
	if (argc == optind)
		return cli_wrong_usage("bind",
				       "the number of a process, or a container, is missing");
	if (!b.node_list && !b.cpu_list && !b.memory_list)
		return cli_wrong_usage("bind", "expected --nodes, --cpus or --memory");
	if (b.thread && b.memory_list)
		return cli_wrong_usage("bind", "--memory is not for a --thread: memory nodes are "
					       "those of a cgroup");
	if (run(&b, argv + optind, &err) < 0) {
		if (b.failed == CLI_USAGE)
			return cli_wrong_usage("bind", "%s", err.msg);
		(void)cli_fail(&err);
		return b.failed;
	}
	if (b.json && print_json(&b) < 0)
		return CLI_FAILED;
	if (!b.json && !b.quiet)
		print_text(&b);
	return b.partial ? CLI_PARTIAL : CLI_OK;
}

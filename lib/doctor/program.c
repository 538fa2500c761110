// SPDX-License-Identifier: Apache-2.0
#include "doctor/program.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/math.h"
#include "base/parse.h"
#include "base/text.h"
#include "doctor/internal.h"
#include "pages/numa_maps.h"

#define FAULTS_MIN 1000 /* hinting faults; fewer show nothing */
#define MOSTLY	   80	/* percent of the faults */

static const char *const kinds[] = {
	"unknown",	     "latency",	   "capacity", "shared-read-only",
	"shared-read-write", "per-thread", NULL
};

const char *stow_program_kind_name(enum stow_program_kind kind)
{
	return kinds[kind];
}

int stow_program_kind_parse(const char *text, enum stow_program_kind *ret, struct stow_err *err)
{
	char why[STOW_WHY_MAX], quoted[64];
	int found = stow_parse_word_why(text, kinds + 1, why);

	if (found < 0)
		return stow_err_set(err, EINVAL, "\"%s\" %s",
				    stow_text_quote(text, quoted, sizeof(quoted)), why);
	*ret = (enum stow_program_kind)(found + 1);
	return 0;
}

void stow_program_done(struct stow_program *program)
{
	free(program->used);
	program->used = NULL;
}

/* --- what can be known ------------------------------------------------------- */

static uint64_t resident(struct stow_root *root, pid_t pid)
{
	_cleanup_free_ char *text = NULL;
	uint64_t bytes = 0;

	if (stow_root_read(root, 65536, &text, NULL, NULL, "/proc/%d/status", (int)pid) < 0)
		return 0;
	(void)stow_parse_kib(text, "VmRSS", &bytes);
	return bytes;
}

/* Sum the pages of numa_maps by node. Without the right to read it, they are unknown. */
static int read_used(struct stow_root *root, const struct stow_topology *topology,
		     struct stow_program *program, struct stow_err *err)
{
	struct stow_numa_maps maps = { 0 };

	program->used = calloc(topology->n_nodes + 1, sizeof(*program->used));
	if (!program->used)
		return stow_err_sys(err, ENOMEM, "reading a process");
	if (stow_numa_maps_open(root, program->pid, "numa_maps", &maps, NULL) < 0)
		return 0;
	while (getline(&maps.line, &maps.size, maps.file) > 0)
		for (size_t i = 0; i < topology->n_nodes; i++) {
			struct stow_idset node = { 0 };
			struct stow_numa_map map;

			stow_idset_add(&node, topology->nodes[i].id);
			if (stow_numa_maps_line(maps.line, &node, &map) == 0)
				program->used[i] = stow_saturating_add(program->used[i],
								       map.pages * map.page_size);
		}
	program->placed = true;
	stow_numa_maps_close(&maps);
	return 0;
}

/* Return the number after "KEY=" in a text that ends at `end`; 0 when there is none. */
static uint64_t number_behind(const char *text, const char *end, const char *key)
{
	const char *p = strstr(text, key);
	char number[32];
	uint64_t value;

	if (!p || p >= end)
		return 0;
	p += strlen(key);
	snprintf(number, sizeof(number), "%.*s", (int)STOW_MIN(strspn(p, "0123456789"), (size_t)20),
		 p);
	return stow_parse_u64(number, INT64_MAX, &value, NULL) == 0 ? value : 0;
}

/* Sum the faults of the process's first thread and its group (kernel/sched/debug.c). */
static void read_faults(struct stow_root *root, struct stow_program *program)
{
	_cleanup_free_ char *text = NULL;

	if (stow_root_read(root, 65536, &text, NULL, NULL, "/proc/%d/sched", (int)program->pid) < 0)
		return;
	for (const char *line = text; (line = strstr(line, "numa_faults node="));) {
		const char *end = line + strcspn(line, "\n");
		uint64_t alone = number_behind(line, end, "task_private="),
			 group = number_behind(line, end, "group_private=");

		program->by_one = stow_saturating_add(program->by_one, STOW_MAX(alone, group));
		alone = number_behind(line, end, "task_shared=");
		group = number_behind(line, end, "group_shared=");
		program->by_several =
			stow_saturating_add(program->by_several, STOW_MAX(alone, group));
		line = end;
	}
	program->sampled = stow_saturating_add(program->by_one, program->by_several) >= FAULTS_MIN;
}

/* Return the memory of the largest node on which the program may run. */
static uint64_t largest_node(const struct stow_topology *topology, const struct stow_idset *cpus)
{
	uint64_t most = 0;

	for (size_t i = 0; i < topology->n_nodes; i++)
		if (stow_idset_intersects(&topology->nodes[i].cpus, cpus))
			most = STOW_MAX(most, topology->nodes[i].mem_total);
	return most;
}

static void classify(const struct stow_topology *topology, struct stow_program *program)
{
	uint64_t node = largest_node(topology, &program->cpus);
	uint64_t faults = stow_saturating_add(program->by_one, program->by_several);
	char a[32], b[32];

	program->kind = STOW_PROGRAM_UNKNOWN;
	snprintf(program->why, sizeof(program->why),
		 "the kernel does not show whether latency matters, nor what the threads share");
	if (node && program->memory > node / 10 * 9) {
		program->kind = STOW_PROGRAM_CAPACITY;
		snprintf(program->why, sizeof(program->why),
			 "its %s of memory do not fit on one of its nodes, of at most %s",
			 stow_format_size(program->memory, a, sizeof(a)),
			 stow_format_size(node, b, sizeof(b)));
	} else if (program->sampled && program->threads > 1 &&
		   doctor_percent(program->by_one, faults) >= MOSTLY) {
		program->kind = STOW_PROGRAM_PER_THREAD;
		snprintf(program->why, sizeof(program->why),
			 "%u %% of its %" PRIu64 " hinting faults were on pages of one thread",
			 doctor_percent(program->by_one, faults), faults);
	} else if (program->sampled && doctor_percent(program->by_several, faults) >= MOSTLY) {
		snprintf(program->why, sizeof(program->why),
			 "%u %% of its %" PRIu64 " hinting faults were on pages of several "
			 "threads; the kernel does not show whether they write to them",
			 doctor_percent(program->by_several, faults), faults);
	}
}

static int find(struct stow_root *root, const char *name, struct stow_program *ret,
		struct stow_err *err)
{
	struct doctor d = { .root = root };
	uint64_t pid = 0;
	bool number = stow_parse_u64(name, INT32_MAX, &pid, NULL) == 0;
	int r = doctor_processes(&d, err);

	for (size_t i = 0; r == 0 && i < d.n_processes; i++) {
		const struct doctor_process *p = &d.processes[i];
		uint64_t memory;

		if (number ? (pid_t)pid != p->pid : strncmp(name, p->comm, 15) != 0)
			continue;
		memory = resident(root, p->pid);
		ret->n_running++;
		if (ret->pid && memory <= ret->memory)
			continue;
		ret->pid = p->pid;
		ret->memory = memory;
		ret->threads = p->threads;
		ret->cpus = p->cpus;
		ret->mems = p->mems;
		snprintf(ret->name, sizeof(ret->name), "%s", p->comm);
	}
	free(d.processes);
	stow_text_clean(ret->name, sizeof(ret->name) - 1);
	if (r == 0 && number && !ret->pid)
		return stow_err_set(err, ESRCH,
				    "--program %" PRIu64
				    ": there is no such process, or it is a kernel thread",
				    pid);
	return r;
}

int stow_program_read(struct stow_root *root, const struct stow_topology *topology,
		      const char *name, struct stow_program *ret, struct stow_err *err)
{
	int r;

	*ret = (struct stow_program){ 0 };
	r = find(root, name, ret, err);
	if (r < 0)
		return r;
	if (!ret->pid) {
		stow_text_quote(name, ret->name, sizeof(ret->name));
		ret->cpus = topology->online;
		snprintf(ret->why, sizeof(ret->why), "it does not run");
		return 0;
	}
	r = read_used(root, topology, ret, err);
	if (r < 0)
		return r;
	read_faults(root, ret);
	classify(topology, ret);
	return 0;
}

/* --- advice -------------------------------------------------------------------- */

/* Return the node to bind the program to: one that has its CPUs and enough available memory, and of
 * these the one with most of its pages. -1: none has enough. */
static int bind_to(const struct stow_topology *topology, const struct stow_program *program)
{
	int best = -1;
	uint64_t best_used = 0, best_room = 0;

	for (size_t i = 0; i < topology->n_nodes; i++) {
		const struct stow_node *node = &topology->nodes[i];
		uint64_t used = program->placed ? program->used[i] : 0;
		uint64_t room = stow_saturating_add(node->mem_available, used);

		if (!stow_idset_intersects(&node->cpus, &program->cpus) || room < program->memory ||
		    room == 0)
			continue;
		if (best < 0 || used > best_used || (used == best_used && room > best_room)) {
			best = node->id;
			best_used = used;
			best_room = room;
		}
	}
	return best;
}

static void warn_of_bind(const struct stow_topology *topology, int id,
			 struct stow_program_advice *ret)
{
	const struct stow_node *node = stow_topology_node(topology, id);
	uint64_t others = 0;
	char a[32], b[32];

	if (topology->n_nodes < 2)
		return;
	for (size_t i = 0; i < topology->n_nodes; i++)
		if (topology->nodes[i].id != id)
			others = stow_saturating_add(others, topology->nodes[i].mem_available);
	snprintf(ret->warning, sizeof(ret->warning),
		 "a hard bind can use up node %d (%s available) while other nodes have room (%s): "
		 "then the kernel swaps or kills; --policy preferred falls back instead",
		 id, stow_format_size(node ? node->mem_available : 0, a, sizeof(a)),
		 stow_format_size(others, b, sizeof(b)));
}

static void advise_latency(const struct stow_topology *topology, const struct stow_program *program,
			   struct stow_program_advice *ret)
{
	int id = bind_to(topology, program);

	ret->policy = "bind";
	snprintf(ret->reason, sizeof(ret->reason),
		 "each access waits for its memory: CPUs and memory belong on one node");
	if (id < 0) {
		ret->policy = "preferred";
		snprintf(ret->command, sizeof(ret->command),
			 "numastow run --policy preferred -- %s", program->name);
		snprintf(ret->warning, sizeof(ret->warning),
			 "no node of its CPUs has room for all of its memory");
		return;
	}
	stow_idset_add(&ret->nodes, id);
	snprintf(ret->command, sizeof(ret->command), "numastow run --nodes %d --policy bind -- %s",
		 id, program->name);
	warn_of_bind(topology, id, ret);
}

void stow_program_advise(const struct stow_topology *topology, const struct stow_program *program,
			 enum stow_program_kind kind, struct stow_program_advice *ret)
{
	const char *name = program->name;

	*ret = (struct stow_program_advice){ .kind = kind ? kind : program->kind };
	switch (ret->kind) {
	case STOW_PROGRAM_LATENCY:
		advise_latency(topology, program, ret);
		return;
	case STOW_PROGRAM_CAPACITY:
		ret->policy = "interleave";
		snprintf(ret->reason, sizeof(ret->reason),
			 "more memory, or bandwidth, than one node has: its pages go round the "
			 "nodes, and all memory controllers are used");
		snprintf(ret->command, sizeof(ret->command),
			 "numastow run --policy interleave -- %s", name);
		break;
	case STOW_PROGRAM_SHARED_READ_ONLY:
		ret->policy = "interleave";
		snprintf(ret->reason, sizeof(ret->reason),
			 "all nodes read the same data: interleaved, no node's controller is the "
			 "bottleneck; with room, one instance per node has a copy of its own");
		snprintf(
			ret->command, sizeof(ret->command),
			"numastow run --policy interleave -- %s; or numastow run --each-node -- %s",
			name, name);
		break;
	case STOW_PROGRAM_SHARED_READ_WRITE:
		advise_latency(topology, program, ret);
		snprintf(ret->reason, sizeof(ret->reason),
			 "written cache lines move between the CPUs: on one node they stay near");
		return;
	case STOW_PROGRAM_PER_THREAD:
		ret->policy = "local";
		snprintf(ret->reason, sizeof(ret->reason),
			 "each thread's pages are allocated where it first writes them: bind its "
			 "threads, and memory follows");
		snprintf(ret->command, sizeof(ret->command),
			 "numastow run --policy local -- %s; or numastow run --each-node -- %s",
			 name, name);
		break;
	case STOW_PROGRAM_UNKNOWN:
	case STOW_PROGRAM_KINDS:
		snprintf(ret->reason, sizeof(ret->reason), "unknown, give --kind");
		break;
	}
}

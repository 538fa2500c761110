// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "cli/compat/numactl.h"
#include "node/memory.h"

#define NODE_DIR "/sys/devices/system/node"

static void print_set(const char *name, const struct stow_idset *set)
{
	printf("%s: ", name);
	STOW_IDSET_FOR(id, set)
		printf("%d ", id);
	putchar('\n');
}

/* Find the nodes with CPUs on which this thread may run. */
static void find_run_nodes(const struct compat_task *task, const struct stow_idset *cpus,
			   struct stow_idset *ret)
{
	*ret = (struct stow_idset){ 0 };
	STOW_IDSET_FOR(node, &task->present) {
		struct stow_idset of_node;

		if (compat_node_cpus(task, node, &of_node, NULL) == 0 &&
		    stow_idset_intersects(&of_node, cpus))
			stow_idset_add(ret, node);
	}
}

static void print_preferred(int policy, const struct stow_idset *nodes)
{
	printf("preferred node: ");
	switch (policy) {
	case COMPAT_PREFERRED:
	case COMPAT_BIND:
		printf("%d\n", stow_idset_next(nodes, 0));
		break;
	case COMPAT_INTERLEAVE:
	case COMPAT_WEIGHTED_INTERLEAVE:
		printf("%d (interleave next)\n", compat_get_node(NULL));
		break;
	case COMPAT_PREFERRED_MANY:
		printf("%d (preferred-many)\n", stow_idset_next(nodes, 0));
		break;
	default:
		printf("current\n");
	}
}

static void print_interleaving(const struct compat_task *task, bool weighted,
			       const struct stow_idset *nodes)
{
	uint64_t weight;

	print_set("interleavemask", nodes);
	if (weighted) {
		printf("interleaveweights:");
		STOW_IDSET_FOR(node, nodes)
			if (stow_root_read_u64(task->root, &weight, NULL,
					       "/sys/kernel/mm/mempolicy/weighted_interleave/"
					       "node%d",
					       node) == 0)
				printf(" %" PRIu64, weight);
		putchar('\n');
	}
	printf("interleavenode: %d\n", compat_get_node(NULL));
}

int numactl_show(const struct compat_task *task)
{
	struct stow_idset cpus = task->cpus, run, nodes;
	char name[64];
	int mode, plain, r;

	(void)compat_get_cpus(0, &cpus, NULL);
	r = compat_get_policy(NULL, &mode, &nodes);
	if (r < 0) {
		print_set("physcpubind", &cpus);
		printf("No NUMA support available on this system.\n");
		return compat_fail(task->program, "get_mempolicy(2): %s", strerror(-r));
	}
	plain = mode & ~(COMPAT_BALANCING | COMPAT_STATIC | COMPAT_RELATIVE);
	printf("policy: %s\n", compat_policy_name(mode, name, sizeof(name)));
	print_preferred(plain, &nodes);
	if (plain == COMPAT_INTERLEAVE || plain == COMPAT_WEIGHTED_INTERLEAVE)
		print_interleaving(task, plain == COMPAT_WEIGHTED_INTERLEAVE, &nodes);
	find_run_nodes(task, &cpus, &run);
	print_set("physcpubind", &cpus);
	print_set("cpubind", &run);
	print_set("nodebind", &run);
	print_set("membind", plain == COMPAT_BIND ? &nodes : &task->mems);
	/* The nodes of any policy, as numactl has it. */
	print_set("preferred", &nodes);
	return 0;
}

static void print_cpus(const struct compat_task *task, int node, bool compress)
{
	struct stow_idset cpus = { 0 };
	const char *separator = "";
	int last;

	(void)compat_node_cpus(task, node, &cpus, NULL);
	printf("node %d cpus:", node);
	for (int id = stow_idset_next(&cpus, 0); id >= 0; id = stow_idset_next(&cpus, last + 1)) {
		for (last = id; compress && stow_idset_has(&cpus, last + 1);)
			last++;
		printf("%s %d", compress ? separator : "", id);
		if (last > id)
			printf("-%d", last);
		separator = ",";
	}
	if (compress)
		printf(" (%zu)", stow_idset_count(&cpus));
	putchar('\n');
}

static void print_memory(const struct compat_task *task, int node)
{
	struct stow_meminfo memory;

	if (stow_meminfo_read(task->root, node, &memory, NULL) < 0) {
		printf("node %d size: <not available>\nnode %d free: <not available>\n", node,
		       node);
		return;
	}
	printf("node %d size: %" PRIu64 " MB\nnode %d free: %" PRIu64 " MB\n", node,
	       memory.total >> 20, node, memory.free >> 20);
}

/* Print a node's distances: the file has a number for each node that is online. */
static void print_distances_of(const struct compat_task *task, int node)
{
	_cleanup_free_ char *text = NULL;
	const char *p;

	printf("% 4d: ", node);
	(void)stow_root_read(task->root, STOW_ROOT_READ_MAX, &text, NULL, NULL,
			     NODE_DIR "/node%d/distance", node);
	p = text ? text : "";
	STOW_IDSET_FOR(to, &task->present) {
		size_t len;

		p += strspn(p, " \n");
		len = strcspn(p, " \n");
		/* The file has too few numbers: an unknown distance is "-". */
		printf(" %3.*s ", len ? (int)len : 1, len ? p : "-");
		p += len;
	}
	putchar('\n');
}

int numactl_hardware(const struct compat_task *task, bool compress)
{
	_cleanup_free_ char *list = stow_idset_to_list(&task->present);

	printf("available: %zu nodes (%s)\n", stow_idset_count(&task->present), list ? list : "");
	STOW_IDSET_FOR(node, &task->present) {
		print_cpus(task, node, compress);
		print_memory(task, node);
	}
	if (stow_root_exists(task->root, NODE_DIR "/node%d/distance",
			     stow_idset_next(&task->present, 0)) != 1) {
		printf("No distance information available.\n");
		return 0;
	}
	printf("node distances:\nnode  ");
	STOW_IDSET_FOR(node, &task->present)
		printf("% 4d ", node);
	putchar('\n');
	STOW_IDSET_FOR(node, &task->present)
		print_distances_of(task, node);
	return 0;
}

// SPDX-License-Identifier: Apache-2.0
/* The table of rules, and their application. The table's order is that of the output. */
#include <errno.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "doctor/internal.h"

#define PROBLEM	    STOW_FINDING_PROBLEM
#define ADVICE	    STOW_FINDING_ADVICE
#define INFORMATION STOW_FINDING_INFORMATION

#define RULE(id_, level_, kernels_, title_, find_, consequence_, command_, document_)    \
	{                                                                                \
		.id = id_, .level = level_, .kernels = kernels_, .title = title_,        \
		.consequence = consequence_, .command = command_, .document = document_, \
		.find = doctor_rule_##find_                                              \
	}

static const struct stow_rule rules[] = {
	/* --- containers ------------------------------------------------------------------ */
	RULE("grant-undone", PROBLEM, "all", "a container's cpuset is not what was granted", undone,
	     "another program has changed the container's cpuset; it does not have what it was "
	     "promised",
	     "numastow why ID", "docs/cgroups.md, numastow-agent(8)"),
	RULE("container-far-memory", PROBLEM, "4.5 and later; memory.numa_stat on v2: 5.10",
	     "a container's memory is not on its nodes", far_memory,
	     "its accesses cross the interconnect, with a higher latency and a shared bandwidth",
	     "numastow repin ID, or numastow migrate ID FROM TO",
	     "Documentation/admin-guide/cgroup-v2.rst, numa(7)"),
	RULE("container-far-device", ADVICE, "all", "a container uses a device of another node",
	     far_device,
	     "its data and interrupts cross the interconnect; annotate it with near=DEVICE",
	     "numastow repin --to NODE ID", "numastow-annotations(7)"),
	RULE("bind-out-of-memory", PROBLEM, "4.19 and later, cgroup v2",
	     "bound processes are killed while other nodes have room", out_of_memory,
	     "a cpuset is a hard bind: when its nodes are full, the kernel kills instead of using "
	     "other nodes",
	     "numastow repin ID, or ask for more nodes", "numastow-annotations(7), cpuset(7)"),
	RULE("bind-swap", PROBLEM, "all", "bound processes are swapped out while nodes have room",
	     swap,
	     "each access to a page in swap takes as long as the disk, although memory is "
	     "available on another node",
	     "numastow repin ID, or allow more nodes; then swappiness",
	     "Documentation/admin-guide/sysctl/vm.rst (swappiness)"),
	RULE("v1-memory-migrate", PROBLEM, "all with cgroup v1; v2 always migrates",
	     "pages did not follow a changed cpuset", v1_migrate,
	     "pages stay where they were when cpuset.mems changes",
	     "numastow migrate ID FROM TO; echo 1 >cpuset.memory_migrate",
	     "Documentation/admin-guide/cgroup-v1/cpusets.rst, 1.8"),
	RULE("v1-spread-page", ADVICE, "all with cgroup v1", "cpuset.memory_spread_page is set",
	     v1_spread_page,
	     "page cache of these processes is spread over all of their nodes, not local",
	     "echo 0 >cpuset.memory_spread_page",
	     "Documentation/admin-guide/cgroup-v1/cpusets.rst, 1.6"),
	RULE("v1-spread-slab", INFORMATION, "all with cgroup v1; without effect since 6.8",
	     "cpuset.memory_spread_slab is set", v1_spread_slab,
	     "the kernel's inodes and dentries are spread over nodes; newer kernels ignore it",
	     "echo 0 >cpuset.memory_spread_slab",
	     "Documentation/admin-guide/cgroup-v1/cpusets.rst, 1.6"),
	RULE("isolated-shared", PROBLEM, "all", "isolated CPUs are in the set of a process",
	     isolated,
	     "the kernel does not balance load on isolated CPUs: threads stay on the CPU on which "
	     "they began, several on one",
	     "take the isolated CPUs out of its set, or bind each thread; "
	     "numastow.io/cpu-mode=isolated",
	     "Documentation/admin-guide/kernel-parameters.txt (isolcpus), "
	     "numastow-annotations(7)"),

	/* --- nodes ------------------------------------------------------------------------ */
	RULE("node-exhausted", PROBLEM, "all", "a node is full while others have room", exhausted,
	     "memory meant for the node is allocated on others, and what is bound to it reclaims, "
	     "swaps or is killed",
	     "numastow stat, numastow ledger; numastow repin ID",
	     "Documentation/admin-guide/numastat.rst"),
	RULE("node-page-cache", PROBLEM, "all; nodeN/reclaim: 6.17", "page cache fills a node",
	     cache,
	     "programs that prefer the node get memory of others, although the cache could be "
	     "dropped",
	     "numastow zones reclaim NODE SIZE",
	     "Documentation/admin-guide/cgroup-v2.rst (memory.reclaim), "
	     "Documentation/admin-guide/sysctl/vm.rst (drop_caches)"),
	RULE("nodes-uneven-use", ADVICE, "all", "nodes are used unevenly", uneven_use,
	     "what starts next on the full node finds no room, or is served by another one",
	     "numastow ledger; numastow repin ID", "docs/repin.md"),
	RULE("node-overflow", INFORMATION, "all", "a node has overflowed", overflow,
	     "pages that were allocated elsewhere stay there until they are freed or moved",
	     "numastow stat", "Documentation/admin-guide/numastat.rst"),

	/* --- settings --------------------------------------------------------------------- */
	RULE("balancing-bound", PROBLEM, "3.8 and later", "NUMA balancing samples without gain",
	     balancing_bound,
	     "each hinting fault stops a thread for a microsecond or more, and bound pages cannot "
	     "move",
	     "numastow settings numa_balancing=0",
	     "Documentation/admin-guide/sysctl/kernel.rst (numa_balancing)"),
	RULE("tiering-off", PROBLEM, "demotion: 5.15; promotion: 5.18; tiers: 6.1",
	     "memory tiers are not used", tiering,
	     "hot pages stay in slow memory, or cold ones are swapped out while slow memory is "
	     "free",
	     "numastow settings numa_balancing=2 --persist",
	     "Documentation/admin-guide/sysctl/kernel.rst (numa_balancing), "
	     "Documentation/ABI/testing/sysfs-kernel-mm-numa"),
	RULE("demotion-bound", ADVICE, "5.15 to 6.15; with cgroup v1 later ones, too",
	     "demotion does not keep to cpusets", demotion_bound,
	     "under pressure the kernel moves a container's pages to NUMA nodes that it was not "
	     "granted",
	     "numastow settings demotion_enabled=0 --persist",
	     "Documentation/ABI/testing/sysfs-kernel-mm-numa"),
	RULE("promotion-limited", PROBLEM, "6.1 and later", "the limit on promotions is reached",
	     promotion, "hot pages stay in slow memory",
	     "numastow settings numa_balancing_promote_rate_limit_MBps=65536",
	     "Documentation/admin-guide/sysctl/kernel.rst"),
	RULE("balancing-settings", INFORMATION, "in debugfs since 5.13, before that sysctls",
	     "scan settings of the NUMA balancing differ", balancing_settings,
	     "a faster scan costs more faults, a slower one finds far pages later",
	     "numastow settings NAME=DEFAULT", "numastow-settings(1)"),
	RULE("zone-reclaim", PROBLEM, "0 by default since 3.16", "zone_reclaim_mode is on",
	     zone_reclaim,
	     "a node reclaims its page cache, and may swap, before memory of other nodes is used",
	     "numastow settings zone_reclaim_mode=0 --persist",
	     "Documentation/admin-guide/sysctl/vm.rst (zone_reclaim_mode)"),
	RULE("hit-counters-off", INFORMATION, "4.15 and later", "the hit counters stand still",
	     hit_counters, "rules about full nodes, and numastow stat, cannot count misses",
	     "numastow settings numa_stat=1",
	     "Documentation/admin-guide/sysctl/vm.rst (numa_stat)"),
	RULE("ksm-across-nodes", ADVICE, "3.9 and later", "KSM merges pages across nodes", ksm,
	     "a merged page is on one node, and far from the programs of all others",
	     "echo 2 >/sys/kernel/mm/ksm/run; echo 0 >/sys/kernel/mm/ksm/merge_across_nodes; "
	     "echo 1 >/sys/kernel/mm/ksm/run",
	     "Documentation/admin-guide/mm/ksm.rst"),
	RULE("hugepages-overcommit", ADVICE, "all", "hugepages may be overcommitted", overcommit,
	     "surplus pages come from any node, and take memory that was not planned for them",
	     "echo 0 >nr_overcommit_hugepages", "Documentation/admin-guide/mm/hugetlbpage.rst"),
	RULE("hotplug-online-twice", ADVICE, "3.16 and later; auto_online_blocks: 4.7",
	     "new memory is brought online twice", hotplug,
	     "kernel and udev race: the zone of new memory is not the one that the rule wants",
	     "remove the rule", "Documentation/admin-guide/mm/memory-hotplug.rst, docs/drain.md"),

	/* --- hardware --------------------------------------------------------------------- */
	RULE("interrupts-far", PROBLEM, "effective_affinity: 4.13",
	     "a device's interrupts are served by another node", interrupts,
	     "each interrupt and its data cross the interconnect",
	     "echo CPUS >/proc/irq/N/smp_affinity_list",
	     "Documentation/core-api/irq/irq-affinity.rst"),
	RULE("firmware-one-node", ADVICE, "all", "several packages, but one node", one_node,
	     "the kernel, and numastow, cannot tell near memory from far memory",
	     "turn node interleaving off in the firmware's setup", "numastow-topology(1)"),
	RULE("firmware-distances", ADVICE, "all", "all distances are equal", distances,
	     "the kernel falls back to any node first, and numastow cannot choose a near one",
	     "update the firmware (its SLIT); numastow measure shows the real latencies",
	     "numastow-topology(1)"),
	RULE("node-without-memory", ADVICE, "all", "a node has CPUs and no memory", memoryless,
	     "all memory of its CPUs is far", "put DIMMs there; numastow topology",
	     "numastow-topology(1)"),
	RULE("nodes-uneven-memory", INFORMATION, "all", "nodes have different amounts of memory",
	     uneven_memory, "the smaller node fills first; memory channels may be unused",
	     "put the same DIMMs on each node; numastow topology", "numastow-topology(1)"),
	RULE("several-nodes-per-package", INFORMATION, "all",
	     "packages are divided into nodes (NPS, SNC)", several_nodes,
	     "nodes of one package are near each other; one node has a part of its bandwidth",
	     "numastow topology", "numastow-topology(1)"),
	RULE("device-without-node", INFORMATION, "all", "devices have no node", device_node,
	     "near=DEVICE cannot choose a node", "update the firmware (_PXM); numastow topology",
	     "numastow-annotations(7)"),
	RULE("numa-off", ADVICE, "all", "NUMA is off", numa_off,
	     "the kernel puts all memory on one node", "remove numa=off, and reboot",
	     "Documentation/admin-guide/kernel-parameters.txt (numa)"),
	RULE("numa-fake", ADVICE, "all", "nodes are made up", numa_fake,
	     "nodes are not those of the hardware: what is near on paper may be far",
	     "remove numa=fake=, and reboot",
	     "Documentation/admin-guide/kernel-parameters.txt (numa)"),
	RULE("movable-node", INFORMATION, "all", "hotpluggable nodes are movable", movable_node,
	     "the kernel's own allocations use the other nodes only",
	     "none: it keeps nodes removable",
	     "Documentation/admin-guide/kernel-parameters.txt (movable_node)"),
	RULE("irqaffinity-quiet", ADVICE, "all", "interrupts go to CPUs that should be quiet",
	     irqaffinity, "interrupts disturb what runs on isolated CPUs",
	     "take these CPUs out of irqaffinity=, and reboot",
	     "Documentation/admin-guide/kernel-parameters.txt (irqaffinity)"),
	RULE("nohz-full-not-isolated", INFORMATION, "3.10 and later",
	     "CPUs of nohz_full are not isolated", nohz_full,
	     "other tasks run there, and then the tick returns",
	     "add them to isolcpus=, or keep tasks off by cpusets",
	     "Documentation/timers/no_hz.rst"),

	/* --- other software ----------------------------------------------------------------- */
	RULE("numad-runs", ADVICE, "all", "numad moves processes, too", numad,
	     "it binds processes and moves their memory, against grants",
	     "systemctl disable --now numad", "numad(8), docs/cgroups.md"),
	RULE("irqbalance-exclusive", ADVICE, "all", "irqbalance uses exclusive CPUs", irqbalance,
	     "it moves interrupts to CPUs that one container has to itself",
	     "set IRQBALANCE_BANNED_CPULIST, or stop irqbalance", "irqbalance(1)"),
	RULE("tuned-settings", INFORMATION, "all", "tuned sets the same things", tuned,
	     "tuned sets them again at each start", "tuned-adm off, or another profile",
	     "tuned-adm(8)"),
	RULE("kubelet-managers", ADVICE, "all", "kubelet gives CPUs or memory to pods", kubelet,
	     "kubelet writes these pods' cpusets again every ten seconds; numastow leaves them "
	     "alone",
	     "set cpuManagerPolicy and memoryManagerPolicy to none", "docs/kubernetes-guide.md"),
	RULE("slice-restricted", ADVICE, "5.0 and later, cgroup v2",
	     "a slice's CPUs or nodes are restricted", slices,
	     "containers below it get no more than the slice has; systemd writes it again at each "
	     "daemon-reload",
	     "systemctl set-property SLICE AllowedCPUs= AllowedMemoryNodes=",
	     "systemd.resource-control(5), docs/cgroups.md"),
	RULE("runtime-inherits-affinity", PROBLEM,
	     "6.2 and later; runc before 1.2.7, and 1.3.0; crun before its reset",
	     "a container has inherited an affinity", runtime_affinity,
	     "the container cannot use all CPUs of its cpuset: the runtime left the affinity that "
	     "it was started with",
	     "update the runtime, or remove CPUAffinity= of systemd",
	     "https://github.com/opencontainers/runc/pull/4858"),
	RULE("runtime-loses-cpus", PROBLEM, "all; runc 1.2.7, 1.3.1 and later, 1.4.0",
	     "a container cannot use CPUs from 1024 on", runtime_cpus,
	     "the runtime resets the affinity to a mask of 1024 CPUs", "update runc",
	     "https://github.com/opencontainers/runc/issues/5023"),
};

const struct stow_rule *stow_rules(size_t *ret_n)
{
	*ret_n = STOW_ARRAY_SIZE(rules);
	return rules;
}

static int note_unexamined(struct doctor *d, const char *why)
{
	struct stow_findings *all = d->findings;
	struct stow_unexamined *added = STOW_APPEND(all->unexamined, all->n_unexamined);

	if (!added)
		return -ENOMEM;
	added->rule = d->rule;
	added->reason = strdup(why);
	return added->reason ? 0 : -ENOMEM;
}

static int apply(struct doctor *d, const struct stow_rule *rule)
{
	struct stow_err why = { 0 };
	int r;

	d->rule = rule;
	d->n_reported = 0;
	r = rule->find(d, &why);
	if (r < 0 && r != -ENOMEM)
		r = note_unexamined(d, why.msg);
	if (r >= 0 && d->n_reported > DOCTOR_SUBJECTS) {
		struct stow_finding *last = &d->findings->list[d->findings->n - 1];
		char *text = NULL;

		if (asprintf(&text, "%s; and %zu more like this", last->evidence,
			     d->n_reported - DOCTOR_SUBJECTS) < 0)
			return -ENOMEM;
		free(last->evidence);
		last->evidence = text;
	}
	return r;
}

/* Problems first; within a level the order of the table, in which they were found. */
static int compare(const void *a, const void *b)
{
	const struct stow_finding *x = a, *y = b;

	if (x->level != y->level)
		return x->level < y->level ? -1 : 1;
	return x->order < y->order ? -1 : x->order > y->order;
}

int stow_doctor_examine(struct stow_root *root, struct stow_ledger *ledger,
			const struct stow_doctor_options *options, struct stow_findings *ret,
			struct stow_err *err)
{
	struct doctor d = { .root = root, .ledger = ledger, .options = options, .findings = ret };
	int r;

	*ret = (struct stow_findings){ 0 };
	r = doctor_look(&d, err);
	for (size_t i = 0; r >= 0 && i < STOW_ARRAY_SIZE(rules); i++)
		r = apply(&d, &rules[i]);
	if (r == -ENOMEM)
		stow_err_sys(err, ENOMEM, "examining the machine");
	ret->seconds = d.seconds;
	ret->since_boot = options->interval == 0;
	doctor_containers_done(&d);
	doctor_look_done(&d);
	if (r < 0)
		stow_findings_done(ret);
	else if (ret->n)
		qsort(ret->list, ret->n, sizeof(*ret->list), compare);
	return r < 0 ? r : 0;
}

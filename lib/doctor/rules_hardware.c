// SPDX-License-Identifier: Apache-2.0
/* Rules about firmware and kernel parameters. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "doctor/internal.h"

/* Return the number of processor packages; they are numbered from 0. */
static int packages_of(const struct stow_topology *topology)
{
	int n = 0;

	for (size_t i = 0; i < topology->n_cpus; i++)
		if (topology->cpus[i].package >= n)
			n = topology->cpus[i].package + 1;
	return n;
}

/* --- the firmware ---------------------------------------------------------------- */

int doctor_rule_one_node(struct doctor *d, struct stow_err *err)
{
	int r = doctor_needs_topology(d, err), packages;

	if (r < 0 || d->n_nodes != 1 || (d->topology->assumed & STOW_ASSUMED_PACKAGES) ||
	    doctor_parameter(d, "numa", (char[8]){ 0 }, 8))
		return r;
	packages = packages_of(d->topology);
	if (packages < 2)
		return 0;
	return doctor_report(d, STOW_FINDING_ADVICE, -1, "firmware", NULL,
			     "%d processor packages are on one NUMA node%s", packages,
			     d->topology->numa ? "" : "; the kernel has no NUMA");
}

int doctor_rule_distances(struct doctor *d, struct stow_err *err)
{
	int r = doctor_needs_topology(d, err);
	size_t n = d->n_nodes;

	if (r < 0 || n < 2 || (d->topology->assumed & STOW_ASSUMED_DISTANCES))
		return r;
	for (size_t i = 0; i < n * n; i++)
		if (d->topology->distance[i] != d->topology->distance[0])
			return 0;
	return doctor_report(d, STOW_FINDING_ADVICE, -1, "firmware", NULL,
			     "all distances between %zu nodes are %d, also that of a node to "
			     "itself",
			     n, d->topology->distance[0]);
}

int doctor_rule_memoryless(struct doctor *d, struct stow_err *err)
{
	int r = doctor_needs_topology(d, err);

	for (size_t i = 0; r == 0 && i < d->n_nodes; i++) {
		const struct stow_node *node = &d->topology->nodes[i];
		char list[DOCTOR_LISTED];

		if (node->mem_total || stow_idset_empty(&node->cpus) ||
		    (node->assumed & (STOW_ASSUMED_MEMORY | STOW_ASSUMED_CPUS)))
			continue;
		r = doctor_report(d, STOW_FINDING_ADVICE, node->id, NULL, NULL,
				  "node %d has CPUs %s and no memory", node->id,
				  stow_idset_format(&node->cpus, list, sizeof(list)));
	}
	return r;
}

int doctor_rule_uneven_memory(struct doctor *d, struct stow_err *err)
{
	const struct stow_node *least = NULL, *most = NULL;
	int r = doctor_needs_topology(d, err);
	char a[32], b[32];

	for (size_t i = 0; r == 0 && i < d->n_nodes; i++) {
		const struct stow_node *node = &d->topology->nodes[i];

		if (!node->mem_total || stow_idset_empty(&node->cpus))
			continue;
		if (!least || node->mem_total < least->mem_total)
			least = node;
		if (!most || node->mem_total > most->mem_total)
			most = node;
	}
	/* A quarter: the kernel's image and reserved memory make nodes differ, too. */
	if (r < 0 || !least || most->mem_total - least->mem_total < most->mem_total / 4)
		return r;
	return doctor_report(d, STOW_FINDING_INFORMATION, least->id, NULL, NULL,
			     "node %d has %s of memory, and node %d has %s", least->id,
			     stow_format_size(least->mem_total, a, sizeof(a)), most->id,
			     stow_format_size(most->mem_total, b, sizeof(b)));
}

int doctor_rule_several_nodes(struct doctor *d, struct stow_err *err)
{
	int r = doctor_needs_topology(d, err), packages;
	size_t with_cpus = 0;

	if (r < 0 || (d->topology->assumed & (STOW_ASSUMED_PACKAGES | STOW_ASSUMED_CPUS)))
		return r;
	for (size_t i = 0; i < d->n_nodes; i++)
		with_cpus += !stow_idset_empty(&d->topology->nodes[i].cpus);
	packages = packages_of(d->topology);
	if (packages < 1 || with_cpus <= (size_t)packages)
		return 0;
	return doctor_report(d, STOW_FINDING_INFORMATION, -1, "firmware", NULL,
			     "%zu nodes with CPUs are on %d processor package%s", with_cpus,
			     packages, packages == 1 ? "" : "s");
}

int doctor_rule_device_node(struct doctor *d, struct stow_err *err)
{
	char names[512] = "";
	size_t n = 0;

	for (size_t i = 0; d->n_nodes > 1 && i < d->devices.n_devices; i++) {
		const struct stow_device *device = &d->devices.devices[i];

		if (device->node >= 0)
			continue;
		if (n++ < 8)
			stow_append(names, sizeof(names), "%s%s", *names ? ", " : "",
				    device->address);
	}
	if (n == 0)
		return 0;
	return doctor_report(d, STOW_FINDING_INFORMATION, -1, "firmware", NULL,
			     "%zu PCI device%s no node (numa_node is -1): %s%s", n,
			     n == 1 ? " has" : "s have", names, n > 8 ? ", ..." : "");
}

/* --- kernel parameters ------------------------------------------------------------- */

int doctor_rule_numa_off(struct doctor *d, struct stow_err *err)
{
	char value[256];

	/* Several values: the last one counts. */
	if (!doctor_parameter(d, "numa", value, sizeof(value)) || !strstr(value, "off"))
		return 0;
	return doctor_report(d, STOW_FINDING_ADVICE, -1, "numa=", NULL,
			     "the kernel's command line has numa=%s", value);
}

int doctor_rule_numa_fake(struct doctor *d, struct stow_err *err)
{
	char value[256];
	const char *fake;

	if (doctor_parameter(d, "numa", value, sizeof(value)) && (fake = strstr(value, "fake=")))
		return doctor_report(d, STOW_FINDING_ADVICE, -1, "numa=", NULL,
				     "the kernel's command line has numa=%s", fake);
	return 0;
}

int doctor_rule_movable_node(struct doctor *d, struct stow_err *err)
{
	char value[64];

	if (!doctor_parameter(d, "movable_node", value, sizeof(value)))
		return 0;
	return doctor_report(d, STOW_FINDING_INFORMATION, -1, "movable_node", NULL,
			     "the kernel's command line has movable_node");
}

/* Find the CPUs that interrupts should not disturb: isolated ones, and those of nohz_full. */
static void quiet_cpus(const struct doctor *d, struct stow_idset *ret)
{
	char value[1024];
	struct stow_idset set;

	*ret = d->topology ? d->topology->isolated : (struct stow_idset){ 0 };
	if (doctor_parameter(d, "nohz_full", value, sizeof(value)) &&
	    stow_idset_parse(value, &set, NULL) == 0)
		stow_idset_or(ret, &set);
}

int doctor_rule_irqaffinity(struct doctor *d, struct stow_err *err)
{
	char value[1024], list[DOCTOR_LISTED];
	struct stow_idset set, quiet;

	if (!doctor_parameter(d, "irqaffinity", value, sizeof(value)) ||
	    stow_idset_parse(value, &set, NULL) < 0)
		return 0;
	quiet_cpus(d, &quiet);
	stow_idset_and(&quiet, &set);
	if (stow_idset_empty(&quiet))
		return 0;
	return doctor_report(d, STOW_FINDING_ADVICE, -1, "irqaffinity=", NULL,
			     "irqaffinity=%.128s has CPUs %s, which isolcpus= or nohz_full= is to "
			     "keep quiet",
			     value, stow_idset_format(&quiet, list, sizeof(list)));
}

int doctor_rule_nohz_full(struct doctor *d, struct stow_err *err)
{
	char value[1024], list[DOCTOR_LISTED];
	struct stow_idset set;

	if (!d->topology || !doctor_parameter(d, "nohz_full", value, sizeof(value)) ||
	    stow_idset_parse(value, &set, NULL) < 0)
		return 0;
	stow_idset_minus(&set, &d->topology->isolated);
	if (stow_idset_empty(&set))
		return 0;
	return doctor_report(d, STOW_FINDING_INFORMATION, -1, "nohz_full=", NULL,
			     "nohz_full=%.128s has CPUs %s, which are not isolated", value,
			     stow_idset_format(&set, list, sizeof(list)));
}

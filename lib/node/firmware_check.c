// SPDX-License-Identifier: Apache-2.0
/* Compares the firmware's tables with the kernel's nodes, and with each other. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/math.h"
#include "base/parse.h"
#include "node/firmware_internal.h"

#define LOCAL	  10	     /* the distance of a node to itself */
#define UNCOVERED (1U << 20) /* bytes of RAM that the kernel tolerates outside of SRAT */

/* Return the node of a domain, or -1. */
static int node_of(const struct stow_comparison *c, uint64_t domain)
{
	const struct stow_firmware_domain *d = stow_firmware_domain(c->f, domain);

	return d ? d->node : -1;
}

static const char *table_name(const struct stow_comparison *c)
{
	return c->f->source == STOW_FIRMWARE_DEVICETREE ? "the device tree" : "SRAT";
}

/* --- the tables by themselves -------------------------------------------------- */

static void check_table(struct stow_comparison *c, const char *name,
			const struct stow_acpi_table *table)
{
	if (table->state == STOW_ACPI_BROKEN)
		stow_firmware_note(c, "%s cannot be used: %s", name, table->why.msg);
	if (table->bad_checksum)
		stow_firmware_note(c, "%s: the checksum is wrong", name);
}

/* The ranges are sorted. */
static void check_overlaps(struct stow_comparison *c)
{
	const struct stow_firmware *f = c->f;
	const struct stow_firmware_memory *before = NULL;

	for (size_t i = 0; i < f->n_memory; i++) {
		const struct stow_firmware_memory *m = &f->memory[i];

		if (!m->enabled)
			continue;
		if (before && before->domain != m->domain &&
		    m->start <= before->start + (before->size - 1))
			stow_firmware_note(c,
					   "%s: memory at 0x%" PRIx64 " is in domains %" PRIu32
					   " and %" PRIu32,
					   table_name(c), m->start, before->domain, m->domain);
		if (!before || m->start + (m->size - 1) > before->start + (before->size - 1))
			before = m;
	}
}

/* --- CPUs and memory ------------------------------------------------------------ */

static void check_cpus(struct stow_comparison *c)
{
	const struct stow_topology *t = c->kernel->topology;
	struct stow_firmware *f = c->f;
	struct stow_idset listed = { 0 }, missing = t->online;
	char list[128];

	if (!t->numa || t->assumed & STOW_ASSUMED_CPUS)
		return;
	for (size_t i = 0; i < f->n_cpus; i++) {
		const struct stow_firmware_cpu *cpu = &f->cpus[i];
		const struct stow_cpu *kernel = stow_topology_cpu(t, cpu->cpu);
		int node = node_of(c, cpu->domain);

		if (!cpu->enabled || !kernel)
			continue;
		stow_idset_add(&listed, cpu->cpu);
		f->compared = true;
		if (node >= 0 && node != kernel->node)
			stow_firmware_note(c,
					   "CPU %d: %s puts it in domain %" PRIu32
					   ", which is node %d; the kernel has it on node %d",
					   cpu->cpu, table_name(c), cpu->domain, node,
					   kernel->node);
	}
	stow_idset_minus(&missing, &listed);
	if (!stow_idset_empty(&listed) && !stow_idset_empty(&missing))
		stow_firmware_note(c, "CPUs %s are not in %s",
				   stow_idset_format(&missing, list, sizeof(list)), table_name(c));
}

static void check_memory(struct stow_comparison *c)
{
	const struct stow_memblocks *blocks = c->kernel->blocks;
	struct stow_firmware *f = c->f;

	for (size_t i = 0; blocks->n_blocks && i < f->n_memory; i++) {
		const struct stow_firmware_memory *m = &f->memory[i];
		uint64_t end = m->start + (m->size - 1);

		if (!m->enabled)
			continue;
		f->compared = true;
		if (m->n_elsewhere)
			stow_firmware_note(
				c,
				"memory 0x%" PRIx64 "-0x%" PRIx64 ": %s puts it in domain %" PRIu32
				", which is node %d; the kernel has %zu of its memory blocks on "
				"other nodes",
				m->start, end, table_name(c), m->domain, node_of(c, m->domain),
				m->n_elsewhere);
		else if (!m->hotplug && m->size >= 2 * blocks->block_size &&
			 stow_firmware_node_of(blocks, m->start, m->size, NULL) < 0)
			stow_firmware_note(c,
					   "memory 0x%" PRIx64 "-0x%" PRIx64
					   ": the kernel has no memory block there",
					   m->start, end);
	}
}

/* Count the bytes of a region that are in no range. Ranges are sorted; the last byte may be that of
 * the address space. */
static uint64_t uncovered_of(const struct stow_firmware *f, const struct stow_memmap_region *map)
{
	uint64_t at = map->start, uncovered = 0;

	for (size_t k = 0; k < f->n_memory; k++) {
		const struct stow_firmware_memory *m = &f->memory[k];
		uint64_t end = m->start + (m->size - 1);

		if (!m->enabled || end < at)
			continue;
		if (m->start > map->end)
			break;
		if (m->start > at)
			uncovered += m->start - at;
		if (end >= map->end)
			return uncovered;
		at = end + 1;
	}
	return uncovered + (map->end - at) + 1;
}

/* RAM of the memory map that no range covers has no node of its own. */
static void check_map(struct stow_comparison *c)
{
	const struct stow_firmware *f = c->f;
	uint64_t uncovered = 0;
	char size[32];

	for (size_t i = 0; f->n_memory && i < f->n_regions; i++)
		if (f->regions[i].map.ram)
			uncovered =
				stow_saturating_add(uncovered, uncovered_of(f, &f->regions[i].map));
	if (uncovered > UNCOVERED)
		stow_firmware_note(c, "the memory map has %s of RAM that is not in %s",
				   stow_format_size(uncovered, size, sizeof(size)), table_name(c));
}

static void check_nodes(struct stow_comparison *c)
{
	const struct stow_topology *t = c->kernel->topology;

	for (size_t i = 0; c->f->n_domains && t->numa && i < t->n_nodes; i++) {
		const struct stow_node *node = &t->nodes[i];

		if (c->domain_of_node[node->id] < 0 &&
		    (node->mem_total || !stow_idset_empty(&node->cpus)))
			stow_firmware_note(c, "node %d is no domain of %s", node->id,
					   table_name(c));
	}
}

/* --- distances ------------------------------------------------------------------ */

static void check_distance(struct stow_comparison *c, const char *name, uint64_t from, uint64_t to,
			   unsigned int value)
{
	const struct stow_topology *t = c->kernel->topology;
	int a = node_of(c, from), b = node_of(c, to), kernel;

	if (a < 0 || b < 0 || t->assumed & STOW_ASSUMED_DISTANCES)
		return;
	if (a == b && from != to) /* which is a finding already */
		return;
	kernel = stow_topology_distance(t, a, b);
	if (kernel < 0)
		return;
	c->f->compared = true;
	if (kernel != (int)value)
		stow_firmware_note(c,
				   "distance of node %d to node %d: %s has %u (domains %" PRIu64
				   " and %" PRIu64 "), the kernel has %d",
				   a, b, name, value, from, to, kernel);
}

/* The kernel ignores a whole SLIT if one value is impossible (slit_valid() in
 * drivers/acpi/numa/srat.c). */
static bool valid_slit(struct stow_comparison *c)
{
	const struct stow_slit *slit = &c->f->acpi.slit;

	for (size_t i = 0; i < slit->n; i++)
		for (size_t j = 0; j < slit->n; j++) {
			unsigned int v = slit->distance[i * slit->n + j];

			if (i == j ? v == LOCAL : v > LOCAL)
				continue;
			stow_firmware_note(c,
					   "SLIT: domain %zu to domain %zu is %u, which is not "
					   "possible: the kernel ignores all of the table",
					   i, j, v);
			return false;
		}
	return true;
}

static void check_distances(struct stow_comparison *c)
{
	const struct stow_firmware *f = c->f;
	const struct stow_slit *slit = &f->acpi.slit;

	if (f->acpi.slit_table.state == STOW_ACPI_READ) {
		for (size_t i = 0; i < f->n_domains; i++)
			if (f->domains[i].domain >= slit->n)
				stow_firmware_note(c, "SLIT has no distances of domain %" PRIu32,
						   f->domains[i].domain);
		if (valid_slit(c))
			for (size_t i = 0; i < slit->n * slit->n; i++)
				check_distance(c, "SLIT", i / slit->n, i % slit->n,
					       slit->distance[i]);
	}
	for (size_t i = 0; i < f->tree.n_distances; i++)
		check_distance(c, "the device tree", f->tree.distances[i].from,
			       f->tree.distances[i].to, f->tree.distances[i].distance);
}

/* --- HMAT ------------------------------------------------------------------------ */

static const struct stow_locality_node *locality_of(const struct stow_comparison *c, int node)
{
	const struct stow_topology *t = c->kernel->topology;
	const struct stow_node *found = node < 0 ? NULL : stow_topology_node(t, node);

	return found ? &c->kernel->locality->nodes[found - t->nodes] : NULL;
}

static void compare_value(struct stow_comparison *c, const struct stow_hmat_value *v, int from,
			  int to, enum stow_hmat_type as, uint64_t kernel)
{
	if (v->type != as &&
	    v->type != (as < STOW_HMAT_ACCESS_BANDWIDTH ? STOW_HMAT_ACCESS_LATENCY
							: STOW_HMAT_ACCESS_BANDWIDTH))
		return;
	c->f->compared = true;
	if (v->value == kernel)
		return;
	if (kernel)
		stow_firmware_note(c,
				   "%s from node %d to node %d: HMAT has %" PRIu32
				   ", the kernel has %" PRIu64,
				   stow_hmat_type_name(as), from, to, v->value, kernel);
	else
		stow_firmware_note(c,
				   "%s from node %d to node %d: HMAT has %" PRIu32
				   ", the kernel has none",
				   stow_hmat_type_name(as), from, to, v->value);
}

static void check_value(struct stow_comparison *c, const struct stow_hmat_value *v)
{
	int from = node_of(c, v->initiator), to = node_of(c, v->target);
	const struct stow_locality_node *node = locality_of(c, to);
	const struct stow_access *access = node ? &node->access[0] : NULL;

	if (v->hierarchy || from < 0 || !access || !access->known ||
	    !stow_idset_has(&access->initiators, from))
		return;
	compare_value(c, v, from, to, STOW_HMAT_READ_LATENCY, access->read_latency);
	compare_value(c, v, from, to, STOW_HMAT_WRITE_LATENCY, access->write_latency);
	compare_value(c, v, from, to, STOW_HMAT_READ_BANDWIDTH, access->read_bandwidth);
	compare_value(c, v, from, to, STOW_HMAT_WRITE_BANDWIDTH, access->write_bandwidth);
}

static void check_attached(struct stow_comparison *c, const struct stow_hmat_attached *a)
{
	int memory = node_of(c, a->memory), initiator = node_of(c, a->initiator);
	const struct stow_locality_node *node = locality_of(c, memory);
	char list[64];

	if (!a->has_initiator || !node || initiator < 0)
		return;
	if (!node->access[0].known)
		stow_firmware_note(c, "node %d: HMAT has its initiator, the kernel shows none",
				   memory);
	else if (!stow_idset_has(&node->access[0].initiators, initiator))
		stow_firmware_note(c,
				   "node %d: by HMAT its memory is attached to node %d, by the "
				   "kernel its nearest initiators are nodes %s",
				   memory, initiator,
				   stow_idset_format(&node->access[0].initiators, list,
						     sizeof(list)));
}

static void check_cache(struct stow_comparison *c, const struct stow_hmat_cache *cache)
{
	int id = node_of(c, cache->memory);
	const struct stow_locality_node *node = locality_of(c, id);

	if (!node)
		return;
	for (size_t i = 0; i < node->n_caches; i++) {
		if (node->caches[i].level != cache->level)
			continue;
		if (node->caches[i].size != (int64_t)cache->size)
			stow_firmware_note(c,
					   "node %d: HMAT has a memory-side cache of %" PRIu64
					   " bytes, the kernel has %" PRId64,
					   id, cache->size, node->caches[i].size);
		return;
	}
	stow_firmware_note(c,
			   "node %d: HMAT has a memory-side cache of level %d, the kernel has none",
			   id, cache->level);
}

void stow_firmware_check(struct stow_comparison *c)
{
	const struct stow_acpi *acpi = &c->f->acpi;
	const struct stow_hmat *hmat = &acpi->hmat;

	check_table(c, "SRAT", &acpi->srat_table);
	check_table(c, "SLIT", &acpi->slit_table);
	check_table(c, "HMAT", &acpi->hmat_table);
	if (c->f->tree.n_broken)
		stow_firmware_note(c, "the device tree: %zu properties cannot be used",
				   c->f->tree.n_broken);
	check_overlaps(c);
	check_cpus(c);
	check_memory(c);
	check_map(c);
	check_nodes(c);
	check_distances(c);
	for (size_t i = 0; i < hmat->n_attached; i++)
		check_attached(c, &hmat->attached[i]);
	for (size_t i = 0; i < hmat->n_values; i++)
		check_value(c, &hmat->values[i]);
	for (size_t i = 0; i < hmat->n_caches; i++)
		check_cache(c, &hmat->caches[i]);
}

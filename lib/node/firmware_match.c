// SPDX-License-Identifier: Apache-2.0
/* Match the proximity domains, CPUs and ranges of the firmware's tables with the kernel's NUMA
 * nodes. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "base/read.h"
#include "node/device.h"
#include "node/firmware_internal.h"

#define CPU_DIR	    "/sys/devices/system/cpu"
#define CPUINFO_MAX (64U << 20) /* 8192 CPUs with 8 KiB each */

/* The kernel's CPUs by the number that the table has for them. */
struct numbered {
	uint64_t id;
	int cpu;
};

/* --- CPUs ---------------------------------------------------------------------- */

/* Read the number of a line "KEY<blanks>: NUMBER". False: the line is another one. */
static bool field(const char *line, const char *key, uint64_t *ret)
{
	char digits[24];
	size_t n = strlen(key);

	if (strncmp(line, key, n) != 0)
		return false;
	line += n;
	line += strspn(line, " \t");
	if (*line != ':')
		return false;
	line += 1 + strspn(line + 1, " \t");
	n = strcspn(line, "\n");
	if (n >= sizeof(digits))
		return false;
	memcpy(digits, line, n);
	digits[n] = '\0';
	return stow_parse_u64(digits, UINT32_MAX, ret, NULL) == 0;
}

/* x86: in /proc/cpuinfo, the section of a CPU begins with "processor" and contains "apicid". */
static size_t apic_ids(struct stow_root *root, struct numbered *list, size_t room)
{
	_cleanup_close_ int fd = stow_root_openat(root, O_RDONLY, 0, NULL, "/proc/cpuinfo");
	_cleanup_free_ char *text = NULL;
	uint64_t number, cpu = UINT64_MAX;
	size_t n = 0;

	if (fd < 0 || stow_read_all(fd, CPUINFO_MAX, "/proc/cpuinfo", &text, NULL, NULL) < 0)
		return 0;
	for (const char *line = text; line && *line && n < room;) {
		if (field(line, "processor", &number))
			cpu = number;
		else if (field(line, "apicid", &number) && cpu < STOW_IDSET_MAX) {
			list[n++] = (struct numbered){ number, (int)cpu };
			cpu = UINT64_MAX; /* one id for each CPU */
		}
		line = strchr(line, '\n');
		line = line ? line + 1 : NULL;
	}
	return n;
}

static size_t processor_uids(const struct stow_comparison *c, struct numbered *list, size_t room)
{
	size_t n = 0;

	STOW_IDSET_FOR(cpu, &c->kernel->topology->online) {
		uint64_t uid;

		if (n < room && stow_root_read_u64(c->root, &uid, NULL,
						   CPU_DIR "/cpu%d/firmware_node/uid", cpu) == 0)
			list[n++] = (struct numbered){ uid, cpu };
	}
	return n;
}

/* A device tree's CPUs, found by the link to their folder: the number is the index in tree->cpus. */
static size_t tree_indices(const struct stow_comparison *c, struct numbered *list, size_t room)
{
	const struct stow_devicetree *tree = &c->f->tree;
	size_t n = 0;

	STOW_IDSET_FOR(cpu, &c->kernel->topology->online) {
		char link[256];
		const char *at;

		if (n == room || stow_root_readlink(c->root, link, sizeof(link), NULL,
						    CPU_DIR "/cpu%d/of_node", cpu) < 0)
			continue;
		at = strstr(link, "/base/");
		for (size_t i = 0; at && i < tree->n_cpus; i++)
			if (strcmp(at + strlen("/base/"), tree->cpus[i].path) == 0)
				list[n++] = (struct numbered){ i, cpu };
	}
	return n;
}

static int by_id(const void *a, const void *b)
{
	const struct numbered *x = a, *y = b;

	return x->id != y->id ? (x->id > y->id) - (x->id < y->id) : x->cpu - y->cpu;
}

static int match_cpus(struct stow_comparison *c)
{
	struct stow_firmware *f = c->f;
	size_t n, room = STOW_IDSET_MAX;
	_cleanup_free_ struct numbered *list = calloc(room, sizeof(*list));

	if (!list)
		return -ENOMEM;
	if (f->source == STOW_FIRMWARE_DEVICETREE)
		n = tree_indices(c, list, room);
	else if (f->acpi.srat.n_cpus && f->acpi.srat.cpus[0].kind == STOW_SRAT_UID)
		n = processor_uids(c, list, room);
	else
		n = apic_ids(c->root, list, room);
	if (n)
		qsort(list, n, sizeof(*list), by_id);
	for (size_t i = 0; i < f->n_cpus; i++) {
		struct stow_firmware_cpu *cpu = &f->cpus[i];
		struct stow_firmware_domain *d = stow_firmware_domain(f, cpu->domain);
		size_t lo = 0, hi = n;

		while (lo < hi) {
			size_t mid = (lo + hi) / 2;

			if (list[mid].id < cpu->id)
				lo = mid + 1;
			else
				hi = mid;
		}
		if (lo == n || list[lo].id != cpu->id)
			continue;
		cpu->cpu = list[lo].cpu;
		if (d && cpu->enabled)
			stow_idset_add(&d->cpus, cpu->cpu);
	}
	return 0;
}

/* --- memory -------------------------------------------------------------------- */

/* Return the index of the first block that ends above `address`. */
static size_t first_above(const struct stow_memblocks *blocks, uint64_t address)
{
	size_t lo = 0, hi = blocks->n_blocks;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (blocks->blocks[mid].id < address / blocks->block_size)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

int stow_firmware_node_of(const struct stow_memblocks *blocks, uint64_t start, uint64_t size,
			  uint64_t *bytes)
{
	uint64_t last = start + (size - 1);
	int node = -1, part = -1;
	bool several = false;

	if (!blocks->block_size || !size)
		return -1;
	for (size_t i = first_above(blocks, start); i < blocks->n_blocks; i++) {
		const struct stow_memblock *b = &blocks->blocks[i];
		uint64_t begin, end;

		if (b->id > last / blocks->block_size)
			break;
		begin = b->id * blocks->block_size;
		if (b->node < 0 || b->node >= STOW_IDSET_MAX ||
		    __builtin_add_overflow(begin, blocks->block_size - 1, &end))
			continue;
		if (begin <= start && end >= last && !(begin == start && end == last))
			part = b->node;
		if (begin < start || end > last)
			continue;
		several = several || (node >= 0 && node != b->node);
		node = b->node;
		if (bytes)
			bytes[b->node] += blocks->block_size;
	}
	return several ? -1 : node >= 0 ? node : part;
}

static int most(const uint64_t *bytes)
{
	int best = -1;

	for (int id = 0; id < STOW_IDSET_MAX; id++)
		if (bytes[id] && (best < 0 || bytes[id] > bytes[best]))
			best = id;
	return best;
}

/* Find a domain's node by the blocks that are wholly in its ranges, or else by a block that
 * contains a whole range, such as the first 640 KiB. */
static int node_by_memory(const struct stow_comparison *c, uint32_t domain, uint64_t *bytes)
{
	const struct stow_firmware *f = c->f;
	int node, part = -1;

	memset(bytes, 0, STOW_IDSET_MAX * sizeof(*bytes));
	for (size_t i = 0; i < f->n_memory; i++) {
		const struct stow_firmware_memory *m = &f->memory[i];

		if (m->domain != domain || !m->enabled)
			continue;
		node = stow_firmware_node_of(c->kernel->blocks, m->start, m->size, bytes);
		part = part < 0 ? node : part;
	}
	node = most(bytes);
	return node >= 0 ? node : part;
}

static int node_by_cpus(const struct stow_comparison *c, const struct stow_firmware_domain *d,
			uint64_t *count)
{
	memset(count, 0, STOW_IDSET_MAX * sizeof(*count));
	STOW_IDSET_FOR(id, &d->cpus) {
		const struct stow_cpu *cpu = stow_topology_cpu(c->kernel->topology, id);

		if (cpu && cpu->node >= 0)
			count[cpu->node]++;
	}
	return most(count);
}

static int node_by_device(const struct stow_comparison *c, uint32_t domain)
{
	const struct stow_srat *srat = &c->f->acpi.srat;
	int node = -1;

	for (size_t i = 0; i < srat->n_devices && node < 0; i++)
		if (srat->devices[i].domain == domain && srat->devices[i].enabled &&
		    stow_device_node(c->root, srat->devices[i].name, &node, NULL) < 0)
			node = -1;
	return node;
}

static int match_domains(struct stow_comparison *c)
{
	_cleanup_free_ uint64_t *sums = calloc(STOW_IDSET_MAX, sizeof(*sums));

	if (!sums)
		return -ENOMEM;
	for (size_t i = 0; i < c->f->n_domains; i++) {
		struct stow_firmware_domain *d = &c->f->domains[i];
		int memory = node_by_memory(c, d->domain, sums);
		int cpus = node_by_cpus(c, d, sums);

		d->node = memory >= 0 ? memory : cpus >= 0 ? cpus : node_by_device(c, d->domain);
		d->by = memory >= 0    ? STOW_DOMAIN_BY_MEMORY
			: cpus >= 0    ? STOW_DOMAIN_BY_CPU
			: d->node >= 0 ? STOW_DOMAIN_BY_DEVICE
				       : STOW_DOMAIN_BY_NOTHING;
		if (memory >= 0 && cpus >= 0 && memory != cpus)
			stow_firmware_note(c,
					   "domain %" PRIu32
					   ": its memory is on node %d, its CPUs are on node %d",
					   d->domain, memory, cpus);
		if (d->node < 0 || d->node >= STOW_IDSET_MAX)
			continue;
		if (c->domain_of_node[d->node] >= 0)
			stow_firmware_note(c,
					   "domains %" PRIu32 " and %" PRIu32 " are both node %d",
					   c->f->domains[c->domain_of_node[d->node]].domain,
					   d->domain, d->node);
		else
			c->domain_of_node[d->node] = (int)i;
	}
	return 0;
}

/* Count the blocks wholly in a range that are on another node than the range's domain. */
static size_t elsewhere(const struct stow_memblocks *blocks, const struct stow_firmware_memory *m,
			int node)
{
	uint64_t last = m->start + (m->size - 1);
	size_t n = 0;

	for (size_t i = blocks->block_size ? first_above(blocks, m->start) : blocks->n_blocks;
	     i < blocks->n_blocks; i++) {
		const struct stow_memblock *b = &blocks->blocks[i];

		if (b->id > last / blocks->block_size)
			break;
		if (b->node >= 0 && b->node != node && b->id * blocks->block_size >= m->start &&
		    last - b->id * blocks->block_size >= blocks->block_size - 1)
			n++;
	}
	return n;
}

static void match_ranges(struct stow_comparison *c)
{
	const struct stow_memblocks *blocks = c->kernel->blocks;
	struct stow_firmware *f = c->f;

	for (size_t i = 0; i < f->n_memory; i++) {
		struct stow_firmware_memory *m = &f->memory[i];
		const struct stow_firmware_domain *d = stow_firmware_domain(f, m->domain);

		m->node = stow_firmware_node_of(blocks, m->start, m->size, NULL);
		if (d && d->node >= 0)
			m->n_elsewhere = elsewhere(blocks, m, d->node);
		if (d && m->node < 0 && !m->n_elsewhere)
			m->node = d->node;
	}
}

/* Find the nodes and domains that an entry of the memory map meets. */
static void match_region(const struct stow_comparison *c, struct stow_firmware_region *r)
{
	const struct stow_memblocks *blocks = c->kernel->blocks;
	const struct stow_firmware *f = c->f;

	for (size_t k = 0; k < f->n_memory && f->memory[k].start <= r->map.end; k++)
		if (f->memory[k].enabled && f->memory[k].domain < STOW_IDSET_MAX &&
		    f->memory[k].start + (f->memory[k].size - 1) >= r->map.start)
			stow_idset_add(&r->domains, (int)f->memory[k].domain);
	if (!r->map.ram || !blocks->block_size)
		return;
	for (size_t i = first_above(blocks, r->map.start);
	     i < blocks->n_blocks && blocks->blocks[i].id <= r->map.end / blocks->block_size; i++)
		stow_idset_add(&r->nodes, blocks->blocks[i].node);
}

int stow_firmware_match(struct stow_comparison *c, struct stow_err *err)
{
	int r;

	c->domain_of_node = malloc(STOW_IDSET_MAX * sizeof(*c->domain_of_node));
	r = c->domain_of_node ? match_cpus(c) : -ENOMEM;
	for (int id = 0; r == 0 && id < STOW_IDSET_MAX; id++)
		c->domain_of_node[id] = -1;
	if (r == 0)
		r = match_domains(c);
	if (r < 0)
		return stow_err_sys(err, -r, "comparing the firmware's tables");
	match_ranges(c);
	for (size_t i = 0; i < c->f->n_regions; i++)
		match_region(c, &c->f->regions[i]);
	return 0;
}

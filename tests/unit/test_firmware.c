// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "table.h"
#include "tree.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "node/firmware.h"

#define CPU    "/sys/devices/system/cpu"
#define NODE   "/sys/devices/system/node"
#define MEM    "/sys/devices/system/memory"
#define TABLES "/sys/firmware/acpi/tables"
#define DT     "/sys/firmware/devicetree/base"
#define BLOCK  (UINT64_C(128) << 20)

/* Everything that is compared, of one tree. */
struct machine {
	struct tree *tree;
	struct stow_topology *topology;
	struct stow_memblocks blocks;
	struct stow_locality locality;
	struct stow_firmware f;
};

static void block(struct tree *tree, int id, int node)
{
	char path[128], target[64];

	snprintf(path, sizeof(path), MEM "/memory%d/state", id);
	tree_write(tree, path, "online\n");
	snprintf(path, sizeof(path), NODE "/node%d/memory%d", node, id);
	snprintf(target, sizeof(target), "../../memory/memory%d", id);
	tree_link(tree, path, target);
}

/* Nodes 0 and 1 with two CPUs and four blocks each; node 2 with four blocks only. APIC ids are
 * 10 times the CPU's number. */
static struct tree *kernel(void)
{
	struct tree *tree = tree_new();
	char path[128];

	tree_write(tree, CPU "/online", "0-3\n");
	tree_write(tree, NODE "/online", "0-2\n");
	tree_write(tree, MEM "/block_size_bytes", "%" PRIx64 "\n", BLOCK);
	for (int n = 0; n < 3; n++) {
		static const char *const cpus[] = { "0-1", "2-3", "" };
		static const char *const distances[] = { "10 21 30", "21 10 17", "30 17 10" };

		snprintf(path, sizeof(path), NODE "/node%d/cpulist", n);
		tree_write(tree, path, "%s\n", cpus[n]);
		snprintf(path, sizeof(path), NODE "/node%d/distance", n);
		tree_write(tree, path, "%s\n", distances[n]);
		snprintf(path, sizeof(path), NODE "/node%d/meminfo", n);
		tree_write(tree, path, "Node %d MemTotal: 524288 kB\nNode %d MemFree: 1 kB\n", n,
			   n);
		for (int b = 0; b < 4; b++)
			block(tree, 4 * n + b, n);
	}
	for (int c = 0; c < 4; c++) {
		snprintf(path, sizeof(path), CPU "/cpu%d/topology/physical_package_id", c);
		tree_write(tree, path, "%d\n", c / 2);
	}
	tree_write(
		tree, "/proc/cpuinfo",
		"processor\t: 0\nvendor_id\t: AuthenticAMD\napicid\t\t: 0\ninitial apicid\t: 9\n\n"
		"processor\t: 1\napicid\t\t: 10\n\nprocessor\t: 2\napicid\t\t: 20\n\n"
		"processor\t: 3\napicid\t\t: 30\n\n");
	return tree;
}

/* The domains are 5, 3 and 7: of nodes 0, 1 and 2. */
static void srat(struct table *t)
{
	table_begin(t, "SRAT", 3, 12);
	table_apic(t, 5, 0, true);
	table_apic(t, 5, 10, true);
	table_apic(t, 3, 20, true);
	table_apic(t, 3, 30, true);
	table_apic(t, 3, 40, false);
	table_memory(t, 5, 0, 0xa0000, 1);
	table_memory(t, 5, 0x100000, 4 * BLOCK - 0x100000, 1);
	table_memory(t, 3, 4 * BLOCK, 4 * BLOCK, 1);
	table_memory(t, 7, 8 * BLOCK, 4 * BLOCK, 1);
	table_memory(t, 7, 64 * BLOCK, 64 * BLOCK, 3);
	table_memory(t, 0, 0, 0, 0);
}

static void put(struct tree *tree, const char *name, struct table *t)
{
	char path[64];

	table_end(t);
	snprintf(path, sizeof(path), TABLES "/%s", name);
	tree_write_data(tree, path, t->data, t->len);
}

static struct machine read_machine(struct tree *tree)
{
	struct machine m = { .tree = tree };
	struct stow_firmware_kernel kernel = { NULL, &m.blocks, &m.locality };
	struct stow_err err = { 0 };

	if (stow_topology_read(tree->root, STOW_TOPOLOGY_CPUS, &m.topology, &err) < 0 ||
	    stow_memblocks_read(tree->root, 0, &m.blocks, &err) < 0 ||
	    stow_locality_read(tree->root, m.topology, &m.locality, &err) < 0)
		fail_msg("%s", err.msg);
	kernel.topology = m.topology;
	if (stow_firmware_read(tree->root, &kernel, &m.f, &err) < 0)
		fail_msg("%s", err.msg);
	return m;
}

/* Free what was read, and keep the tree. */
static void forget(struct machine *m)
{
	stow_firmware_done(&m->f);
	stow_locality_done(&m->locality);
	stow_memblocks_done(&m->blocks);
	stow_topology_free(m->topology);
}

static void done(struct machine *m)
{
	forget(m);
	tree_free(m->tree);
}

static void expect_findings(const struct machine *m, size_t n, const char *words)
{
	bool found = !words;

	for (size_t i = 0; i < m->f.n_findings && i < STOW_FINDINGS_MAX; i++)
		found = found || strstr(m->f.findings[i], words);
	if (m->f.n_findings != n || !found) {
		for (size_t i = 0; i < m->f.n_findings && i < STOW_FINDINGS_MAX; i++)
			print_message("%s\n", m->f.findings[i]);
		fail_msg("%zu findings instead of %zu, or none with \"%s\"", m->f.n_findings, n,
			 words ? words : "");
	}
}

static int node_of(const struct machine *m, uint64_t domain)
{
	const struct stow_firmware_domain *d = stow_firmware_domain(&m->f, domain);

	return d ? d->node : -2;
}

TEST(domains_are_found_by_address_and_apic_id)
{
	struct tree *tree = kernel();
	struct machine m;
	struct table t;

	srat(&t);
	put(tree, "SRAT", &t);
	m = read_machine(tree);
	expect_findings(&m, 0, NULL);
	assert_true(m.f.compared);
	assert_int_equal(m.f.n_domains, 3);
	assert_int_equal(node_of(&m, 5), 0);
	assert_int_equal(node_of(&m, 3), 1);
	assert_int_equal(node_of(&m, 7), 2);
	assert_int_equal(node_of(&m, 0), -2); /* its only range is not enabled */
	assert_int_equal(stow_firmware_domain(&m.f, 3)->n_cpus, 2);
	assert_true(stow_idset_has(&stow_firmware_domain(&m.f, 3)->cpus, 3));
	assert_int_equal(stow_firmware_domain(&m.f, 7)->hotplug_memory, 64 * BLOCK);
	assert_int_equal(m.f.n_memory, 5);
	assert_int_equal(m.f.memory[0].node, 0); /* a part of a block */
	assert_int_equal(m.f.memory[4].node, 2); /* nothing is there: its domain's */
	done(&m);
}

TEST(without_memory_blocks_domains_are_matched_by_cpus)
{
	struct tree *tree = kernel();
	struct machine m;
	struct table t;

	tree_remove(tree, MEM);
	srat(&t);
	put(tree, "SRAT", &t);
	m = read_machine(tree);
	assert_int_equal(node_of(&m, 5), 0);
	assert_int_equal(node_of(&m, 3), 1);
	assert_int_equal(node_of(&m, 7), -1);
	assert_int_equal(stow_firmware_domain(&m.f, 5)->by, STOW_DOMAIN_BY_CPU);
	expect_findings(&m, 1, "node 2 is no domain of SRAT");
	done(&m);
}

TEST(disagreements_of_srat_are_found)
{
	struct tree *tree = kernel();
	struct machine m;
	struct table t;

	table_begin(&t, "SRAT", 3, 12);
	table_apic(&t, 0, 0, true);
	table_apic(&t, 1, 10, true); /* the kernel has it on node 0 */
	table_apic(&t, 1, 20, true);
	table_memory(&t, 0, 0, 5 * BLOCK, 1); /* the fifth block is node 1's */
	table_memory(&t, 1, 5 * BLOCK, 3 * BLOCK, 1);
	table_memory(&t, 2, 8 * BLOCK, 4 * BLOCK, 1);
	table_memory(&t, 2, 20 * BLOCK, 2 * BLOCK, 1); /* nothing is there */
	put(tree, "SRAT", &t);
	m = read_machine(tree);
	expect_findings(
		&m, 5,
		"CPU 1: SRAT puts it in domain 1, which is node 1; the kernel has it on node 0");
	expect_findings(&m, 5, "node 0; the kernel has 1 of its memory blocks on other nodes");
	expect_findings(&m, 5,
			"memory 0xa0000000-0xafffffff: the kernel has no memory block there");
	expect_findings(&m, 5, "CPUs 3 are not in SRAT");
	expect_findings(&m, 5, "domain 1: its memory is on node 1, its CPUs are on node 0");
	assert_int_equal(m.f.memory[0].node, -1); /* on several */
	done(&m);
}

TEST(several_domains_of_one_node_are_found)
{
	struct tree *tree = kernel();
	struct machine m;
	struct table t;

	tree_write(tree, NODE "/online", "0\n");
	tree_write(tree, NODE "/node0/cpulist", "0-3\n");
	tree_write(tree, NODE "/node0/distance", "10\n");
	tree_remove(tree, NODE "/node1");
	tree_remove(tree, NODE "/node2");
	for (int b = 4; b < 12; b++)
		block(tree, b, 0);
	srat(&t);
	table_memory(&t, 3, 8 * BLOCK, BLOCK, 1); /* and an overlap */
	put(tree, "SRAT", &t);
	/* Their distances are no further findings. */
	table_begin(&t, "SLIT", 1, 0);
	table_u64(&t, 8);
	for (int i = 0; i < 64; i++)
		table_bytes(&t, &(uint8_t){ i % 9 ? 20 : 10 }, 1);
	put(tree, "SLIT", &t);
	m = read_machine(tree);
	expect_findings(&m, 3, "domains 3 and 5 are both node 0");
	expect_findings(&m, 3, "memory at 0x40000000 is in domains 3 and 7");
	done(&m);
}

TEST(distances_are_compared)
{
	static const uint8_t good[] = { 10, 21, 30, 21, 10, 17, 30, 17, 10 };
	struct tree *tree = kernel();
	uint8_t bad[9];
	struct machine m;
	struct table t;

	table_begin(&t, "SRAT", 3, 12);
	for (uint32_t n = 0; n < 3; n++)
		table_memory(&t, n, n * 4 * BLOCK, 4 * BLOCK, 1);
	put(tree, "SRAT", &t);
	table_begin(&t, "SLIT", 1, 0);
	table_u64(&t, 3);
	table_bytes(&t, good, 9);
	put(tree, "SLIT", &t);
	m = read_machine(tree);
	expect_findings(&m, 0, NULL);
	tree = m.tree;
	m.tree = tree_new();
	done(&m);

	memcpy(bad, good, 9);
	bad[5] = 18;
	table_begin(&t, "SLIT", 1, 0);
	table_u64(&t, 3);
	table_bytes(&t, bad, 9);
	put(tree, "SLIT", &t);
	m = read_machine(tree);
	expect_findings(
		&m, 1,
		"distance of node 1 to node 2: SLIT has 18 (domains 1 and 2), the kernel has 17");
	tree = m.tree;
	m.tree = tree_new();
	done(&m);

	bad[5] = 9;
	table_begin(&t, "SLIT", 1, 0);
	table_u64(&t, 3);
	table_bytes(&t, bad, 9);
	table_end(&t);
	t.data[10] ^= 1;
	tree_write_data(tree, TABLES "/SLIT", t.data, t.len);
	m = read_machine(tree);
	expect_findings(&m, 2, "domain 1 to domain 2 is 9, which is not possible");
	expect_findings(&m, 2, "SLIT: the checksum is wrong");
	done(&m);
}

TEST(hmat_is_compared)
{
	static const uint32_t from[] = { 0, 1 }, to[] = { 0, 1, 2 };
	static const uint16_t latency[] = { 8, 14, 30, 14, 8, 20 };
	static const char access[] = NODE "/node2/access0/initiators";
	struct tree *tree = kernel();
	struct machine m;
	struct table t;
	char path[128];

	table_begin(&t, "SRAT", 3, 12);
	for (uint32_t n = 0; n < 3; n++)
		table_memory(&t, n, n * 4 * BLOCK, 4 * BLOCK, 1);
	put(tree, "SRAT", &t);
	table_begin(&t, "HMAT", 2, 4);
	table_attached(&t, 2, 0, true);
	table_matrix(&t, 0, STOW_HMAT_ACCESS_LATENCY, 10000, 2, 3, from, to, latency);
	table_side_cache(&t, 2, 4096, 0x00401111);
	table_side_cache(&t, 1, 4096, 0x00401111);
	put(tree, "HMAT", &t);
	tree_mkdir(tree, NODE "/node2/access0/initiators/node1");
	snprintf(path, sizeof(path), "%s/read_latency", access);
	tree_write(tree, path, "200\n");
	snprintf(path, sizeof(path), "%s/write_latency", access);
	tree_write(tree, path, "201\n");
	tree_write(tree, NODE "/node2/memory_side_cache/index1/size", "8192\n");
	m = read_machine(tree);
	expect_findings(&m, 4,
			"node 2: by HMAT its memory is attached to node 0, by the kernel its "
			"nearest initiators are nodes 1");
	expect_findings(&m, 4,
			"write latency from node 1 to node 2: HMAT has 200, the kernel has 201");
	expect_findings(&m, 4,
			"node 2: HMAT has a memory-side cache of 4096 bytes, the kernel has 8192");
	expect_findings(&m, 4,
			"node 1: HMAT has a memory-side cache of level 1, the kernel has none");
	done(&m);
}

static void expect_reads(const struct machine *m, size_t from, size_t to, uint64_t latency,
			 uint64_t bandwidth)
{
	const struct stow_firmware_kernel kernel = { m->topology, &m->blocks, &m->locality };
	struct stow_firmware_reads reads = stow_firmware_reads(&m->f, &kernel, from, to);

	assert_int_equal(reads.latency, latency);
	assert_int_equal(reads.bandwidth, bandwidth);
}

TEST(reads_of_a_pair_are_found)
{
	static const uint32_t from[] = { 5, 3 }, to[] = { 5, 3, 7 };
	static const uint16_t latency[] = { 8, 14, 30, 14, 8, 20 };
	static const uint16_t reads[] = { 9, 15, 31, 15, 9, 0xffff };
	static const uint16_t bandwidth[] = { 40, 20, 10, 20, 40, 10 };
	struct tree *tree = kernel();
	struct machine m;
	struct table t;

	/* What the kernel shows is for the nearest initiators: for others nothing is known without
	 * the table. */
	tree_mkdir(tree, NODE "/node1/access0/initiators/node1");
	tree_write(tree, NODE "/node1/access0/initiators/read_latency", "70\n");
	tree_write(tree, NODE "/node1/access0/initiators/read_bandwidth", "7000\n");
	tree_mkdir(tree, NODE "/node1/access1/initiators/node1");
	tree_write(tree, NODE "/node1/access1/initiators/read_latency", "75\n");
	m = read_machine(tree);
	expect_reads(&m, 1, 1, 75, 7000);
	expect_reads(&m, 0, 1, 0, 0);
	expect_reads(&m, 0, 0, 0, 0);
	forget(&m);

	srat(&t);
	put(tree, "SRAT", &t);
	table_begin(&t, "HMAT", 2, 4);
	table_matrix(&t, 0, STOW_HMAT_READ_LATENCY, 10000, 2, 3, from, to, reads);
	table_matrix(&t, 0, STOW_HMAT_ACCESS_LATENCY, 10000, 2, 3, from, to, latency);
	table_matrix(&t, 0, STOW_HMAT_ACCESS_BANDWIDTH, 100, 2, 3, from, to, bandwidth);
	table_matrix(&t, 1, STOW_HMAT_READ_BANDWIDTH, 100, 2, 3, from, to, reads);
	put(tree, "HMAT", &t);
	m = read_machine(tree);
	expect_reads(&m, 1, 1, 75, 7000);
	expect_reads(&m, 0, 0, 90, 4000);
	expect_reads(&m, 0, 1, 150, 2000);
	expect_reads(&m, 0, 2, 310, 1000);
	expect_reads(&m, 1, 2, 200, 1000);
	done(&m);
}

static void region(struct tree *tree, int entry, const char *start, const char *end)
{
	char path[64];

	snprintf(path, sizeof(path), "/sys/firmware/memmap/%d/start", entry);
	tree_write(tree, path, "%s\n", start);
	snprintf(path, sizeof(path), "/sys/firmware/memmap/%d/end", entry);
	tree_write(tree, path, "%s\n", end);
	snprintf(path, sizeof(path), "/sys/firmware/memmap/%d/type", entry);
	tree_write(tree, path, "System RAM\n");
}

static void expect_region(const struct machine *m, size_t at, const char *nodes,
			  const char *domains)
{
	char text[64];

	assert_string_equal(stow_idset_format(&m->f.regions[at].nodes, text, sizeof(text)), nodes);
	assert_string_equal(stow_idset_format(&m->f.regions[at].domains, text, sizeof(text)),
			    domains);
}

TEST(ram_outside_of_srat_is_found)
{
	struct tree *tree = kernel();
	struct machine m;
	struct table t;

	srat(&t);
	put(tree, "SRAT", &t);
	region(tree, 0, "0x0", "0x9ffff");
	region(tree, 1, "0x20000000", "0x3fffffff");  /* node 1's */
	region(tree, 2, "0x50000000", "0x60ffffff");  /* the last 16 MiB are in no range */
	region(tree, 3, "0x0", "0xffffffffffffffff"); /* has no size in 64 bits */
	tree_write(tree, "/sys/firmware/memmap/3/type", "Reserved\n");
	m = read_machine(tree);
	expect_findings(&m, 1, "the memory map has 16Mi of RAM that is not in SRAT");
	expect_region(&m, 0, "0", "5");
	expect_region(&m, 1, "", "3,5,7"); /* not RAM */
	expect_region(&m, 2, "1", "3");
	expect_region(&m, 3, "2", "7");
	done(&m);
}

static void cells(struct tree *tree, const char *path, uint32_t a, uint32_t b, uint32_t c, size_t n)
{
	const uint32_t values[] = { a, b, c };
	uint8_t bytes[12];

	for (size_t i = 0; i < 12; i++)
		bytes[i] = (uint8_t)(values[i / 4] >> (24 - 8 * (i % 4)));
	tree_write_data(tree, path, bytes, 4 * n);
}

TEST(a_device_tree_is_compared)
{
	struct tree *tree = kernel();
	struct machine m;

	tree_remove(tree, "/proc/cpuinfo");
	cells(tree, DT "/cpus/cpu@0/numa-node-id", 4, 0, 0, 1);
	cells(tree, DT "/cpus/cpu@1/numa-node-id", 4, 0, 0, 1);
	cells(tree, DT "/cpus/cpu@100/numa-node-id", 6, 0, 0, 1);
	tree_link(tree, CPU "/cpu0/of_node", "../../../../firmware/devicetree/base/cpus/cpu@0");
	tree_link(tree, CPU "/cpu2/of_node", "../../../../firmware/devicetree/base/cpus/cpu@1");
	tree_link(tree, CPU "/cpu3/of_node", "../../../../firmware/devicetree/base/cpus/cpu@100");
	cells(tree, DT "/memory@0/numa-node-id", 4, 0, 0, 1);
	cells(tree, DT "/memory@0/reg", 0, 0, 0x20000000, 3);
	cells(tree, DT "/memory@20000000/numa-node-id", 6, 0, 0, 1);
	cells(tree, DT "/memory@20000000/reg", 0, 0x20000000, 0x20000000, 3);
	cells(tree, DT "/distance-map/distance-matrix", 4, 6, 22, 3);
	m = read_machine(tree);
	assert_int_equal(m.f.source, STOW_FIRMWARE_DEVICETREE);
	assert_int_equal(node_of(&m, 4), 0);
	assert_int_equal(node_of(&m, 6), 1);
	expect_findings(&m, 4,
			"CPU 2: the device tree puts it in domain 4, which is node 0; the kernel "
			"has it on node 1");
	expect_findings(&m, 4, "the device tree has 22 (domains 4 and 6), the kernel has 21");
	expect_findings(&m, 4, "CPUs 1 are not in the device tree");
	expect_findings(&m, 4, "node 2 is no domain of the device tree");
	done(&m);
}

TEST(without_any_table_nothing_is_compared)
{
	struct machine m = read_machine(kernel());

	assert_int_equal(m.f.source, STOW_FIRMWARE_NONE);
	assert_false(m.f.compared);
	expect_findings(&m, 0, NULL);
	done(&m);
}

TEST(findings_are_counted_beyond_those_kept)
{
	struct tree *tree = kernel();
	struct machine m;
	struct table t;

	table_begin(&t, "SRAT", 3, 12);
	table_memory(&t, 0, 0, 4 * BLOCK, 1);
	for (uint64_t i = 0; i < 100; i++)
		table_memory(&t, 0, (100 + 4 * i) * BLOCK, 2 * BLOCK, 1);
	put(tree, "SRAT", &t);
	m = read_machine(tree);
	expect_findings(&m, 102, "the kernel has no memory block there");
	done(&m);
}

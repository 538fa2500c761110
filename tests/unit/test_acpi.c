// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "table.h"
#include "tree.h"

#include <string.h>

#include "node/acpi.h"
#include "node/devicetree.h"
#include "node/memmap.h"

/* --- SRAT ------------------------------------------------------------------------ */

TEST(srat_of_revision_1_has_domains_of_a_byte)
{
	struct table t;
	struct stow_srat srat;

	table_begin(&t, "SRAT", 1, 12);
	table_apic(&t, 0x11223344, 7, true);
	table_memory(&t, 0x11223301, 0x1000, 0x2000, 1);
	table_end(&t);
	assert_int_equal(stow_srat_parse(t.data, t.len, &srat, NULL), 0);
	assert_int_equal(srat.n_cpus, 1);
	assert_int_equal(srat.cpus[0].domain, 0x44);
	assert_int_equal(srat.cpus[0].id, 7);
	assert_true(srat.cpus[0].enabled);
	assert_int_equal(srat.memory[0].domain, 1);
	stow_srat_done(&srat);
}

TEST(srat_has_all_kinds)
{
	struct table t;
	struct stow_srat srat;

	table_begin(&t, "SRAT", 3, 12);
	table_apic(&t, 0x01020304, 200, true);
	table_x2apic(&t, 5, 70000, false);
	table_memory(&t, 9, UINT64_C(0x100000000), UINT64_C(0x40000000), 1 | 2 | 4);
	table_gicc(&t, 3, 12, true);
	table_pci_initiator(&t, 6, 0x1, 0x3b, 0x0a, true);
	table_acpi_initiator(&t, 7, "ACPI0016", 2, true);
	table_bytes(&t, (const uint8_t[]){ 99, 4, 0, 0 }, 4); /* of a later specification */
	table_end(&t);
	assert_int_equal(stow_srat_parse(t.data, t.len, &srat, NULL), 0);
	assert_true(stow_acpi_checksum(t.data, t.len));
	assert_int_equal(srat.n_cpus, 3);
	assert_int_equal(srat.cpus[0].domain, 0x01020304);
	assert_int_equal(srat.cpus[1].id, 70000);
	assert_false(srat.cpus[1].enabled);
	assert_int_equal(srat.cpus[2].kind, STOW_SRAT_UID);
	assert_int_equal(srat.cpus[2].id, 12);
	assert_int_equal(srat.n_memory, 1);
	assert_true(srat.memory[0].enabled && srat.memory[0].hotplug && srat.memory[0].nonvolatile);
	assert_int_equal(srat.memory[0].size, 0x40000000);
	assert_int_equal(srat.n_devices, 2);
	assert_string_equal(srat.devices[0].name, "0001:3b:01.2");
	assert_string_equal(srat.devices[1].name, "ACPI0016:2");
	stow_srat_done(&srat);
	t.data[50] ^= 1;
	assert_false(stow_acpi_checksum(t.data, t.len));
}

static void expect_broken(const struct table *t, const char *name, const char *words)
{
	struct stow_err err = { 0 };
	struct stow_srat srat;
	struct stow_slit slit;
	struct stow_hmat hmat;
	int r = name[1] == 'R'	 ? stow_srat_parse(t->data, t->len, &srat, &err)
		: name[0] == 'H' ? stow_hmat_parse(t->data, t->len, &hmat, &err)
				 : stow_slit_parse(t->data, t->len, &slit, &err);

	assert_int_equal(r, -EINVAL);
	assert_non_null(strstr(err.msg, words));
}

TEST(broken_tables_are_refused)
{
	struct table t;

	table_begin(&t, "SRAT", 3, 12);
	table_memory(&t, 0, UINT64_MAX - 10, 12, 1);
	table_end(&t);
	expect_broken(&t, "SRAT", "exceeds 64 bits");
	t.len = 20;
	expect_broken(&t, "SRAT", "no ACPI table");
	table_begin(&t, "SRAT", 3, 12);
	table_bytes(&t, (const uint8_t[]){ 0, 0 }, 2); /* would be parsed for ever */
	table_end(&t);
	expect_broken(&t, "SRAT", "impossible length of 0");
	table_begin(&t, "SRAT", 3, 12);
	table_bytes(&t, (const uint8_t[]){ 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }, 12);
	table_end(&t);
	expect_broken(&t, "SRAT", "impossible length of 12");
	table_begin(&t, "SRAT", 3, 12);
	table_apic(&t, 0, 0, true);
	table_end(&t);
	t.len -= 3; /* the file is shorter than its header says */
	expect_broken(&t, "SRAT", "length is 64");
	table_begin(&t, "SLIT", 1, 0);
	table_u64(&t, UINT64_C(0x100000001)); /* its square exceeds 64 bits */
	table_end(&t);
	expect_broken(&t, "SLIT", "localities");
	table_begin(&t, "SLIT", 1, 0);
	table_u64(&t, 3);
	table_bytes(&t, (const uint8_t[]){ 10, 20, 20, 20, 10, 20, 20, 20 }, 8);
	table_end(&t);
	expect_broken(&t, "SLIT", "localities");
	table_begin(&t, "HMAT", 2, 4);
	table_matrix(&t, 0, 0, 1000, 0x40000000, 0x40000000, NULL, NULL, NULL);
	table_end(&t);
	expect_broken(&t, "HMAT", "too short");
	table_begin(&t, "HMAT", 2, 4);
	table_u16(&t, 0);
	table_u16(&t, 0);
	table_u32(&t, 0);
	table_end(&t);
	expect_broken(&t, "HMAT", "impossible length of 0");
}

/* --- HMAT ------------------------------------------------------------------------ */

TEST(hmat_values_are_the_kernels)
{
	static const uint32_t from[] = { 0, 4 }, to[] = { 0, 4, 9 };
	static const uint16_t values[] = { 8, 14, 0xffff, 0, 15, 21 };
	struct stow_hmat hmat;
	struct table t;

	table_begin(&t, "HMAT", 2, 4);
	table_attached(&t, 9, 4, true);
	table_matrix(&t, 0, STOW_HMAT_READ_LATENCY, 10000, 2, 3, from, to, values);
	table_matrix(&t, 2, STOW_HMAT_ACCESS_BANDWIDTH, 1024, 2, 3, from, to, values);
	table_side_cache(&t, 9, UINT64_C(64) << 20, 0x00401111);
	table_end(&t);
	assert_int_equal(stow_hmat_parse(t.data, t.len, &hmat, NULL), 0);
	assert_int_equal(hmat.n_attached, 1);
	assert_int_equal(hmat.attached[0].memory, 9);
	assert_int_equal(hmat.attached[0].initiator, 4);
	assert_int_equal(hmat.n_values, 8);	    /* 0xffff and 0 are not values */
	assert_int_equal(hmat.values[0].value, 80); /* ns: 8 * 10000 ps */
	assert_int_equal(hmat.values[3].initiator, 4);
	assert_int_equal(hmat.values[3].target, 9);
	assert_int_equal(hmat.values[3].value, 210);
	assert_int_equal(hmat.values[4].value, 8 * 1024);
	assert_int_equal(hmat.values[4].hierarchy, 2);
	assert_int_equal(hmat.caches[0].size, 64 << 20);
	assert_int_equal(hmat.caches[0].line_size, 64);
	assert_int_equal(hmat.caches[0].level, 1);
	assert_int_equal(hmat.caches[0].associativity, 1);
	stow_hmat_done(&hmat);

	table_begin(&t, "HMAT", 1, 4);
	table_matrix(&t, 0, STOW_HMAT_READ_LATENCY, 3, 2, 3, from, to, values);
	table_end(&t);
	assert_int_equal(stow_hmat_parse(t.data, t.len, &hmat, NULL), 0);
	assert_int_equal(hmat.values[0].value, 3); /* 24 tenths, rounded up */
	stow_hmat_done(&hmat);
}

/* --- reading --------------------------------------------------------------------- */

TEST(tables_are_read_each_by_itself)
{
	struct tree *tree = tree_new();
	struct stow_acpi acpi;
	struct table t;

	assert_int_equal(stow_acpi_read(tree->root, &acpi, NULL), 0);
	assert_false(acpi.present);
	assert_int_equal(acpi.srat_table.state, STOW_ACPI_ABSENT);
	stow_acpi_done(&acpi);

	table_begin(&t, "SLIT", 1, 0);
	table_u64(&t, 2);
	/* It ends in a byte that is a newline. */
	table_bytes(&t, (const uint8_t[]){ 10, 21, 21, 10 }, 4);
	table_end(&t);
	tree_write_data(tree, "/sys/firmware/acpi/tables/SLIT", t.data, t.len);
	tree_write_data(tree, "/sys/firmware/acpi/tables/SRAT", "", 0);
	assert_int_equal(stow_acpi_read(tree->root, &acpi, NULL), 0);
	assert_true(acpi.present);
	assert_int_equal(acpi.srat_table.state, STOW_ACPI_BROKEN);
	assert_int_equal(acpi.slit_table.state, STOW_ACPI_READ);
	assert_int_equal(acpi.hmat_table.state, STOW_ACPI_ABSENT);
	assert_int_equal(acpi.slit.distance[3], 10);
	assert_string_equal(acpi.slit_table.oem, "STOW TEST");
	assert_false(acpi.slit_table.bad_checksum);
	stow_acpi_done(&acpi);
	tree_free(tree);
}

TEST(memory_map_is_sorted)
{
	struct tree *tree = tree_new();
	struct stow_memmap map;

	assert_int_equal(stow_memmap_read(tree->root, &map, NULL), 0);
	assert_int_equal(map.n_regions, 0);
	tree_write(tree, "/sys/firmware/memmap/0/start", "0x100000\n");
	tree_write(tree, "/sys/firmware/memmap/0/end", "0x7ffdffff\n");
	tree_write(tree, "/sys/firmware/memmap/0/type", "System RAM\n");
	tree_write(tree, "/sys/firmware/memmap/10/start", "0x0\n");
	tree_write(tree, "/sys/firmware/memmap/10/end", "0x9fbff\n");
	tree_write(tree, "/sys/firmware/memmap/10/type", "Reserved\n");
	tree_write(tree, "/sys/firmware/memmap/2/start", "0x10\n"); /* no end */
	tree_write(tree, "/sys/firmware/memmap/3/start", "0x10\n");
	tree_write(tree, "/sys/firmware/memmap/3/end", "0x1g\n");
	tree_write(tree, "/sys/firmware/memmap/3/type", "Reserved\n");
	assert_int_equal(stow_memmap_read(tree->root, &map, NULL), 0);
	assert_int_equal(map.n_regions, 2);
	assert_int_equal(map.n_broken, 2);
	assert_int_equal(map.regions[0].end, 0x9fbff);
	assert_false(map.regions[0].ram);
	assert_int_equal(map.regions[1].start, 0x100000);
	assert_true(map.regions[1].ram);
	stow_memmap_done(&map);
	tree_free(tree);
}

#define DT "/sys/firmware/devicetree/base"

static void write_cells(struct tree *tree, const char *path, const uint32_t *cells, size_t n)
{
	uint8_t bytes[256];

	for (size_t i = 0; i < n; i++)
		for (int k = 0; k < 4; k++)
			bytes[4 * i + (size_t)k] = (uint8_t)(cells[i] >> (24 - 8 * k));
	tree_write_data(tree, path, bytes, 4 * n);
}

TEST(device_tree_is_read)
{
	struct tree *tree = tree_new();
	struct stow_devicetree dt;

	assert_int_equal(stow_devicetree_read(tree->root, &dt, NULL), 0);
	assert_false(dt.present);
	write_cells(tree, DT "/#address-cells", (const uint32_t[]){ 2 }, 1);
	write_cells(tree, DT "/#size-cells", (const uint32_t[]){ 2 }, 1);
	write_cells(tree, DT "/cpus/cpu@100/numa-node-id", (const uint32_t[]){ 1 }, 1);
	write_cells(tree, DT "/cpus/cpu@0/numa-node-id", (const uint32_t[]){ 0 }, 1);
	tree_mkdir(tree, DT "/cpus/cpu-map");
	write_cells(tree, DT "/memory@40000000/numa-node-id", (const uint32_t[]){ 1 }, 1);
	write_cells(tree, DT "/memory@40000000/reg",
		    (const uint32_t[]){ 1, 0, 0, 0x1000, 0, 0x40000000, 0, 0x2000 }, 8);
	write_cells(tree, DT "/memory@2/numa-node-id", (const uint32_t[]){ 0 }, 1);
	write_cells(tree, DT "/memory@2/reg", (const uint32_t[]){ 1, 0, 0 }, 3); /* cut */
	write_cells(tree, DT "/distance-map/distance-matrix",
		    (const uint32_t[]){ 0, 0, 10, 0, 1, 20, 1, 0, 21, 1, 1, 10 }, 12);
	assert_int_equal(stow_devicetree_read(tree->root, &dt, NULL), 0);
	assert_true(dt.present);
	assert_int_equal(dt.n_cpus, 2);
	assert_string_equal(dt.cpus[1].path, "cpus/cpu@100");
	assert_int_equal(dt.cpus[1].domain, 1);
	assert_int_equal(dt.n_memory, 2);
	assert_int_equal(dt.memory[0].start, 0x40000000);
	assert_int_equal(dt.memory[1].start, UINT64_C(0x100000000));
	assert_int_equal(dt.memory[1].size, 0x1000);
	assert_int_equal(dt.n_broken, 1);
	assert_int_equal(dt.n_distances, 4);
	assert_int_equal(dt.distances[2].distance, 21);
	stow_devicetree_done(&dt);
	tree_free(tree);
}

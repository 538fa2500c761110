// SPDX-License-Identifier: Apache-2.0
/* SRAT, SLIT and HMAT, and the numbers of a device tree: each parser gets every input. */
#include "fuzz.h"

#include "node/acpi.h"
#include "node/devicetree.h"

static void device_tree(const uint8_t *data, size_t size)
{
	struct stow_devicetree tree = { 0 };
	unsigned int cells = size ? data[0] : 0;

	(void)stow_devicetree_parse_reg(data, size, cells & 3, cells >> 2 & 3, 1, &tree);
	for (size_t i = 0; i < tree.n_memory; i++)
		FUZZ_CHECK(tree.memory[i].start + (tree.memory[i].size - 1) >=
			   tree.memory[i].start);
	(void)stow_devicetree_parse_distances(data, size, &tree);
	stow_devicetree_done(&tree);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* In a buffer of just that size. */
	uint8_t *copy = (uint8_t *)fuzz_text(data, size);
	struct stow_srat srat = { 0 };
	struct stow_slit slit = { 0 };
	struct stow_hmat hmat = { 0 };
	struct stow_err err = { 0 };
	int r = stow_srat_parse(copy, size, &srat, &err);

	FUZZ_CHECK_ERR(r, &err);
	for (size_t i = 0; i < srat.n_memory; i++)
		FUZZ_CHECK(!srat.memory[i].size ||
			   srat.memory[i].start + (srat.memory[i].size - 1) >=
				   srat.memory[i].start);
	for (size_t i = 0; i < srat.n_devices; i++)
		FUZZ_CHECK(fuzz_one_line(srat.devices[i].name));
	stow_srat_done(&srat);
	r = stow_slit_parse(copy, size, &slit, &err);
	FUZZ_CHECK_ERR(r, &err);
	FUZZ_CHECK(slit.n <= STOW_SLIT_MAX && slit.n * slit.n <= size);
	stow_slit_done(&slit);
	r = stow_hmat_parse(copy, size, &hmat, &err);
	FUZZ_CHECK_ERR(r, &err);
	FUZZ_CHECK(hmat.n_values <= size);
	for (size_t i = 0; i < hmat.n_values; i++)
		FUZZ_CHECK(hmat.values[i].value && hmat.values[i].type < STOW_HMAT_TYPES);
	stow_hmat_done(&hmat);
	(void)stow_acpi_checksum(copy, size);
	device_tree(copy, size);
	free(copy);
	return 0;
}

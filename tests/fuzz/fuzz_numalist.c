// SPDX-License-Identifier: Apache-2.0
/* Lists and masks of nodes and CPUs, as numactl and taskset take them. */
#include "fuzz.h"

#include "base/numalist.h"

static int find(void *ctx, const char *name, int *ret_id, struct stow_err *err)
{
	if (strcmp(name, "netdev:eth0") != 0)
		return 0;
	*ret_id = 3;
	return 1;
}

static void read_list(const char *text, const struct stow_numalist *list)
{
	struct stow_idset set = { 0 }, again = { 0 };
	struct stow_err err = { 0 };
	int r = stow_numalist_parse(text, list, &set, &err);
	char *written;

	FUZZ_CHECK_ERR(r, &err);
	if (r < 0)
		return;
	if (list->allowed) {
		struct stow_idset all = *list->present;

		stow_idset_or(&all, list->allowed);
		FUZZ_CHECK(stow_idset_subset(&set, &all));
		return;
	}
	if (stow_idset_empty(&set))
		return; /* numbers that no set has */
	written = stow_numalist_format(&set);
	FUZZ_CHECK(written && stow_numalist_parse(written, list, &again, &err) == 0);
	FUZZ_CHECK(stow_idset_equal(&set, &again));
	free(written);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct stow_idset few = { .bits = { 0x2d } }, present = { .bits = { 0x3f } };
	static const struct stow_numalist nodes = { .what = "node",
						    .allowed = &few,
						    .present = &present,
						    .find = find },
					  cpus = { .what = "CPU" };
	char *text = fuzz_text(data, size), *written;
	struct stow_idset set = { 0 }, again = { 0 };
	struct stow_err err = { 0 };
	int r;

	read_list(text, &nodes);
	read_list(text, &cpus);
	r = stow_numalist_parse_mask(text, &set, &err);
	FUZZ_CHECK_ERR(r, &err);
	if (r == 0) {
		written = stow_numalist_format_mask(&set);
		FUZZ_CHECK(written && stow_numalist_parse_mask(written, &again, &err) == 0);
		FUZZ_CHECK(stow_idset_equal(&set, &again));
		free(written);
	}
	free(text);
	return 0;
}

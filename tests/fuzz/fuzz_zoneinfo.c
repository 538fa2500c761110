// SPDX-License-Identifier: Apache-2.0
/* /proc/zoneinfo; the text has no end of its own. */
#include "fuzz.h"

#include "node/memory.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct stow_zoneinfo info = { 0 };
	struct stow_err err = { 0 };
	int r = stow_zoneinfo_parse((const char *)data, size, &info, &err);

	FUZZ_CHECK_ERR(r, &err);
	if (r < 0)
		return 0;
	for (size_t i = 0; i < info.n_nodes; i++) {
		const struct stow_zone_sums *sums = &info.nodes[i];

		FUZZ_CHECK(stow_zoneinfo_node(&info, sums->node) == sums); /* each node once */
		(void)stow_zone_available(sums);
	}
	stow_zoneinfo_done(&info);
	return 0;
}

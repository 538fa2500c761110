// SPDX-License-Identifier: Apache-2.0
/* /proc/PID/numa_maps, line by line: a program chooses the names in it, and those of files. */
#include <errno.h>

#include "fuzz.h"
#include "pages/numa_maps.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = fuzz_text(data, size), *save = NULL;
	struct stow_idset some = { 0 }, none = { 0 };
	struct stow_process_pages pages = { 0 };
	struct stow_numa_map map;

	FUZZ_CHECK(stow_process_pages_add((const char *)data, size, &pages) != -ENOMEM);
	for (size_t i = 0; i < pages.n_nodes; i++) {
		const struct stow_node_pages *on = &pages.nodes[i];

		FUZZ_CHECK(on->file <= on->kinds[STOW_PAGES_PRIVATE]);
		FUZZ_CHECK(on->shared <= on->kinds[STOW_PAGES_PRIVATE]);
	}
	stow_process_pages_done(&pages);
	stow_idset_add(&some, 0);
	stow_idset_add(&some, 3);
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		if (stow_numa_maps_line(line, &some, &map) == 0)
			FUZZ_CHECK(map.page_size >= 1024 && map.page_size % 1024 == 0);
		if (stow_numa_maps_line(line, &none, &map) == 0)
			FUZZ_CHECK(map.pages == 0);
	}
	free(text);
	return 0;
}

// SPDX-License-Identifier: Apache-2.0
/* The kernel's log, line by line, and paths of cgroups: in both are names that strangers chose. */
#include "fuzz.h"

#include "cgroup/paths.h"
#include "pages/culprit.h"
#include "pages/kmsg.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = fuzz_text(data, size), *save = NULL, id[65];

	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		uint64_t pfn = stow_kmsg_line(line);

		/* A page frame is only there when the line has a word for it. */
		FUZZ_CHECK(pfn == 0 || strstr(line, "pfn"));
		FUZZ_CHECK(stow_cgroup_container(line, id, sizeof(id)) == id);
		FUZZ_CHECK(strlen(id) < sizeof(id) && !strchr(id, '/'));
		FUZZ_CHECK(id[0] == '\0' || strstr(line, id));
	}
	free(text);
	return 0;
}

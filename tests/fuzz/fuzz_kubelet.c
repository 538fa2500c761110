// SPDX-License-Identifier: Apache-2.0
/* A cgroup's path, a line's end, and kubelet's checkpoint of CPUs and memory. */
#include "fuzz.h"

#include "cgroup/kubelet.h"
#include "program.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct stow_root *root;
	char *text = fuzz_text(data, size);
	size_t path = strcspn(text, "\n"), at = path < size ? path + 1 : size;

	if (!root && stow_root_open(fuzz_folder(), &root, NULL) < 0)
		abort();
	text[path] = '\0';
	fuzz_file("/var/lib/kubelet/cpu_manager_state", data + at, size - at);
	fuzz_file("/var/lib/kubelet/memory_manager_state", data + at, size - at);
	/* Who is in no pod is nobody's but ours. */
	FUZZ_CHECK(!stow_kubelet_owns(root, text) || strstr(text, "kubepods"));
	free(text);
	return 0;
}

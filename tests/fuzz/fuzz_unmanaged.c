// SPDX-License-Identifier: Apache-2.0
/* The file of an unmanaged container: taken apart, or refused with one line. */
#include "fuzz.h"

#include <errno.h>

#include "grant/unmanaged.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct stow_unmanaged c = { 0 };
	struct stow_err err = { 0 };
	char *text = fuzz_text(data, size);
	int r = stow_unmanaged_parse("id", text, &c, &err);

	FUZZ_CHECK_ERR(r, &err);
	FUZZ_CHECK(r == 0 || r == -ENOENT);
	if (r == 0)
		FUZZ_CHECK(strcmp(c.id, "id") == 0 && c.init.pid >= 0);
	for (int i = 0; i < STOW_CGROUP_CONTROLLERS && r == 0; i++) {
		int version = c.cgroup.at[i].version;

		FUZZ_CHECK(version >= 0 && version <= 2);
		FUZZ_CHECK(!version == !c.cgroup.at[i].path);
		FUZZ_CHECK(!version || c.cgroup.at[i].path[0] == '/');
	}
	stow_unmanaged_done(&c);
	free(text);
	return 0;
}

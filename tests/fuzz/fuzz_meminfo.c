// SPDX-License-Identifier: Apache-2.0
/* /proc/meminfo and a node's meminfo; the text has no end of its own. */
#include "fuzz.h"

#include "node/memory.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct stow_meminfo info;
	struct stow_err err = { 0 };
	int r = stow_meminfo_parse((const char *)data, size, &info, &err);

	FUZZ_CHECK_ERR(r, &err);
	return 0;
}

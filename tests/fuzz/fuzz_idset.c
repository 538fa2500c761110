// SPDX-License-Identifier: Apache-2.0
/* Lists of CPUs and nodes: what is read is written the same. */
#include "fuzz.h"

#include "base/idset.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = fuzz_text(data, size), *list, cut[64];
	struct stow_idset set, again;
	struct stow_err err = { 0 };
	int r = stow_idset_parse(text, &set, &err);

	FUZZ_CHECK_ERR(r, &err);
	if (r == 0) {
		list = stow_idset_to_list(&set);
		FUZZ_CHECK(list && stow_idset_parse(list, &again, &err) == 0);
		FUZZ_CHECK(stow_idset_equal(&set, &again));
		FUZZ_CHECK(stow_idset_empty(&set) == (stow_idset_count(&set) == 0));
		FUZZ_CHECK(strlen(stow_idset_format(&set, cut, sizeof(cut))) < sizeof(cut));
		free(list);
	}
	free(text);
	return 0;
}

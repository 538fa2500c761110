// SPDX-License-Identifier: Apache-2.0
/* Long lists of numbers: what is read is written the same, and ascends. */
#include "fuzz.h"

#include "base/idlist.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = fuzz_text(data, size), *list;
	uint64_t *ids = NULL, *again = NULL;
	size_t n = 0, n_again = 0;
	struct stow_err err = { 0 };
	int r = stow_idlist_parse(text, &ids, &n, &err);

	FUZZ_CHECK_ERR(r, &err);
	if (r == 0) {
		FUZZ_CHECK(ids && n <= STOW_IDLIST_MAX);
		for (size_t i = 1; i < n; i++)
			FUZZ_CHECK(ids[i - 1] < ids[i]);
		list = stow_idlist_format(ids, n);
		FUZZ_CHECK(list && stow_idlist_parse(list, &again, &n_again, &err) == 0);
		FUZZ_CHECK(n == n_again && (!n || memcmp(ids, again, n * sizeof(*ids)) == 0));
		free(list);
	} else {
		FUZZ_CHECK(!ids);
	}
	free(again);
	free(ids);
	free(text);
	return 0;
}

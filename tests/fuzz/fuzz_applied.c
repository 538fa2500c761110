// SPDX-License-Identifier: Apache-2.0
/* What the last run was for: what is written from what was read is read the same. */
#include "folder.h"

#include "grant/applied.h"

#define PATH "/run/numastow/applied"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct stow_applied first, again;
	struct stow_idset online, exclusive;
	struct stow_err err = { 0 };
	struct stow_root *root;
	int r;

	fuzz_mkdir("/run");
	fuzz_mkdir("/run/numastow");
	fuzz_file(PATH, data, size);
	if (stow_root_open(fuzz_folder(), &root, NULL) < 0)
		abort();
	r = stow_applied_read(root, &first, &err);
	FUZZ_CHECK_ERR(r, &err);
	FUZZ_CHECK(stow_idset_subset(&first.exclusive, &first.explained));
	online = first.online;
	exclusive = first.exclusive;
	if (first.known) {
		FUZZ_CHECK(stow_applied_is(&first, &exclusive, &online) == !first.busy);
		first.busy = true; /* so that it is written */
		FUZZ_CHECK(stow_applied_end(root, &first, &exclusive, &online, &first.explained,
					    NULL) == 0);
		FUZZ_CHECK(stow_applied_read(root, &again, NULL) == 0);
		FUZZ_CHECK(stow_applied_is(&again, &exclusive, &online));
		FUZZ_CHECK(stow_idset_equal(&again.explained, &first.explained));
	} else {
		FUZZ_CHECK(!stow_applied_is(&first, &exclusive, &online));
	}
	stow_root_free(root);
	return 0;
}

// SPDX-License-Identifier: Apache-2.0
/* What the last run was for: what is written from what was read is read the same. */
#include "folder.h"

#include <string.h>

#include "grant/applied.h"

#define PATH "/run/numastow/applied"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct stow_applied first, again;
	struct stow_cpu_view view = { 0 };
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
	view.online = first.online;
	view.exclusive = first.exclusive;
	memcpy(view.reserved, first.reserved, sizeof(view.reserved));
	if (first.known) {
		FUZZ_CHECK(stow_applied_is(&first, &view) == !first.busy);
		first.busy = true; /* so that it is written */
		FUZZ_CHECK(stow_applied_end(root, &first, &view, &first.explained, NULL) == 0);
		FUZZ_CHECK(stow_applied_read(root, &again, NULL) == 0);
		FUZZ_CHECK(stow_applied_is(&again, &view));
		FUZZ_CHECK(stow_idset_equal(&again.explained, &first.explained));
	} else {
		FUZZ_CHECK(!stow_applied_is(&first, &view));
	}
	stow_root_free(root);
	return 0;
}

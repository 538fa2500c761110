// SPDX-License-Identifier: Apache-2.0
#include "place/changes.h"

#include <errno.h>

enum stow_changes stow_changes(struct stow_root *root, enum stow_mode mode)
{
	if (stow_root_exists(root, "%s", STOW_DISABLED_PATH) == 1)
		return STOW_CHANGES_DISABLED;
	return mode == STOW_MODE_OBSERVE ? STOW_CHANGES_OBSERVED : STOW_CHANGES_MADE;
}

int stow_changes_refuse(enum stow_changes changes, struct stow_err *err)
{
	switch (changes) {
	case STOW_CHANGES_DISABLED:
		return stow_err_set(err, EACCES, "%s exists: numastow is disabled",
				    STOW_DISABLED_PATH);
	case STOW_CHANGES_OBSERVED:
		return stow_err_set(err, EACCES,
				    "mode: observe: nothing is changed here; --dry-run shows what "
				    "would be done");
	default:
		return 0;
	}
}

int stow_may_change(struct stow_root *root, enum stow_mode mode, struct stow_err *err)
{
	return stow_changes_refuse(stow_changes(root, mode), err);
}

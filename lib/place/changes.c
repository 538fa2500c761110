// SPDX-License-Identifier: Apache-2.0
#include "place/changes.h"

#include <errno.h>

enum stow_changes stow_changes(struct stow_root *root, enum stow_mode mode)
{
	int r = stow_root_exists(root, "%s", STOW_DISABLED_PATH);
	char target[2];

	/* A symbolic link disables, too, wherever it points. */
	if (r == 1 ||
	    stow_root_readlink(root, target, sizeof(target), NULL, STOW_DISABLED_PATH) >= 0)
		return STOW_CHANGES_DISABLED;
	if (r < 0)
		return STOW_CHANGES_UNKNOWN;
	return mode == STOW_MODE_OBSERVE ? STOW_CHANGES_OBSERVED : STOW_CHANGES_MADE;
}

int stow_changes_refuse(enum stow_changes changes, struct stow_err *err)
{
	switch (changes) {
	case STOW_CHANGES_DISABLED:
		return stow_err_set(err, EACCES, "%s exists: numastow is disabled",
				    STOW_DISABLED_PATH);
	case STOW_CHANGES_UNKNOWN:
		return stow_err_set(err, EACCES,
				    "%s cannot be looked at: nothing is changed while it is not "
				    "known whether numastow is disabled",
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

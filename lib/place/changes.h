/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Whether numastow may change anything on this machine. The only code that decides this, for hook,
 * command, agent and drain. Reading is always allowed, and so is undoing what was begun.
 */

#include "base/err.h"
#include "base/root.h"
#include "place/config.h"

/* While this name exists, also as a symbolic link to nothing, numastow is disabled: containers
 * start as if it were not installed. */
#define STOW_DISABLED_PATH "/etc/numastow/disabled"

enum stow_changes {
	STOW_CHANGES_MADE,
	STOW_CHANGES_OBSERVED, /* mode: observe. Only report what would be done */
	STOW_CHANGES_DISABLED, /* STOW_DISABLED_PATH exists, whatever the mode */
	/* It cannot be found out whether it exists. The agent changes nothing then, and containers
	 * that ask for something do not start. Others start, kept off exclusive CPUs. */
	STOW_CHANGES_UNKNOWN,
};

/* Return what `mode` and STOW_DISABLED_PATH allow. `mode`: from config.yaml; STOW_MODE_ENFORCE
 * where that was not read. */
enum stow_changes stow_changes(struct stow_root *root, enum stow_mode mode);
/* Return 0 where changes are made; otherwise -EACCES, with the reason. */
int stow_changes_refuse(enum stow_changes changes, struct stow_err *err);
/* Do both. */
int stow_may_change(struct stow_root *root, enum stow_mode mode, struct stow_err *err);

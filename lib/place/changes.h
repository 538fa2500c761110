/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Whether numastow may change anything on this machine. The one judge of it, for hook, command,
 * agent and drain. Looking is always allowed, and so is taking back what was begun.
 */

#include "base/err.h"
#include "base/root.h"
#include "place/config.h"

/* While it exists, numastow is switched off: containers start as if it were not installed. */
#define STOW_DISABLED_PATH "/etc/numastow/disabled"

enum stow_changes {
	STOW_CHANGES_MADE,
	STOW_CHANGES_OBSERVED, /* mode: observe. It is said what would be done */
	STOW_CHANGES_DISABLED, /* STOW_DISABLED_PATH exists, whatever the mode */
};

/* `mode`: of config.yaml; STOW_MODE_ENFORCE where it was not read. */
enum stow_changes stow_changes(struct stow_root *root, enum stow_mode mode);
/* 0 where changes are made; else -EACCES, and why not. */
int stow_changes_refuse(enum stow_changes changes, struct stow_err *err);
/* Both in one. */
int stow_may_change(struct stow_root *root, enum stow_mode mode, struct stow_err *err);

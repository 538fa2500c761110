/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The highest epoch of a scheduler that this machine has heard of: in a file, for a scheduler that
 * was paused and does not know that another one has taken over may meet an agent that was started
 * anew meanwhile.
 */

#include <stdint.h>

#include "base/err.h"
#include "base/root.h"

/* Root's alone; gone with the machine's restart, as what directives are about. */
#define AGENT_EPOCH_PATH "/run/numastow/epoch"

/* 0: none was heard of. -EUCLEAN: the file is no number. */
int agent_epoch_read(struct stow_root *root, uint64_t *ret_epoch, struct stow_err *err);
int agent_epoch_write(struct stow_root *root, uint64_t epoch, struct stow_err *err);

/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The highest epoch of a scheduler that this machine has seen. It is stored in a file, so that a
 * restarted agent, too, refuses an old leader, for example one that was paused and does not know
 * that another one has taken over.
 */

#include <stdint.h>

#include "base/err.h"
#include "base/root.h"

/* Only root can read it. It is lost when the machine restarts, as are the reservations that
 * directives are about. */
#define AGENT_EPOCH_PATH "/run/numastow/epoch"

/* Read the epoch; 0: none was seen. -EUCLEAN: the file does not contain a number. */
int agent_epoch_read(struct stow_root *root, uint64_t *ret_epoch, struct stow_err *err);
int agent_epoch_write(struct stow_root *root, uint64_t epoch, struct stow_err *err);

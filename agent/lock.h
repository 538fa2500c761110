/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/err.h"
#include "base/root.h"

/*
 * One agent a machine: takes STOW_AGENT_LOCK_PATH for as long as the descriptor that it returns is
 * open. The lock's text says who holds it and what the machine is called, for the hook. It is a
 * lock that can be asked for without taking it (fcntl(2), F_OFD_GETLK), on root's own file. -EBUSY:
 * an agent is running already.
 */
int agent_lock_take(struct stow_root *root, const char *node, struct stow_err *err);

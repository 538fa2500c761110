/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/err.h"
#include "base/root.h"

/*
 * Ensure that only one agent runs per machine: lock STOW_AGENT_LOCK_PATH as long as the returned
 * descriptor is open. The file has the agent's pid and the machine's name, for the hook, which
 * tests the lock without taking it (fcntl(2), F_OFD_GETLK). Only root can open the file. -EBUSY: an
 * agent is running already.
 */
int agent_lock_take(struct stow_root *root, const char *node, struct stow_err *err);

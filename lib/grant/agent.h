/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Whether this machine has an agent. */

#include <stdbool.h>

#include "base/root.h"
#include "ledger/ledger.h"

/* Held by the agent as long as it lives; the text in it is "PID NODE", the machine's name as the
 * agent tells it to schedulers. */
#define STOW_AGENT_LOCK_PATH STOW_RUN_DIR "/agent.lock"

/* Return whether an agent holds it. Always false without root, which alone may open the file. */
bool stow_agent_lives(struct stow_root *root);

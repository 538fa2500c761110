/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/root.h"

#define STOW_LEDGER_PATH STOW_RUN_DIR "/ledger.db"
#define STOW_LEDGER_LOCK STOW_RUN_DIR "/ledger.lock"
/* What the applier's last run was for (lib/grant/applied.h). The file exists if any container was
 * placed since boot. */
#define STOW_APPLIED_PATH STOW_RUN_DIR "/applied"
/* The exclusive CPUs, which the applier publishes (lib/grant/apply.h). */
#define STOW_EXCLUSIVE_PATH STOW_RUN_DIR "/exclusive"

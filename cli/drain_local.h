/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Drains that the command does itself, or finds in the ledger, as they are shown. */

#include "cli/drain_view.h"
#include "drain/drain.h"

/* Shows one progress of the engine's. `block_size`: of the machine, 0 for not known. */
void drain_local_show(struct drain_view *view, const struct stow_drain_progress *progress,
		      uint64_t block_size);
/* Who is suspected, without a drain. */
void drain_local_culprits(const struct stow_culprits *culprits, uint64_t block);
struct json_object *drain_local_culprits_json(const struct stow_culprits *culprits, uint64_t block);

/* The gRPC status code of an end, as agents and schedulers say it. */
uint32_t drain_local_code(int errnum);

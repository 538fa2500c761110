/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The difference of two full reports. */

#include <stdbool.h>

#include "numastow/v1/node.pb-c.h"

/*
 * Compute a report of changes: NUMA nodes and containers that differ in `now`, complete; `gone`;
 * and all reservations. It borrows from both reports, and must be freed with agent_delta_done()
 * before they are. Return false, with an empty delta, when nothing differs. When the set of NUMA
 * nodes differs, `ret->full` is set and the delta is `now` itself.
 */
bool agent_delta(const PbNodeReport *before, const PbNodeReport *now, PbNodeReport *ret);
void agent_delta_done(PbNodeReport *delta);

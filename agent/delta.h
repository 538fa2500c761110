/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What has changed between two full reports. */

#include <stdbool.h>

#include "numastow/v1/node.pb-c.h"

/*
 * A report with what differs in `now`: NUMA nodes and containers as a whole, `gone`, and all
 * reservations. Its parts are borrowed from both reports; agent_delta_done() ends it before they
 * go. Returns false, and an empty delta, when nothing differs. `ret->full` is set (and the delta is
 * `now` itself) when the set of NUMA nodes differs.
 */
bool agent_delta(const PbNodeReport *before, const PbNodeReport *now, PbNodeReport *ret);
void agent_delta_done(PbNodeReport *delta);

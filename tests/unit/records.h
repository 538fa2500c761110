/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Records for tests of the ledger. */

#include "ledger/ledger.h"

/* Make an active record with one share on `node`: its CPUs, 1 GiB, five pages of 2 MiB. */
struct stow_record *record_new(const char *id, bool exclusive, const char *cpus, int node);
/* Insert it, in a transaction of its own. */
int record_put(struct stow_ledger *ledger, struct stow_record *record);
/* Check that the exclusive CPUs are these, in list format. */
void exclusive_is(struct stow_ledger *ledger, const char *cpus);

/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Records for tests of the ledger. */

#include "ledger/ledger.h"

/* An active record with one share on `node`: its CPUs, 1 GiB, five pages of 2 MiB. */
struct stow_record *record_new(const char *id, bool exclusive, const char *cpus, int node);
/* Inserts it in a transaction of its own. */
int record_put(struct stow_ledger *ledger, struct stow_record *record);
/* Ends the test unless these, in list format, are the CPUs that belong to one container alone. */
void exclusive_is(struct stow_ledger *ledger, const char *cpus);

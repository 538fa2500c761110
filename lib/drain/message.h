/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A drain as it is told: the messages of drain.proto are its one shape, on this machine and on the
 * wire. Texts in them are UTF-8 without control characters, and cut: the names of programs, files
 * and cgroups are whatever strangers made them. All are freed with their free_unpacked(); NULL,
 * where one is returned, is that memory has run out.
 */

#include <stdint.h>

#include "base/err.h"
#include "ledger/drains.h"
#include "numastow/v1/drain.pb-c.h"
#include "pages/culprit.h"

struct stow_drain_spec;

/* Of the lists of a message that leaves the machine. */
#define STOW_DRAIN_BLOCKS_MAX	4096
#define STOW_DRAIN_AFFECTED_MAX 1024
#define STOW_DRAIN_CULPRITS_MAX 64
#define STOW_DRAIN_NOTES_MAX	64

/* Makes the last progress of a drain, of which no more is known than how it ended. `why`: NULL for
 * a success. */
PbDrainProgress *stow_drain_end_message(const char *id, enum stow_drain_step step,
					const struct stow_err *why);
/* Makes a progress that says who is suspected in a block, and nothing else. */
PbDrainProgress *stow_drain_suspects_message(const struct stow_culprits *suspects, uint64_t block);
/* Makes a drain as the ledger has it; without the name of the machine. */
PbDrain *stow_drain_row_message(const struct stow_drain_row *row);
/* Copies any message. */
void *stow_drain_copy(const void *message);

/* Cuts the long lists, and notes it in the plan, so that no message comes near the 4 MiB that a
 * reader takes. -ENOMEM. */
int stow_drain_bound(PbDrainProgress *progress);

/* Reads what a caller wants. Strings stay the message's. -EINVAL names the field. */
int stow_drain_spec_read(const PbDrainSpec *in, struct stow_drain_spec *ret, struct stow_err *err);

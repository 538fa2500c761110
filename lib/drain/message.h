/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The messages of drain.proto: the one representation of a drain, on this machine and on the wire.
 * Their texts are truncated UTF-8 without control characters, because the names of programs, files
 * and cgroups may contain anything. Free messages with their free_unpacked(). A function that
 * returns NULL is out of memory.
 */

#include <stdint.h>

#include "base/err.h"
#include "ledger/drains.h"
#include "numastow/v1/drain.pb-c.h"
#include "pages/culprit.h"

struct stow_drain_spec;

/* Limits for the lists of a message that leaves the machine. */
#define STOW_DRAIN_BLOCKS_MAX	4096
#define STOW_DRAIN_AFFECTED_MAX 1024
#define STOW_DRAIN_CULPRITS_MAX 64
#define STOW_DRAIN_NOTES_MAX	64

/* Make the last progress message of a drain of which only the final step is known. `why`: NULL for
 * a success. */
PbDrainProgress *stow_drain_end_message(const char *id, enum stow_drain_step step,
					const struct stow_err *why);
/* Make a progress message that has only the suspects in a block. */
PbDrainProgress *stow_drain_suspects_message(const struct stow_culprits *suspects, uint64_t block);
/* Make the message for a row of the ledger; without the name of the machine. */
PbDrain *stow_drain_row_message(const struct stow_drain_row *row);

/* Truncate long lists, and add a note to the plan, so that no message comes near the 4 MiB that a
 * reader accepts. Fails only with -ENOMEM. */
int stow_drain_bound(PbDrainProgress *progress);

/* Read a specification. Strings stay owned by the message. -EINVAL names the field. */
int stow_drain_spec_read(const PbDrainSpec *in, struct stow_drain_spec *ret, struct stow_err *err);

/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Checks an agent's progress messages before they are kept, shown and forwarded. The content is
 * trusted for the agent's own node only; its size is bounded, and its texts are valid UTF-8.
 */

#include "numastow/v1/drain.pb-c.h"

#define SCHEDULER_TEXT_MAX     1024 /* bytes of each text, except blocks_gone */
#define SCHEDULER_LIST_MAX     65536
#define SCHEDULER_BLOCKS_MAX   16384 /* of a plan; more are cut off, with a note */
#define SCHEDULER_AFFECTED_MAX 1024
#define SCHEDULER_CULPRITS_MAX 64
#define SCHEDULER_NOTES_MAX    64

/* Return a copy that is cut to the limits above, with texts in UTF-8 without control characters,
 * and without unknown fields. NULL: out of memory. Freed with stow_rpc_message_free(). */
PbDrainProgress *scheduler_progress_copy(const PbDrainProgress *in);

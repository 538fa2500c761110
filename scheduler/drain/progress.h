/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What an agent says of a drain, made fit to be kept, shown and sent on. An agent is believed about
 * its own node, and nothing that it says may grow without a bound, or be no text.
 */

#include "numastow/v1/drain.pb-c.h"

#define SCHEDULER_TEXT_MAX     1024 /* bytes of each text; blocks_gone: */
#define SCHEDULER_LIST_MAX     65536
#define SCHEDULER_BLOCKS_MAX   16384 /* of a plan; what is beyond is cut off, and a note says so */
#define SCHEDULER_AFFECTED_MAX 1024
#define SCHEDULER_CULPRITS_MAX 64
#define SCHEDULER_NOTES_MAX    64

/* A copy without what is too much, in UTF-8 without control characters, without fields that nobody
 * here knows. NULL: no memory. Freed with stow_rpc_message_free(). */
PbDrainProgress *scheduler_progress_copy(const PbDrainProgress *in);

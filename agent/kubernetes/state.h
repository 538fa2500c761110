/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What a restarted agent must know of what it has published: the pool's last generation, and when
 * NUMA nodes were fenced. The API server has both as well, unless kubelet has just deleted the
 * slices, as it does when it starts. The file is in /run: after a restart of the machine only the
 * API server's objects count, and there are no fences.
 */

#include <stdint.h>

#include "agent/kubernetes/slice.h"
#include "base/root.h"

#define AGENT_STATE_PATH   "/run/numastow/kubernetes"
#define AGENT_STATE_FENCES 1024

struct agent_state {
	int64_t generation; /* the highest that was used; 0: none */
	struct agent_state_fence {
		uint32_t id;
		char since[AGENT_SLICE_SINCE];
	} fences[AGENT_STATE_FENCES];
	size_t n_fences;
};

/* Read the file; a missing or damaged one is empty. */
void agent_state_read(struct stow_root *root, struct agent_state *ret);
/* Write the file. */
int agent_state_write(struct stow_root *root, const struct agent_state *state,
		      struct stow_err *err);

/* Record new fences, with the time that `find` returns or, if that is none, with `now` (ns since
 * 1970). Remove lifted ones. Set the devices' `since`. Return whether the state has changed. */
bool agent_state_note(struct agent_state *state, struct agent_slice_device *devices, size_t n,
		      const char *(*find)(void *ctx, uint32_t id), void *ctx, uint64_t now);

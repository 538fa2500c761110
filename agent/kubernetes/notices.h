/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Wait for changes of files (inotify), or for the end: what the threads of limits.h and pods.h have
 * in common. */

#include <stdbool.h>
#include <stdint.h>
#include <sys/inotify.h>

#include "base/err.h"
#include "base/root.h"

struct agent_notices {
	int events, stop; /* inotify; eventfd */
	/* Return whether an event is one to act on. */
	bool (*concerns)(const struct inotify_event *event);
};

/* Begin. Close it with agent_notices_close(), also after a failure. */
int agent_notices_open(struct agent_notices *notices,
		       bool (*concerns)(const struct inotify_event *event), struct stow_err *err);
void agent_notices_close(struct agent_notices *notices);
/* End the wait, and all later ones. Any thread. */
void agent_notices_stop(struct agent_notices *notices);

/* Watch a folder; one that is gone needs no watch, and to watch one twice has no effect. `mask` is
 * that of inotify_add_watch(2). */
int agent_notices_watch(struct agent_notices *notices, struct stow_root *root, const char *path,
			uint32_t mask, struct stow_err *err);
/* Wait for an event to act on, or for `timeout` ms, and read all events. Return 1 for an event, 0
 * after that time, -1 at the end. What events name is not returned: callers look at everything. */
int agent_notices_wait(struct agent_notices *notices, int timeout);

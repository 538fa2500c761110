// SPDX-License-Identifier: Apache-2.0
#include "grant/agent.h"

#include <fcntl.h>

#include "base/cleanup.h"

bool stow_agent_lives(struct stow_root *root)
{
	/* Query the lock without taking it, so that an agent that starts meanwhile gets it. */
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	_cleanup_close_ int fd =
		stow_root_openat(root, O_RDONLY, 0, NULL, "%s", STOW_AGENT_LOCK_PATH);

	return fd >= 0 && fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

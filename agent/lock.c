/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "grant/agent.h"

int agent_lock_take(struct stow_root *root, const char *node, struct stow_err *err)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	_cleanup_close_ int fd = -EBADF;
	char text[320], other[320];
	int r;

	r = stow_root_mkdir(root, STOW_RUN_DIR, err);
	if (r < 0)
		return r;
	fd = stow_root_openat(root, O_RDWR | O_CREAT | O_NOFOLLOW, 0600, err, "%s",
			      STOW_AGENT_LOCK_PATH);
	if (fd < 0)
		return fd;
	if (fcntl(fd, F_OFD_SETLK, &lock) < 0) {
		if (stow_root_read_buf(root, other, sizeof(other), NULL, "%s",
				       STOW_AGENT_LOCK_PATH) < 0)
			snprintf(other, sizeof(other), "?");
		other[strcspn(other, " ")] = '\0';
		return stow_err_set(err, EBUSY,
				    "an agent is running already, with pid %s (it holds %s)", other,
				    STOW_AGENT_LOCK_PATH);
	}
	snprintf(text, sizeof(text), "%d %s\n", (int)getpid(), node);
	/* Earlier versions created a file that every user could open. */
	if (fchmod(fd, 0600) < 0 || ftruncate(fd, 0) < 0 || write(fd, text, strlen(text)) < 0)
		return stow_err_sys(err, errno, "cannot write %s", STOW_AGENT_LOCK_PATH);
	return STOW_TAKE_FD(fd);
}

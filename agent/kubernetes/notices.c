/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/kubernetes/notices.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>

#include "agent/watch.h"
#include "base/cleanup.h"

int agent_notices_open(struct agent_notices *notices,
		       bool (*concerns)(const struct inotify_event *event), struct stow_err *err)
{
	notices->concerns = concerns;
	notices->stop = -EBADF;
	notices->events = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (notices->events < 0)
		return stow_err_sys(err, errno, "inotify");
	notices->stop = eventfd(0, EFD_CLOEXEC);
	return notices->stop < 0 ? stow_err_sys(err, errno, "eventfd") : 0;
}

void agent_notices_close(struct agent_notices *notices)
{
	stow_close_ptr(&notices->events);
	stow_close_ptr(&notices->stop);
}

void agent_notices_stop(struct agent_notices *notices)
{
	(void)eventfd_write(notices->stop, 1);
}

int agent_notices_watch(struct agent_notices *notices, struct stow_root *root, const char *path,
			uint32_t mask, struct stow_err *err)
{
	_cleanup_free_ char *whole = NULL;
	int r = stow_root_path(root, path, &whole, err);

	if (r < 0)
		return r == -ENOENT ? 0 : r;
	if (inotify_add_watch(notices->events, whole, mask | IN_ONLYDIR) < 0 && errno != ENOENT)
		return stow_err_sys(err, errno, "cannot watch %s", whole);
	return 0;
}

int agent_notices_wait(struct agent_notices *notices, int timeout)
{
	struct pollfd fds[] = { { .fd = notices->events, .events = POLLIN },
				{ .fd = notices->stop, .events = POLLIN } };

	for (;;) {
		int r = poll(fds, STOW_ARRAY_SIZE(fds), timeout);

		if (fds[1].revents)
			return -1;
		if ((r > 0 && agent_watch_events(notices->events, notices->concerns)) ||
		    (r < 0 && errno != EINTR))
			return 1;
		if (r == 0)
			return 0;
	}
}

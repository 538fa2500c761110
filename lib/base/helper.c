// SPDX-License-Identifier: Apache-2.0
#include "base/helper.h"
#include "base/clock.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"

#define STEP_MS 10

const char *stow_helper_path(const char *name, char *buf, size_t size)
{
	ssize_t n = readlink("/proc/self/exe", buf, size - 1);
	char *slash;

	buf[n > 0 ? n : 0] = '\0';
	slash = strrchr(buf, '/');
	if (slash) {
		snprintf(slash, size - (size_t)(slash - buf), "/%s", name);
		if (access(buf, X_OK) == 0)
			return buf;
	}
	snprintf(buf, size, "%s/%s", STOW_LIBEXECDIR, name);
	return buf;
}

static int reap(pid_t pid, int flags, int *ret_status)
{
	pid_t r;

	do {
		r = waitpid(pid, ret_status, flags);
	} while (r < 0 && errno == EINTR);
	if (r < 0) {
		*ret_status = -1; /* already reaped elsewhere: neither exited nor killed */
		return 1;
	}
	return r > 0;
}

int stow_helper_wait(pid_t pid, uint64_t timeout, int *ret_status)
{
	/* There is no pidfd before Linux 5.3: then poll for the child. */
	_cleanup_close_ int fd = (int)syscall(SYS_pidfd_open, pid, 0);
	uint64_t until = stow_saturating_add(stow_clock_monotonic(), timeout);

	while (!reap(pid, WNOHANG, ret_status)) {
		int left = stow_clock_ms_left(stow_clock_monotonic(), until);
		struct pollfd p = { .fd = fd, .events = POLLIN };

		if (left > 0) {
			(void)poll(&p, fd >= 0, fd >= 0 || left < STEP_MS ? left : STEP_MS);
			continue;
		}
		/* It is not reaped yet, so the number is still this child's. */
		if (fd >= 0)
			(void)syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0);
		else
			(void)kill(pid, SIGKILL);
		reap(pid, 0, ret_status);
		return -ETIMEDOUT;
	}
	return 0;
}

// SPDX-License-Identifier: Apache-2.0
#include "cgroup/pidref.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/parse.h"

int stow_pidref_read(struct stow_root *root, pid_t pid, struct stow_pidref *ret,
		     struct stow_err *err)
{
	char buf[4096], *p, *save = NULL;
	struct stow_pidref ref = { .pid = pid };
	char state = 0;
	int r, field;

	r = stow_root_read_buf(root, buf, sizeof(buf), err, "/proc/%d/stat", (int)pid);
	if (r == -ENOENT || r == -ESRCH)
		return stow_err_set(err, ESRCH, "there is no process %d", (int)pid);
	if (r < 0)
		return r;
	/* Field 2, the command name, may contain anything, also ')': it ends at the last one. */
	p = strrchr(buf, ')');
	if (!p)
		return stow_err_set(err, EINVAL, "/proc/%d/stat is not understood", (int)pid);
	field = 3;
	for (char *word = strtok_r(p + 1, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
		if (field == 3)
			state = *word;
		if (field++ == 22) {
			r = stow_parse_u64(word, UINT64_MAX, &ref.start, err);
			if (r < 0)
				return r;
			if (state == 'Z' || state == 'X')
				return stow_err_set(err, ESRCH, "process %d has ended", (int)pid);
			*ret = ref;
			return 0;
		}
	}
	return stow_err_set(err, EINVAL, "/proc/%d/stat is not understood", (int)pid);
}

bool stow_pidref_alive(struct stow_root *root, const struct stow_pidref *ref)
{
	struct stow_pidref now;
	int r;

	if (ref->pid <= 0)
		return false;
	r = stow_pidref_read(root, ref->pid, &now, NULL);
	if (r == -ESRCH)
		return false;
	return r < 0 || now.start == ref->start;
}

int stow_pidref_signal(struct stow_root *root, const struct stow_pidref *ref, int signal)
{
	_cleanup_close_ int fd = -EBADF;
	struct stow_pidref now;
	int r;

	if (ref->pid <= 0)
		return -ESRCH;
	fd = (int)syscall(SYS_pidfd_open, ref->pid, 0);
	if (fd < 0 && errno != ENOSYS)
		return -errno;
	/* Check after opening: the process that has this number and this start time now had both
	 * when the descriptor was opened. */
	r = stow_pidref_read(root, ref->pid, &now, NULL);
	if (r < 0)
		return r;
	if (now.start != ref->start)
		return -ESRCH;
	if (fd < 0) /* before Linux 5.3 there is only the number */
		return kill(ref->pid, signal) < 0 ? -errno : 0;
	return syscall(SYS_pidfd_send_signal, fd, signal, NULL, 0) < 0 ? -errno : 0;
}

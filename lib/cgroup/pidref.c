// SPDX-License-Identifier: Apache-2.0
#include "cgroup/pidref.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/parse.h"

/* In Linux' include/linux/sched.h. */
#define IO_WORKER   0x10 /* PF_IO_WORKER; until Linux 5.11 PF_VCPU */
#define FORKED_ONLY 0x40 /* PF_FORKNOEXEC */

/* What numastow needs of /proc/PID/stat (proc(5)). */
struct status {
	bool named_worker; /* its name is that of an io_uring's worker */
	char state;
	uint64_t flags; /* PF_... */
	uint64_t start;
};

static int not_understood(pid_t pid, struct stow_err *err)
{
	return stow_err_set(err, EINVAL, "/proc/%d/stat is not understood", (int)pid);
}

static int read_status(struct stow_root *root, pid_t pid, struct status *ret, struct stow_err *err)
{
	char buf[4096], *p, *save = NULL;
	int r, field = 3;

	r = stow_root_read_buf(root, buf, sizeof(buf), err, "/proc/%d/stat", (int)pid);
	if (r == -ENOENT || r == -ESRCH)
		return stow_err_set(err, ESRCH, "there is no process %d", (int)pid);
	if (r < 0)
		return r;
	/* Field 2, the command name, may contain anything, also ')': it ends at the last one. */
	p = strrchr(buf, ')');
	if (!p)
		return not_understood(pid, err);
	ret->named_worker = strncmp(buf + strcspn(buf, "("), "(iou-wrk-", 9) == 0;
	for (char *word = strtok_r(p + 1, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
		if (field == 3)
			ret->state = *word;
		if (field == 9 || field == 22) {
			r = stow_parse_u64(word, UINT64_MAX, field == 9 ? &ret->flags : &ret->start,
					   err);
			if (r < 0)
				return r;
		}
		if (field++ == 22)
			return 0;
	}
	return not_understood(pid, err);
}

int stow_pidref_read(struct stow_root *root, pid_t pid, struct stow_pidref *ret,
		     struct stow_err *err)
{
	struct status status = { 0 };
	int r = read_status(root, pid, &status, err);

	if (r < 0)
		return r;
	if (status.state == 'Z' || status.state == 'X')
		return stow_err_set(err, ESRCH, "process %d has ended", (int)pid);
	*ret = (struct stow_pidref){ .pid = pid, .start = status.start };
	return 0;
}

bool stow_process_is_io_worker(struct stow_root *root, pid_t tid)
{
	struct status status = { 0 };

	return read_status(root, tid, &status, NULL) == 0 && status.named_worker &&
	       (status.flags & IO_WORKER);
}

bool stow_process_is_created(struct stow_root *root, pid_t pid)
{
	struct status status = { 0 };
	struct stat own, machines;

	return read_status(root, pid, &status, NULL) == 0 && (status.flags & FORKED_ONLY) &&
	       stow_root_stat(root, &own, NULL, "/proc/%d/root", (int)pid) == 0 &&
	       stow_root_stat(root, &machines, NULL, "/proc/1/root") == 0 &&
	       own.st_dev == machines.st_dev && own.st_ino == machines.st_ino;
}

bool stow_pidref_alive(struct stow_root *root, const struct stow_pidref *ref)
{
	struct stow_pidref now = { 0 };
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
	struct stow_pidref now = { 0 };
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

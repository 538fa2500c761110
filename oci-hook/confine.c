// SPDX-License-Identifier: Apache-2.0
#include "oci-hook/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/admin.h"
#include "base/cleanup.h"
#include "base/math.h"
#include "cgroup/hierarchy.h"
#include "place/config.h"

#define BIT(cap) (UINT64_C(1) << (cap))

static int set_capabilities(uint64_t permitted, uint64_t effective, struct stow_err *err)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2], have[2];

	for (int i = 0; i < 2; i++)
		data[i] = (struct __user_cap_data_struct){
			.permitted = (uint32_t)(permitted >> (32 * i)),
			.effective = (uint32_t)(effective >> (32 * i)),
		};
	if (syscall(SYS_capset, &header, data) == 0)
		return 0;
	/* The runtime did not have all of them. */
	if (errno != EPERM || syscall(SYS_capget, &header, have) < 0)
		return stow_err_sys(err, errno, "dropping capabilities");
	for (int i = 0; i < 2; i++) {
		data[i].permitted &= have[i].permitted;
		data[i].effective &= have[i].permitted;
	}
	if (syscall(SYS_capset, &header, data) < 0)
		return stow_err_sys(err, errno, "dropping capabilities");
	return 0;
}

static int drop_capabilities(bool makes_partitions, struct stow_err *err)
{
	uint64_t kept = BIT(CAP_DAC_OVERRIDE) | BIT(CAP_SYS_NICE);
	uint64_t dormant = 0;
	struct stat st;
	int r;

	if (stow_systemd_runs() || makes_partitions)
		dormant = BIT(CAP_SYS_ADMIN);
	r = set_capabilities(kept | dormant | BIT(CAP_SYS_PTRACE), kept, err);
	if (r < 0)
		return r;
	/* Not access(2), which uses the permitted capabilities instead of the effective ones. */
	if (stat("/proc/1/stat", &st) < 0)
		kept |= BIT(CAP_SYS_PTRACE);
	return set_capabilities(kept | dormant, kept, err);
}

/* Open those of the first three descriptors that are closed. Otherwise a file that is opened later
 * would get such a number, and messages would be written into the file. */
static int fill_standard(struct stow_err *err)
{
	struct pollfd fds[] = { { .fd = 0 }, { .fd = 1 }, { .fd = 2 } };
	int fd;

	if (poll(fds, STOW_ARRAY_SIZE(fds), 0) <= 0)
		return 0;
	for (size_t i = 0; i < STOW_ARRAY_SIZE(fds); i++) {
		if (!(fds[i].revents & POLLNVAL))
			continue;
		fd = open("/dev/null", O_RDWR | O_CLOEXEC);
		if (fd != (int)i)
			return stow_err_sys(err, fd < 0 ? errno : EBADF, "/dev/null");
	}
	return 0;
}

/* Lift limits that the shell or the unit that started the runtime may have set: a runtime within
 * them may start a container, and the hook would be killed in the middle. */
static void lift_limits(void)
{
	static const struct {
		int resource;
		rlim_t least;
	} limits[] = {
		{ RLIMIT_FSIZE, RLIM_INFINITY }, { RLIMIT_CPU, RLIM_INFINITY },
		{ RLIMIT_AS, RLIM_INFINITY },	 { RLIMIT_DATA, RLIM_INFINITY },
		{ RLIMIT_STACK, 8 << 20 },	 { RLIMIT_NOFILE, 1024 },
	};

	for (size_t i = 0; i < STOW_ARRAY_SIZE(limits); i++) {
		struct rlimit has, want;

		if (getrlimit(limits[i].resource, &has) < 0 || has.rlim_cur >= limits[i].least)
			continue;
		want.rlim_cur = limits[i].least;
		want.rlim_max = STOW_MAX(has.rlim_max, limits[i].least);
		if (setrlimit(limits[i].resource, &want) == 0)
			continue;
		/* Without root: as far as it may. */
		has.rlim_cur = STOW_MIN(has.rlim_max, limits[i].least);
		(void)setrlimit(limits[i].resource, &has);
	}
}

int hook_confine(bool makes_partitions, struct stow_err *err)
{
	int r;

	signal(SIGPIPE, SIG_IGN); /* a closed pipe is an error, and must not kill the hook */
	signal(SIGXFSZ, SIG_IGN); /* so is a file that may not grow */
	signal(SIGCHLD, SIG_DFL); /* if ignored, how a child process ended would be lost */
	lift_limits();
	closefrom(3);
	umask(022);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return stow_err_sys(err, errno, "no_new_privs");
	r = fill_standard(err);
	return r < 0 ? r : drop_capabilities(makes_partitions, err);
}

int hook_confine_by_config(struct stow_root *root, struct stow_err *err)
{
	_cleanup_(stow_config_free_ptr) struct stow_config *config = NULL;

	if (stow_systemd_runs())
		return 0;
	/* Errors in the file are reported when the container is placed. */
	if (stow_root_exists(root, "/sys/fs/cgroup/cpuset.cpus.isolated") == 1 &&
	    stow_config_read(root, &config, NULL) == 0 && config->partitions)
		return 0;
	return stow_admin_forgo(err);
}

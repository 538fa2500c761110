// SPDX-License-Identifier: Apache-2.0
#include "base/admin.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The inode of the initial user namespace (PROC_USER_INIT_INO of linux/proc_ns.h, the same since
 * Linux 3.8, an ABI by now). */
#define FIRST_USER_NAMESPACE 0xEFFFFFFDU

static const uint32_t bit = UINT32_C(1) << CAP_SYS_ADMIN; /* of the first of two words */

static int get(struct __user_cap_data_struct data[static 2], struct stow_err *err)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };

	if (syscall(SYS_capget, &header, data) < 0)
		return stow_err_sys(err, errno, "reading capabilities");
	return 0;
}

static int set(const struct __user_cap_data_struct data[static 2], const char *what,
	       struct stow_err *err)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };

	if (syscall(SYS_capset, &header, data) < 0)
		return stow_err_sys(err, errno, "%s CAP_SYS_ADMIN", what);
	return 0;
}

int stow_admin_check(struct stow_err *err)
{
	struct __user_cap_data_struct now[2];
	int r = get(now, err);

	if (r == 0 && !(now[0].permitted & bit))
		r = stow_err_set(err, EPERM,
				 "the kernel makes a partition only with CAP_SYS_ADMIN, which this "
				 "program lacks");
	return r;
}

int stow_admin_raise(struct stow_admin *ret, struct stow_err *err)
{
	struct __user_cap_data_struct with[2];
	int r;

	*ret = (struct stow_admin){ 0 };
	r = get(ret->before, err);
	if (r < 0 || ret->before[0].effective & bit)
		return r;
	memcpy(with, ret->before, sizeof(with));
	with[0].effective |= bit;
	r = set(with, "raising", err);
	ret->raised = r == 0;
	return r;
}

int stow_admin_lower(const struct stow_admin *admin, struct stow_err *err)
{
	return admin->raised ? set(admin->before, "lowering", err) : 0;
}

int stow_admin_forgo(struct stow_err *err)
{
	struct __user_cap_data_struct data[2];
	int r = get(data, err);

	if (r < 0 || !((data[0].permitted | data[0].inheritable) & bit))
		return r;
	data[0].effective &= ~bit;
	data[0].permitted &= ~bit;
	data[0].inheritable &= ~bit;
	return set(data, "giving up", err);
}

bool stow_admin_is_root(struct stow_root *root)
{
	struct stat st;

	if (geteuid() != 0)
		return false;
	/* A kernel without user namespaces does not have the file. */
	return stow_root_stat(root, &st, NULL, "/proc/self/ns/user") < 0 ||
	       st.st_ino == FIRST_USER_NAMESPACE;
}

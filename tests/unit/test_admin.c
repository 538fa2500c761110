// SPDX-License-Identifier: Apache-2.0
/* CAP_SYS_ADMIN: in effect for one write, or given up. */
#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/admin.h"

static const uint32_t bit = UINT32_C(1) << CAP_SYS_ADMIN;

static void capabilities(struct __user_cap_data_struct now[static 2])
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };

	assert_int_equal(syscall(SYS_capget, &header, now), 0);
}

static void put_out_of_effect(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];

	capabilities(data);
	data[0].effective &= ~bit;
	assert_int_equal(syscall(SYS_capset, &header, data), 0);
}

static bool is_permitted(void)
{
	struct __user_cap_data_struct now[2];

	capabilities(now);
	return now[0].permitted & bit;
}

static bool is_in_effect(void)
{
	struct __user_cap_data_struct now[2];

	capabilities(now);
	return now[0].effective & bit;
}

/* What is given up stays so: in a process of its own. Returns its exit code. */
static int in_a_child(int (*run)(void))
{
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(run());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static int raise_and_lower(void)
{
	struct stow_admin admin;

	put_out_of_effect();
	if (stow_admin_check(NULL) < 0 || is_in_effect())
		return 1;
	if (stow_admin_raise(&admin, NULL) < 0 || !is_in_effect())
		return 2;
	if (stow_admin_lower(&admin, NULL) < 0 || is_in_effect() || !is_permitted())
		return 3;
	return 0;
}

static int leave_as_it_is(void)
{
	struct stow_admin admin;

	if (stow_admin_raise(&admin, NULL) < 0 || stow_admin_lower(&admin, NULL) < 0)
		return 1;
	return is_in_effect() ? 0 : 2;
}

static int forgo(void)
{
	struct stow_admin admin;
	struct stow_err err = { 0 };

	if (stow_admin_forgo(NULL) < 0 || is_permitted() || is_in_effect())
		return 1;
	if (stow_admin_check(&err) != -EPERM || !strstr(err.msg, "CAP_SYS_ADMIN"))
		return 2;
	if (stow_admin_raise(&admin, &err) != -EPERM)
		return 3;
	return stow_admin_forgo(NULL) < 0 ? 4 : 0; /* nothing is left to give up */
}

TEST(in_effect_for_one_write)
{
	if (!is_permitted())
		skip();
	assert_int_equal(in_a_child(raise_and_lower), 0);
	assert_int_equal(in_a_child(leave_as_it_is), 0);
}

TEST(given_up_for_good)
{
	assert_int_equal(in_a_child(forgo), 0);
}

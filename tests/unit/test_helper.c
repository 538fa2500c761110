// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/helper.h"

static pid_t start(const char *script)
{
	char *argv[] = { (char *)"sh", (char *)"-c", (char *)script, NULL };
	char *environment[] = { NULL };
	pid_t pid;

	assert_int_equal(posix_spawn(&pid, "/bin/sh", NULL, NULL, argv, environment), 0);
	return pid;
}

TEST(the_status_of_a_child_is_returned)
{
	int status;

	assert_int_equal(stow_helper_wait(start("exit 3"), 60 * STOW_SECOND, &status), 0);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 3);
	assert_int_equal(stow_helper_wait(start("kill -TERM $$"), 60 * STOW_SECOND, &status), 0);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGTERM);
}

/* One that ignores every signal that can be ignored, and would live for an hour. */
TEST(ends_a_child_that_stays)
{
	pid_t pid = start("trap '' TERM INT HUP; exec sleep 3600");
	int status;

	assert_int_equal(stow_helper_wait(pid, 50 * STOW_MILLISECOND, &status), -ETIMEDOUT);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGKILL);
	assert_int_equal(waitpid(pid, &status, WNOHANG), -1); /* and is reaped */
	assert_int_equal(errno, ECHILD);
}

TEST(no_child_is_no_wait)
{
	int status;

	assert_int_equal(stow_helper_wait(1, 60 * STOW_SECOND, &status), 0);
	assert_false(WIFEXITED(status));
}

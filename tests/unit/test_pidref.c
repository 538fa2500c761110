// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/helper.h"
#include "cgroup/pidref.h"

static pid_t start(void)
{
	char *argv[] = { (char *)"sleep", (char *)"3600", NULL };
	char *environment[] = { NULL };
	pid_t pid;

	assert_int_equal(posix_spawn(&pid, "/bin/sleep", NULL, NULL, argv, environment), 0);
	return pid;
}

TEST(signals_the_process_that_was_meant)
{
	struct stow_root *root = *state;
	struct stow_pidref ref, earlier;
	pid_t pid = start();
	int status;

	assert_int_equal(stow_pidref_read(root, pid, &ref, NULL), 0);
	earlier = (struct stow_pidref){ .pid = pid, .start = ref.start - 1 };
	/* Another process had this number before. */
	assert_int_equal(stow_pidref_signal(root, &earlier, SIGKILL), -ESRCH);
	assert_int_equal(waitpid(pid, &status, WNOHANG), 0);
	assert_true(stow_pidref_alive(root, &ref));
	assert_int_equal(stow_pidref_signal(root, &ref, SIGTERM), 0);
	assert_int_equal(stow_helper_wait(pid, 60 * STOW_SECOND, &status), 0);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGTERM);
	assert_int_equal(stow_pidref_signal(root, &ref, SIGTERM), -ESRCH);
}

TEST(no_group_and_no_ended_process_is_signalled)
{
	const struct stow_pidref none = { 0 }, group = { .pid = -1 };

	assert_int_equal(stow_pidref_signal(*state, &none, SIGKILL), -ESRCH);
	assert_int_equal(stow_pidref_signal(*state, &group, SIGKILL), -ESRCH);
}

static int set_up(void **state)
{
	return stow_root_open("/", (struct stow_root **)state, NULL);
}

static int tear_down(void **state)
{
	stow_root_free(*state);
	return 0;
}

int main(void)
{
	return unit_run(set_up, tear_down);
}

// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/helper.h"
#include "cgroup/pidref.h"
#include "tree.h"

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

TEST(workers_of_an_io_uring)
{
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();

	tree_write(t, "/proc/7/stat", "7 (uring) S 1 7 7 0 -1 256 0 0 0 0 0 0 0 0 20 0 1 0 99\n");
	tree_write(t, "/proc/8/stat",
		   "8 (iou-wrk-7) S 1 7 7 0 -1 80 0 0 0 0 0 0 0 0 20 0 1 0 99\n");
	/* A name proves nothing. */
	tree_write(t, "/proc/9/stat",
		   "9 (iou-wrk-7) S 1 7 7 0 -1 64 0 0 0 0 0 0 0 0 20 0 1 0 99\n");
	assert_false(stow_process_is_io_worker(t->root, 7));
	assert_true(stow_process_is_io_worker(t->root, 8));
	assert_false(stow_process_is_io_worker(t->root, 9));
	/* Nor does the flag: on older kernels it is that of a virtual CPU. */
	tree_write(t, "/proc/10/stat",
		   "10 (iou-wr (iou-wrk-7) S 1 7 7 0 -1 80 0 0 0 0 0 0 0 0 20 0 1 0 99\n");
	assert_false(stow_process_is_io_worker(t->root, 10));
	assert_false(stow_process_is_io_worker(t->root, 11));
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

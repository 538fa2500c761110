// SPDX-License-Identifier: Apache-2.0
/* A daemon's signals are delivered by descriptor; a program that does not read them is ended. */
#include "unit.h"

#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"

#include "rpc/signals.h"

#define MS STOW_MILLISECOND

/* A child with its standard error in `ret_err`; `hangs`: it reads no signal. Otherwise it exits
 * with 7 after SIGHUP and SIGTERM. */
static pid_t start(bool hangs, int *ret_err)
{
	int err[2], ready[2];
	char byte;
	pid_t pid;

	assert_int_equal(pipe(err), 0);
	assert_int_equal(pipe(ready), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct pollfd polls = { .events = POLLIN };
		int seen = 0, number;

		dup2(err[1], STDERR_FILENO);
		polls.fd = stow_signals_open(hangs ? 200 * MS : 60000 * MS, NULL);
		if (polls.fd < 0 || write(ready[1], "", 1) != 1)
			_exit(8);
		if (hangs)
			for (;;)
				pause();
		for (;;) {
			(void)poll(&polls, 1, -1);
			while ((number = stow_signals_next(polls.fd))) {
				seen |= number == SIGHUP ? 1 : number == SIGTERM ? 2 : 0;
				if (number == SIGTERM)
					_exit(seen == 3 ? 7 : 9);
			}
		}
	}
	close(err[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	close(ready[1]);
	*ret_err = err[0];
	return pid;
}

TEST(signals_are_handed_on)
{
	int err, status;
	pid_t pid = start(false, &err);

	assert_int_equal(kill(pid, SIGHUP), 0);
	assert_int_equal(kill(pid, SIGTERM), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 7);
	close(err);
}

TEST(a_program_that_hangs_ends_after_its_grace)
{
	char said[512] = "";
	int err, status;
	pid_t pid = start(true, &err);

	assert_int_equal(kill(pid, SIGTERM), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 1);
	assert_true(read(err, said, sizeof(said) - 1) > 0);
	assert_non_null(strstr(said, "did not stop in time"));
	close(err);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "rpc/signals.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "rpc/log.h"

struct waiter {
	sigset_t set;
	uint64_t grace;
	int out;
};

static int take(const struct waiter *w, uint64_t end)
{
	uint64_t at = stow_clock_monotonic(), left = stow_clock_elapsed(at, end);
	struct timespec t = stow_clock_timespec(left);
	int number = end ? sigtimedwait(&w->set, NULL, &t) : sigwaitinfo(&w->set, NULL);

	return number < 0 ? -errno : number;
}

static void *wait_for_signals(void *arg)
{
	struct waiter *w = arg;
	uint64_t end = 0;

	for (;;) {
		int number = take(w, end);
		unsigned char byte = (unsigned char)number;

		if (number == -EAGAIN) {
			stow_log(STOW_LOG_ERR,
				 "did not stop in time after SIGTERM; ended without cleaning up",
				 stow_number("seconds", w->grace / STOW_SECOND));
			_exit(1);
		}
		if (number < 0)
			continue;
		if (number != SIGHUP && !end)
			end = stow_clock_monotonic() + w->grace;
		/* When the pipe is full, enough signals are waiting. */
		if (write(w->out, &byte, 1) < 0)
			continue;
	}
	return NULL;
}

int stow_signals_open(uint64_t grace, struct stow_err *err)
{
	struct waiter *w = calloc(1, sizeof(*w));
	pthread_t thread;
	int fds[2], r;

	if (!w)
		return stow_err_set(err, ENOMEM, "out of memory");
	sigemptyset(&w->set);
	sigaddset(&w->set, SIGTERM);
	sigaddset(&w->set, SIGINT);
	sigaddset(&w->set, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &w->set, NULL);
	signal(SIGPIPE, SIG_IGN);
	w->grace = grace;
	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0) {
		r = stow_err_sys(err, errno, "cannot make a pipe");
		free(w);
		return r;
	}
	w->out = fds[1];
	r = pthread_create(&thread, NULL, wait_for_signals, w);
	if (r) {
		close(fds[0]);
		close(fds[1]);
		free(w);
		return stow_err_sys(err, r, "cannot start a thread");
	}
	pthread_detach(thread); /* it runs as long as the process */
	return fds[0];
}

int stow_signals_next(int fd)
{
	unsigned char byte = 0;

	return read(fd, &byte, 1) == 1 ? byte : 0;
}

void stow_watchdog_notify(const char *why, bool *logged)
{
	if (!why)
		sd_notify(0, "WATCHDOG=1");
	else if (!*logged)
		stow_log(STOW_LOG_ERR, "the watchdog is no longer notified",
			 stow_text("error", why));
	*logged = why;
}

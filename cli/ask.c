// SPDX-License-Identifier: Apache-2.0
#include "cli/ask.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/helper.h"
#include "base/text.h"

#define WITHIN (20 * STOW_SECOND)

struct stream {
	int fd;
	char *buf;
	size_t size, len;
};

/* Read what is there; the rest of what does not fit is dropped. False: it has ended. */
static bool drain(struct stream *stream)
{
	char dropped[4096];
	bool room = stream->buf && stream->len + 1 < stream->size;
	ssize_t n = read(stream->fd, room ? stream->buf + stream->len : dropped,
			 room ? stream->size - stream->len - 1 : sizeof(dropped));

	if (n > 0 && room) {
		stream->len += (size_t)n;
		stream->buf[stream->len] = '\0';
	}
	return n > 0 || (n < 0 && errno == EINTR);
}

static void collect(struct stream *streams, uint64_t deadline)
{
	while (streams[0].fd >= 0 || streams[1].fd >= 0) {
		struct pollfd fds[] = { { .fd = streams[0].fd, .events = POLLIN },
					{ .fd = streams[1].fd, .events = POLLIN } };
		uint64_t now = stow_clock_boot();

		if (now >= deadline)
			return;
		if (poll(fds, 2,
			 (int)STOW_MIN((deadline - now) / STOW_MILLISECOND + 1, (uint64_t)60000)) <
			    0 &&
		    errno != EINTR)
			return;
		for (int i = 0; i < 2; i++)
			if (fds[i].fd >= 0 && fds[i].revents && !drain(&streams[i]))
				stow_close_ptr(&streams[i].fd);
	}
}

static int start(const char *const *argv, int out, int err, pid_t *ret)
{
	posix_spawn_file_actions_t actions;
	int r;

	if (posix_spawn_file_actions_init(&actions))
		return -1;
	r = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	if (r == 0)
		r = posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
	if (r == 0)
		r = posix_spawn_file_actions_adddup2(&actions, err, STDERR_FILENO);
	if (r == 0)
		r = posix_spawnp(ret, argv[0], &actions, NULL, (char *const *)argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	return r == 0 ? 0 : -1;
}

int cli_ask(const char *const *argv, char *out, size_t out_size, char *err, size_t err_size)
{
	uint64_t deadline = stow_clock_boot() + WITHIN, now;
	int outs[2] = { -EBADF, -EBADF }, errs[2] = { -EBADF, -EBADF }, status = 0, r;
	struct stream streams[2];
	pid_t pid;

	out[0] = '\0';
	if (err)
		err[0] = '\0';
	r = pipe2(outs, O_CLOEXEC) < 0 || pipe2(errs, O_CLOEXEC) < 0
		    ? -1
		    : start(argv, outs[1], errs[1], &pid);
	stow_close_ptr(&outs[1]);
	stow_close_ptr(&errs[1]);
	streams[0] = (struct stream){ outs[0], out, out_size, 0 };
	streams[1] = (struct stream){ errs[0], err, err_size, 0 };
	if (r == 0) {
		collect(streams, deadline);
		now = stow_clock_boot();
		r = stow_helper_wait(pid, now < deadline ? deadline - now : 0, &status);
	}
	stow_close_ptr(&streams[0].fd);
	stow_close_ptr(&streams[1].fd);
	return r == 0 && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

const char *cli_without_program(const char *message)
{
	const char *behind = strstr(message, ": ");

	return behind && strncmp(message, "numastow", 8) == 0 ? behind + 2 : message;
}

const char *cli_program_path(const char *name, char *buf, size_t size)
{
	char *end;

	stow_helper_path(name, buf, size);
	if (access(buf, X_OK) == 0)
		return buf;
	snprintf(buf, size, "%s", STOW_LIBEXECDIR);
	for (int up = 0; up < 2 && (end = strrchr(buf, '/')); up++)
		*end = '\0';
	stow_text_clean(buf, size - 1);
	snprintf(buf + strlen(buf), size - strlen(buf), "/sbin/%s", name);
	return buf;
}

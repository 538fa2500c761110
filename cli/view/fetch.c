// SPDX-License-Identifier: Apache-2.0
#include "cli/view/fetch.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/cleanup.h"

#define SECONDS 5 /* for connecting, for sending, and for each part that is received */

/* Connect. 0.0.0.0 and [::], on which a daemon listens for all addresses, are this machine. */
static int dial(const char *address, struct stow_err *err)
{
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM,
					.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV };
	const struct timeval limit = { .tv_sec = SECONDS };
	_cleanup_close_ int fd = -EBADF;
	struct addrinfo *found;
	char host[64], *port;
	int r;

	snprintf(host, sizeof(host), "%s", address + (*address == '['));
	port = strrchr(host, ':');
	if (!port)
		return stow_err_set(err, EINVAL, "\"%.64s\" has no port", address);
	*port++ = '\0';
	host[strcspn(host, "]")] = '\0';
	if (getaddrinfo(host, port, &hints, &found) != 0)
		return stow_err_set(err, EINVAL, "\"%.64s\" is not an address", address);
	fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	r = fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) < 0 ||
			    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) < 0 ||
			    connect(fd, found->ai_addr, found->ai_addrlen) < 0
		    ? -errno
		    : 0;
	freeaddrinfo(found);
	return r < 0 ? stow_err_sys(err, -r, "%.64s", address) : STOW_TAKE_FD(fd);
}

/* Read to the end, or as much as there is room for. */
static int receive(int fd, char *buf, size_t size)
{
	size_t len = 0;
	ssize_t n;

	while (len + 1 < size && (n = recv(fd, buf + len, size - 1 - len, 0)) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		len += (size_t)n;
	}
	buf[len] = '\0';
	return 0;
}

int cli_fetch(const char *address, const char *path, char *buf, size_t size, struct stow_err *err)
{
	_cleanup_close_ int fd = dial(address, err);
	char request[256];
	const char *body;
	int r;

	if (fd < 0)
		return fd;
	snprintf(request, sizeof(request), "GET %s HTTP/1.0\r\n\r\n", path);
	if (send(fd, request, strlen(request), MSG_NOSIGNAL) != (ssize_t)strlen(request))
		return stow_err_sys(err, EIO, "%.64s", address);
	r = receive(fd, buf, size);
	if (r < 0)
		return stow_err_sys(err, -r, "%.64s", address);
	body = strstr(buf, "\r\n\r\n");
	if (!body || strncmp(buf, "HTTP/1.", 7) != 0 || strncmp(buf + 8, " 200", 4) != 0)
		return stow_err_set(err, EPROTO, "%.64s does not answer with metrics", address);
	memmove(buf, body + 4, strlen(body + 4) + 1);
	return 0;
}

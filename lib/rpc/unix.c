/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections over a unix socket, with the kernel's credentials of the peer (SO_PEERCRED, unix(7)).
 *
 * The core's own listener for unix sockets does not report the peer. So this file accepts the
 * connection, reads the credentials, and hands the descriptor over; a call then names its
 * connection by the descriptor's number ("fd:4711"). A number must not be reused while a call of
 * its former connection may still arrive, because that call would be taken for the new peer's: so
 * descriptors are moved to numbers that cycle through a large range.
 *
 * While a connection waits in the queue, its process may end and another process may get its
 * number, whose rights would then count. SO_PEERPIDFD (Linux 6.5) identifies the process itself,
 * which must still exist after its namespaces were read. Older kernels only have the number.
 */

#include <errno.h>
#include <fcntl.h>
#include <grpc/grpc_posix.h>
#include <grpc/grpc_security.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/root.h"
#include "rpc/descriptors.h"
#include "rpc/server_internal.h"

#ifndef SO_PEERPIDFD /* Debian 12's headers are older than its backported kernels */
#define SO_PEERPIDFD 77
#endif

#define NUMBERS_MIN 1024
#define NUMBERS_MAX 65536
#define NUMBERS	    (NUMBERS_MAX - NUMBERS_MIN)

struct connection {
	bool known, same_namespaces;
	struct ucred cred;
};

struct rpc_listener {
	struct stow_rpc_server *server;
	grpc_server_credentials *credentials;
	struct stow_root *root; /* "/", for /proc */
	int fd, stop;
	int next; /* number to try */
	int end;  /* of the range */
	pthread_t thread;
	pthread_mutex_t lock;
	struct connection *connections; /* by number */
};

static bool read_namespace(struct stow_root *root, const char *pid, const char *kind, char buf[64])
{
	return stow_root_readlink(root, buf, 64, NULL, "/proc/%s/ns/%s", pid, kind) >= 0;
}

/* Return whether the process is in the namespaces that decide what its root user may do. A service
 * that systemd restricts (ProtectSystem= and the like) has a mount namespace of its own, so that of
 * process 1 is accepted, too. */
static bool same_namespaces(struct stow_root *root, pid_t pid)
{
	static const char *const kinds[] = { "user", "pid", "mnt" };
	char number[16];

	snprintf(number, sizeof(number), "%d", (int)pid);
	for (size_t i = 0; i < STOW_ARRAY_SIZE(kinds); i++) {
		char ours[64], theirs[64];

		if (!read_namespace(root, number, kinds[i], theirs) ||
		    !read_namespace(root, "self", kinds[i], ours))
			return false;
		if (strcmp(ours, theirs) == 0)
			continue;
		if (strcmp(kinds[i], "mnt") != 0 || !read_namespace(root, "1", kinds[i], ours) ||
		    strcmp(ours, theirs) != 0)
			return false;
	}
	return true;
}

/* Return whether the process has ended, even if it was not reaped yet: its number is in use until
 * then, and free afterwards. */
static bool has_ended(int pidfd)
{
	struct pollfd at = { .fd = pidfd, .events = POLLIN };

	return poll(&at, 1, 0) != 0;
}

/* Read the peer's credentials; false: they can no longer be known. */
static bool identify(struct rpc_listener *listener, int fd, struct connection *ret)
{
	_cleanup_close_ int pidfd = -EBADF;
	socklen_t len = sizeof(ret->cred);

	ret->known = true;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &ret->cred, &len) < 0)
		return false;
	len = sizeof(pidfd);
	if (getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &len) < 0) {
		pidfd = -EBADF;
		/* ENOPROTOOPT: an older kernel. Any other error means that the process is gone. */
		if (errno != ENOPROTOOPT)
			return false;
	}
	/* In an unrelated pid namespace the number is 0: there is no process to look at. */
	ret->same_namespaces = ret->cred.pid > 0 && same_namespaces(listener->root, ret->cred.pid);
	return pidfd < 0 || !has_ended(pidfd);
}

/* Move a descriptor to the next number of the cycle. */
static int renumber(struct rpc_listener *listener, int fd)
{
	int moved = fcntl(fd, F_DUPFD_CLOEXEC, listener->next);

	if (moved < 0 || moved >= listener->end) {
		if (moved >= 0)
			close(moved);
		moved = fcntl(fd, F_DUPFD_CLOEXEC, NUMBERS_MIN);
	}
	close(fd);
	if (moved >= listener->end) {
		close(moved);
		moved = -1;
	}
	if (moved >= 0)
		listener->next = moved + 1 < listener->end ? moved + 1 : NUMBERS_MIN;
	return moved;
}

static void fill(const struct connection *connection, struct stow_rpc_peer *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->local = true;
	ret->pid = connection->cred.pid;
	ret->uid = connection->cred.uid;
	ret->gid = connection->cred.gid;
	ret->same_namespaces = connection->same_namespaces;
}

static void take(struct rpc_listener *listener, int fd)
{
	struct rpc_guard *guard = listener->server->guard;
	struct connection connection = { 0 };
	struct stow_rpc_peer peer;

	fd = renumber(listener, fd);
	if (fd < 0) {
		rpc_guard_count(guard, RPC_REFUSED_DESCRIPTORS);
		return;
	}
	if (!identify(listener, fd, &connection)) {
		rpc_guard_count(guard, RPC_REFUSED_GONE);
		close(fd);
		return;
	}
	fill(&connection, &peer);
	if (rpc_guard_admit_user(guard, fd, peer.uid, rpc_server_trusts(listener->server, &peer)) <
	    0) {
		close(fd);
		return;
	}
	pthread_mutex_lock(&listener->lock);
	listener->connections[fd - NUMBERS_MIN] = connection;
	pthread_mutex_unlock(&listener->lock);
	grpc_server_add_channel_from_fd(listener->server->server, fd, listener->credentials);
}

static void *run(void *arg)
{
	struct rpc_listener *listener = arg;
	struct pollfd polls[] = { { .fd = listener->fd, .events = POLLIN },
				  { .fd = listener->stop, .events = POLLIN } };

	for (;;) {
		int fd;

		if (poll(polls, 2, -1) < 0 && errno != EINTR)
			return NULL;
		if (polls[1].revents)
			return NULL;
		fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd >= 0)
			take(listener, fd);
		/* When there are no descriptors, hooks.c has disconnected the peer. */
	}
}

int rpc_listener_new(struct stow_rpc_server *server, int fd, struct rpc_listener **ret,
		     struct stow_err *err)
{
	struct rpc_listener *listener = calloc(1, sizeof(*listener));
	int r;

	if (!listener)
		return stow_err_set(err, ENOMEM, "out of memory");
	listener->fd = fd;
	pthread_mutex_init(&listener->lock, NULL);
	listener->server = server;
	listener->next = NUMBERS_MIN;
	listener->credentials = grpc_insecure_server_credentials_create();
	listener->stop = eventfd(0, EFD_CLOEXEC);
	listener->connections = calloc(NUMBERS, sizeof(*listener->connections));
	listener->end = rpc_descriptors_start();
	if (listener->end > NUMBERS_MAX)
		listener->end = NUMBERS_MAX;
	r = stow_root_open("/", &listener->root, err);
	if (r == 0 && (listener->stop < 0 || !listener->connections))
		r = stow_err_set(err, ENOMEM, "out of memory");
	if (r == 0 && listener->end <= NUMBERS_MIN)
		r = stow_err_set(err, EMFILE,
				 "the limit of open files is %d; a unix socket needs more than %d",
				 listener->end, NUMBERS_MIN);
	if (r == 0) {
		rpc_guard_bound(server->guard, (uint64_t)(listener->end - NUMBERS_MIN) * 7 / 8);
		r = -pthread_create(&listener->thread, NULL, run, listener);
		if (r < 0)
			stow_err_sys(err, -r, "cannot start a thread");
	}
	if (r < 0) {
		rpc_listener_free(listener);
		return r;
	}
	*ret = listener;
	return 0;
}

void rpc_listener_stop(struct rpc_listener *listener)
{
	if (listener->thread) {
		eventfd_write(listener->stop, 1);
		pthread_join(listener->thread, NULL);
		listener->thread = 0;
	}
	if (listener->fd >= 0)
		close(listener->fd);
	listener->fd = -1;
}

void rpc_listener_free(struct rpc_listener *listener)
{
	if (!listener)
		return;
	rpc_listener_stop(listener);
	if (listener->stop >= 0)
		close(listener->stop);
	grpc_server_credentials_release(listener->credentials);
	stow_root_free_ptr(&listener->root);
	pthread_mutex_destroy(&listener->lock);
	free(listener->connections);
	free(listener);
}

bool rpc_listener_peer(struct rpc_listener *listener, int fd, struct stow_rpc_peer *ret)
{
	struct connection connection = { 0 };

	pthread_mutex_lock(&listener->lock);
	if (fd >= NUMBERS_MIN && fd < listener->end)
		connection = listener->connections[fd - NUMBERS_MIN];
	pthread_mutex_unlock(&listener->lock);
	if (!connection.known)
		return false;
	fill(&connection, ret);
	return true;
}

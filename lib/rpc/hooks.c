/* SPDX-License-Identifier: Apache-2.0 */
/*
 * accept4(2), recvmsg(2) and close(2), defined in the program: the C core and libmicrohttpd call
 * them by name, and the dynamic linker finds the program's first. Each does what the C library's
 * function does, and calls guard.c.
 *
 * The core never listens again after an accept4() that failed for lack of descriptors (1.51), so it
 * must never see that failure. A descriptor is kept in reserve: it is closed, the peer is accepted
 * and disconnected, and the descriptor is opened again; the core gets EINTR, and tries again.
 */

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/math.h"

#include "rpc/guard.h"
#include "rpc/handshake.h"

#define DESCRIPTORS_MAX 65536
#define STARVED		(10 * STOW_MILLISECOND) /* between two tries without any descriptor */

typedef int (*accept4_fn)(int, struct sockaddr *, socklen_t *, int);
typedef ssize_t (*recvmsg_fn)(int, struct msghdr *, int);
typedef int (*close_fn)(int);

/* The next functions in link order: the C library's, or a sanitizer's. A thread that comes too
 * early looks them up again, with the same result. Global to the process, as the linker's names
 * are. */
static _Atomic(void *) next_accept4, next_recvmsg, next_close;
static pthread_mutex_t spare_lock = PTHREAD_MUTEX_INITIALIZER;
static int spare = -1;

static void *next(_Atomic(void *) *at, const char *name)
{
	void *found = atomic_load_explicit(at, memory_order_acquire);

	if (!found) {
		found = dlsym(RTLD_NEXT, name);
		atomic_store_explicit(at, found, memory_order_release);
	}
	return found;
}

static int really_accept(int fd, struct sockaddr *address, socklen_t *len, int flags)
{
	return ((accept4_fn)next(&next_accept4, "accept4"))(fd, address, len, flags);
}

static int really_close(int fd)
{
	return ((close_fn)next(&next_close, "close"))(fd);
}

/* Close with a reset: a connection that waits for its last bytes would use a descriptor. */
static void hang_up(int fd)
{
	struct linger at_once = { .l_onoff = 1 };

	(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	really_close(fd);
}

/* Accept the next peer and disconnect it. */
static void turn_away(int listener)
{
	int fd = -1;

	pthread_mutex_lock(&spare_lock);
	if (spare >= 0) {
		really_close(spare);
		fd = really_accept(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd >= 0)
			hang_up(fd);
	}
	spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
	pthread_mutex_unlock(&spare_lock);
	if (fd < 0)
		stow_clock_sleep(STARVED);
}

int rpc_hooks_start(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return 0;
	/* The usual soft limit of 1024 descriptors exists for select(2), which is not used here. */
	if (limit.rlim_cur < DESCRIPTORS_MAX) {
		rlim_t had = limit.rlim_cur;

		limit.rlim_cur = STOW_MIN(limit.rlim_max, (rlim_t)DESCRIPTORS_MAX);
		if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
			limit.rlim_cur = had;
	}
	pthread_mutex_lock(&spare_lock);
	if (spare < 0)
		spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
	pthread_mutex_unlock(&spare_lock);
	return limit.rlim_cur < DESCRIPTORS_MAX ? (int)limit.rlim_cur : DESCRIPTORS_MAX;
}

static bool is_want(int error)
{
	return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

/* Return whether an error of accept(2) is about the connection, not the listener; the core would
 * give up on these, too. Examples: an earlier network error, or a peer that has left the queue. */
static bool is_peers(int error)
{
	return error == ECONNABORTED || error == EPERM || error == EPROTO || error == ENOPROTOOPT ||
	       error == ENETDOWN || error == EHOSTDOWN || error == ENONET ||
	       error == EHOSTUNREACH || error == ENETUNREACH || error == ETIMEDOUT;
}

__attribute__((visibility("default"))) int accept4(int fd, struct sockaddr *addr, socklen_t *len,
						   int flags)
{
	struct sockaddr_storage from = { 0 };
	socklen_t from_len = sizeof(from);
	struct rpc_door *door;
	int peer;

	if (!addr || !len) {
		addr = (struct sockaddr *)&from;
		len = &from_len;
	}
	peer = really_accept(fd, addr, len, flags);
	if (peer < 0 && is_peers(errno))
		errno = EINTR;
	if (peer < 0 && !is_want(errno))
		return peer;
	door = rpc_guard_door(fd);
	if (peer < 0) {
		if (door)
			rpc_door_count(door, RPC_REFUSED_DESCRIPTORS);
		turn_away(fd);
		errno = EINTR;
		return -1;
	}
	if (!door)
		return peer;
	if (addr != (struct sockaddr *)&from) {
		from_len = sizeof(from);
		if (getpeername(peer, (struct sockaddr *)&from, &from_len) < 0)
			from.ss_family = AF_UNSPEC;
	}
	if (rpc_guard_admit(door, peer, &from))
		return peer;
	hang_up(peer);
	errno = EINTR;
	return -1;
}

__attribute__((visibility("default"))) ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
	ssize_t n;

	/* shutdown(2) leaves what is in the socket's buffer to be read: a hundred thousand calls. */
	if (!(flags & (MSG_ERRQUEUE | MSG_PEEK))) {
		enum rpc_reading reading = rpc_guard_reading(fd);

		if (reading == RPC_PARKED)
			errno = EAGAIN;
		if (reading != RPC_READS)
			return reading == RPC_PARKED ? -1 : 0;
	}
	n = ((recvmsg_fn)next(&next_recvmsg, "recvmsg"))(fd, message, flags);
	rpc_handshake_forget();
	if (n > 0 && !(flags & (MSG_ERRQUEUE | MSG_PEEK)))
		rpc_guard_bytes(fd, (size_t)n);
	return n;
}

__attribute__((visibility("default"))) int close(int fd)
{
	rpc_guard_closing(fd);
	return really_close(fd);
}

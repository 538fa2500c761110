/* SPDX-License-Identifier: Apache-2.0 */
/*
 * accept4(2), recvmsg(2), sendmsg(2) and close(2), defined in the program: the C core and
 * libmicrohttpd call them by name, and the dynamic linker finds the program's first. Each does what
 * the C library's function does, and calls guard.c.
 *
 * The core never listens again after an accept4() that failed for lack of descriptors (1.51), so it
 * must never see that failure. A descriptor is kept in reserve: it is closed, the peer is accepted
 * and disconnected, and the descriptor is opened again; the core gets EINTR, and tries again.
 */

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "rpc/ack.h"
#include "rpc/descriptors.h"
#include "rpc/guard_internal.h"
#include "rpc/handshake.h"

typedef ssize_t (*sendmsg_fn)(int, const struct msghdr *, int);

static _Atomic(void *) next_recvmsg, next_sendmsg;

/* Here, because a program that opens a guard needs these functions: the linker takes this file for
 * it. */
void rpc_guard_open(struct rpc_guard *guard, int port, bool plain)
{
	guard->plain = plain;
	guard->port = port;
}

void rpc_guard_close(struct rpc_guard *guard)
{
	guard->port = 0;
}

void rpc_guard_servers(size_t message_max)
{
	struct stow_rpc_limits limits = { .max_receiving = message_max + (16 << 20) };

	limits.max_receiving_total = 16 * limits.max_receiving;
	rpc_guard_for_servers(&limits);
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
	struct rpc_guard *guard;
	int peer;

	if (!addr || !len) {
		addr = (struct sockaddr *)&from;
		len = &from_len;
	}
	peer = rpc_descriptors_accept(fd, addr, len, flags);
	if (peer < 0 && is_peers(errno))
		errno = EINTR;
	if (peer < 0 && !is_want(errno))
		return peer;
	guard = rpc_guard_of(fd);
	if (peer < 0) {
		if (guard)
			rpc_guard_count(guard, RPC_REFUSED_DESCRIPTORS);
		rpc_descriptors_turn_away(fd);
		errno = EINTR;
		return -1;
	}
	if (!guard)
		return peer;
	if (addr != (struct sockaddr *)&from) {
		from_len = sizeof(from);
		if (getpeername(peer, (struct sockaddr *)&from, &from_len) < 0)
			from.ss_family = AF_UNSPEC;
	}
	if (rpc_guard_admit(guard, peer, &from))
		return peer;
	rpc_descriptors_hang_up(peer);
	errno = EINTR;
	return -1;
}

__attribute__((visibility("default"))) ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
	rpc_recvmsg_fn next = (rpc_recvmsg_fn)rpc_descriptors_next(&next_recvmsg, "recvmsg");
	enum rpc_reading reading = rpc_guard_reading(fd);
	rpc_acked *acked = rpc_guard_acked(fd);
	ssize_t n;

	if (flags & (MSG_ERRQUEUE | MSG_PEEK))
		return next(fd, message, flags);
	/* shutdown(2) leaves what is in the socket's buffer to be read: a hundred thousand calls. */
	if (reading == RPC_PARKED)
		errno = EAGAIN;
	if (reading != RPC_READS)
		return reading == RPC_PARKED ? -1 : 0;
	n = acked ? rpc_ack_recvmsg(next, acked, fd, message, flags) : next(fd, message, flags);
	rpc_handshake_forget();
	if (n > 0)
		rpc_guard_bytes(fd, (size_t)n);
	return n;
}

__attribute__((visibility("default"))) ssize_t sendmsg(int fd, const struct msghdr *message,
						       int flags)
{
	rpc_acked *acked = rpc_guard_acked(fd);

	/* Before the peer can answer: its answer wakes the reader up. */
	if (acked)
		atomic_fetch_or(acked, RPC_WROTE);
	return ((sendmsg_fn)rpc_descriptors_next(&next_sendmsg, "sendmsg"))(fd, message, flags);
}

__attribute__((visibility("default"))) int close(int fd)
{
	rpc_guard_closing(fd);
	return rpc_descriptors_close(fd);
}

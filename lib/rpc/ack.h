/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The core applies its limits of streams and header fields only when the peer has acknowledged the
 * SETTINGS that announce them (RFC 9113, section 6.5.3). A hostile peer does not, and 50,000 calls
 * on one connection took half a gigabyte. So every connection of a server is acknowledged for its
 * peer: the core reads the preface, then nothing until it has sent its SETTINGS, then an
 * acknowledgement, then the rest. The peer's own one changes nothing, but wakes the core up if the
 * rest had come before.
 *
 * With TLS, SSL_read(3), SSL_write(3) and SSL_get_error(3) are defined in the program; without, the
 * functions of hooks.c call those below. SSL_read(3) also ends a connection, of either side, whose
 * peer updates its key without end.
 */

#include <sys/socket.h>

#define RPC_PREFACE 24 /* bytes: section 3.4 */
#define RPC_ACK	    9
#define RPC_ACKED   (RPC_PREFACE + RPC_ACK)
#define RPC_WROTE   64U /* a flag: the server has written */

/* The bytes that were read so far, up to RPC_ACKED, with the flag. */
typedef _Atomic(unsigned int) rpc_acked;

typedef ssize_t (*rpc_recvmsg_fn)(int, struct msghdr *, int);

/* Receive by `next`, if *acked is not complete. */
ssize_t rpc_ack_recvmsg(rpc_recvmsg_fn next, rpc_acked *acked, int fd, struct msghdr *message,
			int flags);

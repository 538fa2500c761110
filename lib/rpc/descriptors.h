/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The program's descriptors: their limit, one that is kept in reserve, and the C library's
 * functions for them, whose names hooks.c and handshake.c define in the program.
 */

#include <sys/socket.h>

/* Raise the limit of descriptors as far as allowed, and reserve one for when there are none left.
 * Return the limit. */
int rpc_descriptors_start(void);
/* Accept the next peer and disconnect it. */
void rpc_descriptors_turn_away(int listener);
/* Close with a reset: a connection that waits for its last bytes would use a descriptor. */
void rpc_descriptors_hang_up(int fd);

/* Return the next function of that name in link order: the C library's, or a sanitizer's. A thread
 * that comes too early looks it up again, with the same result. */
void *rpc_descriptors_next(_Atomic(void *) *at, const char *name);
/* accept4(2), close(2) and shutdown(2) of the C library. */
int rpc_descriptors_accept(int fd, struct sockaddr *address, socklen_t *len, int flags);
int rpc_descriptors_close(int fd);
int rpc_descriptors_shutdown(int fd, int how);

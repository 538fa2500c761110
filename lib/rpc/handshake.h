/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Says who was refused in a TLS handshake, and why, with the certificate's subject: one line, at
 * most once in ten seconds for an address, and a counter (`handshake` of the refusals). It watches
 * by itself once it is linked.
 */

/* shutdown(2) without a look at handshakes: for whoever ends connections with the guard's lock
 * held. */
int rpc_handshake_shutdown(int fd, int how);
/* Another connection is read: what failed before is not about it. */
void rpc_handshake_forget(void);

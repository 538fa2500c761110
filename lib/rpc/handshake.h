/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Log the peers that are refused in a TLS handshake, with the reason and the certificate's subject:
 * at most one line in ten seconds for an address, and a counter (`handshake` of the refusals).
 * Linking this file is enough to enable it.
 */

/* Forget the thread's last failure: the next connection is being read. */
void rpc_handshake_forget(void);

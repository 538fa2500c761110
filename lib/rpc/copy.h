/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Return a copy of a protobuf-c message, to be freed with stow_rpc_message_free(); NULL: out of
 * memory. */
void *stow_rpc_message_copy(const void *message);

/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stddef.h>

/* Return the length in bytes of the UTF-8 sequence at the start of `s`; 0 when it is invalid,
 * including overlong forms and surrogates. protobuf and JSON (RFC 8259) require UTF-8, while names
 * of files and programs may be any bytes. */
size_t stow_utf8_length(const unsigned char *s);

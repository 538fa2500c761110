/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stddef.h>

/* Returns the bytes of the UTF-8 sequence that `s` begins with, 0 when it is none: overlong forms
 * and surrogates are none. protobuf and JSON (RFC 8259) want UTF-8, and names of files and programs
 * are any bytes. */
size_t stow_utf8_length(const unsigned char *s);

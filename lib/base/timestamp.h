/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Times for programs and other machines. */

#include <stddef.h>
#include <stdint.h>

#define STOW_TIMESTAMP_MAX 32

/* Format a time in ns since 1970 as RFC 3339 has it, in UTC: "2026-01-31T12:00:00Z". Return `buf`,
 * which has STOW_TIMESTAMP_MAX bytes. */
const char *stow_timestamp(uint64_t ns, char buf[static STOW_TIMESTAMP_MAX]);

/* As stow_timestamp(), with a fraction of a second that has `digits` digits, 1 to 9:
 * "2026-01-31T12:00:00.000Z". */
const char *stow_timestamp_fraction(uint64_t ns, int digits, char buf[static STOW_TIMESTAMP_MAX]);

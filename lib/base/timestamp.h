/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Times for programs and other machines. */

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define STOW_TIMESTAMP_MAX 32

/* Format a time in ns since 1970 as RFC 3339 has it, in UTC: "2026-01-31T12:00:00Z". Return `buf`,
 * which has STOW_TIMESTAMP_MAX bytes. */
const char *stow_timestamp(uint64_t ns, char buf[static STOW_TIMESTAMP_MAX]);

/* As stow_timestamp(), with a fraction of a second that has `digits` digits, 1 to 9:
 * "2026-01-31T12:00:00.000Z". */
const char *stow_timestamp_fraction(uint64_t ns, int digits, char buf[static STOW_TIMESTAMP_MAX]);

/*
 * Parse a time that is not after `now`, in ns since 1970, as journalctl(1) takes one for --since:
 * "2026-01-31 12:00:00" with a space or "T", with or without the seconds or the time, of the local
 * zone unless "Z" or "+02:00" follows; "12:00" of today; "now", "today", "yesterday"; "1h 30min
 * ago", "-90m"; "@1700000000". An amount of time that reaches back beyond 1970 gives 1970. -EINVAL:
 * not a time; -ERANGE: a date before 1970, or after `now`.
 */
int stow_timestamp_parse(const char *text, uint64_t now, uint64_t *ret_ns, struct stow_err *err);

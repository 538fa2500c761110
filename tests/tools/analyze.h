/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * For the analyzers only (`make lint` includes it before each file): tells them that an error is
 * always negative. Without that they follow paths on which a function failed and returned 0, and
 * report what such paths would do.
 */

#include "base/err.h"

static inline int stow_analyze_failed(int errnum)
{
	if (errnum <= 0)
		__builtin_unreachable();
	return -errnum;
}

#define stow_err_set(err, errnum, ...) \
	((void)(stow_err_set)(err, errnum, __VA_ARGS__), stow_analyze_failed(errnum))
#define stow_err_sys(err, errnum, ...) \
	((void)(stow_err_sys)(err, errnum, __VA_ARGS__), stow_analyze_failed(errnum))

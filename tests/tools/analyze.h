/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * For the analyzers only; `make lint` includes it before each file. It tells them that the error
 * functions always return a negative value. Without it they follow paths on which a function failed
 * and returned 0, and report problems on these impossible paths.
 */

#include "base/err.h"

static inline int stow_analyze_failed(int errnum)
{
	if (errnum <= 0)
		__builtin_unreachable();
	return -errnum;
}

static inline int stow_analyze_negative(int r)
{
	if (r >= 0)
		__builtin_unreachable();
	return r;
}

#define stow_err_move(err, r, from) ((void)(stow_err_move)(err, r, from), stow_analyze_negative(r))
#define stow_err_set(err, errnum, ...) \
	((void)(stow_err_set)(err, errnum, __VA_ARGS__), stow_analyze_failed(errnum))
#define stow_err_sys(err, errnum, ...) \
	((void)(stow_err_sys)(err, errnum, __VA_ARGS__), stow_analyze_failed(errnum))

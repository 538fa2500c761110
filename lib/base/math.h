/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The smaller and the larger of two numbers, and saturating sums.
 *
 * Other programs may send any number: a saturating sum of such numbers is too large for every
 * request, where a sum that wraps would look small. Where overflow is an error with a message, use
 * __builtin_add_overflow().
 */

#include <stdint.h>

/* A number that the kernel does not show, or that could not be read; never 0. */
#define STOW_UNKNOWN UINT64_MAX

/* The smaller or larger one; each is evaluated once. Both have the same signedness, which
 * -Wsign-compare checks. They are not nested: -Wshadow. */
#define STOW_MIN(a, b)                                             \
	__extension__({                                            \
		__auto_type stow_min_a = (a);                      \
		__auto_type stow_min_b = (b);                      \
		stow_min_a < stow_min_b ? stow_min_a : stow_min_b; \
	})

#define STOW_MAX(a, b)                                             \
	__extension__({                                            \
		__auto_type stow_max_a = (a);                      \
		__auto_type stow_max_b = (b);                      \
		stow_max_a > stow_max_b ? stow_max_a : stow_max_b; \
	})

/* a + b, at most UINT64_MAX. */
static inline uint64_t stow_saturating_add(uint64_t a, uint64_t b)
{
	uint64_t sum;

	return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

/* a - b, at least 0. */
static inline uint64_t stow_saturating_sub(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

/* A number in 32 bits, at most UINT32_MAX. */
static inline uint32_t stow_saturating_u32(uint64_t v)
{
	return v < UINT32_MAX ? (uint32_t)v : UINT32_MAX;
}

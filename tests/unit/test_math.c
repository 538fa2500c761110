// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "base/math.h"

static int n_calls;

static uint64_t next(void)
{
	return (uint64_t)++n_calls;
}

TEST(the_smaller_and_the_larger_one)
{
	assert_int_equal(STOW_MIN(3, 4), 3);
	assert_int_equal(STOW_MIN(4, 3), 3);
	assert_int_equal(STOW_MAX(3, 4), 4);
	assert_int_equal(STOW_MAX(-4, -3), -3);
	/* The wider type's. */
	assert_true(STOW_MAX((uint32_t)1, UINT64_MAX) == UINT64_MAX);
	/* Each is evaluated once. */
	assert_int_equal(STOW_MIN(next(), (uint64_t)10), 1);
	assert_int_equal(STOW_MAX(next(), (uint64_t)1), 2);
	assert_int_equal(n_calls, 2);
}

TEST(sums_stop_at_their_ends)
{
	assert_true(stow_saturating_add(UINT64_MAX - 2, 2) == UINT64_MAX);
	assert_true(stow_saturating_add(UINT64_MAX - 2, 3) == UINT64_MAX);
	assert_true(stow_saturating_add(UINT64_MAX, UINT64_MAX) == UINT64_MAX);
	assert_int_equal(stow_saturating_add(1, 2), 3);
	assert_int_equal(stow_saturating_sub(3, 2), 1);
	assert_int_equal(stow_saturating_sub(2, 2), 0);
	assert_int_equal(stow_saturating_sub(2, 3), 0);
	assert_int_equal(stow_saturating_u32(UINT32_MAX - 1), UINT32_MAX - 1);
	assert_int_equal(stow_saturating_u32(UINT32_MAX), UINT32_MAX);
	assert_int_equal(stow_saturating_u32(UINT64_C(1) << 32), UINT32_MAX);
}

// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "base/clock.h"
#include "base/timestamp.h"

static void a_clock_that_is_behind_is_no_long_time(void **state)
{
	assert_int_equal(stow_clock_elapsed(5, 7), 2);
	assert_int_equal(stow_clock_elapsed(7, 7), 0);
	assert_int_equal(stow_clock_elapsed(7, 5), 0);
}

static void seconds_and_the_rest(void **state)
{
	struct timespec t = stow_clock_timespec(3 * STOW_SECOND + 7);

	assert_int_equal(t.tv_sec, 3);
	assert_int_equal(t.tv_nsec, 7);
	/* Longer than any clock lasts: late, and not soon. */
	t = stow_clock_in(UINT64_MAX);
	assert_int_equal(t.tv_sec, UINT64_MAX / STOW_SECOND);
}

static void a_wait_is_rounded_up(void **state)
{
	assert_int_equal(stow_clock_ms_left(5, 4), 0);
	assert_int_equal(stow_clock_ms_left(5, 5), 0);
	assert_int_equal(stow_clock_ms_left(5, 6), 1);
	assert_int_equal(stow_clock_ms_left(5, 5 + STOW_MILLISECOND), 1);
	assert_int_equal(stow_clock_ms_left(5, 6 + STOW_MILLISECOND), 2);
	assert_int_equal(stow_clock_ms_left(0, UINT64_MAX), INT_MAX);
}

static void never_stays_never_on_the_wall(void **state)
{
	assert_int_equal(stow_clock_boot_to_wall(0), 0);
	assert_true(stow_clock_boot_to_wall(stow_clock_boot() + 3600 * STOW_SECOND) >
		    stow_clock_wall());
	assert_true(stow_clock_boot_to_wall(1) < stow_clock_wall());
}

static void a_time_as_other_programs_read_it(void **state)
{
	uint64_t ns = 1769860800 * STOW_SECOND + 12345678;
	char text[STOW_TIMESTAMP_MAX];

	assert_string_equal(stow_timestamp(0, text), "1970-01-01T00:00:00Z");
	assert_string_equal(stow_timestamp(ns, text), "2026-01-31T12:00:00Z");
	assert_string_equal(stow_timestamp_fraction(ns, 3, text), "2026-01-31T12:00:00.012Z");
	assert_string_equal(stow_timestamp_fraction(ns, 6, text), "2026-01-31T12:00:00.012345Z");
	assert_string_equal(stow_timestamp_fraction(ns, 9, text), "2026-01-31T12:00:00.012345678Z");
	assert_string_equal(stow_timestamp(UINT64_MAX, text), "2554-07-21T23:34:33Z");
	assert_string_equal(stow_timestamp_fraction(UINT64_MAX, 9, text),
			    "2554-07-21T23:34:33.709551615Z");
}

/* On the wall clock, the moment would be long ago. */
static void a_condition_waits_on_the_monotonic_clock(void **state)
{
	pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	uint64_t began = stow_clock_monotonic();
	struct timespec until = stow_clock_in(5 * STOW_MILLISECOND);
	pthread_cond_t cond;

	stow_clock_cond_init(&cond);
	pthread_mutex_lock(&lock);
	while (pthread_cond_timedwait(&cond, &lock, &until) != ETIMEDOUT)
		;
	pthread_mutex_unlock(&lock);
	pthread_cond_destroy(&cond);
	assert_true(stow_clock_elapsed(began, stow_clock_monotonic()) >= 5 * STOW_MILLISECOND);
	began = stow_clock_monotonic();
	stow_clock_sleep(STOW_MILLISECOND);
	assert_true(stow_clock_elapsed(began, stow_clock_monotonic()) >= STOW_MILLISECOND);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_clock_that_is_behind_is_no_long_time),
		cmocka_unit_test(seconds_and_the_rest),
		cmocka_unit_test(a_wait_is_rounded_up),
		cmocka_unit_test(never_stays_never_on_the_wall),
		cmocka_unit_test(a_time_as_other_programs_read_it),
		cmocka_unit_test(a_condition_waits_on_the_monotonic_clock),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

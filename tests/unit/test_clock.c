// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include <inttypes.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/timestamp.h"

TEST(a_clock_that_is_behind_is_no_long_time)
{
	assert_int_equal(stow_clock_elapsed(5, 7), 2);
	assert_int_equal(stow_clock_elapsed(7, 7), 0);
	assert_int_equal(stow_clock_elapsed(7, 5), 0);
}

TEST(seconds_and_the_rest)
{
	struct timespec t = stow_clock_timespec(3 * STOW_SECOND + 7);

	assert_int_equal(t.tv_sec, 3);
	assert_int_equal(t.tv_nsec, 7);
	/* Longer than any clock lasts: late, and not soon. */
	t = stow_clock_in(UINT64_MAX);
	assert_int_equal(t.tv_sec, UINT64_MAX / STOW_SECOND);
}

TEST(a_wait_is_rounded_up)
{
	assert_int_equal(stow_clock_ms_left(5, 4), 0);
	assert_int_equal(stow_clock_ms_left(5, 5), 0);
	assert_int_equal(stow_clock_ms_left(5, 6), 1);
	assert_int_equal(stow_clock_ms_left(5, 5 + STOW_MILLISECOND), 1);
	assert_int_equal(stow_clock_ms_left(5, 6 + STOW_MILLISECOND), 2);
	assert_int_equal(stow_clock_ms_left(0, UINT64_MAX), INT_MAX);
}

TEST(never_stays_never_on_the_wall)
{
	assert_int_equal(stow_clock_boot_to_wall(0), 0);
	assert_true(stow_clock_boot_to_wall(stow_clock_boot() + 3600 * STOW_SECOND) >
		    stow_clock_wall());
	assert_true(stow_clock_boot_to_wall(1) < stow_clock_wall());
}

TEST(a_time_as_other_programs_read_it)
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

/* 2026-01-31, 12:00:00 in UTC. */
#define NOON (1769860800 * STOW_SECOND)

static void assert_parsed(const char *text, uint64_t wanted)
{
	struct stow_err err = { 0 };
	uint64_t ns = 0;
	int r = stow_timestamp_parse(text, NOON, &ns, &err);

	if (r < 0 || ns != wanted)
		fail_msg("%s: %d, %" PRIu64 " s instead of %" PRIu64 ", %s", text, r,
			 ns / STOW_SECOND, wanted / STOW_SECOND, err.msg);
}

static void assert_no_time(const char *text, int wanted)
{
	struct stow_err err = { 0 };
	uint64_t ns = 4711;

	assert_int_equal(stow_timestamp_parse(text, NOON, &ns, &err), -wanted);
	assert_int_equal(ns, 4711);
	assert_non_null(strstr(err.msg, text));
}

TEST(times_of_the_past_are_parsed)
{
	const uint64_t minute = 60 * STOW_SECOND, hour = 60 * minute, day = 24 * hour;

	assert_parsed("now", NOON);
	assert_parsed("1h ago", NOON - hour);
	assert_parsed("1h 30min ago", NOON - 90 * minute);
	assert_parsed("1h30min ago", NOON - 90 * minute);
	assert_parsed("2 days ago", NOON - 2 * day);
	assert_parsed("1 week 500ms ago", NOON - 7 * day - 500 * STOW_MILLISECOND);
	assert_parsed("-90m", NOON - 90 * minute);
	assert_parsed("-0s", NOON);
	assert_parsed("3000 weeks ago", 0);
	assert_parsed("@1769860799", NOON - STOW_SECOND);
	assert_parsed("2026-01-31T11:59:00Z", NOON - minute);
	assert_parsed("2026-01-31 11:59:58Z", NOON - 2 * STOW_SECOND);
	assert_parsed("2026-01-31T11:59Z", NOON - minute);
	assert_parsed("2026-01-31T13:00:00+02:00", NOON - hour);
	assert_parsed("2026-01-31T05:30:00-05:30", NOON - hour);
	assert_parsed("1970-01-01T00:00:00Z", 0);
}

TEST(times_without_a_zone_are_local)
{
	const uint64_t hour = 3600 * STOW_SECOND;
	const char *before = getenv("TZ");
	_cleanup_free_ char *kept = before ? strdup(before) : NULL;

	/* Four hours west of UTC, without a database of zones: now it is 08:00 there. */
	setenv("TZ", "XYZ4", 1);
	tzset();
	assert_parsed("2026-01-31 07:00:00", NOON - hour);
	assert_parsed("2026-01-31T07:00", NOON - hour);
	assert_parsed("2026-01-31", NOON - 8 * hour);
	assert_parsed("today", NOON - 8 * hour);
	assert_parsed("yesterday", NOON - 32 * hour);
	assert_parsed("07:00", NOON - hour);
	assert_parsed("07:59:59", NOON - STOW_SECOND);
	assert_no_time("08:01", ERANGE);
	if (kept)
		setenv("TZ", kept, 1);
	else
		unsetenv("TZ");
	tzset();
}

TEST(other_texts_are_no_times)
{
	static const char *const texts[] = {
		"",
		"1h",
		"ago",
		"1 ago",
		"1h agox",
		"-",
		"-1h ago",
		"1 fortnight ago",
		"tomorrow",
		"@",
		"@-1",
		"2026-02-30",
		"2026-13-01",
		"2026-01-31 25:00",
		"12:00Z",
		"2026-01-31Z",
		"2026-01-31T12:00:00+",
		"2026-01-31 12:00:00 CET",
		"99999999999999999999999h ago",
		"9999999 weeks ago",
		"Today",
	};

	for (size_t i = 0; i < STOW_ARRAY_SIZE(texts); i++)
		assert_no_time(texts[i], EINVAL);
	assert_no_time("2026-01-31T12:00:01Z", ERANGE);
	assert_no_time("@1769860801", ERANGE);
	assert_no_time("1969-12-31T23:59:59Z", ERANGE);
}

/* On the wall clock, the moment would be long ago. */
TEST(a_condition_waits_on_the_monotonic_clock)
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

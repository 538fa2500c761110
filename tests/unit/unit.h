/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What every unit test includes: cmocka with the headers that it wants before itself. */

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/*
 * Define a test. main() (tests/unit/main.c) runs all tests of a file in their order:
 *
 *	TEST(sizes_are_parsed)
 *	{
 *		assert_int_equal(...);
 *	}
 */
#define TEST(name)                      \
	static void name(void **state); \
	UNIT_ADD(name, "", NULL, NULL)  \
	static void name(void **state)

/* Define a test with a fixture, which it gets as its parameter: `set_up` left it in *state. */
#define TEST_WITH(name, parameter, set_up, tear_down) \
	UNIT_BODY(name, parameter)                    \
	UNIT_ADD(name, "", set_up, tear_down)         \
	static void name##_(parameter)

/* What these consist of, for a test that runs with several fixtures. */
#define UNIT_BODY(name, parameter)      \
	static void name##_(parameter); \
	static void name(void **state)  \
	{                               \
		name##_(*state);        \
	}
#define UNIT_ADD(name, suffix, set_up, tear_down) \
	UNIT_ADD_AS(name, suffix, set_up, tear_down, __COUNTER__)
#define UNIT_ADD_AS(name, suffix, set_up, tear_down, number) \
	UNIT_ADD_NUMBER(name, suffix, set_up, tear_down, number)
#define UNIT_ADD_NUMBER(name, suffix, set_up, tear_down, number)         \
	__attribute__((constructor)) static void unit_add_##number(void) \
	{                                                                \
		unit_add(number, #name suffix, name, set_up, tear_down); \
	}

void unit_add(int number, const char *name, CMUnitTestFunction test, CMFixtureFunction set_up,
	      CMFixtureFunction tear_down);
/* Run all tests that were added, for a main() of one's own; with a fixture for all together. */
int unit_run(CMFixtureFunction set_up, CMFixtureFunction tear_down);

/* Evaluates something with a lock held. */
#define LOCKED(lock, what)                    \
	__extension__({                       \
		pthread_mutex_lock(lock);     \
		__auto_type locked_ = (what); \
		pthread_mutex_unlock(lock);   \
		locked_;                      \
	})

/* Wait until it is true, for minutes: the machine may be busy. Once it is true it is not looked at
 * again, because it may be true for a moment only. */
#define UNTIL(what)                                            \
	do {                                                   \
		int looks_left = 30000;                        \
		bool until_ = (what);                          \
		while (!until_ && looks_left--) {              \
			usleep(10000);                         \
			until_ = (what);                       \
		}                                              \
		if (!until_)                                   \
			fail_msg("waited in vain for " #what); \
	} while (0)

/* For tests with threads: a failed check ends the program (cmocka's own switch for it). Otherwise
 * cmocka would jump out of the test and tear down while the threads go on with variables of a
 * function that has returned, and with locks that stay locked; a check that fails on another thread
 * would jump onto the stack of the test's. */
#define END_WHEN_A_CHECK_FAILS                                                     \
	__attribute__((constructor)) static void unit_end_when_a_check_fails(void) \
	{                                                                          \
		setenv("CMOCKA_TEST_ABORT", "1", 0);                               \
	}

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

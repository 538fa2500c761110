/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What every unit test includes: cmocka with the headers that it wants before itself. */

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
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

/* Waits until it is true, for minutes: the machine may be busy. */
#define UNTIL(what)                                            \
	do {                                                   \
		int looks_left = 30000;                        \
		while (!(what) && looks_left--)                \
			usleep(10000);                         \
		if (!(what))                                   \
			fail_msg("waited in vain for " #what); \
	} while (0)

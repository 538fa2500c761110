/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What every unit test includes: cmocka with the headers that it wants before itself. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* Waits until it is true, twenty seconds at most. */
#define UNTIL(what)                                            \
	do {                                                   \
		int looks_left = 2000;                         \
		while (!(what) && looks_left--)                \
			usleep(10000);                         \
		if (!(what))                                   \
			fail_msg("waited in vain for " #what); \
	} while (0)

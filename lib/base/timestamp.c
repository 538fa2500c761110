// SPDX-License-Identifier: Apache-2.0
#include "base/timestamp.h"

#include <time.h>

#include "base/clock.h"

const char *stow_timestamp(uint64_t ns, char buf[static STOW_TIMESTAMP_MAX])
{
	time_t seconds = (time_t)(ns / STOW_SECOND);
	struct tm tm;

	/* 64 bits of ns end in the year 2554: both succeed. */
	if (!gmtime_r(&seconds, &tm) ||
	    !strftime(buf, STOW_TIMESTAMP_MAX, "%Y-%m-%dT%H:%M:%SZ", &tm))
		*buf = '\0';
	return buf;
}

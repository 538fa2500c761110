// SPDX-License-Identifier: Apache-2.0
#include "base/timestamp.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "base/clock.h"

/* Format the whole seconds, without the zone. Return how many characters that are. */
static size_t put_seconds(uint64_t ns, char buf[static STOW_TIMESTAMP_MAX])
{
	time_t seconds = (time_t)(ns / STOW_SECOND);
	struct tm tm;

	/* 64 bits of ns end in the year 2554: both succeed. */
	return gmtime_r(&seconds, &tm) ? strftime(buf, STOW_TIMESTAMP_MAX, "%Y-%m-%dT%H:%M:%S", &tm)
				       : 0;
}

const char *stow_timestamp(uint64_t ns, char buf[static STOW_TIMESTAMP_MAX])
{
	size_t len = put_seconds(ns, buf);

	snprintf(buf + len, STOW_TIMESTAMP_MAX - len, "Z");
	return buf;
}

const char *stow_timestamp_fraction(uint64_t ns, int digits, char buf[static STOW_TIMESTAMP_MAX])
{
	size_t len = put_seconds(ns, buf);
	uint64_t fraction = ns % STOW_SECOND;

	for (int i = digits; i < 9; i++)
		fraction /= 10;
	snprintf(buf + len, STOW_TIMESTAMP_MAX - len, ".%0*" PRIu64 "Z", digits, fraction);
	return buf;
}

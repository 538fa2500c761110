// SPDX-License-Identifier: Apache-2.0
#include "base/timestamp.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/parse.h"

/* Format the whole seconds, without the zone. Return the number of characters. */
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

/* --- parsing ----------------------------------------------------------------- */

#define MINUTE (60 * STOW_SECOND)
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)

/* Parse one amount with its unit, "90min" or "2 days", at *p, and move *p behind it. */
static bool scan_amount(const char **p, uint64_t *ret_ns)
{
	static const struct {
		const char *unit;
		uint64_t ns;
	} units[] = {
		{ "ms", STOW_MILLISECOND },
		{ "s", STOW_SECOND },
		{ "sec", STOW_SECOND },
		{ "second", STOW_SECOND },
		{ "seconds", STOW_SECOND },
		{ "m", MINUTE },
		{ "min", MINUTE },
		{ "minute", MINUTE },
		{ "minutes", MINUTE },
		{ "h", HOUR },
		{ "hr", HOUR },
		{ "hour", HOUR },
		{ "hours", HOUR },
		{ "d", DAY },
		{ "day", DAY },
		{ "days", DAY },
		{ "w", 7 * DAY },
		{ "week", 7 * DAY },
		{ "weeks", 7 * DAY },
	};
	size_t digits = strspn(*p, "0123456789"), len;
	const char *unit = *p + digits + strspn(*p + digits, " ");
	char number[24];
	uint64_t n;

	if (!digits || digits >= sizeof(number))
		return false;
	snprintf(number, sizeof(number), "%.*s", (int)digits, *p);
	len = strspn(unit, "abcdefghijklmnopqrstuvwxyz");
	for (size_t i = 0; i < STOW_ARRAY_SIZE(units); i++) {
		if (strlen(units[i].unit) != len || strncmp(units[i].unit, unit, len) != 0)
			continue;
		if (stow_parse_u64(number, UINT64_MAX / units[i].ns, &n, NULL) < 0)
			return false;
		*ret_ns = n * units[i].ns;
		*p = unit + len + strspn(unit + len, " ");
		return true;
	}
	return false;
}

/* Parse "-90m" or "1h 30min ago". */
static bool parse_ago(const char *text, uint64_t *ret_ns)
{
	bool minus = *text == '-';
	const char *p = text + minus;
	uint64_t sum = 0, ns;

	while (scan_amount(&p, &ns)) {
		sum = stow_saturating_add(sum, ns);
		if (strcmp(p, minus ? "" : "ago") == 0) {
			*ret_ns = sum;
			return true;
		}
	}
	return false;
}

/* Parse what follows a time: nothing, "Z", or "+02:00". */
static bool parse_zone(const char *text, bool *ret_local, int64_t *ret_east)
{
	struct tm tm = { 0 };
	const char *end;

	*ret_local = *text == '\0';
	*ret_east = 0;
	if (*ret_local || strcmp(text, "Z") == 0)
		return true;
	if (*text != '+' && *text != '-')
		return false;
	end = strptime(text + 1, "%H:%M", &tm);
	*ret_east = (*text == '+' ? 1 : -1) * (int64_t)(tm.tm_hour * 3600 + tm.tm_min * 60);
	return end && *end == '\0';
}

/* Make seconds of a calendar's time; false: there is no such day. */
static bool make_seconds(struct tm tm, bool local, int64_t east, int64_t *ret)
{
	int day = tm.tm_mday;

	tm.tm_isdst = -1;
	*ret = (int64_t)(local ? mktime(&tm) : timegm(&tm)) - east;
	return tm.tm_mday == day;
}

/* Parse a date, a time or both; `today`: the date of a time that stands alone. */
static bool parse_calendar(const char *text, struct tm today, int64_t *ret)
{
	static const char *const formats[] = {
		"%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M",
		"%Y-%m-%d",	     "%H:%M:%S",	  "%H:%M",
	};

	today.tm_hour = today.tm_min = today.tm_sec = 0;
	for (size_t i = 0; i < STOW_ARRAY_SIZE(formats); i++) {
		struct tm tm = today;
		const char *end = strptime(text, formats[i], &tm);
		int64_t east;
		bool local;

		/* Only a date with a time may have a zone. */
		if (end && parse_zone(end, &local, &east) && (local || i < 4))
			return make_seconds(tm, local, east, ret);
	}
	return false;
}

int stow_timestamp_parse(const char *text, uint64_t now, uint64_t *ret_ns, struct stow_err *err)
{
	time_t now_seconds = (time_t)(now / STOW_SECOND);
	struct tm today = { 0 };
	int64_t seconds = -1;
	uint64_t ago = 0, at = 0;
	bool known;

	(void)localtime_r(&now_seconds, &today);
	if (strcmp(text, "now") == 0 || parse_ago(text, &ago)) {
		*ret_ns = stow_saturating_sub(now, ago);
		return 0;
	}
	if (strcmp(text, "today") == 0 || strcmp(text, "yesterday") == 0) {
		today.tm_hour = today.tm_min = today.tm_sec = 0;
		today.tm_mday -= *text == 'y';
		today.tm_isdst = -1;
		seconds = (int64_t)mktime(&today);
		known = true;
	} else if (*text == '@') {
		known = stow_parse_u64(text + 1, INT64_MAX, &at, NULL) == 0;
		seconds = (int64_t)at;
	} else {
		known = parse_calendar(text, today, &seconds);
	}
	if (!known)
		return stow_err_set(err, EINVAL,
				    "\"%.64s\": expected a time such as \"1h ago\", today, "
				    "\"2026-01-31 12:00\" or 2026-01-31T12:00:00Z",
				    text);
	if (seconds < 0 || (uint64_t)seconds > now / STOW_SECOND)
		return stow_err_set(err, ERANGE, "\"%.64s\": expected a time from 1970 to now",
				    text);
	*ret_ns = (uint64_t)seconds * STOW_SECOND;
	return 0;
}

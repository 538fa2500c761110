// SPDX-License-Identifier: Apache-2.0
#include "cli/cli.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <json-c/json.h>

const char *cli_format_time(uint64_t ns, char *buf, size_t size)
{
	time_t seconds = (time_t)(ns / UINT64_C(1000000000));
	struct tm tm;

	if (!localtime_r(&seconds, &tm) || !strftime(buf, size, "%Y-%m-%d %H:%M:%S", &tm))
		snprintf(buf, size, "?");
	return buf;
}

const char *cli_short_id(const char *id, char *buf, size_t size)
{
	bool hex = strlen(id) == 64 && strspn(id, "0123456789abcdef") == 64;

	snprintf(buf, size, "%.*s", hex ? 12 : (int)size - 1, id);
	return buf;
}

void cli_print_json(struct json_object *json)
{
	puts(json_object_to_json_string_ext(json, JSON_C_TO_STRING_PRETTY |
							  JSON_C_TO_STRING_SPACED |
							  JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(json);
}

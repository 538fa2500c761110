// SPDX-License-Identifier: Apache-2.0
#include "cli/cli.h"

#include <inttypes.h>
#include <stdio.h>

#include <json-c/json.h>

#include "base/clock.h"
#include "grant/names.h"
#include "grant/show.h"

const char *cli_format_time(uint64_t ns, char *buf, size_t size)
{
	return stow_show_time(ns, buf, size);
}

const char *cli_format_span(uint64_t ns, bool left, char *buf, size_t size)
{
	static const struct {
		char name;
		uint64_t ns, below; /* which it is used */
	} units[] = { { 's', STOW_SECOND, 120 },
		      { 'm', 60 * STOW_SECOND, 120 },
		      { 'h', 3600 * STOW_SECOND, 48 },
		      { 'd', 86400 * STOW_SECOND, UINT64_MAX } };

	for (size_t i = 0;; i++) {
		uint64_t rest = ns % units[i].ns, n = ns / units[i].ns;

		n += left && rest >= units[i].ns / 2;
		if (n >= units[i].below)
			continue;
		snprintf(buf, size, "%" PRIu64 "%c", n, units[i].name);
		return buf;
	}
}

const char *cli_short_id(const char *id, char *buf, size_t size)
{
	return stow_short_id(id, buf, size);
}

void cli_print_json(struct json_object *json)
{
	puts(json_object_to_json_string_ext(json, JSON_C_TO_STRING_PRETTY |
							  JSON_C_TO_STRING_SPACED |
							  JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(json);
}

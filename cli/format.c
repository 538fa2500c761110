// SPDX-License-Identifier: Apache-2.0
#include "cli/cli.h"

#include <stdio.h>

#include <json-c/json.h>

#include "grant/names.h"
#include "grant/show.h"

const char *cli_format_time(uint64_t ns, char *buf, size_t size)
{
	return stow_show_time(ns, buf, size);
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

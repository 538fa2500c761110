// SPDX-License-Identifier: Apache-2.0
#include "cli/json_writer.h"

#include <errno.h>
#include <stdio.h>

void json_put(struct json_writer *w, json_object *to, const char *key, json_object *value)
{
	if (value && to && json_object_object_add(to, key, value) == 0)
		return;
	json_object_put(value);
	w->ok = false;
}

void json_append(struct json_writer *w, json_object *to, json_object *value)
{
	if (value && to && json_object_array_add(to, value) == 0)
		return;
	json_object_put(value);
	w->ok = false;
}

int json_print(const struct json_writer *w, json_object *o)
{
	const char *text = NULL;

	if (w->ok && o)
		text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY |
								 JSON_C_TO_STRING_SPACED |
								 JSON_C_TO_STRING_NOSLASHESCAPE);
	if (text)
		puts(text);
	json_object_put(o);
	return text ? 0 : -ENOMEM;
}

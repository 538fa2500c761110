/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What show.c and show_history.c share: JSON. */

#include <stdint.h>
#include <stdio.h>

struct json_object;

/* Add a text. An empty one is null: none, or unknown. (json-c has no object for null.) */
void stow_show_add_text(struct json_object *object, const char *key, const char *text);
/* Add a time in ns since 1970; 0, null: never, or unknown. */
void stow_show_add_time(struct json_object *object, const char *key, uint64_t ns);
/* Make an object with the version, which begins all output. The caller frees it. */
struct json_object *stow_show_object(void);
/* Print in the format of all of numastow's JSON. Free the object. */
void stow_show_put_json(struct json_object *json, FILE *out);

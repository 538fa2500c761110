// SPDX-License-Identifier: Apache-2.0
#include "cli/json_writer.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"

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

void json_put_known(struct json_writer *w, json_object *to, const char *key, bool known,
		    json_object *value)
{
	if (known) {
		json_put(w, to, key, value);
		return;
	}
	json_object_put(value);
	/* json-c has no object for null. */
	if (!to || json_object_object_add(to, key, NULL) < 0)
		w->ok = false;
}

void json_put_text(struct json_writer *w, json_object *to, const char *key, const char *text)
{
	json_put_known(w, to, key, text && *text, json_object_new_string(text ? text : ""));
}

void json_put_number(struct json_writer *w, json_object *to, const char *key, int64_t number)
{
	json_put_known(w, to, key, number >= 0, json_object_new_int64(number));
}

void json_put_amount(struct json_writer *w, json_object *to, const char *key, uint64_t amount)
{
	json_put_known(w, to, key, amount != UINT64_MAX, json_object_new_uint64(amount));
}

void json_put_set(struct json_writer *w, json_object *to, const char *key,
		  const struct stow_idset *set)
{
	json_put_known_set(w, to, key, true, set);
}

void json_put_known_set(struct json_writer *w, json_object *to, const char *key, bool known,
			const struct stow_idset *set)
{
	_cleanup_free_ char *list = stow_idset_to_list(set);

	json_put_known(w, to, key, known, list ? json_object_new_string(list) : NULL);
}

void json_put_node(struct json_writer *w, json_object *to, int node)
{
	json_put_number(w, to, "node", node);
}

void json_put_range(struct json_writer *w, json_object *to, uint64_t start, uint64_t size)
{
	char text[48];

	snprintf(text, sizeof(text), "0x%016" PRIx64 "-0x%016" PRIx64, start, start + size - 1);
	json_put(w, to, "range", json_object_new_string(text));
}

json_object *json_with_version(json_object *o)
{
	json_object *all = json_object_new_object();
	struct json_writer w = { .ok = true };

	if (!o || !all) {
		json_object_put(o);
		json_object_put(all);
		return NULL;
	}
	json_put(&w, all, "version", json_object_new_string(STOW_VERSION));
	json_object_object_foreach(o, key, value) {
		json_put_known(&w, all, key, value, json_object_get(value));
	}
	json_object_put(o);
	if (w.ok)
		return all;
	json_object_put(all);
	return NULL;
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

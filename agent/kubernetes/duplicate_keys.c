/* SPDX-License-Identifier: Apache-2.0 */
/* The text has been accepted by json-c, so brackets match and strings end. The functions still stop
 * at the terminating NUL. */
#include "agent/kubernetes/duplicate_keys.h"

#include <errno.h>
#include <string.h>

#include "agent/kubernetes/names.h"
#include "base/cleanup.h"
#include "base/json.h"
#include "base/text.h"
#include "kube/json.h"

#define KEYS_MAX 64	    /* in parameters; more cannot be valid */
#define TEXT_MAX (64 << 10) /* bytes of parameters; Kubernetes allows 10 KiB */

static const char *skip_space(const char *p)
{
	return p + strspn(p, " \t\r\n");
}

/* Skip a string, from its first quote. */
static const char *skip_string(const char *p)
{
	for (p++; *p && *p != '"'; p++)
		if (*p == '\\' && p[1])
			p++;
	return *p ? p + 1 : p;
}

static const char *skip_value(const char *p)
{
	size_t depth = 0;

	do {
		p = skip_space(p);
		if (!depth && *p && strchr("]},:", *p))
			return p; /* there is no value */
		if (*p == '"') {
			p = skip_string(p);
		} else if (*p == '{' || *p == '[') {
			depth++;
			p++;
		} else if (*p == '}' || *p == ']') {
			depth--;
			p++;
		} else if (depth && strchr(",:", *p) && *p) {
			p++;
		} else {
			p += strcspn(p, ",:]} \t\r\n");
		}
	} while (depth && *p);
	return p;
}

/* Move to the next element of an object or a list, from its opening bracket or from the end of the
 * element before. Return NULL at the end. */
static const char *next(const char *p)
{
	p = skip_space(p);
	if (!*p || !strchr("{[,", *p))
		return NULL;
	p = skip_space(p + 1);
	return *p && !strchr("]}", *p) ? p : NULL;
}

/* Return the value of an element of an object, whose key begins at `p`. */
static const char *value_of(const char *p)
{
	p = skip_space(skip_string(p));
	return *p == ':' ? skip_space(p + 1) : p;
}

/* Return whether the key at `p` is this one. It may be written with escapes. */
static bool is_key(const char *p, const char *key)
{
	_cleanup_json_ struct json_object *text = NULL;
	size_t len = (size_t)(skip_string(p) - p);
	_cleanup_free_ char *token = NULL;

	if (len >= 2 && !memchr(p, '\\', len))
		return strlen(key) == len - 2 && memcmp(p + 1, key, len - 2) == 0;
	token = strndup(p, len);
	text = token ? json_tokener_parse(token) : NULL;
	return json_object_is_type(text, json_type_string) &&
	       strcmp(json_object_get_string(text), key) == 0;
}

/* Find the value of a key in the object at `p`: the last one, as json-c does. NULL: none. */
static const char *member(const char *p, const char *key)
{
	const char *found = NULL;

	if (!p || *p != '{')
		return NULL;
	for (p = next(p); p && *p == '"'; p = next(skip_value(value_of(p))))
		if (is_key(p, key))
			found = value_of(p);
	return found;
}

/* Check the parameters at `p`, of which `object` was made. */
static int check(const char *p, struct json_object *object, struct stow_err *err)
{
	char quoted[84];
	size_t n = 0;

	if (!p || *p != '{')
		return 0;
	if (skip_value(p) - p > TEXT_MAX)
		return stow_err_set(err, EINVAL, "more than %d bytes", TEXT_MAX);
	json_object_object_foreach(object, key, value) {
		size_t times = 0;

		(void)value;
		if (++n > KEYS_MAX)
			return 0; /* some are unknown, and refused as such */
		for (const char *k = next(p); k && *k == '"'; k = next(skip_value(value_of(k))))
			times += is_key(k, key);
		if (times > 1)
			return stow_err_set(err, EINVAL, "\"%s\": appears %zu times",
					    stow_text_quote(key, quoted, sizeof(quoted)), times);
	}
	return 0;
}

int agent_duplicate_keys_check(const char *text, struct json_object *object, struct stow_err *err)
{
	const char *p = member(skip_space(text), "status");
	struct json_object *configs;
	size_t n;

	configs = stow_kube_list_at(object, "status.allocation.devices.config", &n);
	p = member(member(member(p, "allocation"), "devices"), "config");
	if (!p || *p != '[')
		return 0;
	p = next(p);
	for (size_t i = 0; i < n && p; i++, p = next(skip_value(p))) {
		struct json_object *config = json_object_array_get_idx(configs, i);
		int r;

		if (strcmp(stow_kube_text(config, "opaque.driver"), AGENT_DRIVER) != 0 ||
		    !json_object_is_type(stow_kube_at(config, "opaque.parameters"),
					 json_type_object))
			continue;
		r = check(member(member(p, "opaque"), "parameters"),
			  stow_kube_at(config, "opaque.parameters"), err);
		if (r < 0)
			return stow_err_wrap(
				err, r, "status.allocation.devices: config[%zu]: parameters", i);
	}
	return 0;
}

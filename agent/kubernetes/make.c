/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/kubernetes/make.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "kube/make.h"

struct json_object *agent_json_quantity(uint64_t amount, bool bytes)
{
	static const char *const units[] = { "", "Ki", "Mi", "Gi", "Ti", "Pi" };
	size_t unit = 0;
	char text[32];

	while (bytes && amount && amount % 1024 == 0 && unit + 1 < STOW_ARRAY_SIZE(units)) {
		amount /= 1024;
		unit++;
	}
	snprintf(text, sizeof(text), "%" PRIu64 "%s", amount, units[unit]);
	return json_object_new_string(text);
}

bool agent_json_put_owner(struct json_object *metadata, const char *node, const char *uid)
{
	struct json_object *owner =
		stow_kube_append_object(stow_kube_put_list(metadata, "ownerReferences"));

	return stow_kube_put_text(owner, "apiVersion", "v1") &&
	       stow_kube_put_text(owner, "kind", "Node") &&
	       stow_kube_put_text(owner, "name", node) && stow_kube_put_text(owner, "uid", uid) &&
	       stow_kube_put(owner, "controller", json_object_new_boolean(true));
}

/* --- comparing ------------------------------------------------------------ */

static bool is_equal(struct json_object *wanted, struct json_object *stored, bool exact);

static bool is_equal_text(struct json_object *wanted, struct json_object *stored)
{
	const char *a = json_object_get_string(wanted), *b = json_object_get_string(stored);
	uint64_t x, y;

	if (strcmp(a, b) == 0)
		return true;
	/* The API server may store a quantity in another form. */
	return stow_parse_quantity(a, &x, NULL) == 0 && stow_parse_quantity(b, &y, NULL) == 0 &&
	       x == y;
}

static bool is_equal_list(struct json_object *wanted, struct json_object *stored)
{
	size_t n = json_object_array_length(wanted);

	if (json_object_array_length(stored) != n)
		return false;
	for (size_t i = 0; i < n; i++)
		if (!is_equal(json_object_array_get_idx(wanted, i),
			      json_object_array_get_idx(stored, i), false))
			return false;
	return true;
}

/* Return whether an object has a field that is not wanted (any more), or that another program has
 * added. */
static bool has_unwanted(struct json_object *wanted, struct json_object *stored)
{
	static const char *const keys[] = { "taints", "bindsToNode", "bindingConditions",
					    "bindingFailureConditions" };
	struct json_object *ignored;

	for (size_t i = 0; i < STOW_ARRAY_SIZE(keys); i++)
		if (!json_object_object_get_ex(wanted, keys[i], &ignored) &&
		    json_object_object_get_ex(stored, keys[i], &ignored))
			return true;
	return false;
}

/* Return whether an object has all that is wanted. It may have further fields, because later API
 * servers may add some; but not in maps whose keys are ours (`exact`), and none of those above. */
static bool is_equal_object(struct json_object *wanted, struct json_object *stored, bool exact)
{
	struct json_object *other;

	json_object_object_foreach(wanted, key, value) {
		bool ours = strcmp(key, "attributes") == 0 || strcmp(key, "capacity") == 0;

		if (strcmp(key, "generation") == 0)
			continue;
		if (!json_object_object_get_ex(stored, key, &other) ||
		    !is_equal(value, other, ours))
			return false;
	}
	return exact ? json_object_object_length(stored) == json_object_object_length(wanted)
		     : !has_unwanted(wanted, stored);
}

static bool is_equal(struct json_object *wanted, struct json_object *stored, bool exact)
{
	enum json_type type = json_object_get_type(wanted);

	if (json_object_get_type(stored) != type)
		return false;
	switch (type) {
	case json_type_object:
		return is_equal_object(wanted, stored, exact);
	case json_type_array:
		return is_equal_list(wanted, stored);
	case json_type_string:
		return is_equal_text(wanted, stored);
	default:
		return json_object_equal(wanted, stored);
	}
}

bool agent_json_agrees(struct json_object *wanted, struct json_object *stored)
{
	return is_equal(wanted, stored, false);
}

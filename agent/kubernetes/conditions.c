/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/kubernetes/conditions.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/kubernetes/names.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/text.h"
#include "base/timestamp.h"
#include "kube/json.h"
#include "kube/make.h"

#define EVICT	 AGENT_DRIVER "/Evict"
#define IN_PLACE AGENT_DRIVER "/InPlace"

/* --- one condition -------------------------------------------------------- */

/* Find a condition's index in a list; its length: there is none. */
static size_t find(struct json_object *list, const char *type)
{
	size_t n = json_object_array_length(list), i = 0;

	while (i < n &&
	       strcmp(stow_kube_text(json_object_array_get_idx(list, i), "type"), type) != 0)
		i++;
	return i;
}

static bool remove_condition(struct json_object *list, const char *type)
{
	size_t i = find(list, type);

	return i < json_object_array_length(list) && json_object_array_del_idx(list, i, 1) == 0;
}

static int make(const char *type, bool is, const char *reason, const char *message,
		const char *since, struct json_object **ret)
{
	struct json_object *made = json_object_new_object();

	if (stow_kube_put_text(made, "type", type) &&
	    stow_kube_put_text(made, "status", is ? "True" : "False") &&
	    stow_kube_put_text(made, "reason", reason) &&
	    stow_kube_put_text(made, "message", message) &&
	    stow_kube_put_text(made, "lastTransitionTime", since)) {
		*ret = made;
		return 0;
	}
	json_object_put(made);
	return -ENOMEM;
}

/* Set a condition. Return 1 when it has changed. `since`: the time of a change of its status. */
static int set(struct json_object *list, const char *type, bool is, const char *reason,
	       const char *text, uint64_t since)
{
	_cleanup_free_ char *message = stow_text_copy(text, AGENT_CONDITION_MESSAGE);
	size_t i = find(list, type), n = json_object_array_length(list);
	struct json_object *old = i < n ? json_object_array_get_idx(list, i) : NULL, *made;
	const char *kept = NULL;
	char at[STOW_TIMESTAMP_MAX];
	int r;

	if (!message)
		return -ENOMEM;
	if (old && strcmp(stow_kube_text(old, "status"), is ? "True" : "False") == 0) {
		if (strcmp(stow_kube_text(old, "reason"), reason) == 0 &&
		    strcmp(stow_kube_text(old, "message"), message) == 0)
			return 0;
		kept = stow_kube_text(old, "lastTransitionTime");
	}
	if (!old && n >= AGENT_CONDITIONS_MAX)
		return 0; /* others have set that many: no more are valid */
	r = make(type, is, reason, message, kept && kept[0] ? kept : stow_timestamp(since, at),
		 &made);
	if (r == 0 &&
	    (old ? json_object_array_put_idx(list, i, made) : json_object_array_add(list, made))) {
		json_object_put(made);
		r = -ENOMEM;
	}
	return r < 0 ? r : 1;
}

/* --- one share ------------------------------------------------------------ */

static const struct agent_conditions_share *share_of(const struct agent_conditions *wanted,
						     const char *id)
{
	for (size_t i = 0; i < wanted->n; i++)
		if (strcmp(wanted->shares[i].id, id) == 0)
			return &wanted->shares[i];
	return NULL;
}

static int add_result(int *changed, int r)
{
	*changed |= r > 0;
	return r < 0 ? r : 0;
}

/* Return whether a list of an allocated device names a condition. */
static bool names(struct json_object *result, const char *key, const char *type)
{
	struct json_object *list;
	bool found = false;
	size_t n;

	list = stow_kube_list_at(result, key, &n);
	for (size_t i = 0; i < n; i++) {
		struct json_object *name = json_object_array_get_idx(list, i);

		found |= json_object_is_type(name, json_type_string) &&
			 strcmp(json_object_get_string(name), type) == 0;
	}
	return found;
}

/* Evict comes first: without it a drain waits in vain, if there is room for one condition only. */
static int set_all(struct json_object *list, const struct agent_conditions *wanted,
		   const struct agent_conditions_share *share, struct json_object *result,
		   uint64_t now)
{
	char text[128];
	int changed = 0, r = 0;

	snprintf(text, sizeof(text), "the memory of NUMA node %.16s is being drained",
		 stow_kube_text(result, "device") + strlen(AGENT_DEVICE_PREFIX));
	if (share && share->evict)
		r = add_result(&changed, set(list, EVICT, true, "MemoryDrain", text, now));
	else
		changed |= remove_condition(list, EVICT);
	if (r == 0 && wanted->refusal &&
	    names(result, "bindingFailureConditions", AGENT_CONDITION_REFUSED))
		r = add_result(&changed, set(list, AGENT_CONDITION_REFUSED, true, "Refused",
					     wanted->refusal, wanted->refused));
	else
		changed |= remove_condition(list, AGENT_CONDITION_REFUSED);
	if (r == 0 && wanted->refusal)
		r = add_result(&changed, set(list, AGENT_CONDITION_PREPARED, false, "Refused",
					     wanted->refusal, wanted->refused));
	else if (r == 0 && share)
		r = add_result(&changed,
			       set(list, AGENT_CONDITION_PREPARED, true, "Prepared", "", now));
	if (r == 0 && share && share->drift)
		r = add_result(&changed, set(list, IN_PLACE, false, "Drift", share->drift, now));
	else if (r == 0 && share && share->above)
		r = add_result(&changed,
			       set(list, IN_PLACE, true, "LimitAboveClaim", share->above, now));
	else if (r == 0 && share)
		r = add_result(&changed, set(list, IN_PLACE, true, "InPlace", "", now));
	return r < 0 ? r : changed;
}

/* --- the claim ------------------------------------------------------------ */

static bool same(struct json_object *a, struct json_object *b, const char *key)
{
	return strcmp(stow_kube_text(a, key), stow_kube_text(b, key)) == 0;
}

/* Find the conditions of a result's entry in `devices`. With `make`, make what is missing. */
static struct json_object *conditions_of(struct json_object *devices, struct json_object *result,
					 bool make)
{
	static const char *const keys[] = { "driver", "pool", "device", "shareID" };
	struct json_object *entry = NULL, *list;
	size_t n = json_object_array_length(devices);

	for (size_t i = 0; i < n && !entry; i++) {
		struct json_object *at = json_object_array_get_idx(devices, i);
		bool found = true;

		for (size_t k = 0; k < STOW_ARRAY_SIZE(keys); k++)
			found &= same(at, result, keys[k]);
		entry = found && json_object_is_type(at, json_type_object) ? at : NULL;
	}
	if (!entry && !make)
		return NULL;
	if (!entry) {
		entry = stow_kube_append_object(devices);
		for (size_t k = 0; k < STOW_ARRAY_SIZE(keys); k++)
			if (!stow_kube_put_text(entry, keys[k], stow_kube_text(result, keys[k])))
				return NULL;
	}
	list = stow_kube_at(entry, "conditions");
	if (json_object_is_type(list, json_type_array))
		return list;
	return make ? stow_kube_put_list(entry, "conditions") : NULL;
}

static bool is_ours(struct json_object *result, const char *pool)
{
	return strcmp(stow_kube_text(result, "driver"), AGENT_DRIVER) == 0 &&
	       strcmp(stow_kube_text(result, "pool"), pool) == 0 &&
	       strncmp(stow_kube_text(result, "device"), AGENT_DEVICE_PREFIX,
		       strlen(AGENT_DEVICE_PREFIX)) == 0 &&
	       stow_kube_text(result, "shareID")[0];
}

/* Return whether a pod waits until this device is prepared, and whether that was refused. */
static enum agent_conditions_state state_of(struct json_object *devices, struct json_object *result)
{
	struct json_object *list = NULL, *condition = NULL;
	const char *status;
	size_t i;

	if (!names(result, "bindingConditions", AGENT_CONDITION_PREPARED))
		return AGENT_CLAIM_HERE;
	if (json_object_is_type(devices, json_type_array))
		list = conditions_of(devices, result, false);
	i = list ? find(list, AGENT_CONDITION_PREPARED) : 0;
	if (list && i < json_object_array_length(list))
		condition = json_object_array_get_idx(list, i);
	status = stow_kube_text(condition, "status");
	if (strcmp(status, "True") == 0)
		return AGENT_CLAIM_HERE;
	return strcmp(status, "False") == 0 ? AGENT_CLAIM_REFUSED : AGENT_CLAIM_WAITS;
}

enum agent_conditions_state agent_conditions_read(struct json_object *claim, const char *pool)
{
	enum agent_conditions_state state = AGENT_CLAIM_ELSEWHERE;
	struct json_object *results, *devices = stow_kube_at(claim, "status.devices");
	size_t n, reserved;

	results = stow_kube_list_at(claim, "status.allocation.devices.results", &n);
	for (size_t i = 0; i < n; i++) {
		struct json_object *result = json_object_array_get_idx(results, i);

		if (is_ours(result, pool)) {
			enum agent_conditions_state one = state_of(devices, result);

			state = one > state ? one : state;
		}
	}
	/* Without a pod that is reserved for it, or when it is being deleted, nothing waits. */
	(void)stow_kube_list_at(claim, "status.reservedFor", &reserved);
	if (state > AGENT_CLAIM_HERE &&
	    (reserved == 0 || stow_kube_text(claim, "metadata.deletionTimestamp")[0]))
		state = AGENT_CLAIM_HERE;
	return state;
}

bool agent_conditions_has(struct json_object *claim, const char *pool, const char *share)
{
	struct json_object *results;
	bool found = false;
	size_t n;

	results = stow_kube_list_at(claim, "status.allocation.devices.results", &n);
	for (size_t i = 0; i < n; i++) {
		struct json_object *result = json_object_array_get_idx(results, i);

		found |= is_ours(result, pool) &&
			 strcmp(stow_kube_text(result, "shareID"), share) == 0;
	}
	return found;
}

int agent_conditions_merge(struct json_object *claim, const struct agent_conditions *wanted,
			   uint64_t now, struct stow_err *err)
{
	struct json_object *status = stow_kube_at(claim, "status"), *results, *devices;
	int changed = 0, r;
	size_t n;

	if (strcmp(stow_kube_text(claim, "metadata.uid"), wanted->uid) != 0)
		return stow_err_set(err, ESTALE, "it is another claim");
	results = stow_kube_list_at(claim, "status.allocation.devices.results", &n);
	if (!results)
		return stow_err_set(err, EINVAL, "it is not allocated");
	devices = stow_kube_at(status, "devices");
	if (!json_object_is_type(devices, json_type_array)) {
		devices = stow_kube_put_list(status, "devices");
		if (!devices)
			return stow_kube_no_memory(err);
	}
	for (size_t i = 0; i < n; i++) {
		struct json_object *result = json_object_array_get_idx(results, i), *list;
		const struct agent_conditions_share *share =
			share_of(wanted, stow_kube_text(result, "shareID"));
		bool make = share || wanted->refusal;

		if (!is_ours(result, wanted->pool))
			continue;
		list = conditions_of(devices, result, make);
		if (!list && !make)
			continue;
		r = list ? set_all(list, wanted, share, result, now) : -ENOMEM;
		if (r < 0)
			return stow_err_set(err, -r, "out of memory");
		changed |= r;
	}
	return changed;
}

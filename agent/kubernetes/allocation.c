/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/kubernetes/allocation.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent/kubernetes/field.h"
#include "agent/kubernetes/parameters.h"
#include "base/parse.h"
#include "place/request.h"

#define MIB	 (UINT64_C(1) << 20)
#define POOL_KEY "hugepages"

/* --- the claim and its pod -------------------------------------------------------- */

int agent_allocation_check_name(const char *name, const char *what, struct stow_err *err)
{
	size_t len = name ? strlen(name) : 0;
	bool valid = len > 0 && len <= STOW_NAME_MAX;

	for (size_t i = 0; i < len && valid; i++) {
		bool plain = strchr("abcdefghijklmnopqrstuvwxyz0123456789", name[i]) != NULL;

		/* No two dots in a row: a name becomes part of a path. */
		valid = plain || (i > 0 && i + 1 < len && strchr("-.", name[i]) &&
				  !(name[i] == '.' && name[i - 1] == '.'));
	}
	return valid ? 0
		     : stow_err_set(err, EINVAL, "%s: \"%.64s\" is not a name in Kubernetes", what,
				    name ? name : "");
}

static int same_text(struct json_object *object, const char *key, const char *wanted, int errnum,
		     struct stow_err *err)
{
	const char *text;
	int r = agent_text(object, key, &text, err);

	if (r < 0)
		return r;
	if (strcmp(text, wanted) == 0)
		return 0;
	return stow_err_set(err, errnum, "%s: \"%.64s\" instead of \"%.64s\"", key, text, wanted);
}

static int check_identity(struct json_object *object, const struct agent_allocation_of *of,
			  struct stow_err *err)
{
	struct json_object *metadata;
	int r = agent_field(object, "metadata", json_type_object, &metadata, err);

	if (r == 0)
		return stow_err_set(err, EINVAL, "metadata: missing");
	if (r > 0)
		r = same_text(metadata, "uid", of->uid, ESTALE, err);
	if (r == 0)
		r = same_text(metadata, "namespace", of->ns, EINVAL, err);
	if (r == 0)
		r = same_text(metadata, "name", of->name, EINVAL, err);
	return r < 0 ? stow_err_wrap(err, r, "metadata") : 0;
}

/* Find status.allocation.devices of a claim that is reserved for a pod. */
static int find_devices(struct json_object *object, struct json_object **ret, struct stow_err *err)
{
	struct json_object *status, *reserved, *allocation;
	int r = agent_field(object, "status", json_type_object, &status, err);

	if (r == 0)
		return stow_err_set(err, EAGAIN, "status: missing: the claim is not allocated");
	if (r > 0)
		r = agent_field(status, "reservedFor", json_type_array, &reserved, err);
	if (r == 0 || (r > 0 && json_object_array_length(reserved) == 0))
		return stow_err_set(err, EAGAIN,
				    "status.reservedFor: empty: the claim is reserved for no pod");
	if (r > 0)
		r = agent_field(status, "allocation", json_type_object, &allocation, err);
	if (r == 0)
		return stow_err_set(err, EAGAIN,
				    "status.allocation: missing: the claim is not allocated");
	if (r > 0)
		r = agent_field(allocation, "devices", json_type_object, ret, err);
	if (r == 0)
		return stow_err_set(err, EINVAL, "status.allocation.devices: missing");
	return r < 0 ? stow_err_wrap(err, r, "status") : 0;
}

/* --- amounts -------------------------------------------------------------- */

static int add_pages(struct stow_claim_share *share, const char *key, uint64_t bytes,
		     struct stow_err *err)
{
	const char *suffix = key + strlen(POOL_KEY);
	char canonical[32];
	uint64_t size;
	size_t i = 0;

	/* The parser also accepts "2MB", which is no name in Kubernetes. */
	if (stow_parse_pagesize(suffix, &size, NULL) < 0 ||
	    strcmp(stow_format_size(size, canonical, sizeof(canonical)), suffix) != 0)
		return stow_err_set(err, EINVAL, "not a page size such as in hugepages2Mi");
	if (bytes % size)
		return stow_err_set(err, EINVAL, "%" PRIu64 " bytes are not whole pages of %s",
				    bytes, suffix);
	if (bytes == 0)
		return 0;
	if (share->n_pages == STOW_POOLS_MAX)
		return stow_err_set(err, EINVAL, "more than %d page sizes", STOW_POOLS_MAX);
	while (i < share->n_pages && share->pages[i].size < size)
		i++;
	memmove(&share->pages[i + 1], &share->pages[i],
		(share->n_pages - i) * sizeof(*share->pages));
	share->pages[i] = (struct stow_page_request){ .size = size, .count = bytes / size };
	share->n_pages++;
	return 0;
}

static int add_amount(struct stow_claim_share *share, const char *key, struct json_object *value,
		      struct stow_err *err)
{
	const char *text;
	uint64_t amount;
	int r;

	if (!json_object_is_type(value, json_type_string))
		return stow_err_set(err, EINVAL, "not a string");
	text = json_object_get_string(value);
	if (strlen(text) != (size_t)json_object_get_string_len(value))
		return stow_err_set(err, EINVAL, "has a zero byte");
	r = stow_parse_quantity(text, &amount, err);
	if (r < 0)
		return r;
	if (strcmp(key, "cpus") == 0) {
		if (amount > STOW_CPUS_MAX)
			return stow_err_set(err, EINVAL, "\"%.32s\" is more than %d CPUs", text,
					    STOW_CPUS_MAX);
		share->cpus = (uint32_t)amount;
		return 0;
	}
	if (strcmp(key, "memory") == 0) {
		if (amount % MIB)
			return stow_err_set(err, EINVAL, "\"%.32s\" is not a multiple of 1Mi",
					    text);
		share->memory = amount;
		return 0;
	}
	if (strncmp(key, POOL_KEY, strlen(POOL_KEY)) == 0)
		return add_pages(share, key, amount, err);
	return stow_err_set(err, EINVAL,
			    "not a capacity of a NUMA node, such as cpus, memory, hugepages2Mi");
}

static int read_amounts(struct json_object *result, struct stow_claim_share *share,
			struct stow_err *err)
{
	struct json_object *capacity;
	int r = agent_field(result, "consumedCapacity", json_type_object, &capacity, err);

	if (r <= 0)
		return r;
	json_object_object_foreach(capacity, key, value) {
		r = add_amount(share, key, value, err);
		if (r < 0)
			return stow_err_wrap(err, r, "consumedCapacity: %.64s", key);
	}
	return 0;
}

/* --- shares --------------------------------------------------------------- */

static int read_device(struct json_object *result, struct stow_claim_share *share,
		       struct stow_err *err)
{
	static const char prefix[] = AGENT_DEVICE_PREFIX;
	const char *device = "", *digits;
	uint64_t node;
	int r = agent_text(result, "device", &device, err);

	if (r < 0)
		return r;
	digits = device + strlen(prefix);
	if (strncmp(device, prefix, strlen(prefix)) != 0 ||
	    stow_parse_u64(digits, STOW_IDSET_MAX - 1, &node, NULL) < 0 ||
	    (digits[0] == '0' && digits[1]))
		return stow_err_set(err, EINVAL,
				    "device: \"%.64s\" is not a NUMA node such as node0", device);
	share->node = (int)node;
	return 0;
}

static int read_share(struct json_object *result, const char *pool, struct stow_claim_share *share,
		      struct stow_err *err)
{
	struct json_object *value;
	int r;

	*share = (struct stow_claim_share){ .cpu_mode = STOW_CPU_SHARED };
	r = same_text(result, "pool", pool, EINVAL, err);
	if (r == 0)
		r = agent_field(result, "adminAccess", json_type_boolean, &value, err);
	if (r > 0 && json_object_get_boolean(value))
		return stow_err_set(err, EPERM,
				    "adminAccess: true: is not supported for NUMA nodes");
	if (r >= 0)
		r = agent_text(result, "request", &share->part, err);
	if (r == 0)
		r = read_device(result, share, err);
	if (r == 0)
		r = agent_field(result, "shareID", json_type_string, &value, err);
	if (r == 0)
		return stow_err_set(err, EINVAL,
				    "shareID: missing: the cluster's feature gate "
				    "DRAConsumableCapacity is off");
	if (r < 0)
		return r;
	share->id = json_object_get_string(value);
	r = stow_claim_check_uid(share->id, "shareID", err);
	return r == 0 ? read_amounts(result, share, err) : r;
}

static int read_shares(struct json_object *devices, const char *pool, struct agent_allocation *ret,
		       struct stow_err *err)
{
	struct json_object *results;
	int r = agent_field(devices, "results", json_type_array, &results, err);
	size_t n;

	if (r <= 0)
		return r < 0 ? r : stow_err_set(err, EINVAL, "results: missing");
	n = json_object_array_length(results);
	if (n > STOW_CLAIM_SHARES_MAX)
		return stow_err_set(err, EINVAL, "results: %zu devices; at most %d are possible", n,
				    STOW_CLAIM_SHARES_MAX);
	for (size_t i = 0; i < n; i++) {
		struct json_object *result = json_object_array_get_idx(results, i);
		const char *driver;

		if (!json_object_is_type(result, json_type_object))
			return stow_err_set(err, EINVAL, "results[%zu]: not an object", i);
		r = agent_text(result, "driver", &driver, err);
		if (r == 0 && strcmp(driver, AGENT_DRIVER) == 0)
			r = read_share(result, pool, &ret->shares[ret->claim.n++], err);
		if (r < 0)
			return stow_err_wrap(err, r, "results[%zu]", i);
	}
	if (ret->claim.n == 0)
		return stow_err_set(err, EINVAL, "results: no device of " AGENT_DRIVER);
	return 0;
}

int agent_allocation_read(struct json_object *object, const struct agent_allocation_of *of,
			  struct agent_allocation *ret, struct stow_err *err)
{
	struct json_object *devices;
	int r;

	*ret = (struct agent_allocation){
		.claim = { .uid = of->uid, .ns = of->ns, .name = of->name }
	};
	if (!json_object_is_type(object, json_type_object))
		r = stow_err_set(err, EINVAL, "not an object");
	else
		r = check_identity(object, of, err);
	if (r == 0)
		r = find_devices(object, &devices, err);
	if (r >= 0) {
		r = read_shares(devices, of->pool, ret, err);
		if (r == 0)
			r = agent_parameters_apply(devices, ret->shares, ret->claim.n, err);
		if (r < 0)
			r = stow_err_wrap(err, r, "status.allocation.devices");
	}
	ret->claim.shares = ret->shares;
	return r < 0 ? stow_err_wrap(err, r, "claim %s/%s", of->ns, of->name) : 0;
}

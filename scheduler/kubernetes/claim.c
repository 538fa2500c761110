/* SPDX-License-Identifier: Apache-2.0 */
#include "scheduler/kubernetes/claim.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/math.h"
#include "base/parse.h"
#include "kube/json.h"
#include "kube/make.h"
#include "scheduler/kubernetes/names.h"
#include "scheduler/kubernetes/quantity.h"

#define DIVIDE_MAX 8   /* NUMA nodes over which a request is divided: Kubernetes' alternatives */
#define NODES_MAX  256 /* in a selector, which has 10 KiB in Kubernetes */

/* --- what a claim cannot express ------------------------------------------ */

static int refuse(const char *key, const char *value, const char *instead, struct stow_err *err)
{
	return stow_err_set(err, EINVAL,
			    STOW_ANNOTATION_PREFIX
			    "%s: \"%s\" is not possible for a Kubernetes claim: %s",
			    key, value, instead);
}

static int check(const struct stow_request *request, struct stow_err *err)
{
	if (request->cpu_mode == STOW_CPU_ISOLATED)
		return refuse("cpu-mode", "isolated", "shared and exclusive are", err);
	if (request->policy == STOW_POLICY_RESTRICTED)
		return refuse("policy", "restricted",
			      "single-numa-node, best-effort and spread are", err);
	if (request->memory_policy != STOW_MEMORY_BIND)
		return refuse("memory-policy", stow_memory_policy_name(request->memory_policy),
			      "bind is", err);
	if (!request->nodes_auto && stow_idset_count(&request->nodes) > NODES_MAX)
		return refuse("nodes", "...", "at most 256 NUMA nodes", err);
	if (request->near[0])
		return refuse("near", request->near,
			      "claim that device too, with a constraint matchAttribute: "
			      "" SCHEDULER_NUMA_NODE,
			      err);
	if (request->reservation[0])
		return refuse("reservation", request->reservation, "kube-scheduler places this pod",
			      err);
	if (request->scope == STOW_SCOPE_POD && request->policy != STOW_POLICY_SINGLE_NUMA_NODE)
		return refuse("scope", "pod", "only with policy single-numa-node", err);
	return 0;
}

/* --- devices -------------------------------------------------------------- */

/* The n-th part of a request: `n` devices of it are the whole. */
static bool add_capacity(struct json_object *to, const struct stow_request *request, uint32_t n)
{
	struct json_object *requests =
		stow_kube_object_at(stow_kube_object_at(to, "capacity"), "requests");
	char text[SCHEDULER_QUANTITY_LEN], key[48], size[32];
	bool ok = requests != NULL;

	if (ok && request->cpus)
		ok = stow_kube_put_text(requests, "cpus",
					scheduler_quantity_milli(UINT64_C(1000) * request->cpus / n,
								 text));
	if (ok && request->memory)
		ok = stow_kube_put_text(
			requests, "memory",
			scheduler_quantity_bytes(request->memory / n + (request->memory % n > 0),
						 text));
	for (size_t i = 0; ok && i < request->n_pages; i++) {
		const struct stow_page_request *pages = &request->pages[i];

		snprintf(key, sizeof(key), "hugepages%s",
			 stow_format_size(pages->size, size, sizeof(size)));
		ok = stow_kube_put_text(requests, key,
					scheduler_quantity_bytes(pages->count / n * pages->size,
								 text));
	}
	return ok;
}

static bool has_amounts(const struct stow_request *request)
{
	return request->cpus || request->memory || request->n_pages;
}

/* Return a selector in CEL for the NUMA nodes that the request allows; "": any. */
static const char *selector(const struct stow_request *request, char *buf, size_t size)
{
	bool first = true;

	buf[0] = '\0';
	if (request->nodes_auto) {
		/* A NUMA node without CPUs is never chosen by itself; with an amount of CPUs it
		 * could not be. */
		if (!request->cpus)
			snprintf(buf, size, "device.attributes[\"%s\"].kind != \"memory\"",
				 SCHEDULER_DRIVER);
		return buf;
	}
	stow_append(buf, size, "device.attributes[\"resource.kubernetes.io\"].numaNode in [");
	STOW_IDSET_FOR(id, &request->nodes) {
		stow_append(buf, size, "%s%d", first ? "" : ",", id);
		first = false;
	}
	stow_append(buf, size, "]");
	return buf;
}

/* Fill in what an exact request and an alternative have in common. */
static bool fill_device(struct json_object *to, const struct stow_request *request,
			const char *where, uint32_t n)
{
	struct json_object *entry;
	bool ok =
		stow_kube_put_text(to, "deviceClassName",
				   stow_cpu_mode_owns(request->cpu_mode) ? SCHEDULER_CLASS_EXCLUSIVE
									 : SCHEDULER_CLASS_SHARED);

	if (ok && where[0]) {
		entry = stow_kube_append_object(stow_kube_put_list(to, "selectors"));
		ok = stow_kube_put_text(stow_kube_object_at(entry, "cel"), "expression", where);
	}
	ok = ok && stow_kube_put_text(to, "allocationMode", "ExactCount") &&
	     stow_kube_put(to, "count", json_object_new_int64(n));
	return ok && (!has_amounts(request) || add_capacity(to, request, n));
}

/* Return whether the request can be divided over n NUMA nodes evenly. */
static bool divides(const struct stow_request *request, uint32_t n)
{
	if (n == 1)
		return true;
	for (size_t i = 0; i < request->n_pages; i++)
		if (request->pages[i].count % n)
			return false;
	return has_amounts(request) && request->cpus % n == 0;
}

static bool add_alternative(struct json_object *list, const struct stow_request *request,
			    const char *where, uint32_t n)
{
	struct json_object *one = stow_kube_append_object(list);
	char name[24];

	snprintf(name, sizeof(name), "on%" PRIu32, n);
	return stow_kube_put_text(one, "name", name) && fill_device(one, request, where, n);
}

static const char *part_name(size_t part, char buf[static 24])
{
	snprintf(buf, 24, SCHEDULER_PART "%zu", part);
	return buf;
}

/* Add the request of one part. *ret_most is the number of devices that it may have. */
static bool add_part(struct json_object *to, const struct stow_request *request, size_t part,
		     uint32_t *ret_most)
{
	bool spread = request->policy == STOW_POLICY_SPREAD, ok;
	struct json_object *one = stow_kube_append_object(to), *inner;
	char name[24], where[2048];

	*ret_most = 1;
	selector(request, where, sizeof(where));
	ok = stow_kube_put_text(one, "name", part_name(part, name));
	if (request->policy == STOW_POLICY_SINGLE_NUMA_NODE)
		return ok && fill_device(stow_kube_object_at(one, "exactly"), request, where, 1);
	inner = stow_kube_put_list(one, "firstAvailable");
	for (uint32_t i = 1; ok && i <= DIVIDE_MAX; i++) {
		uint32_t n = spread ? DIVIDE_MAX + 1 - i : i;

		if (!divides(request, n))
			continue;
		*ret_most = STOW_MAX(*ret_most, n);
		ok = add_alternative(inner, request, where, n);
	}
	return ok;
}

/* --- the whole ------------------------------------------------------------ */

struct making {
	struct scheduler_container *containers;
	size_t n;
	struct json_object *requests, *constraints, *config;
	struct scheduler_claim *claim;
};

static bool add_constraint(struct making *m, const char *kind, size_t first, size_t n)
{
	struct json_object *one = stow_kube_append_object(m->constraints);
	struct json_object *list = stow_kube_put_list(one, "requests");
	bool ok = list != NULL;
	char name[24];

	for (size_t i = first; ok && i < first + n; i++)
		ok = stow_kube_append_text(list, part_name(i, name));
	return ok && stow_kube_put_text(one, kind, SCHEDULER_NUMA_NODE);
}

static bool add_drain(struct making *m, enum stow_drain drain, size_t part)
{
	struct json_object *one = stow_kube_append_object(m->config), *opaque, *parameters;
	char name[24];
	bool ok = stow_kube_put(one, "requests", stow_kube_list_of(part_name(part, name)));

	opaque = stow_kube_object_at(one, "opaque");
	ok = ok && stow_kube_put_text(opaque, "driver", SCHEDULER_DRIVER);
	parameters = stow_kube_object_at(opaque, "parameters");
	return ok && stow_kube_put_text(parameters, "apiVersion", SCHEDULER_PARAMETERS) &&
	       stow_kube_put_text(parameters, "kind", "Parameters") &&
	       stow_kube_put_text(parameters, "drain", stow_drains[drain]);
}

/* Find the part of a request that an init container may use, too: *ret is its number, or that of
 * the next one. */
static bool find_part(const struct making *m, const struct scheduler_container *c, size_t *ret)
{
	char mine[STOW_DIGEST_LEN + 1], its[STOW_DIGEST_LEN + 1];

	stow_request_digest(&c->request, mine);
	for (size_t i = 0; c->init && i < m->n; i++) {
		const struct scheduler_container *other = &m->containers[i];

		if (!other->asks || other == c || other->part == SIZE_MAX ||
		    other->request.drain != c->request.drain)
			continue;
		stow_request_digest(&other->request, its);
		if (strcmp(mine, its) == 0) {
			*ret = other->part;
			return true;
		}
	}
	*ret = m->claim->parts;
	return false;
}

static int add_container(struct making *m, struct scheduler_container *c, struct stow_err *err)
{
	struct scheduler_claim *claim = m->claim;
	uint32_t most = 1;
	size_t part;
	bool ok;
	int r = check(&c->request, err);

	if (r < 0)
		return r;
	if (find_part(m, c, &part)) {
		c->part = part;
		return 0;
	}
	if (claim->parts == SCHEDULER_PARTS_MAX)
		return stow_err_set(
			err, EINVAL,
			"more than %d containers of the pod have annotations of numastow",
			SCHEDULER_PARTS_MAX);
	ok = add_part(m->requests, &c->request, part, &most);
	if (ok && most > 1)
		ok = add_constraint(m, "distinctAttribute", part, 1);
	if (ok && c->request.drain != STOW_DRAIN_MODE_REPIN)
		ok = add_drain(m, c->request.drain, part);
	if (!ok)
		return stow_kube_no_memory(err);
	c->part = part;
	claim->parts++;
	claim->devices += most;
	if (claim->devices > SCHEDULER_PARTS_MAX)
		return stow_err_set(
			err, EINVAL,
			"the pod's containers could have %zu NUMA nodes together; %d are "
			"possible for a Kubernetes claim",
			claim->devices, SCHEDULER_PARTS_MAX);
	return 0;
}

/* Put the lists together: {metadata: {labels}, spec: {devices}}. Empty lists are left out, as the
 * API server does. */
static bool assemble(struct making *m, struct json_object *spec)
{
	struct json_object *labels =
		stow_kube_object_at(stow_kube_object_at(spec, "metadata"), "labels");
	bool ok = stow_kube_put_text(labels, SCHEDULER_MANAGED, SCHEDULER_MANAGER);
	struct json_object *devices =
		stow_kube_object_at(stow_kube_object_at(spec, "spec"), "devices");

	ok = ok && stow_kube_put(devices, "requests", json_object_get(m->requests));
	if (ok && json_object_array_length(m->constraints))
		ok = stow_kube_put(devices, "constraints", json_object_get(m->constraints));
	if (ok && json_object_array_length(m->config))
		ok = stow_kube_put(devices, "config", json_object_get(m->config));
	return ok;
}

static int digest(struct scheduler_claim *claim, struct stow_err *err)
{
	const char *text = json_object_to_json_string_ext(
		claim->spec, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
	struct stow_digest digest;

	if (!text)
		return stow_kube_no_memory(err);
	stow_digest_begin(&digest, "numastow claim template 1");
	stow_digest_text(&digest, text);
	stow_digest_end(&digest, claim->digest);
	return 0;
}

static int add_all(struct making *m, struct stow_err *err)
{
	bool together = false;
	int r = 0;

	for (size_t i = 0; i < m->n; i++)
		m->containers[i].part = SIZE_MAX;
	/* Init containers come last: they may use a part of a container that starts after them. */
	for (int init = 0; init < 2; init++)
		for (size_t i = 0; r == 0 && i < m->n; i++) {
			struct scheduler_container *c = &m->containers[i];

			if (!c->asks || c->init != (init == 1))
				continue;
			r = add_container(m, c, err);
			together |= c->request.scope == STOW_SCOPE_POD;
		}
	if (r == 0 && together && m->claim->parts > 1 &&
	    !add_constraint(m, "matchAttribute", 0, m->claim->parts))
		r = stow_kube_no_memory(err);
	return r;
}

int scheduler_claim_make(struct scheduler_container *containers, size_t n,
			 struct scheduler_claim *ret, struct stow_err *err)
{
	struct scheduler_claim claim = { .spec = json_object_new_object() };
	struct making m = { .containers = containers,
			    .n = n,
			    .requests = json_object_new_array(),
			    .constraints = json_object_new_array(),
			    .config = json_object_new_array(),
			    .claim = &claim };
	int r = claim.spec && m.requests && m.constraints && m.config ? 0
								      : stow_kube_no_memory(err);

	if (r == 0)
		r = add_all(&m, err);
	if (r == 0 && !assemble(&m, claim.spec))
		r = stow_kube_no_memory(err);
	if (r == 0)
		r = digest(&claim, err);
	json_object_put(m.requests);
	json_object_put(m.constraints);
	json_object_put(m.config);
	if (r < 0)
		scheduler_claim_done(&claim);
	else
		*ret = claim;
	return r;
}

void scheduler_claim_done(struct scheduler_claim *claim)
{
	json_object_put(claim->spec);
	*claim = (struct scheduler_claim){ 0 };
}

/* --- comparing ------------------------------------------------------------ */

bool scheduler_claim_is_named(const char *name)
{
	size_t prefix = strlen(SCHEDULER_TEMPLATE);

	return strncmp(name, SCHEDULER_TEMPLATE, prefix) == 0 &&
	       strlen(name) == prefix + STOW_DIGEST_LEN &&
	       strspn(name + prefix, "0123456789abcdef") == STOW_DIGEST_LEN;
}

/* Return whether a value says nothing: the API server and its encoders may add or drop it. */
static bool is_empty(struct json_object *value)
{
	return !value ||
	       (json_object_is_type(value, json_type_object) &&
		json_object_object_length(value) == 0) ||
	       (json_object_is_type(value, json_type_array) &&
		json_object_array_length(value) == 0);
}

static bool same_objects(struct json_object *a, struct json_object *b)
{
	struct json_object *other;

	json_object_object_foreach(a, key, value) {
		if (!json_object_object_get_ex(b, key, &other))
			other = NULL;
		if (!is_empty(value) && !scheduler_claim_same(value, other))
			return false;
	}
	json_object_object_foreach(b, name, extra) {
		/* metadata.creationTimestamp: null */
		if (!is_empty(extra) && !json_object_object_get_ex(a, name, &other))
			return false;
	}
	return true;
}

bool scheduler_claim_same(struct json_object *wanted, struct json_object *stored)
{
	size_t n;

	if (json_object_get_type(wanted) != json_object_get_type(stored))
		return false;
	if (json_object_is_type(wanted, json_type_object))
		return same_objects(wanted, stored);
	if (!json_object_is_type(wanted, json_type_array))
		return json_object_equal(wanted, stored);
	n = json_object_array_length(wanted);
	if (n != json_object_array_length(stored))
		return false;
	for (size_t i = 0; i < n; i++)
		if (!scheduler_claim_same(json_object_array_get_idx(wanted, i),
					  json_object_array_get_idx(stored, i)))
			return false;
	return true;
}

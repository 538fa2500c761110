/* SPDX-License-Identifier: Apache-2.0 */
#include "scheduler/kubernetes/container.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/parse.h"
#include "base/text.h"
#include "kube/json.h"
#include "kube/make.h"
#include "scheduler/kubernetes/names.h"
#include "scheduler/kubernetes/quantity.h"

#define HUGEPAGES "hugepages-"
#define BYTES	  1000 /* thousandths of a byte: the unit of scheduler_quantity() */

/* --- amounts of a container's own ----------------------------------------- */

/* Read requests or limits of a resource. Return 1 when it is there, 0 when not. */
static int read_amount(struct json_object *amounts, const char *key, const char *name,
		       uint64_t *ret_milli, struct stow_err *err)
{
	struct json_object *value = NULL;
	char quoted[84], buf[32];
	const char *text;
	int r;

	if (!json_object_is_type(amounts, json_type_object) ||
	    !json_object_object_get_ex(amounts, key, &value) || !value)
		return 0;
	if (json_object_is_type(value, json_type_int)) {
		snprintf(buf, sizeof(buf), "%" PRId64, json_object_get_int64(value));
		text = buf;
	} else {
		text = json_object_is_type(value, json_type_string) ? json_object_get_string(value)
								    : "";
	}
	r = scheduler_quantity(text, ret_milli);
	return r < 0 ? stow_err_set(err, -r, "container %.63s: %.63s: \"%s\" is not a quantity",
				    name, key, stow_text_quote(text, quoted, sizeof(quoted)))
		     : 1;
}

static int read_pages(struct json_object *limits, const char *name, struct stow_limits *ret,
		      struct stow_err *err)
{
	if (!json_object_is_type(limits, json_type_object))
		return 0;
	json_object_object_foreach(limits, key, value) {
		struct stow_page_request *pages = &ret->pages[ret->n_pages];
		uint64_t milli;
		int r;

		(void)value;
		if (strncmp(key, HUGEPAGES, strlen(HUGEPAGES)) != 0 ||
		    stow_parse_pagesize(key + strlen(HUGEPAGES), &pages->size, NULL) < 0)
			continue;
		r = read_amount(limits, key, name, &milli, err);
		if (r < 0)
			return r;
		if (ret->n_pages == STOW_POOLS_MAX - 1)
			return stow_err_set(err, EINVAL,
					    "container %.63s: hugepages of more than %d sizes",
					    name, STOW_POOLS_MAX - 1);
		pages->count = milli / BYTES / pages->size;
		ret->n_pages++;
	}
	return 0;
}

static int read_limits(const struct scheduler_container *c, struct stow_limits *ret,
		       struct stow_err *err)
{
	struct json_object *limits = stow_kube_at(c->object, "resources.limits");
	uint64_t milli = 0;
	int r;

	*ret = (struct stow_limits){ 0 };
	r = read_amount(limits, "cpu", c->name, &milli, err);
	if (r < 0)
		return r;
	if (milli > UINT64_C(1000) * STOW_CPUS_MAX)
		return stow_err_set(err, ERANGE, "container %.63s: a limit of more than %d CPUs",
				    c->name, STOW_CPUS_MAX);
	ret->cpus = (uint32_t)(milli / 1000 + (milli % 1000 > 0));
	milli = 0;
	r = read_amount(limits, "memory", c->name, &milli, err);
	if (r < 0)
		return r;
	ret->memory = milli / BYTES;
	return read_pages(limits, c->name, ret, err);
}

int scheduler_container_read(struct scheduler_container *c,
			     const struct stow_annotation *annotations, size_t n,
			     struct stow_err *err)
{
	struct stow_limits limits;
	int r = stow_request_parse(annotations, n, c->name, NULL, STOW_POLICY_SINGLE_NUMA_NODE,
				   &c->request, err);

	c->asks = r > 0;
	if (r <= 0)
		return r;
	r = read_limits(c, &limits, err);
	return r < 0 ? r : stow_request_complete(&c->request, &limits, true, err);
}

/* --- filling in ----------------------------------------------------------- */

/* Amounts that are being filled in. */
struct filling {
	const struct scheduler_container *container;
	struct json_object *resources; /* the new ones */
	bool changed;
};

static int contradict(const struct filling *f, const char *key, const char *annotated,
		      const char *what, uint64_t given, bool bytes, struct stow_err *err)
{
	char buf[SCHEDULER_QUANTITY_LEN];

	return stow_err_set(err, EINVAL,
			    STOW_ANNOTATION_PREFIX
			    "%s: \"%s\" and the %s of %s in container %.63s contradict each other; "
			    "give the same amount, or omit the %s",
			    key, annotated, what,
			    bytes ? scheduler_quantity_bytes(given / BYTES, buf)
				  : scheduler_quantity_milli(given, buf),
			    f->container->name, what);
}

/* Set an amount of "requests" or "limits" that is missing. A given one must be the same, if
 * `annotated`: the amount came from an annotation. */
static int fill(struct filling *f, const char *list, const char *resource, const char *key,
		uint64_t milli, bool bytes, bool annotated, struct stow_err *err)
{
	struct json_object *amounts = stow_kube_object_at(f->resources, list);
	char text[SCHEDULER_QUANTITY_LEN], what[64];
	uint64_t given;
	int r;

	if (!amounts)
		return stow_err_set(err, EINVAL, "container %.63s: resources.%s is not an object",
				    f->container->name, list);
	if (bytes)
		scheduler_quantity_bytes(milli / BYTES, text);
	else
		scheduler_quantity_milli(milli, text);
	r = read_amount(amounts, resource, f->container->name, &given, err);
	if (r < 0)
		return r;
	if (r > 0) {
		snprintf(what, sizeof(what), "%s %s", resource,
			 strcmp(list, "limits") == 0 ? "limit" : "request");
		return annotated && given != milli
			       ? contradict(f, key, text, what, given, bytes, err)
			       : 0;
	}
	f->changed = true;
	return stow_kube_put_text(amounts, resource, text) ? 0 : stow_kube_no_memory(err);
}

/* Set a request. A resource that has only a limit is requested to that limit: the API server has
 * done the same for resources that it knows. */
static int fill_request(struct filling *f, const char *resource, const char *key, uint64_t milli,
			bool bytes, bool annotated, struct stow_err *err)
{
	struct json_object *limits = stow_kube_at(f->resources, "limits");
	struct json_object *requests = stow_kube_at(f->resources, "requests");
	uint64_t given;
	bool requested = json_object_is_type(requests, json_type_object) &&
			 json_object_object_get_ex(requests, resource, NULL);
	int r = read_amount(limits, resource, f->container->name, &given, err);

	if (r < 0)
		return r;
	if (r > 0 && !requested && !annotated)
		milli = given;
	return fill(f, "requests", resource, key, milli, bytes, annotated, err);
}

static int fill_pages(struct filling *f, struct stow_err *err)
{
	const struct stow_request *request = &f->container->request;

	for (size_t i = 0; i < request->n_pages; i++) {
		uint64_t size = request->pages[i].size;
		uint64_t milli = request->pages[i].count * size;
		char key[48], text[32];
		int r;

		if (__builtin_mul_overflow(milli, BYTES, &milli))
			return stow_err_set(err, ERANGE, "container %.63s: too many hugepages",
					    f->container->name);
		snprintf(key, sizeof(key), HUGEPAGES "%s",
			 stow_format_size(size, text, sizeof(text)));
		r = fill(f, "limits", key, key, milli, true, true, err);
		if (r == 0)
			r = fill(f, "requests", key, key, milli, true, true, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Name the claim's part in resources.claims. */
static int fill_claim(struct filling *f, struct stow_err *err)
{
	struct json_object *claims = stow_kube_at(f->resources, "claims"), *own;
	char part[24];

	snprintf(part, sizeof(part), SCHEDULER_PART "%zu", f->container->part);
	if (!claims) {
		claims = stow_kube_put_list(f->resources, "claims");
		if (!claims)
			return stow_kube_no_memory(err);
	}
	if (!json_object_is_type(claims, json_type_array))
		return stow_err_set(err, EINVAL, "container %.63s: resources.claims is not a list",
				    f->container->name);
	for (size_t i = 0; i < json_object_array_length(claims); i++) {
		own = json_object_array_get_idx(claims, i);
		if (strcmp(stow_kube_text(own, "name"), SCHEDULER_CLAIM) != 0)
			continue;
		if (strcmp(stow_kube_text(own, "request"), part) == 0)
			return 0;
		/* The annotations have changed since the last time. */
		f->changed = true;
		return stow_kube_put_text(own, "request", part) ? 0 : stow_kube_no_memory(err);
	}
	f->changed = true;
	own = stow_kube_append_object(claims);
	return stow_kube_put_text(own, "name", SCHEDULER_CLAIM) &&
			       stow_kube_put_text(own, "request", part)
		       ? 0
		       : stow_kube_no_memory(err);
}

static int fill_all(struct filling *f, struct stow_err *err)
{
	const struct stow_request *request = &f->container->request;
	bool exclusive = stow_cpu_mode_owns(request->cpu_mode);
	uint64_t cpus = UINT64_C(1000) * request->cpus, memory;
	int r = 0;

	if (__builtin_mul_overflow(request->memory, BYTES, &memory))
		return stow_err_set(err, ERANGE, "container %.63s: too much memory",
				    f->container->name);
	if (exclusive)
		r = fill(f, "limits", "cpu", "cpus", cpus, false, true, err);
	if (r == 0 && exclusive && memory)
		r = fill(f, "limits", "memory", "memory", memory, true, true, err);
	if (r == 0 && cpus)
		r = fill_request(f, "cpu", "cpus", cpus, false, exclusive || request->has_cpus,
				 err);
	if (r == 0 && memory)
		r = fill_request(f, "memory", "memory", memory, true,
				 exclusive || request->has_memory, err);
	if (r == 0)
		r = fill_pages(f, err);
	return r == 0 ? fill_claim(f, err) : r;
}

int scheduler_container_fill(const struct scheduler_container *c, struct json_object **ret,
			     struct stow_err *err)
{
	_cleanup_json_ struct json_object *copy = NULL;
	struct json_object *resources = stow_kube_at(c->object, "resources");
	struct filling f = { .container = c };
	int r;

	if (resources && !json_object_is_type(resources, json_type_object))
		return stow_err_set(err, EINVAL, "container %.63s: resources is not an object",
				    c->name);
	if (!resources)
		copy = json_object_new_object();
	else if (json_object_deep_copy(resources, &copy, NULL) < 0)
		copy = NULL;
	if (!copy)
		return stow_kube_no_memory(err);
	f.resources = copy;
	r = fill_all(&f, err);
	if (r == 0)
		*ret = f.changed ? STOW_TAKE_PTR(copy) : NULL;
	return r;
}

/* --- Guaranteed ----------------------------------------------------------- */

int scheduler_container_guaranteed(struct json_object *resources, const char *name, const char *of,
				   struct stow_err *err)
{
	static const char *const needed[] = { "cpu", "memory" };
	struct json_object *limits = stow_kube_at(resources, "limits");
	struct json_object *requests = stow_kube_at(resources, "requests");

	for (size_t i = 0; i < STOW_ARRAY_SIZE(needed); i++) {
		uint64_t limit = 0, request = 0;
		int has = read_amount(limits, needed[i], name, &limit, err), r;

		r = has < 0 ? has : read_amount(requests, needed[i], name, &request, err);
		if (r < 0)
			return r;
		/* A request that is missing is made from the limit. */
		if (!has || !limit || (r > 0 && request != limit))
			return stow_err_set(
				err, EINVAL,
				STOW_ANNOTATION_PREFIX
				"cpu-mode: exclusive CPUs, of container %.63s, need a pod of QoS "
				"class Guaranteed, but %s%.63s has %s; set limits of CPUs and "
				"memory for each container",
				of, name[0] ? "container " : "the pod's resources", name,
				!has || !limit ? (i ? "no memory limit" : "no CPU limit")
				: i	       ? "a memory request that is not its limit"
					       : "a CPU request that is not its limit");
	}
	return 0;
}

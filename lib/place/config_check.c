// SPDX-License-Identifier: Apache-2.0
/* Checking a request against the administrator's configuration. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/math.h"
#include "base/parse.h"
#include "base/text.h"
#include "place/config.h"

static const struct stow_config_namespace *find(const struct stow_config *config, const char *ns)
{
	const struct stow_config_namespace *rest = NULL;

	for (size_t i = 0; i < config->n_namespaces; i++) {
		if (ns && strcmp(config->namespaces[i].name, ns) == 0)
			return &config->namespaces[i];
		if (strcmp(config->namespaces[i].name, "*") == 0)
			rest = &config->namespaces[i];
	}
	return rest;
}

static uint64_t page_bytes(const struct stow_request *request)
{
	uint64_t sum = 0, bytes;

	for (size_t i = 0; i < request->n_pages; i++)
		if (__builtin_mul_overflow(request->pages[i].size, request->pages[i].count,
					   &bytes) ||
		    __builtin_add_overflow(sum, bytes, &sum))
			return UINT64_MAX;
	return sum;
}

struct amount {
	const char *key;    /* as in the configuration */
	const char *member; /* the container after the key, or NULL */
	uint64_t asked, used, request_cap, namespace_cap;
	bool bytes;
};

static const char *format(const struct amount *a, uint64_t v, char *buf, size_t size)
{
	if (a->bytes)
		return stow_format_size(v, buf, size);
	snprintf(buf, size, "%" PRIu64, v);
	return buf;
}

/* Format the annotation's key: "cpus" or "cpus.web". */
static const char *key_of(const struct amount *a, char buf[static 96])
{
	snprintf(buf, 96, "%s%s%.64s", a->key, a->member ? "." : "", a->member ? a->member : "");
	return buf;
}

/* Name the cap that is exceeded: containers without a namespace are counted separately under "*". */
static int over_namespace(const struct amount *a, const char *ns, struct stow_err *err)
{
	char asked[32], used[32], cap[32], key[96], name[STOW_NAME_MAX + 1];

	format(a, a->asked, asked, sizeof(asked));
	format(a, a->used, used, sizeof(used));
	format(a, a->namespace_cap, cap, sizeof(cap));
	if (!ns && !a->used)
		return stow_err_set(err, EPERM,
				    "%s%s: \"%s\" is above the cap of %s for containers without a "
				    "namespace (namespaces: %s of \"*\" in %s)",
				    STOW_ANNOTATION_PREFIX, key_of(a, key), asked, cap, a->key,
				    STOW_CONFIG_PATH);
	if (!ns)
		return stow_err_set(
			err, EPERM,
			"%s%s: \"%s\" and another %s are above the cap of %s for "
			"containers without a namespace (namespaces: %s of \"*\" in %s)",
			STOW_ANNOTATION_PREFIX, key_of(a, key), asked, used, cap, a->key,
			STOW_CONFIG_PATH);
	return stow_err_set(err, EPERM,
			    "%s%s: \"%s\" and the %s that namespace \"%s\" has already are above "
			    "its cap of %s (namespaces: %s in %s)",
			    STOW_ANNOTATION_PREFIX, key_of(a, key), asked, used,
			    stow_text_quote(ns, name, sizeof(name)), cap, a->key, STOW_CONFIG_PATH);
}

static int check(const struct amount *a, const char *ns, struct stow_err *err)
{
	char asked[32], cap[32], key[96];

	if (a->request_cap && a->asked > a->request_cap)
		return stow_err_set(err, EPERM,
				    "%s%s: \"%s\" is above the cap of %s (caps: %s in %s)",
				    STOW_ANNOTATION_PREFIX, key_of(a, key),
				    format(a, a->asked, asked, sizeof(asked)),
				    format(a, a->request_cap, cap, sizeof(cap)), a->key,
				    STOW_CONFIG_PATH);
	if (a->namespace_cap && a->asked &&
	    stow_saturating_add(a->asked, a->used) > a->namespace_cap)
		return over_namespace(a, ns, err);
	return 0;
}

/* `member`: the container of the request, when it is not the hook's own. */
static int check_caps(const struct stow_config *config, const char *ns, const char *member,
		      const struct stow_caps *has, const struct stow_request *request,
		      struct stow_err *err)
{
	static const struct stow_caps none = { 0 };
	const struct stow_config_namespace *entry = find(config, ns);
	const struct stow_caps *total = entry ? &entry->total : &none;
	const struct stow_caps *one = &config->request;
	const struct amount amounts[] = {
		{ "cpus", member, request->cpus, has->cpus, one->cpus, total->cpus, false },
		{ "memory", member, request->memory, has->memory, one->memory, total->memory,
		  true },
		{ "hugepages", member, page_bytes(request), has->hugepages, one->hugepages,
		  total->hugepages, true },
	};
	char name[STOW_NAME_MAX + 4];

	if (stow_cpu_mode_owns(request->cpu_mode) && config->n_namespaces &&
	    !(entry && entry->exclusive))
		return stow_err_set(err, EPERM,
				    "%scpu-mode: \"%s\" is not allowed for %s%s%s (namespaces: "
				    "exclusive-cpus in %s); \"shared\" is",
				    STOW_ANNOTATION_PREFIX, stow_cpu_mode_name(request->cpu_mode),
				    ns ? "namespace \"" : "containers without a namespace",
				    ns ? stow_text_quote(ns, name, sizeof(name)) : "",
				    ns ? "\"" : "", STOW_CONFIG_PATH);
	for (size_t i = 0; i < STOW_ARRAY_SIZE(amounts); i++) {
		int r = check(&amounts[i], ns, err);

		if (r < 0)
			return r;
	}
	return 0;
}

int stow_config_check(const struct stow_config *config, const char *ns,
		      const struct stow_caps *used, const struct stow_request *request,
		      struct stow_err *err)
{
	static const struct stow_caps none = { 0 };

	return check_caps(config, ns, NULL, used ? used : &none, request, err);
}

/* --- the pod's other containers ------------------------------------------- */

static int over_limit(const struct amount *a, struct stow_err *err)
{
	char asked[32], used[32], limit[32], key[96];

	return stow_err_set(err, EPERM,
			    "%s%s: \"%s\" and %s of the pod's other containers are above the limit "
			    "of %s; scope=pod counts all of them within it",
			    STOW_ANNOTATION_PREFIX, key_of(a, key),
			    format(a, a->asked, asked, sizeof(asked)),
			    format(a, a->used, used, sizeof(used)),
			    format(a, a->request_cap, limit, sizeof(limit)));
}

static uint64_t pages_of(const struct stow_request *request, uint64_t size)
{
	for (size_t i = 0; i < request->n_pages; i++)
		if (request->pages[i].size == size)
			return request->pages[i].count;
	return 0;
}

static int check_limits(const struct stow_limits *limits, const char *name,
			const struct stow_request *member, const struct stow_request *whole,
			struct stow_err *err)
{
	struct amount all[2 + STOW_POOLS_MAX] = {
		{ "cpus", name, member->cpus, whole->cpus, limits->cpus, 0, false },
		{ "memory", name, member->memory, whole->memory, limits->memory, 0, true },
	};
	char keys[STOW_POOLS_MAX][48], size[32];
	size_t n = 2;

	for (size_t i = 0; i < limits->n_pages && i < STOW_POOLS_MAX; i++) {
		const struct stow_page_request *limit = &limits->pages[i];
		struct amount *a = &all[n++];

		snprintf(keys[i], sizeof(keys[i]), "hugepages-%s",
			 stow_format_size(limit->size, size, sizeof(size)));
		*a = (struct amount){ .key = keys[i],
				      .member = name,
				      .asked = pages_of(member, limit->size) * limit->size,
				      .used = pages_of(whole, limit->size) * limit->size,
				      .request_cap = limit->count * limit->size,
				      .bytes = true };
		/* A limit of 0 pages is a limit, too. */
		if (!limit->count && a->asked)
			return over_limit(a, err);
	}
	for (size_t i = 0; i < n; i++)
		if (all[i].request_cap && all[i].asked &&
		    stow_saturating_add(all[i].asked, all[i].used) > all[i].request_cap)
			return over_limit(&all[i], err);
	return 0;
}

/* Add the member's request. -E2BIG: too many page sizes. */
static int add_member(const struct stow_request *member, struct stow_request *whole)
{
	struct stow_request sum = *whole;

	sum.cpus = stow_saturating_u32((uint64_t)sum.cpus + member->cpus);
	sum.memory = stow_saturating_add(sum.memory, member->memory);
	for (size_t i = 0; i < member->n_pages; i++) {
		const struct stow_page_request *page = &member->pages[i];
		size_t at = 0;

		while (at < sum.n_pages && sum.pages[at].size < page->size)
			at++;
		if (at == sum.n_pages || sum.pages[at].size != page->size) {
			if (sum.n_pages == STOW_POOLS_MAX)
				return -E2BIG;
			memmove(&sum.pages[at + 1], &sum.pages[at],
				(sum.n_pages - at) * sizeof(sum.pages[0]));
			sum.pages[at] = (struct stow_page_request){ .size = page->size };
			sum.n_pages++;
		}
		sum.pages[at].count = stow_saturating_add(sum.pages[at].count, page->count);
	}
	*whole = sum;
	return 0;
}

int stow_config_check_member(const struct stow_config *config, const char *ns,
			     const struct stow_caps *used, const struct stow_limits *limits,
			     const char *name, const struct stow_request *member,
			     struct stow_request *whole, struct stow_err *err)
{
	static const struct stow_caps none = { 0 };
	struct stow_caps has = used ? *used : none;
	int r;

	has.cpus = stow_saturating_u32((uint64_t)has.cpus + whole->cpus);
	has.memory = stow_saturating_add(has.memory, whole->memory);
	has.hugepages = stow_saturating_add(has.hugepages, page_bytes(whole));
	r = check_caps(config, ns, name, &has, member, err);
	if (r == 0)
		r = check_limits(limits, name, member, whole, err);
	if (r < 0)
		return r;
	if (add_member(member, whole) < 0)
		return stow_err_set(err, EPERM,
				    "the pod's containers ask for hugepages of more than %d sizes",
				    STOW_POOLS_MAX);
	return 0;
}

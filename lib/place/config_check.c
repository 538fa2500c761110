// SPDX-License-Identifier: Apache-2.0
/* Whether the administrator lets a request pass. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/parse.h"
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

/* Namespaces come from annotations, which are strangers' text. */
static const char *shown(const char *ns, char buf[static STOW_NAME_MAX + 1])
{
	snprintf(buf, STOW_NAME_MAX + 1, "%s", ns ? ns : "");
	for (char *p = buf; *p; p++)
		if (*p < 0x20 || *p > 0x7e)
			*p = '?';
	return buf;
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
	const char *key;
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

static int check(const struct amount *a, const char *ns, struct stow_err *err)
{
	char asked[32], used[32], cap[32], name[STOW_NAME_MAX + 1];
	uint64_t sum;

	if (a->request_cap && a->asked > a->request_cap)
		return stow_err_set(
			err, EPERM, "%s%s: \"%s\" is above the cap of %s (caps: %s in %s)",
			STOW_ANNOTATION_PREFIX, a->key, format(a, a->asked, asked, sizeof(asked)),
			format(a, a->request_cap, cap, sizeof(cap)), a->key, STOW_CONFIG_PATH);
	if (__builtin_add_overflow(a->asked, a->used, &sum))
		sum = UINT64_MAX;
	if (a->namespace_cap && a->asked && sum > a->namespace_cap)
		return stow_err_set(err, EPERM,
				    "%s%s: \"%s\" and the %s that namespace \"%s\" has already are "
				    "above its cap of %s (namespaces: %s in %s)",
				    STOW_ANNOTATION_PREFIX, a->key,
				    format(a, a->asked, asked, sizeof(asked)),
				    format(a, a->used, used, sizeof(used)), shown(ns, name),
				    format(a, a->namespace_cap, cap, sizeof(cap)), a->key,
				    STOW_CONFIG_PATH);
	return 0;
}

int stow_config_check(const struct stow_config *config, const char *ns,
		      const struct stow_caps *used, const struct stow_request *request,
		      struct stow_err *err)
{
	static const struct stow_caps none = { 0 };
	const struct stow_config_namespace *entry = find(config, ns);
	const struct stow_caps *total = entry ? &entry->total : &none;
	const struct stow_caps *has = used ? used : &none;
	const struct amount amounts[] = {
		{ "cpus", request->cpus, has->cpus, config->request.cpus, total->cpus, false },
		{ "memory", request->memory, has->memory, config->request.memory, total->memory,
		  true },
		{ "hugepages", page_bytes(request), has->hugepages, config->request.hugepages,
		  total->hugepages, true },
	};
	char name[STOW_NAME_MAX + 1];

	if (stow_cpu_mode_owns(request->cpu_mode) && config->n_namespaces &&
	    !(entry && entry->exclusive))
		return stow_err_set(err, EPERM,
				    "%scpu-mode: \"%s\" is not for namespace \"%s\" "
				    "(namespaces: exclusive-cpus in %s); \"shared\" is",
				    STOW_ANNOTATION_PREFIX, stow_cpu_mode_name(request->cpu_mode),
				    shown(ns, name), STOW_CONFIG_PATH);
	for (size_t i = 0; i < sizeof(amounts) / sizeof(amounts[0]); i++) {
		int r = check(&amounts[i], ns, err);

		if (r < 0)
			return r;
	}
	return 0;
}

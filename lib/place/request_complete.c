// SPDX-License-Identifier: Apache-2.0
/* A request after parsing: checking, completing from the container's limits, formatting. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/parse.h"
#include "place/request.h"

static int over_limit(const char *key, const char *asked, const char *limit, struct stow_err *err)
{
	return stow_err_set(err, EPERM,
			    "%s%s: \"%s\" is above the container's own limit of %s; the limit is "
			    "the most that it can get",
			    STOW_ANNOTATION_PREFIX, key, asked, limit);
}

/* Return the limit on pages of one size, or NULL when the runtime sets none. */
static const struct stow_page_request *limit_of(const struct stow_limits *limits, uint64_t size)
{
	for (size_t i = 0; i < limits->n_pages; i++)
		if (limits->pages[i].size == size)
			return &limits->pages[i];
	return NULL;
}

static int check_limits(const struct stow_request *req, const struct stow_limits *limits,
			struct stow_err *err)
{
	char asked[32], limit[32], key[48], size[32];

	if (limits->cpus && req->has_cpus && req->cpus > limits->cpus) {
		snprintf(asked, sizeof(asked), "%" PRIu32, req->cpus);
		snprintf(limit, sizeof(limit), "%" PRIu32, limits->cpus);
		return over_limit("cpus", asked, limit, err);
	}
	if (limits->memory && req->has_memory && req->memory > limits->memory)
		return over_limit("memory", stow_format_size(req->memory, asked, sizeof(asked)),
				  stow_format_size(limits->memory, limit, sizeof(limit)), err);
	for (size_t i = 0; i < req->n_pages; i++) {
		const struct stow_page_request *page = &req->pages[i];
		const struct stow_page_request *max = limit_of(limits, page->size);

		if (!max || page->count <= max->count)
			continue;
		snprintf(key, sizeof(key), "hugepages-%s",
			 stow_format_size(page->size, size, sizeof(size)));
		return over_limit(key,
				  stow_format_size(page->size * page->count, asked, sizeof(asked)),
				  stow_format_size(page->size * max->count, limit, sizeof(limit)),
				  err);
	}
	return 0;
}

/* Add the page sizes that only the limits have, keeping the order by size. */
static int add_pages(struct stow_request *req, const struct stow_limits *limits,
		     struct stow_err *err)
{
	for (size_t i = 0; i < limits->n_pages; i++) {
		const struct stow_page_request *limit = &limits->pages[i];
		size_t at = 0;

		while (at < req->n_pages && req->pages[at].size < limit->size)
			at++;
		if (!limit->count || (at < req->n_pages && req->pages[at].size == limit->size))
			continue;
		if (!limit->size || (limit->size & (limit->size - 1)) ||
		    limit->count > INT64_MAX / limit->size)
			return stow_err_set(err, EINVAL,
					    "the container's hugepage limit of %" PRIu64
					    " pages of %" PRIu64 " bytes is not valid",
					    limit->count, limit->size);
		if (req->n_pages == STOW_POOLS_MAX)
			return stow_err_set(err, EINVAL,
					    "hugepages of more than %d sizes are requested",
					    STOW_POOLS_MAX);
		memmove(&req->pages[at + 1], &req->pages[at],
			(req->n_pages - at) * sizeof(req->pages[0]));
		req->pages[at] = *limit;
		req->n_pages++;
	}
	return 0;
}

int stow_request_complete(struct stow_request *request, const struct stow_limits *limits, bool cap,
			  struct stow_err *err)
{
	struct stow_request req = *request;
	int r = cap ? check_limits(&req, limits, err) : 0;

	if (r < 0)
		return r;
	if (!req.has_cpus)
		req.cpus = limits->cpus;
	if (!req.has_memory)
		req.memory = limits->memory;
	r = add_pages(&req, limits, err);
	if (r < 0)
		return r;
	if (stow_cpu_mode_owns(req.cpu_mode) && req.cpus == 0)
		return stow_err_set(err, EINVAL,
				    "%scpu-mode: \"%s\" needs a number of CPUs: set %scpus, or a "
				    "CPU limit of the container",
				    STOW_ANNOTATION_PREFIX, stow_cpu_mode_name(req.cpu_mode),
				    STOW_ANNOTATION_PREFIX);
	*request = req;
	return 0;
}

int stow_request_check_amounts(const struct stow_request *request, struct stow_err *err)
{
	uint64_t before = 0;

	if (request->cpus > STOW_CPUS_MAX)
		return stow_err_set(err, EINVAL, "cpus: %" PRIu32 "; a machine has at most %d",
				    request->cpus, STOW_CPUS_MAX);
	if (request->memory > INT64_MAX)
		return stow_err_set(err, EINVAL, "memory: %" PRIu64 " bytes are too many",
				    request->memory);
	if (request->memory && request->memory < STOW_PAGE_MIN)
		return stow_err_set(err, EINVAL,
				    "memory: %" PRIu64
				    " byte%s, which is less than a page of memory",
				    request->memory, request->memory == 1 ? "" : "s");
	for (size_t i = 0; i < request->n_pages; i++) {
		uint64_t size = request->pages[i].size, count = request->pages[i].count;

		if (!size || size & (size - 1))
			return stow_err_set(err, EINVAL,
					    "hugepages: page_size %" PRIu64
					    " is not a power of two",
					    size);
		if (size <= before)
			return stow_err_set(err, EINVAL, "hugepages: sizes must ascend");
		if (count > INT64_MAX / size)
			return stow_err_set(err, EINVAL,
					    "hugepages: %" PRIu64 " pages are too many", count);
		before = size;
	}
	return 0;
}

size_t stow_request_members(const struct stow_annotation *annotations, size_t n,
			    const char **ret_names, size_t max)
{
	size_t found = 0;

	for (size_t i = 0; i < n && found < max; i++) {
		const char *dot;
		size_t j = 0;

		if (!annotations[i].key || strncmp(annotations[i].key, STOW_ANNOTATION_PREFIX,
						   strlen(STOW_ANNOTATION_PREFIX)) != 0)
			continue;
		dot = strchr(annotations[i].key + strlen(STOW_ANNOTATION_PREFIX), '.');
		if (!dot || !dot[1])
			continue;
		while (j < found && strcmp(ret_names[j], dot + 1) != 0)
			j++;
		if (j == found)
			ret_names[found++] = dot + 1;
	}
	return found;
}

const char *stow_request_format(const struct stow_request *request, char *buf, size_t size)
{
	char bytes[32], page[32], nodes[64];

	if (!size)
		return buf;
	buf[0] = '\0';
	if (request->cpus)
		stow_append(buf, size, "%" PRIu32 " %s CPU%s, ", request->cpus,
			    stow_cpu_mode_name(request->cpu_mode), request->cpus == 1 ? "" : "s");
	else
		stow_append(buf, size, "shared CPUs, ");
	if (request->memory)
		stow_append(buf, size, "%s memory, ",
			    stow_format_amount(request->memory, bytes, sizeof(bytes)));
	for (size_t i = 0; i < request->n_pages; i++)
		stow_append(buf, size, "%s in %s hugepages, ",
			    stow_format_size(request->pages[i].size * request->pages[i].count,
					     bytes, sizeof(bytes)),
			    stow_format_size(request->pages[i].size, page, sizeof(page)));
	stow_append(buf, size, "%s", stow_policy_name(request->policy));
	if (!request->nodes_auto)
		stow_append(buf, size, ", nodes %s",
			    stow_idset_format(&request->nodes, nodes, sizeof(nodes)));
	if (request->near[0])
		stow_append(buf, size, ", near %s", request->near);
	return buf;
}

// SPDX-License-Identifier: Apache-2.0
#include "cli/fleet/fleet.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "cli/asked.h"
#include "place/request.h"

#define PODS_MAX 1000

static char *copy(const char *text)
{
	/* protobuf-c frees strings, except its own empty string. */
	return text && *text ? strdup(text) : (char *)protobuf_c_empty_string;
}

static int add_pages(PbPodRequest *pod, const struct stow_request *request)
{
	pod->hugepages = calloc(request->n_pages + 1, sizeof(*pod->hugepages));
	if (!pod->hugepages)
		return -ENOMEM;
	for (size_t i = 0; i < request->n_pages; i++) {
		PbHugepages *pages = malloc(sizeof(*pages));

		if (!pages)
			return -ENOMEM;
		pb_hugepages__init(pages);
		pages->page_size = request->pages[i].size;
		pages->pages = request->pages[i].count;
		pod->hugepages[pod->n_hugepages++] = pages;
	}
	return 0;
}

static int to_pod(const struct fleet_options *options, const struct stow_request *request,
		  PbPodRequest **ret, struct stow_err *err)
{
	PbPodRequest *pod;
	char nodes[1024];

	if (request->cpu_mode == STOW_CPU_ISOLATED)
		return stow_err_set(
			err, EINVAL,
			STOW_ANNOTATION_PREFIX
			"cpu-mode: \"isolated\" is placed by the machine itself, without a "
			"reservation; a scheduler places \"shared\" and \"exclusive\"");
	pod = malloc(sizeof(*pod));
	if (!pod)
		return stow_err_set(err, ENOMEM, "out of memory");
	pb_pod_request__init(pod);
	*ret = pod;
	pod->name = copy(options->name);
	pod->namespace_ = copy(options->ns);
	pod->node = copy(options->node);
	pod->cpus = request->cpus;
	pod->memory = request->memory;
	pod->cpu_mode = request->cpu_mode == STOW_CPU_EXCLUSIVE ? PB_CPU_MODE_EXCLUSIVE
								: PB_CPU_MODE_SHARED;
	pod->policy = (PbPolicy)(PB_POLICY_SINGLE_NUMA_NODE + request->policy);
	if (!request->nodes_auto)
		pod->numa_nodes = copy(stow_idset_format(&request->nodes, nodes, sizeof(nodes)));
	if (!pod->name || !pod->namespace_ || !pod->node || !pod->numa_nodes ||
	    add_pages(pod, request) < 0)
		return stow_err_set(err, ENOMEM, "out of memory");
	return 0;
}

/* Parse the words up to the next "+", and the file. */
static int parse_pod(const struct fleet_options *options, size_t *at, PbPodRequest **ret,
		     struct stow_err *err)
{
	_cleanup_(cli_asked_done) struct cli_asked asked = { 0 };
	struct stow_request request;
	int r = 0;

	if (options->file)
		r = cli_asked_file(&asked, options->file, err);
	for (; r == 0 && options->words[*at] && strcmp(options->words[*at], "+") != 0; ++*at)
		r = cli_asked_argument(&asked, options->words[*at], err);
	if (r < 0)
		return r;
	r = stow_request_parse(asked.annotations, asked.n, NULL, NULL, STOW_POLICY_SINGLE_NUMA_NODE,
			       &request, err);
	if (r == 0)
		return stow_err_set(err, EINVAL,
				    "the request is missing, such as cpus=4 memory=8Gi");
	if (r > 0)
		r = stow_request_complete(&request, &(struct stow_limits){ 0 }, false, err);
	if (r < 0)
		return r;
	if (request.near[0])
		return stow_err_set(err, EINVAL,
				    "near=%s: schedulers do not know devices; use nodes=, or "
				    "`numastow explain` on the machine",
				    request.near);
	if (request.reservation[0])
		return stow_err_set(err, EINVAL, "reservation=%s: only a scheduler sets this key",
				    request.reservation);
	return to_pod(options, &request, ret, err);
}

int fleet_pods(const struct fleet_options *options, PbPodRequest ***ret, size_t *ret_n,
	       struct stow_err *err)
{
	PbPodRequest **pods = calloc(PODS_MAX, sizeof(PbPodRequest *));
	size_t n = 0;
	int r = 0;

	*ret = pods;
	*ret_n = 0;
	if (!pods)
		return stow_err_set(err, ENOMEM, "out of memory");
	for (uint64_t round = 0; round < options->pods; round++) {
		size_t at = 0;

		do {
			if (n == PODS_MAX)
				return stow_err_set(err, E2BIG, "more than %d pods", PODS_MAX);
			r = parse_pod(options, &at, &pods[n], err);
			if (pods[n])
				*ret_n = ++n;
			if (r < 0)
				return r;
		} while (options->words[at] && options->words[++at]);
	}
	return 0;
}

void fleet_pods_free(PbPodRequest **pods, size_t n)
{
	for (size_t i = 0; i < n; i++)
		pb_pod_request__free_unpacked(pods[i], NULL);
	free(pods);
}

// SPDX-License-Identifier: Apache-2.0
/* What the options ask for, as the annotations of a container. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "cli/run/run.h"
#include "node/hugepage.h"

/* In the order of enum run_policy. */
static const char *const memory_policies[] = {
	"bind", "preferred", "preferred-many", "interleave", "weighted-interleave", "local", NULL
};

/* The annotation memory-policy that allows the same NUMA nodes. */
static const char *annotation_of(enum run_policy policy)
{
	switch (policy) {
	case RUN_PREFERRED:
	case RUN_PREFERRED_MANY:
		return "preferred";
	case RUN_INTERLEAVE:
	case RUN_WEIGHTED_INTERLEAVE:
		return "interleave";
	case RUN_LOCAL:
		return "local";
	default:
		return "bind";
	}
}

int run_take_policy(const char *text, void *value, struct stow_err *err)
{
	struct run_options *options = value;

	for (int i = 0; memory_policies[i]; i++)
		if (strcmp(text, memory_policies[i]) == 0) {
			options->policy.given = true;
			options->policy.value = (enum run_policy)i;
			return 0;
		}
	for (int i = 0; stow_policies[i]; i++)
		if (strcmp(text, stow_policies[i]) == 0) {
			options->placement = text;
			return 0;
		}
	return stow_err_set(err, EINVAL,
			    "\"%.64s\" is neither a memory policy (bind, preferred, "
			    "preferred-many, interleave, weighted-interleave, local) nor a policy "
			    "of placement (single-numa-node, restricted, best-effort, spread)",
			    text);
}

int run_take_annotation(const char *text, void *value, struct stow_err *err)
{
	struct run_options *options = value;

	return cli_asked_argument(&options->asked, text, err);
}

static int ask(struct run_options *options, const char *key, const char *value,
	       struct stow_err *err)
{
	char *text = NULL;

	if (!value)
		return 0;
	/* Kept by `asked` until the program is executed. */
	if (asprintf(&text, "%s=%s", key, value) < 0)
		return stow_err_sys(err, ENOMEM, "--%s", key);
	return cli_asked_argument(&options->asked, text, err);
}

/* "512Mi", of the default page size, or "4Gi/1Gi". */
static int ask_hugepages(struct run_options *options, struct stow_root *root, struct stow_err *err)
{
	const char *text = options->hugepages, *slash;
	_cleanup_free_ char *amount = NULL;
	uint64_t size;
	char key[64];
	int r;

	if (!text)
		return 0;
	slash = strchr(text, '/');
	if (slash)
		r = stow_parse_pagesize(slash + 1, &size, err);
	else
		r = stow_pool_default_size(root, &size, err);
	if (r < 0)
		return stow_err_wrap(err, r, "--hugepages");
	amount = slash ? strndup(text, (size_t)(slash - text)) : strdup(text);
	if (!amount)
		return stow_err_sys(err, ENOMEM, "--hugepages");
	snprintf(key, sizeof(key), "hugepages-%" PRIu64 "Ki", size >> 10);
	return ask(options, key, amount, err);
}

int run_ask(struct run_options *options, struct stow_root *root, struct stow_err *err)
{
	int r;

	if (options->exclusive && options->cpu_mode)
		return stow_err_set(err, EINVAL,
				    "--exclusive is --cpu-mode exclusive: give one "
				    "of them");
	r = ask(options, "cpus", options->cpus, err);
	if (r == 0)
		r = ask(options, "cpu-mode", options->exclusive ? "exclusive" : options->cpu_mode,
			err);
	if (r == 0)
		r = ask(options, "nodes", options->nodes, err);
	if (r == 0)
		r = ask(options, "memory", options->memory, err);
	if (r == 0)
		r = ask_hugepages(options, root, err);
	if (r == 0)
		r = ask(options, "policy", options->placement, err);
	if (r == 0 && options->policy.given)
		r = ask(options, "memory-policy", annotation_of(options->policy.value), err);
	if (r == 0)
		r = ask(options, "near", options->near, err);
	if (r == 0)
		r = ask(options, "drain", options->drain, err);
	/* Nothing was asked for: any NUMA node will do. */
	if (r == 0 && !options->asked.n)
		r = ask(options, "nodes", "auto", err);
	return r;
}

int run_request(struct run *run, int node, struct stow_err *err)
{
	const struct cli_asked *asked = &run->options->asked;
	struct stow_request *request = &run->request;
	int r;

	r = stow_request_parse(asked->annotations, asked->n, NULL,
			       (const char *const *)run->config->allowed_keys,
			       run->config->default_policy, request, err);
	if (r < 0)
		return r;
	if (node >= 0) {
		request->nodes_auto = false;
		request->nodes = (struct stow_idset){ 0 };
		stow_idset_add(&request->nodes, node);
	}
	if (request->scope == STOW_SCOPE_POD)
		return stow_err_set(err, EINVAL, "scope: \"pod\": a program is not in a pod");
	r = stow_request_complete(request, &(struct stow_limits){ 0 }, false, err);
	if (r == 0 && request->n_pages)
		run->page_size = request->pages[0].size;
	return r;
}

// SPDX-License-Identifier: Apache-2.0
/* What the options ask for, as the annotations of a container. */
#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "cli/run/run.h"
#include "node/hugepage.h"

/* Options whose arguments are the values of annotations of the same name. */
static const struct {
	const char *name;
	size_t at;
} values[] = {
	{ "cpus", offsetof(struct run_options, cpus) },
	{ "cpu-mode", offsetof(struct run_options, cpu_mode) },
	{ "nodes", offsetof(struct run_options, nodes) },
	{ "memory", offsetof(struct run_options, memory) },
	{ "policy", offsetof(struct run_options, placement) },
	{ "near", offsetof(struct run_options, near) },
	{ "drain", offsetof(struct run_options, drain) },
};

static const char *value_of(const struct run_options *options, size_t i)
{
	return *(const char *const *)((const char *)options + values[i].at);
}

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
	int r = 0;

	if (options->exclusive && options->cpu_mode)
		return stow_err_set(err, EINVAL,
				    "--exclusive is --cpu-mode exclusive: give one "
				    "of them");
	if (options->exclusive)
		options->cpu_mode = "exclusive";
	for (size_t i = 0; r == 0 && i < STOW_ARRAY_SIZE(values); i++)
		r = ask(options, values[i].name, value_of(options, i), err);
	if (r == 0)
		r = ask_hugepages(options, root, err);
	if (r == 0 && options->policy.given)
		r = ask(options, "memory-policy", annotation_of(options->policy.value), err);
	/* Nothing was asked for: any NUMA node will do. */
	if (r == 0 && !options->asked.n)
		r = ask(options, "nodes", "auto", err);
	return r;
}

int run_name_option(const struct run_options *options, int r, struct stow_err *err)
{
	const char *key = err->msg + strlen(STOW_ANNOTATION_PREFIX), *option = NULL, *rest;
	struct stow_err named;

	if (strncmp(err->msg, STOW_ANNOTATION_PREFIX, strlen(STOW_ANNOTATION_PREFIX)) != 0)
		return r;
	rest = key + strcspn(key, ": ");
	for (size_t i = 0; i < STOW_ARRAY_SIZE(values); i++)
		if (value_of(options, i) && strlen(values[i].name) == (size_t)(rest - key) &&
		    strncmp(key, values[i].name, (size_t)(rest - key)) == 0)
			option = values[i].name;
	if (options->hugepages && strncmp(key, "hugepages-", 10) == 0)
		option = "hugepages";
	if (!option)
		return r;
	(void)stow_err_set(&named, err->code, "--%s%s", option, rest);
	return stow_err_move(err, r, &named);
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
		return run_name_option(run->options, r, err);
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
	return r < 0 ? run_name_option(run->options, r, err) : r;
}

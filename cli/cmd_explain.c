// SPDX-License-Identifier: Apache-2.0
/* numastow explain: where a request would go and why, or why not. Changes nothing. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "cli/asked.h"
#include "cli/cli.h"
#include "cli/context.h"
#include "cli/json_writer.h"
#include "cli/options.h"
#include "place/explain.h"

struct options {
	const char *sysroot, *container, *ns;
	bool json, nodes_only, quiet;
	uint64_t watch;
	const struct cli_asked *asked;
};

/* Print a plan or a refusal. Return the exit code. */
static int print(const struct options *options, const struct stow_request *request,
		 const struct stow_plan *plan, const struct stow_refusal *refusal)
{
	_cleanup_free_ char *text = NULL;

	if (options->quiet)
		return plan ? CLI_OK : CLI_NOT_FIT;
	if (options->json) {
		cli_print_json(json_with_version(stow_explain_json(request, plan, refusal)));
	} else if (options->nodes_only && plan) {
		text = stow_idset_to_list(&plan->nodes);
		printf("%s\n", text ? text : "");
	} else if (options->nodes_only) {
		/* Standard output has nodes or nothing, for programs. */
		fprintf(stderr, "numastow: no room for %s\n", refusal->text);
	} else {
		text = stow_explain_text(request, plan, refusal);
		fputs(text ? text : "", stdout);
	}
	return plan ? CLI_OK : CLI_NOT_FIT;
}

/* Make a request of the annotations. *ret_usage: the error is in the command's arguments. */
static int parse(const struct options *options, const struct cli_asked *asked,
		 const struct stow_config *config, struct stow_request *ret, bool *ret_usage,
		 struct stow_err *err)
{
	const char *name;
	int r = 0;

	if (!options->container && stow_request_members(asked->annotations, asked->n, &name, 1))
		r = stow_err_set(err, EINVAL,
				 "KEY.%.64s is for one container of a pod: name it with "
				 "--container",
				 name);
	if (r == 0)
		r = stow_request_parse(asked->annotations, asked->n, options->container,
				       (const char *const *)config->allowed_keys,
				       config->default_policy, ret, err);
	if (r > 0)
		r = stow_request_complete(ret, &(struct stow_limits){ 0 }, false, err);
	else if (r == 0)
		r = stow_err_set(err, EINVAL, "no annotation is for this container");
	*ret_usage = r == -EINVAL && !asked->file;
	return r;
}

/* Return the exit code. */
static int explain(void *data)
{
	const struct options *options = data;
	_cleanup_(stow_refusal_free_ptr) struct stow_refusal *refusal = NULL;
	_cleanup_(stow_plan_free_ptr) struct stow_plan *plan = NULL;
	_cleanup_(cli_context_done) struct cli_context context;
	struct stow_subject subject = { .ns = options->ns, .name = options->container };
	struct stow_request request;
	struct stow_err err;
	bool usage = false;
	int r;

	r = cli_context_open(&context, options->sysroot, false, &err);
	if (r == 0)
		r = parse(options, options->asked, context.config, &request, &usage, &err);
	if (r == 0)
		r = stow_grant_plan(&context.grant, &subject, &request, &plan, &refusal, &err);
	if (r == 0 || refusal)
		return print(options, &request, plan, refusal);
	return usage ? cli_wrong_usage("explain", "%s", err.msg) : cli_fail(&err);
}

int cmd_explain(int argc, char **argv)
{
	static const struct cli_usage usage = {
		.name = "explain",
		.arguments = "[OPTION...] [KEY=VALUE...]",
		.summary =
			"Show where a request would be placed and why, or why it would be refused",
		.options = "      --file FILE       read annotations from a JSON file; - for "
			   "standard input\n"
			   "      --container NAME  the container of the pod, for KEY.NAME\n"
			   "      --namespace NAME  the namespace whose caps apply\n"
			   "      --nodes-only      print the NUMA nodes only, as a list: 0,2-3\n"
			   "  -J, --json            print JSON\n"
			   "  -w, --watch[=TIME]    print again every 2 seconds, or TIME\n"
			   "  -q, --quiet           print errors only: the exit code is 3 without "
			   "room\n"
			   "  -s, --sysroot DIR     read a copied tree\n"
			   "  -h, --help            print this text\n"
			   "  KEY                   an annotation, with or without numastow.io/\n",
		.words = INT_MAX,
	};
	_cleanup_(cli_asked_done) struct cli_asked asked = { 0 };
	struct options options = { .asked = &asked };
	const char *file = NULL;
	const struct cli_option known[] = { { "file", .text = &file },
					    { "container", .text = &options.container },
					    { "namespace", .text = &options.ns },
					    { "nodes-only", .flag = &options.nodes_only },
					    { "json", 'J', .flag = &options.json },
					    CLI_READ_OPTIONS(&options),
					    { "sysroot", 's', .text = &options.sysroot },
					    { 0 } };
	int r = cli_options(&usage, known, argc, argv);
	struct stow_err err;

	if (r >= 0)
		return r;
	if (options.json && options.nodes_only)
		return cli_wrong_usage("explain", "--nodes-only and --json exclude each other");
	if (!file && optind == argc)
		return cli_wrong_usage("explain",
				       "the request is missing, such as cpus=4 memory=8Gi");
	if (file && cli_asked_file(&asked, file, &err) < 0)
		return cli_fail(&err);
	for (r = 0; optind < argc && r == 0; optind++)
		r = cli_asked_argument(&asked, argv[optind], &err);
	if (r == 0)
		return cli_watch(options.watch, options.json, explain, &options);
	return cli_wrong_usage("explain", "%s", err.msg);
}

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
#include "cli/options.h"
#include "place/explain.h"

struct options {
	const char *sysroot, *container, *ns;
	bool json;
};

/* Return CLI_OK when the request fits, CLI_FAILED when not, or -errno. */
static int explain(const struct options *options, const struct cli_asked *asked,
		   struct stow_err *err)
{
	_cleanup_(stow_refusal_free_ptr) struct stow_refusal *refusal = NULL;
	_cleanup_(stow_plan_free_ptr) struct stow_plan *plan = NULL;
	_cleanup_(cli_context_done) struct cli_context context;
	struct stow_subject subject = { .ns = options->ns, .name = options->container };
	struct stow_request request;
	const char *name;
	int r;

	if (!options->container && stow_request_members(asked->annotations, asked->n, &name, 1))
		return stow_err_set(err, EINVAL,
				    "KEY.%.64s is for one container of a pod: name it with "
				    "--container",
				    name);
	r = cli_context_open(&context, options->sysroot, false, err);
	if (r < 0)
		return r;
	r = stow_request_parse(asked->annotations, asked->n, options->container,
			       (const char *const *)context.config->allowed_keys,
			       context.config->default_policy, &request, err);
	if (r == 0)
		return stow_err_set(err, EINVAL, "no annotation is for this container");
	if (r > 0)
		r = stow_request_complete(&request, &(struct stow_limits){ 0 }, false, err);
	if (r < 0)
		return r;
	r = stow_grant_plan(&context.grant, &subject, &request, &plan, &refusal, err);
	if (r < 0 && !refusal)
		return r;
	if (options->json) {
		cli_print_json(stow_explain_json(&request, plan, refusal));
	} else {
		_cleanup_free_ char *text = stow_explain_text(&request, plan, refusal);

		fputs(text ? text : "", stdout);
	}
	return r < 0 ? CLI_FAILED : CLI_OK;
}

int cmd_explain(int argc, char **argv)
{
	static const struct cli_usage usage = {
		"explain",
		"[OPTION...] [KEY=VALUE...]",
		"Show where a request would be placed and why, or why it would be refused",
		"  -f, --file FILE       read annotations from a JSON file; - for standard input\n"
		"  -c, --container NAME  the container of the pod, for KEY.NAME\n"
		"  -n, --namespace NAME  the namespace whose caps apply\n"
		"  -j, --json            as JSON\n"
		"  -s, --sysroot DIR     read a copied tree\n"
		"  KEY                   an annotation, with or without numastow.io/\n",
		INT_MAX,
		NULL
	};
	_cleanup_(cli_asked_done) struct cli_asked asked = { 0 };
	struct options options = { 0 };
	const char *file = NULL;
	const struct cli_option known[] = { { "file", 'f', .text = &file },
					    { "container", 'c', .text = &options.container },
					    { "namespace", 'n', .text = &options.ns },
					    { "json", 'j', .flag = &options.json },
					    { "sysroot", 's', .text = &options.sysroot },
					    { 0 } };
	int r = cli_options(&usage, known, argc, argv);
	struct stow_err err;

	if (r >= 0)
		return r;
	if (!file && optind == argc)
		return cli_bad_usage("explain");
	r = file ? cli_asked_file(&asked, file, &err) : 0;
	for (int i = optind; i < argc && r == 0; i++)
		r = cli_asked_argument(&asked, argv[i], &err);
	if (r == 0)
		r = explain(&options, &asked, &err);
	return r < 0 ? cli_fail(&err) : r;
}

// SPDX-License-Identifier: Apache-2.0
/* numastow explain: where a request would go and why, or why not. Changes nothing. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

#include "base/cleanup.h"
#include "cli/cli.h"
#include "cli/context.h"
#include "oci-hook/state.h"
#include "place/explain.h"

struct asked {
	const char *sysroot, *container, *ns;
	bool json;
	struct stow_annotation annotations[256];
	char *keys[256]; /* those that we had to build */
	size_t n;
	struct json_object *file;
};

static void asked_done(struct asked *asked)
{
	for (size_t i = 0; i < asked->n; i++)
		free(asked->keys[i]);
	json_object_put(asked->file);
}

static int add(struct asked *asked, const char *key, size_t key_len, const char *value,
	       struct stow_err *err)
{
	bool whole = strncmp(key, STOW_ANNOTATION_PREFIX, strlen(STOW_ANNOTATION_PREFIX)) == 0;

	if (asked->n == STOW_ARRAY_SIZE(asked->annotations))
		return stow_err_set(err, E2BIG, "more than %zu annotations",
				    STOW_ARRAY_SIZE(asked->annotations));
	if (asprintf(&asked->keys[asked->n], "%s%.*s", whole ? "" : STOW_ANNOTATION_PREFIX,
		     (int)key_len, key) < 0)
		return stow_err_sys(err, ENOMEM, "%s", key);
	asked->annotations[asked->n].key = asked->keys[asked->n];
	asked->annotations[asked->n].value = value;
	asked->n++;
	return 0;
}

/* A JSON object of annotations, or anything with one under "annotations": an OCI state, a
 * config.json, a pod's metadata. Keys without our prefix are other people's here. */
static int add_file(struct asked *asked, const char *path, struct stow_err *err)
{
	_cleanup_free_ char *text = NULL;
	_cleanup_close_ int fd = -EBADF;
	struct json_object *map, *metadata;
	size_t len;
	int r;

	fd = strcmp(path, "-") == 0 ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return stow_err_sys(err, errno, "%s", path);
	r = hook_read_all(fd, HOOK_CONFIG_MAX, path, &text, &len, err);
	if (r < 0)
		return r;
	asked->file = json_tokener_parse(text);
	if (!json_object_is_type(asked->file, json_type_object))
		return stow_err_set(err, EINVAL, "%s is not a JSON object", path);
	map = asked->file;
	if (json_object_object_get_ex(map, "metadata", &metadata))
		map = metadata;
	(void)json_object_object_get_ex(map, "annotations", &map);
	if (!json_object_is_type(map, json_type_object))
		return stow_err_set(err, EINVAL, "%s: annotations is not an object", path);
	json_object_object_foreach(map, key, value) {
		if (strncmp(key, STOW_ANNOTATION_PREFIX, strlen(STOW_ANNOTATION_PREFIX)) != 0)
			continue;
		if (!json_object_is_type(value, json_type_string))
			return stow_err_set(err, EINVAL, "%s: %.128s is not a string", path, key);
		r = add(asked, key, strlen(key), json_object_get_string(value), err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int add_argument(struct asked *asked, const char *argument, struct stow_err *err)
{
	const char *equals = strchr(argument, '=');

	if (!equals)
		return stow_err_set(err, EINVAL, "\"%.64s\" is not KEY=VALUE, such as cpus=4",
				    argument);
	return add(asked, argument, (size_t)(equals - argument), equals + 1, err);
}

/* Returns CLI_OK when it fits, CLI_FAILED when not, -errno. */
static int explain(const struct asked *asked, struct stow_err *err)
{
	_cleanup_(stow_refusal_free_ptr) struct stow_refusal *refusal = NULL;
	_cleanup_(stow_plan_free_ptr) struct stow_plan *plan = NULL;
	_cleanup_(cli_context_done) struct cli_context context;
	struct stow_subject subject = { .ns = asked->ns, .name = asked->container };
	struct stow_request request;
	int r;

	r = cli_context_open(&context, asked->sysroot, false, err);
	if (r < 0)
		return r;
	r = stow_request_parse(asked->annotations, asked->n, asked->container,
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
	if (asked->json) {
		cli_print_json(stow_explain_json(&request, plan, refusal));
	} else {
		_cleanup_free_ char *text = stow_explain_text(&request, plan, refusal);

		fputs(text ? text : "", stdout);
	}
	return r < 0 ? CLI_FAILED : CLI_OK;
}

int cmd_explain(int argc, char **argv)
{
	static const struct option options[] = { { "file", required_argument, NULL, 'f' },
						 { "container", required_argument, NULL, 'c' },
						 { "namespace", required_argument, NULL, 'n' },
						 { "json", no_argument, NULL, 'j' },
						 { "sysroot", required_argument, NULL, 's' },
						 { "help", no_argument, NULL, 'h' },
						 { 0 } };
	_cleanup_(asked_done) struct asked asked = { 0 };
	const char *file = NULL;
	struct stow_err err;
	int c, r = 0;

	while ((c = getopt_long(argc, argv, "f:c:n:js:h", options, NULL)) != -1) {
		switch (c) {
		case 'f':
			file = optarg;
			break;
		case 'c':
			asked.container = optarg;
			break;
		case 'n':
			asked.ns = optarg;
			break;
		case 'j':
			asked.json = true;
			break;
		case 's':
			asked.sysroot = optarg;
			break;
		case 'h':
			cli_usage("explain", "[OPTION...] [KEY=VALUE...]",
				  "Says where a request would go and why, or why it would be "
				  "refused",
				  "  -f, --file FILE       a JSON file with annotations; - for "
				  "standard "
				  "input\n"
				  "  -c, --container NAME  the container of the pod, for KEY.NAME\n"
				  "  -n, --namespace NAME  whose caps count\n"
				  "  -j, --json            as JSON\n"
				  "  -s, --sysroot DIR     for a copied tree\n"
				  "  KEY                   an annotation, with or without "
				  "numastow.io/\n");
			return CLI_OK;
		default:
			return cli_bad_usage("explain");
		}
	}
	if (!file && optind == argc)
		return cli_bad_usage("explain");
	if (file)
		r = add_file(&asked, file, &err);
	for (int i = optind; i < argc && r == 0; i++)
		r = add_argument(&asked, argv[i], &err);
	if (r == 0)
		r = explain(&asked, &err);
	return r < 0 ? cli_fail(&err) : r;
}

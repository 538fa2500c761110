// SPDX-License-Identifier: Apache-2.0
#include "place/explain.h"

#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/parse.h"
#include "place/plan_internal.h"

/* Add a member, which the object then owns. On failure release it, and return false. */
static bool add(struct json_object *object, const char *key, struct json_object *value)
{
	if (value && json_object_object_add(object, key, value) == 0)
		return true;
	json_object_put(value);
	return false;
}

/* Add a text, or null for an empty one: json-c has no object for null. */
static bool add_text(struct json_object *object, const char *key, const char *text)
{
	return *text ? add(object, key, json_object_new_string(text))
		     : json_object_object_add(object, key, NULL) == 0;
}

static bool append(struct json_object *array, struct json_object *value)
{
	if (value && json_object_array_add(array, value) == 0)
		return true;
	json_object_put(value);
	return false;
}

static struct json_object *bytes(uint64_t v)
{
	return json_object_new_int64(v > INT64_MAX ? INT64_MAX : (int64_t)v);
}

static struct json_object *list(const struct stow_idset *set)
{
	_cleanup_free_ char *text = stow_idset_to_list(set);

	return text ? json_object_new_string(text) : NULL;
}

static struct json_object *pages(const struct stow_request *request, const struct stow_share *share)
{
	_cleanup_json_ struct json_object *array = json_object_new_array();

	for (size_t p = 0; array && p < request->n_pages; p++) {
		_cleanup_json_ struct json_object *object = json_object_new_object();

		if (!object || !add(object, "page_size", bytes(request->pages[p].size)) ||
		    !add(object, "pages", bytes(share->pages[p])) ||
		    !append(array, STOW_TAKE_PTR(object)))
			return NULL;
	}
	return STOW_TAKE_PTR(array);
}

static struct json_object *shares(const struct stow_request *request, const struct stow_plan *plan)
{
	_cleanup_json_ struct json_object *array = json_object_new_array();

	for (size_t i = 0; array && i < plan->n_shares; i++) {
		const struct stow_share *share = &plan->shares[i];
		_cleanup_json_ struct json_object *object = json_object_new_object();

		if (!object || !add(object, "node", json_object_new_int(share->node)) ||
		    !add(object, "n_cpus", json_object_new_int64(share->cpus)) ||
		    !add(object, "memory", bytes(share->memory)) ||
		    !add(object, "hugepages", pages(request, share)) ||
		    !append(array, STOW_TAKE_PTR(object)))
			return NULL;
	}
	return STOW_TAKE_PTR(array);
}

static struct json_object *refusal_nodes(const struct stow_refusal *refusal)
{
	_cleanup_json_ struct json_object *array = json_object_new_array();

	for (size_t i = 0; array && i < refusal->n_nodes; i++) {
		_cleanup_json_ struct json_object *object = json_object_new_object();

		if (!object || !add(object, "node", json_object_new_int(refusal->nodes[i].id)) ||
		    !add(object, "reason", json_object_new_string(refusal->nodes[i].text)) ||
		    !append(array, STOW_TAKE_PTR(object)))
			return NULL;
	}
	return STOW_TAKE_PTR(array);
}

struct json_object *stow_explain_json(const struct stow_request *request,
				      const struct stow_plan *plan,
				      const struct stow_refusal *refusal)
{
	_cleanup_json_ struct json_object *object = json_object_new_object();
	char line[512];
	bool ok;

	if (!object || !add(object, "fits", json_object_new_boolean(plan != NULL)) ||
	    !add(object, "request",
		 json_object_new_string(stow_request_format(request, line, sizeof(line)))))
		return NULL;
	if (plan)
		ok = add(object, "mems", list(&plan->nodes)) &&
		     add(object, "cpus", list(&plan->cpus)) &&
		     add(object, "exclusive", json_object_new_boolean(plan->exclusive)) &&
		     add(object, "isolated", json_object_new_boolean(plan->isolated)) &&
		     add(object, "reason", json_object_new_string(plan->reason)) &&
		     add(object, "nodes", shares(request, plan));
	else
		ok = add(object, "reason", json_object_new_string(refusal->text)) &&
		     add_text(object, "suggestion", refusal->suggestion) &&
		     add(object, "nodes", refusal_nodes(refusal));
	return ok ? STOW_TAKE_PTR(object) : NULL;
}

/* Lines about nodes; neighbours with the same text are joined. */
struct lines {
	FILE *f;
	struct stow_idset nodes;
	char text[512];
};

static void flush_lines(struct lines *lines)
{
	char label[96];
	bool one = stow_idset_count(&lines->nodes) == 1;

	if (stow_idset_empty(&lines->nodes))
		return;
	stow_nodes_format(&lines->nodes, label, sizeof(label));
	fprintf(lines->f, "%-9s %s%s\n", label, one ? "" : "each ", lines->text);
	lines->nodes = (struct stow_idset){ 0 };
}

static void add_line(struct lines *lines, int node, const char *text)
{
	if (strcmp(lines->text, text) != 0)
		flush_lines(lines);
	snprintf(lines->text, sizeof(lines->text), "%s", text);
	stow_idset_add(&lines->nodes, node);
}

static void write_share(struct lines *lines, const struct stow_request *request,
			const struct stow_share *share)
{
	char text[512] = "", size[32], page[32];

	stow_append(text, sizeof(text), "%" PRIu32 " CPU%s, %s memory", share->cpus,
		    share->cpus == 1 ? "" : "s",
		    stow_format_size(share->memory, size, sizeof(size)));
	for (size_t p = 0; p < request->n_pages; p++)
		stow_append(text, sizeof(text), ", %s in %s hugepages",
			    stow_format_size(share->pages[p] * request->pages[p].size, size,
					     sizeof(size)),
			    stow_format_size(request->pages[p].size, page, sizeof(page)));
	add_line(lines, share->node, text);
}

static void write_plan(FILE *f, const struct stow_request *request, const struct stow_plan *plan)
{
	_cleanup_free_ char *cpus = stow_idset_to_list(&plan->cpus);
	struct lines lines = { .f = f };

	fprintf(f, "fits      %s\n", plan->reason);
	fprintf(f, "CPUs      %s%s\n", cpus ? cpus : "?",
		plan->isolated	  ? " (isolated)"
		: plan->exclusive ? " (exclusive)"
				  : " (shared)");
	for (size_t i = 0; i < plan->n_shares; i++)
		write_share(&lines, request, &plan->shares[i]);
	flush_lines(&lines);
}

static void write_refusal(FILE *f, const struct stow_refusal *refusal)
{
	struct lines lines = { .f = f };

	fprintf(f, "no room   %s\n", refusal->text);
	for (size_t i = 0; i < refusal->n_nodes; i++)
		add_line(&lines, refusal->nodes[i].id, refusal->nodes[i].text);
	flush_lines(&lines);
	if (refusal->suggestion[0])
		fprintf(f, "but       %s\n", refusal->suggestion);
}

char *stow_explain_text(const struct stow_request *request, const struct stow_plan *plan,
			const struct stow_refusal *refusal)
{
	char *text = NULL, line[512];
	size_t size = 0;
	FILE *f = open_memstream(&text, &size);
	bool failed;

	if (!f)
		return NULL;
	fprintf(f, "request   %s\n", stow_request_format(request, line, sizeof(line)));
	if (plan)
		write_plan(f, request, plan);
	else
		write_refusal(f, refusal);
	failed = ferror(f);
	if (fclose(f) != 0 || failed) {
		free(text);
		return NULL;
	}
	return text;
}

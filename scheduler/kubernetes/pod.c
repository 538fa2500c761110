/* SPDX-License-Identifier: Apache-2.0 */
#include "scheduler/kubernetes/pod.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "kube/json.h"
#include "kube/make.h"
#include "scheduler/kubernetes/names.h"

#define WARNINGS_MAX 8

/* --- reading -------------------------------------------------------------- */

/* Collect numastow's annotations; the texts belong to the pod. */
static int read_annotations(struct json_object *pod, struct stow_annotation *ret, size_t *ret_n,
			    struct stow_err *err)
{
	struct json_object *map = stow_kube_at(pod, "metadata.annotations");
	char quoted[84];

	*ret_n = 0;
	if (!json_object_is_type(map, json_type_object))
		return 0;
	json_object_object_foreach(map, key, value) {
		const char *text;

		if (strncmp(key, STOW_ANNOTATION_PREFIX, strlen(STOW_ANNOTATION_PREFIX)) != 0)
			continue;
		text = json_object_is_type(value, json_type_string) ? json_object_get_string(value)
								    : NULL;
		if (!text || strlen(text) != (size_t)json_object_get_string_len(value))
			return stow_err_set(err, EINVAL, "annotation %s is not a plain string",
					    stow_text_quote(key, quoted, sizeof(quoted)));
		if (*ret_n == SCHEDULER_ANNOTATIONS_MAX)
			return stow_err_set(err, EINVAL, "more than %d annotations with %s",
					    SCHEDULER_ANNOTATIONS_MAX, STOW_ANNOTATION_PREFIX);
		ret[(*ret_n)++] = (struct stow_annotation){ .key = key, .value = text };
	}
	return 0;
}

/* Add the containers of a list of the pod's spec. A sidecar, an init container that is restarted
 * always, runs beside the others. */
static int add_containers(struct json_object *spec, const char *key, bool init,
			  struct scheduler_pod *to, struct stow_err *err)
{
	struct json_object *list;
	size_t n;

	list = stow_kube_list_at(spec, key, &n);
	if (n > SCHEDULER_CONTAINERS_MAX - to->n)
		return stow_err_set(err, EINVAL,
				    "more than %d containers in a pod with annotations of numastow",
				    SCHEDULER_CONTAINERS_MAX);
	for (size_t i = 0; i < n; i++) {
		struct json_object *object = json_object_array_get_idx(list, i);

		if (!json_object_is_type(object, json_type_object) ||
		    !stow_kube_text(object, "name")[0])
			return stow_err_set(err, EINVAL, "spec.%s[%zu]: has no name", key, i);
		to->containers[to->n++] = (struct scheduler_container){
			.object = object,
			.name = stow_kube_text(object, "name"),
			.list = key,
			.at = i,
			.init = init &&
				strcmp(stow_kube_text(object, "restartPolicy"), "Always") != 0,
		};
	}
	return 0;
}

/* --- warnings ------------------------------------------------------------- */

static bool warn(struct scheduler_pod *pod, const char *text)
{
	return json_object_array_length(pod->warnings) >= WARNINGS_MAX ||
	       stow_kube_append_text(pod->warnings, text);
}

/* Warn of annotations for containers that the pod does not have: another webhook may add them
 * later. */
static int warn_of_names(struct scheduler_pod *pod, const struct stow_annotation *annotations,
			 size_t n, struct stow_err *err)
{
	for (size_t i = 0; i < n; i++) {
		const char *dot = strchr(annotations[i].key + strlen(STOW_ANNOTATION_PREFIX), '.');
		char key[84], text[160];
		bool found = !dot;

		for (size_t k = 0; !found && k < pod->n; k++)
			found = strcmp(pod->containers[k].name, dot + 1) == 0;
		snprintf(text, sizeof(text), "%s has no effect: the pod has no such container",
			 stow_text_quote(annotations[i].key, key, sizeof(key)));
		if (!found && !warn(pod, text))
			return stow_kube_no_memory(err);
	}
	return 0;
}

static int warn_of_failure(struct scheduler_pod *pod, struct stow_err *err)
{
	for (size_t i = 0; i < pod->n; i++)
		if (pod->containers[i].asks &&
		    pod->containers[i].request.on_failure == STOW_ON_FAILURE_IGNORE)
			return warn(pod,
				    STOW_ANNOTATION_PREFIX "on-failure: \"ignore\" has no effect "
							   "in Kubernetes: the pod is "
							   "pending until there is room for it")
				       ? 0
				       : stow_kube_no_memory(err);
	return 0;
}

/* --- the claim ------------------------------------------------------------ */

static int read_requests(struct scheduler_pod *pod, const struct stow_annotation *annotations,
			 size_t n, struct stow_err *err)
{
	bool any = false;

	for (size_t i = 0; i < pod->n; i++) {
		int r = scheduler_container_read(&pod->containers[i], annotations, n, err);

		if (r < 0)
			return r;
		any |= pod->containers[i].asks;
	}
	return any;
}

static int read_pod(struct json_object *object, struct scheduler_pod *pod, struct stow_err *err)
{
	struct stow_annotation annotations[SCHEDULER_ANNOTATIONS_MAX];
	struct json_object *spec = stow_kube_at(object, "spec");
	size_t n;
	int r = read_annotations(object, annotations, &n, err);

	if (r < 0 || n == 0)
		return r;
	pod->containers = calloc(SCHEDULER_CONTAINERS_MAX, sizeof(*pod->containers));
	pod->warnings = json_object_new_array();
	if (!pod->containers || !pod->warnings)
		return stow_kube_no_memory(err);
	r = add_containers(spec, "containers", false, pod, err);
	if (r == 0)
		r = add_containers(spec, "initContainers", true, pod, err);
	if (r == 0)
		r = warn_of_names(pod, annotations, n, err);
	return r < 0 ? r : read_requests(pod, annotations, n, err);
}

static int read_claim(struct json_object *object, struct scheduler_pod *pod, struct stow_err *err)
{
	int r = read_pod(object, pod, err);

	if (r <= 0)
		return r;
	r = warn_of_failure(pod, err);
	if (r == 0)
		r = scheduler_claim_make(pod->containers, pod->n, &pod->claim, err);
	if (r < 0)
		return r;
	snprintf(pod->template_name, sizeof(pod->template_name), SCHEDULER_TEMPLATE "%s",
		 pod->claim.digest);
	return 1;
}

int scheduler_pod_read(struct json_object *object, struct scheduler_pod *ret, struct stow_err *err)
{
	int r;

	*ret = (struct scheduler_pod){ 0 };
	r = read_claim(object, ret, err);
	if (r < 0)
		scheduler_pod_done(ret);
	return r;
}

int scheduler_pod_read_requests(struct json_object *object, struct scheduler_pod *ret,
				struct stow_err *err)
{
	int r;

	*ret = (struct scheduler_pod){ 0 };
	r = read_pod(object, ret, err);
	if (r < 0)
		scheduler_pod_done(ret);
	return r;
}

void scheduler_pod_done(struct scheduler_pod *pod)
{
	free(pod->containers);
	scheduler_claim_done(&pod->claim);
	json_object_put(pod->warnings);
	*pod = (struct scheduler_pod){ 0 };
}

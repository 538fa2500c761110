/* SPDX-License-Identifier: Apache-2.0 */
/* The JSON patch that gives a pod its claim. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "kube/json.h"
#include "kube/make.h"
#include "scheduler/kubernetes/names.h"
#include "scheduler/kubernetes/pod.h"

/* Append an operation that sets a value, whether there is one or not. Takes the value over. */
static int append(struct json_object *patch, const char *path, struct json_object *value,
		  struct stow_err *err)
{
	struct json_object *operation = stow_kube_append_object(patch);
	bool ok = stow_kube_put_text(operation, "op", "add") &&
		  stow_kube_put_text(operation, "path", path);

	return stow_kube_put(ok ? operation : NULL, "value", value) ? 0 : stow_kube_no_memory(err);
}

/* --- the pod's claims ----------------------------------------------------- */

/* Set the pod's entry of a list of claims. Return 1 when it is as it should be. */
static int set_claim(struct json_object *claims, const char *template_name, struct stow_err *err)
{
	struct json_object *entry = NULL;
	const char *has;
	size_t n = json_object_array_length(claims);

	for (size_t i = 0; i < n && !entry; i++) {
		entry = json_object_array_get_idx(claims, i);
		if (strcmp(stow_kube_text(entry, "name"), SCHEDULER_CLAIM) != 0)
			entry = NULL;
	}
	if (!entry) {
		entry = stow_kube_append_object(claims);
		return stow_kube_put_text(entry, "name", SCHEDULER_CLAIM) &&
				       stow_kube_put_text(entry, "resourceClaimTemplateName",
							  template_name)
			       ? 0
			       : stow_kube_no_memory(err);
	}
	has = stow_kube_text(entry, "resourceClaimTemplateName");
	if (strcmp(has, template_name) == 0)
		return 1;
	/* Another webhook may have changed the annotations since the last time. */
	if (!scheduler_claim_is_named(has))
		return stow_err_set(err, EINVAL,
				    "spec.resourceClaims: the name \"" SCHEDULER_CLAIM
				    "\" is for the claim that is made of the annotations; use "
				    "another name for yours");
	return stow_kube_put_text(entry, "resourceClaimTemplateName", template_name)
		       ? 0
		       : stow_kube_no_memory(err);
}

static int patch_claims(struct json_object *pod, const struct scheduler_pod *read,
			struct json_object *patch, struct stow_err *err)
{
	_cleanup_json_ struct json_object *copy = NULL;
	struct json_object *claims = stow_kube_at(pod, "spec.resourceClaims");
	int r;

	if (claims && !json_object_is_type(claims, json_type_array))
		return stow_err_set(err, EINVAL, "spec.resourceClaims: is not a list");
	if (!claims)
		copy = json_object_new_array();
	else if (json_object_deep_copy(claims, &copy, NULL) < 0)
		copy = NULL;
	if (!copy)
		return stow_kube_no_memory(err);
	r = set_claim(copy, read->template_name, err);
	if (r != 0)
		return r < 0 ? r : 0;
	return append(patch, "/spec/resourceClaims", STOW_TAKE_PTR(copy), err);
}

/* Label the pod, so that the controller finds it. */
static int patch_label(struct json_object *pod, const struct scheduler_pod *read,
		       struct json_object *patch, struct stow_err *err)
{
	struct json_object *labels = stow_kube_at(pod, "metadata.labels");

	if (!json_object_is_type(labels, json_type_object)) {
		labels = json_object_new_object();
		if (labels && !stow_kube_put_text(labels, SCHEDULER_LABEL, read->claim.digest)) {
			json_object_put(labels);
			labels = NULL;
		}
		return append(patch, "/metadata/labels", labels, err);
	}
	if (strcmp(stow_json_text(labels, SCHEDULER_LABEL), read->claim.digest) == 0)
		return 0;
	/* ~1 is a slash. */
	return append(patch, "/metadata/labels/numastow.io~1template",
		      json_object_new_string(read->claim.digest), err);
}

/* --- containers ----------------------------------------------------------- */

static int patch_container(const struct scheduler_container *c, struct json_object *resources,
			   struct json_object *patch, struct stow_err *err)
{
	char path[64];

	snprintf(path, sizeof(path), "/spec/%s/%zu/resources", c->list, c->at);
	return append(patch, path, json_object_get(resources), err);
}

/* Check the QoS class, with the pod's own resources or those of all its containers. */
static int check_class(struct json_object *pod, const struct scheduler_pod *read,
		       struct json_object *const *filled, struct stow_err *err)
{
	struct json_object *whole = stow_kube_at(pod, "spec.resources");
	const char *of = NULL;
	int r = 0;

	for (size_t i = 0; i < read->n && !of; i++)
		if (read->containers[i].asks &&
		    stow_cpu_mode_owns(read->containers[i].request.cpu_mode))
			of = read->containers[i].name;
	if (!of)
		return 0;
	if (json_object_is_type(whole, json_type_object))
		return scheduler_container_guaranteed(whole, "", of, err);
	for (size_t i = 0; i < read->n && r == 0; i++) {
		const struct scheduler_container *c = &read->containers[i];

		r = scheduler_container_guaranteed(filled[i] ? filled[i]
							     : stow_kube_at(c->object, "resources"),
						   c->name, of, err);
	}
	return r;
}

static int patch_containers(struct json_object *pod, const struct scheduler_pod *read,
			    struct json_object *patch, struct stow_err *err)
{
	struct json_object *filled[SCHEDULER_CONTAINERS_MAX] = { NULL };
	int r = 0;

	for (size_t i = 0; i < read->n && r == 0; i++)
		if (read->containers[i].asks)
			r = scheduler_container_fill(&read->containers[i], &filled[i], err);
	if (r == 0)
		r = check_class(pod, read, filled, err);
	for (size_t i = 0; i < read->n && r == 0; i++)
		if (filled[i])
			r = patch_container(&read->containers[i], filled[i], patch, err);
	for (size_t i = 0; i < read->n; i++)
		json_object_put(filled[i]);
	return r;
}

int scheduler_pod_patch(struct json_object *pod, const struct scheduler_pod *read,
			struct json_object **ret, struct stow_err *err)
{
	_cleanup_json_ struct json_object *patch = json_object_new_array();
	int r = patch ? 0 : stow_kube_no_memory(err);

	if (r == 0)
		r = patch_claims(pod, read, patch, err);
	if (r == 0)
		r = patch_label(pod, read, patch, err);
	if (r == 0)
		r = patch_containers(pod, read, patch, err);
	if (r == 0)
		*ret = STOW_TAKE_PTR(patch);
	return r;
}

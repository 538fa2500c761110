/* SPDX-License-Identifier: Apache-2.0 */
#include "scheduler/kubernetes/review.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "kube/json.h"
#include "kube/make.h"
#include "scheduler/kubernetes/body.h"
#include "scheduler/kubernetes/pod.h"
#include "scheduler/kubernetes/work.h"

#define API "admission.k8s.io/v1"

/* --- the request ---------------------------------------------------------- */

static int parse(const char *body, size_t len, struct json_object **ret, struct stow_err *err)
{
	_cleanup_json_ struct json_object *review = NULL;
	int r = scheduler_body_parse(body, len, &review, err);

	if (r < 0)
		return r;
	if (strcmp(stow_kube_text(review, "apiVersion"), API) != 0 ||
	    strcmp(stow_kube_text(review, "kind"), "AdmissionReview") != 0)
		return stow_err_set(err, EINVAL, "the body is not an AdmissionReview of " API);
	if (!scheduler_uid_is_valid(stow_kube_text(review, "request.uid")))
		return stow_err_set(err, EINVAL, "request.uid: is not a UID");
	*ret = STOW_TAKE_PTR(review);
	return 0;
}

/* Return whether a pod only shows a static one, which kubelet runs whatever is answered. */
static bool is_mirror(struct json_object *pod)
{
	struct json_object *annotations = stow_kube_at(pod, "metadata.annotations");

	return json_object_is_type(annotations, json_type_object) &&
	       json_object_object_get_ex(annotations, "kubernetes.io/config.mirror", NULL);
}

/* Return whether a pod is being created; everything else is of no interest. */
static bool is_new_pod(struct json_object *request)
{
	return strcmp(stow_kube_text(request, "operation"), "CREATE") == 0 &&
	       strcmp(stow_kube_text(request, "resource.group"), "") == 0 &&
	       strcmp(stow_kube_text(request, "resource.resource"), "pods") == 0 &&
	       strcmp(stow_kube_text(request, "subResource"), "") == 0 &&
	       !is_mirror(stow_kube_at(request, "object"));
}

/* --- the answer ----------------------------------------------------------- */

static bool add_patch(struct json_object *response, struct json_object *patch)
{
	const char *text = json_object_to_json_string_ext(
		patch, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
	_cleanup_free_ char *encoded = NULL;
	size_t len = text ? strlen(text) : 0;

	encoded = text ? malloc(4 * ((len + 2) / 3) + 1) : NULL;
	if (!encoded)
		return false;
	EVP_EncodeBlock((unsigned char *)encoded, (const unsigned char *)text, (int)len);
	return stow_kube_put_text(response, "patchType", "JSONPatch") &&
	       stow_kube_put_text(response, "patch", encoded);
}

static bool add_refusal(struct json_object *response, const struct stow_err *why)
{
	struct json_object *status = stow_kube_object_at(response, "status");

	return stow_kube_put(status, "code", json_object_new_int(422)) &&
	       stow_kube_put_text(status, "reason", "Invalid") &&
	       stow_kube_put_text(status, "message", why->msg);
}

static int compose(struct json_object *review, struct json_object *response, bool allowed,
		   char **ret, struct stow_err *err)
{
	_cleanup_json_ struct json_object *answer = json_object_new_object();
	const char *text;

	if (!stow_kube_put_text(response, "uid", stow_kube_text(review, "request.uid")) ||
	    !stow_kube_put(response, "allowed", json_object_new_boolean(allowed)) ||
	    !stow_kube_put_text(answer, "apiVersion", API) ||
	    !stow_kube_put_text(answer, "kind", "AdmissionReview") ||
	    !stow_kube_put(answer, "response", json_object_get(response)))
		return stow_kube_no_memory(err);
	text = json_object_to_json_string_ext(answer, JSON_C_TO_STRING_PLAIN |
							      JSON_C_TO_STRING_NOSLASHESCAPE);
	*ret = text ? strdup(text) : NULL;
	return *ret ? 0 : stow_kube_no_memory(err);
}

/* Review a pod, and fill in the response. */
static int review_pod(struct json_object *pod, struct json_object *response, struct stow_err *err)
{
	_cleanup_(scheduler_pod_done) struct scheduler_pod read = { 0 };
	_cleanup_json_ struct json_object *patch = NULL;
	struct stow_err why = { 0 };
	int r = scheduler_pod_read(pod, &read, &why);

	if (r > 0)
		r = scheduler_pod_patch(pod, &read, &patch, &why);
	if (r == -ENOMEM)
		return stow_kube_no_memory(err);
	if (r < 0)
		return add_refusal(response, &why) ? SCHEDULER_REVIEW_REFUSED
						   : stow_kube_no_memory(err);
	if (read.warnings && json_object_array_length(read.warnings) &&
	    !stow_kube_put(response, "warnings", json_object_get(read.warnings)))
		return stow_kube_no_memory(err);
	if (!patch || !json_object_array_length(patch))
		return SCHEDULER_REVIEW_UNCHANGED;
	return add_patch(response, patch) ? SCHEDULER_REVIEW_PATCHED : stow_kube_no_memory(err);
}

int scheduler_review(const char *body, size_t len, char **ret_text, struct stow_err *err)
{
	_cleanup_json_ struct json_object *review = NULL, *response = NULL;
	int what = SCHEDULER_REVIEW_UNCHANGED, r;

	*ret_text = NULL;
	r = parse(body, len, &review, err);
	if (r < 0)
		return r == -ENOMEM ? r : SCHEDULER_REVIEW_INVALID;
	response = json_object_new_object();
	if (!response)
		return stow_kube_no_memory(err);
	if (is_new_pod(stow_kube_at(review, "request")))
		what = review_pod(stow_kube_at(review, "request.object"), response, err);
	if (what < 0)
		return what;
	r = compose(review, response, what != SCHEDULER_REVIEW_REFUSED, ret_text, err);
	return r < 0 ? r : what;
}

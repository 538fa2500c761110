// SPDX-License-Identifier: Apache-2.0
#include "cli/kubectl/pod.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "cli/kubectl/kubectl.h"
#include "kube/json.h"

static int no_memory(struct stow_err *err)
{
	return stow_err_set(err, ENOMEM, "out of memory");
}

static struct json_object *at(struct json_object *list, size_t i)
{
	return json_object_array_get_idx(list, i);
}

/* --- device classes ------------------------------------------------------- */

/* Find out whether a class selects our devices: its expressions name our driver, or there are
 * none. CEL is not evaluated. */
static void look_at_class(struct kubectl_choice *choice, struct json_object *class)
{
	size_t n;
	struct json_object *selectors = stow_kube_list_at(class, "spec.selectors", &n);

	choice->ours = n == 0;
	for (size_t i = 0; i < n; i++)
		if (strstr(stow_kube_text(at(selectors, i), "cel.expression"), KUBECTL_DRIVER))
			choice->ours = true;
}

/* Read the classes. A user without the right to do so gets only their names. */
static int read_class(struct stow_kube *kube, struct kubectl_choice *choice, struct stow_err *err)
{
	struct json_object *class = NULL;
	struct stow_err why = { 0 };
	int r = stow_kube_get(kube, KUBECTL_API "/deviceclasses", choice->class, &class, &why);

	if (r == -ENOENT &&
	    asprintf(&choice->fault, "there is no DeviceClass \"%s\"", choice->class) < 0) {
		choice->fault = NULL;
		return no_memory(err);
	}
	if (r == -ENOENT)
		choice->ours = true;
	else if (r == -EPERM || r == -EINVAL)
		choice->ours = strncmp(choice->class, "numastow-", 9) == 0;
	else if (r < 0)
		return stow_err_move(err, r, &why);
	if (r == 0)
		look_at_class(choice, class);
	json_object_put(class);
	return 0;
}

/* --- requests ------------------------------------------------------------- */

static void read_tolerations(struct json_object *from, struct kubectl_choice *choice)
{
	size_t n;
	struct json_object *list = stow_kube_list_at(from, "tolerations", &n);

	for (size_t i = 0; i < n && i < KUBECTL_TOLERATIONS; i++) {
		struct kubectl_toleration *to = &choice->tolerations[choice->n_tolerations++];

		kubectl_taint_read(at(list, i), &to->taint);
		to->exists = strcmp(stow_kube_text(at(list, i), "operator"), "Exists") == 0;
	}
}

static int read_choice(struct stow_kube *kube, struct json_object *from,
		       struct kubectl_choice *choice, struct stow_err *err)
{
	struct stow_err why = { 0 };
	int64_t count = stow_kube_number(from, "count", 1);
	size_t selectors;

	(void)stow_kube_list_at(from, "selectors", &selectors);
	choice->selectors = selectors > 0;
	read_tolerations(from, choice);
	choice->class = kubectl_clean(stow_kube_text(from, "deviceClassName"));
	if (!choice->class)
		return no_memory(err);
	if (kubectl_amounts_read(stow_kube_at(from, "capacity.requests"), &choice->amounts, &why) <
	    0)
		choice->fault = strdup(why.msg);
	else if (strcmp(stow_kube_text(from, "allocationMode"), "All") == 0)
		choice->fault = strdup("allocationMode All takes every NUMA node");
	else if (count < 1 || count > KUBECTL_COUNT_MAX)
		choice->fault = strdup("count is not a number of devices");
	choice->count = choice->fault ? 1 : (uint64_t)count;
	return choice->fault ? 0 : read_class(kube, choice, err);
}

static int read_request(struct stow_kube *kube, struct json_object *from,
			struct kubectl_request *request, struct stow_err *err)
{
	struct json_object *exactly = stow_kube_at(from, "exactly");
	size_t n;
	struct json_object *list = stow_kube_list_at(from, "firstAvailable", &n);
	int r = 0;

	request->name = kubectl_clean(stow_kube_text(from, "name"));
	if (!request->name)
		return no_memory(err);
	if (exactly)
		return read_choice(kube, exactly, &request->choices[request->n++], err);
	for (size_t i = 0; r == 0 && i < n && i < KUBECTL_CHOICES_MAX; i++)
		r = read_choice(kube, at(list, i), &request->choices[request->n++], err);
	return r;
}

static int read_claim(struct stow_kube *kube, const char *ns, struct kubectl_claim *claim,
		      struct stow_err *err)
{
	char path[512];
	struct stow_err why = { 0 };
	struct json_object *requests;
	size_t n, constraints;
	int r;

	snprintf(path, sizeof(path), KUBECTL_API "/namespaces/%s/resourceclaims", ns);
	r = stow_kube_get(kube, path, claim->object_name, &claim->object, &why);
	if (r == -ENOENT) {
		claim->fault = strdup("there is no such ResourceClaim");
		return claim->fault ? 0 : no_memory(err);
	}
	if (r < 0)
		return stow_err_move(err, r, &why);
	claim->allocated = stow_kube_at(claim->object, "status.allocation.devices") != NULL;
	(void)stow_kube_list_at(claim->object, "spec.devices.constraints", &constraints);
	claim->constrained = constraints > 0;
	requests = stow_kube_list_at(claim->object, "spec.devices.requests", &n);
	if (n > KUBECTL_REQUESTS_MAX)
		return stow_err_set(err, E2BIG, "claim %s has more than %d requests",
				    claim->object_name, KUBECTL_REQUESTS_MAX);
	for (size_t i = 0; r == 0 && i < n; i++)
		r = read_request(kube, at(requests, i), &claim->requests[claim->n++], err);
	return r;
}

/* --- the pod -------------------------------------------------------------- */

/* Find the name of the object that belongs to a claim of the pod. */
static const char *object_of(struct json_object *pod, struct json_object *claim)
{
	const char *name = stow_kube_text(claim, "resourceClaimName");
	size_t n;
	struct json_object *list = stow_kube_list_at(pod, "status.resourceClaimStatuses", &n);

	for (size_t i = 0; !name[0] && i < n; i++)
		if (strcmp(stow_kube_text(at(list, i), "name"), stow_kube_text(claim, "name")) == 0)
			name = stow_kube_text(at(list, i), "resourceClaimName");
	return name;
}

static int missing(struct kubectl_claim *claim, struct json_object *from, struct stow_err *err)
{
	_cleanup_free_ char *template =
		kubectl_clean(stow_kube_text(from, "resourceClaimTemplateName"));

	if (template &&
	    asprintf(&claim->fault, "it is not made yet from the ResourceClaimTemplate \"%s\"",
		     template) >= 0)
		return 0;
	claim->fault = NULL;
	return no_memory(err);
}

static int read_claims(struct stow_kube *kube, struct kubectl_pod *pod, struct stow_err *err)
{
	size_t n;
	struct json_object *list = stow_kube_list_at(pod->object, "spec.resourceClaims", &n);
	int r = 0;

	if (n > KUBECTL_CLAIMS_MAX)
		return stow_err_set(err, E2BIG, "pod %s has more than %d claims", pod->name,
				    KUBECTL_CLAIMS_MAX);
	for (size_t i = 0; r == 0 && i < n; i++) {
		struct kubectl_claim *claim = &pod->claims[pod->n++];
		const char *object = object_of(pod->object, at(list, i));

		claim->name = kubectl_clean(stow_kube_text(at(list, i), "name"));
		claim->object_name = object[0] ? kubectl_clean(object) : NULL;
		if (!claim->name || (object[0] && !claim->object_name))
			return no_memory(err);
		r = object[0] ? read_claim(kube, pod->ns, claim, err)
			      : missing(claim, at(list, i), err);
	}
	return r;
}

/* Return kube-scheduler's reason, while it cannot place the pod. */
static const char *reason_of(struct json_object *pod)
{
	size_t n;
	struct json_object *list = stow_kube_list_at(pod, "status.conditions", &n);

	for (size_t i = 0; i < n; i++)
		if (strcmp(stow_kube_text(at(list, i), "type"), "PodScheduled") == 0 &&
		    strcmp(stow_kube_text(at(list, i), "status"), "False") == 0)
			return stow_kube_text(at(list, i), "message");
	return "";
}

int kubectl_pod_read(struct stow_kube *kube, const char *ns, const char *word,
		     struct kubectl_pod *ret, struct stow_err *err)
{
	const char *slash = strchr(word, '/'), *name = slash ? slash + 1 : word;
	char path[320];
	int r;

	*ret = (struct kubectl_pod){ 0 };
	if (slash && strncmp(word, "pod/", 4) != 0 && strncmp(word, "pods/", 5) != 0 &&
	    strncmp(word, "po/", 3) != 0)
		return stow_err_set(err, EINVAL, "\"%.64s\" is not a pod like pod/NAME", word);
	if (strlen(ns) > 63 || !ns[0] ||
	    strspn(ns, "abcdefghijklmnopqrstuvwxyz0123456789-") < strlen(ns))
		return stow_err_set(err, EINVAL, "\"%.64s\" is not the name of a namespace", ns);
	snprintf(path, sizeof(path), "/api/v1/namespaces/%s/pods", ns);
	r = stow_kube_get(kube, path, name, &ret->object, err);
	if (r < 0)
		return r;
	ret->ns = kubectl_clean(ns);
	ret->name = kubectl_clean(name);
	ret->phase = kubectl_clean(stow_kube_text(ret->object, "status.phase"));
	ret->machine = kubectl_clean(stow_kube_text(ret->object, "spec.nodeName"));
	ret->reason = kubectl_clean(reason_of(ret->object));
	if (!ret->ns || !ret->name || !ret->phase || !ret->machine || !ret->reason)
		return no_memory(err);
	return read_claims(kube, ret, err);
}

void kubectl_pod_done(struct kubectl_pod *pod)
{
	for (size_t i = 0; i < pod->n; i++) {
		struct kubectl_claim *claim = &pod->claims[i];

		for (size_t k = 0; k < claim->n; k++) {
			free(claim->requests[k].name);
			for (size_t c = 0; c < claim->requests[k].n; c++) {
				free(claim->requests[k].choices[c].class);
				free(claim->requests[k].choices[c].fault);
			}
		}
		free(claim->name);
		free(claim->object_name);
		free(claim->fault);
		json_object_put(claim->object);
	}
	free(pod->ns);
	free(pod->name);
	free(pod->phase);
	free(pod->machine);
	free(pod->reason);
	json_object_put(pod->object);
}

/* --- what a claim has ----------------------------------------------------- */

struct json_object *kubectl_claim_result(const struct kubectl_claim *claim, size_t i)
{
	size_t n;
	struct json_object *list =
		stow_kube_list_at(claim->object, "status.allocation.devices.results", &n);

	for (size_t k = 0; k < n; k++)
		if (strcmp(stow_kube_text(at(list, k), "driver"), KUBECTL_DRIVER) == 0 && i-- == 0)
			return at(list, k);
	return NULL;
}

static bool same(struct json_object *a, struct json_object *b, const char *key)
{
	return strcmp(stow_kube_text(a, key), stow_kube_text(b, key)) == 0;
}

struct json_object *kubectl_claim_condition(const struct kubectl_claim *claim,
					    struct json_object *result, const char *type)
{
	size_t n, m;
	struct json_object *list = stow_kube_list_at(claim->object, "status.devices", &n);

	for (size_t i = 0; i < n; i++) {
		struct json_object *entry = at(list, i), *conditions;

		if (!same(entry, result, "driver") || !same(entry, result, "pool") ||
		    !same(entry, result, "device") || !same(entry, result, "shareID"))
			continue;
		conditions = stow_kube_list_at(entry, "conditions", &m);
		for (size_t k = 0; k < m; k++)
			if (strcmp(stow_kube_text(at(conditions, k), "type"), type) == 0)
				return at(conditions, k);
	}
	return NULL;
}

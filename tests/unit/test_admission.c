/* SPDX-License-Identifier: Apache-2.0 */
/* Annotations of pods as claims: the patch, the template, refusals; and invalid input. */
#include "unit.h"

#include <json-c/json.h>
#include <openssl/evp.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "kube/json.h"
#include "kube/make.h"
#include "place/request.h"
#include "scheduler/kubernetes/claim.h"
#include "scheduler/kubernetes/pod.h"
#include "scheduler/kubernetes/quantity.h"
#include "scheduler/kubernetes/review.h"

/* --- helpers ------------------------------------------------------------------------------------ */

static struct json_object *parse(const char *text)
{
	struct json_object *object = json_tokener_parse(text);

	if (!object)
		fail_msg("the test's own JSON is wrong: %s", text);
	return object;
}

/* Make the pod of a test: `annotations` and `spec` as JSON, with ' for ". */
static struct json_object *make_pod(const char *annotations, const char *spec)
{
	char *text;

	assert_true(asprintf(&text, "{'metadata':{'name':'p','annotations':%s},'spec':%s}",
			     annotations, spec) > 0);
	for (char *p = text; *p; p++)
		if (*p == '\'')
			*p = '"';
	struct json_object *pod = parse(text);
	free(text);
	return pod;
}

static struct json_object *answer_to(struct json_object *pod, int wanted)
{
	struct json_object *answer;
	struct stow_err err = { 0 };
	char *body, *text;
	int r;

	assert_true(asprintf(&body,
			     "{\"apiVersion\":\"admission.k8s.io/v1\",\"kind\":\"AdmissionReview\","
			     "\"request\":{\"uid\":\"u-1\",\"operation\":\"CREATE\",\"resource\":{"
			     "\"group\":\"\",\"version\":\"v1\",\"resource\":\"pods\"},"
			     "\"object\":%s}}",
			     json_object_to_json_string(pod)) > 0);
	r = scheduler_review(body, strlen(body), &text, &err);
	if (r != wanted)
		fail_msg("%d instead of %d: %s%s", r, wanted, text ? text : "", err.msg);
	answer = parse(text);
	assert_string_equal(stow_kube_text(answer, "response.uid"), "u-1");
	assert_int_equal(stow_kube_is_true(answer, "response.allowed"),
			 wanted != SCHEDULER_REVIEW_REFUSED);
	free(text);
	free(body);
	return answer;
}

/* Apply our own patches: each operation sets a value at a path whose parent is there. */
static void apply(struct json_object *pod, struct json_object *patch)
{
	for (size_t i = 0; i < json_object_array_length(patch); i++) {
		struct json_object *one = json_object_array_get_idx(patch, i), *at = pod;
		struct json_object *value = NULL;
		char path[256], *part, *next, *save = NULL;

		assert_string_equal(stow_kube_text(one, "op"), "add");
		snprintf(path, sizeof(path), "%s", stow_kube_text(one, "path"));
		assert_int_equal(json_object_deep_copy(stow_kube_at(one, "value"), &value, NULL),
				 0);
		part = strtok_r(path, "/", &save);
		while ((next = strtok_r(NULL, "/", &save))) {
			if (json_object_is_type(at, json_type_array))
				at = json_object_array_get_idx(at, (size_t)(part[0] - '0'));
			else
				assert_true(json_object_object_get_ex(at, part, &at));
			assert_non_null(at);
			part = next;
		}
		if (strcmp(part, "numastow.io~1template") == 0)
			part = (char *)(uintptr_t) "numastow.io/template";
		assert_int_equal(json_object_object_add(at, part, value), 0);
	}
}

static struct json_object *patch_of(struct json_object *answer)
{
	const char *encoded = stow_kube_text(answer, "response.patch");
	char *text = calloc(1, strlen(encoded) + 1);
	struct json_object *patch;

	assert_string_equal(stow_kube_text(answer, "response.patchType"), "JSONPatch");
	assert_true(EVP_DecodeBlock((unsigned char *)text, (const unsigned char *)encoded,
				    (int)strlen(encoded)) > 0);
	patch = parse(text);
	free(text);
	return patch;
}

static void expect_has(struct json_object *object, const char *wanted)
{
	char *text, *with;

	text = strdup(json_object_to_json_string_ext(
		object, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
	with = strdup(wanted);
	for (char *p = with; *p; p++)
		if (*p == '\'')
			*p = '"';
	if (!strstr(text, with))
		fail_msg("%s\nis not in\n%s", with, text);
	free(with);
	free(text);
}

/* --- annotations that become a patch ------------------------------------------------------------ */

#define ONE   "{'containers':[{'name':'web'}]}"
#define PART0 "'claims':[{'name':'numastow','request':'part0'}]"

static const struct becomes {
	const char *annotations, *spec;
	const char *pod[4];   /* what the patched pod has */
	const char *claim[6]; /* what the template has */
} becoming[] = {
	{ "{'numastow.io/cpus':'4','numastow.io/memory':'8Gi'}",
	  ONE,
	  { "'resources':{'requests':{'cpu':'4','memory':'8Gi'}," PART0 "}" },
	  { "'name':'part0','exactly':{'deviceClassName':'numastow-shared','allocationMode':"
	    "'ExactCount','count':1,'capacity':{'requests':{'cpus':'4','memory':'8Gi'}}}" } },
	{ "{'numastow.io/cpus':'2','numastow.io/memory':'512M','numastow.io/cpu-mode':'exclusive',"
	  "'numastow.io/hugepages-2Mi':'64Mi','numastow.io/hugepages-1Gi':'2Gi'}",
	  ONE,
	  { "'limits':{'cpu':'2','memory':'512M','hugepages-2Mi':'64Mi','hugepages-1Gi':'2Gi'}",
	    "'requests':{'cpu':'2','memory':'512M','hugepages-2Mi':'64Mi','hugepages-1Gi':'2Gi'}" },
	  { "'deviceClassName':'numastow-exclusive'",
	    "{'cpus':'2','memory':'512M','hugepages2Mi':'64Mi','hugepages1Gi':'2Gi'}" } },
	/* From the container's own limits, rounded up as the hook does. */
	{ "{'numastow.io/policy':'single-numa-node'}",
	  "{'containers':[{'name':'web','resources':{'limits':{'cpu':'2500m','memory':'1e9',"
	  "'hugepages-2Mi':'4Mi'},'requests':{'cpu':'1','memory':'1e9'}}}]}",
	  { "'requests':{'cpu':'1','memory':'1e9','hugepages-2Mi':'4Mi'}" },
	  { "{'cpus':'3','memory':'1G','hugepages2Mi':'4Mi'}" } },
	/* A key for one container; the other one has no claim. */
	{ "{'numastow.io/cpus.db':'1'}",
	  "{'containers':[{'name':'web','resources':{}},{'name':'db'}]}",
	  { "{'name':'web','resources':{}}",
	    "{'name':'db','resources':{'requests':{'cpu':'1'}," PART0 "}}" },
	  { "'cpus':'1'" } },
	/* Other claims stay. */
	{ "{'numastow.io/cpus':'1'}",
	  "{'resourceClaims':[{'name':'gpu','resourceClaimName':'x'}],'containers':[{'name':'web',"
	  "'resources':{'claims':[{'name':'gpu'}]}}]}",
	  { "[{'name':'gpu','resourceClaimName':'x'},{'name':'numastow',",
	    "'claims':[{'name':'gpu'},{'name':'numastow','request':'part0'}]" },
	  { "'cpus':'1'" } },
	/* An init container uses the part of the one after it; a sidecar has its own. */
	{ "{'numastow.io/cpus':'1'}",
	  "{'containers':[{'name':'web'}],'initContainers':[{'name':'i'},{'name':'side',"
	  "'restartPolicy':'Always'}]}",
	  { "{'name':'i','resources':{'requests':{'cpu':'1'}," PART0 "}}",
	    "'claims':[{'name':'numastow','request':'part1'}]" },
	  { "'name':'part1'" } },
	{ "{'numastow.io/scope':'pod','numastow.io/cpus.a':'1','numastow.io/cpus.b':'2'}",
	  "{'containers':[{'name':'a'},{'name':'b'}]}",
	  { "'request':'part1'" },
	  { "'constraints':[{'requests':['part0','part1'],'matchAttribute':"
	    "'resource.kubernetes.io/numaNode'}]" } },
	/* 6 CPUs and 4 pages can be divided among one or two NUMA nodes, but not among three or
	   four. */
	{ "{'numastow.io/cpus':'6','numastow.io/hugepages-2Mi':'8Mi','numastow.io/policy':"
	  "'best-effort','numastow.io/memory':'1Gi'}",
	  ONE,
	  { "'request':'part0'" },
	  { "'firstAvailable':[{'name':'on1',",
	    "{'name':'on2','deviceClassName':'numastow-shared','allocationMode':'ExactCount','"
	    "count':"
	    "2,'capacity':{'requests':{'cpus':'3','memory':'512Mi','hugepages2Mi':'4Mi'}}}]",
	    "'constraints':[{'requests':['part0'],'distinctAttribute':"
	    "'resource.kubernetes.io/numaNode'}]" } },
	{ "{'numastow.io/cpus':'4','numastow.io/policy':'spread'}",
	  ONE,
	  { "'request':'part0'" },
	  { "'firstAvailable':[{'name':'on4',",
	    "'count':1,'capacity':{'requests':{'cpus':'4'}}}]" } },
	{ "{'numastow.io/nodes':'0-2,5','numastow.io/cpus':'1'}",
	  ONE,
	  { "'request':'part0'" },
	  { "'selectors':[{'cel':{'expression':'device.attributes[\\'resource.kubernetes.io\\']."
	    "numaNode in [0,1,2,5]'}}]" } },
	{ "{'numastow.io/memory':'1Gi'}",
	  ONE,
	  { "'request':'part0'" },
	  { "'expression':'device.attributes[\\'numastow.io\\'].kind != \\'memory\\''" } },
	{ "{'numastow.io/cpus':'1','numastow.io/drain':'evict'}",
	  ONE,
	  { "'request':'part0'" },
	  { "'config':[{'requests':['part0'],'opaque':{'driver':'numastow.io','parameters':{"
	    "'apiVersion':'numastow.io/v1','kind':'Parameters','drain':'evict'}}}]" } },
};

TEST(annotations_become_a_claim_once)
{
	for (size_t i = 0; i < STOW_ARRAY_SIZE(becoming); i++) {
		const struct becomes *b = &becoming[i];
		struct json_object *pod = make_pod(b->annotations, b->spec);
		struct json_object *answer = answer_to(pod, SCHEDULER_REVIEW_PATCHED);
		struct json_object *patch = patch_of(answer), *again;
		_cleanup_(scheduler_pod_done) struct scheduler_pod read = { 0 };
		char *before = strdup(
			json_object_to_json_string(stow_kube_at(pod, "metadata.annotations")));

		apply(pod, patch);
		for (size_t k = 0; k < STOW_ARRAY_SIZE(b->pod) && b->pod[k]; k++)
			expect_has(pod, b->pod[k]);
		assert_string_equal(before, json_object_to_json_string(
						    stow_kube_at(pod, "metadata.annotations")));
		/* The controller makes the template that the pod names, of what is stored. */
		assert_int_equal(scheduler_pod_read(pod, &read, NULL), 1);
		expect_has(pod, read.template_name);
		for (size_t k = 0; k < STOW_ARRAY_SIZE(b->claim) && b->claim[k]; k++)
			expect_has(read.claim.spec, b->claim[k]);
		/* And a second review finds nothing to do. */
		again = answer_to(pod, SCHEDULER_REVIEW_UNCHANGED);
		assert_null(stow_kube_at(again, "response.patch"));
		json_object_put(again);
		free(before);
		json_object_put(patch);
		json_object_put(answer);
		json_object_put(pod);
	}
}

static void get_name(const char *annotations, const char *spec, char ret[64])
{
	struct json_object *pod = make_pod(annotations, spec);
	struct scheduler_pod read;

	assert_int_equal(scheduler_pod_read(pod, &read, NULL), 1);
	snprintf(ret, 64, "%s", read.template_name);
	scheduler_pod_done(&read);
	json_object_put(pod);
}

TEST(the_same_request_is_the_same_template)
{
	char a[64], b[64];

	get_name("{'numastow.io/cpus':'4','numastow.io/memory':'8Gi'}", ONE, a);
	get_name("{'numastow.io/memory.x':'8192Mi','numastow.io/cpus.x':'4'}",
		 "{'containers':[{'name':'x'},{'name':'y'}]}", b);
	assert_string_equal(a, b);
	assert_int_equal(strncmp(a, "numastow-", 9), 0);
	for (size_t i = 0; i < STOW_ARRAY_SIZE(becoming); i++)
		for (size_t k = 0; k < i; k++) {
			get_name(becoming[i].annotations, becoming[i].spec, a);
			get_name(becoming[k].annotations, becoming[k].spec, b);
			if (strstr(becoming[i].claim[0], "'cpus':'1'") && strcmp(a, b) == 0)
				continue; /* one CPU */
			assert_string_not_equal(a, b);
		}
}

/* --- refusals ----------------------------------------------------------------------------------- */

static const struct {
	const char *annotations, *spec, *why;
} refused[] = {
	{ "{'numastow.io/cpus':'1','numastow.io/near':'eth0'}", ONE,
	  "near: \"eth0\" is not possible" },
	{ "{'numastow.io/cpus':'1','numastow.io/policy':'restricted'}", ONE,
	  "single-numa-node, best-effort and spread are" },
	{ "{'numastow.io/cpus':'1','numastow.io/memory-policy':'interleave'}", ONE, "bind is" },
	{ "{'numastow.io/cpus':'1','numastow.io/cpu-mode':'isolated'}", ONE,
	  "shared and exclusive are" },
	{ "{'numastow.io/cpus':'1','numastow.io/reservation':'4c1f8e02a7b35d90:0-1@web-3'}", ONE,
	  "reservation" },
	{ "{'numastow.io/cpus':'1','numastow.io/scope':'pod','numastow.io/policy':'spread'}", ONE,
	  "only with policy single-numa-node" },
	{ "{'numastow.io/cpus':'4'}",
	  "{'containers':[{'name':'web','resources':{'requests':{'cpu':'500m'}}}]}",
	  "numastow.io/cpus: \"4\" and the cpu request of 500m in container web contradict each "
	  "other; give the same amount, or omit the cpu request" },
	{ "{'numastow.io/memory':'1Gi'}",
	  "{'containers':[{'name':'web','resources':{'requests':{'memory':'1G'}}}]}",
	  "\"1Gi\" and the memory request of 1G" },
	{ "{'numastow.io/hugepages-2Mi':'2Mi'}",
	  "{'containers':[{'name':'web','resources':{'limits':{'hugepages-2Mi':'4Mi'}}}]}",
	  "numastow.io/hugepages-2Mi: \"2Mi\" and the hugepages-2Mi limit of 4Mi" },
	{ "{'numastow.io/cpus':'8'}",
	  "{'containers':[{'name':'web','resources':{'limits':{'cpu':'4'}}}]}",
	  "is above the container's own limit of 4" },
	{ "{'numastow.io/cpus':'1','numastow.io/cpu-mode':'exclusive'}", ONE,
	  "need a pod of QoS class Guaranteed, but container web has no memory limit" },
	{ "{'numastow.io/cpus.web':'1','numastow.io/memory.web':'1Gi','numastow.io/cpu-mode.web':"
	  "'exclusive'}",
	  "{'containers':[{'name':'web'},{'name':'log','resources':{'limits':{'cpu':'1'}}}]}",
	  "container log has no memory limit" },
	{ "{'numastow.io/cpus':'1','numastow.io/memory':'1Gi','numastow.io/cpu-mode':'exclusive'}",
	  "{'containers':[{'name':'web','resources':{'limits':{'cpu':'2'}}}]}",
	  "\"1\" and the cpu limit of 2" },
	{ "{'numastow.io/cpus':'1'}",
	  "{'resourceClaims':[{'name':'numastow','resourceClaimName':'x'}],'containers':[{'name':"
	  "'web'}]}",
	  "use another name for yours" },
	{ "{'numastow.io/cpus':7}", ONE, "is not a plain string" },
	{ "{'numastow.io/policy':'spread'}", "{'containers':[{'name':'web','resources':7}]}",
	  "resources is not an object" },
	{ "{'numastow.io/cpus':'1'}",
	  "{'containers':[{'name':'web','resources':{'limits':{'cpu':'many'}}}]}",
	  "cpu: \"many\" is not a quantity" },
	{ "{'numastow.io/cpus':'1'}", "{'containers':[7]}", "spec.containers[0]: has no name" },
};

TEST(what_cannot_be_a_claim_is_refused_in_one_line)
{
	for (size_t i = 0; i < STOW_ARRAY_SIZE(refused); i++) {
		struct json_object *pod = make_pod(refused[i].annotations, refused[i].spec);
		struct json_object *answer = answer_to(pod, SCHEDULER_REVIEW_REFUSED);
		const char *why = stow_kube_text(answer, "response.status.message");

		if (!strstr(why, refused[i].why) || strchr(why, '\n'))
			fail_msg("\"%s\" is not in \"%s\"", refused[i].why, why);
		assert_null(stow_kube_at(answer, "response.patch"));
		json_object_put(answer);
		json_object_put(pod);
	}
}

/* The hook's own sentences, for annotations that neither of them takes. */
TEST(a_bad_annotation_is_refused_as_by_the_hook)
{
	static const char *const bad[][2] = {
		{ "numastow.io/cpsu", "4" },	     { "numastow.io/cpus", "0" },
		{ "numastow.io/memory", "512m" },    { "numastow.io/hugepages-2Mi", "3Mi" },
		{ "numastow.io/cpu-mode", "mine" },  { "numastow.io/nodes", "all" },
		{ "numastow.io/cpus.no_name", "1" }, { "numastow.io/cpus.other", "-1" },
		{ "numastow.io/scope.web", "pod" },  { "numastow.io/cpu-mode", "exclusive" },
	};

	for (size_t i = 0; i < STOW_ARRAY_SIZE(bad); i++) {
		struct stow_annotation annotation = { bad[i][0], bad[i][1] };
		struct stow_err err = { 0 };
		struct stow_request request;
		struct json_object *pod, *answer;
		char text[256];
		int r = stow_request_parse(&annotation, 1, "web", NULL,
					   STOW_POLICY_SINGLE_NUMA_NODE, &request, &err);

		if (r >= 0)
			r = stow_request_complete(&request, &(struct stow_limits){ 0 }, true, &err);
		assert_true(r < 0);
		snprintf(text, sizeof(text), "{'%s':'%s'}", bad[i][0], bad[i][1]);
		pod = make_pod(text, ONE);
		answer = answer_to(pod, SCHEDULER_REVIEW_REFUSED);
		assert_string_equal(stow_kube_text(answer, "response.status.message"), err.msg);
		json_object_put(answer);
		json_object_put(pod);
	}
}

TEST(what_has_no_effect_is_a_warning)
{
	struct json_object *pod = make_pod("{'numastow.io/cpus':'1','numastow.io/"
					   "on-failure':'ignore','numastow.io/cpus.wbe':'2'}",
					   ONE);
	struct json_object *answer = answer_to(pod, SCHEDULER_REVIEW_PATCHED);

	expect_has(stow_kube_at(answer, "response.warnings"),
		   "numastow.io/cpus.wbe has no effect: the pod has no such container");
	expect_has(stow_kube_at(answer, "response.warnings"), "on-failure: \\'ignore\\'");
	json_object_put(answer);
	json_object_put(pod);
}

/* --- reinvocation ------------------------------------------------------------------------------- */

/* Another webhook changed the annotations: the claim follows, and there is still one. */
TEST(changed_annotations_change_the_claim)
{
	struct json_object *pod = make_pod("{'numastow.io/cpus':'1'}", ONE), *answer, *patch;
	char wanted[64];

	for (int i = 0; i < 2; i++) {
		answer = answer_to(pod, SCHEDULER_REVIEW_PATCHED);
		patch = patch_of(answer);
		apply(pod, patch);
		json_object_put(patch);
		json_object_put(answer);
		json_object_object_add(stow_kube_at(pod, "metadata.annotations"),
				       "numastow.io/memory", json_object_new_string("1Gi"));
	}
	get_name("{'numastow.io/cpus':'1','numastow.io/memory':'1Gi'}", ONE, wanted);
	assert_int_equal(json_object_array_length(stow_kube_at(pod, "spec.resourceClaims")), 1);
	expect_has(stow_kube_at(pod, "spec.resourceClaims"), wanted);
	json_object_put(pod);
}

TEST(pods_without_annotations_and_static_ones_are_let_through)
{
	static const char *const other[] = {
		"{}",
		"null",
		"{'numastow.com/cpus':'x'}",
		"7",
		"{'numastow.io/cpus':'1','kubernetes.io/config.mirror':'x'}",
		"{'numastow.io/cpus':'many','kubernetes.io/config.mirror':'x'}",
	};
	struct json_object *pod, *answer;

	for (size_t i = 0; i < STOW_ARRAY_SIZE(other); i++) {
		pod = make_pod(other[i], ONE);
		answer = answer_to(pod, SCHEDULER_REVIEW_UNCHANGED);
		json_object_put(answer);
		json_object_put(pod);
	}
}

/* --- invalid input ------------------------------------------------------------------------------ */

TEST(what_is_no_review_is_told_so)
{
	static const char *const bodies[] = {
		"",
		"7",
		"[]",
		"{}",
		"{\"apiVersion\":\"admission.k8s.io/v1\"}",
		"{\"apiVersion\":\"admission.k8s.io/v1beta1\",\"kind\":\"AdmissionReview\"}",
		"{\"apiVersion\":\"admission.k8s.io/"
		"v1\",\"kind\":\"AdmissionReview\",\"request\":7}",
		"{\"apiVersion\":\"admission.k8s.io/v1\",\"kind\":\"AdmissionReview\",\"request\":{"
		"\"uid\":\"a b\"}}",
	};
	size_t many = 250000;
	struct stow_err err;
	char *text, *body;

	for (size_t i = 0; i < STOW_ARRAY_SIZE(bodies); i++) {
		err = (struct stow_err){ 0 };
		assert_int_equal(scheduler_review(bodies[i], strlen(bodies[i]), &text, &err),
				 SCHEDULER_REVIEW_INVALID);
		assert_null(text);
		assert_true(err.msg[0] && !strchr(err.msg, '\n'));
	}
	body = malloc(many + 1);
	for (size_t i = 0; i < many; i++)
		body[i] = "[0,"[i == 0 ? 0 : 2 - i % 2];
	body[many] = '\0';
	assert_int_equal(scheduler_review(body, many, &text, &err), SCHEDULER_REVIEW_INVALID);
	assert_non_null(strstr(err.msg, "more than 100000 values"));
	memset(body, '{', many);
	assert_int_equal(scheduler_review(body, many, &text, &err), SCHEDULER_REVIEW_INVALID);
	free(body);
}

TEST(other_objects_are_let_through)
{
	static const char *const requests[] = {
		"\"operation\":\"UPDATE\",\"resource\":{\"resource\":\"pods\"}",
		"\"operation\":\"CREATE\",\"resource\":{\"resource\":\"pods\"},\"subResource\":"
		"\"eviction\"",
		"\"operation\":\"CREATE\",\"resource\":{\"group\":\"apps\",\"resource\":\"pods\"}",
		"\"operation\":7",
	};
	char body[512], *text;

	for (size_t i = 0; i < STOW_ARRAY_SIZE(requests); i++) {
		snprintf(body, sizeof(body),
			 "{\"apiVersion\":\"admission.k8s.io/v1\",\"kind\":\"AdmissionReview\","
			 "\"request\":{\"uid\":\"u\",\"object\":{\"metadata\":{\"annotations\":{"
			 "\"numastow.io/cpus\":\"x\"}}},%s}}",
			 requests[i]);
		assert_int_equal(scheduler_review(body, strlen(body), &text, NULL),
				 SCHEDULER_REVIEW_UNCHANGED);
		assert_non_null(strstr(text, "\"allowed\":true"));
		free(text);
	}
}

TEST(many_annotations_and_containers_are_refused)
{
	struct json_object *pod = make_pod("{}", "{'containers':[]}"), *answer, *map, *list;
	char key[64];

	map = stow_kube_at(pod, "metadata.annotations");
	for (int i = 0; i < SCHEDULER_ANNOTATIONS_MAX; i++) {
		snprintf(key, sizeof(key), "numastow.io/cpus.c%d", i);
		json_object_object_add(map, key, json_object_new_string("1"));
	}
	answer = answer_to(pod, SCHEDULER_REVIEW_UNCHANGED);
	json_object_put(answer);
	list = stow_kube_at(pod, "spec.containers");
	for (int i = 0; i < SCHEDULER_CONTAINERS_MAX + 1; i++) {
		struct json_object *one = json_object_new_object();

		snprintf(key, sizeof(key), "c%d", i);
		json_object_object_add(one, "name", json_object_new_string(key));
		json_object_array_add(list, one);
		if (i == 0) {
			answer = answer_to(pod, SCHEDULER_REVIEW_PATCHED);
			json_object_put(answer);
		}
	}
	answer = answer_to(pod, SCHEDULER_REVIEW_REFUSED);
	expect_has(answer, "more than 128 containers");
	json_object_put(answer);
	json_object_object_add(map, "numastow.io/cpus", json_object_new_string("1"));
	answer = answer_to(pod, SCHEDULER_REVIEW_REFUSED);
	expect_has(answer, "more than 256 annotations");
	json_object_put(answer);
	json_object_put(pod);
}

/* --- parts -------------------------------------------------------------------------------------- */

TEST(quantities_are_those_of_kubernetes)
{
	static const struct {
		const char *text;
		int r;
		uint64_t milli;
	} table[] = {
		{ "0", 0, 0 },
		{ "4", 0, 4000 },
		{ "500m", 0, 500 },
		{ "0.5", 0, 500 },
		{ ".5", 0, 500 },
		{ "1.", 0, 1000 },
		{ "1e3", 0, 1000000 },
		{ "1E3", 0, 1000000 },
		{ "2E", -ERANGE, 0 },
		{ "1Ki", 0, 1024000 },
		{ "1.5Gi", 0, 1610612736000 },
		{ "1n", 0, 1 },
		{ "1500u", 0, 2 },
		{ "+1", 0, 1000 },
		{ "1e-3", 0, 1 },
		{ "", -EINVAL, 0 },
		{ ".", -EINVAL, 0 },
		{ "-1", -EINVAL, 0 },
		{ "1x", -EINVAL, 0 },
		{ "1e", -EINVAL, 0 },
		{ "1e1000", -EINVAL, 0 },
		{ "1.2.3", -EINVAL, 0 },
		{ "99999999999999999999", -ERANGE, 0 },
		{ "1e99", -ERANGE, 0 },
		{ "8Ei", -ERANGE, 0 },
	};

	for (size_t i = 0; i < STOW_ARRAY_SIZE(table); i++) {
		uint64_t milli = 0;
		int r = scheduler_quantity(table[i].text, &milli);

		if (r != table[i].r || milli != table[i].milli)
			fail_msg("\"%s\": %d, %lu", table[i].text, r, (unsigned long)milli);
	}
	for (uint64_t bytes = 1; bytes < UINT64_C(1) << 42; bytes = 3 * bytes + 1000) {
		char text[SCHEDULER_QUANTITY_LEN];
		uint64_t milli = 0;

		assert_int_equal(scheduler_quantity(scheduler_quantity_bytes(bytes, text), &milli),
				 0);
		assert_int_equal(milli, 1000 * bytes);
	}
}

TEST(a_stored_template_is_compared)
{
	static const struct {
		const char *a, *b;
		bool same;
	} table[] = {
		{ "{'a':1,'b':[{'c':'x'}]}", "{'b':[{'c':'x'}],'a':1}", true },
		{ "{'a':{}}", "{'a':{'creationTimestamp':null}}", true },
		{ "{'a':1}", "{'a':2}", false },
		{ "{'a':[1,2]}", "{'a':[1]}", false },
		{ "{'a':1}", "{'a':1,'adminAccess':true}", false },
		{ "{'a':1,'b':'x'}", "{'a':1}", false },
		{ "{'a':'1'}", "{'a':1}", false },
	};

	for (size_t i = 0; i < STOW_ARRAY_SIZE(table); i++) {
		char text[2][128];

		for (int k = 0; k < 2; k++) {
			snprintf(text[k], sizeof(text[k]), "%s", k ? table[i].b : table[i].a);
			for (char *p = text[k]; *p; p++)
				if (*p == '\'')
					*p = '"';
		}
		struct json_object *a = parse(text[0]), *b = parse(text[1]);

		assert_int_equal(scheduler_claim_same(a, b), table[i].same);
		json_object_put(a);
		json_object_put(b);
	}
}

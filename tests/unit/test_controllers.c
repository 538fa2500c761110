// SPDX-License-Identifier: Apache-2.0
/* The controllers of numastow-scheduler with a played API server: templates of claims, evictions,
 * pods whose claim is refused, and which process leads. */
#include "unit.h"

#include <stdio.h>

#include "api.h"
#include "base/clock.h"
#include "kube/json.h"
#include "scheduler/kubernetes/claims.h"
#include "scheduler/kubernetes/controllers.h"
#include "scheduler/kubernetes/names.h"
#include "scheduler/kubernetes/pod.h"
#include "scheduler/kubernetes/templates.h"

#define PODS	  "/api/v1/namespaces/x/pods"
#define EVENTS	  "/api/v1/namespaces/x/events"
#define EVICTION  PODS "/%s/eviction"
#define CLAIMS	  "/apis/resource.k8s.io/v1/namespaces/x/resourceclaims"
#define TEMPLATES "/apis/resource.k8s.io/v1/namespaces/x/resourceclaimtemplates"
#define LEASES	  "/apis/coordination.k8s.io/v1/namespaces/numastow-system/leases"
#define HOUR	  (3600 * STOW_SECOND)
#define DEADLINE  (60 * STOW_SECOND)
#define A_WHILE	  (90 * STOW_SECOND) /* more than each pause after a failure */

struct setup {
	struct scheduler_work work;
	struct scheduler_templates *templates;
	struct scheduler_claims *claims;
	char name[64]; /* of the template for two CPUs */
};

/* --- objects -------------------------------------------------------------- */

static struct json_object *parsed(const char *text)
{
	struct json_object *object = json_tokener_parse(text);

	if (!object)
		fail_msg("not JSON: %s", text);
	return object;
}

/* Put a pod with annotations, as the webhook has left it. `name_of`: its template. */
static void put_annotated(const char *name, const char *name_of, const char *more)
{
	struct json_object *object;
	char *text;

	if (asprintf(&text,
		     "{\"metadata\": {\"labels\": {\"" SCHEDULER_LABEL "\": \"%s\"}, "
		     "\"annotations\": {\"numastow.io/cpus\": \"2\", \"numastow.io/memory\": "
		     "\"1Gi\"}}, \"spec\": {\"resourceClaims\": [{\"name\": \"numastow\", "
		     "\"resourceClaimTemplateName\": \"%s\"}], \"containers\": [{\"name\": "
		     "\"main\"}]}, \"status\": {\"phase\": \"Pending\"%s}}",
		     name_of + strlen(SCHEDULER_TEMPLATE), name_of, more) < 0)
		abort();
	object = parsed(text);
	free(text);
	api_set(PODS, name, object);
}

/* Put a pod that uses the claim "db". */
static void put_user(const char *name, const char *metadata, const char *spec)
{
	char text[512];

	snprintf(text, sizeof(text),
		 "{\"metadata\": {%s}, \"spec\": {\"resourceClaims\": [{\"name\": \"c\", "
		 "\"resourceClaimName\": \"db\"}]%s}, \"status\": {\"phase\": \"Pending\"}}",
		 metadata, spec);
	api_set(PODS, name, parsed(text));
}

#define OWNED \
	"\"ownerReferences\": [{\"kind\": \"ReplicaSet\", \"uid\": \"r\", \"controller\": true}]"
#define BOUND ", \"nodeName\": \"m\""

/* Put the claim "db", which is reserved for two pods, with a condition. */
static void put_claim(const char *type, const char *status)
{
	struct json_object *one = api_get(PODS, "one"), *two = api_get(PODS, "two");
	char text[1024];

	snprintf(text, sizeof(text),
		 "{\"metadata\": {\"uid\": \"claim\"}, \"status\": {\"allocation\": {\"devices\": "
		 "{\"results\": [{\"driver\": \"numastow.io\", \"pool\": \"m\", \"device\": "
		 "\"node0\", \"shareID\": \"s\"}]}}, \"reservedFor\": [{\"resource\": \"pods\", "
		 "\"name\": \"one\", \"uid\": \"%s\"}, {\"resource\": \"pods\", \"name\": \"two\", "
		 "\"uid\": \"%s\"}], \"devices\": [{\"driver\": \"numastow.io\", \"pool\": \"m\", "
		 "\"device\": \"node0\", \"shareID\": \"s\", \"conditions\": [{\"type\": \"%s\", "
		 "\"status\": \"%s\", \"message\": \"node0 is full\"}]}]}}",
		 stow_kube_text(one, "metadata.uid"), stow_kube_text(two, "metadata.uid"), type,
		 status);
	json_object_put(one);
	json_object_put(two);
	api_set(CLAIMS, "db", parsed(text));
}

static size_t events(const char *reason)
{
	return api_count_with(EVENTS, "reason", reason);
}

/* --- one thread ----------------------------------------------------------- */

static int set_up(void **state)
{
	struct setup *s = calloc(1, sizeof(*s));
	struct scheduler_pod read = { 0 };
	struct json_object *pod;

	assert_non_null(s);
	api_reset();
	assert_int_equal(stow_kube_new(NULL, &s->work.kube, NULL), 0);
	assert_int_equal(scheduler_templates_new(&s->work, HOUR, &s->templates, NULL), 0);
	assert_int_equal(scheduler_claims_new(&s->work, DEADLINE, &s->claims, NULL), 0);
	pod = parsed("{\"metadata\": {\"annotations\": {\"numastow.io/cpus\": \"2\", "
		     "\"numastow.io/memory\": \"1Gi\"}}, \"spec\": {\"containers\": [{\"name\": "
		     "\"main\"}]}}");
	assert_int_equal(scheduler_pod_read(pod, &read, NULL), 1);
	snprintf(s->name, sizeof(s->name), "%s", read.template_name);
	scheduler_pod_done(&read);
	json_object_put(pod);
	*state = s;
	return 0;
}

static int tear_down(void **state)
{
	struct setup *s = *state;

	scheduler_templates_free(s->templates);
	scheduler_claims_free(s->claims);
	stow_kube_free(s->work.kube);
	free(s);
	api_reset();
	return 0;
}

#define WITH_SETUP(name) TEST_WITH(name, struct setup *s, set_up, tear_down)

/* Do all that is due now, and what comes of it. */
static void settle(struct setup *s)
{
	for (int i = 0; i < 20; i++) {
		(void)stow_kube_wait(s->work.kube, 0);
		(void)scheduler_templates_look(s->templates);
		(void)scheduler_claims_look(s->claims);
	}
}

static void later(struct setup *s, uint64_t ns)
{
	api_turn(ns);
	settle(s);
}

WITH_SETUP(a_pod_gets_its_template)
{
	struct json_object *made;

	put_annotated("p", s->name, "");
	settle(s);
	made = api_get(TEMPLATES, s->name);
	assert_non_null(made);
	assert_non_null(stow_kube_at(made, "spec.spec.devices"));
	assert_string_equal(stow_kube_text(made, "kind"), "ResourceClaimTemplate");
	json_object_put(made);
	/* A second pod has the same one. */
	put_annotated("q", s->name, "");
	settle(s);
	assert_int_equal(api_calls("POST", TEMPLATES), 1);
	assert_int_equal(api_count(EVENTS), 0);
	/* It was deleted too early. */
	api_remove(TEMPLATES, s->name);
	settle(s);
	later(s, A_WHILE);
	assert_true(api_has(TEMPLATES, s->name));
	assert_int_equal(atomic_load(&s->work.templates_made), 2);
}

WITH_SETUP(an_unused_template_is_deleted)
{
	put_annotated("p", s->name, "");
	settle(s);
	api_set(TEMPLATES, "theirs", parsed("{\"spec\": {}}"));
	for (int i = 0; i < 12; i++)
		later(s, HOUR / 6);
	assert_true(api_has(TEMPLATES, s->name));
	api_remove(PODS, "p");
	later(s, HOUR / 6);
	assert_true(api_has(TEMPLATES, s->name));
	for (int i = 0; i < 8; i++)
		later(s, HOUR / 6);
	assert_false(api_has(TEMPLATES, s->name));
	assert_true(api_has(TEMPLATES, "theirs"));
	assert_int_equal(atomic_load(&s->work.templates_deleted), 1);
}

WITH_SETUP(a_quota_is_told_to_the_pod)
{
	api_fail("POST", TEMPLATES, EPERM);
	put_annotated("p", s->name, "");
	settle(s);
	assert_int_equal(api_count(EVENTS), 1);
	assert_int_equal(events("NoClaimTemplate"), 1);
	later(s, A_WHILE);
	assert_int_equal(api_count(EVENTS), 1);
	assert_true(api_calls("POST", TEMPLATES) >= 2);
	api_fail("POST", TEMPLATES, 0);
	later(s, A_WHILE);
	assert_true(api_has(TEMPLATES, s->name));
}

WITH_SETUP(a_template_of_another_content_is_left_alone)
{
	struct json_object *stored;

	api_set(TEMPLATES, "before", parsed("{\"spec\": {}}"));
	settle(s);
	/* The watch is behind: it is there when it is to be made. */
	api_cut(0, true);
	put_annotated("p", s->name, "");
	api_set(TEMPLATES, s->name, parsed("{\"spec\": {\"spec\": {\"mine\": true}}}"));
	api_cut(0, false);
	settle(s);
	stored = api_get(TEMPLATES, s->name);
	assert_true(stow_kube_is_true(stored, "spec.spec.mine"));
	json_object_put(stored);
	assert_int_equal(atomic_load(&s->work.templates_made), 0);
	assert_int_equal(events("NoClaimTemplate"), 1);
}

WITH_SETUP(a_drain_evicts_the_pods_of_a_claim)
{
	put_user("one", "", BOUND);
	put_user("two", "", BOUND);
	put_user("other", "", BOUND);
	put_claim("numastow.io/Evict", "True");
	settle(s);
	assert_int_equal(api_count(PODS), 1);
	assert_true(api_has(PODS, "other"));
	assert_int_equal(atomic_load(&s->work.evictions), 2);
	assert_int_equal(events("MemoryDrain"), 2);
}

WITH_SETUP(a_budget_delays_an_eviction)
{
	char eviction[64];

	snprintf(eviction, sizeof(eviction), EVICTION, "one");
	put_user("one", "", BOUND);
	put_user("two", "", BOUND);
	api_fail("POST", eviction, EAGAIN);
	put_claim("numastow.io/Evict", "True");
	settle(s);
	assert_int_equal(api_count(PODS), 1);
	assert_true(api_has(PODS, "one"));
	assert_int_equal(events("EvictionBlocked"), 1);
	assert_int_equal(api_calls("POST", eviction), 1);
	later(s, A_WHILE);
	assert_int_equal(api_calls("POST", eviction), 2);
	assert_int_equal(events("EvictionBlocked"), 1);
	api_fail("POST", eviction, 0);
	later(s, A_WHILE);
	assert_int_equal(api_count(PODS), 0);
}

WITH_SETUP(an_ended_drain_evicts_nothing)
{
	put_user("one", "", BOUND);
	put_user("two", "", BOUND);
	api_cut(0, true);
	put_claim("numastow.io/Evict", "True");
	settle(s);
	put_claim("numastow.io/Evict", "False");
	api_cut(0, false);
	later(s, A_WHILE);
	assert_int_equal(api_count(PODS), 2);
	assert_int_equal(atomic_load(&s->work.evictions), 0);
}

WITH_SETUP(a_refused_claim_has_its_pods_placed_anew)
{
	put_user("one", OWNED, BOUND);
	put_user("two", "", BOUND);
	put_claim("numastow.io/Prepared", "False");
	settle(s);
	later(s, DEADLINE / 2);
	assert_int_equal(api_count(PODS), 2);
	later(s, DEADLINE);
	/* No controller would make the other one anew. */
	assert_int_equal(api_count(PODS), 1);
	assert_true(api_has(PODS, "two"));
	assert_int_equal(events("ClaimRefused"), 2);
	later(s, DEADLINE);
	assert_int_equal(events("ClaimRefused"), 2);
	assert_int_equal(atomic_load(&s->work.pods_deleted), 1);
}

WITH_SETUP(a_claim_that_is_prepared_in_time_keeps_its_pods)
{
	put_user("one", OWNED, BOUND);
	put_user("two", OWNED, BOUND);
	put_claim("numastow.io/Prepared", "False");
	later(s, DEADLINE / 2);
	put_claim("numastow.io/Prepared", "True");
	later(s, 2 * DEADLINE);
	/* Refused again: the time begins anew. */
	put_claim("numastow.io/Prepared", "False");
	settle(s);
	later(s, DEADLINE / 2);
	assert_int_equal(api_count(PODS), 2);
	later(s, DEADLINE);
	assert_int_equal(api_count(PODS), 0);
}

WITH_SETUP(a_pod_that_is_not_bound_is_kube_schedulers)
{
	/* The claim was refused before binding. */
	put_user("one", OWNED, "");
	put_user("two", "", "");
	put_claim("numastow.io/Prepared", "False");
	settle(s);
	later(s, 2 * DEADLINE);
	assert_int_equal(api_count(PODS), 2);
	assert_int_equal(api_count(EVENTS), 0);
}

WITH_SETUP(a_server_that_is_away_costs_time_only)
{
	put_user("one", OWNED, BOUND);
	put_user("two", OWNED, BOUND);
	put_annotated("p", s->name, "");
	put_claim("numastow.io/Prepared", "False");
	settle(s);
	api_cut(0, true);
	api_remove(TEMPLATES, s->name);
	for (int i = 0; i < 10; i++)
		later(s, A_WHILE);
	assert_true(api_has(PODS, "one"));
	assert_true(atomic_load(&s->work.failures) > 0);
	api_cut(0, false);
	for (int i = 0; i < 10; i++)
		later(s, A_WHILE);
	assert_false(api_has(PODS, "one"));
	assert_true(api_has(TEMPLATES, s->name));
}

/* --- with threads --------------------------------------------------------- */

static struct scheduler_controllers *start(void)
{
	const struct scheduler_controllers_options options = { .lease_namespace = "numastow-system",
							       .prepare_deadline = DEADLINE,
							       .unused_templates = HOUR };
	struct scheduler_controllers *ret = NULL;
	struct stow_err err = { 0 };

	if (scheduler_controllers_new(&options, &ret, &err) < 0)
		fail_msg("%s", err.msg);
	return ret;
}

static char *holder(void)
{
	struct json_object *lease = api_get(LEASES, "numastow-scheduler");
	char *ret = strdup(stow_kube_text(lease, "spec.holderIdentity"));

	assert_non_null(ret);
	json_object_put(lease);
	return ret;
}

static bool is_held(void)
{
	char *of = holder();
	bool held = of[0];

	free(of);
	return held;
}

static bool is_held_by_another(const char *one)
{
	char *of = holder();
	bool other = of[0] && strcmp(of, one) != 0;

	free(of);
	return other;
}

static bool leads(struct scheduler_controllers *c)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	bool found;

	assert_non_null(out);
	scheduler_controllers_render(c, out);
	assert_int_equal(fclose(out), 0);
	found = strstr(text, "numastow_scheduler_kubernetes_leader 1\n") != NULL;
	free(text);
	return found;
}

WITH_SETUP(the_leader_acts)
{
	struct scheduler_controllers *c = start();
	char why[64];

	put_annotated("p", s->name, "");
	UNTIL(api_has(TEMPLATES, s->name));
	assert_true(leads(c));
	assert_true(scheduler_controllers_well(c, why, sizeof(why)));
	put_user("one", "", BOUND);
	put_user("two", "", BOUND);
	put_claim("numastow.io/Evict", "True");
	UNTIL(api_count(PODS) == 1);
	scheduler_controllers_free(c);
	assert_false(is_held());
}

WITH_SETUP(one_of_two_leads)
{
	struct scheduler_controllers *first = start(), *second;
	char *of;

	UNTIL(leads(first));
	second = start();
	/* It has looked at the lease, and again. */
	UNTIL(api_calls("GET", LEASES) >= 6);
	assert_false(leads(second));
	put_annotated("p", s->name, "");
	UNTIL(api_has(TEMPLATES, s->name));
	assert_int_equal(api_calls("POST", TEMPLATES), 1);
	of = holder();
	scheduler_controllers_free(first);
	UNTIL(is_held_by_another(of));
	UNTIL(leads(second));
	free(of);
	api_remove(TEMPLATES, s->name);
	UNTIL((api_turn(STOW_SECOND / 2), api_has(TEMPLATES, s->name)));
	scheduler_controllers_free(second);
}

/* Clients are numbered as they are made: set_up()'s, then two of each process, of which the second
 * one is the lease's. */
WITH_SETUP(a_leader_without_the_server_does_not_act)
{
	struct scheduler_controllers *first = start(), *second;
	char *of;

	UNTIL(leads(first));
	of = holder();
	second = start();
	UNTIL(api_calls("GET", LEASES) >= 4);
	api_cut(2, true);
	/* It finds that by its own clock, before the other one may lead. */
	api_turn(SCHEDULER_LEASE_LEADS);
	assert_false(leads(first));
	UNTIL((api_turn(STOW_SECOND), leads(second)));
	assert_true(is_held_by_another(of));
	api_cut(2, false);
	free(of);
	scheduler_controllers_free(first);
	scheduler_controllers_free(second);
}

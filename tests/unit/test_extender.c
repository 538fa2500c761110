// SPDX-License-Identifier: Apache-2.0
/* The extender's answers to kube-scheduler, over fleets made by hand. */
#include "unit.h"

#include <json-c/json.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "kube/json.h"
#include "report.h"
#include "scheduler/extender/answer.h"

#define GI (UINT64_C(1) << 30)

static const struct stow_now now = { 1000, 1000 };

struct scene {
	struct stow_fleet *fleet;
	struct extender_options options;
	struct stow_err err;
	int r;
};

static struct stow_machine *add(struct scene *s, const char *name, uint32_t n_numa, uint32_t cpus)
{
	struct report report;

	report_init(&report, name, n_numa, cpus, 16 * GI);
	return report_apply(s->fleet, &report, now);
}

static void scene_new(struct scene *s)
{
	*s = (struct scene){ 0 };
	assert_int_equal(stow_fleet_new(&s->fleet, NULL), 0);
	s->options = (struct extender_options){ .fleet = s->fleet, .within = UINT64_MAX };
	stow_lock_take(&s->fleet->lock);
	add(s, "small", 2, 4);
	add(s, "large", 2, 8);
	stow_lock_give(&s->fleet->lock);
}

static void scene_done(struct scene *s)
{
	stow_fleet_free(s->fleet);
}

/* Ask with a body in which ' stands for ". */
static struct json_object *ask_body(struct scene *s, enum extender_verb verb, const char *body)
{
	_cleanup_free_ char *copy = strdup(body), *text = NULL;
	struct json_object *answer = NULL;

	for (char *p = copy; *p; p++)
		if (*p == '\'')
			*p = '"';
	s->err = (struct stow_err){ 0 };
	s->r = extender_answer(&s->options, verb, copy, strlen(copy), &text, &s->err);
	assert_true((s->r == 0) == (text != NULL));
	if (text) {
		answer = json_tokener_parse(text);
		assert_non_null(answer);
	}
	return answer;
}

static struct json_object *ask(struct scene *s, enum extender_verb verb, const char *annotations,
			       const char *spec, const char *names)
{
	_cleanup_free_ char *body = NULL;
	struct json_object *answer;

	assert_true(asprintf(&body,
			     "{'Pod':{'metadata':{'name':'p','annotations':%s},'spec':%s},"
			     "'Nodes':null,'NodeNames':%s}",
			     annotations, spec, names) > 0);
	answer = ask_body(s, verb, body);
	if (s->r < 0)
		fail_msg("%s", s->err.msg);
	return answer;
}

/* Compare a value at a path, as JSON with ' for ". */
static void has(struct json_object *answer, const char *path, const char *wanted)
{
	struct json_object *value = path[0] ? stow_kube_at(answer, path) : answer;
	_cleanup_free_ char *got = strdup(json_object_to_json_string_ext(
		value, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));

	for (char *p = got; *p; p++)
		if (*p == '"')
			*p = '\'';
	assert_string_equal(got, wanted);
}

#define ONE  "{'containers':[{'name':'a'}]}"
#define TWO  "{'containers':[{'name':'a'},{'name':'b'}]}"
#define INIT "{'containers':[{'name':'a'}],'initContainers':[{'name':'i'}]}"
#define BOTH "['small','large']"

static void filter(struct scene *s, const char *annotations, const char *spec, const char *wanted)
{
	struct json_object *answer = ask(s, EXTENDER_FILTER, annotations, spec, BOTH);

	has(answer, "NodeNames", wanted);
	json_object_put(answer);
}

TEST(refuses_with_the_planners_reason)
{
	_cleanup_(scene_done) struct scene s;
	struct json_object *answer;

	scene_new(&s);
	answer = ask(&s, EXTENDER_FILTER, "{'numastow.io/cpus':'6'}", ONE,
		     "['small','large','stranger']");
	has(answer, "",
	    "{'NodeNames':['large'],'FailedNodes':{'small':'node small: 6 CPUs on one NUMA node; "
	    "node 0 has 4 of 4 free, node 1 has 4 of 4 free'},"
	    "'FailedAndUnresolvableNodes':{'stranger':'no agent of this machine is "
	    "connected'},'Error':''}");
	json_object_put(answer);
}

TEST(passes_pods_without_annotations)
{
	_cleanup_(scene_done) struct scene s;
	struct json_object *answer;

	scene_new(&s);
	answer = ask(&s, EXTENDER_FILTER, "{'other':'6'}", ONE, "['stranger','small']");
	has(answer, "NodeNames", "['stranger','small']");
	json_object_put(answer);
	answer = ask(&s, EXTENDER_PRIORITIZE, "null", ONE, "['stranger','small']");
	has(answer, "", "[{'Host':'stranger','Score':0},{'Host':'small','Score':0}]");
	json_object_put(answer);
}

/* What each has alone is not what they have together. */
TEST(counts_containers_together)
{
	_cleanup_(scene_done) struct scene s;

	scene_new(&s);
	filter(&s, "{'numastow.io/cpus':'4'}", TWO, "['small','large']");
	filter(&s, "{'numastow.io/cpus.a':'4','numastow.io/cpus.b':'5'}", TWO, "['large']");
	filter(&s, "{'numastow.io/cpus':'3','numastow.io/memory':'9Gi'}", TWO, "['small','large']");
	filter(&s, "{'numastow.io/memory':'9Gi','numastow.io/nodes':'0'}", TWO, "[]");
	filter(&s, "{'numastow.io/hugepages-2Mi':'9Gi','numastow.io/nodes':'1'}", TWO, "[]");
	filter(&s, "{'numastow.io/hugepages-2Mi':'7Gi','numastow.io/nodes':'1'}", TWO,
	       "['small','large']");
	/* One CPU stays for others. */
	filter(&s, "{'numastow.io/cpus':'4','numastow.io/cpu-mode':'exclusive'}", TWO, "['large']");
	filter(&s,
	       "{'numastow.io/cpus':'3','numastow.io/cpu-mode':'exclusive','numastow.io/nodes':'0'"
	       "}",
	       TWO, "['large']");
	/* All on the same NUMA nodes. */
	filter(&s, "{'numastow.io/cpus':'3','numastow.io/scope':'pod'}", TWO, "['large']");
	filter(&s, "{'numastow.io/cpus':'5','numastow.io/scope':'pod'}", TWO, "[]");
}

/* Init containers end before: they take nothing from the others. */
TEST(checks_init_containers_alone)
{
	_cleanup_(scene_done) struct scene s;

	scene_new(&s);
	filter(&s, "{'numastow.io/cpus':'4','numastow.io/nodes':'0'}", INIT, "['small','large']");
	filter(&s, "{'numastow.io/cpus.a':'4','numastow.io/cpus.i':'5'}", INIT, "['large']");
}

/* Also what no claim could express. */
TEST(knows_other_policies)
{
	_cleanup_(scene_done) struct scene s;

	scene_new(&s);
	filter(&s, "{'numastow.io/cpus':'6','numastow.io/policy':'best-effort'}", ONE,
	       "['small','large']");
	filter(&s, "{'numastow.io/cpus':'20','numastow.io/policy':'best-effort'}", ONE, "[]");
	/* Machines do not report isolated CPUs. */
	filter(&s,
	       "{'numastow.io/cpus':'6','numastow.io/cpu-mode':'isolated','numastow.io/memory':"
	       "'1Gi'}",
	       ONE, "['small','large']");
}

TEST(shows_bad_annotations)
{
	_cleanup_(scene_done) struct scene s;
	struct json_object *answer;

	scene_new(&s);
	answer = ask(&s, EXTENDER_FILTER, "{'numastow.io/cpsu':'2'}", ONE, "['small']");
	has(answer, "NodeNames", "[]");
	has(answer, "FailedAndUnresolvableNodes",
	    "{'small':'unknown annotation \\'numastow.io/cpsu\\'; did you mean "
	    "\\'numastow.io/cpus\\'?'}");
	json_object_put(answer);
}

TEST(stays_at_a_reservation)
{
	_cleanup_(scene_done) struct scene s;
	struct json_object *answer;

	scene_new(&s);
	answer = ask(&s, EXTENDER_FILTER,
		     "{'numastow.io/cpus':'99','numastow.io/reservation':'4c1f8e02a7b35d90:0@large'"
		     "}",
		     ONE, "['small','large']");
	has(answer, "NodeNames", "['large']");
	has(answer, "FailedAndUnresolvableNodes",
	    "{'small':'the pod's reservation is on node large'}");
	json_object_put(answer);
}

TEST(prefers_what_place_prefers)
{
	_cleanup_(scene_done) struct scene s;
	struct json_object *answer;

	scene_new(&s);
	answer = ask(&s, EXTENDER_PRIORITIZE, "{'numastow.io/cpus':'2'}", ONE,
		     "['large','small','stranger']");
	has(answer, "",
	    "[{'Host':'large','Score':5},{'Host':'small','Score':10},{'Host':'stranger','Score':0}"
	    "]");
	json_object_put(answer);
	s.options.spread = true;
	answer = ask(&s, EXTENDER_PRIORITIZE, "{'numastow.io/cpus':'2'}", ONE, BOTH);
	has(answer, "", "[{'Host':'small','Score':5},{'Host':'large','Score':10}]");
	json_object_put(answer);
	s.options.spread = false;
	/* One NUMA node before the fuller machine. */
	answer = ask(&s, EXTENDER_PRIORITIZE,
		     "{'numastow.io/cpus':'6','numastow.io/policy':'best-effort'}", ONE, BOTH);
	has(answer, "", "[{'Host':'small','Score':5},{'Host':'large','Score':10}]");
	json_object_put(answer);
}

/* Reservations count, and no question makes one. */
TEST(changes_nothing)
{
	_cleanup_(scene_done) struct scene s;
	uint64_t clock;

	scene_new(&s);
	for (uint32_t numa = 0; numa < 2; numa++) {
		stow_lock_take(&s.fleet->lock);
		report_reserve(s.fleet, stow_fleet_find(s.fleet, "large"), numa + 1, numa, 3, GI,
			       false, 100000);
		stow_lock_give(&s.fleet->lock);
	}
	clock = s.fleet->clock;
	for (int i = 0; i < 3; i++) {
		filter(&s, "{'numastow.io/cpus':'5'}", ONE, "['large']");
		filter(&s, "{'numastow.io/cpus':'6'}", ONE, "[]");
	}
	assert_int_equal(s.fleet->clock, clock);
	assert_int_equal(s.fleet->reservations.n, 2);
}

static void refused(struct scene *s, const char *body, int wanted, const char *why)
{
	assert_null(ask_body(s, EXTENDER_FILTER, body));
	assert_int_equal(s->r, wanted);
	assert_string_equal(s->err.msg, why);
}

TEST(bounds_requests)
{
	_cleanup_(scene_done) struct scene s;
	struct json_object *names = json_object_new_array(), *answer;
	_cleanup_free_ char *body = NULL;

	scene_new(&s);
	refused(&s, "[]", -EINVAL, "the body is not a JSON object");
	refused(&s, "{}", -EINVAL, "Pod: missing");
	refused(&s, "{'Pod':{},'Nodes':{'items':[]}}", -EINVAL,
		"NodeNames: missing; set nodeCacheCapable: true for the extender");
	refused(&s, "{'Pod':{},'NodeNames':['a',7]}", -EINVAL, "NodeNames[1]: is not a name");
	refused(&s, "{'Pod':{},'NodeNames':['a\\u0000b']}", -EINVAL, "NodeNames[0]: is not a name");
	for (int i = 0; i < EXTENDER_NODES_MAX; i++)
		json_object_array_add(names, json_object_new_string("small"));
	answer = ask(&s, EXTENDER_FILTER, "{'numastow.io/cpus':'1'}", ONE,
		     json_object_to_json_string(names));
	assert_int_equal(json_object_array_length(stow_kube_at(answer, "NodeNames")),
			 EXTENDER_NODES_MAX);
	json_object_put(answer);
	json_object_array_add(names, json_object_new_string("small"));
	assert_true(asprintf(&body, "{'Pod':{},'NodeNames':%s}",
			     json_object_to_json_string(names)) > 0);
	refused(&s, body, -E2BIG, "NodeNames: 5001 machines; at most 5000");
	json_object_put(names);
	s.options.within = 0;
	refused(&s,
		"{'Pod':{'metadata':{'annotations':{'numastow.io/cpus':'1'}},'spec':" ONE
		"},'NodeNames':['small']}",
		-ETIMEDOUT, "0 of 1 machines were checked within 0 ms");
}

TEST(tells_failures)
{
	_cleanup_free_ char *text = extender_filter_failed("why");

	assert_string_equal(text, "{\"NodeNames\":[],\"FailedNodes\":{},"
				  "\"FailedAndUnresolvableNodes\":{},\"Error\":\"why\"}");
}

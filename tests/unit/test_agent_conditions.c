// SPDX-License-Identifier: Apache-2.0
/* Conditions of a claim's shares; and kubelet's checkpoint. */
#include "unit.h"

#include <json-c/json.h>
#include <stdio.h>

#include "agent/kubernetes/checkpoint.h"
#include "agent/kubernetes/conditions.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "kube/json.h"
#include "tree.h"

#define UID    "11111111-2222-4333-8444-555555555555"
#define OTHER  "66666666-2222-4333-8444-555555555555"
#define FIRST  "aaaaaaaa-0000-4000-8000-000000000001"
#define SECOND "aaaaaaaa-0000-4000-8000-000000000002"
#define THIRD  "aaaaaaaa-0000-4000-8000-000000000003"

static const char whole[] = "{\"metadata\": {\"uid\": \"" UID
			    "\"}, \"status\": {\"allocation\": {\"devices\": {\"results\": ["
			    " {\"driver\": \"numastow.io\", \"pool\": \"m\", \"device\": "
			    "\"node1\", \"shareID\": \"" FIRST "\"},"
			    " {\"driver\": \"gpu.example\", \"pool\": \"m\", \"device\": \"gpu0\"},"
			    " {\"driver\": \"numastow.io\", \"pool\": \"n\", \"device\": "
			    "\"node0\", \"shareID\": \"" SECOND "\"},"
			    " {\"driver\": \"numastow.io\", \"pool\": \"m\", \"device\": "
			    "\"node0\", \"shareID\": \"" THIRD "\"}"
			    "]}}%s}}";

static struct json_object *claim(const char *devices)
{
	struct json_object *object;
	char *text;

	if (asprintf(&text, whole, devices) < 0)
		abort();
	object = json_tokener_parse(text);
	assert_non_null(object);
	free(text);
	return object;
}

static int merge(struct json_object *object, const struct agent_conditions *wanted, uint64_t now)
{
	struct stow_err err = { 0 };
	int r = agent_conditions_merge(object, wanted, now * STOW_SECOND, &err);

	if (r < 0)
		fail_msg("%s", err.msg);
	return r;
}

/* Check a condition of an entry: "STATUS REASON MESSAGE SECONDS"; NULL: it is not there. */
static void is(struct json_object *object, size_t entry, const char *type, const char *wanted)
{
	struct json_object *devices, *list, *found = NULL;
	char text[700];
	size_t n;

	devices = stow_kube_list_at(object, "status.devices", &n);
	assert_true(entry < n);
	list = stow_kube_list_at(json_object_array_get_idx(devices, entry), "conditions", &n);
	for (size_t i = 0; i < n; i++)
		if (strcmp(stow_kube_text(json_object_array_get_idx(list, i), "type"), type) == 0)
			found = json_object_array_get_idx(list, i);
	if (!wanted) {
		assert_null(found);
		return;
	}
	snprintf(text, sizeof(text), "%s %s \"%s\" %s", stow_kube_text(found, "status"),
		 stow_kube_text(found, "reason"), stow_kube_text(found, "message"),
		 stow_kube_text(found, "lastTransitionTime"));
	assert_string_equal(text, wanted);
}

static size_t count(struct json_object *object)
{
	size_t n;

	(void)stow_kube_list_at(object, "status.devices", &n);
	return n;
}

TEST(a_prepared_claim)
{
	struct agent_conditions_share shares[] = { { .id = FIRST }, { .id = THIRD } };
	struct agent_conditions wanted = { .uid = UID, .pool = "m", .shares = shares, .n = 2 };
	struct json_object *object = claim("");

	assert_int_equal(merge(object, &wanted, 1), 1);
	assert_int_equal(count(object), 2); /* not the other machine's, nor the other driver's */
	is(object, 0, "numastow.io/Prepared", "True Prepared \"\" 1970-01-01T00:00:01Z");
	is(object, 0, "numastow.io/InPlace", "True InPlace \"\" 1970-01-01T00:00:01Z");
	is(object, 0, "numastow.io/Evict", NULL);
	assert_int_equal(merge(object, &wanted, 2), 0);
	shares[0].drift = "its CPUs are others";
	shares[1].evict = true;
	assert_int_equal(merge(object, &wanted, 3), 1);
	is(object, 0, "numastow.io/InPlace",
	   "False Drift \"its CPUs are others\" 1970-01-01T00:00:03Z");
	is(object, 0, "numastow.io/Evict", NULL);
	is(object, 1, "numastow.io/InPlace", "True InPlace \"\" 1970-01-01T00:00:01Z");
	is(object, 1, "numastow.io/Evict",
	   "True MemoryDrain \"the memory of NUMA node 0 is being drained\" 1970-01-01T00:00:03Z");
	/* Another message, the same status. */
	shares[0].drift = "its NUMA nodes are others";
	assert_int_equal(merge(object, &wanted, 4), 1);
	is(object, 0, "numastow.io/InPlace",
	   "False Drift \"its NUMA nodes are others\" 1970-01-01T00:00:03Z");
	shares[0].drift = NULL;
	shares[1].evict = false;
	assert_int_equal(merge(object, &wanted, 5), 1);
	is(object, 0, "numastow.io/InPlace", "True InPlace \"\" 1970-01-01T00:00:05Z");
	is(object, 1, "numastow.io/Evict", NULL);
	/* Another reason, the same status. */
	shares[0].above = "it may use more";
	assert_int_equal(merge(object, &wanted, 6), 1);
	is(object, 0, "numastow.io/InPlace",
	   "True LimitAboveClaim \"it may use more\" 1970-01-01T00:00:05Z");
	shares[0].above = NULL;
	assert_int_equal(merge(object, &wanted, 7), 1);
	is(object, 0, "numastow.io/InPlace", "True InPlace \"\" 1970-01-01T00:00:05Z");
	json_object_put(object);
}

TEST(a_refused_claim)
{
	struct agent_conditions wanted = {
		.uid = UID, .pool = "m", .refusal = "fenced\n\xff", .refused = 7 * STOW_SECOND
	};
	struct json_object *object = claim("");
	char *text = malloc(2000);

	assert_int_equal(merge(object, &wanted, 9), 1);
	is(object, 0, "numastow.io/Prepared", "False Refused \"fenced??\" 1970-01-01T00:00:07Z");
	is(object, 0, "numastow.io/InPlace", NULL);
	memset(text, 'x', 1999);
	text[1999] = '\0';
	wanted.refusal = text;
	assert_int_equal(merge(object, &wanted, 10), 1);
	assert_int_equal(merge(object, &wanted, 11), 0);
	wanted.refusal = NULL;
	/* It is neither refused nor in the ledger: what was said stays. */
	assert_int_equal(merge(object, &wanted, 12), 0);
	free(text);
	json_object_put(object);
}

#define BINDING                                               \
	"\"bindingConditions\": [\"numastow.io/Prepared\"], " \
	"\"bindingFailureConditions\": [\"x.io/No\", \"numastow.io/Refused\"]"

/* A claim with two shares, of which the first is waited for. */
static struct json_object *waiting(void)
{
	return json_tokener_parse(
		"{\"metadata\": {\"uid\": \"" UID "\"}, \"status\": {\"reservedFor\": [{}], "
		"\"allocation\": {\"devices\": {\"results\": ["
		"{\"driver\": \"numastow.io\", \"pool\": \"m\", \"device\": \"node0\", "
		"\"shareID\": \"" FIRST "\", " BINDING "},"
		"{\"driver\": \"numastow.io\", \"pool\": \"m\", \"device\": \"node1\", "
		"\"shareID\": \"" SECOND "\"}]}}}}");
}

static void waits(struct json_object *object, enum agent_conditions_state wanted)
{
	assert_int_equal(agent_conditions_read(object, "m"), wanted);
	assert_int_equal(agent_conditions_read(object, "n"), AGENT_CLAIM_ELSEWHERE);
}

TEST(a_pod_waits_until_its_claim_is_prepared)
{
	struct agent_conditions_share shares[] = { { .id = FIRST }, { .id = SECOND } };
	struct agent_conditions wanted = { .uid = UID, .pool = "m", .shares = shares, .n = 2 };
	struct json_object *object = waiting();

	waits(object, AGENT_CLAIM_WAITS);
	assert_int_equal(merge(object, &wanted, 1), 1);
	waits(object, AGENT_CLAIM_HERE);
	is(object, 0, "numastow.io/Refused", NULL);
	json_object_put(object);
}

TEST(a_refusal_is_a_failure_of_binding)
{
	struct agent_conditions_share shares[] = { { .id = FIRST }, { .id = SECOND } };
	struct agent_conditions wanted = {
		.uid = UID, .pool = "m", .refusal = "fenced", .refused = 7 * STOW_SECOND
	};
	struct json_object *object = waiting();

	assert_int_equal(merge(object, &wanted, 9), 1);
	is(object, 0, "numastow.io/Refused", "True Refused \"fenced\" 1970-01-01T00:00:07Z");
	is(object, 0, "numastow.io/Prepared", "False Refused \"fenced\" 1970-01-01T00:00:07Z");
	/* Where the allocation does not name it, nothing reads it. */
	is(object, 1, "numastow.io/Refused", NULL);
	is(object, 1, "numastow.io/Prepared", "False Refused \"fenced\" 1970-01-01T00:00:07Z");
	waits(object, AGENT_CLAIM_REFUSED);
	assert_int_equal(merge(object, &wanted, 10), 0);
	/* In the end there was room. */
	wanted.refusal = NULL;
	wanted.shares = shares;
	wanted.n = 2;
	assert_int_equal(merge(object, &wanted, 11), 1);
	is(object, 0, "numastow.io/Refused", NULL);
	is(object, 0, "numastow.io/Prepared", "True Prepared \"\" 1970-01-01T00:00:11Z");
	waits(object, AGENT_CLAIM_HERE);
	json_object_put(object);
}

TEST(no_pod_waits)
{
	struct json_object *object = waiting();

	assert_true(agent_conditions_has(object, "m", FIRST));
	assert_false(agent_conditions_has(object, "m", THIRD));
	assert_false(agent_conditions_has(object, "n", FIRST));
	json_object_object_add(stow_kube_at(object, "metadata"), "deletionTimestamp",
			       json_object_new_string("2026-11-26T12:00:00Z"));
	waits(object, AGENT_CLAIM_HERE);
	json_object_object_del(stow_kube_at(object, "metadata"), "deletionTimestamp");
	waits(object, AGENT_CLAIM_WAITS);
	json_object_object_add(stow_kube_at(object, "status"), "reservedFor",
			       json_object_new_array());
	waits(object, AGENT_CLAIM_HERE);
	/* Nothing of it is trusted. */
	json_object_object_add(stow_kube_at(object, "status"), "devices", json_object_new_int(7));
	waits(object, AGENT_CLAIM_HERE);
	json_object_object_add(stow_kube_at(object, "status"), "allocation",
			       json_object_new_array());
	waits(object, AGENT_CLAIM_ELSEWHERE);
	assert_int_equal(agent_conditions_read(NULL, "m"), AGENT_CLAIM_ELSEWHERE);
	json_object_put(object);
}

#define CONDITION(type) "{\"type\": \"" type "\", \"status\": \"True\"}"
#define ENTRY(driver, pool, device, share, more)                                                \
	"{\"driver\": \"" driver "\", \"pool\": \"" pool "\", \"device\": \"" device "\"" share \
	", \"conditions\": [" more "]}"

/* What is others' stays as it is. */
TEST(other_entries)
{
	struct agent_conditions_share shares[] = { { .id = FIRST, .evict = true } };
	struct agent_conditions wanted = { .uid = UID, .pool = "m", .shares = shares, .n = 1 };
	struct json_object *object = claim(", \"devices\": [" ENTRY("gpu.example", "m", "gpu0", "", CONDITION("Ready")) ", " ENTRY(
		"numastow.io", "n", "node0", ", \"shareID\": \"" SECOND "\"",
		CONDITION(
			"numastow.io/Evict")) ", " ENTRY("numastow.io", "m", "node1",
							 ", \"shareID\": \"" FIRST
							 "\", \"data\": {\"a\": 1}",
							 CONDITION("a/A") "," CONDITION("a/B") "," CONDITION("a/C") "," CONDITION("a/D") "," CONDITION(
								 "a/E") "," CONDITION("a/F") "," CONDITION("numastow.io/Prepared")) "]");

	assert_int_equal(merge(object, &wanted, 1), 1);
	is(object, 0, "Ready", "True  \"\" ");
	is(object, 1, "numastow.io/Evict", "True  \"\" ");
	is(object, 2, "a/F", "True  \"\" ");
	/* Room for one: it is the one that a drain waits for. */
	is(object, 2, "numastow.io/Evict",
	   "True MemoryDrain \"the memory of NUMA node 1 is being drained\" 1970-01-01T00:00:01Z");
	is(object, 2, "numastow.io/InPlace", NULL);
	assert_int_equal(stow_kube_number(json_object_array_get_idx(
						  stow_kube_at(object, "status.devices"), 2),
					  "data.a", 0),
			 1);
	shares[0].evict = false;
	assert_int_equal(merge(object, &wanted, 1), 1);
	is(object, 2, "numastow.io/Evict", NULL);
	is(object, 1, "numastow.io/Evict", "True  \"\" ");
	json_object_put(object);
}

TEST(other_claims)
{
	static const struct {
		const char *text;
		int r;
	} cases[] = {
		{ "{}", -ESTALE },
		{ "{\"metadata\": {\"uid\": \"" OTHER "\"}}", -ESTALE },
		{ "{\"metadata\": {\"uid\": \"" UID "\"}}", -EINVAL },
		{ "{\"metadata\": {\"uid\": \"" UID "\"}, \"status\": []}", -EINVAL },
		{ "{\"metadata\": {\"uid\": \"" UID
		  "\"}, \"status\": {\"devices\": 7, \"allocation\": "
		  "{\"devices\": {\"results\": [7, [], {\"driver\": 1}, null]}}}}",
		  0 },
	};
	struct agent_conditions wanted = { .uid = UID, .pool = "m", .refusal = "no" };

	for (size_t i = 0; i < STOW_ARRAY_SIZE(cases); i++) {
		struct json_object *object = json_tokener_parse(cases[i].text);

		assert_int_equal(agent_conditions_merge(object, &wanted, 0, NULL), cases[i].r);
		json_object_put(object);
	}
}

/* --- kubelet's checkpoint ------------------------------------------------- */

#define HEAD                                                                                     \
	"{\"Data\":\"{\\\"kind\\\":\\\"DRACheckpoint\\\",\\\"apiVersion\\\":\\\"checkpoint.dra." \
	"kubelet.k8s.io/v1\\\","

TEST(checkpoints)
{
	static const struct {
		const char *text;
		int r;
	} cases[] = {
		{ HEAD "\\\"ClaimInfoStateList\\\":[{\\\"ClaimUID\\\":\\\"" OTHER
		       "\\\"},{\\\"ClaimUID\\\":"
		       "\\\"" UID "\\\",\\\"ClaimName\\\":\\\"db\\\"}]}\",\"Checksum\":1}",
		  1 },
		{ HEAD "\\\"ClaimInfoStateList\\\":[{\\\"ClaimUID\\\":\\\"" OTHER
		       "\\\"}]}\",\"Checksum\":1}",
		  0 },
		{ HEAD "\\\"ClaimInfoStateList\\\":null}\",\"Checksum\":1}", 0 },
		{ HEAD "\\\"Entries\\\":[]}\",\"Checksum\":1}", -EPROTO },
		{ HEAD "\\\"ClaimInfoStateList\\\":[{\\\"UID\\\":\\\"x\\\"}]}\",\"Checksum\":1}",
		  -EPROTO },
		{ HEAD "\\\"ClaimInfoStateList\\\":[7]}\",\"Checksum\":1}", -EPROTO },
		{ HEAD "\\\"ClaimInfoStateList\\\":{}}\",\"Checksum\":1}", -EPROTO },
		{ "{\"Data\":\"{\\\"kind\\\":\\\"DRACheckpoint\\\",\\\"apiVersion\\\":\\\"v2\\\","
		  "\\\"ClaimInfoStateList\\\":[]}\"}",
		  -EPROTO },
		{ "{\"Data\":\"{\"}", -EPROTO },
		{ "{\"Data\":{}}", -EPROTO },
		{ "[]", -EPROTO },
		{ "", -EPROTO },
	};
	struct tree *t = tree_new();

	assert_int_equal(agent_checkpoint_has(t->root, "/k", UID, NULL), -ENOENT);
	for (size_t i = 0; i < STOW_ARRAY_SIZE(cases); i++) {
		tree_write(t, "/k/dra_manager_state", "%s", cases[i].text);
		assert_int_equal(agent_checkpoint_has(t->root, "/k", UID, NULL), cases[i].r);
	}
	tree_free(t);
}

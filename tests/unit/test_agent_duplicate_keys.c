// SPDX-License-Identifier: Apache-2.0
/* Keys that are twice in a claim's parameters. */
#include "unit.h"

#include <stdio.h>

#include "agent/kubernetes/duplicate_keys.h"
#include "base/cleanup.h"

/* Make a claim with these configs, and with texts around them that look like others. */
static int check(const char *configs, struct stow_err *err)
{
	struct json_object *object;
	char *text;
	int r;

	if (asprintf(&text,
		     " {\"a\": \"\\\"status\\\": {\", \"metadata\": {\"status\": [1, {\"x\": "
		     "\"]\"}], "
		     "\"x\": {}}, \n\"status\" : {\"n\": -1.5e3, \"allocation\":{\"devices\":{"
		     "\"results\":[[], {}, null, true], \"config\" : [%s]}}, \"z\": false}}",
		     configs) < 0)
		abort();
	object = json_tokener_parse(text);
	assert_non_null(object);
	r = agent_duplicate_keys_check(text, object, err);
	json_object_put(object);
	free(text);
	return r;
}

#define CONFIG(driver, parameters)                                             \
	"{\"source\": \"FromClaim\", \"opaque\": {\"parameters\": " parameters \
	", \"driver\": \"" driver "\"}}"

static void good(const char *configs)
{
	struct stow_err err = { 0 };

	if (check(configs, &err) != 0)
		fail_msg("%s: %s", configs, err.msg);
}

static void bad(const char *configs, const char *text)
{
	struct stow_err err = { 0 };

	assert_int_equal(check(configs, &err), -EINVAL);
	if (strcmp(err.msg, text) != 0)
		fail_msg("%s: %s", configs, err.msg);
}

TEST(once)
{
	good("");
	good("{}");
	good("null, 7, [], {\"opaque\": null}");
	good(CONFIG("numastow.io", "{}"));
	good(CONFIG("numastow.io", "[\"a\", \"a\"]"));
	good(CONFIG("numastow.io", "{\"a\": \"a\", \"b\": {\"a\": 1, \"c\": [{\"b\": 2}]}}"));
	good(CONFIG("numastow.io", "{\"a\": \"\\\"a\\\":\", \"b\": \"}\"}"));
	/* Not ours to judge. */
	good(CONFIG("gpu.example", "{\"a\": 1, \"a\": 2}"));
}

TEST(twice)
{
#define AT "status.allocation.devices: config["
	bad(CONFIG("numastow.io", "{\"a\":1,\"a\":1}"),
	    AT "0]: parameters: \"a\": appears 2 times");
	bad(CONFIG("gpu.example", "{\"a\": 1, \"a\": 2}") ", null, " CONFIG(
		    "numastow.io", "{\"a\": 1, \"b\": [\"a\"], \"\\u0061\": 2, \"a\" : 3}"),
	    AT "2]: parameters: \"a\": appears 3 times");
	bad(CONFIG("numastow.io", "{\"\": 1, \"x\": {}, \"\": 1}"),
	    AT "0]: parameters: \"\": appears 2 times");
	bad(CONFIG("numastow.io", "{\"\\\"\\\\\": 1, \"\\\"\\u005c\": 1}"),
	    AT "0]: parameters: \"\"\\\": appears 2 times");
	/* The whole is there twice: json-c keeps the last. */
	bad("{\"opaque\": {\"driver\": \"numastow.io\", \"parameters\": {}, \"parameters\": "
	    "{\"a\": "
	    "1, \"a\": 1}}}",
	    AT "0]: parameters: \"a\": appears 2 times");
}

TEST(long_ones)
{
	_cleanup_free_ char *text = malloc(70000);

	snprintf(text, 70000, CONFIG("numastow.io", "{%*s}"), 66000, "");
	bad(text, AT "0]: parameters: more than 65536 bytes");
}

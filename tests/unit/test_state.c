// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "oci-hook/input.h"
#include "oci-hook/state.h"
#include "tree.h"

static int parse(const char *text, struct hook_container *c, struct stow_err *err)
{
	return hook_parse_state(text, strlen(text), c, err);
}

TEST(a_state_as_crun_writes_it)
{
	_cleanup_(hook_container_done) struct hook_container c = { 0 };

	assert_int_equal(parse("{\"ociVersion\":\"1.0\",\"id\":\"web\",\"pid\":42,\"root\":\"/r\","
			       "\"bundle\":\"/b\",\"status\":\"created\",\"annotations\":"
			       "{\"numastow.io/cpus\":\"2\",\"other\":\"x\"}}\n",
			       &c, NULL),
			 0);
	assert_string_equal(c.id, "web");
	assert_int_equal(c.pid, 42);
	assert_string_equal(c.bundle, "/b");
	assert_int_equal(c.n_annotations, 2);
	assert_true(c.annotated);
	assert_false(c.sandbox);
	assert_null(c.ns);
}

TEST(names_of_both_kubernetes_runtimes)
{
	static const char *const states[] = {
		"{\"id\":\"a\",\"annotations\":{\"io.kubernetes.container.name\":\"web\","
		"\"io.kubernetes.pod.namespace\":\"team\",\"io.kubernetes.pod.uid\":\"u-1\","
		"\"io.kubernetes.cri-o.ContainerType\":\"container\"}}",
		"{\"id\":\"a\",\"annotations\":{\"io.kubernetes.cri.container-name\":\"web\","
		"\"io.kubernetes.cri.sandbox-namespace\":\"team\","
		"\"io.kubernetes.cri.sandbox-uid\":\"u-1\","
		"\"io.kubernetes.cri.container-type\":\"container\"}}",
	};

	for (size_t i = 0; i < 2; i++) {
		_cleanup_(hook_container_done) struct hook_container c = { 0 };

		assert_int_equal(parse(states[i], &c, NULL), 0);
		assert_string_equal(c.name, "web");
		assert_string_equal(c.ns, "team");
		assert_string_equal(c.pod_id, "u-1");
		assert_false(c.sandbox);
		assert_false(c.annotated);
	}
}

TEST(the_pause_container_is_known)
{
	_cleanup_(hook_container_done) struct hook_container c = { 0 };

	assert_int_equal(parse("{\"id\":\"a\",\"annotations\":"
			       "{\"io.kubernetes.cri.container-type\":\"sandbox\"}}",
			       &c, NULL),
			 0);
	assert_true(c.sandbox);
}

/* Every odd identity, beside an annotation of ours and without one. */
TEST(an_invalid_identity_stops_only_annotated_containers)
{
	static const char *const odd[][2] = {
		{ "\"io.kubernetes.pod.namespace\":\"../x\"",
		  "io.kubernetes.pod.namespace: \"../x\" is not a name: 1 to 253 letters, "
		  "digits, "
		  "'.', '_', '+' and '-' are" },
		{ "\"io.kubernetes.cri.sandbox-uid\":\"\"",
		  "io.kubernetes.cri.sandbox-uid: \"\" is not a name: 1 to 253 letters, digits, "
		  "'.', "
		  "'_', '+' and '-' are" },
		{ "\"io.kubernetes.cri.sandbox-name\":\"a\\nb\"",
		  "io.kubernetes.cri.sandbox-name: \"a?b\" is not a name: 1 to 253 letters, "
		  "digits, "
		  "'.', '_', '+' and '-' are" },
		{ "\"io.kubernetes.cri.sandbox-namespace\":\"poor\","
		  "\"io.kubernetes.pod.namespace\":\"rich\"",
		  "io.kubernetes.pod.namespace: \"rich\" and io.kubernetes.cri.sandbox-namespace: "
		  "\"poor\" contradict each other; the container's engine gives one of them" },
		{ "\"io.kubernetes.container.name\":\"a\","
		  "\"io.kubernetes.cri.container-name\":\"b\"",
		  "io.kubernetes.container.name: \"a\" and io.kubernetes.cri.container-name: \"b\" "
		  "contradict each other; the container's engine gives one of them" },
		{ "\"io.kubernetes.cri.container-type\":\"container\","
		  "\"io.kubernetes.cri-o.ContainerType\":\"sandbox\"",
		  "io.kubernetes.cri.container-type: \"container\" and "
		  "io.kubernetes.cri-o.ContainerType: \"sandbox\" contradict each other; the "
		  "container's engine gives one of them" },
	};

	for (size_t i = 0; i < STOW_ARRAY_SIZE(odd); i++) {
		struct hook_container c = { 0 };
		struct stow_err err = { 0 };
		char text[512];

		snprintf(text, sizeof(text), "{\"id\":\"a\",\"annotations\":{%s}}", odd[i][0]);
		assert_int_equal(parse(text, &c, &err), 0);
		assert_int_equal(err.code, 0);
		assert_null(c.ns);
		assert_null(c.pod);
		assert_null(c.pod_id);
		assert_null(c.name);
		assert_false(c.sandbox);
		hook_container_done(&c);
		snprintf(text, sizeof(text),
			 "{\"id\":\"a\",\"annotations\":{%s,\"numastow.io/cpus\":\"1\"}}",
			 odd[i][0]);
		assert_int_equal(parse(text, &c, &err), -EINVAL);
		assert_string_equal(err.msg, odd[i][1]);
	}
}

/* A pod has a uid and a sandbox, and two engines may say the same. */
TEST(what_does_not_contradict_is_no_contradiction)
{
	_cleanup_(hook_container_done) struct hook_container c = { 0 }, d = { 0 };

	assert_int_equal(parse("{\"id\":\"a\",\"annotations\":{\"numastow.io/cpus\":\"1\","
			       "\"io.kubernetes.cri.sandbox-id\":\"s\","
			       "\"io.kubernetes.cri.sandbox-uid\":\"u\","
			       "\"io.kubernetes.pod.uid\":\"u\"}}",
			       &c, NULL),
			 0);
	assert_string_equal(c.pod_id, "u");
	assert_int_equal(parse("{\"id\":\"a\",\"annotations\":{"
			       "\"io.kubernetes.cri-o.SandboxID\":\"s\"}}",
			       &d, NULL),
			 0);
	assert_string_equal(d.pod_id, "s");
}

#define ASKS "\"annotations\":{\"numastow.io/cpus\":\"2\"}"

TEST(what_is_no_state_is_refused)
{
	static const char *const bad[] = {
		"",
		"null",
		"[]",
		"{",
		"{} x",
		"{}",
		"{\"id\":1}",
		"{\"id\":\"\"}",
		"{\"id\":\"../x\"," ASKS "}",
		"{\"id\":\"a/b\"," ASKS "}",
		"{\"id\":\".hidden\"," ASKS "}",
		"{\"id\":\"-rf\"," ASKS "}",
		"{\"id\":\"a\\u0000b\"}",
		"{\"id\":\"a\\nb\"," ASKS "}",
		"{\"id\":\"a\",\"pid\":-1}",
		"{\"id\":\"a\",\"pid\":99999999999}",
		"{\"id\":\"a\",\"annotations\":[]}",
		"{\"id\":\"a\",\"annotations\":{\"numastow.io/cpus\":2}}",
		"{\"id\":\"a\",\"annotations\":{\"numastow.io/cpus\":\"2\\u0000\"}}",
		"{'id':'a'}",
	};

	for (size_t i = 0; i < STOW_ARRAY_SIZE(bad); i++) {
		struct hook_container c = { 0 };
		struct stow_err err = { 0 };

		if (parse(bad[i], &c, &err) != -EINVAL || strchr(err.msg, '\n'))
			fail_msg("%s: %s", bad[i], err.msg);
	}
}

/* Without annotations of ours it must start, and its id becomes the name of a file. */
TEST(an_id_that_is_no_name_is_encoded)
{
	static const char *const ids[][2] = {
		{ "web", "web" },	{ "a b", "a%20b" },	    { "web@1", "web%401" },
		{ "../x", "%2E.%2Fx" }, { ".hidden", "%2Ehidden" }, { "-rf", "-rf" },
		{ "a%20b", "a%2520b" }, { "a\\nb", "a%0Ab" },
	};
	char text[512], digits[301];
	struct hook_container c;

	for (size_t i = 0; i < STOW_ARRAY_SIZE(ids); i++) {
		snprintf(text, sizeof(text), "{\"id\":\"%s\"}", ids[i][0]);
		assert_int_equal(parse(text, &c, NULL), 0);
		assert_string_equal(c.id, ids[i][1]);
		hook_container_done(&c);
	}
	/* Too long for a file's name. */
	memset(digits, '7', sizeof(digits) - 1);
	digits[sizeof(digits) - 1] = '\0';
	snprintf(text, sizeof(text), "{\"id\":\"%s\"}", digits);
	assert_int_equal(parse(text, &c, NULL), 0);
	assert_int_equal(c.id[0], '%');
	assert_true(strlen(c.id) <= STOW_NAME_MAX);
	hook_container_done(&c);
}

/* Read a text as one that is longer than what a state may have. */
static void shorten(const char *text, struct hook_input *ret)
{
	_cleanup_close_ int fd = memfd_create("state", MFD_CLOEXEC);

	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	assert_int_equal(hook_input_read(fd, 0, ret, NULL), 0);
	assert_true(ret->shortened);
}

TEST(a_long_state_keeps_what_matters)
{
	static const char *const states[][2] = {
		{ "{\"ociVersion\":\"1.0\",\"id\":\"web\",\"pid\":42,\"bundle\":\"/b\"}\n",
		  "{\"ociVersion\":\"1.0\",\"id\":\"web\",\"pid\":42,\"bundle\":\"/b\"}" },
		{ "{\"annotations\":{\"a\":\"numastow.io/"
		  "cpus\",\"numastow.iox\":\"\"},\"id\":\"web\"}",
		  "{\"annotations\":{},\"id\":\"web\"}" },
		{ "{ \"i\\u0064\" : \"a\\\"}\" , \"x\":{\"id\":\"b\",\"y\":[{\"id\":1}]}, \"pid\" "
		  ": 7 }",
		  "{\"i\\u0064\":\"a\\\"}\",\"x\":{},\"pid\":7}" },
		{ "{\"annotations\":{\"a\":{\"numastow.io/\":\"\"},\"numastow.io\\/cpus\":\"\","
		  "\"numastow.io\\u002fcpus\":\"\"},\"id\":\"web\"}",
		  "{\"annotations\":{\"numastow.io/\":\"\"},\"id\":\"web\"}" },
		{ "{\"annotations\":{\"\\numastow.io/\":\"\",\"\\u006Eumastow.io/\":\"\"}}",
		  "{\"annotations\":{\"numastow.io/\":\"\"}}" },
		{ "{\"annotations\":{\"\\numastow.io/\":\"\",\"numastow.io\":\"\"}}",
		  "{\"annotations\":{}}" },
		{ "{\"x\":{\"annotations\":{\"numastow.io/cpus\":\"\"}},\"id\":[\"a\",\"id\"]}",
		  "{\"x\":{},\"id\":[]}" },
		{ "{\"annotations\":null,\"pid\":-1,\"id\":\"a\",\"id\":\"b\"}",
		  "{\"annotations\":null,\"pid\":-1,\"id\":\"a\",\"id\":\"b\"}" },
		{ "{\"annotations\":[\"numastow.io/cpus\"],\"\":1}",
		  "{\"annotations\":[],\"\":1}" },
	};

	for (size_t i = 0; i < STOW_ARRAY_SIZE(states); i++) {
		_cleanup_(hook_input_done) struct hook_input input = { 0 };

		shorten(states[i][0], &input);
		assert_string_equal(input.text, states[i][1]);
		assert_int_equal(input.len, strlen(states[i][1]));
	}
}

static void check_no_state(const char *text)
{
	_cleanup_(hook_input_done) struct hook_input input = { 0 };
	struct hook_container c = { 0 };

	shorten(text, &input);
	assert_int_equal(hook_parse_state(input.text, input.len, &c, NULL), -EINVAL);
}

TEST(what_is_no_state_is_none_when_it_is_long)
{
	static const char *const texts[] = {
		"{\"id\":\"web\"",
		"{\"id\":\"web\"}}",
		"{\"id\":\"web\"} x",
		"[{\"id\":\"web\"}]",
		"[[[[[[[",
		"}{\"id\":\"web\"}",
		"{\"id\":\"web\",x:[}",
		"x",
	};
	_cleanup_free_ char *text = malloc(HOOK_STATE_MAX + 16);

	for (size_t i = 0; i < STOW_ARRAY_SIZE(texts); i++)
		check_no_state(texts[i]);
	/* What is kept must fit. */
	assert_non_null(text);
	memset(text, 'a', HOOK_STATE_MAX + 16);
	memcpy(text, "{\"id\":\"", 7);
	strcpy(text + HOOK_STATE_MAX, "\"}");
	check_no_state(text);
}

TEST(a_short_state_stays_as_it_is)
{
	static const char text[] = "{\"id\": \"web\", \"x\": 1}\n";
	_cleanup_(hook_input_done) struct hook_input input = { 0 };
	_cleanup_close_ int fd = memfd_create("state", MFD_CLOEXEC);

	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	assert_int_equal(hook_input_read(fd, strlen(text), &input, NULL), 0);
	assert_false(input.shortened);
	assert_string_equal(input.text, text);
	assert_int_equal(input.len, strlen(text));
}

TEST(limits_of_a_config)
{
	struct json_object *json = json_tokener_parse(
		"{\"linux\":{\"resources\":{\"cpu\":{\"quota\":150000,\"period\":100000},"
		"\"memory\":{\"limit\":1048576},"
		"\"hugepageLimits\":[{\"pageSize\":\"2MB\",\"limit\":4194304},"
		"{\"pageSize\":\"1GB\",\"limit\":0}]},"
		"\"memoryPolicy\":{\"mode\":\"MPOL_INTERLEAVE\"}}}");
	struct stow_limits limits;

	assert_int_equal(hook_config_limits(json, &limits, NULL), 0);
	assert_int_equal(limits.cpus, 2); /* 1.5, rounded up */
	assert_int_equal(limits.memory, 1048576);
	assert_int_equal(limits.n_pages, 2);
	assert_int_equal(limits.pages[0].count, 2);
	assert_int_equal(limits.pages[1].count, 0); /* 0 is a limit, too */
	assert_string_equal(hook_config_memory_policy(json), "MPOL_INTERLEAVE");
	json_object_put(json);
	json = json_tokener_parse("{\"linux\":{\"resources\":{\"cpu\":{\"quota\":-1},"
				  "\"memory\":{\"limit\":9223372036854775807}}}}");
	assert_int_equal(hook_config_limits(json, &limits, NULL), 0);
	assert_int_equal(limits.cpus, 0);
	assert_int_equal(limits.memory, 0);
	assert_null(hook_config_memory_policy(json));
	json_object_put(json);
}

TEST(the_id_in_a_cgroups_path)
{
	static const char *const paths[][2] = {
		{ "machine.slice:libpod:abc", "abc" },
		{ "/libpod_parent/libpod-abc", "abc" },
		{ "/kubepods/pod1/abc", "abc" },
		{ "/system.slice/web.service/libpod-payload-abc", "abc" },
		{ "/machine.slice/libpod-abc.scope", "abc" },
		{ "machine.slice:libpod:abc.scope", "abc" },
		{ "payload-abc", "payload-abc" },
		{ "abc", "abc" },
	};

	for (size_t i = 0; i < STOW_ARRAY_SIZE(paths); i++) {
		_cleanup_(hook_container_done) struct hook_container c = { 0 };
		char text[256];

		snprintf(text, sizeof(text),
			 "{\"annotations\":{\"numastow.io/cpus\":\"1\"},"
			 "\"linux\":{\"cgroupsPath\":\"%s\"}}",
			 paths[i][0]);
		assert_int_equal(hook_parse_config(text, strlen(text), &c, NULL), 0);
		assert_string_equal(c.id, paths[i][1]);
	}
}

TEST(config_json_is_a_regular_file)
{
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();
	struct json_object *json = NULL;
	struct stow_err err = { 0 };

	tree_write(t, "/real/config.json", "{}");
	tree_link(t, "/linked/config.json", "/real/config.json");
	tree_mkdir(t, "/folder/config.json");
	assert_int_equal(hook_open_config(t->root, "/real", &json, NULL), 0);
	json_object_put(json);
	assert_int_equal(hook_open_config(t->root, "/linked", &json, &err), -ELOOP);
	assert_non_null(strstr(err.msg, "symbolic link"));
	assert_int_equal(hook_open_config(t->root, "/folder", &json, &err), -EINVAL);
	assert_int_equal(hook_open_config(t->root, "/none", &json, &err), -ENOENT);
	assert_int_equal(hook_open_config(t->root, "relative", &json, &err), -EINVAL);
	assert_int_equal(hook_open_config(t->root, NULL, &json, &err), -EINVAL);
}

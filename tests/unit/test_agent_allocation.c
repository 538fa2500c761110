// SPDX-License-Identifier: Apache-2.0
/* ResourceClaims as the API server sends them, and malformed ones. */
#include "unit.h"

#include <json-c/json.h>
#include <stdio.h>

#include "agent/kubernetes/allocation.h"
#include "base/cleanup.h"

#define UID    "11111111-2222-4333-8444-555555555555"
#define FIRST  "aaaaaaaa-0000-4000-8000-000000000001"
#define SECOND "aaaaaaaa-0000-4000-8000-000000000002"
#define MIB    (UINT64_C(1) << 20)
#define DEV    "status.allocation.devices."
#define R0     DEV "results.0."

/* Two shares of two nodes, and a device of another driver between them. */
static const char whole[] =
	"{'apiVersion': 'resource.k8s.io/v1', 'kind': 'ResourceClaim',"
	" 'metadata': {'uid': '" UID "', 'namespace': 'team', 'name': 'db'},"
	" 'status': {'reservedFor': [{'resource': 'pods', 'name': 'web', 'uid': 'x'}],"
	"  'allocation': {'devices': {"
	"   'config': [],"
	"   'results': ["
	"    {'driver': 'numastow.io', 'pool': 'machine', 'device': 'node1', 'request': 'main',"
	"     'shareID': '" FIRST "', 'consumedCapacity': {'cpus': '3', 'memory': '1Gi',"
	"     'hugepages1Gi': '2Gi', 'hugepages2Mi': '64Mi', 'hugepages64Ki': '0'}},"
	"    {'driver': 'gpu.example', 'pool': 7},"
	"    {'driver': 'numastow.io', 'pool': 'machine', 'device': 'node0', 'request': "
	"'side/half',"
	"     'shareID': '" SECOND "', 'adminAccess': false}"
	"   ]}}}}";

static struct json_object *parse(const char *text)
{
	char *copy = strdup(text);
	struct json_object *object;

	for (char *p = copy; *p; p++)
		if (*p == '\'')
			*p = '"';
	object = json_tokener_parse(copy);
	if (!object && strcmp(copy, "null") != 0)
		fail_msg("the test's JSON is broken: %s", copy);
	free(copy);
	return object;
}

/* Set the field at a path; NULL: remove it. */
static void set(struct json_object *object, const char *path, const char *value)
{
	char *copy = strdup(path), *rest = copy, *key = strsep(&rest, ".");

	while (rest) {
		if (json_object_is_type(object, json_type_array))
			object = json_object_array_get_idx(object, (size_t)atoi(key));
		else
			object = json_object_object_get(object, key);
		assert_non_null(object);
		key = strsep(&rest, ".");
	}
	if (json_object_is_type(object, json_type_array))
		json_object_array_put_idx(object, (size_t)atoi(key), parse(value));
	else if (value)
		json_object_object_add(object, key, parse(value));
	else
		json_object_object_del(object, key);
	free(copy);
}

static int try_read(struct json_object *object, struct agent_allocation *ret, struct stow_err *err)
{
	const struct agent_allocation_of of = {
		.uid = UID, .ns = "team", .name = "db", .pool = "machine"
	};

	return agent_allocation_read(object, &of, ret, err);
}

/* Check that the claim with one change is refused with that text. */
static void refuses(const char *path, const char *value, int errnum, const char *text)
{
	struct json_object *object = parse(whole);
	struct agent_allocation a;
	struct stow_err err = { 0 };
	int r;

	set(object, path, value);
	r = try_read(object, &a, &err);
	if (r != -errnum || err.code != errnum || !strstr(err.msg, text) || strchr(err.msg, '\n') ||
	    !strstr(err.msg, "claim team/db: "))
		fail_msg("%s = %s: %d \"%s\" instead of %d \"%s\"", path, value ? value : "(gone)",
			 r, err.msg, -errnum, text);
	json_object_put(object);
}

/* Read the claim with one change. */
static void reads(const char *path, const char *value, struct agent_allocation *ret,
		  struct json_object **ret_object)
{
	struct stow_err err = { 0 };

	*ret_object = parse(whole);
	if (path)
		set(*ret_object, path, value);
	if (try_read(*ret_object, ret, &err) < 0)
		fail_msg("%s = %s: %s", path ? path : "", value ? value : "", err.msg);
}

TEST(test_whole)
{
	struct json_object *object;
	struct agent_allocation a;

	reads(NULL, NULL, &a, &object);
	assert_int_equal(a.claim.n, 2);
	assert_ptr_equal(a.claim.shares, a.shares);
	assert_string_equal(a.claim.uid, UID);
	assert_string_equal(a.shares[0].id, FIRST);
	assert_string_equal(a.shares[0].part, "main");
	assert_int_equal(a.shares[0].node, 1);
	assert_int_equal(a.shares[0].cpus, 3);
	assert_int_equal(a.shares[0].memory, 1024 * MIB);
	assert_int_equal(a.shares[0].n_pages, 2);
	assert_int_equal(a.shares[0].pages[0].size, 2 * MIB);
	assert_int_equal(a.shares[0].pages[0].count, 32);
	assert_int_equal(a.shares[0].pages[1].size, 1024 * MIB);
	assert_int_equal(a.shares[0].pages[1].count, 2);
	assert_int_equal(a.shares[0].cpu_mode, STOW_CPU_SHARED);
	assert_int_equal(a.shares[1].node, 0);
	assert_string_equal(a.shares[1].part, "side/half");
	assert_int_equal(a.shares[1].cpus, 0);
	assert_int_equal(a.shares[1].n_pages, 0);
	json_object_put(object);

	/* One device twice, as `count: 2` may allocate it. */
	reads(DEV "results.2.device", "'node1'", &a, &object);
	assert_int_equal(a.claim.n, 2);
	assert_int_equal(a.shares[1].node, 1);
	json_object_put(object);
}

TEST(test_identity)
{
	refuses("metadata", NULL, EINVAL, "metadata: missing");
	refuses("metadata", "[]", EINVAL, "metadata: is not a valid object");
	refuses("metadata.uid", NULL, EINVAL, "metadata: uid: missing");
	refuses("metadata.uid", "5", EINVAL, "metadata: uid: is not a valid text");
	refuses("metadata.uid", "'66666666-2222-4333-8444-555555555555'", ESTALE,
		"uid: \"66666666");
	refuses("metadata.uid", "'" UID "\\u0000x'", EINVAL, "zero byte");
	refuses("metadata.namespace", "'other'", EINVAL,
		"namespace: \"other\" instead of \"team\"");
	refuses("metadata.name", "'db2'", EINVAL, "name: \"db2\"");
	refuses("metadata.name", "null", EINVAL, "name: missing");
}

TEST(test_allocated)
{
	refuses("status", NULL, EAGAIN, "status: missing: the claim is not allocated");
	refuses("status", "'x'", EINVAL, "status: is not a valid object");
	refuses("status.reservedFor", NULL, EAGAIN, "reservedFor");
	refuses("status.reservedFor", "[]", EAGAIN, "reserved for no pod");
	refuses("status.reservedFor", "{}", EINVAL, "reservedFor: is not a valid list");
	refuses("status.allocation", NULL, EAGAIN, "not allocated");
	refuses("status.allocation", "null", EAGAIN, "not allocated");
	refuses("status.allocation.devices", NULL, EINVAL, "devices: missing");
	refuses("status.allocation.devices", "5", EINVAL, "devices: is not a valid object");
	refuses(DEV "results", NULL, EINVAL, "results: missing");
	refuses(DEV "results", "{}", EINVAL, "results: is not a valid list");
	refuses(DEV "results", "[]", EINVAL, "no device of numastow.io");
	refuses(DEV "results", "[{'driver': 'gpu.example'}]", EINVAL, "no device of numastow.io");
	refuses(DEV "results.0", "null", EINVAL, "results[0]: not an object");
	refuses(DEV "results.1", "[]", EINVAL, "results[1]: not an object");
	refuses(DEV "results.1.driver", NULL, EINVAL, "results[1]: driver: missing");
}

TEST(test_too_many)
{
	struct json_object *object = parse(whole), *results, *one;
	struct agent_allocation a;
	struct stow_err err = { 0 };

	results = json_object_object_get(
		json_object_object_get(
			json_object_object_get(json_object_object_get(object, "status"),
					       "allocation"),
			"devices"),
		"results");
	one = json_object_array_get_idx(results, 0);
	while (json_object_array_length(results) < 32)
		json_object_array_add(results, json_object_get(one));
	assert_int_equal(try_read(object, &a, &err), 0);
	assert_int_equal(a.claim.n, 31);
	json_object_array_add(results, json_object_get(one));
	assert_int_equal(try_read(object, &a, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "33 devices; at most 32"));
	json_object_put(object);
}

TEST(test_devices)
{
	static const char *const bad[] = {
		"''",	      "'node'",	    "'node01'",	 "'node-1'",
		"'node1 '",   "'nodeX'",    "'socket0'", "'node99999999999999999999'",
		"'node8192'", "'../node0'", "'node1\\n'"
	};

	for (size_t i = 0; i < STOW_ARRAY_SIZE(bad); i++)
		refuses(R0 "device", bad[i], EINVAL, "is not a NUMA node such as node0");
	refuses(R0 "device", "1", EINVAL, "device: is not a valid text");
	refuses(R0 "device", NULL, EINVAL, "device: missing");
	refuses(R0 "pool", "'other'", EINVAL, "pool: \"other\" instead of \"machine\"");
	refuses(R0 "pool", NULL, EINVAL, "pool: missing");
	refuses(R0 "request", NULL, EINVAL, "request: missing");
	refuses(R0 "request", "['main']", EINVAL, "request: is not a valid text");
	refuses(R0 "shareID", NULL, EINVAL, "DRAConsumableCapacity is off");
	refuses(R0 "shareID", "null", EINVAL, "DRAConsumableCapacity is off");
	refuses(R0 "shareID", "'../../../etc'", EINVAL, "shareID");
	refuses(R0 "shareID", "5", EINVAL, "shareID: is not a valid text");
	refuses(R0 "adminAccess", "true", EPERM, "adminAccess: true");
	refuses(R0 "adminAccess", "'true'", EINVAL, "adminAccess: is not a valid boolean");
}

TEST(test_amounts)
{
	static const struct {
		const char *key, *value, *text;
	} bad[] = {
		{ "cpus", "3", "not a string" },
		{ "cpus", "'1.5'", "consumedCapacity: cpus: " },
		{ "cpus", "'500m'", "consumedCapacity: cpus: " },
		{ "cpus", "'-1'", "consumedCapacity: cpus: " },
		{ "cpus", "''", "consumedCapacity: cpus: " },
		{ "cpus", "'8193'", "more than 8192 CPUs" },
		{ "cpus", "'1\\u0000'", "zero byte" },
		{ "memory", "'1500k'", "not a multiple of 1Mi" },
		{ "memory", "null", "not a string" },
		{ "memory", "'1Zi'", "consumedCapacity: memory: " },
		{ "hugepages2Mi", "'3Mi'", "not whole pages of 2Mi" },
		{ "hugepages2Mi", "'1'", "not whole pages of 2Mi" },
		{ "hugepages2MB", "'2Mi'", "not a page size" },
		{ "hugepages2048Ki", "'2Mi'", "not a page size" },
		{ "hugepages", "'2Mi'", "not a page size" },
		{ "hugepages-2Mi", "'2Mi'", "not a page size" },
		{ "hugepages3Mi", "'3Mi'", "not a page size" },
		{ "numastow.io/cpus", "'1'", "not a capacity of a NUMA node" },
		{ "gpus", "'1'", "not a capacity of a NUMA node" },
		{ "", "'1'", "not a capacity of a NUMA node" },
	};
	struct json_object *object;
	struct agent_allocation a;
	char value[64];

	for (size_t i = 0; i < STOW_ARRAY_SIZE(bad); i++) {
		snprintf(value, sizeof(value), "{'%s': %s}", bad[i].key, bad[i].value);
		refuses(R0 "consumedCapacity", value, EINVAL, bad[i].text);
	}
	refuses(R0 "consumedCapacity", "{'cpus': '99999999999999999999999'}", ERANGE, "cpus: ");
	refuses(R0 "consumedCapacity", "[]", EINVAL, "consumedCapacity: is not a valid object");
	reads(R0 "consumedCapacity", NULL, &a, &object);
	assert_int_equal(a.shares[0].cpus, 0);
	json_object_put(object);
	reads(R0 "consumedCapacity", "{'cpus': '1k', 'memory': '128974848'}", &a, &object);
	assert_int_equal(a.shares[0].cpus, 1000);
	assert_int_equal(a.shares[0].memory, 123 * MIB);
	json_object_put(object);
}

TEST(test_more_page_sizes_than_there_are)
{
	char value[2048] = "{";

	for (int i = 0; i < 40; i++)
		snprintf(value + strlen(value), sizeof(value) - strlen(value),
			 "%s'hugepages%d%s': '%d%s'", i ? ", " : "", 1 << (i % 10),
			 i < 10	  ? "Ki"
			 : i < 20 ? "Mi"
			 : i < 30 ? "Gi"
				  : "Ti",
			 1 << (i % 10),
			 i < 10	  ? "Ki"
			 : i < 20 ? "Mi"
			 : i < 30 ? "Gi"
				  : "Ti");
	strcat(value, "}");
	refuses(R0 "consumedCapacity", value, EINVAL, "page sizes");
}

#define CONFIG(source, requests, parameters)                                         \
	"{'source': '" source "', 'requests': [" requests "], 'opaque': {'driver': " \
	"'numastow.io', 'parameters': {'apiVersion': 'numastow.io/v1'" parameters "}}}"

TEST(test_parameters)
{
	struct json_object *object;
	struct agent_allocation a;

	/* A class gives exclusive CPUs and a drain, whatever its place in the list. */
	reads(DEV "config",
	      "[" CONFIG("FromClaim", "'main'", ", 'drain': 'evict', 'memoryPolicy': 'bind'") "," CONFIG(
		      "FromClass", "",
		      ", 'cpuMode': 'exclusive', 'drain': 'refuse', 'kind': 'Parameters'") "]",
	      &a, &object);
	assert_int_equal(a.shares[0].cpu_mode, STOW_CPU_EXCLUSIVE);
	assert_int_equal(a.shares[0].drain, STOW_DRAIN_MODE_EVICT);
	assert_int_equal(a.shares[1].cpu_mode, STOW_CPU_EXCLUSIVE);
	assert_int_equal(a.shares[1].drain, STOW_DRAIN_MODE_REFUSE);
	json_object_put(object);

	/* A claim may have less, or repeat it. "side" also stands for "side/half". */
	reads(DEV "config",
	      "[" CONFIG("FromClass", "'side'", ", 'cpuMode': 'exclusive'") "," CONFIG(
		      "FromClaim", "'side/half'",
		      ", 'cpuMode': 'exclusive'") "," CONFIG("FromClaim", "'main'",
							     ", 'cpuMode': 'shared'") "]",
	      &a, &object);
	assert_int_equal(a.shares[0].cpu_mode, STOW_CPU_SHARED);
	assert_int_equal(a.shares[1].cpu_mode, STOW_CPU_EXCLUSIVE);
	json_object_put(object);

	/* Other drivers' parameters are ignored, whatever they look like. */
	reads(DEV "config",
	      "[{'source': 5, 'opaque': {'driver': 'gpu.example', 'parameters': 7}}, {'source': "
	      "'x'}]",
	      &a, &object);
	assert_int_equal(a.shares[0].cpu_mode, STOW_CPU_SHARED);
	json_object_put(object);
}

TEST(test_widening)
{
	refuses(DEV "config", "[" CONFIG("FromClaim", "", ", 'cpuMode': 'exclusive'") "]", EPERM,
		"config[0]: cpuMode: \"exclusive\" is for a DeviceClass to give");
	refuses(DEV "config",
		"[" CONFIG("FromClass", "'side'", ", 'cpuMode': 'exclusive'") "," CONFIG(
			"FromClaim", "'main'", ", 'cpuMode': 'exclusive'") "]",
		EPERM, "request main");
	refuses(DEV "config",
		"[" CONFIG("FromClass", "", ", 'cpuMode': 'exclusive'") "," CONFIG(
			"FromClaim", "", ", 'cpuMode': 'isolated'") "]",
		EPERM, "\"isolated\"");
	/* "mai" does not name the request "main". */
	refuses(DEV "config",
		"[" CONFIG("FromClass", "'mai'", ", 'cpuMode': 'exclusive'") "," CONFIG(
			"FromClaim", "", ", 'cpuMode': 'exclusive'") "]",
		EPERM, "\"exclusive\"");
}

TEST(test_nonsense_in_parameters)
{
	static const struct {
		const char *config, *text;
	} bad[] = {
		{ "[7]", "config[0]: not an object" },
		{ "{}", "config: is not a valid list" },
		{ "[{'opaque': []}]", "opaque: is not a valid object" },
		{ "[{'opaque': {}}]", "driver: missing" },
		{ "[{'opaque': {'driver': 'numastow.io'}}]", "parameters: missing" },
		{ "[{'opaque': {'driver': 'numastow.io', 'parameters': 'x'}}]",
		  "parameters: is not a valid object" },
		{ "[{'opaque': {'driver': 'numastow.io', 'parameters': {}}}]", "source: missing" },
		{ "[{'source': 'FromPod', 'opaque': {'driver': 'numastow.io', 'parameters': {}}}]",
		  "source: \"FromPod\" is not one of" },
		{ "[{'source': 'FromClaim', 'opaque': {'driver': 'numastow.io', 'parameters': "
		  "{}}}]",
		  "apiVersion: missing" },
		{ "[{'source': 'FromClaim', 'requests': 'main', 'opaque': {'driver': "
		  "'numastow.io', "
		  "'parameters': {'apiVersion': 'numastow.io/v1'}}}]",
		  "requests: is not a valid list" },
		{ "[" CONFIG("FromClaim", "5", "") "]", "requests[0]: is not a valid text" },
		{ "[{'source': 'FromClaim', 'opaque': {'driver': 'numastow.io', 'parameters': "
		  "{'apiVersion': 'numastow.io/v2'}}}]",
		  "apiVersion: \"numastow.io/v2\" is not" },
		{ "[" CONFIG("FromClass", "", ", 'kind': 'Parameter'") "]", "kind: \"Parameter\"" },
		{ "[" CONFIG("FromClass", "", ", 'cpu-mode': 'exclusive'") "]",
		  "\"cpu-mode\" is not" },
		{ "[" CONFIG("FromClass", "", ", 'cpuMode': 'Exclusive'") "]",
		  "cpuMode: \"Exclusive\" is not one of shared, exclusive, isolated" },
		{ "[" CONFIG("FromClass", "", ", 'cpuMode': ''") "]",
		  "cpuMode: \"\" is not one of" },
		{ "[" CONFIG("FromClass", "", ", 'cpuMode': null") "]",
		  "cpuMode: is not a valid text" },
		{ "[" CONFIG("FromClass", "", ", 'cpuMode': 'shared\\u0000x'") "]", "zero byte" },
		{ "[" CONFIG("FromClass", "", ", 'drain': {'a': {'b': [[[[1]]]]}}") "]",
		  "drain: is not a valid text" },
		{ "[" CONFIG("FromClaim", "", ", 'drain': 'kill'") "]",
		  "drain: \"kill\" is not one of repin, evict, refuse" },
		{ "[" CONFIG("FromClaim", "", ", 'memoryPolicy': 'interleave'") "]",
		  "memoryPolicy: \"interleave\" is not possible for a claim" },
		{ "[" CONFIG("FromClaim", "", ", 'memoryPolicy': 'bnd'") "]",
		  "did you mean \"bind\"?" },
		{ "[" CONFIG("FromClaim", "'none'", ", 'drain': 'kill'") "]", "drain: \"kill\"" },
	};

	for (size_t i = 0; i < STOW_ARRAY_SIZE(bad); i++)
		refuses(DEV "config", bad[i].config, EINVAL, bad[i].text);
}

TEST(test_large_parameters)
{
	struct json_object *object = parse(whole), *configs = json_object_new_array(), *one;
	struct json_object *devices = json_object_object_get(
		json_object_object_get(json_object_object_get(object, "status"), "allocation"),
		"devices");
	struct agent_allocation a;
	struct stow_err err = { 0 };
	char *text = malloc(AGENT_PARAMETERS_MAX + 1);

	memset(text, 'x', AGENT_PARAMETERS_MAX);
	text[AGENT_PARAMETERS_MAX] = '\0';
	one = parse(CONFIG("FromClaim", "", ""));
	json_object_object_add(json_object_object_get(json_object_object_get(one, "opaque"),
						      "parameters"),
			       "drain", json_object_new_string(text));
	json_object_array_add(configs, one);
	json_object_object_add(devices, "config", configs);
	assert_int_equal(try_read(object, &a, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "at most 10240 are possible"));

	configs = json_object_new_array();
	for (int i = 0; i <= AGENT_ALLOCATION_CONFIGS; i++)
		json_object_array_add(configs, json_object_new_object());
	json_object_object_add(devices, "config", configs);
	assert_int_equal(try_read(object, &a, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "257 entries; at most 256"));
	json_object_put(object);
	free(text);
}

TEST(test_no_objects)
{
	static const char *const bad[] = { "null", "[]", "5", "'x'", "true" };

	for (size_t i = 0; i < STOW_ARRAY_SIZE(bad); i++) {
		struct json_object *object = parse(bad[i]);
		struct agent_allocation a;
		struct stow_err err = { 0 };

		assert_int_equal(try_read(object, &a, &err), -EINVAL);
		assert_non_null(strstr(err.msg, "not an object"));
		json_object_put(object);
	}
}

TEST(test_names)
{
	static const char *const bad[] = { "",	    ".",   "..",  "a..b", "-a",
					   "a-",    "a.",  ".a",  "A",	  "a/b",
					   "a%2fb", "a?b", "a b", "a\n",  "\xc3\xa4" };
	char long_name[300];

	for (size_t i = 0; i < STOW_ARRAY_SIZE(bad); i++)
		assert_int_equal(agent_allocation_check_name(bad[i], "name", NULL), -EINVAL);
	memset(long_name, 'a', sizeof(long_name));
	long_name[254] = '\0';
	assert_int_equal(agent_allocation_check_name(long_name, "name", NULL), -EINVAL);
	long_name[253] = '\0';
	assert_int_equal(agent_allocation_check_name(long_name, "name", NULL), 0);
	assert_int_equal(agent_allocation_check_name("web-0.db", "name", NULL), 0);
	assert_int_equal(agent_allocation_check_name(NULL, "name", NULL), -EINVAL);
}

// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "place/request.h"

#define MI (UINT64_C(1) << 20)
#define GI (UINT64_C(1) << 30)

#define K(key) "numastow.io/" key

/* Annotations as "key", "value", ..., NULL. */
static int parse_for(const char *container, const char *const *allowed, struct stow_request *req,
		     struct stow_err *err, const char *const *pairs)
{
	struct stow_annotation a[32];
	size_t n = 0;

	for (; pairs[2 * n]; n++)
		a[n] = (struct stow_annotation){ pairs[2 * n], pairs[2 * n + 1] };
	return stow_request_parse(a, n, container, allowed, STOW_POLICY_SINGLE_NUMA_NODE, req, err);
}

#define PARSE(container, req, err, ...) \
	parse_for(container, NULL, req, err, (const char *const[]){ __VA_ARGS__, NULL })

static void assert_refused(const char *key, const char *value, const char *message)
{
	struct stow_request req = { .cpus = 42 };
	struct stow_err err = { 0 };
	int r = PARSE(NULL, &req, &err, key, value);

	assert_true(r == -EINVAL || r == -ERANGE);
	assert_int_equal(err.code, -r);
	assert_string_equal(err.msg, message);
	assert_int_equal(req.cpus, 42); /* untouched */
}

TEST(foreign_annotations_are_no_request)
{
	struct stow_request req;

	assert_int_equal(PARSE("web", &req, NULL, "io.kubernetes.pod.name", "x", "numastow", "y"),
			 0);
	assert_true(req.nodes_auto);
	assert_int_equal(req.policy, STOW_POLICY_SINGLE_NUMA_NODE);
	assert_int_equal(stow_request_parse(NULL, 0, NULL, NULL, STOW_POLICY_SPREAD, &req, NULL),
			 0);
	assert_int_equal(req.policy, STOW_POLICY_SPREAD);
}

TEST(reads_every_key)
{
	struct stow_request req;
	struct stow_err err;

	assert_int_equal(PARSE(NULL, &req, &err, K("cpus"), "6", K("cpu-mode"), "exclusive",
			       K("memory"), "8Gi", K("hugepages-1Gi"), "2Gi", K("hugepages-2Mi"),
			       "64Mi", K("policy"), "best-effort", K("scope"), "pod", K("nodes"),
			       "0-1,3", K("memory-policy"), "interleave", K("near"), "0000:3b:00.0",
			       K("drain"), "evict", K("on-failure"), "ignore", K("reservation"),
			       "4c1f8e02a7b35d90:0,1@web-3"),
			 1);
	assert_int_equal(req.cpus, 6);
	assert_int_equal(req.cpu_mode, STOW_CPU_EXCLUSIVE);
	assert_int_equal(req.memory, 8 * GI);
	assert_int_equal(req.n_pages, 2);
	assert_int_equal(req.pages[0].size, 2 * MI);
	assert_int_equal(req.pages[0].count, 32);
	assert_int_equal(req.pages[1].size, GI);
	assert_int_equal(req.pages[1].count, 2);
	assert_int_equal(req.policy, STOW_POLICY_BEST_EFFORT);
	assert_int_equal(req.scope, STOW_SCOPE_POD);
	assert_false(req.nodes_auto);
	assert_true(stow_idset_has(&req.nodes, 3));
	assert_int_equal(req.memory_policy, STOW_MEMORY_INTERLEAVE);
	assert_string_equal(req.near, "0000:3b:00.0");
	assert_int_equal(req.drain, STOW_DRAIN_MODE_EVICT);
	assert_int_equal(req.on_failure, STOW_ON_FAILURE_IGNORE);
	assert_string_equal(req.reservation, "4c1f8e02a7b35d90:0,1@web-3");
	assert_true(req.has_cpus && req.has_memory);
}

TEST(a_containers_own_key_wins)
{
	struct stow_request req;

	/* Whatever the order. */
	for (int i = 0; i < 2; i++) {
		const char *const pairs[2][9] = {
			{ K("cpus.web"), "2", K("cpus"), "4", K("memory.db"), "1Gi", K("nodes.web"),
			  "auto", NULL },
			{ K("nodes.web"), "auto", K("memory.db"), "1Gi", K("cpus"), "4",
			  K("cpus.web"), "2", NULL },
		};

		assert_int_equal(parse_for("web", NULL, &req, NULL, pairs[i]), 1);
		assert_int_equal(req.cpus, 2);
		assert_false(req.has_memory);
		assert_int_equal(parse_for("db", NULL, &req, NULL, pairs[i]), 1);
		assert_int_equal(req.cpus, 4);
		assert_int_equal(req.memory, GI);
	}
	assert_int_equal(PARSE("db", &req, NULL, K("cpus.web"), "2"), 0);
	assert_int_equal(PARSE("web", &req, NULL, K("hugepages-2Mi"), "4Mi",
			       K("hugepages-2048Ki.web"), "8Mi"),
			 1);
	assert_int_equal(req.n_pages, 1);
	assert_int_equal(req.pages[0].count, 4);
	assert_int_equal(PARSE("web", &req, NULL, K("hugepages-2Mi"), "4Mi", K("hugepages-2Mi.web"),
			       "0"),
			 1);
	assert_int_equal(req.n_pages, 0);
}

/* As Podman's containers: the key would be lost without a word. */
TEST(a_container_without_a_name_has_no_key_of_its_own)
{
	static const char *const names[] = { NULL, "" };
	struct stow_request req;
	struct stow_err err;

	for (size_t i = 0; i < STOW_ARRAY_SIZE(names); i++) {
		assert_int_equal(PARSE(names[i], &req, &err, K("memory"), "1Gi", K("cpus.web"),
				       "2"),
				 -EINVAL);
		assert_string_equal(
			err.msg, "numastow.io/cpus.web is for a container of that name, and this "
				 "one has none (io.kubernetes.container.name; Podman gives none); "
				 "write numastow.io/cpus");
	}
}

TEST(a_typing_error_for_another_container_does_not_wait)
{
	struct stow_request req;
	struct stow_err err;

	assert_int_equal(PARSE("web", &req, &err, K("cpus"), "1", K("cpus.db"), "x"), -EINVAL);
	assert_string_equal(err.msg, "numastow.io/cpus.db: \"x\" is not a whole number of CPUs "
				     "from 1 to 8192");
}

TEST(an_unknown_key_is_an_error)
{
	assert_refused(
		K("cpsu"), "1",
		"unknown annotation \"numastow.io/cpsu\"; did you mean \"numastow.io/cpus\"?");
	assert_refused(K("CPUs.web"), "1",
		       "unknown annotation \"numastow.io/CPUs.web\"; did you mean "
		       "\"numastow.io/cpus.web\"?");
	assert_refused(K("hugepage-2Mi"), "1",
		       "unknown annotation \"numastow.io/hugepage-2Mi\"; did you mean "
		       "\"numastow.io/hugepages-2Mi\"?");
	assert_refused(K("something-quite-different"), "1",
		       "unknown annotation \"numastow.io/something-quite-different\"; the keys are "
		       "cpus, cpu-mode, memory, policy, scope, nodes, memory-policy, near, drain, "
		       "on-failure, reservation, hugepages-2Mi, hugepages-1Gi");
	assert_refused(K("hugepages-3Mi"), "6Mi",
		       "numastow.io/hugepages-3Mi: the key must end in a page size like 2Mi or "
		       "1Gi, a power of two");
	assert_refused(K("cpus.Web"), "1",
		       "numastow.io/cpus.Web: after the dot comes a container's name: at most 63 "
		       "lower case letters, digits and '-'");
	assert_refused(K("scope.web"), "pod",
		       "numastow.io/scope.web: the scope is the same for all containers of a pod; "
		       "write numastow.io/scope");
}

TEST(a_bad_value_is_an_error)
{
	static const char *const no_cpus[] = { "0",  "-1", "2.5", "1e1",  "",
					       " 1", "4 ", "0x4", "8193", "99999999999999999999" };

	for (size_t i = 0; i < STOW_ARRAY_SIZE(no_cpus); i++) {
		char message[256];

		snprintf(message, sizeof(message),
			 "numastow.io/cpus: \"%s\" is not a whole number of CPUs from 1 to 8192",
			 no_cpus[i]);
		assert_refused(K("cpus"), no_cpus[i], message);
	}
	assert_refused(K("policy"), "singel-numa-node",
		       "numastow.io/policy: \"singel-numa-node\" is not one of single-numa-node, "
		       "restricted, best-effort, spread; did you mean \"single-numa-node\"?");
	assert_refused(K("cpu-mode"), "zzz",
		       "numastow.io/cpu-mode: \"zzz\" is not one of shared, exclusive, isolated");
	assert_refused(K("memory"), "8GB",
		       "numastow.io/memory: \"8GB\" is not a quantity like 512Mi, 8Gi or "
		       "1073741824; did you mean \"8Gi\"?");
	assert_refused(K("memory"), "512m",
		       "numastow.io/memory: \"512m\" is not a whole number of bytes; did you mean "
		       "\"512Mi\"?");
	assert_refused(K("memory.web"), "1g",
		       "numastow.io/memory.web: \"1g\" is not a quantity like 512Mi, 8Gi or "
		       "1073741824; did you mean \"1Gi\"?");
	assert_refused(K("memory"), "512",
		       "numastow.io/memory: \"512\" is less than a page of memory; did you mean "
		       "\"512Mi\"?");
	assert_refused(K("memory"), "4e2",
		       "numastow.io/memory: \"4e2\" is less than a page of memory; set an amount "
		       "like 512Mi or 8Gi");
	assert_refused(K("hugepages-2Mi.db"), "512m",
		       "numastow.io/hugepages-2Mi.db: \"512m\" is not a whole number of bytes; did "
		       "you mean \"512Mi\"?");
	assert_refused(K("memory"), "0",
		       "numastow.io/memory: \"0\" is no memory; set more than 0, or omit the key");
	assert_refused(K("memory"), "9Ei",
		       "numastow.io/memory: \"9Ei\" is more than the largest quantity, 8Ei");
	assert_refused(K("hugepages-2Mi"), "3Mi",
		       "numastow.io/hugepages-2Mi: \"3Mi\" is not a multiple of the page size; 2Mi "
		       "and 4Mi are");
	assert_refused(K("hugepages-1Gi.web"), "3Mi",
		       "numastow.io/hugepages-1Gi.web: \"3Mi\" is less than one page; 1Gi is one");
	assert_refused(K("nodes"), "1-0",
		       "numastow.io/nodes: \"1-0\" is neither auto nor a list of nodes like 0 or "
		       "0-1,3");
	assert_refused(
		K("nodes"), "",
		"numastow.io/nodes: \"\" is neither auto nor a list of nodes like 0 or 0-1,3");
	assert_refused(
		K("near"), "../../etc",
		"numastow.io/near: \"../../etc\" is not a PCI address or a device name: only "
		"letters, digits and ._:- may be in it");
	assert_refused(K("near"), "..",
		       "numastow.io/near: \"..\" is not a PCI address or a device name like "
		       "0000:3b:00.0 or eth0");
}

TEST(the_same_thing_twice_is_an_error)
{
	struct stow_request req;
	struct stow_err err;

	assert_int_equal(PARSE(NULL, &req, &err, K("hugepages-2Mi"), "2Mi", K("hugepages-2048Ki"),
			       "4Mi"),
			 -EINVAL);
	assert_string_equal(err.msg, "numastow.io/hugepages-2Mi and numastow.io/hugepages-2048Ki "
				     "are the same page size; give one");
	assert_int_equal(PARSE("web", &req, &err, K("cpus.web"), "1", K("cpus.web"), "2"), -EINVAL);
	assert_string_equal(err.msg, "numastow.io/cpus.web is given twice");
	assert_int_equal(PARSE("web", &req, &err, K("cpus.web"), "1", K("cpus.db"), "2"), 1);
}

TEST(strangers_do_not_write_to_the_terminal)
{
	struct stow_request req;
	struct stow_err err;
	char longest[5000];

	assert_int_equal(PARSE(NULL, &req, &err, K("cpus"), "1\x1b[2J\nnumastow: fine\xc2\x9b"),
			 -EINVAL);
	assert_string_equal(err.msg, "numastow.io/cpus: \"1?[2J?numastow: fine??\" is not a whole "
				     "number of CPUs from 1 to 8192");
	assert_int_equal(PARSE(NULL, &req, &err, K("cp\nus"), "1"), -EINVAL);
	assert_null(strchr(err.msg, '\n'));
	assert_int_equal(PARSE(NULL, &req, &err, K("cpus.\nx"), "1"), -EINVAL);
	assert_null(strchr(err.msg, '\n'));
	assert_int_equal(PARSE(NULL, &req, &err, K("cpsu.\x1b"), "1"), -EINVAL);
	assert_null(strchr(err.msg, 0x1b));
	memset(longest, 'x', sizeof(longest));
	longest[sizeof(longest) - 1] = '\0';
	assert_int_equal(PARSE(NULL, &req, &err, K("near"), longest), -EINVAL);
	assert_string_equal(err.msg, "numastow.io/near: the value is longer than 1024 bytes");
	memcpy(longest, K("x"), strlen(K("x")));
	assert_int_equal(PARSE(NULL, &req, &err, longest, "1"), -EINVAL);
	assert_true(strlen(err.msg) < 400);
}

TEST(numbers_are_amounts_that_there_can_be)
{
	struct stow_request req = { .memory = 4096 };
	struct stow_err err;

	assert_int_equal(stow_request_check_amounts(&req, &err), 0);
	req.memory = 1;
	assert_int_equal(stow_request_check_amounts(&req, &err), -EINVAL);
	assert_string_equal(err.msg, "memory: 1 byte, which is less than a page of memory");
}

TEST(the_administrator_chooses_the_keys)
{
	static const char *const allowed[] = { "cpus", "hugepages-2Mi", NULL };
	static const char *const any_pages[] = { "hugepages", NULL };
	struct stow_request req;
	struct stow_err err;

	assert_int_equal(parse_for(NULL, allowed, &req, &err,
				   (const char *const[]){ K("cpus"), "1", K("hugepages-2048Ki"),
							  "2Mi", NULL }),
			 1);
	assert_int_equal(parse_for(NULL, allowed, &req, &err,
				   (const char *const[]){ K("cpu-mode.db"), "shared", NULL }),
			 -EPERM);
	assert_string_equal(err.msg, "numastow.io/cpu-mode.db is not allowed here; the "
				     "administrator allows cpus, hugepages-2Mi");
	assert_int_equal(parse_for(NULL, any_pages, &req, &err,
				   (const char *const[]){ K("hugepages-1Gi"), "1Gi", NULL }),
			 1);
}

TEST(limits_complete_a_request)
{
	struct stow_limits limits = { .cpus = 4, .memory = GI, .n_pages = 2 };
	struct stow_request req;
	struct stow_err err;

	limits.pages[0] = (struct stow_page_request){ 2 * MI, 8 };
	limits.pages[1] = (struct stow_page_request){ 64 << 10, 0 };
	PARSE(NULL, &req, NULL, K("cpu-mode"), "exclusive", K("hugepages-1Gi"), "1Gi");
	assert_int_equal(stow_request_complete(&req, &limits, true, &err), 0);
	assert_int_equal(req.cpus, 4);
	assert_int_equal(req.memory, GI);
	assert_int_equal(req.n_pages, 2);
	assert_int_equal(req.pages[0].size, 2 * MI);
	assert_int_equal(req.pages[1].size, GI);

	PARSE(NULL, &req, NULL, K("cpus"), "2", K("hugepages-2Mi"), "2Mi");
	assert_int_equal(stow_request_complete(&req, &limits, true, &err), 0);
	assert_int_equal(req.cpus, 2);
	assert_int_equal(req.pages[0].count, 1);
}

TEST(on_kubernetes_limits_are_limits)
{
	struct stow_limits limits = { .cpus = 4, .memory = GI, .n_pages = 1 };
	struct stow_request req;
	struct stow_err err;

	limits.pages[0] = (struct stow_page_request){ 2 * MI, 0 };
	PARSE(NULL, &req, NULL, K("cpus"), "5");
	assert_int_equal(stow_request_complete(&req, &limits, true, &err), -EPERM);
	assert_string_equal(err.msg,
			    "numastow.io/cpus: \"5\" is above the container's own limit of "
			    "4; the limit is the most that it can get");
	assert_int_equal(stow_request_complete(&req, &limits, false, &err), 0);
	assert_int_equal(req.cpus, 5);
	PARSE(NULL, &req, NULL, K("memory"), "2Gi");
	assert_int_equal(stow_request_complete(&req, &limits, true, &err), -EPERM);
	PARSE(NULL, &req, NULL, K("hugepages-2Mi"), "2Mi");
	assert_int_equal(stow_request_complete(&req, &limits, true, &err), -EPERM);
	assert_string_equal(err.msg,
			    "numastow.io/hugepages-2Mi: \"2Mi\" is above the container's own limit "
			    "of 0; the limit is the most that it can get");
	/* No limit is no cap: there is nothing that the API server could have checked. */
	PARSE(NULL, &req, NULL, K("hugepages-1Gi"), "1Gi");
	assert_int_equal(stow_request_complete(&req, &limits, true, &err), 0);
}

TEST(exclusive_needs_a_number)
{
	struct stow_limits none = { 0 };
	struct stow_request req;
	struct stow_err err;

	PARSE(NULL, &req, NULL, K("cpu-mode"), "exclusive");
	assert_int_equal(stow_request_complete(&req, &none, false, &err), -EINVAL);
	assert_string_equal(err.msg,
			    "numastow.io/cpu-mode: \"exclusive\" needs a number of CPUs: set "
			    "numastow.io/cpus, or a CPU limit of the container");
}

TEST(names_the_members_of_a_pod)
{
	const struct stow_annotation a[] = { { K("cpus.web"), "1" },  { K("memory.web"), "1Gi" },
					     { K("cpus"), "1" },      { "x.io/cpus.other", "1" },
					     { K("cpus.db-0"), "1" }, { K("cpus."), "1" },
					     { K("policy.web"), "x" } };
	const char *names[4];

	assert_int_equal(stow_request_members(a, STOW_ARRAY_SIZE(a), names, 4), 2);
	assert_string_equal(names[0], "web");
	assert_string_equal(names[1], "db-0");
	assert_int_equal(stow_request_members(a, STOW_ARRAY_SIZE(a), names, 1), 1);
}

TEST(shows_a_request_in_a_line)
{
	struct stow_request req;
	char buf[256], small[8];

	PARSE(NULL, &req, NULL, K("cpus"), "4", K("cpu-mode"), "exclusive", K("memory"), "8Gi",
	      K("hugepages-2Mi"), "64Mi");
	assert_string_equal(stow_request_format(&req, buf, sizeof(buf)),
			    "4 exclusive CPUs, 8Gi memory, 64Mi in 2Mi hugepages, "
			    "single-numa-node");
	assert_string_equal(stow_request_format(&req, small, sizeof(small)), "4 exclu");
	PARSE(NULL, &req, NULL, K("near"), "eth0", K("nodes"), "0,2");
	assert_string_equal(stow_request_format(&req, buf, sizeof(buf)),
			    "shared CPUs, single-numa-node, nodes 0,2, near eth0");
}

static const char *digest_of(const struct stow_request *req)
{
	static char digest[STOW_DIGEST_LEN + 1];

	stow_request_digest(req, digest);
	assert_int_equal(strlen(digest), STOW_DIGEST_LEN);
	return digest;
}

TEST(the_digest_has_the_exact_numbers)
{
	struct stow_request a, b;
	char one[256], other[256], digest[STOW_DIGEST_LEN + 1];

	PARSE(NULL, &a, NULL, K("memory"), "1100Mi");
	PARSE(NULL, &b, NULL, K("memory"), "1150Mi");
	assert_string_equal(stow_request_format(&a, one, sizeof(one)),
			    stow_request_format(&b, other, sizeof(other)));
	stow_request_digest(&a, digest);
	assert_string_not_equal(digest, digest_of(&b));
	/* Another spelling of the same amount, from wherever it came. */
	PARSE(NULL, &b, NULL, K("memory"), "1126400Ki", K("nodes"), "auto");
	assert_string_equal(digest, digest_of(&b));
	b.has_memory = false;
	b.drain = STOW_DRAIN_MODE_REFUSE;
	b.on_failure = STOW_ON_FAILURE_IGNORE;
	assert_string_equal(digest, digest_of(&b));
}

TEST(the_digest_is_the_same_on_every_machine)
{
	struct stow_request req;

	PARSE(NULL, &req, NULL, K("cpus"), "4", K("cpu-mode"), "exclusive", K("memory"), "8Gi",
	      K("hugepages-2Mi"), "64Mi", K("nodes"), "0,2", K("near"), "eth0");
	/* FNV-1a, computed by another program. */
	assert_string_equal(digest_of(&req), "12f134d66cf050374c23c4ecaabba1ac");
}

TEST(each_thing_that_is_asked_for_is_in_the_digest)
{
	static const char *const requests[][7] = {
		{ NULL },
		{ K("cpus"), "1", NULL },
		{ K("cpus"), "2", NULL },
		{ K("cpus"), "2", K("cpu-mode"), "exclusive", NULL },
		{ K("cpus"), "2", K("cpu-mode"), "isolated", NULL },
		{ K("memory"), "2Mi", NULL },
		{ K("hugepages-2Mi"), "2Mi", NULL },
		{ K("hugepages-2Mi"), "4Mi", NULL },
		{ K("hugepages-1Mi"), "1Mi", K("hugepages-2Mi"), "2Mi", NULL },
		{ K("policy"), "restricted", NULL },
		{ K("policy"), "best-effort", NULL },
		{ K("policy"), "spread", NULL },
		{ K("scope"), "pod", NULL },
		{ K("nodes"), "0", NULL },
		{ K("nodes"), "0-1", NULL },
		{ K("nodes"), "1", NULL },
		{ K("memory-policy"), "preferred", NULL },
		{ K("memory-policy"), "interleave", NULL },
		{ K("memory-policy"), "local", NULL },
		{ K("near"), "eth0", NULL },
		{ K("near"), "eth1", NULL },
	};
	char digests[STOW_ARRAY_SIZE(requests)][STOW_DIGEST_LEN + 1];

	for (size_t i = 0; i < STOW_ARRAY_SIZE(requests); i++) {
		struct stow_request req;

		assert_true(parse_for(NULL, NULL, &req, NULL, requests[i]) >= 0);
		stow_request_digest(&req, digests[i]);
		for (size_t j = 0; j < i; j++)
			assert_string_not_equal(digests[i], digests[j]);
	}
}

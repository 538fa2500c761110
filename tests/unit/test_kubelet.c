// SPDX-License-Identifier: Apache-2.0
/* Whether kubelet's static managers own a container's cpuset. */
#include "unit.h"

#include <stdio.h>

#include "base/cleanup.h"
#include "cgroup/kubelet.h"
#include "tree.h"

#define UID   "6f1fba0d-9b7c-4a5e-8f6a-1d2e3c4b5a69"
#define OTHER "00000000-9b7c-4a5e-8f6a-1d2e3c4b5a69"
#define SYSTEMD                                                                              \
	"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod6f1fba0d_9b7c_4a5e_" \
	"8f6a_1d2e3c4b5a69.slice/cri-containerd-1.scope"
#define CGROUPS "/kubepods/burstable/pod" UID "/1"
#define CPUS	"/var/lib/kubelet/cpu_manager_state"
#define MEMORY	"/var/lib/kubelet/memory_manager_state"

static bool owns(const char *file, const char *text, const char *path)
{
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();

	if (file)
		tree_write_data(t, file, text, strlen(text));
	return stow_kubelet_owns(t->root, path);
}

TEST(an_entry_of_a_static_manager_is_kubelets)
{
	static const char cpus[] = "{\"policyName\":\"static\",\"defaultCpuSet\":\"0-1\","
				   "\"entries\":{\"" UID "\":{\"app\":\"2-3\"}},\"checksum\":1}";
	static const char memory[] = "{\"policyName\":\"Static\",\"machineState\":{},"
				     "\"entries\":{\"" UID "\":{\"app\":[]}},\"checksum\":1}\n";

	assert_true(owns(CPUS, cpus, SYSTEMD));
	assert_true(owns(CPUS, cpus, CGROUPS));
	assert_true(owns(MEMORY, memory, SYSTEMD));
	assert_true(owns(MEMORY, memory, CGROUPS));
}

/* A static pod's UID is an MD5 sum, or what its manifest says. */
TEST(static_pods_are_kubelets_too)
{
	static const char *const uids[] = { "0123456789abcdef0123456789abcdef", "my-etcd" };
	static const char *const escaped[] = { "0123456789abcdef0123456789abcdef", "my_etcd" };
	char text[256], path[256];

	for (size_t i = 0; i < STOW_ARRAY_SIZE(uids); i++) {
		snprintf(text, sizeof(text),
			 "{\"policyName\":\"static\",\"entries\":{\"%s\":{\"etcd\":\"2-3\"}}}",
			 uids[i]);
		snprintf(path, sizeof(path),
			 "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/"
			 "kubelet-kubepods-burstable-pod%s.slice/cri-containerd-1.scope",
			 escaped[i]);
		assert_true(owns(CPUS, text, path));
		snprintf(path, sizeof(path), "/kubepods/burstable/pod%s/1", uids[i]);
		assert_true(owns(CPUS, text, path));
		snprintf(path, sizeof(path), "/kubepods/pod%sx/1", uids[i]);
		assert_false(owns(CPUS, text, path));
		snprintf(path, sizeof(path), "/kubepods/burstable/xpod%s/1", uids[i]);
		assert_false(owns(CPUS, text, path));
	}
}

TEST(other_containers_are_not_kubelets)
{
	static const char entry[] =
		"{\"policyName\":\"static\",\"entries\":{\"" UID "\":{\"app\":\"2-3\"}}}";

	assert_false(owns(NULL, NULL, CGROUPS));
	assert_false(owns(CPUS, entry, "/machine.slice/libpod-1.scope"));
	assert_false(owns(CPUS, entry, "/pod" UID "/1")); /* not below kubepods */
	assert_false(owns(CPUS, entry, "/kubepods/burstable/pod" OTHER "/1"));
	assert_false(owns(CPUS, entry, "/kubepods/burstable/pod6f1fba0d/1"));
	assert_false(owns(CPUS, entry, "/kubepods"));
	assert_false(owns(CPUS, entry, ""));
	assert_false(owns(CPUS, "{\"policyName\":\"none\",\"entries\":{\"" UID "\":{}}}", CGROUPS));
	assert_false(owns(CPUS, "{\"policyName\":\"static\",\"entries\":{}}", CGROUPS));
	assert_false(owns(CPUS, "{\"policyName\":\"static\"}", CGROUPS));
}

TEST(a_damaged_file_claims_no_container)
{
	static const char *const damaged[] = {
		"",
		"\n",
		"null",
		"7",
		"[]",
		"[\"" UID "\"]",
		"{",
		"{\"policyName\":\"static\",\"entries\":{\"" UID,
		"{\"policyName\":null,\"entries\":{\"" UID "\":{}}}",
		"{\"policyName\":{},\"entries\":{\"" UID "\":{}}}",
		"{\"policyName\":\"static\",\"entries\":null}",
		"{\"policyName\":\"static\",\"entries\":[\"" UID "\"]}",
		"{\"entries\":{\"" UID "\":{}}}",
	};

	for (size_t i = 0; i < STOW_ARRAY_SIZE(damaged); i++) {
		assert_false(owns(CPUS, damaged[i], CGROUPS));
		assert_false(owns(MEMORY, damaged[i], CGROUPS));
	}
}

static const char *manager(const char *file, const char *text)
{
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();

	tree_write_data(t, file, text, strlen(text));
	return stow_kubelet_manager(t->root);
}

/* Before it has given anything to a pod, too. */
TEST(a_static_manager_is_named)
{
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();

	assert_null(stow_kubelet_manager(t->root));
	assert_string_equal(manager(CPUS, "{\"policyName\":\"static\"}"), "CPU manager");
	assert_string_equal(manager(MEMORY, "{\"policyName\":\"Static\"}"), "memory manager");
	assert_null(manager(CPUS, "{\"policyName\":\"none\"}"));
	assert_null(manager(MEMORY, "{\"policyName\":\"None\"}"));
	assert_null(manager(CPUS, "{\"policyName\":null}"));
	assert_null(manager(CPUS, "[]"));
	assert_null(manager(CPUS, ""));
}

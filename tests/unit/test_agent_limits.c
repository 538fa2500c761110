// SPDX-License-Identifier: Apache-2.0
/* Hugepage limits of claims, set again when another program has changed them. */
#include "unit.h"

#include <stdio.h>

#include "agent/kubernetes/limits.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "grant/claim.h"
#include "grant/claim_hold.h"
#include "played.h"

#define UID   "11111111-2222-4333-8444-555555555555"
#define SHARE "aaaaaaaa-0000-4000-8000-000000000001"
#define POD   "99999999-2222-4333-8444-555555555555"
#define PODS  "kubepods/pod" POD
#define MIB   (UINT64_C(1) << 20)

struct setup {
	struct played *p;
	struct agent_config config;
	struct agent_policy *policy;
	struct agent_limits *limits;
};

static void write_limits(struct setup *s, const char *cgroup, const char *value)
{
	char path[256];

	for (int i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "/sys/fs/cgroup/%s/hugetlb.2MB.%smax", cgroup,
			 i ? "rsvd." : "");
		tree_write(s->p->t, path, "%s\n", value);
	}
}

/* Wait until both limits of a cgroup have the value. */
static void become(struct setup *s, const char *cgroup, const char *value)
{
	uint64_t end = stow_clock_monotonic() + 300 * STOW_SECOND;
	bool same = false;

	while (!same && stow_clock_monotonic() < end) {
		same = true;
		for (int i = 0; i < 2; i++) {
			char text[64];

			if (stow_root_read_buf(s->p->t->root, text, sizeof(text), NULL,
					       "/sys/fs/cgroup/%s/hugetlb.2MB.%smax", cgroup,
					       i ? "rsvd." : "") < 0 ||
			    strcmp(text, value) != 0)
				same = false;
		}
		stow_clock_sleep(5 * STOW_MILLISECOND);
	}
	assert_true(same);
}

/* A container of the claim, as the hook starts it. */
static void start(struct setup *s, int pid, const char *name)
{
	_cleanup_(stow_record_free_ptr) struct stow_record *record = NULL;
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cgroup = NULL;
	struct stow_subject subject = { .id = strrchr(name, '/') + 1,
					.pod_id = POD,
					.ns = "team",
					.name = "web",
					.init = { .pid = pid, .start = 1 } };
	struct stow_err err = { 0 };
	char path[256];

	played_process(s->p, pid, name);
	played_write(s->p, name, "cpuset.cpus", "");
	played_write(s->p, name, "cpuset.mems", "");
	snprintf(path, sizeof(path), "/sys/fs/cgroup/%s/cgroup.procs", name);
	tree_write(s->p->t, path, "%s", "");
	snprintf(path, sizeof(path), "/sys/fs/cgroup/%s/memory.max", name);
	tree_write(s->p->t, path, "max\n");
	write_limits(s, name, "max");
	assert_int_equal(stow_cgroup_of_pid(s->p->t->root, pid, &cgroup, NULL), 0);
	subject.cgroup = cgroup;
	if (stow_claim_hold(&s->p->context, &subject, UID, SHARE, true, &record, &err) < 0 ||
	    stow_claim_enact(&s->p->context, record, cgroup, NULL, &err) < 0)
		fail_msg("%s", err.msg);
}

static int set_up(void **state)
{
	struct setup *s = calloc(1, sizeof(*s));
	const struct stow_claim_share share = { .id = SHARE,
						.part = "main",
						.node = 1,
						.cpus = 1,
						.cpu_mode = STOW_CPU_SHARED,
						.pages = { { .size = 2 * MIB, .count = 8 } },
						.n_pages = 1 };
	const struct stow_claim claim = {
		.uid = UID, .ns = "team", .name = "db", .shares = &share, .n = 1
	};
	struct stow_err err = { 0 };

	assert_non_null(s);
	s->p = played_new();
	tree_write(s->p->t, "/sys/fs/cgroup/cpuset.cpus", "0-7\n");
	for (int i = 0; i < 6; i++) {
		static const char *const files[] = { "nr_hugepages", "free_hugepages",
						     "surplus_hugepages" };
		char path[128];

		snprintf(path, sizeof(path),
			 "/sys/devices/system/node/node%d/hugepages/hugepages-2048kB/%s", i / 3,
			 files[i % 3]);
		tree_write(s->p->t, path, "%d\n", i / 3 && i % 3 < 2 ? 64 : 0);
	}
	agent_config_defaults(&s->config);
	s->config.node = strdup("machine");
	assert_int_equal(agent_policy_new(s->p->t->root, &s->config, &s->policy, NULL), 0);
	if (stow_claim_take(&s->p->context, &claim, &err) != 1)
		fail_msg("%s", err.msg);
	played_write(s->p, PODS, "cpuset.cpus", "");
	played_write(s->p, PODS, "cpuset.mems", "");
	write_limits(s, PODS, "0");
	*state = s;
	return 0;
}

static int tear_down(void **state)
{
	struct setup *s = *state;

	agent_limits_free(s->limits);
	agent_policy_free(s->policy);
	agent_config_done(&s->config);
	played_free(s->p);
	free(s);
	return 0;
}

#define WITH_SETUP(name) TEST_WITH(name, struct setup *s, set_up, tear_down)

static void watch(struct setup *s)
{
	assert_int_equal(agent_limits_new(s->p->t->root, s->policy, &s->limits, NULL), 0);
}

/* kubelet writes 0 at each resize; far more often than a timer would see. */
WITH_SETUP(a_resize_is_undone_at_once)
{
	start(s, 10, PODS "/a");
	watch(s);
	for (int i = 0; i < 20; i++) {
		write_limits(s, PODS, "0");
		become(s, PODS, "16777216");
	}
	write_limits(s, PODS "/a", "0");
	become(s, PODS "/a", "16777216");
	/* Each of the two limits by itself. */
	tree_write(s->p->t, "/sys/fs/cgroup/" PODS "/a/hugetlb.2MB.rsvd.max", "0\n");
	become(s, PODS "/a", "16777216");
	tree_write(s->p->t, "/sys/fs/cgroup/" PODS "/hugetlb.2MB.rsvd.max", "0\n");
	become(s, PODS, "16777216");
}

/* A container that starts later is watched from its start on. */
WITH_SETUP(a_new_container_is_watched)
{
	watch(s);
	start(s, 10, PODS "/a");
	become(s, PODS, "16777216");
	write_limits(s, PODS, "0");
	become(s, PODS, "16777216");
	start(s, 11, PODS "/b");
	write_limits(s, PODS "/b", "0");
	become(s, PODS "/b", "16777216");
}

// SPDX-License-Identifier: Apache-2.0
/* Claims prepared and unprepared, with a played API server and machine. */
#include "unit.h"

#include <json-c/json.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "agent/kubernetes/prepare.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "grant/claim.h"
#include "grant/claim_hold.h"
#include "played.h"

END_WHEN_A_CHECK_FAILS

#define UID	     "11111111-2222-4333-8444-555555555555"
#define OTHER	     "66666666-2222-4333-8444-555555555555"
#define FIRST	     "aaaaaaaa-0000-4000-8000-000000000001"
#define POD	     "99999999-2222-4333-8444-555555555555"
#define POD	     "99999999-2222-4333-8444-555555555555"
#define KUBEPODS     "/sys/fs/cgroup/kubepods"
#define CDI	     "/run/cdi"
#define FILE_OF(uid) CDI "/numastow.io-claim_" uid ".json"

struct setup {
	struct played *p;
	struct agent_config config;
	struct agent_policy *policy;
	struct agent_prepare *prepare;
	/* What the API server says. */
	const char *uid, *share;
	int node, cpus, refuse; /* errno */
	bool nothing, twice, unreserved;
	atomic_int asked;
};

static int get(void *ctx, const char *ns, const char *name, uint64_t timeout, char **ret,
	       size_t *ret_len, struct stow_err *err)
{
	struct setup *s = ctx;
	char *text;

	s->asked++;
	assert_true(timeout > 0);
	if (s->refuse)
		return stow_err_set(err, s->refuse, "GET failed");
	if (s->nothing) {
		*ret = strdup("");
		*ret_len = 0;
		return 0;
	}
	if (asprintf(&text,
		     "{\"metadata\": {\"uid\": \"%s\", \"namespace\": \"%s\", \"name\": \"%s\"},"
		     " \"status\": {\"reservedFor\": [%s%s%s], "
		     "\"allocation\": {\"devices\": {"
		     "  \"config\": [{\"source\": \"FromClass\", \"opaque\": {\"driver\": "
		     "\"numastow.io\", \"parameters\": {\"apiVersion\": \"numastow.io/v1\", "
		     "%s\"cpuMode\": \"exclusive\"}}}],"
		     "  \"results\": [{\"driver\": \"numastow.io\", \"pool\": \"machine\","
		     "   \"device\": \"node%d\", \"request\": \"main/half\", \"shareID\": \"%s\","
		     "   \"consumedCapacity\": {\"cpus\": \"%d\"}}]}}}}",
		     s->uid, ns, name, s->unreserved ? "" : "{}, {\"uid\": 1}, {\"uid\": \"",
		     s->unreserved ? "" : POD, s->unreserved ? "" : "\"}",
		     s->twice ? "\"cpuMode\": \"shared\"," : "", s->node, s->share, s->cpus) < 0)
		abort();
	*ret = text;
	*ret_len = strlen(text);
	return 0;
}

static void make(struct setup *s)
{
	const struct agent_prepare_parts parts = {
		.root = s->p->t->root,
		.policy = s->policy,
		.source = { .get = get, .ctx = s },
		.pool = "machine",
		.cdi = CDI,
		.hook = "/usr/libexec/numastow/numastow-hook",
	};

	assert_int_equal(agent_prepare_new(&parts, &s->prepare, NULL), 0);
}

static int set_up(void **state)
{
	struct setup *s = calloc(1, sizeof(*s));

	assert_non_null(s);
	s->p = played_new();
	tree_write(s->p->t, "/sys/fs/cgroup/cpuset.cpus", "0-7\n");
	tree_write(s->p->t, KUBEPODS "/cpuset.cpus", "\n");
	tree_write(s->p->t, KUBEPODS "/cgroup.subtree_control", "cpuset cpu memory\n");
	tree_mkdir(s->p->t, KUBEPODS "/pod" POD);
	agent_config_defaults(&s->config);
	s->config.node = strdup("machine");
	assert_int_equal(agent_policy_new(s->p->t->root, &s->config, &s->policy, NULL), 0);
	s->uid = UID;
	s->share = FIRST;
	s->node = 1;
	s->cpus = 2;
	make(s);
	*state = s;
	return 0;
}

static int tear_down(void **state)
{
	struct setup *s = *state;

	agent_prepare_free(s->prepare);
	agent_policy_free(s->policy);
	agent_config_done(&s->config);
	played_free(s->p);
	free(s);
	return 0;
}

#define WITH_SETUP(name) TEST_WITH(name, struct setup *s, set_up, tear_down)

static const struct agent_claim_name claim = { .uid = UID, .ns = "team", .name = "db" };

static int prepare(struct setup *s, struct agent_prepared *ret, struct stow_err *err)
{
	return agent_prepare(s->prepare, &claim, 600 * STOW_SECOND, ret, err);
}

static void prepared(struct setup *s)
{
	struct agent_prepared ret;
	struct stow_err err = { 0 };

	if (prepare(s, &ret, &err) < 0)
		fail_msg("%s", err.msg);
	assert_int_equal(ret.n, 1);
	assert_string_equal(ret.shares[0].id, FIRST);
	assert_string_equal(ret.shares[0].request, "main");
	assert_int_equal(ret.shares[0].node, s->node);
}

static void refused(struct setup *s, int errnum, const char *text)
{
	struct agent_prepared ret;
	struct stow_err err = { 0 };
	int r = prepare(s, &ret, &err);

	if (r != -errnum || !strstr(err.msg, text) || strchr(err.msg, '\n'))
		fail_msg("%d \"%s\" instead of %d \"%s\"", r, err.msg, -errnum, text);
}

static bool has_file(struct setup *s, const char *path)
{
	return stow_root_exists(s->p->t->root, "%s", path) == 1;
}

/* --- prepare -------------------------------------------------------------- */

WITH_SETUP(a_claim_is_prepared)
{
	_cleanup_free_ char *text = NULL;

	prepared(s);
	assert_int_equal(played_records(s->p), 1);
	text = tree_read(s->p->t, FILE_OF(UID));
	assert_non_null(strstr(text, "\"" UID "-" FIRST "\""));
	assert_non_null(strstr(text, "NUMASTOW_MAIN_HALF=node=1 cpus=4-5"));
	/* Again, as after kubelet's restart: nothing changes, and a missing file comes back. */
	prepared(s);
	assert_int_equal(played_records(s->p), 1);
	tree_remove(s->p->t, CDI);
	prepared(s);
	assert_true(has_file(s, FILE_OF(UID)));
	assert_int_equal(s->asked, 3);
	assert_int_equal(agent_unprepare(s->prepare, &claim, NULL), 0);
	assert_int_equal(played_records(s->p), 0);
	assert_false(has_file(s, FILE_OF(UID)));
	assert_int_equal(s->asked, 3);
}

WITH_SETUP(refusals_change_nothing)
{
	struct stow_idset one = { 0 };

	s->refuse = ETIMEDOUT;
	refused(s, ETIMEDOUT, "claim team/db cannot be read: GET failed");
	s->refuse = 0;
	s->nothing = true;
	refused(s, EBADMSG, "claim team/db cannot be read");
	s->nothing = false;
	s->twice = true;
	refused(s, EINVAL,
		"claim team/db: status.allocation.devices: config[0]: parameters: \"cpuMode\": "
		"appears 2 times");
	s->twice = false;
	s->uid = OTHER;
	refused(s, ESTALE, "claim team/db: metadata: uid");
	s->uid = UID;
	s->cpus = 5;
	refused(s, ENOSPC, "claim team/db, request main/half: 5 exclusive CPUs");
	s->cpus = 2;
	s->node = 7;
	refused(s, EINVAL, "claim team/db");
	s->node = 1;
	stow_idset_add(&one, 1);
	assert_int_equal(stow_ledger_fence_set(s->p->context.ledger, "scheduler", &one, NULL), 0);
	refused(s, EAGAIN, "fenced: nothing new is placed on NUMA node 1");
	s->node = 0;
	tree_remove(s->p->t, CDI);
	tree_link(s->p->t, CDI, "/elsewhere");
	refused(s, ENOTDIR, "claim team/db: the folder of CDI files");
	assert_int_equal(played_records(s->p), 0);
	tree_remove(s->p->t, CDI);
	prepared(s);
}

WITH_SETUP(hostile_names_are_not_asked_for)
{
	static const struct agent_claim_name bad[] = {
		{ UID, "team", "../../../secrets/x" },
		{ UID, "..", "db" },
		{ UID, "team", "" },
		{ UID, "", "db" },
		{ UID, "team", "db?watch=1" },
		{ "../../x", "team", "db" },
		{ "", "team", "db" },
	};
	struct agent_prepared ret;
	struct stow_err err;

	for (size_t i = 0; i < STOW_ARRAY_SIZE(bad); i++)
		assert_int_equal(agent_prepare(s->prepare, &bad[i], 600 * STOW_SECOND, &ret, &err),
				 -EINVAL);
	assert_int_equal(s->asked, 0);
	/* What was never prepared is unprepared already. */
	for (size_t i = 5; i < STOW_ARRAY_SIZE(bad); i++)
		assert_int_equal(agent_unprepare(s->prepare, &bad[i], &err), 0);
}

WITH_SETUP(an_observing_agent_prepares_nothing)
{
	struct stow_config *placing = NULL;

	prepared(s);
	s->config.mode = AGENT_OBSERVE;
	assert_int_equal(stow_config_read(s->p->t->root, &placing, NULL), 0);
	agent_policy_replace(s->policy, placing, &s->config);
	refused(s, EACCES, "observe");
	/* What was prepared before goes, or its pod would stay for ever. */
	assert_int_equal(agent_unprepare(s->prepare, &claim, NULL), 0);
	assert_int_equal(played_records(s->p), 0);
}

WITH_SETUP(before_binding_there_is_no_pod_to_check)
{
	struct agent_prepared ret;
	struct stow_err err = { 0 };

	/* kubelet makes the pod's cgroup later; whether its class allows exclusive CPUs is checked
	 * then. */
	tree_remove(s->p->t, KUBEPODS "/pod" POD);
	refused(s, EPERM, "no pod for which the claim is reserved has a cgroup");
	if (agent_prepare_before_binding(s->prepare, &claim, 600 * STOW_SECOND, &ret, &err) < 0)
		fail_msg("%s", err.msg);
	assert_int_equal(ret.n, 1);
	assert_int_equal(played_records(s->p), 1);
	assert_true(has_file(s, FILE_OF(UID)));
	refused(s, EPERM, "no pod for which the claim is reserved has a cgroup");
	tree_mkdir(s->p->t, KUBEPODS "/pod" POD);
	prepared(s);
	assert_int_equal(played_records(s->p), 1);
}

WITH_SETUP(a_claim_without_a_pod_is_not_refused_before_binding)
{
	struct agent_prepared ret;
	struct stow_err err = { 0 };

	s->unreserved = true;
	assert_int_equal(agent_prepare_before_binding(s->prepare, &claim, 600 * STOW_SECOND, &ret,
						      &err),
			 -EAGAIN);
	assert_false(ret.refused);
	assert_int_equal(agent_prepare(s->prepare, &claim, 600 * STOW_SECOND, &ret, &err), -EAGAIN);
	assert_true(ret.refused);
	s->unreserved = false;
	s->cpus = 5;
	assert_int_equal(agent_prepare_before_binding(s->prepare, &claim, 600 * STOW_SECOND, &ret,
						      &err),
			 -ENOSPC);
	assert_true(ret.refused);
	assert_int_equal(played_records(s->p), 0);
}

WITH_SETUP(a_share_is_dropped_by_its_id)
{
	prepared(s);
	assert_int_equal(agent_unprepare_share(s->prepare, &claim, OTHER, NULL), -ENOENT);
	assert_int_equal(played_records(s->p), 1);
	assert_true(has_file(s, FILE_OF(UID)));
	assert_int_equal(agent_unprepare_share(s->prepare, &claim, FIRST, NULL), 0);
	assert_int_equal(played_records(s->p), 0);
	assert_false(has_file(s, FILE_OF(UID)));
}

/* --- unprepare ------------------------------------------------------------ */

WITH_SETUP(a_living_container_keeps_its_claim)
{
	_cleanup_(stow_record_free_ptr) struct stow_record *record = NULL;
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cgroup = NULL;
	struct stow_subject subject = { .id = "c",
					.pod_id = POD,
					.ns = "team",
					.name = "web",
					.init = { .pid = 5, .start = 1 } };
	struct stow_err err = { 0 };

	prepared(s);
	played_process(s->p, 5, "c");
	played_write(s->p, "c", "cpuset.cpus", "");
	played_write(s->p, "c", "cpuset.mems", "");
	tree_write(s->p->t, "/sys/fs/cgroup/c/cgroup.procs", "5\n");
	assert_int_equal(stow_cgroup_of_pid(s->p->t->root, 5, &cgroup, &err), 0);
	subject.cgroup = cgroup;
	if (stow_claim_hold(&s->p->context, &subject, UID, FIRST, true, &record, &err) < 0)
		fail_msg("%s", err.msg);
	assert_int_equal(agent_unprepare(s->prepare, &claim, &err), -EBUSY);
	assert_non_null(strstr(err.msg, "still in use by team/web of pod " POD));
	assert_true(has_file(s, FILE_OF(UID)));
	played_kill(s->p, 5, "c");
	assert_int_equal(agent_unprepare(s->prepare, &claim, &err), 0);
	assert_int_equal(played_records(s->p), 0);
	assert_false(has_file(s, FILE_OF(UID)));
}

WITH_SETUP(unknown_claims_are_success)
{
	assert_int_equal(agent_unprepare(s->prepare, &claim, NULL), 0);
	/* The file of a claim that was dropped by an agent that was killed then. */
	tree_mkdir(s->p->t, CDI);
	tree_write(s->p->t, FILE_OF(UID), "{}\n");
	assert_int_equal(agent_unprepare(s->prepare, &claim, NULL), 0);
	assert_false(has_file(s, FILE_OF(UID)));
}

/* --- start ---------------------------------------------------------------- */

WITH_SETUP(a_new_agent_mends_what_was_left)
{
	_cleanup_free_ char *before = NULL, *after = NULL;
	struct stow_err err = { 0 };

	prepared(s);
	before = tree_read(s->p->t, FILE_OF(UID));
	/* Killed before the file, or in the middle of it; another's claim is gone. */
	tree_remove(s->p->t, FILE_OF(UID));
	tree_write(s->p->t, CDI "/numastow.io-claim_" UID ".new", "{\"cdi");
	tree_write(s->p->t, FILE_OF(OTHER), "{}\n");
	agent_prepare_free(s->prepare);
	make(s);
	if (agent_prepare_restore(s->prepare, &err) < 0)
		fail_msg("%s", err.msg);
	after = tree_read(s->p->t, FILE_OF(UID));
	assert_string_equal(before, after);
	assert_false(has_file(s, FILE_OF(OTHER)));
	assert_false(has_file(s, CDI "/numastow.io-claim_" UID ".new"));
	assert_int_equal(s->asked, 1);
}

WITH_SETUP(without_claims_there_is_nothing_to_restore)
{
	assert_int_equal(agent_prepare_restore(s->prepare, NULL), 0);
	assert_int_equal(agent_prepare_restore(s->prepare, NULL), 0);
}

/* --- at once -------------------------------------------------------------- */

static void *prepare_often(void *arg)
{
	struct agent_prepared ret;

	for (int i = 0; i < 5; i++)
		(void)agent_prepare(((struct setup *)arg)->prepare, &claim, 600 * STOW_SECOND, &ret,
				    NULL);
	return NULL;
}

static void *unprepare_often(void *arg)
{
	for (int i = 0; i < 5; i++)
		(void)agent_unprepare(((struct setup *)arg)->prepare, &claim, NULL);
	return NULL;
}

/* Whoever comes last: there is a file exactly when there is a record. */
WITH_SETUP(records_and_files_agree)
{
	pthread_t threads[4];

	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL,
						i % 2 ? unprepare_often : prepare_often, s),
				 0);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(has_file(s, FILE_OF(UID)), played_records(s->p));
	assert_int_equal(agent_unprepare(s->prepare, &claim, NULL), 0);
	assert_int_equal(played_records(s->p), 0);
}

WITH_SETUP(exclusive_cpus_need_a_guaranteed_pod)
{
	tree_remove(s->p->t, KUBEPODS "/pod" POD);
	refused(s, EPERM, "claim team/db: exclusive CPUs need a pod of class Guaranteed; no pod");
	tree_mkdir(s->p->t, KUBEPODS "/besteffort/pod" POD);
	refused(s, EPERM, "the pod is BestEffort");
	tree_remove(s->p->t, KUBEPODS "/besteffort");
	tree_mkdir(s->p->t, KUBEPODS "/burstable/pod" POD);
	refused(s, EPERM, "the pod is Burstable");
	tree_write(s->p->t, KUBEPODS "/cgroup.subtree_control", "cpu memory\n");
	refused(s, EOPNOTSUPP, "exclusive CPUs are not offered on this machine: cgroup /kubepods");
	tree_remove(s->p->t, KUBEPODS);
	refused(s, EOPNOTSUPP, "there is neither /kubepods.slice nor /kubepods");
	assert_int_equal(played_records(s->p), 0);
}

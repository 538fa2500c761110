// SPDX-License-Identifier: Apache-2.0
/* kubelet's cgroups: pods without a claim stay off exclusive CPUs, on a played kernel of cgroup v1
 * and v2, with the names of both drivers. */
#include "grant/pods.h"
#include "unit.h"

#include <dirent.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cgroup/kubepods.h"
#include "grant/claim.h"
#include "grant/claim_hold.h"
#include "grant/gc.h"
#include "kernel.h"

#define CLAIMS	   3
#define PODS	   8
#define KILLED_NOW 42

enum class { GUARANTEED, BURSTABLE, BEST_EFFORT };

/* A container, with its process. */
struct running {
	int pid, cgroup; /* 0: none */
};

struct pod {
	int cgroup; /* 0: none */
	enum class class;
	int claim; /* that its container `claimed` holds; -1: none */
	char uid[37];
	struct running plain, claimed;
};

struct setup {
	struct kernel *k;
	struct stow_config *config;
	struct stow_grant_context context;
	bool systemd;
	int classes[3]; /* cgroups: kubepods, burstable, besteffort */
	struct pod pods[PODS];
	uint32_t held[CLAIMS]; /* exclusive CPUs of claims that were taken */
	int next;
	uint64_t seed;
	const char *refuse; /* writes to paths with this fail */
	int error;
	int countdown;	   /* accesses until this process is killed */
	int vanish;	   /* accesses until a pod without processes is gone; 0: none goes */
	bool leaves_first; /* entries of cgroups below kubelet's topmost one go before its own */
	unsigned long checks, kills;
};

static uint32_t mask(const struct stow_idset *set)
{
	return (uint32_t)set->bits[0];
}

static uint32_t held(const struct setup *s)
{
	uint32_t set = 0;

	for (int i = 0; i < CLAIMS; i++)
		set |= s->held[i];
	return set;
}

static void off_exclusive(struct setup *s, const struct running *r, uint32_t others, const char *at)
{
	uint32_t has;
	char a[64];

	if (!r->pid)
		return;
	has = s->k->s->cgroups[kernel_cgroup_of(s->k, r->pid)].cpus_effective;
	s->checks++;
	if (has & others)
		fail_msg("at %s process %d in %s has %s", at, r->pid,
			 s->k->s->cgroups[r->cgroup].path, kernel_list(has & others, a, sizeof(a)));
}

/* At every access of the programs under test. */
static void check_all(struct setup *s, const char *at)
{
	for (int i = 0; i < PODS; i++) {
		struct pod *pod = &s->pods[i];

		if (!pod->cgroup)
			continue;
		off_exclusive(s, &pod->plain, held(s), at);
		if (pod->claim >= 0)
			off_exclusive(s, &pod->claimed, held(s) & ~s->held[pod->claim], at);
	}
}

/* Count the entries, without an access of the programs under test. */
static size_t entries(const struct setup *s, bool *ret_top)
{
	char path[512];
	struct stat top;
	const struct dirent *e;
	size_t n = 0;
	DIR *d;

	snprintf(path, sizeof(path), "%s/sys/fs/cgroup%s%s", s->k->t->dir,
		 s->k->version == 1 ? "/cpuset" : "", s->k->s->cgroups[s->classes[0]].path);
	assert_int_equal(stat(path, &top), 0);
	snprintf(path, sizeof(path), "%s" STOW_PODS_DIR, s->k->t->dir);
	d = opendir(path);
	*ret_top = false;
	while (d && (e = readdir(d))) {
		n += e->d_name[0] != '.';
		*ret_top |= strtoull(e->d_name, NULL, 10) == top.st_ino;
	}
	if (d)
		closedir(d);
	return n;
}

static int on_access(void *ctx, const char *path, const char *value)
{
	struct setup *s = ctx;
	bool top;

	if (s->leaves_first && entries(s, &top) && !top)
		fail_msg("at %s: kubelet's topmost cgroup has no entry, and others have", path);

	if (s->countdown && --s->countdown == 0)
		_exit(KILLED_NOW);
	check_all(s, path);
	if (s->vanish && --s->vanish == 0)
		for (int i = 0; i < PODS; i++)
			if (s->pods[i].cgroup && !s->pods[i].plain.pid && !s->pods[i].claimed.pid) {
				kernel_rmdir(s->k, s->pods[i].cgroup);
				s->pods[i].cgroup = 0;
			}
	return value && s->refuse && strstr(path, s->refuse) ? s->error : 0;
}

static int make(struct setup *s, int above, const char *name)
{
	int cgroup = kernel_mkdir(s->k, above, name);
	const struct kernel_cgroup *up = &s->k->s->cgroups[above];

	/* kubelet and runtimes copy the sets of the cgroup above on v1. */
	if (s->k->version == 1) {
		assert_int_equal(kernel_write(s->k, cgroup, false, up->mems), 0);
		assert_int_equal(kernel_write(s->k, cgroup, true, up->cpus), 0);
	}
	return cgroup;
}

static int set_up(void **state, int version, bool systemd)
{
	struct setup *s = calloc(1, sizeof(*s));

	*state = s;
	s->k = kernel_new(version, 2);
	s->systemd = systemd;
	s->next = 100;
	s->seed = 88172645463325252ULL + (uint64_t)version * 2 + systemd;
	assert_int_equal(stow_config_read(s->k->t->root, &s->config, NULL), 0);
	s->context.root = s->k->t->root;
	s->context.config = s->config;
	s->context.self = (struct stow_pidref){ .pid = 99, .start = 1 };
	kernel_fork(s->k, 99, 0);
	assert_int_equal(stow_ledger_open(s->k->t->root, true, &s->context.ledger, NULL), 0);
	s->classes[0] = make(s, 0, systemd ? "kubepods.slice" : "kubepods");
	s->classes[1] = make(s, s->classes[0], systemd ? "kubepods-burstable.slice" : "burstable");
	s->classes[2] =
		make(s, s->classes[0], systemd ? "kubepods-besteffort.slice" : "besteffort");
	for (int i = 0; i < 3 && version == 2; i++) {
		char path[128];

		snprintf(path, sizeof(path), "/sys/fs/cgroup%s/cgroup.subtree_control",
			 s->k->s->cgroups[s->classes[i]].path);
		tree_write(s->k->t, path, "cpuset cpu io memory hugetlb pids\n");
	}
	assert_int_equal(stow_pods_set(s->context.root, true, NULL), 0);
	s->k->fault = on_access;
	s->k->fault_ctx = s;
	return 0;
}

static int v1_cgroupfs(void **state)
{
	return set_up(state, 1, false);
}

static int v1_systemd(void **state)
{
	return set_up(state, 1, true);
}

static int v2_cgroupfs(void **state)
{
	return set_up(state, 2, false);
}

static int v2_systemd(void **state)
{
	return set_up(state, 2, true);
}

static int tear_down(void **state)
{
	struct setup *s = *state;

	s->k->fault = NULL;
	stow_ledger_close(s->context.ledger);
	stow_config_free(s->config);
	kernel_free(s->k);
	free(s);
	return 0;
}

#define EVERYWHERE(name)                                        \
	UNIT_BODY(name, struct setup *s)                        \
	UNIT_ADD(name, ", v1_cgroupfs", v1_cgroupfs, tear_down) \
	UNIT_ADD(name, ", v1_systemd", v1_systemd, tear_down)   \
	UNIT_ADD(name, ", v2_cgroupfs", v2_cgroupfs, tear_down) \
	UNIT_ADD(name, ", v2_systemd", v2_systemd, tear_down)   \
	static void name##_(struct setup *s)
#define ON_SYSTEMD(name)                                      \
	UNIT_BODY(name, struct setup *s)                      \
	UNIT_ADD(name, ", v2_systemd", v2_systemd, tear_down) \
	static void name##_(struct setup *s)
#define ON_V2(name)                                             \
	UNIT_BODY(name, struct setup *s)                        \
	UNIT_ADD(name, ", v2_cgroupfs", v2_cgroupfs, tear_down) \
	UNIT_ADD(name, ", v2_systemd", v2_systemd, tear_down)   \
	static void name##_(struct setup *s)

/* --- kubelet and runtime -------------------------------------------------- */

/* A pod's cgroup, and what the agent does when it is told of it. */
static void add_pod(struct setup *s, struct pod *pod, enum class class)
{
	static const char *const prefixes[] = { "kubepods-pod", "kubepods-burstable-pod",
						"kubepods-besteffort-pod" };
	char name[96];
	struct stow_err err = { 0 };

	*pod = (struct pod){ .class = class, .claim = -1 };
	snprintf(pod->uid, sizeof(pod->uid), "99999999-0000-4000-8000-%012d", s->next++);
	if (s->systemd) {
		snprintf(name, sizeof(name), "%s%s.slice", prefixes[class], pod->uid);
		for (char *c = name + strlen(prefixes[class]); (c = strchr(c, '-')); c++)
			*c = '_';
	} else {
		snprintf(name, sizeof(name), "pod%s", pod->uid);
	}
	pod->cgroup = make(s, s->classes[class], name);
	if (stow_apply_pods(&s->context, NULL, &err) < 0)
		fail_msg("%s", err.msg);
}

/* A container's cgroup, the same, then its process. */
static void add_running(struct setup *s, struct pod *pod, struct running *ret)
{
	char name[96];
	struct stow_err err = { 0 };

	snprintf(name, sizeof(name), s->systemd ? "cri-containerd-%064d.scope" : "%064d",
		 s->next++);
	ret->cgroup = make(s, pod->cgroup, name);
	if (stow_apply_pods(&s->context, NULL, &err) < 0)
		fail_msg("%s", err.msg);
	ret->pid = s->next++;
	kernel_fork(s->k, ret->pid, ret->cgroup);
}

static void end_running(struct setup *s, struct running *r)
{
	if (!r->pid)
		return;
	kernel_exit(s->k, r->pid);
	kernel_rmdir(s->k, r->cgroup);
	*r = (struct running){ 0 };
}

static void end_claimed(struct setup *s, struct pod *pod)
{
	char id[24];

	if (!pod->claimed.pid)
		return;
	snprintf(id, sizeof(id), "c%d", pod->claimed.pid);
	end_running(s, &pod->claimed);
	assert_true(stow_grant_release(&s->context, id, NULL) >= 0);
}

static void end_pod(struct setup *s, struct pod *pod)
{
	end_claimed(s, pod);
	end_running(s, &pod->plain);
	if (pod->cgroup)
		kernel_rmdir(s->k, pod->cgroup);
	pod->cgroup = 0;
}

/* --- claims --------------------------------------------------------------- */

static void ids(int claim, char uid[37], char share[37])
{
	snprintf(uid, 37, "00000000-0000-4000-8000-%012d", claim);
	snprintf(share, 37, "11111111-0000-4000-8000-%012d", claim);
}

static int take(struct setup *s, int claim, int node, uint32_t cpus, struct stow_err *err)
{
	struct stow_record **records;
	char uid[37], share[37];
	const struct stow_claim_share shares = { .id = share,
						 .part = "main",
						 .node = node,
						 .cpus = cpus,
						 .cpu_mode = STOW_CPU_EXCLUSIVE };
	const struct stow_claim wanted = {
		.uid = uid, .ns = "team", .name = "db", .shares = &shares, .n = 1
	};
	size_t n;
	int r;

	ids(claim, uid, share);
	r = stow_claim_take(&s->context, &wanted, err);
	if (r < 0)
		return r;
	/* Others have left when a container gets them, at the latest; the agent's run comes now. */
	r = stow_apply(&s->context, &(struct stow_apply_options){ 0 }, NULL, err);
	assert_int_equal(stow_ledger_claim(s->context.ledger, uid, &records, &n, NULL), 0);
	assert_int_equal(n, 1);
	s->held[claim] = mask(&records[0]->cpus);
	stow_records_free(records, n);
	return r;
}

static int drop(struct setup *s, int claim, struct stow_err *err)
{
	char uid[37], share[37];

	ids(claim, uid, share);
	s->held[claim] = 0;
	return stow_claim_drop(&s->context, uid, err);
}

static int hold(struct setup *s, struct pod *pod, int claim, struct stow_err *err)
{
	_cleanup_(stow_record_free_ptr) struct stow_record *record = NULL;
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cgroup = NULL;
	struct stow_subject subject = { .init = { .pid = pod->claimed.pid, .start = 1 } };
	char uid[37], share[37], id[24];
	int r;

	ids(claim, uid, share);
	snprintf(id, sizeof(id), "c%d", pod->claimed.pid);
	subject.id = id;
	pod->claim = claim;
	r = stow_cgroup_of_pid(s->context.root, pod->claimed.pid, &cgroup, err);
	if (r < 0)
		return r;
	subject.cgroup = cgroup;
	r = stow_claim_hold(&s->context, &subject, uid, share, false, &record, err);
	if (r < 0 || record->state == STOW_STATE_ACTIVE)
		return r;
	r = stow_claim_enact(&s->context, record, cgroup, NULL, err);
	if (r < 0)
		(void)stow_grant_undo(&s->context, record, cgroup, "undone", "test", NULL);
	return r;
}

/* --- what must be true ---------------------------------------------------- */

static void run(struct setup *s)
{
	struct stow_gc_result result;
	struct stow_err err = { 0 };

	if (stow_gc(&s->context, &result, &err) < 0)
		fail_msg("%s", err.msg);
	if (result.problems.n_problems)
		fail_msg("%s", result.problems.problems[0].text);
	stow_gc_result_done(&result);
	stow_apply_result_done(&result.problems);
}

static void has(struct setup *s, int cgroup, const char *cpus)
{
	char list[64];

	assert_string_equal(
		kernel_list(s->k->s->cgroups[cgroup].cpus_effective, list, sizeof(list)), cpus);
}

/* Nothing of kubelet's lacks a CPU, and nothing is remembered. */
static void is_restored(struct setup *s)
{
	bool top;

	for (int i = 1; i < KERNEL_CGROUPS; i++)
		if (s->k->s->cgroups[i].used &&
		    s->k->s->cgroups[i].cpus_effective != s->k->s->online)
			fail_msg("%s has %x", s->k->s->cgroups[i].path,
				 s->k->s->cgroups[i].cpus_effective);
	assert_int_equal(entries(s, &top), 0);
}

/* --- one after another ---------------------------------------------------- */

EVERYWHERE(pods_of_all_classes_are_kept_off_and_restored)
{
	struct stow_err err = { 0 };
	struct running first;

	for (int i = 0; i < 3; i++) {
		add_pod(s, &s->pods[i], (enum class)i);
		add_running(s, &s->pods[i], &s->pods[i].plain);
	}
	add_pod(s, &s->pods[3], GUARANTEED);
	add_running(s, &s->pods[3], &s->pods[3].plain); /* its sandbox */
	assert_int_equal(take(s, 0, 0, 2, &err), 0);
	has(s, s->classes[0], "2-7");
	add_running(s, &s->pods[3], &s->pods[3].claimed);
	if (hold(s, &s->pods[3], 0, &err) < 0)
		fail_msg("%s", err.msg);
	has(s, s->classes[0], "0-7");
	has(s, s->classes[1], "2-7");
	has(s, s->classes[2], "2-7");
	has(s, s->pods[0].cgroup, "2-7");
	has(s, s->pods[3].cgroup, "0-7");
	has(s, s->pods[3].plain.cgroup, "2-7");
	has(s, s->pods[3].claimed.cgroup, "0-1");
	add_pod(s, &s->pods[4], GUARANTEED);
	add_running(s, &s->pods[4], &s->pods[4].plain);
	has(s, s->pods[4].plain.cgroup, "2-7");
	run(s);
	first = s->pods[3].claimed;
	add_running(s, &s->pods[3], &s->pods[3].claimed); /* a second container of the claim */
	has(s, s->pods[3].claimed.cgroup, "2-7");
	assert_int_equal(hold(s, &s->pods[3], 0, &err), 0);
	has(s, s->pods[3].claimed.cgroup, "0-1");
	has(s, first.cgroup, "0-1");
	run(s);
	has(s, s->pods[3].claimed.cgroup, "0-1");
	end_claimed(s, &s->pods[3]);
	s->pods[3].claimed = first;
	end_claimed(s, &s->pods[3]);
	run(s);
	has(s, s->classes[0], "2-7");
	add_running(s, &s->pods[3], &s->pods[3].claimed); /* started again */
	assert_int_equal(hold(s, &s->pods[3], 0, &err), 0);
	has(s, s->pods[3].claimed.cgroup, "0-1");
	end_claimed(s, &s->pods[3]);
	assert_int_equal(drop(s, 0, &err), 1);
	is_restored(s);
}

EVERYWHERE(only_a_guaranteed_pod_has_exclusive_cpus)
{
	struct stow_err err = { 0 };

	for (int i = 1; i < 3; i++) {
		add_pod(s, &s->pods[i], (enum class)i);
		assert_int_equal(take(s, 0, 0, 2, &err), 0);
		add_running(s, &s->pods[i], &s->pods[i].claimed);
		assert_int_equal(hold(s, &s->pods[i], 0, &err), -EPERM);
		assert_non_null(strstr(err.msg, "class Guaranteed"));
		assert_non_null(strstr(err.msg, i == 1 ? "Burstable" : "BestEffort"));
		s->pods[i].claim = -1;
		assert_int_equal(stow_kubepods_class_of_pod(s->context.root, s->pods[i].uid),
				 i == 1 ? STOW_POD_BURSTABLE : STOW_POD_BEST_EFFORT);
	}
	add_pod(s, &s->pods[0], GUARANTEED);
	assert_int_equal(stow_kubepods_class_of_pod(s->context.root, s->pods[0].uid),
			 STOW_POD_GUARANTEED);
	assert_int_equal(stow_kubepods_class_of_pod(s->context.root, "x/../../kubepods"),
			 STOW_POD_NONE);
}

EVERYWHERE(one_cpu_stays_for_other_pods)
{
	struct stow_err err = { 0 };

	assert_int_equal(take(s, 0, 0, 4, &err), 0);
	assert_int_equal(take(s, 1, 1, 4, &err), -ENOSPC);
	assert_non_null(strstr(err.msg, "one must remain shared"));
	assert_int_equal(take(s, 1, 1, 3, &err), 0);
	has(s, s->classes[0], "7");
	assert_int_equal(take(s, 2, 1, 1, &err), -ENOSPC);
}

EVERYWHERE(one_cpu_of_kubelets_stays_for_other_pods)
{
	struct stow_err err = { 0 };

	/* By the administrator, kubelet's cgroup has CPUs of node 0 only. */
	for (int i = 2; i >= 0; i--)
		assert_int_equal(kernel_write(s->k, s->classes[i], true, 0xf), 0);
	assert_int_equal(take(s, 0, 0, 4, &err), -ENOSPC);
	assert_non_null(strstr(err.msg, "at least one stays for them"));
	assert_int_equal(take(s, 0, 0, 3, &err), 0);
	has(s, s->classes[0], "3");
}

EVERYWHERE(without_kubernetes_all_is_as_it_was)
{
	struct stow_err err = { 0 };
	bool top;

	add_pod(s, &s->pods[0], GUARANTEED);
	add_running(s, &s->pods[0], &s->pods[0].claimed);
	add_pod(s, &s->pods[1], BURSTABLE);
	assert_int_equal(take(s, 0, 0, 2, &err), 0);
	assert_int_equal(hold(s, &s->pods[0], 0, &err), 0);
	has(s, s->classes[1], "2-7");
	assert_int_equal(stow_pods_set(s->context.root, false, NULL), 0);
	run(s);
	has(s, s->classes[1], "0-7");
	has(s, s->pods[1].cgroup, "0-7");
	assert_int_equal(entries(s, &top), 0);
	assert_int_equal(stow_pods_set(s->context.root, true, NULL), 0);
	assert_int_equal(stow_apply_pods(&s->context, NULL, &err), 0);
	has(s, s->classes[1], "2-7");
}

EVERYWHERE(a_set_of_the_administrator_stays)
{
	struct stow_err err = { 0 };

	assert_int_equal(kernel_write(s->k, s->classes[1], true, 0x3c), 0);
	add_pod(s, &s->pods[0], GUARANTEED);
	assert_int_equal(take(s, 0, 0, 3, &err), 0);
	add_running(s, &s->pods[0], &s->pods[0].claimed);
	assert_int_equal(hold(s, &s->pods[0], 0, &err), 0);
	has(s, s->classes[1], "3-5");
	end_claimed(s, &s->pods[0]);
	assert_int_equal(drop(s, 0, &err), 1);
	has(s, s->classes[1], "2-5");
}

/* A program that is killed between leaves the cgroups above, which the next run begins with. */
EVERYWHERE(entries_go_from_the_leaves_up)
{
	struct stow_err err = { 0 };

	add_pod(s, &s->pods[0], GUARANTEED);
	add_pod(s, &s->pods[1], GUARANTEED);
	add_running(s, &s->pods[1], &s->pods[1].plain);
	assert_int_equal(take(s, 0, 0, 2, &err), 0);
	add_running(s, &s->pods[0], &s->pods[0].claimed);
	assert_int_equal(hold(s, &s->pods[0], 0, &err), 0);
	has(s, s->pods[1].cgroup, "2-7");
	end_claimed(s, &s->pods[0]);
	s->leaves_first = true;
	assert_int_equal(drop(s, 0, &err), 1);
	s->leaves_first = false;
	is_restored(s);
}

/* systemd disables it when no unit of a slice needs it any more. */
ON_SYSTEMD(a_cgroup_without_controller_has_nothing_to_give_back)
{
	struct stow_err err = { 0 };
	bool top;

	add_pod(s, &s->pods[0], BURSTABLE);
	add_pod(s, &s->pods[1], GUARANTEED);
	assert_int_equal(take(s, 0, 0, 2, &err), 0);
	add_running(s, &s->pods[1], &s->pods[1].claimed);
	assert_int_equal(hold(s, &s->pods[1], 0, &err), 0);
	end_claimed(s, &s->pods[1]);
	s->held[0] = 0;
	kernel_disable_cpuset(s->k, s->classes[1]);
	assert_int_equal(drop(s, 0, &err), 1);
	assert_int_equal(entries(s, &top), 0);
	run(s); /* and says nothing of it */
}

/* While CPUs are exclusive, its pods may run on them. */
ON_SYSTEMD(a_cgroup_without_controller_is_named)
{
	struct stow_apply_result result = { 0 };
	struct stow_err err = { 0 };
	size_t n;
	bool top;

	add_pod(s, &s->pods[0], GUARANTEED);
	add_running(s, &s->pods[0], &s->pods[0].claimed);
	assert_int_equal(take(s, 0, 0, 2, &err), 0);
	assert_int_equal(hold(s, &s->pods[0], 0, &err), 0);
	n = entries(s, &top);
	kernel_disable_cpuset(s->k, s->classes[2]);
	assert_int_equal(stow_apply_pods(&s->context, &result, &err), 0);
	assert_int_equal(entries(s, &top), n - 1);
	assert_int_equal(result.n_problems, 1);
	assert_non_null(strstr(result.problems[0].text, "has no cpuset controller, so its pods"));
	stow_apply_result_done(&result);
}

ON_V2(a_cgroup_that_takes_no_write_is_named_and_tried_again)
{
	struct stow_apply_result result = { 0 };
	struct stow_err err = { 0 };

	add_pod(s, &s->pods[0], GUARANTEED);
	assert_int_equal(take(s, 0, 0, 2, &err), 0);
	s->refuse = "besteffort";
	s->error = -EIO;
	add_running(s, &s->pods[0], &s->pods[0].claimed);
	(void)hold(s, &s->pods[0], 0, &err);
	s->held[0] = 0; /* nobody runs there */
	assert_int_equal(stow_apply_pods(&s->context, &result, &err), 0);
	assert_int_equal(result.n_problems, 1);
	assert_non_null(strstr(result.problems[0].text, "besteffort"));
	stow_apply_result_done(&result);
	s->refuse = NULL;
	run(s);
	has(s, s->classes[2], "2-7");
}

/* --- at random ------------------------------------------------------------ */

static uint32_t roll(struct setup *s, uint32_t n)
{
	s->seed ^= s->seed >> 12;
	s->seed ^= s->seed << 25;
	s->seed ^= s->seed >> 27;
	return (uint32_t)((s->seed * UINT64_C(2685821657736338717)) >> 32) % n;
}

/* The agent's run, or with a pod its container's hook: killed half way in a process of its own. */
static void killed(struct setup *s, struct pod *pod, int claim)
{
	int countdown = 1 + (int)roll(s, 250), status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		struct stow_ledger *mine = NULL;

		if (stow_ledger_open(s->k->t->root, true, &mine, NULL) < 0)
			_exit(0);
		s->context.ledger = mine;
		s->context.self.pid = 98; /* does not live */
		s->countdown = countdown;
		if (pod)
			(void)hold(s, pod, claim, NULL);
		else
			(void)stow_apply_pods(&s->context, NULL, NULL);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_true(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == KILLED_NOW);
	s->kills += WEXITSTATUS(status) == KILLED_NOW;
}

static bool is_held(const struct setup *s, int claim)
{
	for (int i = 0; i < PODS; i++)
		if (s->pods[i].cgroup && s->pods[i].claimed.pid && s->pods[i].claim == claim)
			return true;
	return false;
}

static void event(struct setup *s)
{
	struct pod *pod = &s->pods[roll(s, PODS)];
	int claim = (int)roll(s, CLAIMS);
	struct stow_err err = { 0 };

	switch (pod->cgroup ? roll(s, 9) : 0) {
	case 0:
		if (!pod->cgroup)
			add_pod(s, pod, (enum class)roll(s, 3));
		break;
	case 1:
		end_pod(s, pod);
		break;
	case 2:
		if (!pod->plain.pid)
			add_running(s, pod, &pod->plain);
		break;
	case 3:
		end_running(s, &pod->plain);
		break;
	case 4:
		end_claimed(s, pod);
		break;
	case 5:
	case 6:
		if (pod->class != GUARANTEED || pod->claimed.pid || !s->held[claim])
			break;
		pod->claim = claim;
		add_running(s, pod, &pod->claimed);
		if (roll(s, 3) == 0)
			killed(s, pod, claim);
		if (hold(s, pod, claim, &err) < 0)
			fail_msg("%s", err.msg);
		break;
	case 7:
		if (s->held[claim] && !is_held(s, claim)) {
			if (drop(s, claim, &err) < 0)
				fail_msg("%s", err.msg);
		} else if (!s->held[claim] &&
			   take(s, claim, (int)roll(s, 2), 1 + roll(s, 2), &err) < 0) {
			assert_non_null(strstr(err.msg, "claim team/db"));
		}
		break;
	default:
		killed(s, NULL, 0);
		s->vanish = (int)roll(s, 60);
		run(s);
		s->vanish = 0;
	}
}

EVERYWHERE(at_random_no_pod_runs_on_exclusive_cpus)
{
	struct stow_err err = { 0 };
	uint64_t writes;

	for (int i = 0; i < 400; i++) {
		event(s);
		if (i % 5)
			continue;
		run(s);
		writes = s->k->s->writes;
		run(s);
		assert_int_equal(s->k->s->writes, writes); /* a second one changes nothing */
	}
	for (int i = 0; i < PODS; i++)
		end_pod(s, &s->pods[i]);
	for (int i = 0; i < CLAIMS; i++)
		if (drop(s, i, &err) < 0)
			fail_msg("%s", err.msg);
	run(s);
	is_restored(s);
	assert_true(s->checks > 1000);
	print_message("cgroup v%d: %lu times a process was looked at, %lu programs killed\n",
		      s->k->version, s->checks, s->kills);
}

/* --- whether exclusive CPUs can be offered -------------------------------- */

ON_V2(without_a_controller_none_is_offered)
{
	struct stow_err err = { 0 };
	char path[128];

	assert_int_equal(stow_kubepods_check(s->context.root, &err), 0);
	snprintf(path, sizeof(path), "/sys/fs/cgroup%s/cgroup.subtree_control",
		 s->k->s->cgroups[s->classes[0]].path);
	tree_write(s->k->t, path, "cpu memory\n");
	assert_int_equal(stow_kubepods_check(s->context.root, &err), -ENOTSUP);
	assert_non_null(strstr(err.msg, "subtree_control"));
	kernel_rmdir(s->k, s->classes[0]);
	assert_int_equal(stow_kubepods_check(s->context.root, &err), -ENOTSUP);
	assert_non_null(strstr(err.msg, "neither /kubepods.slice nor /kubepods"));
}

TEST(paths_have_classes)
{
	static const struct {
		const char *path;
		enum stow_pod_class class;
	} cases[] = {
		{ "/kubepods/podx/y", STOW_POD_GUARANTEED },
		{ "/kubepods/burstable/podx/y", STOW_POD_BURSTABLE },
		{ "/kubepods/besteffort/podx", STOW_POD_BEST_EFFORT },
		{ "/kubepods.slice/kubepods-podx.slice/y.scope", STOW_POD_GUARANTEED },
		{ "/kubepods.slice/kubepods-burstable.slice/x", STOW_POD_BURSTABLE },
		{ "/kubepods.slice/kubepods-besteffort.slice/x", STOW_POD_BEST_EFFORT },
		{ "/kubepods.slice/kubepods-burstablex.slice/x", STOW_POD_NONE },
		{ "/kubepods/pod/y", STOW_POD_NONE },
		{ "/kubepodsx/podx", STOW_POD_NONE },
		{ "/machine.slice/kubepods/podx", STOW_POD_NONE },
		{ "/kubepods", STOW_POD_NONE },
	};

	for (size_t i = 0; i < STOW_ARRAY_SIZE(cases); i++)
		if (stow_kubepods_class(cases[i].path) != cases[i].class)
			fail_msg("%s", cases[i].path);
}
